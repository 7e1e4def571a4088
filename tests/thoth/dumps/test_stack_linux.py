"""Stacks of processes that really crashed, held against gdb's, frame by frame."""

from __future__ import annotations

import lzma
import random
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.backtraces import NOWHERE, Comparison, compared, gdb_backtraces
from tests.support.crash import Crasher, crash
from tests.support.roots import program
from tests.support.sources import Logged
from thoth.dumps.binaries import LocalBinaries
from thoth.dumps.source import LocalFile
from thoth.dumps.stack import Stacks, read_stacks

SOURCE = Path(__file__).parents[2] / "support" / "crashes.cpp"
FLAGS = {
    "plain": ["-O2"],
    "unoptimized": ["-O0", "-no-pie"],
    "static": ["-O2", "-static"],
    "stripped": ["-O2", "-s"],
    "frame-pointers": ["-O1", "-fno-omit-frame-pointer", "-fno-asynchronous-unwind-tables"],
}

Build = Callable[[str], Path]


@pytest.fixture(scope="module")
def build(tmp_path_factory: pytest.TempPathFactory) -> Build:
    """The program that crashes, built in the way of this name when first asked for."""
    folder = tmp_path_factory.mktemp("crashes")

    def built(way: str) -> Path:
        path = folder / way
        if not path.exists():
            subprocess.run([program("g++"), *FLAGS[way], "-pthread", SOURCE, "-o", path], check=True)
        return path

    return built


def stacks_of(core: Path) -> Stacks:
    with LocalFile(core) as source, LocalBinaries(debug=NOWHERE) as binaries:
        stacks = read_stacks(source, binaries)
    assert stacks is not None
    return stacks


def held_against_gdb(executable: Path, core: Path) -> Comparison:
    """Every frame of ours is at the place where gdb has it; of their names, 95 % are the same."""
    stacks, backtraces = stacks_of(core), gdb_backtraces(executable, core)
    assert {thread.id for thread in stacks.threads} == backtraces.keys()
    for thread in stacks.threads:
        places = [frame.pc for frame in thread.frames]
        assert places == [pc for pc, _ in backtraces[thread.id]][: len(places) if thread.cut else None]
    found = compared(stacks, backtraces)
    assert found.equal >= 0.95 * found.frames, found.different
    return found


WAYS = [
    "abort",
    "null",
    "nullcall",
    "fpe",
    "overflow",
    "deep",
    "handler",
    "altstack",
    "throw",
    "qsort",
    "rust",
    "memcpy",
]


@pytest.mark.parametrize("how", WAYS)
def test_a_crash_of_cplusplus(how: str, build: Build, tmp_path: Path) -> None:
    core = crash([str(build("plain")), how], tmp_path / "core")
    assert held_against_gdb(build("plain"), core).frames >= 5


@pytest.mark.parametrize("how", ["null", "handler"])
@pytest.mark.parametrize("way", ["unoptimized", "static", "stripped", "frame-pointers"])
def test_however_it_was_built(way: str, how: str, build: Build, tmp_path: Path) -> None:
    core = crash([str(build(way)), how], tmp_path / "core")
    assert held_against_gdb(build(way), core).frames >= 5


def test_each_thread_of_several(build: Build, tmp_path: Path) -> None:
    core = crash([str(build("plain")), "null", "6"], tmp_path / "core")
    found = held_against_gdb(build("plain"), core)
    stacks = stacks_of(core)
    assert (len(stacks.threads), found.frames >= 30) == (8, True)
    first, *others = stacks.threads
    assert (first.signal, {thread.signal for thread in others}) == (11, {None})
    assert first.frames[0].text.startswith(b"_ZN12_GLOBAL__N_15crashEv+0x")


def test_a_process_of_python(crasher: Crasher, tmp_path: Path) -> None:
    core = crasher.python(tmp_path / "core")
    found = held_against_gdb(Path(sys.executable).resolve(), core)
    assert found.frames > 8
    assert any(frame.symbol == b"_PyEval_EvalFrameDefault" for frame in stacks_of(core).threads[0].frames)


def test_a_core_that_gdb_wrote(build: Build, tmp_path: Path) -> None:
    core = crash([str(build("plain")), "null"], tmp_path / "core", by="gdb")
    assert held_against_gdb(build("plain"), core).frames >= 5


# ---- where symbols come from ----------------------------------------------------------------------


