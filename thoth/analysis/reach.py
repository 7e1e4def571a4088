"""What a debugger in the sandbox reads beside a dump: the program and its libraries.

As root it runs as a user that belongs to nobody, for whom nothing below /root is there. What it cannot read in its
place is copied. The paths come out of the dump, so that is done with nothing but the very libraries which the core
names by their build-id, and with the program, which was held against the core before.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from thoth.analysis.accounts import is_root
from thoth.analysis.debugger import Subject
from thoth.analysis.executable import Executable
from thoth.analysis.sandbox import give
from thoth.dumps.image import Image
from thoth.dumps.modules import Module, own_name
from thoth.dumps.paged import TooMuchRead
from thoth.dumps.source import LocalFile
from thoth.dumps.stack import modules_in


class Place(NamedTuple):
    """Where a debugger runs in the sandbox, and what it can read there.

    ``libraries`` is where it is to look for those that it cannot read in their places; ``hidden`` are those of which
    the core does not tell that they are its own, and which stay out of its reach.
    """

    directory: Path
    executable: Executable | None
    libraries: Path
    hidden: tuple[str, ...] = ()


def within_work(about: Subject, executable: Executable | None, work: Path) -> Place:
    """A place for a debugger in a directory of the cache for one run. Raises OSError and ThothError."""
    directory, program = work / "debugger", work / "program"
    for each in (directory, program):
        each.mkdir(mode=0o700)
    for each in (work, program):
        give(each)
    reached = within_reach(executable, program) if executable else None
    return Place(directory, reached, program, tuple(_libraries(about, program)))


def within_reach(executable: Executable, place: Path) -> Executable:
    """The same where a program in the sandbox can read it: where it is, or copied into ``place``.

    Raises OSError and ThothError.
    """
    if not is_root() or _all_may_read(Path(executable.path)):
        return executable
    copy = place / Path(executable.path).name
    with LocalFile(executable.path) as file:
        _copy(file, copy)
    return replace(executable, path=str(copy))


def _libraries(about: Subject, place: Path) -> Iterator[str]:
    """Copy the libraries of a Linux core that a program in the sandbox cannot read. Gives those that stay hidden."""
    if not is_root() or about.kernel or about.system != "linux":
        return
    with LocalFile(about.dump) as source, suppress(TooMuchRead):  # then with those that are known
        for module in modules_in(source):
            for path in module.paths if not module.main else ():
                target = os.path.realpath(os.fsdecode(path))
                if path.startswith(b"/") and _is_private(target):
                    with LocalFile(target) as file:
                        yield from _library(module, file, place / os.fsdecode(path.rpartition(b"/")[2]))


def _library(module: Module, file: LocalFile, copy: Path) -> Iterator[str]:
    found, wanted = Image.of_file(file), module.build_id()
    if found is None or (wanted and wanted != found.build_id()):
        return  # nothing that a debugger would read, or not what was mapped
    if wanted is None or copy.exists():
        yield file.path
        return
    _copy(file, copy)
    # Debuggers look for it by the name that the linker had, which may be that of a link to it.
    called = own_name(module.image).rpartition(b"/")[2] if module.image else b""
    link = copy.parent / os.fsdecode(called)
    if called not in (b"", b".", b"..") and len(called) < 256 and not link.exists():
        link.hardlink_to(copy)


def _is_private(path: str) -> bool:
    """Whether it is a file that not all may read."""
    try:
        return Path(path).is_file() and not _all_may_read(Path(path))
    except OSError:  # nor can we read it
        return False


def _copy(file: LocalFile, copy: Path) -> None:
    """With its times: gdb doubts a program that is newer than the core."""
    with copy.open("xb") as target:
        target.writelines(file.stream())
    os.utime(copy, ns=(file.stat.st_atime_ns, file.stat.st_mtime_ns))
    give(copy)


def _all_may_read(path: Path) -> bool:
    return bool(path.stat().st_mode & stat.S_IROTH) and all(
        each.stat().st_mode & stat.S_IXOTH for each in path.parents
    )
