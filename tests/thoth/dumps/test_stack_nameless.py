"""Stacks of executables that have no build-id which the core could tell: of Go, and of whoever links without one."""

from __future__ import annotations

import struct
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.crash import crash
from tests.support.roots import program
from tests.thoth.dumps.test_stack_linux import held_against_gdb, stacks_of
from thoth.dumps.binaries import FirstOf, LocalBinaries, build_id_of
from thoth.dumps.source import LocalFile
from thoth.dumps.stack import Frame
from thoth.stacks import stacks_in

# The name of a build is where Go's linker puts it. As Go's, the handler makes the fault a call of runtime.sigpanic.
SOURCE = r"""
#define _GNU_SOURCE
#include <signal.h>
#include <stdlib.h>
#include <ucontext.h>
#ifdef GO
__asm__(".section .note.go.buildid,\"a\",@note\n.long 4, 8, 4\n.asciz \"Go\\0\"\n.ascii \"" GO "\"\n.text\n");
#endif
void panic(void) __asm__("runtime.sigpanic");
__attribute__((noinline)) void panic(void) { abort(); }
static void inject(int signal, siginfo_t *info, void *context) {
    greg_t *registers = ((ucontext_t *)context)->uc_mcontext.gregs;
    registers[REG_RSP] -= 8;
    *(greg_t *)registers[REG_RSP] = registers[REG_RIP];
    registers[REG_RIP] = (greg_t)panic;
}
__asm__(".globl before\n.type before,@function\nbefore: nop\n.size before,.-before\n"
        ".globl deref\n.type deref,@function\nderef: .cfi_startproc\nmov (%rdi),%eax\nret\n.cfi_endproc\n"
        ".size deref,.-deref\n");
int deref(int *at);
__attribute__((noinline)) int load(int *at) { return deref(at) + NUMBER; }
int main(int argc, char **argv) {
    struct sigaction how = {.sa_sigaction = inject, .sa_flags = SA_SIGINFO | SA_NODEFER};
    if (argc > 1) sigaction(SIGSEGV, &how, 0);
    return load(0) + 1;
}
"""
BUILD = ["-O1", "-fno-omit-frame-pointer", "-x", "c", "-no-pie"]
EVERYTHING = 'echo 0x7f > /proc/self/coredump_filter; exec "$@"'

Build = Callable[..., Path]


@pytest.fixture
def build(tmp_path: Path) -> Build:
    """Builds the program at the same path, one call after the other, with these flags."""

    def built(*flags: str, number: int = 1) -> Path:
        path = tmp_path / "program"
        path.unlink(missing_ok=True)
        command = [program("gcc"), *BUILD, f"-DNUMBER={number}", *flags, "-", "-o", path]
        subprocess.run(command, input=SOURCE, text=True, check=True)
        return path

    return built


def nameless(build: Build, *flags: str, number: int = 1) -> Path:
    return build("-Wl,--build-id=none", *flags, number=number)


def whole_core(path: Path, target: Path) -> Path:
    """The core of a program, with all that was mapped."""
    return crash(["/bin/sh", "-c", EVERYTHING, "sh", str(path)], target, by="kernel")


def own(core: Path) -> list[Frame]:
    return [frame for frame in stacks_of(core).threads[0].frames if frame.main]


def names(core: Path) -> list[bytes | None]:
    return [frame.symbol for frame in own(core)]


def test_a_file_that_has_the_pages_of_the_core_is_taken(build: Build, tmp_path: Path) -> None:
    path = nameless(build)
    core = whole_core(path, tmp_path / "core")
    assert names(core)[:3] == [b"deref", b"load", b"main"]
    held_against_gdb(path, core)
    assert {(frame.alike, frame.build_id) for frame in own(core)} == {(True, None)}
    assert not any(frame.alike for frame in stacks_of(core).threads[0].frames if not frame.main)


