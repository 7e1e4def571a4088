"""What dumps say about themselves: every fact of every vector, text as it stands, and few ranges read."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support import vectors
from tests.support.elfwriter import (
    PT_LOAD,
    PT_NOTE,
    Section,
    Segment,
    auxv,
    elf,
    elf_vmcore,
    flattened,
    freebsd_core,
    illumos_core,
    illumos_notes,
    kdump,
    linux_core,
    linux_prpsinfo,
    linux_prstatus,
    note,
    psinfo,
    record,
    vmdump,
)
from tests.support.notewriter import Endian, Field
from tests.support.sources import ask, fetched, whole
from thoth.dumps.describe import describe, fact_ranges
from thoth.dumps.identity import identify, identity_ranges
from thoth.dumps.source import KnownRanges, Range
from thoth.errors import NotADump
from thoth.model import DumpFacts

KDUMP = "linux-kdump-compressed.core"
KNOWN = [entry for entry in vectors.entries() if entry["identity"] or entry["file"] == KDUMP]
CUT = {name for name in vectors.names() if "trunc" in name}

_FACTS = {
    "os": "os",
    "type": "type",
    "bits": "bits",
    "endian": "endian",
    "machine": "arch",
    "pid": "pid",
    "ppid": "ppid",
    "uid": "uid",
    "cmd_hex": "cmd",
    "psargs_hex": "psargs",
    "nodename": "node",
    "platform": "platform",
    "release": "release",
    "zonename": "zone",
    "zoneid": "zoneid",
    "nlwp": "lwps",
    "lwpid": "lwp",
    "signal": "signal",
    "exec": "exec",
    "crashtime": "time",
    "panicstring": "panic",
    "uuid": "uuid",
}


def expected(entry: dict[str, Any]) -> dict[str, Any]:
    facts: dict[str, Any] = {}
    for key, fact in _FACTS.items():
        if key in entry:
            value = entry[key]
            if key.endswith("_hex"):
                value = bytes.fromhex(value)
            elif fact in ("node", "platform", "release", "zone", "exec", "panic"):
                value = value.encode()
            facts[fact] = value
    if entry["file"] == "bad-trunc-load-mid":
        facts["exec"] = None  # it is in memory that was cut off
    return facts


def facts_of(data: bytes) -> DumpFacts:
    return describe(whole(data))


@pytest.mark.parametrize("entry", KNOWN, ids=lambda entry: entry["file"])
def test_facts_of_every_vector(entry: dict[str, Any]) -> None:
    facts = facts_of(vectors.load(entry["file"]))
    wanted = expected(entry)
    assert {name: getattr(facts, name) for name in wanted} == wanted
    assert facts.complete == (entry["file"] not in CUT)
    assert facts.truncated == ()


@pytest.mark.parametrize("entry", KNOWN, ids=lambda entry: entry["file"])
def test_needs_only_the_ranges_that_it_lists(entry: dict[str, Any]) -> None:
    dump = whole(vectors.load(entry["file"]))
    ranges = ask(fact_ranges, dump)
    assert ranges == fact_ranges(dump)
    held = fetched(dump, ranges)
    assert identify(held) == identify(dump)
    assert describe(held) == describe(dump)
    assert volume(dump, ranges) <= volume(dump, identity_ranges(dump)) + (1 << 20)


def volume(dump: KnownRanges, ranges: list[Range]) -> int:
    return sum(dump.clipped(each).length for each in ranges)


@pytest.mark.parametrize("name", [entry["file"] for entry in vectors.entries() if entry not in KNOWN])
def test_what_has_no_identity_is_not_described(name: str) -> None:
    with pytest.raises(NotADump):
        facts_of(vectors.load(name))
    with pytest.raises(NotADump):
        fact_ranges(whole(vectors.load(name)))


@pytest.mark.parametrize("bits", [32, 64])
@pytest.mark.parametrize("endian", ["little", "big"])
def test_illumos_in_every_width_and_byte_order(bits: int, endian: Endian) -> None:
    core = illumos_core(
        7, "zfs", "zfs send", "n1", bits=bits, endian=endian, uid=3, zone="z", zoneid=4, lwps=2, lwp=9
    )
    arch = {(64, "little"): "amd64", (32, "little"): "i386", (64, "big"): "sparcv9", (32, "big"): "sparc"}
    assert facts_of(core) == DumpFacts(
        type="core",
        complete=True,
        os="illumos",
        arch=arch[bits, endian],
        bits=bits,
        endian=endian,
        pid=7,
        ppid=1,
        uid=3,
        cmd=b"zfs",
        psargs=b"zfs send",
        exec=b"/opt/local/bin/node",
        node=b"n1",
        platform=b"joyent_20210520T001010Z",
        release=b"5.11",
        zone=b"z",
        zoneid=4,
        signal=11,
        lwp=9,
        lwps=2,
    )


@pytest.mark.parametrize(("bits", "arch"), [(32, "i386"), (64, "x86_64")])
def test_linux(bits: int, arch: str) -> None:
    facts = facts_of(linux_core(7, "node", "node x ", bits=bits, ppid=2, uid=1001, lwps=3, signal=6))
    assert (facts.os, facts.arch, facts.bits) == ("linux", arch, bits)
    assert (facts.pid, facts.ppid, facts.uid, facts.cmd, facts.psargs) == (7, 2, 1001, b"node", b"node x ")
    assert (facts.signal, facts.lwp, facts.lwps, facts.exec) == (6, 7, 3, b"/usr/bin/node")
    assert (facts.node, facts.platform, facts.zone, facts.zoneid) == (None, None, None, None)


def test_linux_with_user_ids_of_32_bits() -> None:
    fields: list[Field] = [
        (8, "I", 70000),
        (16, "i", 7),
        (20, "i", 2),
        (32, "16s", b"init"),
        (48, "80s", b"init -x"),
    ]
    facts = facts_of(elf([Segment(PT_NOTE, note(b"CORE", 3, record(128, "little", *fields)))], bits=32, machine=40))
    assert (facts.os, facts.arch, facts.uid, facts.pid, facts.ppid) == ("linux", "arm", 70000, 7, 2)
    assert (facts.cmd, facts.psargs) == (b"init", b"init -x")


def test_freebsd() -> None:
    facts = facts_of(freebsd_core(7, "node", "node x", lwps=2, signal=6))
    assert (facts.os, facts.arch, facts.pid, facts.cmd, facts.psargs) == (
        "freebsd",
        "amd64",
        7,
        b"node",
        b"node x",
    )
    assert (facts.signal, facts.lwp, facts.lwps, facts.complete) == (6, 100000, 2, True)


def test_linux_executable_that_was_started_by_a_relative_path() -> None:
    def core(path: bytes, listed: bytes = b"/opt/a.out") -> bytes:
        mapped = [(0x400000, 0x401000, listed), (0x500000, 0x501000, b"/lib/libc.so")]
        words = b"".join(value.to_bytes(8, "little") for start, end, _ in mapped for value in (start, end, 0))
        files = (2).to_bytes(8, "little") + bytes(8) + words + b"".join(path + b"\0" for *_, path in mapped)
        notes = note(b"CORE", 6, auxv([(9, 0x400080), (31, 0x7000)])) + note(b"CORE", 0x46494C45, files)
        return elf([Segment(PT_NOTE, notes), Segment(PT_LOAD, path + b"\0", vaddr=0x7000)])

    assert facts_of(core(b"./a.out")).exec == b"/opt/a.out"
    assert facts_of(core(b"/usr/bin/a.out")).exec == b"/usr/bin/a.out"
    # The kernel marks what was removed or replaced; a program can also be called so.
    assert facts_of(core(b"./a.out", b"/opt/a.out (deleted)")).exec == b"/opt/a.out"
    assert facts_of(core(b"a (deleted)", b"/opt/a (deleted)")).exec == b"/opt/a (deleted)"
    assert facts_of(core(b"a (deleted)", b"/opt/a (deleted) (deleted)")).exec == b"/opt/a (deleted)"


def test_kernel_dumps_of_linux_are_not_processes() -> None:
    facts = facts_of(elf_vmcore("OSRELEASE=6.1.0", "SYMBOL(x)=1", "CRASHTIME=1610680715", cpus=4))
    assert (facts.type, facts.os, facts.release, facts.time) == ("core", "linux", b"6.1.0", 1610680715.0)
    assert (facts.pid, facts.lwp, facts.lwps, facts.signal) == (None, None, None, None)
    assert facts_of(elf_vmcore("CRASHTIME=soon")).time is None
    assert facts_of(elf_vmcore("CRASHTIME=" + "9" * 5000)).time is None


def test_a_vmcore_tells_its_node_as_a_kdump_does() -> None:
    lines = ("OSRELEASE=6.1.0", "SYMBOL(init_uts_ns)=ffffffff81000100", "OFFSET(uts_namespace.name)=4")
    dump = elf_vmcore(*lines, node="db1")
    facts = facts_of(dump)
    assert (facts.node, facts.platform, facts.release) == (b"db1", b"#1 SMP Debian", b"6.1.0")
    assert describe(fetched(whole(dump), ask(fact_ranges, whole(dump)))) == facts


@pytest.mark.parametrize(
    "lines",
    [
        ("SYMBOL(init_uts_ns)=ffffffff81000100",),
        ("SYMBOL(init_uts_ns)=ffffffff81000100", "OFFSET(uts_namespace.name)=0"),
        ("SYMBOL(init_uts_ns)=ffffffff81000f00", "OFFSET(uts_namespace.name)=4"),
        ("SYMBOL(init_uts_ns)=ffffffffffffffff", "OFFSET(uts_namespace.name)=9999"),
        ("SYMBOL(init_uts_ns)=nowhere", "OFFSET(uts_namespace.name)=4"),
        ("SYMBOL(init_uts_ns)=ffffffff81000100", "OFFSET(uts_namespace.name)=-4"),
    ],
)
def test_a_vmcore_that_does_not_lead_to_a_name_has_no_node(lines: tuple[str, ...]) -> None:
    facts = facts_of(elf_vmcore(*lines))
    assert (facts.type, facts.node, facts.platform) == ("core", None, None)


def test_kdump_and_its_flattened_form_say_the_same() -> None:
    dump = kdump("db1", time=1600000000.25)
    facts = facts_of(dump)
    assert facts == facts_of(flattened(dump))
    assert (facts.type, facts.node, facts.time, facts.complete) == ("crash", b"db1", 1600000000.25, True)
    flat = whole(flattened(dump))
    assert describe(fetched(flat, ask(fact_ranges, flat))) == facts


def test_first_process_of_a_core_is_the_one() -> None:
    # An agent LWP's core has the psinfo of its master too.
    notes = (
        note(b"CORE", 13, psinfo(7, "node")) + note(b"CORE", 23, psinfo(8, "pstop")) + note(b"CORE", 13, psinfo(9))
    )
    assert facts_of(elf([Segment(PT_NOTE, notes)])).pid == 7


def test_old_proc_alone_is_enough() -> None:
    old, _ = illumos_notes(7, "node", "node x", lwps=3, lwp=2)
    facts = facts_of(elf([Segment(PT_NOTE, old)]))
    assert (facts.os, facts.pid, facts.cmd, facts.psargs) == ("illumos", 7, b"node", b"node x")
    assert (facts.signal, facts.lwp, facts.lwps, facts.node, facts.zoneid) == (11, 2, 3, None, None)


def test_structure_of_an_older_system_says_what_it_has() -> None:
    short = note(b"CORE", 13, psinfo(7, "node", "node x", zoneid=5)[:240])
    facts = facts_of(elf([Segment(PT_NOTE, short)]))
    assert (facts.pid, facts.cmd, facts.psargs, facts.zoneid) == (7, b"node", b"node x", None)


def test_no_signal_is_none() -> None:
    assert facts_of(illumos_core(signal=0)).signal is None
    assert (
        facts_of(
            elf([Segment(PT_NOTE, note(b"CORE", 1, linux_prstatus(5)) + note(b"CORE", 3, linux_prpsinfo(5)))])
        ).signal
        is None
    )


def test_core_of_an_unknown_system_is_described_by_its_header() -> None:
    facts = facts_of(elf([Segment(PT_NOTE, note(b"NetBSD-CORE", 1, bytes(160)))], endian="big", bits=32))
    assert facts == DumpFacts(type="core", complete=True, bits=32, endian="big")


def test_executable_may_lie_at_the_end_of_memory_or_nowhere() -> None:
    def exec_of(path: bytes, address: int = 0x1000) -> bytes | None:
        notes = note(b"CORE", 6, auxv([(2014, address)])) + note(b"CORE", 13, psinfo(7))
        return facts_of(elf([Segment(PT_NOTE, notes), Segment(PT_LOAD, path, vaddr=0x1000)])).exec

    assert exec_of(b"/bin/sh\0") == b"/bin/sh"
    assert exec_of(b"/bin/sh") is None  # where it ends is not in the core
    assert exec_of(b"/" * 10000) is None
    assert exec_of(b"/bin/sh\0", 0x500) is None
    assert exec_of(b"/bin/sh\0", (1 << 64) - 1) is None


def test_executable_may_cross_into_the_next_segment() -> None:
    notes = note(b"CORE", 6, auxv([(2014, 0x1FFC)])) + note(b"CORE", 13, psinfo(7))
    loads = [Segment(PT_LOAD, bytes(0xFFC) + b"/bin", vaddr=0x1000), Segment(PT_LOAD, b"/sh\0", vaddr=0x2000)]
    core = elf([Segment(PT_NOTE, notes), *reversed(loads)])
    assert facts_of(core).exec == b"/bin/sh"
    assert describe(fetched(whole(core), fact_ranges(whole(core)))).exec == b"/bin/sh"


# ---- complete -------------------------------------------------------------------------------------


def test_core_is_cut_when_a_section_is() -> None:
    core = elf([Segment(PT_NOTE, b"")], [Section(0), Section(2, b"symtab"), Section(8, size=1 << 40)])
    assert facts_of(core).complete
    assert not facts_of(core[:-1]).complete


def test_vmdump_is_cut_without_the_header_at_its_end() -> None:
    dump = vmdump(size=200_000)
    other = vmdump(time=1_700_000_000, size=200_000)
    assert facts_of(dump).complete
    assert not facts_of(dump[:150_000]).complete
    assert not facts_of(dump[:131072]).complete
    assert not facts_of(dump[:131072] + other[131072:]).complete
    assert not facts_of(vmdump(size=16384)).complete


def test_kdump_is_cut_when_its_last_page_is() -> None:
    dump = kdump(pages=50)
    assert facts_of(dump).complete
    assert not facts_of(dump[:-1]).complete
    assert not facts_of(kdump(status=9)).complete
    assert not facts_of(flattened(dump)[:-1]).complete
    assert not facts_of(flattened(dump, end=False)).complete


def test_kdump_with_a_page_of_zeros_before_the_others() -> None:
    dump = kdump(pages=50)
    table = 4 * 4096
    pages = table + 24 * 50
    moved = b"".join(
        int.from_bytes(dump[at : at + 8], "little").__add__(4096).to_bytes(8, "little") + dump[at + 8 : at + 24]
        for at in range(table, pages, 24)
    )
    zeroed = dump[:table] + moved + bytes(4096) + dump[pages:]
    assert facts_of(zeroed).complete
    assert not facts_of(zeroed[:-1]).complete


# ---- text -----------------------------------------------------------------------------------------

NASTY = [
    b"quote\" back\\slash 'single'",
    b"\x1b[31mred\x07\x08\x7f",
    b"\xe2\x80\xa8 line separator",
    b"\xff\xfe\xc3\x28 not UTF-8",
    b"a:b,c\nd\te\r",
]


@pytest.mark.parametrize("text", NASTY)
def test_F23_text_is_given_as_it_stands(text: bytes) -> None:
    facts = facts_of(illumos_core(cmd=text[:16], psargs=text, node=text, platform=text, zone=text, exec=b"/" + text))
    assert (facts.cmd, facts.psargs, facts.node, facts.platform) == (text[:16], text, text, text)
    assert (facts.zone, facts.exec) == (text, b"/" + text)
    assert facts_of(linux_core(psargs=text)).psargs == text
    crash = facts_of(vmdump(node=text, panic=text, platform=text))
    assert (crash.node, crash.panic, crash.platform) == (text, text, text)


def test_F23_text_ends_at_its_nul_or_its_field() -> None:
    facts = facts_of(illumos_core(cmd=b"c" * 16, psargs=b"p" * 80, node=b"n\0hidden"))
    assert (facts.cmd, facts.psargs, facts.node) == (b"c" * 16, b"p" * 80, b"n")


def test_F23_text_over_64_kib_is_cut_and_named() -> None:
    for size, kept in ((65536, 65536), (65537, 65536), (1 << 20, 65536)):
        facts = facts_of(illumos_core(zone=b"z" * size, size=3 << 20))
        assert facts.zone == b"z" * kept
        assert facts.truncated == (("zone",) if size > kept else ())


def test_F23_structure_of_1_mib_is_read_at_its_fields() -> None:
    notes = note(b"CORE", 13, psinfo(7, "node", "p" * 80) + b"x" * (1 << 20))
    facts = facts_of(elf([Segment(PT_NOTE, notes)]))
    assert (facts.pid, facts.psargs) == (7, b"p" * 80)


@given(psargs=st.binary(max_size=80), node=st.binary(max_size=257), cmd=st.binary(max_size=16))
def test_F26_any_bytes_come_out_as_they_went_in(psargs: bytes, node: bytes, cmd: bytes) -> None:
    def upto(text: bytes) -> bytes:
        return text.split(b"\0")[0]

    facts = facts_of(illumos_core(psargs=psargs, node=node, cmd=cmd))
    assert (facts.psargs, facts.node, facts.cmd) == (upto(psargs), upto(node), upto(cmd))
    assert facts_of(linux_core(psargs=psargs)).psargs == upto(psargs)


def test_uuid_and_machine_that_are_no_names_are_left_out() -> None:
    random_bytes = bytes(random.Random(1).randbytes(36)).replace(b"\0", b"\xff")
    assert facts_of(vmdump(uuid=random_bytes)).uuid is None
    assert facts_of(vmdump(uuid=b"\x1b[31m")).uuid is None
    assert facts_of(vmdump(uuid=b"")).uuid is None
    assert facts_of(kdump(machine=b"\xff\xfe")).arch is None
