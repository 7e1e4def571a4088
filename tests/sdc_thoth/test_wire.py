"""The limits below a session, one by one; and what waits between paramiko's thread and a reader."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator

import pytest

from sdc_thoth.errors import NodeTimeout, NodeUnreachable, ProtocolError
from sdc_thoth.inbox import Inbox, Overrun
from sdc_thoth.wire import HANDSHAKE_BYTES, PACKET_BYTES, Wire


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def pair(clock: Clock) -> Iterator[tuple[Wire, socket.socket]]:
    ours, theirs = socket.socketpair()
    wire = Wire(ours, clock)
    wire.settimeout(0.01)
    with theirs:
        yield wire, theirs
    wire.release()


def test_a_step_has_a_deadline_even_when_bytes_come(pair: tuple[Wire, socket.socket], clock: Clock) -> None:
    wire, peer = pair
    wire.settimeout(5)
    wire.begin("SSH banner", 5)
    peer.sendall(b"abc")
    assert wire.recv(1) == b"a"
    clock.now += 5.1
    with pytest.raises(EOFError):
        wire.recv(1)
    assert isinstance(wire.failure, NodeUnreachable)
    assert str(wire.failure) == "no SSH banner within 5 s"
    wire.begin("key exchange", 5)
    assert wire.recv(1) == b"b"


def test_all_steps_together_have_a_number_of_bytes(pair: tuple[Wire, socket.socket]) -> None:
    wire, peer = pair
    wire.settimeout(5)
    sender = threading.Thread(target=peer.sendall, args=(bytes(HANDSHAKE_BYTES + 1),))
    sender.start()
    received = 0
    with pytest.raises(EOFError):
        while True:
            wire.begin("key exchange", 5)
            received += len(wire.recv(1 << 20))
    sender.join()
    assert received <= HANDSHAKE_BYTES
    assert isinstance(wire.failure, NodeUnreachable)


def test_once_the_peer_is_known_a_packet_has_a_largest_size(pair: tuple[Wire, socket.socket]) -> None:
    wire, peer = pair
    wire.settimeout(5)
    wire.established(5)
    peer.sendall(b"x")
    assert wire.recv(PACKET_BYTES) == b"x"
    with pytest.raises(EOFError):
        wire.recv(PACKET_BYTES + 1)
    assert isinstance(wire.failure, ProtocolError)


def test_sending_may_stall_only_so_long(pair: tuple[Wire, socket.socket], clock: Clock) -> None:
    wire, peer = pair
    wire.established(5)

    def fill() -> None:
        while True:
            wire.send(bytes(1 << 16))

    with pytest.raises(TimeoutError):
        fill()
    clock.now += 4
    peer.recv(1 << 20)
    with pytest.raises(TimeoutError):  # it went on for a while, so the time starts anew
        fill()
    clock.now += 4
    with pytest.raises(TimeoutError):
        fill()
    clock.now += 2
    with pytest.raises(EOFError):
        fill()
    assert isinstance(wire.failure, NodeTimeout)
    assert str(wire.failure) == "took nothing for 5 s"


def test_close_wakes_a_reader_and_keeps_the_descriptor(pair: tuple[Wire, socket.socket]) -> None:
    wire, _peer = pair
    wire.established(5)
    wire.settimeout(5)
    got: list[bytes] = []
    reader = threading.Thread(target=lambda: got.append(wire.recv(1)))
    reader.start()
    wire.close()
    reader.join(10)
    assert got == [b""]
    assert wire.fileno() >= 0
    wire.close()


# ---- the inbox -------------------------------------------------------------------------------------


def test_bytes_come_out_as_they_went_in() -> None:
    inbox = Inbox(1 << 16)
    for piece in (b"abc", b"def", b"ghi"):
        inbox.out.feed(piece)
    assert [inbox.out.read(4), inbox.out.read(1), inbox.out.read(0), inbox.out.read(99)] == [
        b"abcd",
        b"e",
        b"",
        b"fghi",
    ]
    assert (inbox.out.size, inbox.out.read_ready(), inbox.out.read(1)) == (0, False, b"")


def test_F21_a_peer_that_ignores_its_window_is_cut_off() -> None:
    inbox = Inbox(1000)
    with pytest.raises(Overrun):
        for _ in range(3):
            inbox.err.feed(bytes(1000))
    inbox.drop()
    for _ in range(100):
        inbox.err.feed(bytes(1000))
    assert inbox.err.size == 0


def test_the_idle_time_starts_anew_with_each_byte_of_stdout_only(clock: Clock) -> None:
    inbox = Inbox(1 << 16, clock)
    inbox.out.feed(b"x")
    clock.now += 4
    inbox.err.feed(bytes(1 << 16))
    inbox.wait(2, 5, since=100.0)  # stderr wants to be emptied
    clock.now += 2
    with pytest.raises(TimeoutError):
        inbox.wait(2, 5, since=100.0)
    inbox.wait(1, 5, since=100.0)
    inbox.close()
    inbox.wait(2, 5, since=0.0)


def test_a_reader_sleeps_until_as_much_has_come_as_it_wants() -> None:
    inbox = Inbox(1 << 16)
    sizes: list[int] = []

    def read() -> None:
        inbox.wait(6, 5, since=time.monotonic())
        sizes.append(inbox.out.size)

    reader = threading.Thread(target=read)
    inbox.out.wake_at = 6
    reader.start()
    for _ in range(3):
        inbox.out.feed(b"ab")
    reader.join(5)
    assert sizes == [6]
