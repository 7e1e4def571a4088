"""From a document to its signature."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support import vectors
from tests.thoth.signatures.test_names import HOSTILE
from thoth.dumps.source import in_memory
from thoth.errors import UsageError
from thoth.model import DumpInfo, Json
from thoth.signatures.near import nearest
from thoth.signatures.rules import current_rules, parse_rules
from thoth.signatures.signature import (
    BEYOND,
    KEPT,
    SIGNATURE_KEYS,
    SKIPPED,
    explain,
    parts,
    signature_of,
    signed,
)
from thoth.stacks import stacks_in

# Of svc.startd, as the original's README shows it.
STARTD = [
    "libc.so.1`_lwp_kill+0x15()",
    "libc.so.1`raise+0x2b()",
    "libc.so.1`abort+0x10e()",
    "utmpx_postfork+0x44()",
    "fork_common+0x186()",
    "fork_configd+0x8d()",
    "fork_configd_thread+0x2ca()",
    "libc.so.1`_thrp_setup+0x88()",
    "libc.so.1`_lwp_start()",
]
WITH_STACK = [each["file"] for each in vectors.entries() if each.get("stack")]
LONGEST = 800  # characters that a signature may have: 5 names, the program, the panic string


def core(stack: Json, **more: Json) -> dict[str, Json]:
    return {"type": "core", "cmd": "svc.startd", "stack": stack, **more}


def test_the_frames_that_say_something() -> None:
    assert signature_of(core(STARTD)) == "svc.startd: utmpx_postfork | fork_common | fork_configd"


def test_each_frame_has_its_reason() -> None:
    explained = explain(core(STARTD))
    assert [(each.name, each.verdict, each.why) for each in explained.frames] == [
        ("_lwp_kill", SKIPPED, "how a process ends itself"),
        ("raise", SKIPPED, "how a process ends itself"),
        ("abort", SKIPPED, "how a process ends itself"),
        ("utmpx_postfork", KEPT, ""),
        ("fork_common", KEPT, ""),
        ("fork_configd", KEPT, ""),
        *[("", BEYOND, "3 frames are enough")] * 3,
    ]
    assert [each.spot.line for each in explained.frames] == STARTD


STACKS: dict[str, tuple[list[str], str | None]] = {
    "no frames": ([], None),
    "only addresses": (["0xfffffd7fff0f1006()", "0x8052f30()"], None),
    "offsets are no part of it": (["a+0x1()", "b()"], "svc.startd: a | b"),
    "nor arguments": (["a+0x1(1, 2, fffffd7f)", "libx.so.1`b(0)"], "svc.startd: a | b"),
    "only other objects' frames": (["libx.so.1`a+0x1()", "libx.so.1`b+0x1()"], "svc.startd: a | b"),
    "a link map of its own": (["LM1`libx.so.1`a+0x1()"], "svc.startd: a"),
    "a call of nothing": (["0x0()", "a+0x1()", "main+0x1()"], "svc.startd: 0x0 | a"),
    "what is called with something wrong": (["libc.so.1`strlen+0x2()", "a+0x1()"], "svc.startd: strlen | a"),
    "who sleeps is told by who sent it to sleep": (
        [
            "libc.so.6`clock_nanosleep+0x1()",
            "libc.so.6`nanosleep+0x1()",
            "libc.so.6`sleep+0x1()",
            "flush()",
            "main()",
        ],
        "svc.startd: flush",
    ),
    "asleep in main": (["libc.so.6`pause+0x1()", "main+0x1()"], "svc.startd: main"),
    "a panic of Rust that aborts": (
        [
            *("__rustc::__rust_abort()", "__rustc::__rust_start_panic()", "__rustc::rust_panic()"),
            *("core::panicking::panic_bounds_check()", "r::inner()", "r::main()"),
        ],
        "svc.startd: r::inner | r::main",
    ),
    "an exception where none may pass": (
        [
            *("libc.so.6`abort()", "libstdc++.so.6`__cxa_call_terminate()", "libstdc++.so.6`__gxx_personality_v0()"),
            *("libgcc_s.so.1`_Unwind_RaiseException_Phase2()", "libstdc++.so.6`__cxa_throw()", "thrower()", "main()"),
        ],
        "svc.startd: thrower",
    ),
    "inside of a library": (
        ["libc.so.1`_int_free+0x2()", "libc.so.1`free+0x2()", "a+0x1()"],
        "svc.startd: free | a",
    ),
    "a handler": (["libc.so.1`abort+0x2()", "<signal handler called>", "a+0x1()"], "svc.startd: a"),
    "mutual recursion": ([*["a+0x1()", "b+0x1()"] * 500, "c+0x1()", "d+0x1()"], "svc.startd: a | b | c"),
    "recursion": (["a+0x1()", *["a+0x9()"] * 500, "b+0x1()", "main+0x1()"], "svc.startd: a | b"),
    "only noise": (["libc.so.1`_lwp_kill+0x1()", "libc.so.1`abort+0x1()", "main+0x1()"], "svc.startd: main"),
    "only a library's noise": (
        ["libc.so.1`raise()", "libc.so.1`abort()", "libc.so.1`_lwp_start()"],
        "svc.startd: raise | abort",
    ),
    "only the beginning": (
        ["libc.so.1`_thrp_setup+0x1()", "libc.so.1`_lwp_start()"],
        "svc.startd: _thrp_setup | _lwp_start",
    ),
    "mangled": (
        ["libv8.so`_ZN2v88internal7RuntimeEv+0x31()", "a.part.0+0x1()"],
        "svc.startd: v8::internal::Runtime | a",
    ),
    "not text": ([5, None, {}, "a()"], "svc.startd: a"),  # type: ignore[list-item]
}


@pytest.mark.parametrize("case", STACKS)
def test_a_stack(case: str) -> None:
    stack, wanted = STACKS[case]
    assert signature_of(core(stack)) == wanted


def test_without_a_stack_there_is_none() -> None:
    for document in ({}, {"type": "core", "cmd": "a"}, core(None), core("a"), core([[]]), {"threads": [{}]}):
        assert signature_of(document) is None


def test_the_token_for_none_is_no_signature() -> None:
    assert signature_of({"type": "core", "stack": ["libx.so.1`undefined+0x1()"]}) == "undefined()"


def frame(pc: str, **more: Json) -> dict[str, Json]:
    return {"pc": pc, "trust": "cfi", **more}


def test_where_there_is_no_symbol_the_object_and_its_build_tell() -> None:
    """The same place of the same build, wherever it was mapped; another build is another place."""

    def told(base: int, build: str, offset: str = "0x1234") -> str | None:
        frames = [
            frame(f"{base:#x}", object="libfoo.so.1", offset=offset, build_id=build),
            frame(f"{base + 1:#x}", object="libbar.so.1", offset="0x77"),
            frame(f"{base + 2:#x}"),
        ]
        return signature_of(core([f"{base + n:#x}()" for n in range(3)], threads=[{"id": 1, "frames": frames}]))

    assert told(0x7F00, "c0ffee" * 6) == "svc.startd: libfoo.so.1+0x1234 (c0ffeec0ffee) | libbar.so.1+0x77"
    assert told(0x7F00, "c0ffee" * 6) == told(0x9900, "c0ffee" * 6)
    assert told(0x7F00, "c0ffee" * 6) != told(0x7F00, "beef" * 10)


def test_in_documents_of_older_programs_what_was_replaced_is_called_as_before() -> None:
    """The kernel's mark was a part of the name."""
    threads = [{"id": 1, "frames": [frame("0x7f00", object="apid (deleted)", offset="0x11bf", build_id="ab" * 20)]}]
    assert signature_of(core(["0x7f00()"], cmd="apid", threads=threads)) == "apid+0x11bf (abababababab)"


