"""A process that stores one dump and its document, for tests that kill it or make its system calls fail.

Usage: python -m tests.thoth.store.one_upload ROOT LETTER. It says ``ready``, waits for a line on stdin, and
says nothing more when all went well; a StoreError is printed and is exit code 3.
"""

from __future__ import annotations

import sys
from pathlib import Path

from thoth.errors import StoreError
from thoth.store.base import Digests, ObjectStore
from thoth.store.directory import DirectoryStore

DUMP = f"/alice/stor/thoth/{'0f' * 16}"
CORE = f"{DUMP}/core.x"
INFO = f"{DUMP}/info.json"
SIZE = 3 << 16


def store_dump(store: ObjectStore, letter: str) -> None:
    data = letter.encode() * SIZE
    upload = store.begin(CORE, SIZE)
    for start in range(0, SIZE, 1 << 16):
        upload.part(data[start : start + (1 << 16)])
    upload.commit(Digests(SIZE, "", ""))
    store.put(INFO, letter.encode() * 700)


def main(root: str, letter: str) -> int:
    store = DirectoryStore(Path(root))
    print("ready", flush=True)
    sys.stdin.readline()
    try:
        store_dump(store, letter)
    except StoreError as error:
        print(f"{type(error).__name__}: {error}")
        return 3
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
