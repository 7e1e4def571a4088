"""The command on a Manta: from which size on a dump goes in parts, and who is asked for a key's passphrase."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support.chaos import Babble, Proxy
from tests.support.manta_server import MantaServer
from tests.support.sshkeys import PASSPHRASE, SshKey
from tests.support.terminal import Terminal
from tests.thoth.cli.conftest import COMMAND, Run, Set


@pytest.mark.usefixtures("alice")
class TestUnreachable:
    def test_the_first_failure_is_told_before_others_are_waited_for(
        self, server: MantaServer, core: Callable[..., Path], child_environment: dict[str, str]
    ) -> None:
        server.close()
        command = [*COMMAND, "upload", str(core(1))]
        with subprocess.Popen(command, env=child_environment, stderr=subprocess.PIPE, text=True) as asking:
            assert asking.stderr
            first = asking.stderr.readline()
            asking.kill()  # the rest takes its time
        assert first == (
            f"thoth: trying again for up to 60 s: Manta {server.url}: no connection: connection refused;"
            " check MANTA_URL, THOTH_PROXY and the network\n"
        )

    def test_what_is_no_TLS_is_not_asked_again(self, run: Run, core: Callable[..., Path], given: Set) -> None:
        with Proxy(("127.0.0.1", 1), Babble(b"HTTP/1.1 400 Bad Request\r\n\r\n")) as server:
            url = "https://{}:{}".format(*server.address)
            given("MANTA_URL", url)
            ran = run("upload", core(1))
        assert (ran.code, ran.said) == (
            1,
            [
                f"thoth: Manta {url}: what answers is not TLS (is it http:// there?); check MANTA_URL:"
                " this may not be the Manta that is meant"
            ],
        )


@pytest.mark.usefixtures("alice")
class TestParts:
    @pytest.mark.parametrize("told", ["16K", "0"])
    def test_a_dump_of_that_size_goes_in_parts(
        self, told: str, run: Run, server: MantaServer, core: Callable[..., Path], given: Set
    ) -> None:
        given("THOTH_PARTS_FROM", told)
        assert run("upload", core(1, size=1 << 20)).code == 0
        assert any(each.path.endswith("/commit") for each in server.requests)

    @pytest.mark.parametrize("told", ["16M", "none", ""])
    def test_a_smaller_one_does_not(
        self, told: str, run: Run, server: MantaServer, core: Callable[..., Path], given: Set
    ) -> None:
        given("THOTH_PARTS_FROM", told)
        assert run("upload", core(1, size=1 << 20)).code == 0
        assert not any("/uploads" in each.path for each in server.requests)

    def test_a_wrong_one_is_told_in_one_line(self, run: Run, server: MantaServer, given: Set) -> None:
        given("THOTH_PARTS_FROM", "lots")
        ran = run("ls")
        assert (ran.code, len(ran.said), server.requests) == (1, 1, [])
        assert ran.err.startswith("thoth: THOTH_PARTS_FROM: parts_from is the size from which on")
        shown = run("config")
        assert ["manta.parts_from", "lots", "THOTH_PARTS_FROM", "-"] in [line.split() for line in shown.lines]
        assert (shown.code, shown.err) == (1, ran.err)

    def test_config_shows_it_where_somebody_has_set_it(self, run: Run, given: Set) -> None:
        assert "parts_from" not in run("config").out
        given("THOTH_PARTS_FROM", "1G")
        assert ["manta.parts_from", "1G", "THOTH_PARTS_FROM", "-"] in [line.split() for line in run("config").lines]


# ---- a key with a passphrase --------------------------------------------------------------------------------------

WRONG = "canary of a wrong one"


@pytest.fixture
def sealed(alice: None, key: SshKey, tmp_path: Path, given: Set) -> Path:
    """alice's key now has a passphrase."""
    path = key.put(tmp_path / "sealed", passphrase=PASSPHRASE)
    given("MANTA_KEY_ID", str(path))
    return path


@pytest.fixture
def typed(child_environment: dict[str, str]) -> Iterator[Callable[[str], Terminal]]:
    """``typed("thoth ls < file")``: a shell that runs this on a terminal of its own."""
    with ExitStack() as opened:
        thoth = f'thoth() {{ {" ".join(COMMAND)} "$@"; }}\n'
        yield lambda line: opened.enter_context(Terminal(["/bin/sh", "-c", thoth + line], child_environment))


