"""A server that speaks RethinkDB's protocol and says what a test wants it to say.

    with ReqlStub(lambda question: atom({"errors": 1, ...})) as stub:
        ask(stub.address)

It lets in everybody without a password, and answers each question with what ``answer`` makes of it: a reply's body.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import socket
import struct
import threading
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

_HEAD = struct.Struct("<QI")
_SALT = b"salt"
_JOIN = 10.0  # seconds


def atom(value: object) -> bytes:
    """A reply with one value."""
    return json.dumps({"t": 1, "r": [value]}).encode()


class ReqlStub:
    """Listens on loopback from ``with`` to its end. ``answer`` is called in a thread of the connection.

    ``shift`` is added to the token of each question in its answer.
    """

    def __init__(self, answer: Callable[[Any], bytes], *, shift: int = 0) -> None:
        self._answer = answer
        self._shift = shift
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address: tuple[str, int] = self._listener.getsockname()
        self._clients: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept, name="reql stub")]

    def __enter__(self) -> Self:
        self._threads[0].start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for each in (self._listener, *self._clients):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()
        for thread in self._threads:
            thread.join(_JOIN)

    def _accept(self) -> None:
        with suppress(OSError):  # shut down
            while True:
                client, _ = self._listener.accept()
                self._clients.append(client)
                self._threads.append(threading.Thread(target=self._serve, args=(client,), name="reql stub client"))
                self._threads[-1].start()

    def _serve(self, client: socket.socket) -> None:
        with suppress(OSError, EOFError), client.makefile("rb") as said:
            _let_in(client, said)
            while True:
                token, length = _HEAD.unpack(_exactly(said, _HEAD.size))
                reply = self._answer(json.loads(_exactly(said, length)))
                client.sendall(_HEAD.pack(token + self._shift, len(reply)) + reply)


def _let_in(client: socket.socket, said: Any) -> None:
    """SCRAM-SHA-256 (RFC 5802) with an empty password, whose proof is not looked at."""
    _exactly(said, 4)
    first = json.loads(_text(said))["authentication"].removeprefix("n,,")
    _say(client, {"success": True, "min_protocol_version": 0, "max_protocol_version": 0})
    nonce = dict(each.split("=", 1) for each in first.split(","))["r"] + "stub"
    challenge = f"r={nonce},s={base64.b64encode(_SALT).decode()},i=1"
    _say(client, {"success": True, "authentication": challenge})
    _text(said)
    key = hmac.digest(hashlib.pbkdf2_hmac("sha256", b"", _SALT, 1), b"Server Key", "sha256")
    signature = hmac.digest(key, f"{first},{challenge},c=biws,r={nonce}".encode(), "sha256")
    _say(client, {"success": True, "authentication": f"v={base64.b64encode(signature).decode()}"})


def _say(client: socket.socket, what: object) -> None:
    client.sendall(json.dumps(what).encode() + b"\0")


def _text(said: Any) -> bytes:
    text = b""
    while (char := _exactly(said, 1)) != b"\0":
        text += char
    return text


def _exactly(said: Any, size: int) -> bytes:
    data: bytes = said.read(size)
    if len(data) < size:
        raise EOFError
    return data
