"""Root trees for throw-away nodes: what is on a node's disk, by flavour.

    busybox   a small Linux: one static busybox, its shell is ash (which finds its own applets without PATH)
    gnu       a Linux with bash, coreutils, findutils and what they need, copied from this machine
    smartos   a global zone as a collector sees it: SunOS by name, bash, GNU stat, no xargs -0, no head -c
    little    a Linux with dash and a handful of programs: no xargs, no head, no stat

Files of this machine are copied once per fleet into a stock and hard-linked from there, so that nothing that
is done on a node reaches the machine itself.
"""

from __future__ import annotations

import os
import pwd
import re
import shutil
import stat
import subprocess
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Literal, get_args

from tests.support import smartos
from tests.support.smartos import Machine

Flavour = Literal["busybox", "gnu", "smartos", "little"]
FLAVOURS: tuple[Flavour, ...] = get_args(Flavour)

_APPLETS = """
    [ ash awk base64 basename cat chmod chown cksum cmp cp cut date dd df dirname du echo env expr
    false find grep gunzip gzip head hexdump hostname id kill ln ls md5sum mkdir mkfifo mknod mktemp
    mv nl nohup od printf ps pwd readlink realpath rm rmdir sed seq setsid sh sha1sum sha256sum
    sha512sum sleep sort split stat sync tail tar tee test timeout touch tr true truncate uname uniq
    wc which xargs yes zcat
"""
_GNU = """
    [ awk base64 basename bash cat chmod chown cksum cmp cp cut date dd df dirname du echo env expr
    false find grep gzip head hostname id kill ln ls md5sum mkdir mkfifo mknod mktemp mv nohup od
    printf pwd readlink realpath rm rmdir sed seq setsid sh sha1sum sha256sum sleep sort split stat
    sync tail tar tee test timeout touch tr true truncate uname uniq wc xargs yes zstd
"""
_LITTLE = "cat dd echo ls mkdir rm sleep uname wc"
_DEVICES = {"null": (1, 3), "zero": (1, 5), "full": (1, 7), "random": (1, 8), "urandom": (1, 9)}
_LIBRARY = re.compile(r"(/\S+) \(0x")
# What ldd does, without its start-up for each program.
_LIST_LIBRARIES = 'for program; do LD_TRACE_LOADED_OBJECTS=1 "$program"; done'


class MissingProgram(Exception):
    """A program that a flavour needs is not on this machine."""


def program(name: str) -> Path:
    """Where this machine has the program, system folders included. Raises MissingProgram."""
    found = shutil.which(name, path=os.environ.get("PATH", os.defpath) + ":/usr/local/sbin:/usr/sbin:/sbin")
    if not found:
        raise MissingProgram(f"{name} is not installed: run tests/system-packages")
    return Path(found)


class Stock:
    """Copies of this machine's files, each made once; trees on the same file system get hard links."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._copies: dict[Path, Path] = {}
        self._libraries: dict[tuple[Path, ...], set[Path]] = {}
        self._devices = folder / "dev"
        self._devices.mkdir(parents=True)
        _make_devices(self._devices)

    def link(self, source: Path, *targets: Path) -> None:
        """Puts the file at each target unless something is there; folders are made."""
        copy = self._copy(source.resolve())
        for folder in {target.parent for target in targets}:
            folder.mkdir(parents=True, exist_ok=True)
        for target in targets:
            with suppress(FileExistsError):
                os.link(copy, target)

    def link_devices(self, folder: Path) -> None:
        """Fills a /dev. To make a device or symbolic link costs forty times as much as to link to one."""
        for device in self._devices.iterdir():
            os.link(device, folder / device.name, follow_symlinks=False)

    def _copy(self, real: Path) -> Path:
        if real not in self._copies:
            copy = self._copies[real] = self._folder / str(len(self._copies))
            shutil.copyfile(real, copy)
            copy.chmod(0o755)
        return self._copies[real]

    def libraries(self, programs: Iterable[Path]) -> set[Path]:
        """The shared libraries that these programs need, and the loader; the same are asked for once."""
        key = tuple(sorted(path for path in programs if _needs_loader(path)))
        if key not in self._libraries:
            command = ["/bin/sh", "-c", _LIST_LIBRARIES, "sh", *map(str, key)]
            answer = subprocess.run(command, capture_output=True, text=True, check=True).stdout
            self._libraries[key] = {Path(found[1]) for found in _LIBRARY.finditer(answer)}
        return self._libraries[key]


def _needs_loader(path: Path) -> bool:
    # The loader's path stands right behind the program headers. A static program would run, not be listed.
    with path.open("rb") as opened:
        beginning = opened.read(4096)
    return beginning.startswith(b"\x7fELF") and b"/ld" in beginning


def plant(flavour: Flavour, root: Path, stock: Stock, machine: Machine) -> None:
    """Makes the tree at ``root``, which must not be there yet. Needs root, for the devices."""
    _skeleton(root, machine)
    stock.link_devices(root / "dev")
    _PLANTERS[flavour](root, stock, machine)
    _login_shell(root)


def write_script(path: Path, text: str) -> None:
    """A program made of text, in place of whatever is there, which may be a link shared with other nodes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    path.write_text(text)
    path.chmod(0o755)


