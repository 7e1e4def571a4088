"""Stacks of processes whose executable and libraries were replaced before they crashed, as an upgrade does."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.backtraces import NOWHERE
from tests.support.replaced import DUMP_FILES, REMOVED, SAME, Site
from thoth.dumps.binaries import LocalBinaries, build_id_of
from thoth.dumps.source import LocalFile
from thoth.dumps.stack import Frame, modules_in, read_stacks


def frames(core: Path) -> tuple[Frame, ...]:
    with LocalFile(core) as source, LocalBinaries(debug=NOWHERE) as binaries:
        stacks = read_stacks(source, binaries)
    assert stacks is not None
    return stacks.threads[0].frames


def functions(core: Path) -> list[bytes | None]:
    return [frame.symbol for frame in frames(core)]


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    made = Site(tmp_path)
    monkeypatch.setenv("LD_LIBRARY_PATH", str(made.place))
    return made


def test_the_same_build_in_their_place(site: Site) -> None:
    expected = [(frame.object, frame.offset, frame.symbol) for frame in frames(site.crash(":"))]
    core = site.crash(SAME)
    assert b"/server (deleted)\0" in core.read_bytes(), "the kernel has marked what was replaced"
    found = frames(core)
    assert [(frame.object, frame.offset, frame.symbol) for frame in found] == expected
    assert [name for name in functions(core) if name in (b"load_table", b"_ZL5servev", b"main")] == [
        b"load_table",
        b"_ZL5servev",
        b"main",
    ]


def test_nothing_in_their_place(site: Site) -> None:
    """The place of a frame is called as if the file were there."""
    found = frames(site.crash(REMOVED))
    assert {frame.object for frame in found} == {str(site.libc).encode()}
    assert found[0].symbol is None


def test_of_another_build_in_their_place_nothing_is_used(site: Site) -> None:
    """They differ in nothing but their build-id, so that whoever used them would get all names."""
    for path in site.files:
        with LocalFile(path) as file:
            build_id = bytes.fromhex(build_id_of(file) or "")
        Path(f"{path}.other").write_bytes(path.read_bytes().replace(build_id, bytes(20)))
    core = site.crash('mv "$file.other" "$file"')
    assert {*functions(core)} == {None}


def test_without_their_files_the_core_s_own_pages_tell_what_they_can(site: Site) -> None:
    core = site.crash(REMOVED, before=DUMP_FILES)
    found = functions(core)
    assert b"abort" in found
    assert b"load_table" in found


def test_one_that_is_really_called_so(tmp_path: Path) -> None:
    site = Site(tmp_path, "server (deleted)")
    for replace in (":", SAME):
        core = site.crash(replace)
        assert b"_ZL5servev" in functions(core)
        with LocalFile(core) as source:
            assert [each.name for each in modules_in(source) if each.main] == [str(site.server).encode()]


def test_a_library_that_is_really_called_so(tmp_path: Path) -> None:
    site = Site(tmp_path)
    called_so = site.place / "libreader.so.1 (deleted)"
    site.library.rename(called_so)
    site.library.symlink_to(called_so)
    # What the linker has found by the link is listed under its own name.
    assert b"_ZL11read_recordPVi" in functions(site.crash('[ ! -L "$file" ] || rm "$file"'))