def test_a_runtime_without_symbols_is_noise() -> None:
    frames = [frame("0x7f00", object="libstdc++.so.6.0.30", offset="0x9d919", build_id="289ee39f8c07")]
    threads = [{"id": 1, "frames": frames}]
    assert signature_of(core(["libc.so.6`abort+0x1()", "0x7f00()", "a+0x1()"], threads=threads)) == "svc.startd: a"
    alone = signature_of(core(["0x7f00()"], threads=threads))
    assert alone == "svc.startd: libstdc++.so.6.0.30+0x9d919 (289ee39f8c07)"


def test_a_place_in_the_program_names_it() -> None:
    places = {"0x7f00": "svc.startd", "0x7f01": "libx.so.1"}
    frames = [frame(pc, object=name, offset="0x1", build_id="ab" * 20) for pc, name in places.items()]

    def told(*stack: str, **more: Json) -> str | None:
        return signature_of(core(list(stack), threads=[{"id": 1, "frames": frames}], **more))

    assert told("0x7f00()") == "svc.startd+0x1 (abababababab)"
    assert told("0x7f01()", "0x7f00()") == "libx.so.1+0x1 (abababababab) | svc.startd+0x1 (abababababab)"
    assert told("0x7f00()", "known+0x1()") == "svc.startd: svc.startd+0x1 (abababababab) | known"
    assert told("0x7f00()", cmd="other") == "other: svc.startd+0x1 (abababababab)"
    assert told("0x7f01()") == "svc.startd: libx.so.1+0x1 (abababababab)"


