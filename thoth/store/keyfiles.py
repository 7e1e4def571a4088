"""Private keys in files: OpenSSH's format and PEM (PKCS#1, SEC1, PKCS#8), with or without a passphrase.

Source of OpenSSH's format, whose public half is readable without the passphrase: OpenSSH's PROTOCOL.key.
"""

from __future__ import annotations

import binascii
import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from cryptography.exceptions import InvalidTag, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_ssh_private_key

from thoth.errors import UsageError
from thoth.store.publickeys import SshPublicKey, parse_public, take_string
from thoth.store.signing import LocalKey

# The public Node client's limits, in bytes.
PUBLIC_MAX: Final = (64 << 10) - 1
PRIVATE_MAX: Final = (128 << 10) - 1
_NAMED_LIKE_A_KEY: Final = re.compile(r"(?<![A-Za-z])id_")  # id_rsa, sdc.id_rsa, my_id_ed25519
_OPENSSH: Final = re.compile(rb"-----BEGIN OPENSSH PRIVATE KEY-----(.*?)-----END", re.DOTALL)
_MAGIC: Final = b"openssh-key-v1\0"
_PEM: Final = re.compile(rb"-----BEGIN ([A-Z]+ )?PRIVATE KEY-----")


@dataclass(frozen=True, slots=True)
class KeyFile:
    """A private key's file as it was read. ``public`` is None when only the passphrase could tell."""

    path: Path
    data: bytes = field(repr=False)
    mode: int  # of the file, as far as OpenSSH minds it: 0 for a file of somebody else's
    public: SshPublicKey | None

    @property
    def fault(self) -> str:
        """Why this file is not to be used, whatever its passphrase; empty when it may be.

        OpenSSH's own rule: others may not read what is ours. A key that is open to all is no proof of anything,
        ``ssh`` refuses it as well, and the collector's key has the same rule.
        """
        if self.public and self.public.fault:
            return f"key {self.path}: {self.public.fault}"
        exposed = f"others may use it (mode {self.mode:04o}); run: chmod 600 {self.path}"
        return f"key {self.path}: {exposed}" if self.mode & 0o077 else ""

    def opened(self, passphrase: str | None = None) -> LocalKey:
        """The key itself. Raises NeedsPassphrase, WrongPassphrase, UsageError."""
        return _loaded(self.path, self.data, passphrase)


class NeedsPassphrase(Exception):
    """Caught by who can ask for it; never shown."""


class WrongPassphrase(Exception):
    """Caught by who asked for it; never shown."""


@dataclass(frozen=True, slots=True)
class Folder:
    """What there is in a directory of keys; without a path: there is no such directory."""

    path: Path | None = None
    keys: tuple[KeyFile, ...] = ()
    lone: tuple[tuple[Path, SshPublicKey], ...] = ()  # public halves whose private ones are elsewhere: in an agent
    unread: tuple[str, ...] = ()  # a line for each file that may be a key and does not tell which

    @property
    def known(self) -> int:
        """How many keys there are of which it can be told which they are."""
        return len(self.keys) + len(self.lone)


def look_through(folder: Path) -> Folder:
    """The keys of a directory: each X with its X.pub, X.pub alone, and what has ``id_`` at a word's start.

    A directory that is not there holds none.
    """
    try:
        names = sorted(os.listdir(folder))  # noqa: PTH208 - names, not paths
    except FileNotFoundError:
        return Folder(folder)
    except OSError as error:
        return Folder(folder, unread=(f"{folder}: {error.strerror}",))
    keys: list[KeyFile] = []
    lone: list[tuple[Path, SshPublicKey]] = []
    unread: list[str] = []
    for path, private in _candidates(folder, names):
        try:
            if private:
                keys.append(_telling(read_key_file(path)))
            elif (public := parse_public(read_small(path, PUBLIC_MAX)[0])) and not public.certificate:
                lone.append((path, public))
        except UsageError as error:
            unread.append(str(error))
    return Folder(folder, tuple(keys), tuple(lone), tuple(unread))


