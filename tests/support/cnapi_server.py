"""A strict CNAPI: ``GET /servers`` as Triton's answers it, which takes nothing that the real one would refuse.

Source: CNAPI's documentation and its validation of ``/servers``: unknown parameters, and limits out of range, are
refused; sysinfo is there only when it is asked for twice, as an extra and as a field; servers are sorted by UUID.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

_FILTERS = frozenset(["uuids", "setup", "headnode", "reserved", "reservoir", "hostname"])
_PARAMETERS = _FILTERS | {"extras", "fields", "limit", "offset"}
_EXTRAS = frozenset(["agents", "vms", "memory", "disk", "sysinfo", "capacity", "all"])
_ALWAYS = frozenset(
    ["uuid", "hostname", "datacenter", "headnode", "setup", "setting_up", "reserved", "ram", "created"]
)
_WITH_EXTRAS = frozenset(("status", "last_heartbeat"))
_MOST = 1000

Server = Mapping[str, Any]
Mood = Callable[[str], tuple[int, str, bytes] | None]  # target -> status, content type, body; None: the true answer


def server(uuid: str, hostname: str, address: str | None, **more: Any) -> dict[str, Any]:
    """A server that is set up and runs, as CNAPI has it; ``more`` in place of its fields."""
    sysinfo = {
        "UUID": uuid,
        "Hostname": hostname,
        "System Type": "SunOS",
        "Setup": "true",
        "Admin NIC Tag": "admin",
        "Network Interfaces": {
            "ixgbe0": {"MAC Address": "00:00:5e:00:53:01", "ip4addr": "", "NIC Names": ["external"]},
            "ixgbe1": {"MAC Address": "00:00:5e:00:53:02", "ip4addr": address or "", "NIC Names": ["admin"]},
        },
    }
    told = {
        "uuid": uuid,
        "hostname": hostname,
        "datacenter": "dc1",
        "status": "running",
        "headnode": False,
        "setup": True,
        "setting_up": False,
        "reserved": False,
        "ram": 65536,
        "created": "2026-01-01T00:00:00.000Z",
        "traits": {},
        "last_heartbeat": None,
        "sysinfo": sysinfo,
    }
    return told | more


class CnapiServer:
    """Serves on loopback from ``with`` to its end. ``asked`` are the targets of all requests."""

    def __init__(self, servers: Sequence[Server]) -> None:
        self.servers = list(servers)
        self.mood: Mood = lambda target: None
        self.asked: list[str] = []
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.01,), name="cnapi")

    @property
    def url(self) -> str:
        host, port = self._http.server_address[:2]
        return f"http://{host!s}:{port}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        cnapi = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                cnapi.asked.append(self.path)
                status, kind, body = cnapi.mood(self.path) or cnapi.answer(self.path)
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:
                pass

        return Handler

    def answer(self, target: str) -> tuple[int, str, bytes]:
        """The true answer to a request."""
        parts = urlsplit(target)
        if parts.path != "/servers":
            return _refusal(404, "ResourceNotFound", f"{parts.path} does not exist")
        query = parse_qs(parts.query, keep_blank_values=True)
        if fault := _fault(query):
            return _refusal(400, "ValidationFailed", fault)
        return 200, "application/json", json.dumps(self._listed(query)).encode()

    def _listed(self, query: Mapping[str, Sequence[str]]) -> list[dict[str, Any]]:
        extras, fields = _words(query, "extras"), _words(query, "fields")
        known = _ALWAYS | (_WITH_EXTRAS if extras else frozenset()) | (extras & {"sysinfo"})
        wanted = known & fields if fields else known
        offset, limit = int(query.get("offset", ["0"])[0]), int(query.get("limit", [str(_MOST)])[0])
        listed = sorted(self.servers, key=lambda each: str(each.get("uuid")))[offset : offset + limit]
        return [{name: value for name, value in each.items() if name in wanted} for each in listed]


def _words(query: Mapping[str, Sequence[str]], name: str) -> frozenset[str]:
    return frozenset(word for value in query.get(name, ()) for word in value.split(","))


def _fault(query: Mapping[str, Sequence[str]]) -> str:
    """What is wrong with the parameters; nothing when they are right."""
    for name, values in query.items():
        if name not in _PARAMETERS or len(values) != 1 or not values[0]:
            return f"{name}: unknown, empty, or given twice"
    if not _words(query, "extras") <= _EXTRAS:
        return "extras: unknown"
    for name, low, high in (("limit", 1, _MOST), ("offset", 0, 1 << 31)):
        value = query.get(name, [str(low)])[0]
        if not value.isdecimal() or not low <= int(value) <= high:
            return f"{name}: not from {low} to {high}"
    return ""


def _refusal(status: int, code: str, message: str) -> tuple[int, str, bytes]:
    return status, "application/json", json.dumps({"code": code, "message": message}).encode()
