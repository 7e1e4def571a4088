"""Whether what was signed can be verified: by cryptography, and by the http-signature that Manta runs."""

from __future__ import annotations

import base64
import re
from typing import NamedTuple
from urllib.parse import parse_qsl, quote, urlsplit

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.serialization import load_ssh_public_key

from tests.support.http_signature import Verdict, verify_text_with_http_signature, verify_with_http_signature
from thoth.store.signing import Signer

DATE = "Thu, 01 Jan 2026 00:00:00 GMT"
_HASHES = {"sha1": hashes.SHA1, "sha256": hashes.SHA256, "sha512": hashes.SHA512}
_HEADER = re.compile(
    r'Signature keyId="([^"]+)",algorithm="([a-z0-9-]+)",headers="date",signature="([A-Za-z0-9+/]+={0,2})"'
)


class Header(NamedTuple):
    """An Authorization header, taken apart."""

    key_id: str
    algorithm: str
    signature: bytes


def taken_apart(authorization: str) -> Header:
    found = _HEADER.fullmatch(authorization)
    assert found, authorization
    return Header(found[1], found[2], base64.b64decode(found[3]))


def verify(public: str, algorithm: str, signature: bytes, data: bytes) -> None:
    """Raises InvalidSignature unless this is the signature of the data, in the encoding of the algorithm."""
    kind, _, name = algorithm.partition("-")
    key = load_ssh_public_key(public.encode())
    if isinstance(key, rsa.RSAPublicKey):
        assert kind == "rsa"
        key.verify(signature, data, padding.PKCS1v15(), _HASHES[name]())
    elif isinstance(key, ec.EllipticCurvePublicKey):
        assert kind == "ecdsa"
        key.verify(signature, data, ec.ECDSA(_HASHES[name]()))
    else:
        assert isinstance(key, ed25519.Ed25519PublicKey)
        assert algorithm == "ed25519-sha512"
        key.verify(signature, data)


def verify_date(signer: Signer, public: str, date: str = DATE) -> Header:
    """Signs a date, verifies that, and returns the header."""
    header = taken_apart(signer.authorization(date))
    verify(public, header.algorithm, header.signature, f"date: {date}".encode())
    return header


def judged_by_manta(signer: Signer, public: str) -> Verdict:
    """What http-signature says of a request that the signer signs."""
    headers = {"Date": DATE, "Authorization": signer.authorization(DATE)}
    return verify_with_http_signature("GET", "/alice/stor", headers, public, clock_skew=1e10)


class Presigned(NamedTuple):
    """A signed URL as a server sees it; ``text`` is what has to have been signed for this method."""

    query: dict[str, str]
    text: str


def presigned(url: str, method: str = "GET") -> Presigned:
    """What a server makes of a request for a signed URL. Source: the server's rule, in words."""
    parts = urlsplit(url)
    query = dict(parse_qsl(parts.query, strict_parsing=True))
    pairs = sorted((name, value) for name, value in query.items() if name != "signature")
    line = "&".join(f"{quote(name, safe='')}={quote(value, safe='')}" for name, value in pairs)
    methods = ",".join(sorted(query.get("method", method).split(",")))
    return Presigned(query, "\n".join((methods, parts.netloc, parts.path, line)))


def url_judged_by_manta(url: str, public: str, method: str = "GET") -> Verdict:
    asked = presigned(url, method)
    return verify_text_with_http_signature(asked.text, asked.query["signature"], asked.query["algorithm"], public)
