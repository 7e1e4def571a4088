"""Rules of the autoanalyzers, and who holds dumps against them."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from tests.support.arrivals import CORE, NOW, take
from tests.support.memory_store import MemoryStore
from thoth.analysis.autoanalyze import Autoanalyzer, Held
from thoth.analysis.rules import parse_rules
from thoth.analysis.stored_rules import upload_rules
from thoth.analysis.verdicts import Verdict
from thoth.config import environment
from thoth.errors import StoreError
from thoth.library import Thoth
from thoth.model import DumpInfo, Identity, Json
from thoth.store.names import analyzer_name

TICKET = {"name": "t", "version": 1, "matches": ["type=core"], "ticket": "OS-1"}
TRIAGE = {"name": "p", "version": 1, "matches": ["cmd=utmpd"], "property": {"name": "triage.by", "value": "bmc"}}
FMRI = {"name": "f", "version": 1, "matches": ["type=core"], "analyzer": "fmri"}
SECOND = {**FMRI, "name": "g", "analyzer": "second"}


class WatchedStore(MemoryStore):
    """Counts the calls that reach it; ``before_put`` is done once, before the next small object is written."""

    def __init__(self) -> None:
        super().__init__(now=lambda: NOW)
        self.calls: Counter[str] = Counter()
        self.before_put: Callable[[], object] | None = None
        self.before_list: Callable[[], object] = lambda: None
        self.failure: StoreError | None = None

    def _called(self, name: str) -> None:
        self.calls[name] += 1
        if self.failure is not None:
            raise self.failure

    def get(self, name: str) -> tuple[bytes, str]:
        self._called("get")
        return super().get(name)

    def list(self, name: str, *, most: int | None = None) -> Any:
        self._called("list")
        self.before_list()
        return super().list(name, most=most)

    def stat(self, name: str) -> Any:
        self._called("stat")
        return super().stat(name)

    def put(self, name: str, data: bytes, *, if_match: str | None = None) -> str:
        self._called("put")
        before, self.before_put = self.before_put, None
        if before:
            before()
        return super().put(name, data, if_match=if_match)


def with_rules(thoth: Thoth, *documents: Any, said: list[str] | None = None, cache: Path = Path("/nowhere")) -> Any:
    """An autoanalyzer whose store has these rules; what it says goes into ``said``, or has to be nothing."""
    if documents:
        upload_rules(thoth, parse_rules(json.dumps(documents).encode(), "x"))
    say = pytest.fail if said is None else said.append
    return Autoanalyzer(thoth, cache=cache, environ=environment(), clock=lambda: NOW, say=say)


def analyzer(thoth: Thoth, name: str, script: str) -> None:
    thoth.store.put(analyzer_name("bmc", name), script.encode())


def whole(thoth: Thoth, identity: Identity) -> DumpInfo:
    """The dump's document, of which store and index say the same."""
    found = thoth.stored_info(identity)
    assert found is not None
    assert thoth.index.get(identity) == found[0]
    return found[0]


def told(verdicts: Any) -> dict[str, tuple[str, str | None]]:
    return {each.rule: (each.result.value, each.reason) for each in verdicts}


def results(verdicts: Any) -> dict[str, str]:
    return {each.rule: each.result.value for each in verdicts}


def arrive(thoth: Thoth, held_by: Autoanalyzer, data: bytes = CORE) -> tuple[Verdict, ...]:
    receipt = take(thoth, data)
    held = held_by.arrived(receipt.result, receipt.info)
    return held_by.finish(held) if held.waiting else held.verdicts


def record(version: int = 1, value: Json = None, **more: Json) -> dict[str, Json]:
    return {"version": version, "set": value, "time": NOW, **more}


@contextmanager
def fifo(ground: Path) -> Iterator[tuple[Path, Callable[[], str]]]:
    """A pipe that analyzers can reach, and what returns when one of them has written to it."""
    path = ground / "fifo"
    os.mkfifo(path)
    path.chmod(0o666)
    yield path, path.read_text


# ---- rules that are pending -------------------------------------------------------------------------


def at_work(thoth: Thoth, *rules: Any, cache: Path = Path("/nowhere"), later: float = 0) -> Autoanalyzer:
    """Who takes dumps in, on a clock that goes on: each look is a second later. It begins so many seconds later."""
    with_rules(thoth, *rules)
    times = count(NOW + later + 1)
    return Autoanalyzer(thoth, cache=cache, environ=environment(), clock=lambda: next(times), say=pytest.fail)


def held(thoth: Thoth, by: Autoanalyzer, data: bytes = CORE) -> Held:
    """A dump that comes, or comes again, as far as its document needs."""
    receipt = take(thoth, data, rules=by.any_rules)
    return by.arrived(receipt.result, receipt.info)


def completed(thoth: Thoth, by: Autoanalyzer, data: bytes = CORE) -> tuple[Verdict, ...]:
    """The same, and the analyzers."""
    each = held(thoth, by, data)
    return each.verdicts + (by.finish(each) if each.waiting else ())


def document(thoth: Thoth, data: bytes = CORE) -> dict[str, Json]:
    return dict(whole(thoth, take(thoth, data).info.id).document)


def counting(thoth: Thoth, ground: Path, name: str, then: str = "") -> Callable[[], int]:
    """An analyzer that counts how often it is run; how often that was."""
    ran = ground / name
    ran.touch()
    ran.chmod(0o666)
    analyzer(thoth, name, f"echo >>{ran}; {then}")
    return lambda: len(ran.read_text())


@contextmanager
def killed_before(store: WatchedStore, writes: int) -> Iterator[None]:
    """Whoever works in the context is killed before it writes for the n-th time, and writes nothing more."""
    left = count(1)

    def write() -> None:
        store.before_put = write
        if next(left) >= writes:
            raise KeyboardInterrupt

    store.before_put = write
    with pytest.raises(KeyboardInterrupt):
        yield
    store.before_put = None
