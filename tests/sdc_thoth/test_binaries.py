"""Stacks of what crashed on a node, with that node's own executables and libraries: none of them is here."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from sdc_thoth.ask import Asker
from sdc_thoth.binaries import NodeBinaries
from sdc_thoth.images import Ask, Told
from sdc_thoth.session import Credentials, SshSession, open_session
from tests.install.test_node_command import guarded
from tests.sdc_thoth.reaching import at
from tests.support.backtraces import NOWHERE, gdb_backtraces
from tests.support.crash import crash
from tests.support.mishaps import collector, wrap
from tests.support.replaced import SAME, Site
from tests.support.roots import program
from tests.support.sshd import Node
from thoth import LocalFile, ReadAt, build_id_of
from thoth.dumps.binaries import LocalBinaries
from thoth.stacks import stacks_in

SOURCE = Path(__file__).parents[1] / "support" / "crashes.cpp"
PLACE = "/var/tmp/thoth"


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program that crashes."""
    path = tmp_path_factory.mktemp("built") / "program"
    subprocess.run([program("g++"), "-O2", "-pthread", SOURCE, "-o", path], check=True)
    return path


def libraries(executable: Path) -> list[Path]:
    listed = subprocess.run(["ldd", executable], capture_output=True, text=True, check=True).stdout
    return [Path(word).resolve() for word in listed.split() if word.startswith("/")]


def put_with_libraries(node: Node, executable: Path) -> None:
    for path in [executable, *libraries(executable)]:
        node.put(str(path), path)


def crashed(node: Node, built: Path, folder: Path) -> tuple[Path, Path]:
    """The program and its core, which lies on the node with all that the process had mapped."""
    executable = Path(shutil.copy(built, folder / "program"))
    core = crash([str(executable), "null", "3"], folder / "core.null.1")
    put_with_libraries(node, executable)
    node.put(f"{PLACE}/core.null.1", core)
    return executable, core


def known_here(core: Path) -> dict[str, Any]:
    with LocalFile(core) as source, LocalBinaries(debug=NOWHERE) as binaries:
        return stacks_in(source, binaries)


def collected(home: Path, node: Node) -> dict[str, Any]:
    place = collector(home, [node])
    result = place.collect()
    assert (result.code, set(result.results.values())) == (0, {"stored"}), result.document
    (info,) = place.infos()
    return dict(info.document)


# ---- a pass ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("flavour", ["gnu", "busybox", "little"])
def test_a_stack_is_what_gdb_says_with_what_the_node_has(
    flavour: str, node: Callable[..., Node], built: Path, tmp_path: Path
) -> None:
    machine = guarded(node(flavour=flavour))
    executable, core = crashed(machine, built, tmp_path)
    backtraces, expected = gdb_backtraces(executable, core), known_here(core)
    executable.unlink()
    document = collected(tmp_path / "home", machine)
    for thread in document["threads"]:
        assert [int(frame["pc"], 16) for frame in thread["frames"]] == [pc for pc, _ in backtraces[thread["id"]]]
    assert len(document["threads"]) == len(backtraces) == 5
    assert document["stack"][0].startswith("_ZN12_GLOBAL__N_15crashEv+0x")
    assert {key: document[key] for key in expected} == expected


def test_what_was_replaced_by_the_same_is_used(node: Callable[..., Node], tmp_path: Path) -> None:
    machine = guarded(node(flavour="gnu"))
    site = Site(tmp_path)
    core = site.crash(SAME)
    put_with_libraries(machine, site.server)
    machine.put(f"{PLACE}/core.server.1", core)
    expected = known_here(core)
    shutil.rmtree(site.place)
    document = collected(tmp_path / "home", machine)
    assert any(line.startswith("_ZL5servev+") for line in document["stack"])
    assert document["stack"] == expected["stack"]


