"""The collector's own private key: one file, never an agent, never a question."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
    load_ssh_private_key,
)

from thoth import UsageError, escaped

_SIZE_MAX: Final = 64 << 10  # bytes; a 16384-bit RSA key has 13 KiB
_KINDS: Final = {"ed25519": Ed25519PrivateKey, "ecdsa": EllipticCurvePrivateKey, "rsa": RSAPrivateKey}


def read_private_key(path: Path) -> tuple[str, str]:
    """The key's kind (``ed25519``, ``ecdsa``, ``rsa``) and the key as text in OpenSSH's own format.

    The file may be in that format or in PEM (PKCS#1, PKCS#8, SEC1). Raises UsageError, naming the file and
    what to do.
    """
    shown = escaped(os.fsencode(path))
    try:
        data = _content(path, shown)
    except OSError as error:
        raise UsageError(f"key {shown}: {error.strerror or error}") from error
    key = _parsed(data, shown)
    kind = next((kind for kind, cls in _KINDS.items() if isinstance(key, cls)), None)
    if kind is None:
        raise UsageError(f"key {shown}: not an ed25519, ECDSA or RSA key")
    return kind, key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()).decode("ascii")


def _content(path: Path, shown: str) -> bytes:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            raise UsageError(f"key {shown}: not a regular file")
        if status.st_mode & 0o077:
            mode = stat.S_IMODE(status.st_mode)
            raise UsageError(f"key {shown}: others may use it (mode {mode:04o}); run: chmod 600 {shown}")
        return os.read(fd, _SIZE_MAX)
    finally:
        os.close(fd)


def _parsed(data: bytes, shown: str) -> Ed25519PrivateKey | EllipticCurvePrivateKey | RSAPrivateKey:
    load = load_ssh_private_key if b"BEGIN OPENSSH PRIVATE KEY" in data else load_pem_private_key
    try:
        return load(data, None)  # type: ignore[return-value]  # the caller looks at what it is
    except TypeError as error:
        raise UsageError(
            f"key {shown}: has a passphrase, and nobody is there to type it: give a key without"
        ) from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise UsageError(f"key {shown}: not a private key in OpenSSH's format or PEM") from error
