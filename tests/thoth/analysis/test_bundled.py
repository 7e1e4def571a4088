"""The analyzers that thoth init brings, on dumps of which stand-ins for illumos' tools know what to say."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support import vectors
from tests.support.analysis import Bench
from tests.support.elfwriter import illumos_core, linux_core
from tests.support.illumos_tools import IllumosTools
from thoth.analysis.analyzers import BUNDLED, bundled
from thoth.analysis.run import Analysis
from thoth.model import DumpInfo

NODE = illumos_core(pid=7, cmd="node")
VMDUMP = vectors.load("vmdump/vmdump.0")
VMCORE = VMDUMP[:8] + (int.from_bytes(VMDUMP[8:12], "little") & ~0x8).to_bytes(4, "little") + VMDUMP[12:]

STATUS = (
    "debugging crash dump vmcore.0 (64-bit) from 95SY9R1\noperating system: 5.11 joyent_20210520T001010Z (i86pc)\n"
)
UCODE = "panic_cpu::print cpu_t cpu_m.mcpu_ucode_info->cui_rev"
JSSTACK = """\
js:     <anonymous> (as onUncaught)
          file: /opt/app/server.js
          posn: line 12
          this: a6f09305 (JSObject: process)
          arg1: a8b1c2d1 (JSObject: TypeError)
js:     EventEmitter.emit
          arg1: a8b1c2f5 (ConsString)
        (1 internal frame elided)
native: node::Start+0x182
native: _start+0x83
"""
EXCEPTION = '{\n    "message": "Cannot read property \'x\' of undefined",\n}\n'


@pytest.fixture
def bare(ground: Path) -> Bench:
    """Without any of illumos' tools."""
    return Bench(ground, {"PATH": "/usr/bin:/bin"})


def run(bench: Bench, name: str, dump: bytes, filename: bytes = b"core.1", **facts: str) -> tuple[DumpInfo, Analysis]:
    info = bench.store(dump, filename, **facts)
    return info, bench.run(info, bundled(name), name=name)


def assert_does_not_apply(bench: Bench, name: str, dump: bytes, **facts: str) -> None:
    info, done = run(bench, name, dump, **facts)
    assert (done.status, done.reason, done.output, done.changes) == (0, None, b"", ())
    assert bench.document(info) == info.document


def test_the_list_is_what_is_there() -> None:
    place = Path(__file__).parents[3] / "thoth" / "analysis" / "bundled"
    assert sorted(each.name for each in place.iterdir()) == sorted(BUNDLED)


class TestAll:
    @pytest.mark.parametrize("name", BUNDLED)
    def test_a_dump_of_another_system(self, bare: Bench, name: str) -> None:
        assert_does_not_apply(bare, name, linux_core(cmd="node"))
        assert_does_not_apply(bare, name, VMDUMP, os="linux")

    @pytest.mark.parametrize("name", ["fmri", "jsstack", "jsexception"])
    def test_a_crash_dump_where_a_core_is_wanted(self, bare: Bench, name: str) -> None:
        assert_does_not_apply(bare, name, VMDUMP)

    @pytest.mark.parametrize("name", ["ucode", "process-dump"])
    def test_a_core_where_a_crash_dump_is_wanted(self, bare: Bench, name: str) -> None:
        assert_does_not_apply(bare, name, NODE)

    @pytest.mark.parametrize("name", ["jsstack", "jsexception"])
    def test_a_core_of_another_program(self, bare: Bench, name: str) -> None:
        assert_does_not_apply(bare, name, illumos_core(cmd="svc.startd"))

    @pytest.mark.parametrize(
        ("name", "dump", "tool"),
        [
            ("fmri", NODE, "pargs"),
            ("jsstack", NODE, "mdb"),
            ("jsexception", NODE, "mdb"),
            ("ucode", VMDUMP, "mdb"),
            ("process-dump", VMDUMP, "savecore"),
        ],
    )
    def test_a_tool_that_is_not_there(self, bare: Bench, name: str, dump: bytes, tool: str) -> None:
        info, done = run(bare, name, dump)
        assert (done.status, done.changes) == (1, ())
        assert done.output.decode() == f"{name}: {tool} is not installed here; it is part of illumos\n"
        assert bare.document(info) == info.document

    @pytest.mark.parametrize(
        ("name", "dump", "reason"),
        [
            ("fmri", NODE, "fmri: pargs cannot read the dump"),
            ("jsstack", NODE, "jsstack: mdb finds no JavaScript stack in the dump"),
            ("jsexception", NODE, "jsexception: mdb finds no JavaScript stack in the dump"),
            ("ucode", VMDUMP, "run process-dump first on a vmdump"),
            ("process-dump", VMDUMP, "process-dump: savecore cannot expand the dump"),
        ],
    )
    def test_a_tool_that_refuses_the_dump(self, bench: Bench, name: str, dump: bytes, reason: str) -> None:
        info, done = run(bench, name, dump)
        first, *_, last = done.output.decode().splitlines()
        assert (done.status, done.changes) == (1, ())
        assert first.startswith(("mdb: ", "pargs: ", "savecore: "))
        assert reason in last
        assert bench.document(info) == info.document


