"""Requests signed as Manta and CloudAPI want it: HTTP Signature over the Date header, and signed URLs.

Sources: draft-cavage-http-signatures-00; the forms that the public Node client sends, and that Manta's servers
accept. Signatures: RSA is PKCS#1 v1.5, ECDSA is DER (RFC 3279), ed25519 is the 64 bytes of RFC 8032.
"""

from __future__ import annotations

import base64
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple, Protocol
from urllib.parse import quote, urlsplit

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from thoth.errors import StoreUnavailable, UsageError
from thoth.store.publickeys import ED25519, P256, P521, SshPublicKey, take_string

PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey


class Signer(Protocol):
    """Signs requests with one key in the name of one user. May be used by several threads at once.

    Its calls raise StoreUnavailable when the key cannot be used any more.
    """

    @property
    def key_id(self) -> str:
        """Which key of whose: ``/ACCOUNT/keys/MD5`` or ``/ACCOUNT/SUBUSER/keys/MD5``."""
        ...

    def authorization(self, date: str) -> str:
        """The Authorization header's value for a request that carries ``Date: {date}``."""
        ...

    def signed_url(self, base: str, path: str, *, methods: Sequence[str] = ("GET",), expires: int) -> str:
        """A URL with which anybody may do ``methods`` on one object until ``expires`` (seconds since 1970).

        ``base`` is ``https://HOST[:PORT]``, ``path`` is percent-encoded. Roles are not part of it.
        """
        ...


@dataclass(frozen=True, slots=True)
class KeyOwner:
    """In whose name requests are signed; a subuser is one of the account's."""

    account: str
    subuser: str | None = None


class Signature(NamedTuple):
    """A signature, and the HTTP Signature name of how it was made: ``rsa-sha256``."""

    algorithm: str
    value: bytes


class SigningKey(Protocol):
    """A private key, wherever it lies. May be used by several threads at once."""

    @property
    def public(self) -> SshPublicKey: ...

    @property
    def algorithm(self) -> str:
        """The algorithm that ``sign`` is expected to use; which one it did use is in what it returns."""
        ...

    def sign(self, data: bytes) -> Signature: ...


# ---- keys in this process -------------------------------------------------------------------------

# P-384's own hash would be SHA-384, which the servers' http-signature does not know: of SHA-2 it has 256 and
# 512, and takes them with any curve.
_CURVES: Final[Mapping[str, tuple[str, Callable[[], hashes.HashAlgorithm]]]] = {
    "secp256r1": ("ecdsa-sha256", hashes.SHA256),
    "secp384r1": ("ecdsa-sha256", hashes.SHA256),
    "secp521r1": ("ecdsa-sha512", hashes.SHA512),
}


class LocalKey:
    """A private key in the memory of this process. Raises ValueError for one on a curve that SSH does not use."""

    __slots__ = ("_private", "algorithm", "public")

    def __init__(self, private: PrivateKey) -> None:
        self._private = private
        self.algorithm = _algorithm(private)
        self.public = _public_half(private)

    def sign(self, data: bytes) -> Signature:
        return Signature(self.algorithm, _signed(self._private, data))


def _algorithm(private: PrivateKey) -> str:
    if isinstance(private, rsa.RSAPrivateKey):
        return "rsa-sha256"
    if isinstance(private, ed25519.Ed25519PrivateKey):
        return "ed25519-sha512"
    if private.curve.name not in _CURVES:
        raise ValueError(f"the curve {private.curve.name} is none of SSH's")
    return _CURVES[private.curve.name][0]


def _public_half(private: PrivateKey) -> SshPublicKey:
    line = private.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
    return SshPublicKey(base64.b64decode(line.split()[1]))


def _signed(private: PrivateKey, data: bytes) -> bytes:
    if isinstance(private, rsa.RSAPrivateKey):
        return private.sign(data, padding.PKCS1v15(), hashes.SHA256())
    if isinstance(private, ed25519.Ed25519PrivateKey):
        return private.sign(data)
    return private.sign(data, ec.ECDSA(_CURVES[private.curve.name][1]()))


# ---- signatures from an agent ---------------------------------------------------------------------

AGENT_ALGORITHMS: Final[Mapping[str, str]] = {
    "rsa-sha2-256": "rsa-sha256",
    "rsa-sha2-512": "rsa-sha512",
    "ssh-rsa": "rsa-sha1",  # by an agent that knows no other; the servers take it
    P256: "ecdsa-sha256",
    P521: "ecdsa-sha512",
    ED25519: "ed25519-sha512",
}