def test_another_build_on_the_node_is_not_believed(node: Callable[..., Node], built: Path, tmp_path: Path) -> None:
    machine = node(flavour="gnu")
    executable, core = crashed(machine, built, tmp_path)
    expected = known_here(core)
    subprocess.run([program("g++"), "-O0", "-pthread", SOURCE, "-o", executable], check=True)
    machine.put(str(executable), executable)
    executable.unlink()
    document = collected(tmp_path / "home", machine)
    first = document["threads"][0]["frames"][0]
    assert first["pc"] == expected["threads"][0]["frames"][0]["pc"]
    assert "symbol" not in first and document["stack"][0] == f"{first['pc']}()"


def test_a_node_that_answers_no_such_request(node: Callable[..., Node], built: Path, tmp_path: Path) -> None:
    """As one with the command of a release that knew none: the dump is stored, with less of a stack."""
    machine = guarded(node(flavour="gnu"))
    crashed(machine, built, tmp_path)
    machine.replace_program("logger", '#!/bin/sh\necho "$@" >>/logged\n')
    command = machine.path("/opt/custom/thoth-node")
    command.write_bytes(command.read_bytes().replace(b'"image$tab"*', b'"never$tab"*'))
    document = collected(tmp_path / "home", machine)
    assert document["threads"][0]["frames"][0]["trust"] == "context"
    assert "stack_failed" not in document
    assert len(machine.path("/logged").read_text().splitlines()) == 1


# ---- in parts, within limits -----------------------------------------------------------------------


@pytest.fixture
def machine(node: Callable[..., Node], built: Path) -> Node:
    only = node(flavour="gnu")
    only.put("/opt/program", built)
    only.put("/opt/large", built.read_bytes() + bytes(64 << 20))
    return only


@pytest.fixture
def session(machine: Node, trusted: Callable[..., Credentials]) -> Iterator[SshSession]:
    with open_session(at(machine), trusted(machine), connect_timeout=5, idle_timeout=5) as opened:
        yield opened


def build_id(path: Path) -> str:
    with LocalFile(path) as file:
        return build_id_of(file) or ""


class Counting(Asker):
    """Counts what it asks."""

    def __init__(self, session: SshSession) -> None:
        super().__init__(session, ())
        self.asked = 0

    def images(self, asks: Sequence[Ask], seconds: float) -> list[Told]:
        self.asked += 1
        return super().images(asks, seconds)


def shells(machine: Node) -> int:
    """How often the node's script has run."""
    return len(machine.path("/asked").read_text().splitlines()) if machine.path("/asked").exists() else 0


def count(machine: Node) -> None:
    wrap(machine, "uname", "echo >>/asked")


def whole(file: ReadAt | None) -> bytes:
    assert file is not None
    return b"".join(file.read_at(at, 3000) for at in range(0, file.size, 3000))


def test_few_questions_bring_a_whole_file(machine: Node, session: SshSession, built: Path) -> None:
    count(machine)
    binaries = NodeBinaries(asker := Counting(session))
    assert whole(binaries.ration().open(b"/opt/program", build_id(built))) == built.read_bytes()
    once = asker.asked
    assert 1 <= once <= 4
    assert whole(binaries.ration().open(b"/elsewhere/program", build_id(built))) == built.read_bytes()
    assert asker.asked == once
    assert shells(machine) == 1


def test_files_without_a_build_id_are_not_taken_for_each_other(machine: Node, session: SshSession) -> None:
    """They have no name but their path; who asks for one judges what comes."""
    files = {
        f"/opt/{name}": b"\x7fELF\2\1".ljust(16, b"\1") + b"\2\0" + name.encode() * 100 for name in ("one", "other")
    }
    for path, content in files.items():
        machine.put(path, content)
    binaries = NodeBinaries(Asker(session, ()))
    for path, content in [*files.items()] * 2:
        assert whole(binaries.ration().open(path.encode(), "")) == content


def test_what_is_not_there_is_asked_for_once(machine: Node, session: SshSession, built: Path) -> None:
    binaries = NodeBinaries(asker := Counting(session))
    for _ in range(3):
        assert binaries.ration().open(b"/opt/gone", build_id(built)) is None
        assert binaries.ration().symbols("ab" * 20) is None
        assert binaries.ration().open(b"relative", build_id(built)) is None
    assert asker.asked == 2
    assert binaries.ration().open(b"/opt/program", "ab" * 20) is None


