"""One connection to a RethinkDB server, with a deadline for each thing that it waits for.

The driver's own connection reads without a timeout, copies a long answer over and over, and sets up TLS by ways that
Python has given up; so only its language, its handshake and its numbers are used. The protocol is V1_0, described
under "Writing RethinkDB drivers" in RethinkDB's documentation: after the handshake each message is a token of 8
bytes, a length of 4, both little-endian, and JSON; a long answer comes in parts, all but the first when asked for.
"""

from __future__ import annotations

import json
import re
import socket
import ssl
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final

from rethinkdb.ast import ReQLEncoder
from rethinkdb.errors import ReqlAuthError, ReqlError
from rethinkdb.handshake import HandshakeV1_0
from rethinkdb.ql2_pb2 import Query, Response

from thoth.errors import IndexFailure
from thoth.index.reql import Term
from thoth.index.rethink_place import RethinkPlace
from thoth.model import Json

_HEAD: Final = struct.Struct("<QI")
_PART: Final = 1 << 18  # bytes that are asked of the system at once
_LARGEST: Final = 1 << 28  # bytes of a message: the server's own are of a megabyte, or one document
_LONGEST_GREETING: Final = 1 << 14
# After how many seconds without anything the other side is asked whether it is there, how often, and how many times.
_ALIVE: Final = {"TCP_KEEPIDLE": 60, "TCP_KEEPINTVL": 15, "TCP_KEEPCNT": 4}
# How a reply begins: RethinkDB writes its type first.
_TYPE: Final = re.compile(rb'\{"t":([0-9]+),')
# Times, and what else of RethinkDB is no JSON, come as objects.
_OPTIONS: Final = {"time_format": "raw", "binary_format": "raw", "group_format": "raw"}

_ENDED: Final = "the connection was closed; see whether the database was stopped or is starting, and try again"
_STRANGE: Final = (
    "does not answer as RethinkDB does; is it the port for drivers (28015 by default), with or without TLS?"
)


class Lost(IndexFailure):
    """The connection ended; the question can be asked again on another one."""


class Silent(IndexFailure):
    """The server did not answer in time."""


class Refused(IndexFailure):
    """The server cannot, or will not, answer this question."""


