"""Nodes that do not answer, stop, or go away: F01, F03, F04, F05, F06."""

from __future__ import annotations

import dataclasses
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import paramiko
import pytest

from sdc_thoth.errors import (
    NodeError,
    NodeLost,
    NodeTimeout,
    NodeUnreachable,
)
from sdc_thoth.inventory import Node
from sdc_thoth.known_hosts import KnownHosts
from sdc_thoth.session import Credentials, SshSession, open_session
from tests.sdc_thoth.reaching import LINGER, MIB, at, refused, server, within
from tests.support.chaos import Babble, Blackhole, Flip, Proxy, Silence
from tests.support.server import make_key
from tests.support.sshd import Node as Machine
from thoth import Result


def test_F01_nobody_answers(somebody: Credentials) -> None:
    with Blackhole() as hole, within(10):
        error = refused(Node("cn0", *hole.address), somebody)
    assert isinstance(error, NodeUnreachable)
    assert error.result is Result.UNREACHABLE
    assert str(error).endswith("no answer within 0.5 s")


def test_F01_nobody_is_there(somebody: Credentials) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        error = refused(Node("cn0", *unused.getsockname()), somebody)
    assert str(error).endswith("cannot connect: Connection refused")
    error = refused(Node("cn0", "no-such-host.invalid"), somebody, 10)
    assert isinstance(error, NodeUnreachable)


def drip(connection: socket.socket) -> None:
    while True:
        connection.sendall(b"x")
        time.sleep(0.05)


def test_F03_no_banner(somebody: Credentials) -> None:
    with Proxy(("127.0.0.1", 1), Silence()) as proxy, within(10):
        error = refused(Node("cn0", "127.0.0.1", proxy.port), somebody)
    assert isinstance(error, NodeUnreachable)
    assert str(error).endswith("no SSH banner within 0.5 s")


def test_F03_a_banner_byte_by_byte(somebody: Credentials) -> None:
    with server(drip) as node, within(10):
        assert str(refused(node, somebody)).endswith("no SSH banner within 0.5 s")


def test_F03_a_banner_without_end(somebody: Credentials) -> None:
    for text in (b"x" * 1000, b"lines and lines\r\n"):
        with Proxy(("127.0.0.1", 1), Babble(text)) as proxy, within(10):
            error = refused(Node("cn0", "127.0.0.1", proxy.port), somebody, 5)
            assert isinstance(error, NodeUnreachable)
            assert proxy.passed["down"] < 64 * MIB


@pytest.mark.parametrize(
    "banner",
    [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"SSH-1.5-old\r\n", b"\xff\xfe\x1b[2J\r\n", b"SSH-2.0\r\n"],
)
def test_F03_something_else_answers(somebody: Credentials, banner: bytes) -> None:
    def talk(connection: socket.socket) -> None:
        connection.sendall(banner)
        connection.shutdown(socket.SHUT_WR)

    with server(talk) as node:
        assert isinstance(refused(node, somebody), NodeUnreachable)


def test_F03_a_reset_before_the_banner(somebody: Credentials) -> None:
    def talk(connection: socket.socket) -> None:
        connection.recv(1)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.close()

    with server(talk) as node:
        error = refused(node, somebody)
        assert isinstance(error, NodeUnreachable)
        said = f"{node.shown}: the connection broke before the SSH banner: Connection reset by peer"
        assert str(error) == said


def test_F03_a_packet_that_claims_four_gigabytes(somebody: Credentials) -> None:
    def talk(connection: socket.socket) -> None:
        connection.sendall(b"SSH-2.0-x\r\n" + struct.pack(">IB", 0xFFFFFFF4, 4))
        while True:
            connection.sendall(bytes(65536))

    with server(talk) as node, within(10):
        assert "bytes during the key exchange" in str(refused(node, somebody, 5))


def test_F04_stopped_before_the_key_exchange(somebody: Credentials) -> None:
    with server(lambda connection: connection.sendall(b"SSH-2.0-x\r\n")) as node, within(10):
        assert str(refused(node, somebody, 1.5)).endswith("no key exchange within 1.5 s")