def test_what_is_not_at_one_path_may_be_at_another(machine: Node, session: SshSession, built: Path) -> None:
    """A library that was replaced is listed with a mark behind its path, and so may one be that is called so."""
    binaries = NodeBinaries(Asker(session, ()))
    assert binaries.ration().open(b"/opt/gone", build_id(built)) is None
    assert whole(binaries.ration().open(b"/opt/program", build_id(built))) == built.read_bytes()


def test_one_core_gets_no_more_than_its_ration(machine: Node, session: SshSession, built: Path) -> None:
    binaries = NodeBinaries(Asker(session, ()))
    ration = binaries.ration()
    file = ration.open(b"/opt/large", build_id(built))
    assert file is not None
    with pytest.raises(Exception, match="takes too much"):
        whole(file)
    assert ration.spent and ration.symbols("ab" * 20) is None
    with pytest.raises(Exception, match="takes too much"):
        file.read_at(file.size - 10, 10)
    again = binaries.ration().open(b"/opt/large", build_id(built))
    assert again is not None and again.read_at(again.size - 10, 10) == bytes(10)


def test_a_node_gets_no_more_than_its_time(machine: Node, session: SshSession, built: Path) -> None:
    times = iter(range(0, 1000, 50))
    binaries = NodeBinaries(Asker(session, ()), clock=lambda: float(next(times)))
    file = binaries.ration().open(b"/opt/large", build_id(built))
    assert file is not None
    assert file.read_at(32 << 20, 10) == bytes(10)  # the second question, of 50 s each
    with pytest.raises(Exception, match="takes too much"):
        file.read_at(48 << 20, 10)


def test_a_file_that_is_replaced_meanwhile(machine: Node, session: SshSession, built: Path) -> None:
    file = NodeBinaries(Asker(session, ())).ration().open(b"/opt/large", build_id(built))
    assert file is not None
    machine.put("/opt/large", built.read_bytes() + bytes(65 << 20))
    with pytest.raises(Exception, match="was replaced"):
        file.read_at(32 << 20, 10)


@pytest.mark.parametrize("swap", ["mkfifo", "truncate -s 9999"])
def test_a_file_that_hangs_or_changes_costs_its_own_core(
    machine: Node, session: SshSession, built: Path, swap: str
) -> None:
    """The script sees a file in its FIFO, as if it came after the look; or the file shrinks before it is read."""
    machine.put("/evil/library", built)
    if swap == "mkfifo":
        asker = Asker(session, ())
        text = asker._script
        look = b'[ -f "./$name" ] || return 0\n'
        assert text.count(look) == 1
        asker._script = text.replace(look, b"")
        machine.path("/evil/library").unlink()
        os.mkfifo(machine.path("/evil/library"))
    else:
        asker = Asker(session, ())
        wrap(machine, "dd", f'case "$PWD $1" in "/evil bs=4096") {swap} /evil/library ;; esac')
    binaries = NodeBinaries(asker)
    assert binaries.ration().open(b"/evil/library", "ab" * 20) is None
    assert whole(binaries.ration().open(b"/opt/program", build_id(built))) == built.read_bytes()


def test_a_node_that_does_not_answer(machine: Node, session: SshSession, built: Path) -> None:
    wrap(machine, "dd", 'if [ "$1" != bs=1 ]; then while echo; do sleep 0.05; done; fi')
    binaries = NodeBinaries(Asker(session, ()), patience=0.5)
    started = time.monotonic()
    assert binaries.ration().open(b"/opt/program", build_id(built)) is None
    assert time.monotonic() - started < 5
    with session.run("echo still here") as channel:  # the session is as good as before
        assert channel.read_until(b"\n", 100) == b"still here"


def test_a_session_that_has_ended(session: SshSession, built: Path) -> None:
    binaries = NodeBinaries(Asker(session, ()))
    session.close()
    assert binaries.ration().open(b"/opt/program", build_id(built)) is None
