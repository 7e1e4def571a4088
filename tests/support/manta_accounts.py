"""Who may use the Manta test server: accounts, their subusers and roles, and their keys."""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519, padding, rsa

_PUBLIC = (rsa.RSAPublicKey, ec.EllipticCurvePublicKey, ed25519.Ed25519PublicKey, dsa.DSAPublicKey)
_HASHES: dict[str, Callable[[], hashes.HashAlgorithm]] = {  # all that http-signature knows
    "sha1": hashes.SHA1,
    "sha256": hashes.SHA256,
    "sha512": hashes.SHA512,
}


@dataclass(frozen=True, slots=True)
class Role:
    """``actions``: what its members may do, as ``getobject`` or ``putdirectory``; None: everything."""

    name: str
    actions: frozenset[str] | None = None


@dataclass(frozen=True, slots=True)
class Subuser:
    """``keys``: public keys, each a line of OpenSSH or PEM. ``default_roles``: None: all of its roles."""

    login: str
    keys: tuple[str, ...] = ()
    roles: tuple[str, ...] = ()
    default_roles: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class Account:
    """An ``operator`` may do everything everywhere. A ``blocked`` one is known, and nobody may use it."""

    login: str
    keys: tuple[str, ...] = ()
    subusers: tuple[Subuser, ...] = ()
    roles: tuple[Role, ...] = ()
    operator: bool = False
    blocked: bool = False

    def subuser(self, login: str) -> Subuser | None:
        return next((each for each in self.subusers if each.login == login), None)

    def role(self, name: str) -> Role | None:
        return next((each for each in self.roles if each.name == name), None)


@dataclass(frozen=True, slots=True)
class Caller:
    """Who sends a request: an account, or a subuser of it; without account nobody, who may read public things.

    ``roles`` are the names of the active ones.
    """

    account: Account | None = None
    subuser: Subuser | None = None
    roles: tuple[str, ...] = ()

    @property
    def login(self) -> str:
        if self.account is None:
            return "anonymous"
        return f"{self.account.login}/{self.subuser.login}" if self.subuser else self.account.login


NOBODY = Caller()


class KeyRing:
    """The public keys of one account or subuser, by the MD5 form of their fingerprints."""

    def __init__(self, keys: Iterable[str]) -> None:
        loaded = [_load(key) for key in keys]
        self._keys = {fingerprint(key): key for key in loaded}

    def __contains__(self, name: str) -> bool:
        return name in self._keys

    def verifies(self, name: str, algorithm: str, text: str, signature: str) -> bool:
        """Whether the key made this base64 signature. ``algorithm``: ``rsa-sha256``, of a hash that is known."""
        kind, _, digest = algorithm.partition("-")
        key = self._keys[name]
        if kind != _kind(key):
            return False
        try:
            raw = base64.b64decode(signature, validate=True)
            _verify(key, raw, text.encode("latin-1"), digest)
        except (binascii.Error, InvalidSignature, ValueError):
            return False
        return True


@dataclass(frozen=True, slots=True)
class Accounts:
    """All accounts, by login."""

    by_login: dict[str, Account]
    _rings: dict[tuple[str, str | None], KeyRing] = field(default_factory=dict)

    @classmethod
    def of(cls, accounts: Iterable[Account]) -> Accounts:
        """Raises ValueError where a key is not one."""
        found = cls({account.login: account for account in accounts})
        for account in found.by_login.values():
            found._rings[account.login, None] = KeyRing(account.keys)
            for subuser in account.subusers:
                found._rings[account.login, subuser.login] = KeyRing(subuser.keys)
        return found

    def keys(self, account: Account, subuser: Subuser | None) -> KeyRing:
        return self._rings[account.login, subuser.login if subuser else None]


def fingerprint(
    key: rsa.RSAPublicKey | ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey | dsa.DSAPublicKey,
) -> str:
    """MD5 of the key's SSH form, as 16 lower-case pairs joined by colons."""
    line = key.public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    digest = hashlib.md5(base64.b64decode(line.split()[1]), usedforsecurity=False).hexdigest()
    return ":".join(digest[at : at + 2] for at in range(0, len(digest), 2))


def _load(text: str) -> rsa.RSAPublicKey | ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey | dsa.DSAPublicKey:
    data = text.strip().encode()
    pem = data.startswith(b"-----")
    try:
        key = serialization.load_pem_public_key(data) if pem else serialization.load_ssh_public_key(data)
    except UnsupportedAlgorithm as error:
        raise ValueError(str(error)) from None
    if not isinstance(key, _PUBLIC):
        raise ValueError(  # noqa: TRY004  # the text is what is wrong, not its type
            f"Manta has no use for keys of the type {type(key).__name__}"
        )
    return key


def _kind(key: object) -> str:
    kinds = {
        rsa.RSAPublicKey: "rsa",
        ec.EllipticCurvePublicKey: "ecdsa",
        ed25519.Ed25519PublicKey: "ed25519",
        dsa.DSAPublicKey: "dsa",
    }
    return next(name for kind, name in kinds.items() if isinstance(key, kind))


def _verify(key: object, signature: bytes, text: bytes, digest: str) -> None:
    """Raises InvalidSignature, or ValueError."""
    if isinstance(key, ed25519.Ed25519PublicKey):
        if digest != "sha512":
            raise ValueError("ed25519 has one hash only")
        key.verify(signature, text)
        return
    algorithm = _HASHES[digest]()
    if isinstance(key, rsa.RSAPublicKey):
        key.verify(signature, text, padding.PKCS1v15(), algorithm)
    elif isinstance(key, ec.EllipticCurvePublicKey):
        key.verify(signature, text, ec.ECDSA(algorithm))
    elif isinstance(key, dsa.DSAPublicKey):
        key.verify(signature, text, algorithm)
