"""A process that uploads a large object, for tests that kill it and have another one go on.

Usage: python -m tests.thoth.store.large_upload ROOT CONTENT [STOP]. It says ``ready`` and waits for a line on stdin,
says ``there`` and waits again when STOP bytes were sent, and in the end says how many bytes it has written.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator
from pathlib import Path

from thoth.store.base import Digests, Upload
from thoth.store.directory import DirectoryStore

NAME = f"/alice/stor/thoth/{'1a' * 16}/vmcore.0"
MEGABYTE = 1 << 20
PIECE = 64 << 10  # bytes of zeros that become a hole
_PART = 5 * PIECE  # bytes; a megabyte ends in the middle of a part


def content(letters: str) -> bytes:
    """A megabyte for each letter, which reappears for the same one, and zeros for a dot."""
    return b"".join(
        bytes(MEGABYTE) if letter == "." else random.Random(letter).randbytes(MEGABYTE) for letter in letters
    )


def parts(data: bytes, size: int = _PART) -> Iterator[bytes]:
    return (data[at : at + size] for at in range(0, len(data), size))


def opened(root: Path) -> DirectoryStore:
    """A store that goes on with an upload of a megabyte and more."""
    return DirectoryStore(root, resume_from=MEGABYTE)


def send(upload: Upload, data: bytes, size: int = _PART) -> None:
    for part in parts(data, size):
        upload.part(part)


def store(root: Path, letters: str, stop: int | None = None) -> int:
    """Upload all of it. Returns the number of bytes that were written to files for it."""
    data, before = content(letters), written()
    upload = opened(root).begin(NAME, len(data))
    send(upload, data[:stop])
    if stop is not None:
        print("there", flush=True)
        sys.stdin.readline()
        send(upload, data[stop:])
    upload.commit(Digests(len(data), "", ""))
    return written() - before


def written() -> int:
    """How many bytes this process has written until now, by whichever call."""
    lines = Path("/proc/self/io").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("wchar:"))


def main(root: str, letters: str, stop: str | None = None) -> None:
    print("ready", flush=True)
    sys.stdin.readline()
    print(store(Path(root), letters, int(stop) if stop else None))


if __name__ == "__main__":
    main(*sys.argv[1:])
