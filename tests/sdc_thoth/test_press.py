"""Dumps that are compressed on their way: when, and that what comes is what lies there or is refused."""

from __future__ import annotations

import gzip
import os
import re
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import zstandard

from sdc_thoth import ask
from sdc_thoth.ask import CannotPress
from sdc_thoth.errors import Desynchronized, ProtocolError
from sdc_thoth.expand import BLOCK, Damaged, expanded, programs
from sdc_thoth.listing import Found, Signature
from sdc_thoth.press import Press
from tests.support.elfwriter import illumos_core
from tests.support.mishaps import check_settled, collector, wrap
from tests.support.releases import pack
from tests.support.sshd import Node

PLACE = "/var/tmp/thoth"
PROGRAMS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": lambda data: gzip.compress(data, 1),
    "zstd": lambda data: zstandard.ZstdCompressor(1).compress(data),
}


class Reply:
    """What a node sends, in pieces of that length."""

    def __init__(self, data: bytes, piece: int = 1000) -> None:
        self.data = data
        self._piece = piece

    def recv(self) -> bytes:
        piece, self.data = self.data[: self._piece], self.data[self._piece :]
        return piece

    def unread(self, data: bytes) -> None:
        self.data = data + self.data


# ---- expanding -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 1, 5000, BLOCK, 3 * BLOCK + 7])
@pytest.mark.parametrize("program", PROGRAMS)
def test_what_was_compressed_comes_back_and_what_follows_stays(program: str, size: int) -> None:
    content = (os.urandom(500) + bytes(1500)) * (size // 2000 + 1)
    content = content[:size]
    reply = Reply(PROGRAMS[program](content) + b"after mark\0")
    came: list[int] = []
    blocks = list(expanded(reply, size, program, came.append))
    assert b"".join(blocks) == content
    assert all(len(block) == BLOCK for block in blocks[:-1])
    left = b""
    while piece := reply.recv():
        left += piece
    assert left == b"after mark\0"


@pytest.mark.parametrize("program", PROGRAMS)
def test_F06_every_truncation_is_noticed(program: str) -> None:
    content = os.urandom(3000) + bytes(3000)
    pressed = PROGRAMS[program](content)
    for length in range(0, len(pressed), 97):
        with pytest.raises(Desynchronized):
            list(expanded(Reply(pressed[:length]), len(content), program, len_of))


def len_of(_count: int) -> None:
    """Nobody counts here."""


@pytest.mark.parametrize("program", PROGRAMS)
def test_F08_no_flipped_bit_comes_through(program: str) -> None:
    content = os.urandom(2000) + bytes(2000)
    pressed = PROGRAMS[program](content)
    for at in range(0, len(pressed), 37):
        damaged = pressed[:at] + bytes([pressed[at] ^ 4]) + pressed[at + 1 :]
        try:
            came = b"".join(expanded(Reply(damaged), len(content), program, len_of))
        except (Desynchronized, Damaged):
            continue
        # zstd has no checksum unless it is asked for: then the digests of what is stored and SSH's own tell.
        assert came == content or program == "zstd"


@pytest.mark.parametrize("announced", [0, 1000, 4 * BLOCK])
@pytest.mark.parametrize("program", PROGRAMS)
def test_F43_a_bomb_never_becomes_more_than_was_announced(program: str, announced: int) -> None:
    bomb = PROGRAMS[program](bytes(600 << 20))
    tracemalloc.start()
    try:
        got = 0
        with pytest.raises(Desynchronized, match="more bytes came"):
            for block in expanded(Reply(bomb, 1 << 20), announced, program, len_of):
                got += len(block)
        assert got <= announced
        assert tracemalloc.get_traced_memory()[1] < 80 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("program", PROGRAMS)
def test_what_is_too_short_is_refused(program: str) -> None:
    with pytest.raises(Desynchronized, match="1 bytes fewer"):
        list(expanded(Reply(PROGRAMS[program](b"x" * 99)), 100, program, len_of))


@pytest.mark.parametrize("program", PROGRAMS)
def test_what_is_not_compressed_at_all(program: str) -> None:
    with pytest.raises(Damaged, match=f"what {program} on the node gave cannot be expanded"):
        list(expanded(Reply(b"\x7fELF" * 1000), 4000, program, len_of))


def test_which_programs() -> None:
    assert (programs("none"), programs("gzip"), programs("auto")) == ((), ("gzip",), ("zstd", "gzip"))


# ---- when ----------------------------------------------------------------------------------------------

_SIZE = 200 * BLOCK
_FOUND = Found("core", b"/cores", b"core.1", Signature.parse(b"1:2:%d:3:3:1" % _SIZE))


class Way:
    """A node and a link, by the clock: bytes a second as they are, those that each program makes of a dump, and to
    which part of it."""

    def __init__(self, plain: float, rates: dict[str, float], part: float = 0.2) -> None:
        self.now = 0.0
        self._rates: dict[str | None, float] = {None: plain, **rates}
        self._part = part
        self.legs: list[tuple[str | None, int]] = []  # in which way, how many blocks
        self.failure: Exception | None = None

    def stream(self, found: Found, start: int, press: str | None, came: Callable[[int], None]) -> Iterator[bytes]:
        if press not in self._rates:
            raise self.failure or CannotPress("cannot compress")
        self.legs.append((press, 0))
        for _ in range(start, found.size, BLOCK):
            self.now += BLOCK / self._rates[press]
            came(int(BLOCK * (self._part if press else 1)))
            self.legs[-1] = (press, self.legs[-1][1] + 1)
            yield bytes(BLOCK)

    def go(self, press: Press, found: Found = _FOUND) -> list[tuple[str | None, int]]:
        """How a dump comes."""
        self.legs = []
        assert sum(map(len, press.stream(self, found))) == found.size  # type: ignore[arg-type]  # as much as is used of an Asker
        return self.legs


def press(way: Way, wish: str = "auto") -> tuple[Press, list[str]]:
    told: list[str] = []
    return Press(wish, told.append, lambda: way.now), told


def test_a_slow_link_and_what_is_remembered() -> None:
    way = Way(12e6, {"zstd": 60e6, "gzip": 40e6})
    one, told = press(way)
    assert way.go(one) == [(None, 8), ("zstd", 192)]
    assert way.go(one) == [("zstd", 200)]
    assert told == ["dumps come compressed by zstd: zstd gives 57.22MB/s, 11.44MB/s as they are"]


def test_a_compressor_that_is_slower_than_the_link() -> None:
    way = Way(100e6, {"zstd": 60e6})
    one, told = press(way)
    assert way.go(one) == [(None, 8), ("zstd", 16), (None, 176)]
    assert way.go(one) == [(None, 200)]
    assert told == ["dumps come as they are: zstd gives 57.22MB/s, 95.37MB/s as they are"]


def test_a_link_that_no_compressor_can_beat() -> None:
    way = Way(2e9, {"zstd": 9e9})
    one, told = press(way)
    assert way.go(one) == way.go(one) == [(None, 200)]
    assert told == []


def test_a_node_without_zstd() -> None:
    way = Way(12e6, {"gzip": 40e6})
    one, _ = press(way)
    assert way.go(one) == [(None, 8), ("gzip", 192)]
    assert way.go(one) == [("gzip", 200)]


@pytest.mark.parametrize("failure", [CannotPress("cannot compress"), ProtocolError("the reply ended in the middle")])
def test_a_node_with_neither_or_with_an_older_command(failure: Exception) -> None:
    way = Way(12e6, {})
    way.failure = failure
    one, _ = press(way)
    assert way.go(one) == [(None, 8), (None, 192)]
    assert way.go(one) == [(None, 200)]


def test_a_dump_that_does_not_compress_says_nothing_of_others() -> None:
    way = Way(12e6, {"zstd": 12e6}, part=0.99)
    one, told = press(way)
    assert way.go(one) == [(None, 8), ("zstd", 16), (None, 176)]
    assert told == []
    good = Way(12e6, {"zstd": 60e6})
    good.now = way.now
    assert good.go(one)[0][0] == "zstd"


def test_dumps_too_short_to_be_measured_twice() -> None:
    short = Found("core", b"/cores", b"core.1", Signature.parse(b"1:2:%d:3:3:1" % (5 * BLOCK)))
    way = Way(12e6, {"zstd": 60e6})
    one, told = press(way)
    assert [way.go(one, short) for _ in range(3)] == [[(None, 5)], [("zstd", 5)], [("zstd", 5)]]
    assert len(told) == 1


@pytest.mark.parametrize(("wish", "ways"), [("gzip", [("gzip", 200)]), ("none", [(None, 200)])])
def test_a_wish_is_followed(wish: str, ways: list[tuple[str | None, int]]) -> None:
    way = Way(12e6, {"zstd": 60e6, "gzip": 1e6})
    one, told = press(way, wish)
    assert (way.go(one), told) == (ways, [])


# ---- over SSH ------------------------------------------------------------------------------------------


def compressible(pid: int, size: int) -> bytes:
    return (illumos_core(pid) + (os.urandom(64) + bytes(960)) * (size >> 10))[:size]


@pytest.mark.parametrize("flavour", ["gnu", "busybox", "smartos", "little"])
@pytest.mark.parametrize("wish", ["gzip", "zstd"])
def test_dumps_come_whole(flavour: str, wish: str, node: Callable[..., Node], tmp_path: Path) -> None:
    """Whether the node has such a program or not."""
    only = node(flavour=flavour)
    core = compressible(1, (20 << 20) + 4321)
    only.put(f"{PLACE}/core.1", core)
    only.put(f"{PLACE}/core.2", illumos_core(2, size=5 << 20))
    home = collector(tmp_path, [only])
    assert set(home.collect("--compress", wish).results.values()) == {"stored"}
    assert core in [data for _, data in home.stored()]
    check_settled(home, [only])


def test_a_slow_link_is_found_out(node: Callable[..., Node], tmp_path: Path) -> None:
    only = node(flavour="gnu")
    core = compressible(1, 40 << 20)
    only.put(f"{PLACE}/core.1", core)
    home = collector(tmp_path, [only])
    told = home.run("--rate", "8M")
    assert told.returncode == 0, told.stdout
    assert re.search(r"^cn0: dumps come compressed by zstd: zstd gives \S+/s, \S+/s as they are$", told.stdout, re.M)
    assert [data for _, data in home.stored()] == [core]
    check_settled(home, [only])


def test_a_command_that_was_installed_on_the_node_presses_too(node: Callable[..., Node], tmp_path: Path) -> None:
    only = node(flavour="gnu")
    only.put("/opt/custom/thoth-node", pack().node_command()).chmod(0o755)
    only.authorize(only.login_key, options='restrict,command="/opt/custom/thoth-node"')
    wrap(only, "gzip", "touch /tmp/pressed")
    only.put(f"{PLACE}/core.1", compressible(1, 9 << 20))
    home = collector(tmp_path, [only])
    assert home.collect("--compress", "gzip").code == 0
    assert only.path("/tmp/pressed").exists()
    check_settled(home, [only])


LIARS = {
    "garbage": "cat /dev/zero | head -c 100000; exit",
    "cut short": 'head -c 1000000 | /usr/lib/bench/real/gzip "$@"; exit',
    "too long": '{ cat; head -c 50000000 /dev/zero; } | /usr/lib/bench/real/gzip "$@"; exit',
    "nothing": "cat >/dev/null; exit 1",
    "half a stream": '/usr/lib/bench/real/gzip "$@" | head -c 9000; exit',
}


@pytest.mark.parametrize("lie", LIARS)
def test_a_lying_program_costs_its_dump_once(lie: str, node: Callable[..., Node], tmp_path: Path) -> None:
    """Nothing of it is stored; the dumps behind it come as they are, and it does when nobody compresses."""
    only = node(flavour="gnu")
    for pid in (1, 2):
        only.put(f"{PLACE}/core.{pid}", compressible(pid, 20 << 20), age=1000 - pid)
    wrap(only, "gzip", LIARS[lie])
    home = collector(tmp_path, [only])
    result = home.collect("--compress", "gzip")
    assert result.results == {f"{PLACE}/core.1".encode(): "failed", f"{PLACE}/core.2".encode(): "stored"}
    assert result.nodes["cn0"]["result"] == "reached"
    assert len(home.infos()) == 1
    assert home.collect().results[f"{PLACE}/core.1".encode()] == "stored"
    check_settled(home, [only])


def test_the_block_of_a_stream_is_a_multiple_of_what_a_node_counts_in() -> None:
    assert BLOCK % ask.UNIT == 0
