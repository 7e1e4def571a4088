"""A little client of Manta for tests of the test server: signs as it is told to, also wrongly."""

from __future__ import annotations

import base64
import http.client
import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from email.utils import formatdate
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote, urlencode

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519, padding, rsa

from tests.support.manta_accounts import fingerprint

PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | dsa.DSAPrivateKey
_TIME = 20.0  # seconds
_HASHES: dict[str, Callable[[], hashes.HashAlgorithm]] = {
    "sha1": hashes.SHA1,
    "sha256": hashes.SHA256,
    "sha384": hashes.SHA384,
    "sha512": hashes.SHA512,
}


@dataclass(frozen=True, slots=True)
class Signer:
    """Signs for an account or, as ``alice/bob``, for a subuser. ``algorithm``: ``rsa-sha256``."""

    key: PrivateKey
    login: str = "alice"
    algorithm: str = "rsa-sha256"

    @property
    def public(self) -> str:
        """A line of OpenSSH."""
        form = serialization.PublicFormat.OpenSSH
        return self.key.public_key().public_bytes(serialization.Encoding.OpenSSH, form).decode()

    @property
    def key_id(self) -> str:
        return f"/{self.login}/keys/{fingerprint(self.key.public_key())}"

    def sign(self, text: str) -> str:
        """Base64."""
        data = text.encode("latin-1")
        algorithm = _HASHES[self.algorithm.rpartition("-")[2]]()
        if isinstance(self.key, rsa.RSAPrivateKey):
            signature = self.key.sign(data, padding.PKCS1v15(), algorithm)
        elif isinstance(self.key, ec.EllipticCurvePrivateKey):
            signature = self.key.sign(data, ec.ECDSA(algorithm))
        elif isinstance(self.key, dsa.DSAPrivateKey):
            signature = self.key.sign(data, algorithm)
        else:
            signature = self.key.sign(data)
        return base64.b64encode(signature).decode()

    def authorization(self, lines: Mapping[str, str], *, listed: bool = True) -> str:
        """The header's value for these signed lines: ``{"date": ...}``."""
        signature = self.sign("\n".join(f"{name}: {value}" if value else name for name, value in lines.items()))
        names = f'headers="{" ".join(lines)}",' if listed else ""
        return f'Signature keyId="{self.key_id}",algorithm="{self.algorithm}",{names}signature="{signature}"'

    def signed_target(
        self,
        host: str,
        path: str,
        *,
        methods: Sequence[str] = ("GET",),
        expires: float | None = None,
        extra: Mapping[str, str] | None = None,
    ) -> str:
        """Path and query of a signed URL; ``expires`` in Unix seconds, in five minutes unless it is given."""
        query = {"algorithm": self.algorithm.upper(), "keyId": self.key_id, **(extra or {})}
        query["expires"] = str(int(time.time() + 300 if expires is None else expires))
        if len(methods) > 1:
            query["method"] = ",".join(sorted(methods))
        line = urlencode(sorted(query.items()), quote_via=quote, safe="-_.~")
        signature = self.sign(f"{','.join(sorted(methods))}\n{host}\n{path}\n{line}")
        return f"{path}?{line}&signature={quote(signature, safe='')}"


@dataclass(frozen=True, slots=True)
class Reply:
    """``headers`` in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def code(self) -> str:
        """What an error is called."""
        return str(self.json()["code"])

    def lines(self) -> list[Any]:
        """Of a listing."""
        return [json.loads(line) for line in self.body.splitlines()]


class Client:
    """One connection. ``signer`` None: requests are not signed."""

    def __init__(self, port: int, signer: Signer | None) -> None:
        self.host = f"127.0.0.1:{port}"
        self.signer = signer
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_TIME)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._connection.close()

    def request(
        self,
        method: str,
        path: str,
        body: bytes | Iterable[bytes] | None = None,
        *,
        headers: Mapping[str, str | None] | None = None,
        sign: bool = True,
    ) -> Reply:
        """Sends and reads the answer whole. A header of None is left out; blocks are sent as chunks."""
        date = formatdate(usegmt=True)
        fields: dict[str, str | None] = {"Date": date}
        if self.signer and sign:
            stated = (headers or {}).get("Date") or date
            fields["Authorization"] = self.signer.authorization({"date": stated})
        fields |= headers or {}
        given = {name: value for name, value in fields.items() if value is not None}
        chunked = body is not None and not isinstance(body, bytes)
        given |= {"Transfer-Encoding": "chunked"} if chunked else {}
        self._connection.request(method, path, body, given, encode_chunked=chunked)
        answer = self._connection.getresponse()
        found = {name.lower(): value for name, value in answer.getheaders()}
        return Reply(answer.status, found, answer.read())

    def put(self, path: str, body: bytes = b"", **headers: str) -> Reply:
        """``If_Match="..."`` names a header."""
        return self.request("PUT", path, body, headers=_named(headers))

    def get(self, path: str, **headers: str) -> Reply:
        return self.request("GET", path, headers=_named(headers))

    def head(self, path: str, **headers: str) -> Reply:
        return self.request("HEAD", path, headers=_named(headers))

    def post(self, path: str, document: object = None, **headers: str) -> Reply:
        """The document as JSON."""
        named = {"Content-Type": "application/json", **_named(headers)}
        return self.request("POST", path, json.dumps(document).encode(), headers=named)

    def delete(self, path: str, **headers: str) -> Reply:
        return self.request("DELETE", path, headers=_named(headers))

    def mkdir(self, path: str, **headers: str) -> Reply:
        named = {"Content-Type": "application/json; type=directory", **_named(headers)}
        return self.request("PUT", path, b"", headers=named)


def _named(headers: Mapping[str, str]) -> dict[str, str]:
    return {name.replace("_", "-"): value for name, value in headers.items()}
