"""What a debugger in the sandbox reads, which root runs as a user that belongs to nobody."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.support.crash import Crasher, crash
from tests.support.elfwriter import illumos_core
from tests.support.replaced import SAME, Site
from thoth.analysis.debugger import Subject, subject
from thoth.analysis.executable import Executable
from thoth.analysis.reach import within_reach, within_work
from thoth.dumps.binaries import build_id_of
from thoth.dumps.source import LocalFile
from thoth.model import Identity

WHO = Identity("0" * 32)

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root runs debuggers as another user")


class TestProgram:
    def test_what_all_may_read_stays_where_it_is(self, tmp_path: Path) -> None:
        shell = Executable(os.path.realpath("/bin/sh"), verified=True)
        assert within_reach(shell, tmp_path) == shell
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize("private", ["file", "directory"])
    def test_what_they_may_not_is_copied(self, tmp_path: Path, private: str) -> None:
        then = 1449234626 * 10**9
        with TemporaryDirectory() as made:
            place = Path(made)
            place.chmod(0o700 if private == "directory" else 0o755)
            (place / "server").write_bytes(b"program")
            (place / "server").chmod(0o600 if private == "file" else 0o755)
            os.utime(place / "server", ns=(then, then))
            found = within_reach(Executable(str(place / "server"), verified=True), tmp_path)
        assert found == Executable(str(tmp_path / "server"), verified=True)
        assert (tmp_path / "server").read_bytes() == b"program"
        assert (tmp_path / "server").stat().st_mode & 0o027 == 0
        assert (tmp_path / "server").stat().st_mtime_ns == then


class TestLibraries:
    @pytest.fixture
    def work(self) -> Iterator[Path]:
        with TemporaryDirectory() as made:
            yield Path(made)

    @pytest.fixture
    def crashed(self, crasher: Crasher, tmp_path: Path) -> Callable[..., tuple[Subject, Path]]:
        """The core of a program that crashes in a library which only root can read, and that library."""

        def crashed(*flags: str) -> tuple[Subject, Path]:
            server, library = crasher.with_library(tmp_path, *flags)
            return subject(crash([str(server)], tmp_path / "core"), WHO), library

        return crashed

    def test_one_that_only_root_can_read_is_copied(
        self, crashed: Callable[..., tuple[Subject, Path]], work: Path
    ) -> None:
        about, library = crashed()
        place = within_work(about, None, work)
        names = {path.name: path for path in place.libraries.iterdir()}
        assert {*names} == {"libreader.so.1.0", "libreader.so.1"}, "its own name, and the one that is linked to"
        assert {path.read_bytes() for path in names.values()} == {library.read_bytes()}
        assert {path.stat().st_mode & 0o227 for path in names.values()} == {0}
        assert place.hidden == ()

    @pytest.mark.parametrize("name", ["libreader.so.1", "libreader.so.1 (deleted)"])
    def test_one_that_was_replaced_by_the_same_is_copied(self, tmp_path: Path, work: Path, name: str) -> None:
        site = Site(tmp_path)
        core = site.crash(SAME)
        site.library.rename(site.place / name)
        place = within_work(subject(core, WHO), None, work)
        assert name in {path.name for path in place.libraries.iterdir()}

    def test_one_that_is_not_the_core_s_is_not(
        self, crashed: Callable[..., tuple[Subject, Path]], work: Path
    ) -> None:
        about, library = crashed()
        with LocalFile(library) as file:
            build_id = bytes.fromhex(build_id_of(file) or "")
        library.write_bytes(library.read_bytes().replace(build_id, bytes(20)))
        place = within_work(about, None, work)
        assert (list(place.libraries.iterdir()), place.hidden) == ([], ())

    def test_what_the_dump_names_and_is_no_library_is_not(
        self, crashed: Callable[..., tuple[Subject, Path]], work: Path
    ) -> None:
        """A dump may name what it likes: the keys of root, for one."""
        about, library = crashed()
        library.write_bytes(b"-----BEGIN OPENSSH PRIVATE KEY-----")
        place = within_work(about, None, work)
        assert (list(place.libraries.iterdir()), place.hidden) == ([], ())

    def test_one_of_which_the_core_does_not_tell_stays_hidden(
        self, crashed: Callable[..., tuple[Subject, Path]], work: Path
    ) -> None:
        about, library = crashed("-Wl,--build-id=none")
        place = within_work(about, None, work)
        assert (list(place.libraries.iterdir()), place.hidden) == ([], (str(library),))

    def test_of_another_system_nothing_is_looked_for(self, tmp_path: Path, work: Path) -> None:
        (tmp_path / "core").write_bytes(illumos_core())
        assert within_work(subject(tmp_path / "core", WHO), None, work).hidden == ()