def answered(terminal: Terminal, key: Path, *passphrases: str) -> str:
    """All that the terminal shows from before the first question to the end, after these answers."""
    shown = ""
    for passphrase in passphrases:
        shown += terminal.expect(f"Passphrase for {key}: ")
        terminal.write(f"{passphrase}\n")
    terminal.ended()
    shown += terminal.seen.decode()
    assert "canary" not in shown
    return shown


class TestPassphrase:
    def test_it_is_asked_for_on_the_terminal_which_does_not_show_it(
        self, sealed: Path, typed: Callable[[str], Terminal], core: Callable[..., Path], server: MantaServer
    ) -> None:
        dump = core(1)
        with typed(f"thoth upload {dump}") as terminal:
            shown = answered(terminal, sealed, WRONG, PASSPHRASE)
            assert terminal.process.returncode == 0
            assert terminal.modes() == terminal.fresh
        assert "uploading core.1" in shown
        assert any(each.path.endswith("/core.1") and each.status == 204 for each in server.requests)

    def test_three_wrong_ones_are_enough(
        self, sealed: Path, typed: Callable[[str], Terminal], server: MantaServer
    ) -> None:
        with typed("thoth ls") as terminal:
            shown = answered(terminal, sealed, WRONG, "", WRONG)
            assert terminal.process.returncode == 1
        assert shown.splitlines()[-1] == (
            f"thoth: key {sealed}: none of 3 passphrases opens it; try: ssh-keygen -yf {sealed}"
        )
        assert not server.requests

    def test_what_is_redirected_is_not_the_passphrase(
        self, sealed: Path, typed: Callable[[str], Terminal], core: Callable[..., Path], tmp_path: Path
    ) -> None:
        """Asked on the terminal, wherever the streams lead; a value and names of dumps come from stdin."""
        with typed(f"thoth -q upload {core(1)} > {tmp_path}/name") as terminal:
            answered(terminal, sealed, PASSPHRASE)
        (tmp_path / "value").write_text('{"engineer": "bmc"}')
        lines = (
            "thoth set $(cat name) triage < value 2> talk",
            "thoth ls dump=stdin properties.triage < name > listed 2>> talk",
        )
        for line in lines:
            with typed(f"cd {tmp_path}; {line}") as terminal:
                assert answered(terminal, sealed, PASSPHRASE).strip() == ""
                assert terminal.process.returncode == 0, (tmp_path / "talk").read_text()
        assert '{"engineer":"bmc"}' in (tmp_path / "listed").read_text().replace(" ", "")
        assert "assphrase" not in (tmp_path / "talk").read_text()

    @pytest.mark.parametrize("where", ["no terminal", "in the background"])
    def test_where_nobody_can_be_asked_one_line_says_so(
        self, where: str, sealed: Path, typed: Callable[[str], Terminal], child_environment: dict[str, str]
    ) -> None:
        said = (
            f"thoth: key {sealed}: has a passphrase, and there is no terminal to ask for it; load it into ssh-agent"
            f" (ssh-add {sealed}); there is no ssh-agent (SSH_AUTH_SOCK is not set)\n"
        )
        if where == "no terminal":
            ran = subprocess.run(
                [*COMMAND, "ls"], input=f"{PASSPHRASE}\n", env=child_environment, start_new_session=True,
                capture_output=True, text=True, timeout=30, check=False,
            )  # fmt: skip
            assert (ran.returncode, ran.stdout, ran.stderr) == (1, "", said)
            return
        with typed("set -m; thoth ls & wait $!") as terminal:  # a job that asked there would be stopped
            assert terminal.ended() == 1
            assert terminal.seen.decode().replace("\r", "") == said

    def test_interrupted_at_the_question_the_terminal_is_as_it_was(
        self, sealed: Path, typed: Callable[[str], Terminal]
    ) -> None:
        with typed("exec " + " ".join((*COMMAND, "ls"))) as terminal:
            terminal.expect(f"Passphrase for {sealed}: ")
            terminal.write("\x03")
            assert terminal.ended() == 130
            assert terminal.modes() == terminal.fresh

    def test_bytes_that_are_no_text_open_nothing(self, sealed: Path, typed: Callable[[str], Terminal]) -> None:
        with typed("thoth ls") as terminal:
            terminal.expect(f"Passphrase for {sealed}: ")
            terminal.write("\udcff\n")
            terminal.expect(f"Passphrase for {sealed}: ")
            terminal.write("\x04")
            assert terminal.ended() == 1
            assert terminal.seen.decode().splitlines()[-1].endswith(": has a passphrase, and none was given")
