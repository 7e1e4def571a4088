"""A debuginfod on loopback, over the part of its protocol that is in use: strict about what it is asked."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any


class _Handler(BaseHTTPRequestHandler):
    """Answers as debuginfod(8) says, and nothing else."""

    protocol_version = "HTTP/1.1"
    timeout = 20
    server: Any

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        words = self.path.split("/")
        if len(words) != 4 or words[:2] != ["", "buildid"] or words[3] not in ("executable", "debuginfo"):
            self.send_error(400)
            return
        path = self.server.files.get((words[2], words[3]))
        if path is None:
            self.send_error(404)
            return
        data = path.read_bytes()
        self.send_response(200)
        self.send_header("Content-Type", "application/octet-stream")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""


class Served:
    """What it serves, by build-id and kind, and the paths that it was asked for."""

    def __init__(self) -> None:
        self.files: dict[tuple[str, str], Path] = {}
        self.asked: list[str] = []
        self.url = ""


@contextmanager
def debuginfod_server() -> Iterator[Served]:
    told = Served()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.daemon_threads = False
    server.files, server.asked = told.files, told.asked  # type: ignore[attr-defined]  # where the handler finds them
    told.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield told
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
