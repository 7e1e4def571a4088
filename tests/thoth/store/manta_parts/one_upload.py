"""A process that uploads one object to Manta in parts, for tests that kill it.

Usage: python -m tests.thoth.store.manta_parts.one_upload URL KEYFILE UNFINISHED SIZE [PAUSE [PART]]. It says
``ready``, sends SIZE bytes made from nothing but their place, PAUSE seconds before each MiB, and says its peak memory
in MiB.
"""

from __future__ import annotations

import hashlib
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from thoth.store.base import Digests
from thoth.store.manta import MantaAccess, MantaStore, PartSizes
from thoth.store.signing import HttpSigner, KeyOwner, LocalKey

NAME = f"/alice/stor/thoth/{'0f' * 16}/vmcore.0"
PART = 5 << 20
_BLOCK = 1 << 20


def blocks(size: int) -> Iterator[bytes]:
    """The bytes of the object: no two MiB of them are the same."""
    for start in range(0, size, _BLOCK):
        yield (b"%015d\n" % start * (_BLOCK >> 4))[: size - start]


def digests(size: int) -> Digests:
    md5 = hashlib.md5(usedforsecurity=False)
    for block in blocks(size):
        md5.update(block)
    return Digests(size, md5.hexdigest(), "")


def opened(url: str, key: str, unfinished: str, part: int) -> MantaStore:
    private = load_pem_private_key(Path(key).read_bytes(), None)
    assert isinstance(private, ec.EllipticCurvePrivateKey)
    sizes = PartSizes(threshold=PART, part=part)
    signer = HttpSigner(LocalKey(private), KeyOwner("alice"))
    return MantaStore(MantaAccess(url, "alice"), signer, sizes=sizes, unfinished=Path(unfinished))


def send(store: MantaStore, size: int, pause: float) -> None:
    print("ready", flush=True)
    upload = store.begin(NAME, size)
    for block in blocks(size):
        time.sleep(pause)
        upload.part(block)
    upload.commit(digests(size))
    store.close()
    # Not getrusage's: that begins with the memory of whoever started this.
    lines = Path("/proc/self/status").read_text().splitlines()
    print(next(int(line.split()[1]) >> 10 for line in lines if line.startswith("VmHWM:")))


def main(url: str, key: str, unfinished: str, size: str, *more: str) -> None:
    pause = float(more[0]) if more else 0.0
    part = int(more[1]) if len(more) > 1 else PART
    send(opened(url, key, unfinished, part), int(size), pause)


if __name__ == "__main__":
    main(*sys.argv[1:])
