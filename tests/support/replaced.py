"""A server that replaces its own executable and libraries, as an upgrade does, and then crashes."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from tests.support.crash import crash
from tests.support.roots import program

SAME: Final = 'cp -p "$file" "$file.new"; mv "$file.new" "$file"'  # an identical copy takes the place of each file
REMOVED: Final = 'rm "$file"'
_LIBRARY: Final = r"""
#include <cstdlib>
static __attribute__((noinline)) int read_record(volatile int *one) { if (*one) std::abort(); return *one; }
extern "C" __attribute__((noinline)) int load_table() { volatile int one = 1; return read_record(&one) + 1; }
"""
_SERVER: Final = r"""
#include <cstdlib>
extern "C" int load_table();
static __attribute__((noinline)) int serve() { return load_table() + 1; }
int main(int, char **argv) { return std::system(argv[1]) ? 0 : serve() + 1; }
"""
DUMP_FILES: Final = ["/bin/sh", "-c", 'echo 0x3f >/proc/self/coredump_filter && exec "$@"', "sh"]


class Site:
    """A server with its library, in ``folder``, and a C library of its own, which it uses with LD_LIBRARY_PATH.

    ``flags`` are for server and library. The last frames: read_record and load_table of the library, serve, main. Of
    these only load_table is in a table that a core may hold.
    """

    def __init__(self, folder: Path, name: str = "server", *flags: str) -> None:
        self.folder = folder
        self.place = folder / "place"
        self.place.mkdir()
        self.server, self.library = self.place / name, self.place / "libreader.so.1"
        _build(_LIBRARY, self.library, *flags, "-shared", "-fPIC", "-Wl,-soname,libreader.so.1")
        _build(_SERVER, self.server, *flags, str(self.library), f"-Wl,-rpath,{self.place}")
        listed = subprocess.run(["ldd", self.server], capture_output=True, text=True, check=True).stdout
        self.libc = self.place / "libc.so.6"
        shutil.copy(listed.partition("libc.so.6 => ")[2].split()[0], self.libc)
        self.files = (self.server, self.library, self.libc)

    def crash(self, replace: str, before: Sequence[str] = ()) -> Path:
        """The core of the server, which has the shell do that first: ``$file`` is each of the files in turn."""
        script = self.folder / "replace"
        quoted = " ".join(f"'{path}'" for path in self.files)
        script.write_text(f"#!/bin/sh\nset -e\nfor file in {quoted}; do\n{replace}\ndone\n")
        script.chmod(0o700)
        return crash([*before, str(self.server), str(script)], self.folder / "core")


def _build(source: str, path: Path, *flags: str) -> None:
    command = [str(program("g++")), "-O1", "-fno-optimize-sibling-calls", "-x", "c++", "-", "-x", "none", *flags]
    subprocess.run([*command, "-o", str(path)], input=source, text=True, check=True)