def test_symbols_that_were_stripped_and_packed(build: Build, tmp_path: Path) -> None:
    """As Fedora ships its packages: .symtab is gone, and what it had is compressed in .gnu_debugdata."""
    whole, lean = build("plain"), tmp_path / "lean"
    objcopy = program("objcopy")
    subprocess.run([objcopy, "--only-keep-debug", whole, tmp_path / "symbols"], check=True)
    (tmp_path / "packed").write_bytes(lzma.compress((tmp_path / "symbols").read_bytes()))
    packing = [objcopy, "-S", "--add-section", f".gnu_debugdata={tmp_path / 'packed'}", whole, lean]
    subprocess.run(packing, check=True)
    core = crash([str(lean), "rust"], tmp_path / "core")
    assert held_against_gdb(lean, core).frames > 5
    symbols = [frame.symbol for frame in stacks_of(core).threads[0].frames]
    assert b"_RNvMNtCs5l0EXMQXRMU_5crate4mainNtB2_4Load3run" in symbols


def test_symbols_in_a_file_of_their_own(build: Build, tmp_path: Path) -> None:
    stripped = shutil.copy(build("plain"), tmp_path / "program")
    build_id = subprocess.run([program("readelf"), "-n", stripped], capture_output=True, text=True, check=True).stdout
    digits = build_id.partition("Build ID: ")[2].split()[0]
    place = tmp_path / "debug" / digits[:2] / f"{digits[2:]}.debug"
    place.parent.mkdir(parents=True)
    subprocess.run([program("objcopy"), "--only-keep-debug", stripped, place], check=True)
    subprocess.run([program("strip"), stripped], check=True)
    core = crash([str(stripped), "null"], tmp_path / "core")
    assert stacks_of(core).threads[0].frames[0].symbol is None
    with LocalFile(core) as source, LocalBinaries(debug=str(tmp_path / "debug")) as binaries:
        stacks = read_stacks(source, binaries)
    assert stacks is not None
    top = stacks.threads[0].frames[0]
    assert (top.symbol, top.build_id) == (b"_ZN12_GLOBAL__N_15crashEv", digits)


def test_another_build_in_its_place_is_not_believed(build: Build, tmp_path: Path) -> None:
    path = shutil.copy(build("unoptimized"), tmp_path / "program")
    core = crash([str(path), "null"], tmp_path / "core")
    known = stacks_of(core).threads[0].frames
    Path(path).unlink()
    shutil.copy(build("plain"), path)
    found = stacks_of(core).threads[0].frames
    assert found[0].symbol is None and known[0].symbol == b"_ZN12_GLOBAL__N_15crashEv"
    assert [frame.pc for frame in found] == [frame.pc for frame in known][: len(found)]
    assert (found[0].build_id, found[0].offset) == (known[0].build_id, known[0].offset)


def test_without_binaries_what_is_known_is_true(build: Build, tmp_path: Path) -> None:
    core = crash([str(build("unoptimized")), "null"], tmp_path / "core")
    with LocalFile(core) as source:
        stacks = read_stacks(source)
    assert stacks is not None
    places = [(frame.pc, frame.object, frame.build_id) for frame in stacks.threads[0].frames]
    known = [(frame.pc, frame.object, frame.build_id) for frame in stacks_of(core).threads[0].frames]
    assert len(places) >= 3 and places == known[: len(places)]
    assert {frame.trust for frame in stacks.threads[0].frames} == {"context", "frame-pointer"}


@pytest.mark.parametrize("damage", ["cut", "zeros", "noise"])
def test_a_damaged_binary_takes_names_and_frames_away_and_no_more(damage: str, build: Build, tmp_path: Path) -> None:
    path = Path(shutil.copy(build("plain"), tmp_path / "program"))
    core = crash([str(path), "null"], tmp_path / "core")
    known = [frame.pc for frame in stacks_of(core).threads[0].frames]
    data = path.read_bytes()
    path.unlink()
    half = data[:0x1000]  # its headers and its build-id
    rest = {"cut": b"", "zeros": bytes(len(data)), "noise": random.Random(1).randbytes(len(data))}
    path.write_bytes(half + rest[damage])
    found = [frame.pc for frame in stacks_of(core).threads[0].frames]
    assert len(found) >= 1 and found == known[: len(found)]


# ---- how much is read -----------------------------------------------------------------------------


def test_little_is_read_however_large_the_core(build: Build, tmp_path: Path) -> None:
    core = crash([str(build("plain")), "null", "6"], tmp_path / "core")
    expected = stacks_of(core)
    with core.open("r+b") as file:
        file.truncate(10 << 30)
    with LocalFile(core) as file, LocalBinaries(debug=NOWHERE) as binaries:
        source = Logged(file)
        assert read_stacks(source, binaries) == expected
    assert sum(each.length for each in source.reads) < 512 << 10
