"""A web server over TLS that serves files, and misbehaves by the path: what a release may be fetched from."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from tests.support.cloudapi_server import certificate


@contextmanager
def file_server(folder: Path) -> Iterator[tuple[str, Path]]:
    """Serves the folder's files: its address, and the certificate to trust.

    ``/NAME`` is the file, or a page with status 404; ``/cut/NAME`` ends halfway; ``/plain/NAME`` leads to http.
    """
    ca, private = certificate(folder)
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.daemon_threads = False
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(ca, private)
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    server.folder = folder  # type: ignore[attr-defined]  # where the handler finds it
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"https://127.0.0.1:{server.server_port}", ca
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

    def do_GET(self) -> None:
        *mood, name = self.path.strip("/").split("/")
        path = self.server.folder / name
        if mood == ["plain"]:
            self.send_response(302)
            self.send_header("Location", f"http://127.0.0.1:1/{name}")
            self.end_headers()
            return
        data = path.read_bytes() if path.is_file() else b"<html>no such page</html>"
        self.send_response(200 if path.is_file() else 404)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data[: len(data) // 2] if mood == ["cut"] else data)
        self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""
