"""Where the command's lines go, and what becomes of a pass whose reader is gone."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.collector import Collector
from tests.support.elfwriter import illumos_core
from tests.support.invariants import check_store
from tests.support.mishaps import collector
from tests.support.sshd import Fleet

PLACE = "/var/tmp/thoth"


def planted(fleet: Callable[..., Fleet]) -> Fleet:
    nodes = fleet(4)
    for number, node in enumerate(nodes):
        node.put(f"{PLACE}/core.{number}", illumos_core(pid=number + 1, size=20_000))
    return nodes


def closed(home: Collector, which: str, *command: str) -> subprocess.CompletedProcess[str]:
    """The command with some of its streams closed, as a shell writes it."""
    shell = ["/bin/sh", "-c", f'exec "$@" {which}', "sh", *command]
    return subprocess.run(shell, env=home.environment, capture_output=True, text=True, timeout=90, check=False)


def test_F38_a_pass_without_a_reader_goes_on_quietly(fleet: Callable[..., Fleet], tmp_path: Path) -> None:
    home = collector(tmp_path, planted(fleet))
    pass_ = home.start()
    assert pass_.stdout is not None and pass_.stderr is not None
    pass_.stdout.close()
    talk = pass_.stderr.read()
    pass_.stderr.close()
    assert (pass_.wait(60), talk) == (141, "")
    assert len(home.stored()) == 4
    check_store(home)


@pytest.mark.parametrize("flags", [(), ("--json",)])
def test_F38_a_pass_whose_stdout_is_closed_goes_on_quietly(
    fleet: Callable[..., Fleet], tmp_path: Path, flags: tuple[str, ...]
) -> None:
    home = collector(tmp_path, planted(fleet))
    done = closed(home, ">&-", *home.command(*flags))
    said = [line for line in done.stderr.splitlines() if "discovering" not in line]
    assert (done.returncode, said) == (141, [])
    assert len(home.stored()) == 4
    check_store(home)
    assert home.run().returncode == 0, "the pass has noted that it ended"


def test_F38_a_closed_stderr_takes_nothing_from_the_report(fleet: Callable[..., Fleet], tmp_path: Path) -> None:
    home = collector(tmp_path, planted(fleet))
    done = closed(home, "2>&-", *home.command("--json"))
    assert (done.returncode, len(json.loads(done.stdout)["dumps"])) == (0, 4)
    check_store(home)


def test_F38_status_and_hostkeys_whose_streams_are_closed(fleet: Callable[..., Fleet], tmp_path: Path) -> None:
    home = collector(tmp_path, fleet(1))
    home.run()
    program = home.command()[0]
    for words in (["status"], ["hostkeys", *home.options]):
        done = closed(home, ">&-", program, *words)
        assert (done.returncode, done.stderr) == (141, "")
    (home.home / "known_hosts").unlink()
    unasked = closed(home, "<&- 2>&-", program, "hostkeys", *home.options)
    assert (unasked.returncode, "not pinned: 1 key of 1 node" in unasked.stdout) == (1, True)
    missing = closed(home, "2>&-", program, "--inventory", "/nowhere")
    assert (missing.returncode, missing.stdout) == (1, "")


def test_F38_a_full_disk_under_the_report_is_said_once(fleet: Callable[..., Fleet], tmp_path: Path) -> None:
    home = collector(tmp_path, planted(fleet))
    for flags in ([], ["--json"]):
        with Path("/dev/full").open("w") as full:
            command, environment = home.command(*flags), home.environment
            done = subprocess.run(
                command, env=environment, stdout=full, stderr=subprocess.PIPE, text=True, check=False
            )
        said = [line for line in done.stderr.splitlines() if "discovering" not in line]
        assert (done.returncode, said) == (1, ["sdc-thoth: stdout: No space left on device"])
    assert len(home.stored()) == 4


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["stauts"], "there is no command 'stauts'; did you mean 'status'?"),
        (["--inventory", "F", "status"], "'status' has to come first: sdc-thoth status [OPTION ...]"),
        (["--debug=1", "-n"], "see sdc-thoth --help"),
        (["collect"], "there is no command 'collect'; see sdc-thoth --help"),
        (["--foo", "status"], "unrecognized arguments: --foo status; see sdc-thoth --help"),
    ],
)
def test_a_misspelled_command(tmp_path: Path, words: list[str], said: str) -> None:
    done = Collector(tmp_path, "").command_run(*words)
    assert (done.returncode, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith("sdc-thoth: ") and line.endswith(said)


def test_help_names_the_commands(tmp_path: Path) -> None:
    usage = Collector(tmp_path, "").command_run("--help").stdout.partition("\n\n")[0]
    assert "sdc-thoth status" in usage and "sdc-thoth hostkeys" in usage


def test_lines_of_several_nodes_stay_lines(fleet: Callable[..., Fleet], tmp_path: Path) -> None:
    home = collector(tmp_path, planted(fleet))
    for _ in range(3):
        lines = home.run("-n").stdout.splitlines()
        assert all(re.fullmatch(r"discovering dumps on cn\d", line) for line in lines if "discovering" in line)
        assert len(lines) == len(set(lines))


def test_a_bad_store_leaves_no_half_of_a_document(fleet: Callable[..., Fleet], tmp_path: Path) -> None:
    home = collector(tmp_path, fleet(1))
    done = subprocess.run(
        home.command("--json"),
        env={**home.environment, "THOTH_STORE": "file:///dev/null/x"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert len(done.stderr.splitlines()) == 1
