"""HTTP/1.1 as the Manta test server speaks it, and how it starts and ends."""

from __future__ import annotations

import http.client
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from email.utils import formatdate
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from tests.support.manta_client import Client, Signer
from tests.support.manta_server import Limits, MantaServer, Options, Tls
from tests.support.processes import wait_until

X = "/alice/stor/x"
REPOSITORY = Path(__file__).parents[2]

Serve = Callable[..., MantaServer]
Connect = Callable[..., Client]


def talk(port: int, text: str | bytes) -> bytes:
    """Sends some bytes and reads until the server closes."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as link:
        link.sendall(text.encode() if isinstance(text, str) else text)
        answer = b""
        while more := link.recv(65536):
            answer += more
    return answer


def test_a_connection_is_kept(server: MantaServer, client: Client) -> None:
    for _ in range(3):
        client.put(X, b"x" * 100_000)
        assert len(client.get(X).body) == 100_000
        client.put("/alice/stor/no/x", b"x" * 100_000)
    assert {seen.connection for seen in server.requests} == {1}


def test_two_requests_at_once(server: MantaServer) -> None:
    request = "GET /ping HTTP/1.1\r\nHost: x\r\n\r\n"
    answer = talk(server.port, request + request.replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n"))
    assert answer.count(b"HTTP/1.1 200 OK") == 2


@pytest.mark.parametrize(
    "text",
    [
        "nonsense\r\n\r\n",
        "GET / HTTP/2\r\nHost: x\r\n\r\n",
        "GET /ping HTTP/1.1\r\n\r\n",
        "GET /ping HTTP/1.1\r\nHost : x\r\n\r\n",
        "GET http://x/ping HTTP/1.1\r\nHost: x\r\n\r\n",
        "PUT /ping HTTP/1.1\r\nHost: x\r\nContent-Length: 1x\r\n\r\n",
        "PUT /ping HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\n\r\n",
        "PUT /ping HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n",
        "PUT /ping HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\nxyz\r\n",
        "GET /ping HTTP/1.1\r\nHost: x\r\nX: " + "x" * 100_000,
    ],
    ids=range(10),
)
def test_what_is_no_http(server: MantaServer, text: str) -> None:
    answer = talk(server.port, text)
    assert answer.endswith(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")


def test_http_1_0_and_curl_are_sent_away(server: MantaServer) -> None:
    assert b"Connection: close" in talk(server.port, "GET /ping HTTP/1.0\r\n\r\n")
    assert b"Connection: close" in talk(server.port, "GET /ping HTTP/1.1\r\nHost: x\r\nUser-Agent: curl/8\r\n\r\n")


def test_an_idle_connection_is_closed(serve: Serve) -> None:
    assert talk(serve(options=Options(limits=Limits(idle=0.1))).port, b"") == b""


def test_a_client_that_goes_away(server: MantaServer, alice: Signer) -> None:
    with socket.create_connection(("127.0.0.1", server.port)) as link:
        link.sendall(f"PUT {X} HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n".encode())
        link.sendall(_authorized(alice) + b"\r\n\r\n1234")
    with Client(server.port, alice) as client:
        assert client.get(X).status == 404
    server.close()
    assert {(seen.method, seen.status) for seen in server.requests} == {("PUT", None), ("GET", 404)}


def _authorized(alice: Signer) -> bytes:
    date = formatdate(usegmt=True)
    return f"Date: {date}\r\nAuthorization: {alice.authorization({'date': date})}".encode()


def test_chunks_with_extensions_and_trailers(server: MantaServer, alice: Signer, client: Client) -> None:
    head = f"PUT {X} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n".encode()
    answer = talk(server.port, head + _authorized(alice) + b"\r\n\r\n3;a=b\r\nabc\r\n0\r\nT: x\r\n\r\n")
    assert b"204 No Content" in answer and client.get(X).body == b"abc"


def test_no_secret_is_in_the_log(server: MantaServer, client: Client) -> None:
    client.get(X, m_note="seen")
    seen = server.requests[0]
    assert "authorization" not in seen.headers and "Signature" not in repr(server.requests)
    assert (seen.headers["m-note"], seen.caller, seen.code) == ("seen", "alice", "ResourceNotFound")


def test_memory_stays_flat(server: MantaServer, client: Client) -> None:
    block = b"x" * (1 << 20)
    before = _high_water()
    client.request("PUT", X, (block for _ in range(192)))
    assert client.head(X).headers["content-length"] == str(192 << 20)
    assert _high_water() - before < 64 << 20


def _high_water() -> int:
    status = Path("/proc/self/status").read_text()
    found = re.search(r"VmHWM:\s+(\d+)", status)
    assert found
    return int(found[1]) << 10


def test_many_connections_at_once(server: MantaServer, connect: Callable[..., Client]) -> None:
    def work(number: int) -> None:
        client = connect(server)
        for turn in range(10):
            client.put(f"/alice/stor/{number}-{turn}", bytes([number]) * 1000)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert connect(server).head("/alice/stor").headers["result-set-size"] == "80"


def test_a_server_that_ends_takes_its_connections_along(serve: Serve, connect: Connect) -> None:
    server = serve()
    client = connect(server)
    client.get(X)
    threads = [thread for thread in threading.enumerate() if thread.name.startswith("manta")]
    assert len(threads) == 2
    server.close()
    assert not any(thread.is_alive() for thread in threads)
    with pytest.raises((http.client.HTTPException, ConnectionError)):
        client.get(X)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Tls:
    """Of 127.0.0.1, signed by itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=1))
    names = x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))])
    signed = builder.add_extension(names, critical=False).sign(key, hashes.SHA256())
    folder = tmp_path_factory.mktemp("tls")
    files = Tls(folder / "certificate", folder / "key")
    files.certificate.write_bytes(signed.public_bytes(Encoding.PEM))
    files.key.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return files


