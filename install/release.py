"""Checks and unpacks releases for the scripts beside it, before anything is installed: any Python, no packages.

python release.py COMMAND ARGUMENT..: prints its result; a problem is one line on stderr and status 1.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tarfile import TarFile, TarInfo

SUMS = "SHA256SUMS"
SEAL = ".done"
_SHOWN = 5  # names of damaged files


class Refused(Exception):
    """Why something is not done, as one line."""


def sha256(path: str) -> str:
    """The digest of a file, as 64 hex digits."""
    import hashlib

    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def unpack(tarball: str, directory: str) -> str:
    """Unpack a release below a directory and return its own one. Files and directories only, none outside of it."""
    import tarfile
    import zlib

    below = Path(directory)
    tops: set[str] = set()
    try:
        with tarfile.open(tarball, "r:gz") as tar:
            for member, parts in _members(tar):
                tops.add(parts[0])
                _write(tar, member, below.joinpath(*parts))
    except (tarfile.TarError, EOFError, ValueError, zlib.error) as error:
        raise Refused(f"damaged, or no tarball: {error}") from error
    if len(tops) != 1:
        raise Refused(f"holds {len(tops)} directories and not one")
    return str(below / tops.pop())


def _members(tar: TarFile) -> Iterator[tuple[TarInfo, list[str]]]:
    for member in tar:
        parts = member.name.split("/")
        if member.name.startswith("/") or {"", ".", ".."} & {*parts} or not (member.isfile() or member.isdir()):
            raise Refused(f"holds what no release holds: {member.name[:80]!r}")
        yield member, parts


def _write(tar: TarFile, member: TarInfo, target: Path) -> None:
    from shutil import copyfileobj

    source = tar.extractfile(member)
    if source is None:
        target.mkdir(parents=True, exist_ok=True)
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    with source, target.open("xb") as file:
        copyfileobj(source, file)
    target.chmod(0o755 if member.mode & 0o100 else 0o644)


def check(directory: str) -> str:
    """Hold a release against its own sums, with nothing missing and nothing added. Returns the digest of the sums."""
    top = Path(directory)
    listed = dict(_listed(top / SUMS))
    found = {str(path.relative_to(top)) for path in top.rglob("*") if not path.is_dir()} - {SUMS}
    wrong = found ^ listed.keys()
    wrong |= {name for name in found & listed.keys() if sha256(f"{directory}/{name}") != listed[name]}
    if wrong:
        raise Refused(f"differs from its {SUMS} in {', '.join(sorted(wrong)[:_SHOWN])}")
    return sha256(str(top / SUMS))


def seal(directory: str) -> str:
    """Write down what a version holds, which completes it."""
    top = Path(directory)
    lines = [f"{_held(path)}  {path.relative_to(top)}\n" for path in sorted(top.rglob("*")) if _is_held(path)]
    with (top / f"{SEAL}.new").open("w") as file:
        file.writelines(lines)
    (top / f"{SEAL}.new").replace(top / SEAL)
    return ""


def whole(directory: str) -> str:
    """Hold a version against what was written down. Nobody looks for what was added: only root can do that."""
    top = Path(directory)
    listed = dict(_listed(top / SEAL))
    wrong = [name for name, held in listed.items() if not _is_held(top / name) or _held(top / name) != held]
    if wrong or not listed:
        raise Refused(f"differs from its {SEAL} in {', '.join(wrong[:_SHOWN]) or 'all'}")
    return ""


def _is_held(path: Path) -> bool:
    return path.is_symlink() or path.is_file()


def _held(path: Path) -> str:
    return f"->{os.readlink(path)}" if path.is_symlink() else sha256(str(path))  # noqa: PTH115 - as it is written


def _listed(sums: Path) -> Iterator[tuple[str, str]]:
    try:
        lines = sums.read_text().splitlines()
    except FileNotFoundError as error:
        raise Refused(f"not a release, it has no {sums.name}") from error
    for line in lines:
        digest, _, name = line.partition("  ")
        yield name, digest


def lock(descriptor: str, path: str) -> str:
    """Have the kernel lock the file that the caller, who passes it on, has open as this descriptor."""
    import fcntl

    try:
        fcntl.flock(int(descriptor), fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise Refused("another run holds it") from error
    # A run that has ended may have removed the file since the caller opened it: nobody else would meet that lock.
    if not Path(path).exists() or not os.path.samestat(os.fstat(int(descriptor)), Path(path).stat()):
        raise Refused("another run has just ended")
    return ""


def replace(source: str, target: str) -> str:
    """One rename. ``mv`` would move a link into the directory that another one leads to."""
    os.replace(source, target)  # noqa: PTH105 - the names as they are: a Path would drop what a link ends in
    return ""


def field(name: str) -> str:
    """A field of the JSON object on stdin, which may hold secrets beside it; nothing when there is none."""
    import json

    try:
        document = json.load(sys.stdin)
    except ValueError:
        return ""
    value = document.get(name) if isinstance(document, dict) else None
    return value if isinstance(value, str) and value.isprintable() else ""


COMMANDS: dict[str, Callable[..., str]] = {
    "sha256": sha256,
    "unpack": unpack,
    "check": check,
    "seal": seal,
    "whole": whole,
    "lock": lock,
    "replace": replace,
    "field": field,
}


def main(arguments: list[str]) -> int:
    command, *rest = arguments
    try:
        result = COMMANDS[command](*rest)
    except (Refused, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    if result:
        print(result)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