def _telling(file: KeyFile) -> KeyFile:
    if file.public is None:
        pub = f"{file.path}.pub"
        raise UsageError(f"key {file.path}: has a passphrase and no {pub}; run: ssh-keygen -yf {file.path} > {pub}")
    return file


def _candidates(folder: Path, names: list[str]) -> Iterator[tuple[Path, bool]]:
    """The files to look into, and whether each is a private key's."""
    there = {*names}
    for name in names:
        stem = name.removesuffix(".pub")
        if stem != name and stem not in there:
            yield folder / name, False
        elif stem == name and (f"{name}.pub" in there or _NAMED_LIKE_A_KEY.search(name)):
            yield folder / name, True


def read_key_file(path: Path) -> KeyFile:
    """Raises UsageError, naming the file, for what is no private key."""
    data, status = read_small(path, PRIVATE_MAX)
    mode = stat.S_IMODE(status.st_mode) if status.st_uid == os.geteuid() else 0
    return KeyFile(path, data, mode, _public_in_openssh(data) or _public_beside(path) or _public_in_pem(path, data))


def read_small(path: Path, most: int) -> tuple[bytes, os.stat_result]:
    """A regular file's bytes. A link is followed, as OpenSSH does; a FIFO or device is not opened.

    Raises UsageError, naming the file, also for one larger than ``most`` bytes.
    """
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise UsageError(f"key {path}: not a regular file")
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
        try:
            status = os.fstat(fd)
            if not stat.S_ISREG(status.st_mode):
                raise UsageError(f"key {path}: not a regular file")
            data = os.read(fd, most + 1)
        finally:
            os.close(fd)
    except (OSError, ValueError) as error:
        raise UsageError(f"key {path}: {getattr(error, 'strerror', None) or 'not a file name'}") from error
    if len(data) > most:
        raise UsageError(f"key {path}: larger than a key can be (over {most} bytes)")
    return data, status


# ---- the public half, without the passphrase ------------------------------------------------------


def _public_in_openssh(data: bytes) -> SshPublicKey | None:
    found = _OPENSSH.search(data)
    if found is None:
        return None
    try:
        content = binascii.a2b_base64(found[1])
        at = len(_MAGIC) if content.startswith(_MAGIC) else len(content)
        for _ in ("cipher", "key derivation", "its parameters"):
            _, at = take_string(content, at)
        blob, _ = take_string(content, at + 4)  # after the number of keys, which is 1
    except (binascii.Error, ValueError):
        return None
    return SshPublicKey(blob)


def _public_beside(path: Path) -> SshPublicKey | None:
    try:
        return parse_public(read_small(path.with_name(f"{path.name}.pub"), PUBLIC_MAX)[0])
    except UsageError:  # none there, or none that can be read: then the private half has to tell
        return None


def _public_in_pem(path: Path, data: bytes) -> SshPublicKey | None:
    try:
        return _loaded(path, data, None).public
    except NeedsPassphrase:
        return None


# ---- the private half -----------------------------------------------------------------------------


def _loaded(path: Path, data: bytes, passphrase: str | None) -> LocalKey:
    openssh = _OPENSSH.search(data)
    load = load_ssh_private_key if openssh else load_pem_private_key
    if passphrase == "":
        raise WrongPassphrase
    try:
        secret = None if passphrase is None else passphrase.encode("utf-8", "surrogateescape")
        key = load(data, secret)
        if not isinstance(key, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey):
            raise UsageError(f"key {path}: is not an ed25519, ECDSA or RSA key")
        return LocalKey(key)
    except TypeError as error:  # what cryptography has for a passphrase that is missing
        raise NeedsPassphrase from error
    except UnsupportedAlgorithm as error:
        raise UsageError(
            f"key {path}: its kind or its cipher is not supported here; load it into ssh-agent (ssh-add {path}),"
            f" or change its cipher: ssh-keygen -p -Z aes256-ctr -f {path}"
        ) from error
    except (ValueError, InvalidTag) as error:
        if passphrase is not None:
            raise WrongPassphrase from None
        raise UsageError(f"key {path}: not a private key in OpenSSH's format or PEM") from error