@pytest.mark.parametrize(
    "stack",
    [
        ["0x7f00()", "libc.so.6`gsignal+0x1()", "libc.so.6`abort+0x1()"],
        ["libc.so.6`pause+0x1()", "main+0x1()"],
        ["libfoo.so.1`bar+0x1()", "libfoo.so.1`call+0x1()", "libfoo.so.1`run+0x1()", "main+0x1()"],
    ],
)
def test_library_frames_alone_join_no_two_programs(stack: list[str]) -> None:
    """They are near to each other, and found so."""
    threads = [{"id": 1, "frames": [frame("0x7f00", object="libc.so.6", offset="0x8aeec", build_id="ab" * 20)]}]

    def of(program: str) -> str:
        path = f"/usr/bin/{program}"
        return str(signature_of(core(stack, os="linux", exec=path, threads=threads)))

    cppd, billingd = of("cppd"), of("billingd")
    assert (cppd.partition(": ")[0], billingd.partition(": ")[0]) == ("cppd", "billingd")
    assert [(other, near.score) for other, near in nearest(cppd, [cppd, billingd], 9)] == [(billingd, 99)]


def test_an_analyzers_stack_is_told_by_the_places_that_are_known() -> None:
    threads = [{"frames": [frame("0x7f00", object="a", offset="0x1")]}]
    assert signature_of(core(["0x7f00()", "0x7f01()"], threads=threads, stack_by="mdb")) == "svc.startd: a+0x1"


@pytest.mark.parametrize(
    ("more", "wanted"),
    [
        ({"os": "linux", "exec": "/usr/bin/worker (deleted)"}, "worker: a"),
        ({"os": "linux"}, "svc.startd: a"),
        ({"os": "illumos", "exec": "/lib/svc/bin/x"}, "svc.startd: a"),
        ({"cmd": None}, "a"),
        ({"cmd": "a: b | c\n" + "x" * 99}, None),
    ],
)
def test_the_program(more: dict[str, Json], wanted: str | None) -> None:
    signature = signature_of(core(["a+0x1()"], **more))
    assert signature is not None
    if wanted is None:
        assert signature.startswith("a:b|c x")
        assert len(signature) < 50
        assert parts(signature) == ["a"]
    else:
        assert signature == wanted


# ---- crash dumps ----------------------------------------------------------------------------------

PANICS = {
    'BAD TRAP: type=e (#pf Page fault) rp=ffffff00f5d0e9d0 addr=88 occurred in module "zfs"': (
        'BAD TRAP: type=e (#pf Page fault) rp=ADDR addr=ADDR occurred in module "zfs"'
    ),
    "assertion failed: 0 == 5 (0x0 == 0x5), file: dmu.c, line: 123": (
        "assertion failed: N == N (ADDR == ADDR), file: dmu.c, line: N"
    ),
    "deadman: timed out after 50 seconds on CPU 3, pid 1234": "deadman: timed out after N seconds on cpu N, pid N",
    "mutex_exit: bad mutex, lp=fffffe0a1b2c3d40 owner=deadbeefdeadbeef": "mutex_exit: bad mutex, lp=ADDR owner=ADDR",
    'I/O to pool "zones" appears to be hung': 'I/O to pool "zones" appears to be hung',
}


@pytest.mark.parametrize(("told", "normal"), PANICS.items())
def test_a_panic_string_and_the_stack(told: str, normal: str) -> None:
    document = {"type": "crash", "panicstring": told, "stack": ["vpanic()", "zfs`zfs_ioctl+0x1()", "fop_ioctl()"]}
    assert signature_of(document) == f"panic: {normal} | zfs_ioctl | fop_ioctl"
    assert parts(str(signature_of(document))) == [f"panic: {normal}", "zfs_ioctl", "fop_ioctl"]


def test_a_panic_of_many_causes_tells_nothing_by_itself() -> None:
    alone = {told: signature_of({"type": "crash", "panicstring": told}) for told in PANICS}
    assert [told for told, signature in alone.items() if signature is None] == [next(iter(PANICS))]
    assert signature_of({"type": "crash", "panicstring": "forced crash dump initiated at user request"}) is None
    assert signature_of({"type": "crash", "panicstring": ""}) is None
    assert signature_of({"type": "core", "panicstring": "deadman"}) is None


def test_two_panics_of_one_cause() -> None:
    one, other = (
        signature_of({"type": "crash", "panicstring": f"deadman: cpu {n}, pid {n}{n}, {n:#x}, {n:016x}"})
        for n in (3, 14)
    )
    assert one == other


# ---- the dumps that are there ---------------------------------------------------------------------