class TestFmri:
    def test_it_is_in_the_environment(self, bench: Bench, tools: IllumosTools) -> None:
        tools.know(NODE, environment=["XSMF_FMRI=no", "A=SMF_FMRI=no", "SMF_FMRI=svc:/site/app:a=b;$(id)"])
        info, done = run(bench, "fmri", NODE)
        assert done.output.decode() == f"{info.id}: svc:/site/app:a=b;$(id)\n"
        assert bench.document(info)["properties"] == {"fmri": "svc:/site/app:a=b;$(id)"}

    def test_a_process_that_smf_did_not_start(self, bench: Bench, tools: IllumosTools) -> None:
        tools.know(NODE, environment=["PATH=/usr/bin"])
        assert_does_not_apply(bench, "fmri", NODE)


class TestUcode:
    def test_an_expanded_dump(self, bench: Bench, tools: IllumosTools) -> None:
        tools.know(VMCORE, commands={UCODE: "cpu_m.mcpu_ucode_info->cui_rev = 0x42e\n"})
        expanded(bench, tools)
        info, done = run(bench, "ucode", VMDUMP, b"vmdump.0")
        assert done.output.decode() == f"{info.id}: 0x42e\n"
        assert bench.document(info)["properties"]["ucode"] == "0x42e"

    def test_a_kernel_without_it(self, bench: Bench, tools: IllumosTools) -> None:
        tools.know(VMCORE, commands={UCODE: "mdb: failed to find member mcpu_ucode_info of machcpu\n"})
        expanded(bench, tools)
        _, done = run(bench, "ucode", VMDUMP, b"vmdump.0")
        assert (done.status, done.changes) == (1, ())

    def test_another_machine(self, bare: Bench) -> None:
        assert_does_not_apply(bare, "ucode", VMDUMP, arch="sun4v")