def test_headers_alone_are_those_of_other_builds_too(build: Build, tmp_path: Path) -> None:
    """Who mends a program after its crash, and builds it again, is shown no function that was not there."""
    core = crash([str(nameless(build))], tmp_path / "core", by="kernel")
    assert not any(names(core))
    core = crash([str(nameless(build, '-DGO="aaaaaaaa"'))], tmp_path / "core", by="kernel")
    assert names(core)[:3] == [b"deref", b"load", b"main"]


def test_a_document_says_that_it_is_only_alike(build: Build, tmp_path: Path) -> None:
    core = whole_core(nameless(build), tmp_path / "core")
    with LocalFile(core) as source, LocalBinaries() as binaries, LocalBinaries() as others:
        frames = stacks_in(source, FirstOf([binaries, others]))["threads"][0]["frames"]
    assert (frames[0]["symbol"], frames[0]["alike"]) == ("deref", True)
    assert [frame for frame in frames if "build_id" in frame and "alike" in frame] == []


@pytest.mark.parametrize("change", [("-O0",), ("-pie", "-fPIE"), ("-Wl,--build-id",), ("-s",), ('-DGO="bbbbbbbb"',)])
def test_another_build_in_its_place_is_not_taken(change: tuple[str, ...], build: Build, tmp_path: Path) -> None:
    core = crash([str(nameless(build, '-DGO="aaaaaaaa"'))], tmp_path / "core")
    assert names(core)[0] == b"deref"
    nameless(build, '-DGO="aaaaaaaa"' if not change[0].startswith("-DGO") else "-O1", *change)
    assert names(core)[:1] == [None]


def test_all_that_the_core_holds_of_the_code_is_compared(build: Build, tmp_path: Path) -> None:
    """Of two builds with the same headers only the code tells, where it was dumped."""
    core = whole_core(nameless(build, number=5), tmp_path / "core")
    assert names(core)[:3] == [b"deref", b"load", b"main"]
    nameless(build, number=6)
    assert names(core)[:1] == [None]


def test_a_file_without_the_headers_in_the_core_is_not_taken(build: Build, tmp_path: Path) -> None:
    command = ["/bin/sh", "-c", EVERYTHING.replace("0x7f", "0x01"), "sh", str(nameless(build))]
    core = crash(command, tmp_path / "core", by="kernel")
    assert not any(names(core))


def test_a_build_id_that_only_a_section_leads_to(build: Build, tmp_path: Path) -> None:
    """Go's linker, told to write one, leaves it out of the program headers."""
    path = build("-Wl,--build-id")
    with LocalFile(path) as file:
        known = build_id_of(file)
    forget_notes(path)
    core = crash([str(path)], tmp_path / "core")
    assert names(core)[:3] == [b"deref", b"load", b"main"]
    assert {(frame.alike, frame.build_id) for frame in own(core)} == {(False, known)}
    build("-Wl,--build-id=0x" + "ab" * 20)
    forget_notes(path)
    assert names(core)[:1] == [None]


def forget_notes(path: Path) -> None:
    """Takes PT_NOTE out of the program headers."""
    data = bytearray(path.read_bytes())
    (count,) = struct.unpack_from("<H", data, 56)
    for at in range(64, 64 + 56 * count, 56):
        if struct.unpack_from("<I", data, at) == (4,):
            struct.pack_into("<I", data, at, 0)
    path.write_bytes(data)


@pytest.mark.parametrize("flags", [(), ("-fno-asynchronous-unwind-tables",)])
def test_a_fault_that_go_makes_a_call(flags: tuple[str, ...], build: Build, tmp_path: Path) -> None:
    """It leads back to the very instruction that failed, which may be the first one of its function."""
    core = crash([str(nameless(build, '-DGO="aaaaaaaa"', *flags)), "inject"], tmp_path / "core")
    assert [name for name in names(core) if name][:2] == [b"runtime.sigpanic", b"deref"]