@pytest.mark.parametrize("name", WITH_STACK)
def test_ours_is_that_of_the_originals_document(name: str) -> None:
    """Our document has the threads, and more, that the original's lacks: its stack makes the same signature."""
    ours: dict[str, Any] = stacks_in(in_memory([vectors.load(name)]))
    document = {"type": "core", "cmd": "prog", "os": "illumos", "exec": "/a/b", **ours}
    signature = signature_of(document)
    assert signature == signature_of({"type": "core", "cmd": "prog", "stack": vectors.entry(name)["stack"]})
    assert signature
    assert signature.isprintable()


def test_what_crashes_together_in_the_vectors() -> None:
    told = [signature_of({"type": "core", "cmd": "p", "stack": vectors.entry(name)["stack"]}) for name in WITH_STACK]
    assert len(told) == 18
    assert sorted({each for each in told if each and told.count(each) > 1}) == [
        "p: free | nomem | zfs_do_send",
        "p: memcpy | ServerLoop | PostmasterMain",
        "p: nomem | zfs_do_send",
        "p: strlen | ngx_http_handler | ngx_process_events_and_timers | ngx_worker_process_cycle",
    ]


# ---- in a document --------------------------------------------------------------------------------


def test_a_document_gets_it_and_loses_it() -> None:
    info = DumpInfo({"id": "0" * 32, "revision": 7, **core(STARTD)})
    with_it = signed(info)
    assert with_it.document["signature"] == signature_of(info.document)
    assert with_it.document["signature_rules"] == current_rules().version
    assert with_it.revision == 7
    assert signed(with_it) is with_it
    without = signed(DumpInfo({**with_it.document, "stack": []}))
    assert not {*SIGNATURE_KEYS} & without.document.keys()


FRAMES = st.builds(
    lambda module, name, end: module + name + end,
    st.sampled_from(["", "libc.so.1`", "`", "LM1`a`"]) | HOSTILE,
    st.sampled_from(["main", "abort", "strlen", "0x0", "0x7f00", "a", "b"]) | HOSTILE,
    st.sampled_from(["()", "+0x1()", "+0x1(1, 2)", "", "+0xzz()"]),
)
FIELDS = {
    "type": st.sampled_from(["core", "crash", 5]),
    "cmd": st.none() | HOSTILE,
    "exec": st.none() | HOSTILE,
    "panicstring": st.none() | HOSTILE | st.just("BAD TRAP: 0x1"),
    "stack": st.none() | st.lists(FRAMES | st.integers(), max_size=8),
    "threads": st.none()
    | st.lists(
        st.fixed_dictionaries(
            {"frames": st.lists(st.dictionaries(st.sampled_from(["pc", "object", "offset", "build_id"]), HOSTILE))}
        ),
        max_size=2,
    ),
}


@given(st.fixed_dictionaries({}, optional=FIELDS))
def test_any_document(document: dict[str, Json]) -> None:
    info = DumpInfo({"id": "0" * 32, **document})
    once = signed(info)
    assert signed(once) is once
    signature = once.document.get("signature")
    if signature is not None:
        assert 0 < len(signature) <= LONGEST
        assert signature.isprintable()
        assert signature != "undefined"
        json.dumps(signature).encode("ascii")
    assert len(explain(document).frames) <= 8


def test_a_stack_without_end() -> None:
    names = [f"{'x' * 3000}{number}+0x1()" for number in range(5000)]
    assert len(str(signature_of(core(names)))) <= LONGEST


def test_names_that_take_long_are_few() -> None:
    name = "PLT=__GI_" * 90 + "abort" + ".cold@a" * 20
    judged = explain(core([f"{name}{'@' * number}+0x1()" for number in range(1000)])).frames
    assert [each.why for each in judged].count("too far out") > 800


# ---- rules ----------------------------------------------------------------------------------------


def test_every_rule_says_why_and_none_is_there_twice() -> None:
    rules = current_rules()
    groups = [*rules.skips, *rules.joins]
    assert all(each.why for each in [*groups, *rules.trims, *rules.panics, *rules.vague])
    names = [name for group in groups for name in group.exact]
    assert sorted(names) == sorted({*names})
    covered = [(name, group.why) for name in names for group in groups if group.pattern.fullmatch(name)]
    assert covered == []


@pytest.mark.parametrize(
    "text",
    [
        "version = ",
        "version = 0\nsignificant = 3\nlongest = 9",
        "version = 1",
        "version = 1\nsignificant = 1\nlongest = 1\n[[trim]]\nwhy = 'a'\npattern = '('",
        "version = 1\nsignificant = 1\nlongest = 1\n[[skip]]\nwhy = 'a'",
        "version = 1\nsignificant = 1\nlongest = 1\nskip = 5",
    ],
)
def test_rules_that_are_none(text: str) -> None:
    with pytest.raises(UsageError, match=r"^mine\.toml: not rules for signatures: "):
        parse_rules(text, "mine.toml")