class Wire:
    """A connection; used by one thread at a time, but for ``close``, which ends a question of another thread.

    ``at_rest`` tells whether a question can be asked: the last answer was read to its end. ``heard`` tells whether
    anything has come in answer to the last one.
    """

    def __init__(self, place: RethinkPlace) -> None:
        self.place = place
        self.at_rest = self.heard = False
        self._token = 0
        self._patience = self._deadline = 0.0
        self._socket: socket.socket | None = None
        self._closed = False

    def open(self, end: float) -> None:
        """Connects and logs in, before ``end`` by time.monotonic(). Raises IndexFailure."""
        self._wait_at_most(self.place.connect_timeout, end)
        self._socket = _connected(self.place, self._deadline)
        if self.place.tls is not None:
            self._socket = _encrypted(self._socket, self.place)
        self._log_in()
        self.at_rest = True

    def replies(self, question: Term, end: float, each: float) -> Iterator[bytes]:
        """Ask, and give the parts of the answer as they come: JSON, which ``results`` reads.

        Each may take ``each`` seconds, all until ``end`` by time.monotonic(). Raises Refused, Lost and IndexFailure.
        """
        self.at_rest = self.heard = False
        self._token += 1
        self._send([Query.QueryType.START, question, _OPTIONS], each, end)
        reply, kind = self._reply(each, end)
        while kind == Response.ResponseType.SUCCESS_PARTIAL:
            self._send([Query.QueryType.CONTINUE], each, end)  # the server goes on while this part is looked at
            yield reply
            reply, kind = self._reply(each, end)
        self.at_rest = True
        if kind >= Response.ResponseType.CLIENT_ERROR:
            raise Refused(f"{self.place}: the database refuses: {one_line(results(reply, self.place)[0])}")
        yield reply

    def close(self) -> None:
        """Ends the connection; safe to repeat, and from another thread, whose question raises Lost then."""
        self._closed = True
        if self._socket is not None:
            with suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)  # wakes who reads
            self._socket.close()

    # ---- messages ----------------------------------------------------------------------------------

    def _send(self, message: list[Term], patience: float, end: float) -> None:
        body = ReQLEncoder().encode(message).encode()
        self._wait_at_most(patience, end)
        self._write(_HEAD.pack(self._token, len(body)) + body)

    def _reply(self, patience: float, end: float) -> tuple[bytes, int]:
        """The next message and its type."""
        self._wait_at_most(patience, end)
        token, length = _HEAD.unpack(self._read(_HEAD.size))
        self.heard = True
        if token != self._token or length > _LARGEST:
            raise IndexFailure(f"{self.place}: {_STRANGE}")
        reply = self._read(length)
        found = _TYPE.match(reply)
        return reply, int(found[1]) if found else _kind(reply, self.place)

    def _log_in(self) -> None:
        # The driver makes Latin-1 of a password; RethinkDB has it in UTF-8.
        password = self.place.password.encode().decode("latin-1")
        decoder, encoder = json.JSONDecoder(), json.JSONEncoder()
        handshake = HandshakeV1_0(decoder, encoder, self.place.host, self.place.port, self.place.user, password)
        said: bytes | None = None
        try:
            while (message := handshake.next_message(said)) is not None:
                if message:
                    self._write(message)
                said = self._greeting()
        except ReqlAuthError as error:
            raise IndexFailure(
                f"{self.place}: does not let in user {self.place.user!r} ({_complaint(said)}); check the configured"
                " user and password"
            ) from error
        except (ReqlError, ValueError, LookupError, TypeError, AttributeError) as error:
            complaint = _complaint(said)
            raise IndexFailure(f"{self.place}: {_STRANGE}{complaint and f' ({complaint})'}") from error

    def _greeting(self) -> bytes:
        """A text of the handshake, which ends with a NUL."""
        data = bytearray()
        while (char := self._some(1)) != b"\0":
            data += char
            if len(data) > _LONGEST_GREETING:
                raise ValueError("a greeting without end")
        return bytes(data)

    # ---- bytes -------------------------------------------------------------------------------------

    def _wait_at_most(self, patience: float, end: float) -> None:
        self._patience = patience
        self._deadline = min(time.monotonic() + patience, end)

    def _write(self, data: bytes) -> None:
        left = memoryview(data)
        while left:
            with self._live() as opened:
                left = left[opened.send(left[:_PART]) :]

    def _read(self, length: int) -> bytes:
        data = bytearray()
        while len(data) < length:
            data += self._some(min(length - len(data), _PART))
        return bytes(data)

    def _some(self, most: int) -> bytes:
        with self._live() as opened:
            got = opened.recv(most)
        if not got:
            raise Lost(f"{self.place}: {_ENDED}")
        return got

    @contextmanager
    def _live(self) -> Iterator[socket.socket]:
        """The socket, for one call of the system until the deadline."""
        if self._socket is None or self._closed:
            raise Lost(f"{self.place}: {_ENDED}")
        try:
            # A timeout of 0 would be something else: not to wait, and another error.
            self._socket.settimeout(max(self._deadline - time.monotonic(), 1e-6))
            yield self._socket
        except TimeoutError as error:
            raise Silent(
                f"{self.place}: no answer within {self._patience:g} s; see whether the database is overloaded or"
                " stopped, and try again"
            ) from error
        except OSError as error:
            raise Lost(f"{self.place}: {_ENDED}") from error


