"""Several that run analyzers on one dump: each analyzer is run by one of them, and what it has found stays."""

from __future__ import annotations

import os
import subprocess
import threading
from pathlib import Path
from typing import Any

import pytest

from tests.support.arrivals import CORE, CUT, NOW, take
from tests.support.rules import (
    FMRI,
    SECOND,
    TICKET,
    WatchedStore,
    analyzer,
    at_work,
    completed,
    counting,
    document,
    fifo,
    held,
    killed_before,
    record,
    results,
    told,
    whole,
    with_rules,
)
from thoth.analysis.rule_run import ELSEWHERE, LEFT_FOR, under_way
from thoth.edit import revise
from thoth.errors import StoreUnavailable
from thoth.library import Thoth
from thoth.model import DumpInfo, Json
from thoth.pending import RULES_BEGUN, RULES_PENDING, marked, pending_since, unmarked

HOST = os.uname().nodename
SKIPPED = {"f": ("skipped", ELSEWHERE)}


@pytest.fixture
def cache(ground: Path) -> Path:
    return ground / "cache"


def left(thoth: Thoth, store: WatchedStore, cache: Path, **who: Json) -> dict[str, Json]:
    """What somebody has left who was killed while the analyzer ran, ``who`` it was; the document then."""
    by = at_work(thoth, FMRI, cache=cache)
    dump = held(thoth, by)
    with killed_before(store, 2):
        by.finish(dump)

    def change(info: DumpInfo) -> DumpInfo:
        begun = info.document[RULES_BEGUN]
        assert isinstance(begun, dict)
        return info.changed(**{RULES_BEGUN: {**begun, **who}})

    return dict(revise(thoth, dump.identity, change).document)


def dead() -> int:
    """The number of a process that was."""
    with subprocess.Popen(["true"]) as process:
        pass
    return process.pid


class TestTwo:
    def test_what_one_has_begun_the_other_leaves_to_it(self, thoth: Thoth, ground: Path, cache: Path) -> None:
        with fifo(ground) as (path, written):
            times = counting(thoth, ground, "fmri", f"echo >{path}; read -r _ <{path}; thoth_set fmri x")
            after = {**TICKET, "depends": ["f"]}
            one, other = at_work(thoth, FMRI, after, cache=cache), at_work(thoth, cache=cache)
            first, second = held(thoth, one), held(thoth, other)
            found: list[Any] = []
            runner = threading.Thread(target=lambda: found.append(one.finish(first)))
            runner.start()
            written()
            begun = document(thoth)[RULES_BEGUN]
            left_alone = {"f": ("skipped", ELSEWHERE), "t": ("skipped", ELSEWHERE)}
            assert told(other.finish(second)) == left_alone
            assert told(completed(thoth, at_work(thoth, cache=cache))) == left_alone
            assert told(at_work(thoth, cache=cache).run(first.identity)) == left_alone
            assert document(thoth)[RULES_BEGUN] == begun
            path.write_text("\n")
            runner.join(30)
        assert isinstance(begun, dict)
        assert (begun["host"], begun["pid"]) == (HOST, os.getpid())
        assert (results(*found), times()) == ({"f": "matched", "t": "set"}, 1)
        assert document(thoth).keys().isdisjoint({RULES_BEGUN, RULES_PENDING})

    def test_F36_both_begin_at_the_same_moment(
        self, thoth: Thoth, store: WatchedStore, ground: Path, cache: Path
    ) -> None:
        """What the faster one has found stays, and the slower one runs nothing."""
        times = counting(thoth, ground, "fmri", "thoth_set fmri x")
        one, other = at_work(thoth, FMRI, cache=cache), at_work(thoth, cache=cache)
        first, second = held(thoth, one), held(thoth, other)
        store.before_put = lambda: one.finish(first)
        assert told(other.finish(second)) == SKIPPED
        after = document(thoth)
        assert (times(), after["autoanalyzed"]["f"]["set"], RULES_PENDING in after) == (
            1,
            {"properties.fmri": "x"},
            False,
        )

    def test_F36_between_two_analyzers_of_the_other(
        self, thoth: Thoth, store: WatchedStore, ground: Path, cache: Path
    ) -> None:
        """Then the rest is run by who came: by one of them all the same."""
        first, second = counting(thoth, ground, "fmri"), counting(thoth, ground, "second")
        one, other = at_work(thoth, FMRI, SECOND, cache=cache), at_work(thoth, cache=cache)
        dump, same = held(thoth, one), held(thoth, other)

        def at_the_next_but_one(then: Any) -> Any:
            return lambda: setattr(store, "before_put", lambda: setattr(store, "before_put", then))

        store.before_put = at_the_next_but_one(lambda: other.finish(same))  # begun, recorded; begun
        assert told(one.finish(dump)) == {"f": ("matched", None), "g": ("skipped", ELSEWHERE)}
        assert (first(), second(), RULES_PENDING in document(thoth)) == (1, 1, False)

    def test_the_mark_stays_while_another_is_under_way(
        self, thoth: Thoth, store: WatchedStore, ground: Path, cache: Path
    ) -> None:
        """Also where no rule would apply any more."""
        counting(thoth, ground, "fmri")
        left(thoth, store, cache)
        revise(thoth, take(thoth, CORE).info.id, lambda info: info.changed(type="odd"))
        assert not completed(thoth, at_work(thoth, cache=cache))
        assert document(thoth).keys() >= {RULES_BEGUN, RULES_PENDING}
        assert not completed(thoth, at_work(thoth, cache=cache, later=LEFT_FOR + 60))
        assert document(thoth).keys().isdisjoint({RULES_BEGUN, RULES_PENDING})

    def test_F34_what_a_better_dump_has_not_asked_for(
        self, thoth: Thoth, store: WatchedStore, ground: Path, cache: Path
    ) -> None:
        """What the analyzer has found in the cut one is not set on it."""
        times = counting(thoth, ground, "fmri", 'thoth_set of "$(json size <$THOTH_INFO)"')
        by = at_work(thoth, FMRI, cache=cache)
        dump = held(thoth, by, CUT)
        store.before_put = lambda: setattr(
            store, "before_put", lambda: take(thoth, CORE, rules=by.any_rules) and None
        )
        assert told(by.finish(dump)) == SKIPPED
        assert "of" not in document(thoth)["properties"]
        assert results(completed(thoth, by)) == {"f": "matched"}
        assert (document(thoth)["properties"]["of"], times()) == (len(CORE), 2)


