"""The keys of an account in CloudAPI, over TLS, strict: what the real one refuses is refused.

Source: CloudAPI's documentation (Authentication; Keys) and draft-cavage-http-signatures-00. It shares no code with
what it tests.
"""

from __future__ import annotations

import base64
import datetime
import hashlib
import ipaddress
import json
import re
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.x509.oid import NameOID

_SKEW = 300  # seconds
_PARAMETER = re.compile(r'([a-zA-Z]+)="([^"]*)"')
_NAME = re.compile(r"[A-Za-z0-9._@ -]{1,64}")
_ALGORITHMS: dict[str, Callable[[Any, bytes, bytes], None]] = {
    "rsa-sha256": lambda key, signature, data: key.verify(signature, data, padding.PKCS1v15(), hashes.SHA256()),
    "ecdsa-sha256": lambda key, signature, data: key.verify(signature, data, ec.ECDSA(hashes.SHA256())),
    "ed25519-sha512": lambda key, signature, data: key.verify(signature, data),
}
_KINDS = {"rsa": rsa.RSAPublicKey, "ecdsa": ec.EllipticCurvePublicKey, "ed25519": ed25519.Ed25519PublicKey}


class _Refusal(Exception):
    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(status, code, message)


def fingerprint(line: str) -> str:
    """MD5 of a public key's line, as CloudAPI writes it."""
    digest = hashlib.md5(base64.b64decode(line.split()[1])).hexdigest()
    return ":".join(digest[at : at + 2] for at in range(0, 32, 2))


@dataclass
class CloudApiServer:
    """One account. ``keys`` are public keys' lines by name; ``asked`` is what came, as ``METHOD path status``."""

    account: str
    url: str
    ca: Path  # its certificate
    keys: dict[str, str]
    asked: list[str] = field(default_factory=list)
    failing: str = ""  # a method that is answered with 503

    def answer(self, method: str, path: str, headers: Any, body: bytes) -> tuple[int, Any]:
        try:
            self._check_signature(headers)
            self._check_health(method)
            return self._keys(method, path, body)
        except _Refusal as refusal:
            status, code, message = refusal.args
            return status, {"code": code, "message": message}

    def _check_health(self, method: str) -> None:
        if method == self.failing:
            raise _Refusal(503, "ServiceUnavailable", "down for maintenance")

    def _check_signature(self, headers: Any) -> None:
        scheme, _, rest = headers.get("Authorization", "").partition(" ")
        told = dict(_PARAMETER.findall(rest))
        if scheme != "Signature" or not {"keyId", "algorithm", "signature"} <= told.keys():
            raise _Refusal(401, "InvalidCredentials", "no signature")
        if told.get("headers", "date") != "date":
            raise _Refusal(401, "InvalidCredentials", "signs other headers than Date")
        if abs(parsedate_to_datetime(headers["Date"]).timestamp() - time.time()) > _SKEW:
            raise _Refusal(401, "RequestExpired", "the Date is off")
        by_id = {f"/{self.account}/keys/{fingerprint(line)}": line for line in self.keys.values()}
        key = by_id.get(told["keyId"])
        verify = _ALGORITHMS.get(told["algorithm"])
        if key is None or verify is None:
            raise _Refusal(401, "InvalidCredentials", "unknown key or algorithm")
        public = serialization.load_ssh_public_key(key.encode())
        if not isinstance(public, _KINDS[told["algorithm"].partition("-")[0]]):
            raise _Refusal(401, "InvalidCredentials", "the algorithm is not one of this key's")
        try:
            signature = base64.b64decode(told["signature"], validate=True)
            verify(public, signature, f"date: {headers['Date']}".encode())
        except (ValueError, InvalidSignature) as error:
            raise _Refusal(401, "InvalidSignature", "the signature does not match") from error

    def _keys(self, method: str, path: str, body: bytes) -> tuple[int, Any]:
        account, room, *rest = path.strip("/").split("/")
        if account != self.account or room != "keys" or len(rest) > 1:
            raise _Refusal(404, "ResourceNotFound", f"{path} does not exist")
        if method == "POST" and not rest:
            return 201, self._add(json.loads(body))
        name = unquote(rest[0]) if rest else ""
        if name not in self.keys:
            raise _Refusal(404, "ResourceNotFound", f"{name} does not exist")
        if method == "DELETE":
            del self.keys[name]
            return 204, None
        return 200, self._shown(name)

    def _add(self, asked: dict[str, str]) -> dict[str, str]:
        name, line = asked["name"], asked["key"]
        if not _NAME.fullmatch(name):
            raise _Refusal(409, "InvalidArgument", "not a name")
        serialization.load_ssh_public_key(line.encode())
        if name in self.keys or fingerprint(line) in map(fingerprint, self.keys.values()):
            raise _Refusal(409, "InvalidArgument", f"{name} already exists, or its key does")
        self.keys[name] = line
        return self._shown(name)

    def _shown(self, name: str) -> dict[str, str]:
        return {"name": name, "key": self.keys[name], "fingerprint": fingerprint(self.keys[name])}


@contextmanager
def cloudapi(folder: Path, account: str, key: str) -> Iterator[CloudApiServer]:
    """A server on loopback for an account that has one key, ``operator``. Its certificate goes into the folder."""
    ca, private = certificate(folder)
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.daemon_threads = False
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(ca, private)
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    served = CloudApiServer(account, f"https://127.0.0.1:{server.server_port}", ca, {"operator": key})
    server.served = served  # type: ignore[attr-defined]  # where the handler finds it
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield served
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    timeout = 20  # seconds
    server: Any

    def handle(self) -> None:
        try:
            super().handle()
        except OSError:  # a client that does not trust the certificate hangs up
            self.close_connection = True

    def _answer(self) -> None:
        served = self.server.served
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        status, document = served.answer(self.command, self.path, self.headers, body)
        served.asked.append(f"{self.command} {self.path} {status}")
        data = b"" if document is None else json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    do_GET = do_POST = do_DELETE = do_PUT = _answer

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: ``asked`` tells."""


def certificate(folder: Path) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1, its own authority, and its key, as files."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), True)
        .sign(key, hashes.SHA256())
    )
    public, private = folder / "certificate.pem", folder / "certificate.key"
    public.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    private.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return public, private
