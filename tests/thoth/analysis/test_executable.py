"""The program of a core is found, verified, or refused with a reason; a path is only a place to look at."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.crash import Crasher, Writer, crash
from tests.support.elfwriter import (
    EM_386,
    EM_AARCH64,
    EM_X86_64,
    PT_LOAD,
    PT_NOTE,
    Segment,
    auxv,
    elf,
    freebsd_core,
    illumos_core,
    linux_core,
    note,
)
from tests.support.notewriter import Endian
from tests.support.replaced import REMOVED, SAME, Site
from thoth.analysis.executable import (
    Executable,
    Refused,
    WrongExecutable,
    core_build_id,
    find_executable,
    held_against,
    mapped_fifo,
)
from thoth.dumps.describe import describe
from thoth.dumps.elfcore import ElfCore
from thoth.dumps.source import LocalFile
from thoth.errors import SourceError

BASE = 0x400000
ID = bytes(range(20))
OTHER = bytes(range(1, 21))


@contextmanager
def opened(path: Path) -> Iterator[ElfCore]:
    with LocalFile(path) as source:
        core = ElfCore.from_source(source)
        assert core is not None
        yield core


def program(build_id: bytes | None = ID, *, type: int = 2, **machine: object) -> bytes:
    """A program that nobody could run, but that has all that is looked at."""
    endian: Endian = machine.get("endian", "little")  # type: ignore[assignment]  # what elf takes
    notes = b"" if build_id is None else note(b"GNU", 3, build_id, endian)
    return elf([Segment(PT_NOTE, note(b"GNU", 5, bytes(16), endian) + notes)], type=type, **machine)  # type: ignore[arg-type]  # what elf takes


def core_of(
    image: bytes, told: int | None = None, *, bits: int = 64, endian: Endian = "little", **more: object
) -> bytes:
    """A core that holds the first page of its program, and says that its headers are at ``told``."""
    headers = BASE + (64 if bits == 64 else 52) if told is None else told
    vector = note(b"CORE", 6, auxv([(3, headers), (9, BASE)], bits, endian), endian)
    segments = [Segment(PT_NOTE, vector), Segment(PT_LOAD, image.ljust(4096, b"\0"), BASE)]
    return elf(segments, bits=bits, endian=endian, **more)  # type: ignore[arg-type]  # what elf takes


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str, bytes], Path]:
    def write(name: str, data: bytes) -> Path:
        path = tmp_path / name
        path.write_bytes(data)
        return path

    return write


Write = Callable[[str, bytes], Path]


class TestARealCore:
    @pytest.mark.parametrize("by", ["kernel", "gdb"])
    @pytest.mark.parametrize("flags", [(), ("-no-pie",), ("-static",)], ids=str)
    def test_its_program_is_found_and_verified(
        self, crasher: Crasher, tmp_path: Path, flags: tuple[str, ...], by: Writer
    ) -> None:
        with opened(crasher.native(tmp_path / "core", flags=flags, by=by)) as core:
            found = find_executable(core, describe(core.source).exec)
        assert found == (Executable(str(crasher.executable(*flags)), verified=True), [])

    def test_without_a_build_id_it_is_not_verified(self, crasher: Crasher, tmp_path: Path) -> None:
        flags = ("-Wl,--build-id=none",)
        with opened(crasher.native(tmp_path / "core", flags=flags)) as core:
            assert find_executable(core, None) == (Executable(str(crasher.executable(*flags)), verified=False), [])

    def test_another_build_in_its_place_is_refused(self, crasher: Crasher, tmp_path: Path) -> None:
        place = tmp_path / "server"
        shutil.copy(crasher.executable(), place)
        dump = crash([str(place)], tmp_path / "core")
        place.unlink()
        shutil.copy(crasher.executable("-no-pie"), place)
        with opened(dump) as core:
            found, [refused] = find_executable(core, None)
        assert found is None
        assert refused.path == str(place)
        assert refused.reason.startswith("not the build that crashed: its build-id is ")

    def test_of_a_script_it_is_the_interpreter(self, tmp_path: Path) -> None:
        """AT_EXECFN names the script; the kernel mapped the interpreter."""
        script = tmp_path / "crash.sh"
        script.write_text(f"#!{os.path.realpath('/bin/bash')}\nkill -SEGV $$\n")
        script.chmod(0o700)
        with opened(crash([str(script)], tmp_path / "core", by="kernel")) as core:
            found, refused = find_executable(core, str(script))
        assert found is not None
        assert (Path(found.path).name, refused) == ("bash", [])


class TestReplaced:
    def test_the_same_build_in_its_place_is_taken(self, tmp_path: Path) -> None:
        site = Site(tmp_path)
        with opened(site.crash(SAME)) as core:
            assert find_executable(core, None, []) == (Executable(str(site.server), verified=True), [])

    @pytest.mark.parametrize("told", [None, "server"])
    def test_one_without_a_build_id_is_not_taken(self, tmp_path: Path, told: str | None) -> None:
        """What takes the place of a program is another build as a rule."""
        site = Site(tmp_path, "server", "-Wl,--build-id=none")
        with opened(site.crash(SAME)) as core:
            assert find_executable(core, told and str(site.server), []) == (None, [])

    @pytest.mark.parametrize("replace", [":", SAME])
    @pytest.mark.parametrize("flags", [(), ("-Wl,--build-id=none",)], ids=str)
    def test_one_that_is_really_called_so(self, tmp_path: Path, replace: str, flags: tuple[str, ...]) -> None:
        site = Site(tmp_path, "server (deleted)", *flags)
        with opened(site.crash(replace)) as core:
            found, refused = find_executable(core, None, [])
        verified = not flags
        wanted = None if replace == SAME and flags else Executable(str(site.server), verified=verified)
        assert (found, refused) == (wanted, [])

    def test_a_fifo_in_its_place_is_told(self, tmp_path: Path) -> None:
        site = Site(tmp_path)
        with opened(site.crash(REMOVED)) as core:
            os.mkfifo(site.library)
            assert mapped_fifo(core) == str(site.library)


class TestBuildIds:
    @pytest.mark.parametrize("bits", [32, 64])
    @pytest.mark.parametrize("endian", ["little", "big"])
    def test_the_core_s_is_read_in_every_layout(self, write: Write, bits: int, endian: Endian) -> None:
        image = program(bits=bits, endian=endian)
        with opened(write("core", core_of(image, bits=bits, endian=endian))) as core:
            assert core_build_id(core) == ID
            assert held_against(core, str(write("program", image))).verified

    @pytest.mark.parametrize(
        "core",
        [
            core_of(program(None)),
            core_of(b"no program"),
            core_of(program(), told=3),
            core_of(program(), told=BASE + 4096),
            core_of(program(), told=(1 << 64) - 1),
            core_of(program(), told=BASE + 128),
            core_of(program(type=4)),
            linux_core(),
            illumos_core(),
            freebsd_core(),
        ],
        ids=["none", "no ELF", "below zero", "behind", "far", "beside", "a core", "linux", "illumos", "freebsd"],
    )
    def test_a_core_that_does_not_tell(self, write: Write, core: bytes) -> None:
        with opened(write("core", core)) as dump:
            assert core_build_id(dump) is None

    def test_it_is_found_by_its_build_id(self, write: Write, tmp_path: Path) -> None:
        tree = tmp_path / ".build-id" / ID[:1].hex()
        tree.mkdir(parents=True)
        (tree / ID[1:].hex()).symlink_to(write("moved", program()))
        with opened(write("core", core_of(program()))) as core:
            found, refused = find_executable(core, "/no/such/file", [str(tree.parent)])
        assert (found, refused) == (Executable(str(tmp_path / "moved"), verified=True), [])


class TestRefused:
    @pytest.fixture
    def dump(self, write: Write) -> Path:
        return write("core", core_of(program()))

    def reason(self, dump: Path, path: Path) -> str:
        with opened(dump) as core:
            found, refused = find_executable(core, str(path), [])
            assert found is None
            assert [each.path for each in refused] == [str(path)]
            with pytest.raises((WrongExecutable, SourceError)) as error:
                held_against(core, str(path))
        assert refused == [Refused(str(path), str(error.value))]
        return refused[0].reason

    def test_another_build(self, dump: Path, write: Write) -> None:
        assert self.reason(dump, write("program", program(OTHER))) == (
            f"not the build that crashed: its build-id is {OTHER.hex()}, the dump's {ID.hex()}"
        )

    def test_a_build_that_has_no_id(self, dump: Path, write: Write) -> None:
        assert "it has no build-id" in self.reason(dump, write("program", program(None)))

    @pytest.mark.parametrize(
        "image",
        [program(bits=32, machine=EM_386), program(machine=EM_AARCH64), program(endian="big")],
        ids=["class", "machine", "order"],
    )
    def test_another_machine_s(self, dump: Path, write: Write, image: bytes) -> None:
        assert self.reason(dump, write("program", image)) == "a program for another machine than the dump is of"

    @pytest.mark.parametrize("data", [b"", b"#!/bin/sh\n", program(type=4), program(type=1)])
    def test_no_program(self, dump: Path, write: Write, data: bytes) -> None:
        assert self.reason(dump, write("program", data)) == "not a program"

    def test_a_fifo_does_not_block(self, dump: Path, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "program")
        assert self.reason(dump, tmp_path / "program") == "not a regular file"

    def test_a_directory(self, dump: Path, tmp_path: Path) -> None:
        assert self.reason(dump, tmp_path) == "not a regular file"

    def test_a_device(self, dump: Path) -> None:
        assert self.reason(dump, Path("/dev/zero")) == "not a regular file"

    @pytest.mark.parametrize("told", [b"program", b"./program", b"", b"../x", None, b"/no/such\xff\nfile"])
    def test_what_is_no_file_is_passed_over(
        self, dump: Path, write: Write, monkeypatch: pytest.MonkeyPatch, told: bytes | None
    ) -> None:
        monkeypatch.chdir(write("program", program()).parent)
        with opened(dump) as core:
            assert find_executable(core, told, []) == (None, [])

    def test_type_only_where_the_core_does_not_tell(self, write: Write) -> None:
        path = write("program", program(OTHER, machine=EM_X86_64))
        with opened(write("core", linux_core())) as core:
            assert find_executable(core, str(path)) == (Executable(str(path), verified=False), [])

    def test_any_program_without_a_core(self, write: Write) -> None:
        path = write("vmlinux", program(machine=EM_AARCH64))
        assert held_against(None, str(path)) == Executable(str(path), verified=False)
        with pytest.raises(WrongExecutable):
            held_against(None, str(write("text", b"no")))
