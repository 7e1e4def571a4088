"""Commands on a real sshd node: what goes in, what comes out, and its limits (F21)."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable

import pytest

from sdc_thoth.channel import STDERR_KEPT
from sdc_thoth.errors import (
    Desynchronized,
    NodeDenied,
    NodeTimeout,
    ProtocolError,
)
from sdc_thoth.session import Credentials, SshSession, open_session
from tests.sdc_thoth.reaching import LINGER, MIB, at, within
from tests.support.processes import wait_until
from tests.support.sshd import Fleet
from tests.support.sshd import Node as Machine


def test_a_command_gets_stdin_and_gives_stdout_stderr_and_status(opened: SshSession) -> None:
    with opened.run("cat; echo trouble >&2; exit 3", b"some\0bytes") as channel:
        assert channel.read_until(b"\0", 10) == b"some"
        assert channel.recv() == b"bytes"
        assert channel.recv() == b""
        assert channel.finish() == (3, b"trouble\n")


def test_a_command_that_a_signal_ended_has_no_status(opened: SshSession) -> None:
    with opened.run("kill -KILL $$") as channel:
        assert channel.recv() == b""
        assert channel.finish() == (None, b"")


def test_reading_in_all_ways_gives_the_bytes_in_order(opened: SshSession) -> None:
    data = os.urandom(3 * MIB + 17)
    with opened.run("cat", b"first\0second\0" + data[:MIB]) as channel:
        fields = [channel.read_until(b"\0", 6), channel.read_until(b"\0", 6)]
        assert fields == [b"first", b"second"]
        assert channel.read_exactly(0) == b""
        blocks = list(channel.blocks(MIB - 10, 100_000))
        assert [len(block) for block in blocks] == [100_000] * 10 + [48_566]
        assert b"".join(blocks) + channel.read_exactly(10) == data[:MIB]
        assert channel.finish() == (0, b"")


def test_a_reply_that_ends_early_says_what_the_command_said(opened: SshSession) -> None:
    with (
        opened.run("printf abc; echo 'sh: dd: not found' >&2; exit 127") as channel,
        pytest.raises(Desynchronized, match=r"the reply ended 7 bytes early \(exit status 127\): sh: dd: not found"),
    ):
        channel.read_exactly(10)
    with opened.run("printf abc") as channel, pytest.raises(ProtocolError, match="ended in the middle"):
        channel.read_until(b"\0", 10)
    with opened.run("printf abc") as channel, pytest.raises(Desynchronized, match="ended 1 bytes early"):
        list(channel.blocks(4))


def test_F21_a_field_without_an_end(opened: SshSession) -> None:
    with (
        opened.run("cat /dev/zero | tr '\\0' x") as channel,
        pytest.raises(ProtocolError, match="a field of the reply is longer than 4096 bytes"),
    ):
        channel.read_until(b"\0", 4096)
    with opened.run("printf 'abcd\\0'") as channel, pytest.raises(ProtocolError):
        channel.read_until(b"\0", 3)
    with opened.run("printf 'abcd\\0'") as channel:
        assert channel.read_until(b"\0", 4) == b"abcd"


def test_a_mebibyte_of_stdin_for_a_command_that_talks_before_it_listens(opened: SshSession) -> None:
    stdin = os.urandom(MIB)
    early = 4 * MIB  # more than the window: the node has to wait for us before it reads
    with opened.run(f"head -c {early} /dev/zero; cat", stdin) as channel:
        for block in channel.blocks(early):
            assert not any(block[:100])
        assert channel.read_exactly(MIB) == stdin
        assert channel.finish() == (0, b"")


def test_a_command_gets_more_stdin_when_it_has_answered(opened: SshSession) -> None:
    with opened.run("while read -r word; do echo $word $word; done; echo end", b"one\n", last=False) as channel:
        assert channel.read_until(b"\n", 100) == b"one one"
        channel.feed(b"two\nthree", last=False)
        assert channel.read_until(b"\n", 100) == b"two two"
        channel.feed(b"-four\n")
        assert channel.read_until(b"\n", 100) == b"three-four three-four"
        assert channel.read_until(b"\n", 100) == b"end"
        assert channel.finish() == (0, b"")


def test_an_answer_before_the_question_was_read(
    fleet: Callable[..., Fleet], trusted: Callable[..., Credentials]
) -> None:
    machine = fleet(1)[0]
    with (
        open_session(at(machine), trusted(machine), connect_timeout=5, idle_timeout=0.5) as session,
        session.run("echo answer; exec sleep 5", os.urandom(6 * MIB), last=False) as channel,
    ):
        assert channel.read_until(b"\n", 100) == b"answer"
        with pytest.raises(ProtocolError, match="answers before it has read what it was asked"):
            channel.feed(b"more")


def test_stdin_larger_than_the_window_does_not_block_the_start(opened: SshSession) -> None:
    stdin = os.urandom(5 * MIB)
    with within(10), opened.run("head -c 4194304 /dev/zero; cat", stdin) as channel:
        assert len(channel.read_exactly(4 * MIB)) == 4 * MIB
        assert channel.read_exactly(5 * MIB) == stdin
        assert channel.finish() == (0, b"")


def test_a_command_may_leave_its_stdin_unread(opened: SshSession) -> None:
    with opened.run("echo done", os.urandom(6 * MIB)) as channel:
        assert channel.read_until(b"\n", 10) == b"done"
        assert channel.finish() == (0, b"")


def test_F21_a_flood_of_stderr_neither_blocks_nor_fills_memory(opened: SshSession) -> None:
    script = "head -c 10485760 /dev/zero | tr '\\0' e >&2; printf last >&2; printf ok"
    with opened.run(script) as channel:
        assert channel.read_exactly(2) == b"ok"
        status, tail = channel.finish()
    assert (status, len(tail)) == (0, STDERR_KEPT)
    assert tail.endswith(b"eeelast")


def test_both_streams_full_at_once(opened: SshSession) -> None:
    script = "head -c 8388608 /dev/zero >&2 & head -c 8388608 /dev/zero; wait; printf end >&2"
    with opened.run(script) as channel:
        assert sum(map(len, channel.blocks(8 * MIB))) == 8 * MIB
        status, tail = channel.finish()
    assert (status, tail[-3:]) == (0, b"end")


def test_F21_stderr_alone_is_no_sign_of_life(shared: Machine, trusted: Callable[..., Credentials]) -> None:
    with (
        open_session(at(shared), trusted(shared), connect_timeout=5, idle_timeout=1.5) as session,
        within(10),
        session.run("cat /dev/zero >&2") as channel,
        pytest.raises(NodeTimeout, match=r"nothing came for 1\.5 s"),
    ):
        channel.recv()


def test_F21_a_command_that_goes_on_after_its_reply(opened: SshSession) -> None:
    with within(10), opened.run("cat /dev/zero") as channel:
        channel.read_exactly(10)
        with pytest.raises(ProtocolError, match="goes on after the end of its reply"):
            channel.finish()


def test_a_command_that_does_not_end(shared: Machine, trusted: Callable[..., Credentials]) -> None:
    with (
        open_session(at(shared), trusted(shared), connect_timeout=5, idle_timeout=1.5) as session,
        within(10),
        session.run(LINGER) as channel,
        pytest.raises(NodeTimeout),
    ):
        channel.finish()


def test_several_commands_at_once(opened: SshSession) -> None:
    sums: dict[int, str] = {}

    def work(number: int) -> None:
        with opened.run(f"head -c 3000000 /dev/zero | tr '\\0' {number}") as channel:
            digest = hashlib.md5()
            for block in channel.blocks(3_000_000, 65536):
                digest.update(block)
            assert channel.finish() == (0, b"")
        sums[number] = digest.hexdigest()

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sums == {number: hashlib.md5(b"%d" % number * 3_000_000).hexdigest() for number in range(6)}


def test_closing_a_channel_ends_its_command_and_leaves_the_session(opened: SshSession, shared: Machine) -> None:
    with opened.run("cat /dev/zero") as channel:
        channel.read_exactly(10)
    assert wait_until(lambda: not shared.commands(), 5)
    with opened.run("echo still here") as channel:
        assert channel.recv() == b"still here\n"


def test_F05_the_node_refuses_another_command(
    fleet: Callable[..., Fleet], trusted: Callable[..., Credentials]
) -> None:
    machine = fleet(1, options=["MaxSessions 1"])[0]
    with (
        open_session(at(machine), trusted(machine), connect_timeout=5, idle_timeout=5) as session,
        session.run(LINGER),
        pytest.raises(NodeDenied, match=r"cn0 .* refuses another command: "),
    ):
        session.run("true")


@pytest.mark.parametrize("size", [300 * MIB, pytest.param(1100 * MIB, marks=pytest.mark.soak)])
def test_a_long_transfer_survives_new_keys(
    fleet: Callable[..., Fleet], trusted: Callable[..., Credentials], size: int
) -> None:
    # paramiko's own re-key, after 512 MiB, hangs now and then; the server's does not.
    machine = fleet(1, options=["RekeyLimit 64M"] if size < 512 * MIB else [])[0]
    machine.path("/sparse").touch()
    os.truncate(machine.path("/sparse"), size)
    with (
        open_session(at(machine), trusted(machine), connect_timeout=5, idle_timeout=5) as session,
        session.run("exec cat /sparse") as channel,
    ):
        assert sum(map(len, channel.blocks(size))) == size
        assert channel.finish() == (0, b"")