@pytest.fixture
def frozen(node: Callable[..., Machine]) -> Iterator[Machine]:
    """A node that may be stopped: it goes on at the end."""
    machine = node(own_process=True)
    yield machine
    machine.cont()


def test_F04_stopped_before_anything(frozen: Machine, trusted: Callable[..., Credentials]) -> None:
    frozen.stop()
    with within(10):
        assert "within 0.5 s" in str(refused(at(frozen), trusted(frozen)))


def test_F04_stopped_after_the_log_in(frozen: Machine, trusted: Callable[..., Credentials]) -> None:
    with open_session(at(frozen), trusted(frozen), connect_timeout=5, idle_timeout=1.5) as session:
        frozen.stop()
        with within(10), pytest.raises(NodeTimeout, match=r"nothing came for 1\.5 s"):
            session.run("true")
        with within(10), pytest.raises(NodeTimeout):
            session.run("true")


class Host(paramiko.ServerInterface):
    """A server that lets everybody in, and hangs when it is to start a command."""

    def __init__(self) -> None:
        self.over = threading.Event()

    def check_auth_publickey(self, username: str, key: paramiko.PKey) -> int:
        return paramiko.AUTH_SUCCESSFUL

    def check_channel_request(self, kind: str, chanid: int) -> int:
        return paramiko.OPEN_SUCCEEDED

    def check_channel_exec_request(self, channel: paramiko.Channel, command: bytes) -> bool:
        self.over.wait(10)
        return False


def test_F04_stopped_before_the_command_starts(somebody: Credentials, tmp_path: Path) -> None:
    host_key, host = make_key(tmp_path / "host_key"), Host()

    def talk(connection: socket.socket) -> None:
        transport = paramiko.Transport(connection)
        transport.add_server_key(paramiko.Ed25519Key.from_private_key_file(str(tmp_path / "host_key")))
        transport.start_server(event=threading.Event(), server=host)
        transport.join(10)

    with server(talk) as node:
        hosts = tmp_path / "hosts"
        hosts.write_text(f"{node.place} {host_key}\n")
        trust = dataclasses.replace(somebody, known_hosts=KnownHosts.read(hosts))
        with (
            within(10),
            open_session(node, trust, connect_timeout=5, idle_timeout=1.5) as session,
            pytest.raises(NodeTimeout, match=r"nothing came for 1\.5 s"),
        ):
            session.run("true")
        host.over.set()


def test_F04_stopped_in_the_middle(frozen: Machine, trusted: Callable[..., Credentials]) -> None:
    with (
        open_session(at(frozen), trusted(frozen), connect_timeout=5, idle_timeout=1.5) as session,
        session.run("cat /dev/zero") as channel,
    ):
        channel.read_exactly(MIB)
        frozen.stop()
        with within(10), pytest.raises(NodeTimeout) as caught:
            for _ in channel.blocks(1 << 40):
                pass
    assert str(caught.value) == f"{at(frozen).shown}: nothing came for 1.5 s"
    assert caught.value.result is Result.FAILED


def test_F04_stopped_at_the_end(frozen: Machine, trusted: Callable[..., Credentials]) -> None:
    with (
        open_session(at(frozen), trusted(frozen), connect_timeout=5, idle_timeout=1.5) as session,
        session.run("echo; " + LINGER) as channel,
    ):
        channel.read_until(b"\n", 10)
        frozen.stop()
        with within(10), pytest.raises(NodeTimeout):
            channel.finish()


def test_F04_stopped_while_it_takes_stdin(frozen: Machine, trusted: Callable[..., Credentials]) -> None:
    with (
        open_session(at(frozen), trusted(frozen), connect_timeout=5, idle_timeout=1.5) as session,
        session.run("echo; " + LINGER, bytes(64 * MIB)) as channel,
    ):
        channel.read_until(b"\n", 10)
        frozen.stop()
        with within(10), pytest.raises(NodeTimeout):
            channel.recv()