class TestKilled:
    """An hour later, or at once where it is known that the process is gone."""

    def test_F30_another_hour(self, thoth: Thoth, store: WatchedStore, ground: Path, cache: Path) -> None:
        times = counting(thoth, ground, "fmri")
        left(thoth, store, cache, host="elsewhere", pid=dead())
        assert told(completed(thoth, at_work(thoth, cache=cache, later=LEFT_FOR - 60))) == SKIPPED
        assert results(completed(thoth, at_work(thoth, cache=cache, later=LEFT_FOR + 60))) == {"f": "matched"}
        assert (times(), document(thoth).keys() & {RULES_BEGUN, RULES_PENDING}) == (2, set())

    def test_F30_a_process_that_is_gone(self, thoth: Thoth, store: WatchedStore, ground: Path, cache: Path) -> None:
        times = counting(thoth, ground, "fmri")
        left(thoth, store, cache, pid=dead())
        assert results(completed(thoth, at_work(thoth, cache=cache))) == {"f": "matched"}
        assert (times(), document(thoth).keys() & {RULES_BEGUN, RULES_PENDING}) == (2, set())

    def test_F30_one_that_was_only_slow(self, thoth: Thoth, ground: Path, cache: Path) -> None:
        """What the other one has found in its place stays."""
        with fifo(ground) as (path, written):
            analyzer(thoth, "fmri", f"echo >{path}; read -r _ <{path}; thoth_set fmri slow")
            slow = at_work(thoth, FMRI, cache=cache)
            dump = held(thoth, slow)
            found: list[Any] = []
            runner = threading.Thread(target=lambda: found.append(slow.finish(dump)))
            runner.start()
            written()
            analyzer(thoth, "fmri", "thoth_set fmri new")
            assert results(completed(thoth, at_work(thoth, cache=cache, later=LEFT_FOR + 60))) == {"f": "matched"}
            before = document(thoth)
            path.write_text("\n")
            runner.join(30)
        assert told(*found) == SKIPPED
        assert document(thoth) == before
        assert before["properties"] == {"fmri": "new"}

    @pytest.mark.parametrize(
        ("begun", "expected"),
        [
            ({"time": NOW, "host": "elsewhere", "pid": 1}, True),
            ({"time": NOW, "host": HOST, "pid": 1}, True),
            ({"time": NOW, "host": HOST, "pid": 10**30}, True),
            ({"time": NOW, "host": HOST, "pid": -1}, True),
            ({"time": NOW, "host": HOST, "pid": "1"}, True),
            ({"time": NOW}, True),
            ({"time": NOW + 100}, True),
            ({"time": NOW + 2 * LEFT_FOR}, False),  # a clock that was wrong
            ({"time": NOW - LEFT_FOR}, False),
            ({"time": "now"}, False),
            ({"time": 1e300}, False),
            ({}, False),
            (NOW, False),
            (None, False),
        ],
    )
    def test_whether_it_may_be_running(self, begun: Json, expected: bool) -> None:
        assert under_way(DumpInfo({"id": "0" * 32, RULES_BEGUN: begun}), NOW) is expected

    def test_F25_what_it_has_changed_and_its_record_are_one_change(
        self, thoth: Thoth, store: WatchedStore, ground: Path, cache: Path
    ) -> None:
        """So who is killed has left a result, or none: also where it was run again, and had one before."""
        times = counting(thoth, ground, "fmri", f"thoth_ticket OS-$(wc -l <{ground}/fmri)")
        by = with_rules(thoth, FMRI, cache=cache)
        identity = take(thoth, CORE).info.id
        by.run(identity)
        with killed_before(store, 1):
            by.run(identity)
        assert document(thoth)["autoanalyzed"] == {"f": record(value={"ticket": "OS-1"})}
        store.calls.clear()
        by.run(identity)
        assert (times(), store.calls["put"], whole(thoth, identity).document["ticket"]) == (3, 1, "OS-3")
        assert document(thoth)["autoanalyzed"] == {"f": record(value={"ticket": "OS-3"})}


