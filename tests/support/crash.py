"""Processes that really crash, and the cores that they leave.

The kernel writes the core where its pattern is a plain name: it then lies in the process's own
directory. Where it is a pipe or a path, or cores are forbidden, gdb writes it at the moment of the
crash.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from tests.support.roots import program

Writer = Literal["kernel", "gdb"]
How = Literal["segv", "abort", "fpe"]

_ENOUGH = 1 << 26  # bytes that a limit on cores must allow
_PATIENCE = 30.0  # seconds
_UNLIMITED = 'ulimit -c unlimited && exec "$@"'
_SOURCE = r"""
#include <cstdlib>
#include <cstring>
#include <pthread.h>
#include <unistd.h>

static volatile int *const nowhere = nullptr;
static volatile int some = 7, nothing = 0;

extern "C" {
__attribute__((noinline)) int read_record(const char *how) {
    if (!std::strcmp(how, "abort")) std::abort();
    if (!std::strcmp(how, "fpe")) return some / nothing;
    *nowhere = 7;
    return 0;
}
__attribute__((noinline)) int load_table(const char *how) { return read_record(how) + 1; }
__attribute__((noinline)) int serve(const char *how) { return load_table(how) + 1; }
static pthread_barrier_t all_here;
void *wait_for_work(void *) {
    pthread_barrier_wait(&all_here);
    for (;;) pause();
}
}

int main(int argc, char **argv) {
    const int others = argc > 2 ? std::atoi(argv[2]) : 0;
    pthread_attr_t small;
    pthread_attr_init(&small);
    pthread_attr_setstacksize(&small, 1 << 16);
    pthread_barrier_init(&all_here, nullptr, others + 1);
    for (int i = 0; i < others; i++) {
        pthread_t thread;
        pthread_create(&thread, &small, wait_for_work, nullptr);
    }
    pthread_barrier_wait(&all_here);
    return serve(argc > 1 ? argv[1] : "segv");
}
"""
_LIBRARY = r"""
static volatile int *const nowhere = nullptr;
extern "C" {
__attribute__((noinline)) int read_record() { *nowhere = 7; return 0; }
__attribute__((noinline)) int load_table() { return read_record() + 1; }
}
"""
_SERVER = r"""
extern "C" int load_table();
__attribute__((noinline)) static int serve() { return load_table() + 1; }
int main() { return serve() + 1; }
"""
_PYTHON = """
import os, signal
def read_record(): os.kill(os.getpid(), signal.SIGSEGV)
def load_table(): read_record()
load_table()
"""


class NoCore(Exception):
    """A process did not crash, or left no core."""


def writer() -> Writer:
    """Who can write cores on this machine as it is set up."""
    pattern = Path("/proc/sys/kernel/core_pattern").read_text().strip()
    _, hard = resource.getrlimit(resource.RLIMIT_CORE)
    allowed = hard == resource.RLIM_INFINITY or hard >= _ENOUGH
    return "kernel" if allowed and pattern and "/" not in pattern and pattern[0] != "|" else "gdb"


class Crasher:
    """Programs that crash, made in ``folder`` when first asked for. Last frames: load_table, read_record.

    Each method puts the core at ``target`` and returns that. Raises NoCore.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def executable(self, *flags: str) -> Path:
        """The native program, built with these flags of g++ besides ``-g -O1`` and a frame pointer."""
        path = self._folder / "-".join(["crasher", *(flag.strip("-").replace("/", "_") for flag in flags)])
        if not path.exists():
            command = [
                str(program("g++")),
                "-g",
                "-O1",
                "-fno-omit-frame-pointer",
                "-fno-optimize-sibling-calls",
            ]
            command += [*flags, "-pthread", "-x", "c++", "-", "-o", str(path)]
            subprocess.run(command, input=_SOURCE, text=True, check=True)
        return path

    def with_library(self, place: Path, *flags: str) -> tuple[Path, Path]:
        """A native program that crashes in a library of its own, in ``place``; that is found by a link to it.

        ``flags`` are for the library. Its functions are read_record and load_table, the program's serve and main.
        """
        library, server = place / "libreader.so.1.0", place / "server"
        build = [str(program("g++")), "-g", "-O1", "-fno-optimize-sibling-calls", "-x", "c++", "-", "-x", "none"]
        shared = [*build, "-shared", "-fPIC", "-Wl,-soname,libreader.so.1", *flags, "-o", str(library)]
        subprocess.run(shared, input=_LIBRARY, text=True, check=True)
        (place / "libreader.so.1").symlink_to(library.name)
        linked = [*build, str(library), f"-Wl,-rpath,{place}", "-o", str(server)]
        subprocess.run(linked, input=_SERVER, text=True, check=True)
        return server, library

    def native(
        self,
        target: Path,
        how: How = "segv",
        *,
        threads: int = 1,
        flags: Sequence[str] = (),
        by: Writer | None = None,
    ) -> Path:
        """The core of a C++ program with so many threads, below 2 MiB."""
        return crash([str(self.executable(*flags)), how, str(threads - 1)], target, by=by)

    def python(self, target: Path, *, by: Writer | None = None) -> Path:
        """The core of a Python interpreter, a few MiB."""
        script = self._folder / "crasher.py"
        script.write_text(_PYTHON)
        return crash([sys.executable, "-I", "-S", str(script)], target, by=by)


def crash(command: Sequence[str], target: Path, *, by: Writer | None = None) -> Path:
    """Runs a command that crashes; puts its core at ``target``, in a folder that is there. Raises NoCore."""
    with tempfile.TemporaryDirectory(prefix="crash-", dir=target.parent) as private:
        run = _under_kernel if (by or writer()) == "kernel" else _under_gdb
        run(command, Path(private)).replace(target)
    return target


def _under_kernel(command: Sequence[str], folder: Path) -> Path:
    ended = subprocess.run(
        ["/bin/sh", "-c", _UNLIMITED, "sh", *command],
        cwd=folder,
        capture_output=True,
        timeout=_PATIENCE,
        check=False,
    )
    left = list(folder.iterdir())
    if ended.returncode >= 0 or len(left) != 1:
        raise NoCore(f"{command[0]} ended with {ended.returncode}, left {len(left)} files: {ended.stderr[-200:]!r}")
    return left[0]


def _under_gdb(command: Sequence[str], folder: Path) -> Path:
    core = folder / "core"
    steps = [
        "set debuginfod enabled off",
        "set startup-with-shell off",
        "run",
        f"generate-core-file {core}",
        "kill",
    ]
    script = [part for step in steps for part in ("-ex", step)]
    ended = subprocess.run(
        [str(program("gdb")), "-nx", "-batch", *script, "--args", *command],
        cwd=folder,
        capture_output=True,
        stdin=subprocess.DEVNULL,
        timeout=_PATIENCE,
        check=False,
    )
    if not core.exists():
        raise NoCore(f"gdb wrote no core of {command[0]}: {(ended.stderr or ended.stdout)[-200:]!r}")
    return core