def _skeleton(root: Path, machine: Machine) -> None:
    for folder in ("usr/bin", "root", "etc", "dev", "proc", "tmp", "var/tmp", "var/cores", "var/crash"):
        (root / folder).mkdir(parents=True)
    for link, target in (("bin", "usr/bin"), ("sbin", "usr/bin"), ("usr/sbin", "bin")):
        (root / link).symlink_to(target)
    for shared in ("tmp", "var/tmp"):
        (root / shared).chmod(0o1777)
    (root / "root").chmod(0o700)
    (root / "etc" / "passwd").write_text(f"root:x:0:0:root:/root:{_shell()}\nnobody:x:65534:65534::/:/bin/false\n")
    (root / "etc" / "hostname").write_text(machine.name + "\n")


def _make_devices(folder: Path) -> None:
    for name, (major, minor) in _DEVICES.items():
        os.mknod(folder / name, stat.S_IFCHR | 0o666, os.makedev(major, minor))
        (folder / name).chmod(0o666)  # mknod's mode goes through the umask
    for name, target in (("fd", ""), ("stdin", "/0"), ("stdout", "/1"), ("stderr", "/2")):
        (folder / name).symlink_to("/proc/self/fd" + target)


def _busybox(root: Path, stock: Stock, machine: Machine) -> None:
    del machine
    stock.link(program("busybox"), *(root / "usr/bin" / name for name in ["busybox", *_APPLETS.split()]))


def _gnu(root: Path, stock: Stock, machine: Machine) -> None:
    del machine
    _copy_programs(root, stock, {name: f"usr/bin/{name}" for name in _GNU.split()})


def _little(root: Path, stock: Stock, machine: Machine) -> None:
    del machine
    # Not ash: busybox's shell runs every applet that is built in, whether it has a name on the disk or not.
    _copy_programs(root, stock, {"dash": "usr/bin/sh"})
    stock.link(program("busybox"), *(root / "usr/bin" / name for name in _LITTLE.split()))


def _smartos(root: Path, stock: Stock, machine: Machine) -> None:
    hidden = smartos.HIDDEN.lstrip("/")
    places = {name: f"usr/bin/{name}" for name in smartos.SAME.split()}
    places |= {name: f"{hidden}/{name}" for name in smartos.WRAPPED.split()}
    _copy_programs(root, stock, places | {_korn_shell(): "usr/bin/sh", "tar": "usr/bin/gtar"})
    for name, text in smartos.scripts(machine).items():
        write_script(root / "usr/bin" / name, text)
    (root / hidden / "sysinfo.json").write_text(smartos.sysinfo(machine))
    for folder in smartos.folders(machine):
        (root / folder.lstrip("/")).mkdir(parents=True, exist_ok=True)
    (root / "cores").symlink_to("zones/global/cores")


def _korn_shell() -> str:
    return "ksh93" if shutil.which("ksh93") else "bash"


def _copy_programs(root: Path, stock: Stock, places: dict[str, str]) -> None:
    sources = {name: program(name) for name in places}
    for name, place in places.items():
        stock.link(sources[name], root / place)
    for link, target in (("lib", "usr/lib"), ("lib64", "usr/lib64")):
        (root / target).mkdir(parents=True, exist_ok=True)
        (root / link).symlink_to(target)
    for library in stock.libraries(sources.values()):
        stock.link(library, root / library.relative_to("/"))


def _shell() -> str:
    return pwd.getpwuid(0).pw_shell or "/bin/sh"


def _login_shell(root: Path) -> None:
    # sshd takes the shell from this machine's passwd and starts it in the node's root, where it may not be.
    shell = root / _shell().lstrip("/")
    if not shell.exists():
        write_script(shell, '#!/bin/sh\nexec /bin/sh "$@"\n')


_PLANTERS: dict[Flavour, Callable[[Path, Stock, Machine], None]] = {
    "busybox": _busybox,
    "gnu": _gnu,
    "smartos": _smartos,
    "little": _little,
}