def results(reply: bytes, place: RethinkPlace) -> list[Json]:
    """The rows in a part of an answer, or its one value. Raises IndexFailure."""
    answer = _decoded(reply, place)
    found = answer.get("r")
    if not isinstance(found, list) or not (found or answer.get("t") != Response.ResponseType.SUCCESS_ATOM):
        raise IndexFailure(f"{place}: {_STRANGE}")
    # What is a stream to one server is an array, and so one value, to another.
    one = answer.get("t") == Response.ResponseType.SUCCESS_ATOM and isinstance(found[0], list)
    return found[0] if one else found


def _kind(reply: bytes, place: RethinkPlace) -> int:
    kind = _decoded(reply, place).get("t")
    if not isinstance(kind, int):
        raise IndexFailure(f"{place}: {_STRANGE}")
    return kind


def _decoded(reply: bytes, place: RethinkPlace) -> dict[str, Json]:
    try:
        answer = json.loads(reply)
    except (ValueError, RecursionError) as error:
        raise IndexFailure(f"{place}: {_STRANGE}") from error
    if not isinstance(answer, dict):
        raise IndexFailure(f"{place}: {_STRANGE}")
    return answer


def _complaint(said: bytes | None) -> str:
    """What a server says in the handshake when it ends it."""
    try:
        answer = json.loads(said or b"{}")
    except (ValueError, RecursionError):
        return one_line((said or b"").decode("utf-8", "replace"))
    refused = isinstance(answer, dict) and not answer.get("success", True)
    return one_line(answer.get("error")) if refused else "it does not know the password itself"


def one_line(told: Json) -> str:
    """The first line of what a server says, printable and not long."""
    line = next(iter(str(told).splitlines()), "")[:200]
    return "".join(char if char.isprintable() else "?" for char in line).rstrip(" :.")


# ---- connecting ------------------------------------------------------------------------------------


def _connected(place: RethinkPlace, deadline: float) -> socket.socket:
    last: OSError | UnicodeError = OSError(0, "no address")
    try:
        for family, kind, protocol, _, address in socket.getaddrinfo(place.host, place.port, type=socket.SOCK_STREAM):
            opened = socket.socket(family, kind, protocol)
            try:
                opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                _keep_alive(opened)
                opened.settimeout(max(deadline - time.monotonic(), 0.001))
                opened.connect(address)
            except OSError as error:
                opened.close()
                last = error
            else:
                return opened
    except (OSError, UnicodeError) as error:
        last = error
    raise _unreached(last, place)


def _keep_alive(opened: socket.socket) -> None:
    """Has the system send something from time to time: firewalls forget a connection on which nothing is."""
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in _ALIVE.items():
        if hasattr(socket, name):  # not every system lets a program choose
            opened.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


def _unreached(error: OSError | UnicodeError, place: RethinkPlace) -> IndexFailure:
    silent = isinstance(error, TimeoutError)
    patience = f"no answer within {place.connect_timeout:g} s"
    reason = patience if silent else str(getattr(error, "strerror", None) or error)
    return (Silent if silent else IndexFailure)(
        f"{place}: cannot be reached ({reason}); see that RethinkDB runs there and takes connections from here"
    )


def _encrypted(opened: socket.socket, place: RethinkPlace) -> socket.socket:
    try:
        context = ssl.create_default_context(cafile=place.tls.ca_file if place.tls else None)
        return context.wrap_socket(opened, server_hostname=place.host)
    except TimeoutError as error:
        raise _unreached(error, place) from error
    except (OSError, ValueError) as error:
        reason = _untrusted(error, place)
        raise IndexFailure(
            f"{place}: TLS failed: {reason}; check the CA's file and the host's name, and that the port takes TLS"
        ) from error


def _untrusted(error: OSError | ValueError, place: RethinkPlace) -> str:
    match error:
        case ssl.SSLCertVerificationError():
            return f"the certificate is not to be trusted ({error.verify_message})"
        case ssl.SSLError():
            return str(error.reason or error.strerror or error)
        case FileNotFoundError() | PermissionError():
            return f"{place.tls.ca_file if place.tls else ''}: {error.strerror}"
        case OSError():
            return error.strerror or "the connection was closed"
    return str(error)
