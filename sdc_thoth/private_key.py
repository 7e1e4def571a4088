"""The collector's own private key: one file, never an agent, never a question."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Final

from thoth import UsageError, escaped

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.serialization.ssh import SSHPrivateKeyTypes

_SIZE_MAX: Final = 64 << 10  # bytes; a 16384-bit RSA key has 13 KiB


def read_private_key(path: Path) -> tuple[str, str]:
    """The key's type (``ed25519``, ``ecdsa``, ``rsa``) and the key as OpenSSH's own private key format.

    The file may be in that format or in PEM (PKCS#1, PKCS#8, SEC1). Raises UsageError, naming the file and what to do.
    """
    shown = escaped(os.fsencode(path))
    try:
        data = _content(path, shown)
    except OSError as error:
        raise UsageError(f"key {shown}: {error.strerror or error}") from error
    key = _parsed(data, shown)
    return _type(key, shown), _openssh(key)


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


def _parsed(data: bytes, shown: str) -> SSHPrivateKeyTypes:
    from cryptography.exceptions import UnsupportedAlgorithm  # noqa: PLC0415 - slow to import
    from cryptography.hazmat.primitives import serialization  # noqa: PLC0415

    openssh = b"BEGIN OPENSSH PRIVATE KEY" in data
    load = serialization.load_ssh_private_key if openssh else serialization.load_pem_private_key
    try:
        return load(data, None)  # type: ignore[return-value]  # _type refuses what is no key for SSH
    except TypeError as error:
        raise UsageError(
            f"key {shown}: protected by a passphrase, which nobody can type here; give a key without one"
        ) from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise UsageError(f"key {shown}: not a private key in OpenSSH's format or PEM") from error


def _type(key: SSHPrivateKeyTypes, shown: str) -> str:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey  # noqa: PLC0415
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey  # noqa: PLC0415
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey  # noqa: PLC0415

    kinds = {"ed25519": Ed25519PrivateKey, "ecdsa": EllipticCurvePrivateKey, "rsa": RSAPrivateKey}
    for name, kind in kinds.items():
        if isinstance(key, kind):
            return name
    raise UsageError(f"key {shown}: not an ed25519, ECDSA or RSA key")


def _openssh(key: SSHPrivateKeyTypes) -> str:
    from cryptography.hazmat.primitives.serialization import (  # noqa: PLC0415
        Encoding,
        NoEncryption,
        PrivateFormat,
    )

    return key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()).decode("ascii")
