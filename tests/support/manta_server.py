"""A strict Manta on loopback, for tests and for a try by hand.

    with MantaServer(Account("alice", (public_key,))) as server:
        ... server.url, server.requests, server.moods ...

    python -m tests.support.manta_server --port 8080 --user alice --key id_rsa.pub

It refuses what the real one refuses, with its statuses and codes, and it listens on loopback only.
"""

from __future__ import annotations

import argparse
import signal
import socket
import ssl
import sys
import tempfile
import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.support.manta_accounts import Account, Accounts, Caller, Role, Subuser
from tests.support.manta_entries import Entries
from tests.support.manta_exchange import Exchange, Limits, Options, Seen, Service
from tests.support.manta_jobs import Jobs
from tests.support.manta_moods import Moods, Reset
from tests.support.manta_paths import cleaned, decoded, split
from tests.support.manta_phases import Job
from tests.support.manta_routes import handle
from tests.support.manta_wire import Body, Garbled, Gone, Head, Stalled, Wire

__all__ = ["Account", "Limits", "MantaServer", "Options", "Role", "Seen", "StillRunning", "Subuser", "Tls"]

_HOST = "127.0.0.1"
_END = 10.0  # seconds that a connection's thread may take to end
_BACKLOG = 512


class StillRunning(Exception):
    """A thread of the server does not end."""


@dataclass(frozen=True, slots=True)
class Tls:
    """PEM files."""

    certificate: Path
    key: Path


class MantaServer:
    """Listens from ``with`` to its end; then no thread, process or file of it is left, but those in ``folder``.

    ``folder`` keeps the objects, also for the next server that gets it. ``port`` 0: a free one. ``task_seconds`` is
    how long a task of a job may run, ``task_programs`` are folders that it has in its PATH.
    """

    def __init__(
        self,
        *accounts: Account,
        options: Options | None = None,
        port: int = 0,
        folder: Path | None = None,
        tls: Tls | None = None,
        task_seconds: float = 60.0,
        task_programs: tuple[Path, ...] = (),
    ) -> None:
        self._accounts = Accounts.of(accounts)
        self._options = replace(options or Options(), tls=tls is not None)
        self._port = port
        self._folder = folder
        self._tls = tls
        self._task_seconds = task_seconds
        self._task_programs = task_programs
        self._undo = ExitStack()
        self._listener: Listener | None = None
        self._service: Service | None = None

    @property
    def service(self) -> Service:
        """Everything behind the wire, for a test that has to look. Raises RuntimeError when it does not run."""
        if self._service is None:
            raise RuntimeError("the Manta test server does not run: use it in a with statement")
        return self._service

    @property
    def url(self) -> str:
        """Without a slash at its end."""
        return f"{'https' if self._tls else 'http'}://{_HOST}:{self.port}"

    @property
    def port(self) -> int:
        return self._listener.port if self._listener else self._port

    @property
    def requests(self) -> list[Seen]:
        """What was asked so far, in the order of the answers."""
        return self.service.requests

    @property
    def moods(self) -> Moods:
        return self.service.moods

    def __enter__(self) -> Self:
        if self._service is not None:
            raise RuntimeError("a Manta test server runs once: make another one")
        with self._undo as undo:
            folder = self._folder or Path(undo.enter_context(tempfile.TemporaryDirectory(prefix="manta-server-")))
            contents = folder / "contents"
            contents.mkdir(parents=True, exist_ok=True)
            entries = Entries(contents, folder / "entries.sqlite" if self._folder else ":memory:")
            undo.callback(entries.close)
            entries.sweep()
            moods = Moods(entries)
            undo.callback(moods.clear)
            service = Service(self._options, self._accounts, entries, contents, moods, programs=self._task_programs)
            self._listener = Listener(service, self._port, _context(self._tls))
            undo.callback(self._listener.close)
            if self._options.v1:
                service.jobs = Jobs(service, self._gate, self._task_seconds)
                undo.callback(service.jobs.close)
            undo.callback(moods.clear)
            undo.callback(service.closing.set)
            self._service = service
            self._undo = undo.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Ends everything. Raises StillRunning, or the first error that was the server's own fault."""
        self._undo.close()

    def _gate(self, job: Job) -> str:
        """A port of its own for the tasks of a job: there they are the one who made it, without a signature."""
        listener = Listener(self.service, 0, None, as_caller=job.caller)
        self._undo.callback(listener.close)
        return f"http://{_HOST}:{listener.port}/"


