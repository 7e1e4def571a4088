"""Stacks by what only debuggers use: .debug_frame, and symbols in a file that another one names."""

from __future__ import annotations

import random
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.crash import crash
from tests.support.roots import program
from tests.thoth.dumps.test_stack_linux import held_against_gdb, stacks_of
from thoth.dumps.allowance import Allowance
from thoth.dumps.binaries import build_id_of, debug_links
from thoth.dumps.debug_frame import DebugFrame
from thoth.dumps.image import Image
from thoth.dumps.source import LocalFile

SOURCE = """
__attribute__((noinline)) int crash(int *at) { return *at; }
__attribute__((noinline)) int inner(int *at) { volatile char room[99]; room[3] = 1; return crash(at) + room[3]; }
__attribute__((noinline)) int outer(int *at) { volatile char room[50]; room[3] = 1; return inner(at) + room[3]; }
int main(int argc, char **argv) { return outer(0) + argc; }
"""
NAMES = [b"crash", b"inner", b"outer", b"main"]
BARE = ["-O2", "-g", "-fno-asynchronous-unwind-tables"]


def build(path: Path, *flags: str) -> Path:
    command = [program("gcc"), *flags, "-x", "c", "-", "-o", path]
    subprocess.run(command, input=SOURCE, text=True, check=True)
    return path


def objcopy(*words: str | Path) -> None:
    subprocess.run([program("objcopy"), *words], check=True)


def names(core: Path) -> list[bytes | None]:
    return [frame.symbol for frame in stacks_of(core).threads[0].frames]


@pytest.mark.parametrize("flags", [(), ("-Wl,--compress-debug-sections=zlib",), ("-static",)])
def test_what_was_built_without_unwind_tables(flags: tuple[str, ...], tmp_path: Path) -> None:
    path = build(tmp_path / "program", *BARE, *flags)
    core = crash([str(path)], tmp_path / "core")
    assert held_against_gdb(path, core).frames >= 6
    assert names(core)[:4] == NAMES
    assert {frame.trust for frame in stacks_of(core).threads[0].frames[1:4]} == {"cfi"}


@pytest.mark.parametrize("damage", ["cut", "noise", "zeros", "a bomb"])
def test_damaged_tables_take_frames_away_and_no_more(damage: str, tmp_path: Path) -> None:
    path = build(tmp_path / "program", *BARE)
    core = crash([str(path)], tmp_path / "core")
    known = [frame.pc for frame in stacks_of(core).threads[0].frames]
    objcopy("--dump-section", f".debug_frame={tmp_path / 'frames'}", path, tmp_path / "copy")
    data = (tmp_path / "frames").read_bytes()
    changed = {
        "cut": data[:50],
        "noise": data[:24] + random.Random(1).randbytes(len(data)),
        "zeros": bytes(100),
        "a bomb": (1).to_bytes(24, "little") + random.Random(2).randbytes(200),
    }
    (tmp_path / "frames").write_bytes(changed[damage])
    objcopy("--update-section", f".debug_frame={tmp_path / 'frames'}", path)
    found = [frame.pc for frame in stacks_of(core).threads[0].frames]
    assert len(known) > len(found) >= 1 and found == known[: len(found)]


def test_what_is_gone_through_is_bounded_for_all_libraries_together(tmp_path: Path) -> None:
    """Compressed, a table of nothing is small, and a process can have a thousand of them."""
    path = build(tmp_path / "program", *BARE)
    (tmp_path / "frames").write_bytes(
        b"\x0c\0\0\0\xff\xff\xff\xff" + bytes(8) + (b"\x0c\0\0\0" + bytes(12)) * 100_000
    )
    objcopy("--update-section", f".debug_frame={tmp_path / 'frames'}", path)
    objcopy("--compress-debug-sections=zlib", path)
    assert path.stat().st_size < 100_000
    with LocalFile(path) as file:
        image = Image.of_file(file)
        assert image is not None
        allowance = Allowance(2_000_000)
        table = DebugFrame(image, bytes, allowance)
        assert table.before(1 << 40) is not None
        assert not allowance.take(128)
        assert DebugFrame(image, bytes, allowance).before(1 << 40) is None


@pytest.fixture
def stripped(tmp_path: Path) -> tuple[Path, Path]:
    """A program that names the file with its symbols, and that file, which lies elsewhere."""
    path, apart = build(tmp_path / "program", *BARE), tmp_path / "apart" / "program.debug"
    apart.parent.mkdir()
    objcopy("--only-keep-debug", path, apart)
    objcopy("--strip-all", path)
    objcopy(f"--add-gnu-debuglink={apart}", path)
    return path, apart


@pytest.mark.parametrize("place", ["program.debug", ".debug/program.debug"])
def test_symbols_in_the_file_that_is_named(place: str, stripped: tuple[Path, Path], tmp_path: Path) -> None:
    path, apart = stripped
    core = crash([str(path)], tmp_path / "core")
    assert names(core) == [None]
    (tmp_path / place).parent.mkdir(exist_ok=True)
    shutil.copy(apart, tmp_path / place)
    assert names(core)[:4] == NAMES
    with LocalFile(path) as file:
        assert {frame.build_id for frame in stacks_of(core).threads[0].frames[:4]} == {build_id_of(file)}


def test_symbols_of_another_build_are_not_taken(stripped: tuple[Path, Path], tmp_path: Path) -> None:
    core = crash([str(stripped[0])], tmp_path / "core")
    other = build(tmp_path / "other", "-O0", "-g")
    objcopy("--only-keep-debug", other, tmp_path / "program.debug")
    assert names(core) == [None]


def test_the_places_are_those_where_gdb_looks() -> None:
    assert debug_links(b"/usr/bin/a.debug") == [
        b"/usr/bin/a.debug",
        b"/usr/bin/.debug/a.debug",
        b"/usr/lib/debug/usr/bin/a.debug",
    ]
    assert debug_links(b"") == debug_links(b"/usr/bin/") == []
