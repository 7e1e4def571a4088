"""The proxy does to a connection what it says, at the byte it says, and leaves nothing behind."""

from __future__ import annotations

import os
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import paramiko
import pytest

from tests.support.chaos import (
    Babble,
    Blackhole,
    Cut,
    Delay,
    Direction,
    Fault,
    Flip,
    HalfOpen,
    Link,
    Proxy,
    Silence,
    Throttle,
)
from tests.support.sshd import Node

PATIENCE = 10.0
BULK = bytes(range(256)) * 4096  # 1 MiB in which each byte says where it stands


class Echo:
    """A server that sends back what it gets, and closes when the client has."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address: tuple[str, int] = self._listener.getsockname()
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            thread = threading.Thread(target=self._echo, args=(client,))
            self._threads.append(thread)
            thread.start()

    @staticmethod
    def _echo(client: socket.socket) -> None:
        with client:
            try:
                while chunk := client.recv(1 << 16):
                    client.sendall(chunk)
            except OSError:
                return

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(PATIENCE)
        self._listener.close()


@pytest.fixture
def echo() -> Iterator[tuple[str, int]]:
    server = Echo()
    yield server.address
    server.close()


def connect(address: tuple[str, int], timeout: float = PATIENCE) -> socket.socket:
    return socket.create_connection(address, timeout=timeout)


def rest(connection: socket.socket) -> bytes:
    parts = []
    while part := connection.recv(1 << 16):
        parts.append(part)
    return b"".join(parts)


def echoed(address: tuple[str, int], data: bytes) -> bytes:
    """What comes back of the data, up to the end of the connection."""
    with connect(address) as connection:

        def send() -> None:
            try:
                connection.sendall(data)
                connection.shutdown(socket.SHUT_WR)
            except OSError:
                pass  # cut: what came back tells where

        sender = threading.Thread(target=send)
        sender.start()
        back = rest(connection)
        sender.join(PATIENCE)
        return back


def test_bytes_pass_both_ways_and_are_counted(echo: tuple[str, int]) -> None:
    with Proxy(echo) as proxy:
        assert echoed(proxy.address, BULK) == BULK
        assert echoed(proxy.address, b"again") == b"again"
    assert proxy.passed == {"up": len(BULK) + 5, "down": len(BULK) + 5}
    assert [link.passed["down"] for link in proxy.links] == [len(BULK), 5]


@pytest.mark.parametrize("after", [0, 1, 7, 65536, 65537, len(BULK) - 1])
@pytest.mark.parametrize("direction", ["up", "down"])
def test_F06_cut_after_exactly_so_many_bytes(echo: tuple[str, int], direction: Direction, after: int) -> None:
    with Proxy(echo, Cut(after, direction)) as proxy:
        back = echoed(proxy.address, BULK)
        assert BULK.startswith(back)
        assert len(back) == after if direction == "down" else len(back) <= after
    assert proxy.passed[direction] == after


def test_a_cut_can_be_a_reset(echo: tuple[str, int]) -> None:
    with Proxy(echo, Cut(3, reset=True)) as proxy, connect(proxy.address) as connection:
        connection.sendall(b"12345")
        with pytest.raises(ConnectionResetError):
            rest(connection)


@pytest.mark.parametrize("offset", [0, 5, 65536, len(BULK) - 1])
def test_F08_one_bit_of_one_byte_is_flipped(echo: tuple[str, int], offset: int) -> None:
    with Proxy(echo, Flip(offset)) as proxy:
        back = echoed(proxy.address, BULK)
    wrong = [at for at in range(len(BULK)) if back[at] != BULK[at]]
    assert wrong == [offset] and back[offset] ^ BULK[offset] == 1


def test_F07_half_open_says_nothing_and_does_not_close(echo: tuple[str, int]) -> None:
    with Proxy(echo, HalfOpen(4)) as proxy, connect(proxy.address) as connection:
        connection.sendall(b"12345678")
        got = b""
        while len(got) < 4:
            got += connection.recv(100)
        assert got == b"1234"
        connection.settimeout(0.1)
        with pytest.raises(TimeoutError):
            connection.recv(1)
        # Nobody reads any more either: what is sent stays where it is until there is no room.
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        with pytest.raises(TimeoutError):
            for _ in range(1000):
                connection.sendall(BULK)
        assert proxy.passed["down"] == 4


def test_a_delay_holds_every_nth_chunk_back(echo: tuple[str, int]) -> None:
    with Proxy(echo, Delay(0.1, every=2)) as proxy, connect(proxy.address) as connection:
        took = []
        for _ in range(4):
            start = time.monotonic()
            connection.sendall(b"x")
            assert connection.recv(1) == b"x"
            took.append(time.monotonic() - start)
    assert [one >= 0.1 for one in took] == [False, True, False, True]


def test_a_throttle_lets_so_many_bytes_through_in_a_second(echo: tuple[str, int]) -> None:
    start = time.monotonic()
    with Proxy(echo, Throttle(100_000)) as proxy:
        assert echoed(proxy.address, BULK[:30_000]) == BULK[:30_000]
    assert 0.27 < time.monotonic() - start < 3


def test_F01_refused_until_accepted_again(echo: tuple[str, int]) -> None:
    with Proxy(echo) as proxy, connect(proxy.address) as before:
        before.sendall(b"a")
        assert before.recv(1) == b"a"
        port = proxy.port
        proxy.refuse()
        with pytest.raises(ConnectionRefusedError):
            connect(proxy.address)
        before.sendall(b"b")
        assert before.recv(1) == b"b"
        proxy.accept()
        assert proxy.port == port and echoed(proxy.address, b"back") == b"back"


def test_F03_silence_accepts_and_says_nothing() -> None:
    with Proxy(("127.0.0.1", 1), Silence()) as proxy, connect(proxy.address) as connection:
        connection.sendall(b"anybody there?")
        connection.settimeout(0.1)
        with pytest.raises(TimeoutError):
            connection.recv(1)


def test_F03_a_banner_that_trickles() -> None:
    with Proxy(("127.0.0.1", 1), Babble(b"SSH-2.0-x", size=1, interval=0.02)) as proxy:
        start = time.monotonic()
        with connect(proxy.address) as connection:
            assert b"".join(connection.recv(1) for _ in range(12)) == b"SSH-2.0-xSSH"
        assert time.monotonic() - start > 0.2


def test_F03_a_banner_without_end() -> None:
    with (
        Proxy(("127.0.0.1", 1), Babble(b"hello\r\n", size=1000)) as proxy,
        connect(proxy.address) as connection,
    ):
        got = b""
        while len(got) < 1 << 20:
            got += connection.recv(1 << 16)
        assert got == (b"hello\r\n" * (len(got) // 7 + 1))[: len(got)]


def test_F01_nobody_answers_in_a_black_hole() -> None:
    with Blackhole() as hole, pytest.raises(TimeoutError):
        connect(hole.address, timeout=0.2)


def test_an_action_happens_at_the_byte_and_holds_the_rest(echo: tuple[str, int]) -> None:
    seen: list[tuple[int, int]] = []
    with Proxy(echo) as proxy:
        reached = proxy.at(1000, "down", lambda link: seen.append((link.passed["down"], proxy.passed["down"])))
        assert not reached.is_set()
        assert echoed(proxy.address, BULK) == BULK
        assert reached.wait(PATIENCE)
    assert seen == [(1000, 1000)]


def test_an_action_can_cut(echo: tuple[str, int]) -> None:
    with Proxy(echo) as proxy:
        proxy.at(10, "down", Link.close)
        assert echoed(proxy.address, BULK) == BULK[:10]
        assert echoed(proxy.address, BULK) == BULK


def test_what_an_action_raises_comes_out_in_the_end(echo: tuple[str, int]) -> None:
    def fail(_: Link) -> None:
        raise AssertionError("seen")

    with pytest.raises(AssertionError, match="seen"), Proxy(echo) as proxy:
        proxy.at(0, "up", fail)
        assert echoed(proxy.address, b"x") == b"x"


def test_faults_are_those_of_the_moment_of_connecting(echo: tuple[str, int]) -> None:
    with Proxy(echo, Cut(2)) as proxy:
        assert echoed(proxy.address, b"first") == b"fi"
        proxy.set()
        assert echoed(proxy.address, b"second") == b"second"


def test_a_server_that_is_not_there_closes_the_connection() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        with Proxy(taken.getsockname()) as proxy:
            assert echoed(proxy.address, b"x") == b""


@pytest.mark.parametrize("fault", [HalfOpen(0), Silence(), Delay(1000), Throttle(1), Babble(interval=1000)])
def test_the_end_is_quick_whatever_the_connections_do(echo: tuple[str, int], fault: Fault) -> None:
    start = time.monotonic()
    with Proxy(echo, fault) as proxy:
        connections = [connect(proxy.address) for _ in range(5)]
        for connection in connections:
            connection.setblocking(False)
            connection.send(BULK)
    for connection in connections:
        connection.close()
    assert time.monotonic() - start < 2


def test_F05_a_node_is_killed_when_so_many_bytes_have_come(node: Callable[..., Node]) -> None:
    target = node(own_process=True)
    target.put("/var/cores/core.big", BULK * 8)
    with Proxy((target.address, target.port)) as proxy:
        reached = proxy.at(1 << 20, "down", lambda _: target.kill())
        got = through(proxy, target, "cat /var/cores/core.big")
        assert reached.is_set()
    assert got.returncode == 255 and got.stdout != BULK * 8 and (BULK * 8).startswith(got.stdout)


def test_F12_a_core_shrinks_while_it_is_read(node: Callable[..., Node]) -> None:
    target = node()
    core = target.put("/var/cores/core.big", BULK * 64)
    with Proxy((target.address, target.port)) as proxy:
        proxy.at(1 << 20, "down", lambda _: os.truncate(core, 0))
        assert len(through(proxy, target, "cat /var/cores/core.big").stdout) < len(BULK) * 64


def test_F03_paramiko_meets_a_banner_without_end(tmp_path: Path) -> None:
    with Proxy(("127.0.0.1", 1), Babble(b"no banner\r\n")) as proxy, connect(proxy.address) as connection:
        transport = paramiko.Transport(connection)
        with pytest.raises(paramiko.SSHException):
            transport.start_client(timeout=5)
        transport.close()
        transport.join(PATIENCE)


def through(proxy: Proxy, target: Node, command: str) -> subprocess.CompletedProcess[bytes]:
    """OpenSSH's client, by way of the proxy."""
    vector = target.ssh(command)
    (target.identity_file.with_name(f"known_hosts.{target.address}")).write_text(
        target.known_hosts_line().replace(f"[{target.address}]:{target.port}", f"[127.0.0.1]:{proxy.port}")
    )
    vector[vector.index("-p") + 1] = str(proxy.port)
    vector[vector.index(f"root@{target.address}")] = "root@127.0.0.1"
    return subprocess.run(vector, capture_output=True, stdin=subprocess.DEVNULL, timeout=20, check=False)
