"""Objects of an illumos process: by the linker's list, and by what begins with a header, whatever that list says."""

from __future__ import annotations

import struct

import pytest

from tests.support import vectors
from tests.support.sources import whole
from thoth.dumps.elfcore import ElfCore
from thoth.dumps.stack import Frame, read_stacks

AT_PHDR, AT_PHNUM = 3, 5
_WIDE, _NARROW = "illumos-core64.core.30522", "illumos-core32.core.60338"


class Damaged:
    """A vector whose memory and auxiliary vector can be written to."""

    def __init__(self, name: str) -> None:
        self.data = bytearray(vectors.load(name))
        core = ElfCore.from_source(whole(bytes(self.data)))
        assert core is not None
        self.core = core
        self.letter = "Q" if core.header.wide else "I"
        self.word = struct.calcsize(self.letter)

    def word_at(self, address: int) -> int:
        return int(struct.unpack(f"<{self.letter}", self.core.memory.read(address, self.word))[0])

    def write(self, address: int, value: int) -> None:
        (place,) = self.core.memory.ranges(address, self.word)
        struct.pack_into(f"<{self.letter}", self.data, place.offset, value)

    def auxv(self, kind: int, value: int | None = None) -> int:
        """The value of an entry; another one takes its place in both copies."""
        found = 0
        for note in self.core.notes():
            for at in range(note.offset, note.offset + note.size if note.type == 6 else 0, 2 * self.word):
                entry = struct.unpack_from(f"<2{self.letter}", self.data, at)
                if entry[0] == kind:
                    found = entry[1]
                    if value is not None:
                        struct.pack_into(f"<{self.letter}", self.data, at + self.word, value)
        return found

    def debug(self) -> int:
        """Where struct r_debug lies: DT_DEBUG of the executable, whose headers AT_PHDR tells."""
        start, size = self.auxv(AT_PHDR), 56 if self.word == 8 else 32
        for number in range(self.auxv(AT_PHNUM)):
            header = self.core.memory.read(start + number * size, size)
            if header[:4] == b"\2\0\0\0":
                dynamic = struct.unpack_from(f"<{self.letter}", header, 16 if self.word == 8 else 8)[0]
                break
        while self.word_at(dynamic) != 21:
            dynamic += 2 * self.word
        return self.word_at(dynamic + self.word)

    def frames(self) -> tuple[Frame, ...]:
        stacks = read_stacks(whole(bytes(self.data)))
        assert stacks is not None
        return stacks.threads[0].frames


@pytest.fixture(params=[_WIDE, _NARROW])
def damaged(request: pytest.FixtureRequest) -> Damaged:
    return Damaged(request.param)


def functions(frames: tuple[Frame, ...]) -> list[bytes | None]:
    return [frame.symbol for frame in frames]


def test_the_list_tells_names(damaged: Damaged) -> None:
    top, *_, last = damaged.frames()
    assert top.object is not None and top.object.endswith(b"/libc.so.1") and not top.main
    assert last.main and last.symbol == b"_start"


@pytest.mark.parametrize("address", [0, 16, (1 << 32) - 8])
def test_without_the_list_the_same_functions_have_objects_without_a_name(damaged: Damaged, address: int) -> None:
    known = damaged.frames()
    damaged.auxv(AT_PHDR, address)
    found = damaged.frames()
    assert functions(found) == functions(known)
    assert (found[0].object, found[0].text[:2]) == (None, b"?`")
    assert (found[-1].main, found[-1].text) == (True, known[-1].text)


def test_headers_without_end_are_not_looked_through(damaged: Damaged) -> None:
    known = functions(damaged.frames())
    damaged.auxv(AT_PHNUM, (1 << 32) - 1)
    assert functions(damaged.frames()) == known


def test_a_list_in_a_circle(damaged: Damaged) -> None:
    known = damaged.frames()
    first = damaged.word_at(damaged.debug() + damaged.word)
    second = damaged.word_at(first + 3 * damaged.word)
    damaged.write(second + 3 * damaged.word, first)
    assert damaged.frames() == known


@pytest.mark.parametrize("where", [1, 1 << 30])
def test_a_list_that_leads_nowhere(damaged: Damaged, where: int) -> None:
    known = damaged.frames()
    damaged.write(damaged.debug() + damaged.word, where)
    assert functions(damaged.frames()) == functions(known)


def test_a_name_that_cannot_be_read(damaged: Damaged) -> None:
    first = damaged.word_at(damaged.debug() + damaged.word)
    second = damaged.word_at(first + 3 * damaged.word)
    damaged.write(second + damaged.word, 0)
    assert damaged.frames()[0].text.startswith(b"?`")