def from_ssh(signature: bytes, key: SshPublicKey) -> Signature:
    """What an SSH agent signed, named and encoded for HTTP.

    Source of the form: RFC 4253 section 6.6, RFC 5656 section 3.1.2, RFC 8332, RFC 8709. Raises ValueError for
    what is no signature by this key, or one that no server could check.
    """
    name, at = take_string(signature, 0)
    value, _ = take_string(signature, at)
    algorithm = AGENT_ALGORITHMS.get(name.decode("ascii", "replace"))
    if algorithm is None:
        raise ValueError(f"a signature of another kind: {name[:40]!r}")
    if algorithm.startswith("rsa-"):
        return Signature(algorithm, value.rjust(_modulus_length(key), b"\0"))  # some leave zeros in front out
    return Signature(algorithm, _der(value) if algorithm.startswith("ecdsa-") else value)


def _modulus_length(key: SshPublicKey) -> int:
    at = 0
    for _ in ("ssh-rsa", "public exponent", "modulus"):
        value, at = take_string(key.blob, at)
    return len(value.lstrip(b"\0"))


def _der(value: bytes) -> bytes:
    r, at = take_string(value, 0)
    s, _ = take_string(value, at)
    return encode_dss_signature(int.from_bytes(r, "big"), int.from_bytes(s, "big"))


# ---- requests -------------------------------------------------------------------------------------


def signing_string(headers: Iterable[tuple[str, str]]) -> bytes:
    """What is signed for these headers, names in lower case: a line ``name: value`` each, no newline at the end."""
    return "\n".join(f"{name}: {value}" for name, value in headers).encode("ascii")


class HttpSigner:
    """The ``Signer`` of one key. A request signs its Date and nothing else, so those of one second share one."""

    def __init__(self, key: SigningKey, owner: KeyOwner) -> None:
        self._key = key
        user = "/".join(quote(name, safe="@") for name in (owner.account, owner.subuser) if name)
        self._key_id = f"/{user}/keys/{key.public.md5}"
        self._lock = threading.Lock()
        self._last = ("", "")  # a date and its Authorization
        self._failed = (0, "")  # how often signing failed, and why it did the last time

    @property
    def key_id(self) -> str:
        return self._key_id

    def authorization(self, date: str) -> str:
        last, failed = self._last, self._failed
        if last[0] == date:
            return last[1]
        with self._lock:
            if self._last[0] == date:
                return self._last[1]
            if self._failed != failed:  # while we waited: an agent that hangs shall not keep one thread after another
                raise StoreUnavailable(self._failed[1])
            self._last = (date, self._authorized(date))
            return self._last[1]

    def _authorized(self, date: str) -> str:
        try:
            signature = self._key.sign(signing_string([("date", date)]))
        except StoreUnavailable as error:
            self._failed = (self._failed[0] + 1, str(error))
            raise
        parameters = {
            "keyId": self._key_id,
            "algorithm": signature.algorithm,
            "headers": "date",
            "signature": _base64(signature.value),
        }
        return "Signature " + ",".join(f'{name}="{value}"' for name, value in parameters.items())

    def signed_url(self, base: str, path: str, *, methods: Sequence[str] = ("GET",), expires: int) -> str:
        scheme, host = _scheme_and_host(base)
        algorithm = self._key.algorithm
        for _ in range(2):  # an agent may use another hash than was asked for, and then does so again
            query = self._query(algorithm, methods, expires)
            signature = self._key.sign(presigned_string(host, path, query, methods))
            if signature.algorithm == algorithm:
                return f"{scheme}://{host}{path}?{query}&signature={_encoded(_base64(signature.value))}"
            algorithm = signature.algorithm
        raise StoreUnavailable(
            f"key {self._key_id}: ssh-agent signs in another way each time; give the key as a file"
        )

    def _query(self, algorithm: str, methods: Sequence[str], expires: int) -> str:
        pairs = {"algorithm": algorithm.upper(), "expires": str(expires), "keyId": self._key_id}
        if len({*methods}) > 1:  # the server takes the request's own for the only one
            pairs["method"] = _listed(methods)
        return "&".join(f"{name}={_encoded(value)}" for name, value in sorted(pairs.items()))


def presigned_string(host: str, path: str, query: str, methods: Sequence[str]) -> bytes:
    """What is signed for a URL: methods, Host header, path and query (encoded, sorted by name), a line each."""
    return "\n".join((_listed(methods), host, path, query)).encode("ascii")


def _listed(methods: Sequence[str]) -> str:
    return ",".join(sorted({method.upper() for method in methods}))


def _scheme_and_host(base: str) -> tuple[str, str]:
    """The URL's scheme and the Host header that clients send for it: without the scheme's own port."""
    parts = urlsplit(base)
    host = parts.netloc.rpartition("@")[2].lower()
    own = {"https": ":443", "http": ":80"}.get(parts.scheme)
    if own is None or not host:
        raise UsageError("a signed URL needs a base such as https://HOST or https://HOST:PORT")
    return parts.scheme, host.removesuffix(own)


def _encoded(value: str) -> str:
    return quote(value, safe="")  # RFC 3986: all but letters, digits and -._~


def _base64(value: bytes) -> str:
    return base64.b64encode(value).decode("ascii")