class Listener:
    """A port, and a thread for each connection that comes there."""

    def __init__(
        self, service: Service, port: int, context: ssl.SSLContext | None, as_caller: Caller | None = None
    ) -> None:
        self._service = service
        self._context = context
        self._as_caller = as_caller
        self._lock = threading.Lock()
        self._wires: dict[threading.Thread, Wire] = {}
        self._faults: list[BaseException] = []
        self._connections = 0
        self._ends = False
        self._socket = socket.create_server((_HOST, port), backlog=_BACKLOG)
        self.port: int = self._socket.getsockname()[1]
        self._acceptor = threading.Thread(target=self._accept, name="manta listener")
        self._acceptor.start()

    def close(self) -> None:
        """Ends all connections. Raises StillRunning, or the first error that was the server's own fault."""
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)  # wakes the thread that accepts
        self._acceptor.join(_END)
        self._socket.close()
        with self._lock:
            self._ends = True
            open_ones = dict(self._wires)
        for wire in open_ones.values():
            wire.shut()
        for thread in open_ones:
            thread.join(_END)
        if any(thread.is_alive() for thread in open_ones):
            raise StillRunning("a connection of the Manta test server does not end")
        if self._faults:
            raise self._faults[0]

    def _accept(self) -> None:
        while True:
            try:
                connected, _ = self._socket.accept()
            except OSError:  # shut down
                return
            connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self._context:
                connected = self._context.wrap_socket(connected, server_side=True, do_handshake_on_connect=False)
            wire = Wire(connected, self._service.closing)
            self._connections += 1
            thread = threading.Thread(target=self._serve, args=(wire, self._connections), name="manta connection")
            with self._lock:
                self._wires[thread] = wire
            thread.start()

    def _serve(self, wire: Wire, number: int) -> None:
        try:
            if isinstance(wire.socket, ssl.SSLSocket):
                wire.socket.settimeout(self._service.options.limits.idle)
                wire.socket.do_handshake()
            self._talk(wire, number)
        except Garbled:
            with suppress(Gone, Stalled):
                wire.send(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")
        except (Gone, Stalled, OSError):
            pass  # the client went away, or does not speak TLS with us
        except BaseException as error:  # noqa: BLE001  # a mistake of this server: close() raises it where it is seen
            self._faults.append(error)
        finally:
            wire.socket.close()
            with self._lock:
                self._wires.pop(threading.current_thread(), None)

    def _talk(self, wire: Wire, number: int) -> None:
        limits = self._service.options.limits
        while (head := wire.head(limits.idle)) is not None:
            exchange = self._exchange(wire, head, number)
            try:
                handle(exchange)
                if not exchange.stays and (exchange.hurries or exchange.body.unasked):
                    return
                exchange.body.drain()
            except (Gone, Stalled, Garbled):
                exchange.give_up()
                if exchange.moods.get(Reset):
                    wire.reset()
                raise
            if not exchange.stays:
                return
            wire.slow_down(None, None)

    def _exchange(self, wire: Wire, head: Head, number: int) -> Exchange:
        body = Body(wire, head)
        body.patience = self._service.options.limits.data
        found = split(head.target)
        if found is None:
            raise Garbled("not a path")
        path, query = found
        moods = self._service.moods.of(head.method, decoded(path) or path)
        return Exchange(
            self._service, wire, head, body, moods, path, cleaned(path) or "/", query, number, self._as_caller
        )


def _context(tls: Tls | None) -> ssl.SSLContext | None:
    if tls is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tls.certificate, tls.key)
    return context


# ---- by hand ------------------------------------------------------------------------------------------


def main(arguments: Sequence[str] | None = None, *, wait: Callable[[], object] | None = None) -> int:
    """Serves until it is interrupted or terminated. Prints one line with the URL when it is ready."""
    asked = _parser().parse_args(arguments)
    account = Account(asked.user, tuple(path.read_text() for path in asked.key))
    options = Options(v1=asked.v1, mpu=asked.mpu, require_tls=asked.require_tls)
    tls = Tls(*asked.tls) if asked.tls else None
    server = MantaServer(account, options=options, port=asked.port, folder=asked.dir, tls=tls)
    with server:
        print(server.url, flush=True)
        (wait or _wait_for_signal)()
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.support.manta_server", description="A strict Manta on loopback."
    )
    parser.add_argument("--port", type=int, default=0, help="0: a free one")
    parser.add_argument("--user", required=True, help="login of the account")
    parser.add_argument("--key", type=Path, action="append", required=True, help="file with its public key")
    parser.add_argument("--dir", type=Path, help="keep the objects there; else they go with the server")
    parser.add_argument("--v1", action="store_true", help="be Manta v1: jobs and SnapLinks")
    parser.add_argument("--mpu", action=argparse.BooleanOptionalAction, default=True, help="multipart uploads")
    parser.add_argument("--require-tls", action="store_true", help="refuse plain HTTP, as the real one does")
    parser.add_argument("--tls", type=Path, nargs=2, metavar=("CERT", "KEY"), help="serve HTTPS")
    return parser


def _wait_for_signal() -> None:
    ended = threading.Event()
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, lambda *_: ended.set())
    ended.wait()


if __name__ == "__main__":
    sys.exit(main())