class TestJavaScript:
    def test_the_stack(self, bench: Bench, tools: IllumosTools) -> None:
        tools.know(NODE, commands={"v8 ::jsstack -vn0": JSSTACK})
        info, done = run(bench, "jsstack", NODE)
        assert done.output.decode() == f"{info.id}:\n{JSSTACK}"
        assert bench.document(info)["properties"] == {"jsstack": JSSTACK.removesuffix("\n")}

    def test_the_exception_that_a_handler_has(self, bench: Bench, tools: IllumosTools) -> None:
        tools.know(NODE, commands={"v8 ::jsstack -vn0": JSSTACK, "v8 a8b1c2d1::jsprint": EXCEPTION})
        info, done = run(bench, "jsexception", NODE)
        assert done.output.decode() == f"{info.id}:\n{EXCEPTION}"
        assert bench.document(info)["properties"] == {"jsexception": EXCEPTION.removesuffix("\n")}

    @pytest.mark.parametrize(
        "frame",
        [
            "node`v8::internal::Isolate::DoThrow+0x1a(81d9000, a8b1c2d1, 0)",
            "node`_ZN2v88internal7Isolate7DoThrowEPNS0_6ObjectEPNS0_15MessageLocationE+0x3f1(81d9000, a8b1c2d1, 0)",
            "node`v8::internal::Isolate::Throw(v8::internal::Object*)+0x1(81d9000, a8b1c2d1)",
        ],
    )
    def test_the_exception_that_is_thrown(self, bench: Bench, tools: IllumosTools, frame: str) -> None:
        tools.know(
            NODE,
            stack=["libc.so.1`abort+0x10e()", frame, "main+0x1b()"],
            commands={"v8 ::jsstack -vn0": "native: _start+0x83\n", "v8 a8b1c2d1::jsprint": EXCEPTION},
        )
        info, _ = run(bench, "jsexception", NODE)
        assert bench.document(info)["properties"] == {"jsexception": EXCEPTION.removesuffix("\n")}

    def test_a_process_that_died_of_something_else(self, bench: Bench, tools: IllumosTools) -> None:
        tools.know(NODE, stack=["main+0x1b()"], commands={"v8 ::jsstack -vn0": "native: _start+0x83\n"})
        assert_does_not_apply(bench, "jsexception", NODE)

    def test_an_exception_that_cannot_be_printed(self, bench: Bench, tools: IllumosTools) -> None:
        tools.know(NODE, commands={"v8 ::jsstack -vn0": JSSTACK, "v8 a8b1c2d1::jsprint": "mdb: no mapping\n"})
        _, done = run(bench, "jsexception", NODE)
        assert (done.status, done.changes) == (1, ())
        assert done.output.decode().splitlines()[-1].endswith("which is at a8b1c2d1")


def expanded(bench: Bench, tools: IllumosTools) -> tuple[DumpInfo, Analysis]:
    """The vmdump, after process-dump has run on it."""
    tools.know(VMDUMP, expands_to=VMCORE)
    tools.know(VMCORE, stack=["vpanic()", "genunix`taskq_thread+0x2d0()"], commands={"::status": STATUS})
    return run(bench, "process-dump", VMDUMP, b"vmdump.0")


class TestProcessDump:
    def test_it_expands_and_describes(self, bench: Bench, tools: IllumosTools) -> None:
        info, done = expanded(bench, tools)
        assert (done.status, done.reason) == (0, None), done
        document = bench.document(info)
        assert document["properties"] == {"status": STATUS.removesuffix("\n")}
        assert (document["stack"], document["stack_by"]) == (
            ["vpanic()", "genunix`taskq_thread+0x2d0()"],
            "process-dump",
        )
        assert bench.thoth.store.get(document["expanded"]["dump"])[0] == VMCORE
        assert done.output.decode().splitlines()[1] == f"{info.id}: expanded to vmcore.0"

    def test_once_is_enough(self, bench: Bench, tools: IllumosTools) -> None:
        info, _ = expanded(bench, tools)
        before = dict(bench.document(info))
        done = bench.run(DumpInfo(before), bundled("process-dump"))
        assert (done.status, done.output.decode()) == (0, f"{info.id}: is expanded already\n")
        assert bench.document(info) == before

    def test_an_expanded_dump_that_mdb_cannot_read(self, bench: Bench, tools: IllumosTools) -> None:
        tools.know(VMDUMP, expands_to=VMCORE)
        info, done = run(bench, "process-dump", VMDUMP, b"vmdump.0")
        assert (done.status, done.changes) == (1, ())
        assert done.output.decode().splitlines()[-1] == "process-dump: mdb cannot read the expanded dump"
        assert bench.document(info) == info.document