def test_F05_killed_in_the_middle(node: Callable[..., Machine], trusted: Callable[..., Credentials]) -> None:
    machine = node()
    with (
        open_session(at(machine), trusted(machine), connect_timeout=5, idle_timeout=5) as session,
        session.run("cat /dev/zero") as channel,
    ):
        channel.read_exactly(MIB)
        machine.kill()
        with within(10), pytest.raises(NodeLost, match="the connection broke"):
            for _ in channel.blocks(1 << 40):
                pass
        with within(10), pytest.raises(NodeLost):
            session.run("true")


def test_F06_a_connection_that_is_cut_is_no_end(shared: Machine, trusted: Callable[..., Credentials]) -> None:
    with Proxy((shared.address, shared.port), host=shared.address) as proxy:
        credentials = trusted(shared, port=proxy.port)
        for reset in (False, True):
            with (
                open_session(at(shared, proxy.port), credentials, connect_timeout=5, idle_timeout=5) as session,
                session.run("echo ready; " + LINGER) as channel,
            ):
                assert channel.recv() == b"ready\n"
                proxy.cut(reset=reset)
                with within(10), pytest.raises(NodeLost):
                    channel.recv()


def test_closing_the_session_ends_whoever_waits(opened: SshSession) -> None:
    errors: list[NodeError] = []

    def wait() -> None:
        with opened.run("echo ready; " + LINGER) as channel:
            channel.recv()
            waiting.set()
            try:
                channel.recv()
            except NodeError as error:
                errors.append(error)

    waiting = threading.Event()
    thread = threading.Thread(target=wait)
    thread.start()
    assert waiting.wait(20)
    with within(10):
        opened.close("the pass took too long")
        thread.join(20)
    assert [type(error) for error in errors] == [NodeLost]
    assert str(errors[0]).endswith(": the pass took too long")
    with pytest.raises(NodeLost, match="the pass took too long"):
        opened.run("true")
    opened.close()


def test_sessions_give_back_what_they_took(shared: Machine, trusted: Callable[..., Credentials]) -> None:
    credentials = trusted(shared)

    def once() -> None:
        with (
            open_session(at(shared), credentials, connect_timeout=5, idle_timeout=5) as session,
            session.run("echo x") as channel,
        ):
            channel.finish()

    once()
    before = (len(list(Path("/proc/self/fd").iterdir())), threading.active_count())
    for _ in range(3):
        once()
    assert (len(list(Path("/proc/self/fd").iterdir())), threading.active_count()) == before


def settled(number: Callable[[], int]) -> int:
    """The number once it has not changed for a while: the server says more after it has let us in."""
    before, now = -1, number()
    while now != before:
        time.sleep(0.3)
        before, now = now, number()
    return now


def test_F08_a_packet_that_was_damaged_ends_the_session_with_a_reason(
    shared: Machine, trusted: Callable[..., Credentials]
) -> None:
    """The answer to the opening of a channel, above all: what it raises there is nobody's own exception."""
    with Proxy((shared.address, shared.port), host=shared.address) as proxy:
        ssh = trusted(shared, port=proxy.port)
        with open_session(at(shared, proxy.port), ssh, connect_timeout=5, idle_timeout=5):
            handshake = settled(lambda: proxy.passed["down"])
        for beyond in (8, 24, 48):
            proxy.set(Flip(handshake + beyond))
            with (
                open_session(at(shared, proxy.port), ssh, connect_timeout=5, idle_timeout=5) as session,
                pytest.raises(NodeLost, match="the connection broke"),
                session.run("echo; echo; echo") as channel,
            ):
                channel.read_exactly(3)


def test_a_session_that_is_kept_does_not_grow_with_its_passes(
    shared: Machine, trusted: Callable[..., Credentials]
) -> None:
    with open_session(at(shared), trusted(shared), connect_timeout=5, idle_timeout=5) as session:
        for _ in range(20):
            for _ in range(3):
                with session.run("echo x") as channel:
                    assert channel.finish() == (0, b"")
            session.rest()
            session.wake(5)
        assert len(session._transport.channels_seen) < 20  # paramiko's own note of 80 channels