def test_tls(serve: Serve, certificate: Tls, alice: Signer) -> None:
    server = serve(options=Options(require_tls=True), tls=certificate)
    assert server.url.startswith("https://127.0.0.1:")
    date_line, value = _authorized(alice).decode().split("\r\n")
    context = ssl.create_default_context(cafile=str(certificate.certificate))
    connection = http.client.HTTPSConnection("127.0.0.1", server.port, context=context, timeout=10)
    data = os.urandom(300_000)
    headers = {"Date": date_line.partition(": ")[2], "Authorization": value.partition(": ")[2]}
    for method, body, expected in (("PUT", data, b""), ("GET", None, data)):
        connection.request(method, X, body, headers)
        assert connection.getresponse().read() == expected
    connection.close()
    with pytest.raises(ConnectionResetError):
        talk(server.port, "GET /ping HTTP/1.1\r\nHost: x\r\n\r\n")


@contextmanager
def by_hand(tmp_path: Path, alice: Signer, *options: str) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """The server as a process of its own, and its port."""
    (tmp_path / "key.pub").write_text(alice.public + " alice@host\n")
    command = [
        sys.executable,
        "-m",
        "tests.support.manta_server",
        "--user",
        "alice",
        "--key",
        str(tmp_path / "key.pub"),
    ]
    command += ["--dir", str(tmp_path / "store"), *options]
    with subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout
            url = process.stdout.readline().strip()
            assert re.fullmatch(r"http://127\.0\.0\.1:[0-9]+", url)
            yield process, int(url.rpartition(":")[2])
        finally:
            process.kill()


def test_by_hand(tmp_path: Path, alice: Signer) -> None:
    with by_hand(tmp_path, alice, "--no-mpu") as (process, port):
        with Client(port, alice) as client:
            assert client.put(X, b"x").status == 204
            assert client.post("/alice/uploads", {}).status == 404
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0


def test_killed_in_the_middle_of_an_upload(tmp_path: Path, alice: Signer) -> None:
    contents = tmp_path / "store" / "contents"
    with by_hand(tmp_path, alice) as (process, port):
        with Client(port, alice) as client:
            client.put(X, b"kept")
        with socket.create_connection(("127.0.0.1", port)) as link:
            link.sendall(f"PUT {X} HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n".encode())
            link.sendall(_authorized(alice) + b"\r\n\r\n1234")
            assert wait_until(lambda: len(list(contents.iterdir())) == 2, 10)
            process.kill()
            process.wait()
    with by_hand(tmp_path, alice) as (process, port), Client(port, alice) as client:
        assert client.get(X).body == b"kept" and len(list(contents.iterdir())) == 1
