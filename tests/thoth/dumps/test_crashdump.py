"""Headers of kernel crash dumps, also of those that have no identity."""

from __future__ import annotations

import gzip

import pytest

from tests.support.crashwriter import dumphdr
from tests.support.elfwriter import elf, illumos_core, kdump, vmdump
from tests.support.notewriter import Endian
from tests.support.sources import whole
from thoth.dumps.crashdump import parse_dumphdr, parse_kdump
from thoth.dumps.describe import describe
from thoth.dumps.identity import identify
from thoth.errors import NotADump


@pytest.mark.parametrize("bits", [32, 64])
@pytest.mark.parametrize("endian", ["little", "big"])
def test_dumphdr_of_every_kernel(bits: int, endian: Endian) -> None:
    header = parse_dumphdr(dumphdr("n1", "BAD TRAP", 1234567890, uuid="abc", bits=bits, endian=endian))
    assert header is not None
    assert (header.bits, header.order, header.version) == (bits, "<" if endian == "little" else ">", 10)
    assert (header.node, header.panic, header.time, header.uuid) == (b"n1", b"BAD TRAP", 1234567890, b"abc")
    assert (header.release, header.platform, header.machine) == (
        b"5.11",
        b"joyent_20210520T001010Z",
        b"i86pc",
    )


@pytest.mark.parametrize("bits", [32, 64])
def test_dumphdr_of_version_9_has_no_uuid(bits: int) -> None:
    header = parse_dumphdr(dumphdr(version=9, uuid="abc", bits=bits))
    assert header is not None
    assert (header.uuid, header.time) == (None, 1_600_000_000)


def test_dumphdr_that_ends_early_says_what_it_has() -> None:
    whole_header = dumphdr("n1")
    for length in range(4, len(whole_header)):
        header = parse_dumphdr(whole_header[:length])
        assert header is not None
        assert header.node in (b"n1", None)
        assert (header.time is None) == (length < 1808)
    assert parse_dumphdr(whole_header[:3]) is None


@pytest.mark.parametrize("endian", ["little", "big"])
def test_kdump_header(endian: Endian) -> None:
    header = parse_kdump(kdump("n1", "6.1", 12.5, endian=endian, machine="s390x"))
    assert (header.order, header.bits) == ("<" if endian == "little" else ">", 64)
    assert (header.node, header.release, header.machine, header.time) == (b"n1", b"6.1", b"s390x", 12.5)
    assert (header.block_size, header.pages_at) == (4096, 4 * 4096)


def refusal(data: bytes) -> str:
    with pytest.raises(NotADump) as caught:
        identify(whole(data))
    with pytest.raises(NotADump):
        describe(whole(data))
    return caught.value.reason


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (vmdump(endian="big"), "big-endian"),
        (vmdump(flags=0x9), "not a complete dump"),
        (vmdump(flags=0x1), "not a complete dump"),
        (vmdump(flags=0x3), "dump is not compressed"),
        (vmdump(magic=1), "neither a core nor a crash dump (begins with 01000000)"),
        (b"", "neither a core nor a crash dump (is empty)"),
        (b"\x7f", "(begins with 7f)"),
        (elf([], type=2), "an executable"),
        (elf([], type=3), "a shared object"),
        (elf([], type=0xFE00), "of type 65024"),
        (b"hello\n" * 100, "(begins with 68656c6c)"),
        (gzip.compress(illumos_core()), "gzip"),
    ],
)
def test_F42_what_is_no_dump_is_refused_with_its_reason(data: bytes, reason: str) -> None:
    said = refusal(data)
    assert reason in said
    assert said.isprintable()


def test_F42_unknown_version_is_read_by_its_fixed_part() -> None:
    for version in (0, 8, 11, 0xFFFFFFFF):
        facts = describe(whole(vmdump("n1", version=version)))
        assert (facts.node, facts.time, facts.complete) == (b"n1", 1_600_000_000.0, True)


def test_F42_time_is_a_number() -> None:
    for time in (0, 1, -5, 1 << 40):
        said = describe(whole(vmdump(time=time))).time
        assert said == time
        assert isinstance(said, float)


def test_F42_text_without_nul_ends_with_its_field() -> None:
    facts = describe(whole(vmdump(node=b"n" * 257, panic=b"p" * 200, platform=b"v" * 257, uuid=b"u" * 37)))
    assert (facts.node, facts.panic, facts.platform) == (b"n" * 257, b"p" * 200, b"v" * 257)
    assert facts.uuid == "u" * 37
