"""The shells that a node may have, node.sh in them, and names that are only names."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

from sdc_thoth import protocol
from sdc_thoth.errors import ProtocolError
from sdc_thoth.listing import Bad, Found, Odd, Place, System
from sdc_thoth.protocol import Get

SHELLS = {
    "dash": ["dash"],
    "bash": ["bash"],
    "bash-posix": ["bash", "--posix"],
    "busybox": ["busybox", "sh"],
    "ksh93": ["ksh93"],  # the sh of illumos
    "no-stat": ["dash"],
}

NASTY = [
    b"a b",
    b"tab\there",
    b"new\nline",
    b"ends in newline\n",
    b"'single'",
    b'"double"',
    b";touch CANARY;",
    b"$(touch CANARY)",
    b"`touch CANARY`",
    b"&touch CANARY&",
    b"|touch CANARY",
    b">CANARY",
    b"<CANARY",
    b"*",
    b"?",
    b"[a-z]",
    b"{a,b}",
    b"~",
    b"!history",
    b"#comment",
    b"%s%n%d",
    b"back\\slash\\n\\0101",
    b"-rf",
    b"--help",
    b"..",
    b"...",
    b"=word",
    b"ticket=X.k=v",
    b"\xff\xfe\n;$(touch CANARY)",
    b"\x81\x82\x83\x88",  # what dash uses for itself inside words
    b"\x1b[31mred\x1b[0m",
    b"\xe2\x80\xa8line separator",
    b"\x7f\x01\x02",
    bytes(range(1, 256)).replace(b"/", b"")[:200],
    bytes(range(1, 256)).replace(b"/", b"")[200:],
    b"x" * 250,
    b"",
]


class Pipe:
    """A reply as the parsers read it."""

    def __init__(self, data: bytes) -> None:
        self._data = BytesIO(data)

    def read_until(self, separator: bytes, limit: int) -> bytes:
        start = self._data.tell()
        found, there, _ = self._data.getvalue()[start : start + limit + 1].partition(separator)
        if not there:
            raise ProtocolError("no separator")
        self._data.seek(start + len(found) + 1)
        return found

    def recv(self) -> bytes:
        return self._data.read(1000)

    def unread(self, data: bytes) -> None:
        self._data.seek(-len(data), os.SEEK_CUR)

    def rest(self) -> bytes:
        return self._data.read()

    def read_exactly(self, count: int) -> bytes:
        data = self._data.read(count)
        if len(data) != count:
            raise ProtocolError("ended early")
        return data


@dataclass(frozen=True, slots=True)
class Shell:
    """A shell, and whether its node has a stat; without one, ls has to do."""

    words: tuple[str, ...]
    stat: bool

    def script(self) -> bytes:
        text = protocol.script()
        if self.stat:
            return text
        without = text.replace(b"\nchoose_stat\n", b"\nstat() { return 1; }\nchoose_stat\n")
        return without.replace(b"exec stat", b"stat")


def ask(shell: Shell, request: bytes, cwd: Path, places: Sequence[Place] = ()) -> Pipe:
    """Run the script as a node does: the shell takes it from stdin, then the places and the requests."""
    text = shell.script()
    request = protocol.places_request(places) + request.removesuffix(protocol.END) + protocol.END
    outer = ["sh", "-c", protocol.command(len(text)).replace("/bin/sh", " ".join(shell.words))]
    done = subprocess.run(outer, input=text + request, capture_output=True, cwd=cwd, timeout=30, check=False)
    assert done.stderr == b""
    return Pipe(done.stdout)


def discover(shell: Shell, places: Sequence[Place], cwd: Path) -> list[System | Found | Odd | Bad]:
    return list(protocol.discovered(ask(shell, protocol.discover_request(), cwd, places), places))


def found_in(shell: Shell, places: Sequence[Place], cwd: Path) -> list[Found]:
    return [item for item in discover(shell, places, cwd) if isinstance(item, Found)]


def read(
    shell: Shell, places: Sequence[Place], gets: Sequence[Get], cwd: Path, *, skim: bool = False
) -> list[bytes | str]:
    """The bytes of each part, or the status that says why there are none."""
    reply = ask(shell, protocol.read_request(gets, "mark", skim=skim), cwd, places)
    answers: list[bytes | str] = []
    for start in range(0, len(gets), protocol.GROUP):
        group = gets[start : start + protocol.GROUP]
        statuses = protocol.statuses(reply, group, "mark")
        answers += [reply.read_exactly(g.length) if s == "ok" else s for g, s in zip(group, statuses, strict=True)]
        ok = [get for get, status in zip(group, statuses, strict=True) if status == "ok"]
        assert not any(protocol.afterwards(reply, ok, "mark"))
    protocol.ended(reply, "mark")
    return answers


def plant(folder: Path, name: bytes, content: bytes) -> Path:
    path = os.fsencode(folder) + b"/" + name
    Path(os.fsdecode(path)).write_bytes(content)
    return Path(os.fsdecode(path))