class TestInterrupted:
    """Whoever comes next need not wait."""

    def test_by_another_thread(self, thoth: Thoth, ground: Path, cache: Path) -> None:
        with fifo(ground) as (path, written):
            times = counting(thoth, ground, "fmri", f"[[ -p {path} ]] && echo >{path} && read -r _ <{path}")
            by = at_work(thoth, FMRI, cache=cache)
            dump = held(thoth, by)
            found: list[Any] = []
            runner = threading.Thread(target=lambda: found.append(by.finish(dump)))
            runner.start()
            written()
            by.cancel()
            runner.join(30)
        assert told(*found) == {"f": ("skipped", "was interrupted")}
        assert document(thoth).keys() & {RULES_BEGUN, RULES_PENDING} == {RULES_PENDING}
        counting(thoth, ground, "fmri")
        assert results(completed(thoth, at_work(thoth, cache=cache))) == {"f": "matched"}
        assert times() == 2

    @pytest.mark.parametrize("error", [KeyboardInterrupt(), StoreUnavailable("store: is gone")])
    def test_by_what_is_raised(
        self, thoth: Thoth, ground: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
    ) -> None:
        times = counting(thoth, ground, "fmri")
        by = at_work(thoth, FMRI, cache=cache)
        dump = held(thoth, by)

        def interrupted(*_: object) -> None:
            raise error

        monkeypatch.setattr(by, "_failure_of_analyzer", interrupted)
        with pytest.raises(type(error)):
            by._late(whole(thoth, dump.identity), {}, dump.pending, anew=False)
        assert document(thoth).keys() & {RULES_BEGUN, RULES_PENDING} == {RULES_PENDING}
        assert results(completed(thoth, at_work(thoth, cache=cache))) == {"f": "matched"}
        assert times() == 1


def test_a_new_mark_and_none_say_nothing_of_who_has_begun() -> None:
    info = DumpInfo({"id": "0" * 32, RULES_PENDING: 5, RULES_BEGUN: {"time": 6}})
    assert marked(info, 7).document == {"id": "0" * 32, RULES_PENDING: 7}
    assert (pending_since(unmarked(info)), RULES_BEGUN in unmarked(info).document) == (None, False)
