"""What a pass tells people and scripts, and with which status it ends."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import pytest

from sdc_thoth.ledger import SEEN_BEFORE
from sdc_thoth.limits import Limits
from sdc_thoth.notes import Amount, PassNote
from sdc_thoth.report import JsonReport, Speed, Tally, TextReport
from thoth import Identity, Outcome, Result

ID = Identity("80ff2fe97bcb03d6bbafd136d3da4ddc")
UNLIMITED = Limits()
REACHED = Outcome(Result.REACHED, "cn0")


def dump(result: Result, name: str = "core.1", **more: Any) -> Outcome:
    return Outcome(result, "cn0", f"/cores/{name}".encode(), size=1 << 20, **more)


def lines(
    outcomes: Iterable[Outcome],
    *,
    dry_run: bool = False,
    verbose: bool = False,
    rate: float | None = None,
    limits: Limits = UNLIMITED,
) -> list[str]:
    written: list[str] = []
    report = TextReport(written.append, dry_run=dry_run, verbose=verbose)
    for outcome in outcomes:
        report.take(outcome)
    report.end(1.25, Speed(rate, limits))
    return written


def document(
    outcomes: Iterable[Outcome], *, dry_run: bool = False, rate: float | None = None, limits: Limits = UNLIMITED
) -> dict[str, Any]:
    written: list[str] = []
    report = JsonReport(written.append, dry_run=dry_run)
    for outcome in outcomes:
        report.take(outcome)
    report.end(1.25, Speed(rate, limits))
    text = "".join(written)
    assert text.isascii() and "\x7f" not in text and "\x1b" not in text
    parsed: dict[str, Any] = json.loads(text)
    return parsed


# ---- the exit code -------------------------------------------------------------------------------------------------

_BAD = {
    Result.UNREACHABLE,
    Result.DENIED,
    Result.FAILED,
    Result.STORED_UNINDEXED,
    Result.CONFLICT,
}


@pytest.mark.parametrize("result", Result)
def test_the_exit_code_is_0_only_for_good_outcomes(result: Result) -> None:
    for outcome in (dump(result), Outcome(result, "cn0")):
        tally = Tally()
        for each in (dump(Result.STORED), outcome, REACHED):
            tally.count(each)
        assert tally.exit_code == (result in _BAD)


def test_no_outcome_at_all_is_good() -> None:
    assert Tally().exit_code == 0


def test_a_dump_that_waits_for_its_next_try_has_not_failed_again() -> None:
    tally = Tally()
    for outcome in (
        dump(Result.FAILED, stage="wait", detail=SEEN_BEFORE),
        dump(Result.FAILED, "core.2"),
        dump(Result.PRESENT, "core.3", detail=SEEN_BEFORE),
    ):
        tally.count(outcome)
    assert tally.amounts == {word: Amount(1, 1 << 20) for word in ("put-off", "failed", "present")}
    assert tally.exit_code == 1
    assert set(PassNote(0.0, 0.0, dumps=tally.amounts).news) == {"failed"}


# ---- for people ----------------------------------------------------------------------------------------------------


def test_a_dump_that_was_uploaded() -> None:
    assert lines([dump(Result.STORED, identity=ID, sent=1 << 20), REACHED]) == [
        f"uploaded /cores/core.1 from cn0 (1.00MB) as {ID}",
        "=== Completed ===",
        f"cn0: /cores/core.1: stored {ID}",
        "uploaded 1.00MB",
        "total run time 1.2s",
    ]


def test_a_dump_that_would_be_uploaded() -> None:
    assert lines([dump(Result.PLANNED, identity=ID, reason="new"), REACHED], dry_run=True) == [
        "would upload /cores/core.1 from cn0 (1.00MB)",
        "=== Completed ===",
        f"cn0: /cores/core.1: planned: new {ID}",
        "would upload 1.00MB in 1 dump",
        "total run time 1.2s",
    ]


def test_nothing_to_do_is_only_said_of_a_node_that_was_searched() -> None:
    present = dump(Result.PRESENT, identity=ID)
    assert "cn0: nothing to do" in lines([REACHED])
    assert "cn0: nothing to do" in lines([present, REACHED])
    shown = lines([present, REACHED], verbose=True)
    assert f"cn0: /cores/core.1: present {ID}" in shown and "cn0: nothing to do" not in shown
    for result in _BAD:
        bad = Outcome(result, "cn0", stage="connect", reason="why")
        assert f"cn0: {result.value} (connect): why" in lines([bad])
        assert not any("nothing to do" in line for line in lines([bad]))


def test_a_node_that_does_not_run() -> None:
    assert "cn0: not running" in lines([Outcome(Result.NOT_RUNNING, "cn0")])
    away = Outcome(Result.NOT_RUNNING, "cn0", stage="inventory", reason="its status is rebooting\x1b[2J")
    assert "cn0: not running: its status is rebooting\\x1b[2J" in lines([away])


def test_what_failed_says_where_and_why() -> None:
    failed = dump(Result.FAILED, stage="transfer", reason="was replaced", identity=ID)
    skipped = dump(Result.SKIPPED, "core.2", stage="discover", reason="a FIFO")
    shown = lines([failed, skipped, REACHED])
    assert "cn0: /cores/core.1: failed (transfer): was replaced" in shown
    assert "cn0: /cores/core.2: skipped: a FIFO" in shown


def test_names_and_reasons_are_escaped() -> None:
    odd = Outcome(Result.FAILED, "cn0", b"/cores/core.\x1b[2J\n\xff", size=1, stage="s", reason="\x1b[31m \u2028")
    (line,) = [line for line in lines([odd, REACHED]) if line.startswith("cn0: ")]
    assert line == "cn0: /cores/core.\\x1b[2J\\n\\xff: failed (s): \\x1b[31m \\u2028"


def of_node(node: str, result: Result, count: int, length: int = 0) -> list[Outcome]:
    path = f"/cores/{'x' * length}".encode()
    return [Outcome(result, node, path + b"%d" % number, size=1, reason="why") for number in range(count)]


def test_ten_thousand_dumps_are_told_one_by_one() -> None:
    stored = [dump(Result.STORED, f"core.{number}", identity=ID) for number in range(10_000)]
    assert len([line for line in lines([*stored, REACHED]) if line.startswith("cn0: ")]) == 10_000


def test_a_node_that_has_too_much_to_tell() -> None:
    """What does not fit is counted. That much went well takes no room from what did not, nor from other nodes."""
    flood = [*of_node("cn0", Result.SKIPPED, 3000, 4000), *of_node("cn0", Result.GONE, 10, 4000)]
    shown = lines([*flood, *of_node("cn0", Result.FAILED, 2), *of_node("cn1", Result.FAILED, 1), REACHED])
    assert sum(map(len, shown)) < 3 << 20
    assert "cn0: /cores/1: failed: why" in shown and "cn1: /cores/0: failed: why" in shown
    told = len([line for line in shown if line.startswith("cn0: /cores/x")])
    assert told > 100
    assert f"cn0: and {3010 - told} more: {3000 - told} skipped, 10 gone" in shown
    (more,) = [line for line in lines(of_node("cn0", Result.FAILED, 3000, 4000)) if " more: " in line]
    assert more.endswith(" failed")


def test_many_nodes_that_have_too_much_to_tell() -> None:
    shown = lines(
        each
        for node in range(60)
        for each in [*of_node(f"cn{node}", Result.SKIPPED, 600, 4000), *of_node(f"cn{node}", Result.FAILED, 10)]
    )
    assert sum(map(len, shown)) < 68 << 20
    assert [line for line in shown if ": failed: " in line] == [
        f"cn{node}: /cores/{number}: failed: why" for node in range(60) for number in range(10)
    ]


def test_a_node_of_which_no_line_fits_has_something_to_do() -> None:
    shown = lines([*of_node("cn0", Result.SKIPPED, 1, 3 << 20), REACHED])
    assert "cn0: and 1 more: 1 skipped" in shown and "cn0: nothing to do" not in shown


@pytest.mark.parametrize(
    ("seconds", "shown"), [(0.04, "0.0s"), (59.9, "59.9s"), (60, "0h01m00s"), (7325, "2h02m05s")]
)
def test_run_time(seconds: float, shown: str) -> None:
    written: list[str] = []
    TextReport(written.append, dry_run=False, verbose=False).end(seconds, None)
    assert written[-1] == f"total run time {shown}"


# ---- for scripts ---------------------------------------------------------------------------------------------------


def test_a_document_without_dumps() -> None:
    assert document([REACHED]) == {
        "version": 1,
        "dry_run": False,
        "dumps": [],
        "nodes": [{"node": "cn0", "result": "reached", "stage": None, "reason": None}],
        "bytes": 0,
        "counts": {},
        "limited": {},
        "seconds": 1.25,
    }


def test_what_is_told_of_each_dump() -> None:
    told = document([dump(Result.STORED, identity=ID, sent=1 << 20), dump(Result.CONFLICT, "core.2"), REACHED])
    first, second = told["dumps"]
    assert first == {
        "node": "cn0",
        "path": "/cores/core.1",
        "size": 1 << 20,
        "identity": ID,
        "known": False,
        "action": "uploaded",
        "result": "stored",
        "stage": None,
        "reason": None,
    }
    assert second["known"] is True and second["action"] == "none"
    assert told["bytes"] == 1 << 20
    assert told["counts"] == {"stored": 1, "conflict": 1}


def test_a_plan_counts_what_would_be_sent() -> None:
    told = document([dump(Result.PLANNED), dump(Result.PLANNED, "core.2"), REACHED], dry_run=True)
    assert told["dry_run"] is True and told["bytes"] == 2 << 20
    assert {each["action"] for each in told["dumps"]} == {"upload"}


def test_any_bytes_of_a_path_come_back() -> None:
    path = b"/cores/" + bytes(range(1, 256))
    told = document([Outcome(Result.GONE, "cn0", path), REACHED])
    assert told["dumps"][0]["path"].encode("utf-8", "surrogateescape") == path


# ---- how long it will take -----------------------------------------------------------------------------------------


def test_a_plan_tells_how_long_it_will_take_at_the_rate_of_the_last_passes() -> None:
    plan = [dump(Result.PLANNED, "core.1", identity=ID), dump(Result.PLANNED, "core.2", identity=ID), REACHED]
    told = document(plan, dry_run=True, rate=2048.0)
    assert (told["bytes"], told["rate"], told["estimated_seconds"]) == (1 << 20, 2048, 512.0)
    assert "would upload 1.00MB in 1 dump, about 0h08m32s at 2.00KB/s" in lines(plan, dry_run=True, rate=2048.0)


def test_a_plan_without_anything_to_go_by_or_to_send_tells_no_time() -> None:
    plan = [dump(Result.PLANNED, identity=ID)]
    for outcomes, rate in ((plan, None), ([REACHED], 2048.0)):
        told = document(outcomes, dry_run=True, rate=rate)
        assert (told["rate"], told["estimated_seconds"]) == (None if rate is None else 2048, None)
    assert "would upload 1.00MB in 1 dump" in lines(plan, dry_run=True)
    assert "rate" not in document([REACHED], rate=2048.0)


def test_amounts_and_what_still_changes() -> None:
    tally = Tally()
    for each in (
        dump(Result.STORED),
        dump(Result.STORED),
        dump(Result.SKIPPED, detail={"waiting": True}),
        dump(Result.SKIPPED),
        REACHED,
    ):
        tally.count(each)
    assert tally.amounts == {"stored": Amount(2, 2 << 20), "skipped": Amount(2, 2 << 20)}
    assert (tally.waiting, tally.node_counts) == (Amount(1, 1 << 20), {"reached": 1})
