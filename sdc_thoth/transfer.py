"""Bringing one node's dumps into Thoth: each as one stream from the node into the store, and what is noted on it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from math import isfinite
from typing import Any

from sdc_thoth.arrivals import Arrivals
from sdc_thoth.ask import Asker, NotAFile, StillChanging
from sdc_thoth.binaries import NodeBinaries
from sdc_thoth.errors import NodeError
from sdc_thoth.identification import Identified, is_whole, ranges_of_facts
from sdc_thoth.inventory import Node
from sdc_thoth.ledger import RULES_PENDING, Ledger
from sdc_thoth.listing import Found
from sdc_thoth.press import Press
from sdc_thoth.protocol import About, Get
from thoth import (
    Arrival,
    Binaries,
    FirstOf,
    GatheringIndex,
    Identity,
    NoRoom,
    NotADump,
    Outcome,
    Range,
    Receipt,
    Result,
    Seekable,
    SourceDenied,
    SourceError,
    SourceGone,
    StoreError,
    StoreUnavailable,
    Thoth,
    ThothError,
    annotate,
    escaped,
    give_up,
    is_from_illumos,
    is_wanted,
    note_mdb_stacks,
    receive,
    size_text,
    text,
)

SMALL = 4 << 20  # bytes of a dump that is fetched together with others, and held in memory until it is stored
_SYSINFO = 64 << 10  # bytes of JSON of a node's sysinfo, which goes into the document of each of its dumps
_DEPTH = 64  # levels of a sysinfo; real ones have five
_DOCUMENTS = 8 << 20  # bytes of documents that may wait for the index
_TOO_LARGE = f"more than {_SYSINFO >> 10} KiB of JSON"
_WORD = 60.0  # seconds between words on a long transfer
_TOGETHER = 8 << 20  # bytes of small dumps that are fetched together
_INDEXED = (Result.STORED, Result.REPLACED, Result.PRESENT)  # what the index has to know


class Intake:
    """Takes a node's dumps in. ``clock`` gives seconds since 1970; ``elsewhere`` has what nodes have not."""

    def __init__(
        self,
        asker: Asker,
        node: Node,
        thoth: Thoth,
        arrivals: Arrivals,
        ledger: Ledger,
        *,
        press: Press,
        clock: Callable[[], float],
        say: Callable[[str], None],
        elsewhere: Binaries | None = None,
        node_stack: str = "native",
    ) -> None:
        self._ledger = ledger
        self._press = press
        self._asker = asker
        self._node = node
        self._thoth = thoth
        self._gathering = GatheringIndex(thoth.index)
        self._gathered = replace(thoth, index=self._gathering, store=thoth.store.gathering())
        self._arrivals = arrivals
        self._clock = clock
        self._say = say
        self._of_node = NodeBinaries(asker)
        self._elsewhere = [elsewhere] if elsewhere else []
        self._ask_mdb = node_stack == "mdb"
        self._properties: Mapping[str, Any] | None = None
        self.in_index: set[Identity] = set()  # dumps that have to be sent although the index may know them

    def arrival(self, dump: Identified, *, in_memory: bool) -> Arrival:
        """A dump that is about to be sent. Raises SourceError, NotADump and NodeError."""
        ranges = () if in_memory else ranges_of_facts(self._asker, dump)
        return self._arrival(dump.found, dump.identity, ranges)

    def is_whole(self, dump: Identified) -> bool:
        """Whether a dump is not cut short. Raises SourceError, NotADump and NodeError."""
        return is_whole(self._asker, dump)

    def annotate(self, found: Found, identity: Identity) -> Outcome | None:
        """Note on a dump that is in Thoth that this node has it too, and what the node is. Raises NodeError.

        None: the index speaks of it and the store, which is the truth, has it no more; or its document only.
        """
        stored = self._thoth.stored_info(identity)
        if stored is None or is_wanted(self._thoth, stored[0], found.size):
            return None
        arrival = self._arrival(found, identity, ())
        return self._outcome(arrival, found, self._thoth, lambda: self._annotated(arrival))

    def _annotated(self, arrival: Arrival) -> Receipt:
        if arrival.earlier is not None:  # it has come from elsewhere meanwhile
            give_up(self._thoth, arrival.identity, arrival.filename, arrival.size)
        return annotate(self._thoth, arrival)

    def store(self, arrival: Arrival, found: Found, stream: Iterable[bytes]) -> Outcome:
        """Send a dump into the store. StoreUnavailable and NodeError go through; all else is an outcome, also that
        the store has no room for it: there may be room for smaller ones. The outcome is to go through ``indexed``."""
        return self._outcome(arrival, found, self._gathered, lambda: self._received(arrival, found, stream))

    def _received(self, arrival: Arrival, found: Found, stream: Iterable[bytes]) -> Receipt:
        binaries = FirstOf([self._of_node.ration(), *self._elsewhere])
        rules = self._arrivals.any_rules
        receipt = receive(self._gathered, arrival, stream, now=self._clock(), binaries=binaries, rules=rules)
        return self._debugged(receipt, found) if self._ask_mdb and is_from_illumos(receipt) else receipt

    def _debugged(self, receipt: Receipt, found: Found) -> Receipt:
        """The same with the stacks that the node's own debugger tells, where they are better.

        A failure is told, no more.
        """
        try:
            asked, printed = self._asker.debugged(found)
            return replace(receipt, info=note_mdb_stacks(self._gathered, receipt.info, printed)) if asked else receipt
        except StoreUnavailable:
            raise
        except ThothError as error:
            self._say(f"{self._node.name}: {escaped(found.path)}: stacks: {escaped(str(error))}")
            return receipt

    @property
    def is_full(self) -> bool:
        """Whether what was stored has to go through ``indexed`` before more is: documents wait in memory."""
        return self._gathering.bytes >= _DOCUMENTS

    def indexed(self, outcomes: Sequence[Outcome]) -> Iterator[Outcome]:
        """Make what was stored durable and tell the index of it, of all together; the outcomes as they are then.

        Raises StoreUnavailable behind them when the store cannot do it.
        """
        try:
            self._gathered.store.flush()
        except StoreError as error:
            for each in outcomes:
                unsure = each.sent or each.result in _INDEXED  # one that was killed may have stored it
                yield replace(each, result=Result.FAILED, stage="store", reason=str(error)) if unsure else each
            if isinstance(error, StoreUnavailable):
                raise
            return
        lost = self._gathering.flush()
        for each in outcomes:
            why = lost.get(each.identity) if each.identity and each.result in _INDEXED else None
            if why is None:
                yield each
            else:
                yield replace(each, result=Result.STORED_UNINDEXED, stage="store", reason=why)

    def _streamed(self, dump: Identified) -> Seekable:
        """A large dump as a stream, which can be gone on with by another run."""
        return Seekable(
            lambda at: self._told(dump.found, at),
            lambda prefix: self._ledger.came(dump.found, dump.identity, prefix),
        )

    def _told(self, found: Found, at: int) -> Iterator[bytes]:
        """The stream from there on, with a word a minute on how far it is."""
        what, size = f"{self._node.name}: {escaped(found.path)}", size_text(found.size)
        done, next_word = at, time.monotonic() + _WORD
        if at:
            self._say(f"{what}: goes on behind {size_text(at)} of {size}")
        for block in self._press.stream(self._asker, found, at):
            yield block
            done += len(block)
            if time.monotonic() >= next_word:
                next_word += _WORD
                self._say(f"{what}: {size_text(done)} of {size}")

    def groups(self, dumps: Sequence[Identified], most: int | None = None) -> Iterator[tuple[list[Identified], int]]:
        """The dumps in groups whose bodies are asked for together, ``most`` in each, with the bytes that these take
        in memory: those that are there already, small ones, and each large one, which is a stream and takes next to
        nothing. Each kind keeps its order.
        """
        most = most or len(dumps)
        here = [dump for dump in dumps if not dump.known.missing([Range(0, dump.found.size)])]
        for start in range(0, len(here), most or 1):
            yield here[start : start + most], 0
        away = [dump for dump in dumps if dump.known.missing([Range(0, dump.found.size)])]
        for together in _up_to([dump for dump in away if dump.found.size <= SMALL], _TOGETHER, most):
            yield together, sum(dump.found.size for dump in together)
        for dump in away:
            if dump.found.size > SMALL:
                yield [dump], 0

    def bodies(self, group: Sequence[Identified]) -> Iterator[Iterable[bytes] | SourceError]:
        """The bytes of each dump of a group: a list when they are in memory, else a stream. Raises NodeError."""
        first = group[0]
        size = first.found.size
        if not first.known.missing([Range(0, size)]):
            yield from ([dump.known.read_at(0, dump.found.size)] for dump in group)
        elif size > SMALL:
            yield self._streamed(first)
        else:
            for body in self._asker.fetch([Get(dump.found) for dump in group]):
                yield [body] if isinstance(body, bytes) else body

    def _arrival(self, found: Found, identity: Identity, ranges: Iterable[Range]) -> Arrival:
        source = {"node": self._node.name, "path": text(found.path), "mtime": found.signature.mtime}
        if found.signature.links > 1:
            source["links"] = found.signature.links
        return Arrival(
            identity=identity,
            size=found.size,
            mtime=found.signature.mtime,
            filename=found.name,
            ranges=tuple(ranges),
            node=self._node.name,
            source=source,
            properties=self._about_node(),
            earlier=self._ledger.begun(found),
            in_index=identity in self.in_index,
        )

    def _about_node(self) -> Mapping[str, Any]:
        if self._properties is None:
            self._properties = {"sysinfo": sysinfo_of(self._asker.about(), self._node.name, self._say)}
        return self._properties

    def _outcome(self, arrival: Arrival, found: Found, thoth: Thoth, work: Callable[[], Receipt]) -> Outcome:
        try:
            receipt = work()
        except NoRoom as error:
            return failed(self._node, found, error, "store", arrival.identity)
        except (StoreUnavailable, NodeError):
            raise
        except ThothError as error:
            return failed(self._node, found, error, "transfer", arrival.identity)
        # One that was there, and that the index cannot be told of, is looked at again when it can.
        present = receipt.result is Result.STORED_UNINDEXED and not receipt.sent
        pending = not present and self._arrivals.take(receipt, thoth)
        return Outcome(
            receipt.result,
            self._node.name,
            found.path,
            arrival.identity,
            found.size,
            receipt.sent,
            None if receipt.result.good else "store",
            receipt.reason or ("cut short" if receipt.info.complete is False else None),
            RULES_PENDING if pending else {},
        )


def failed(node: Node, found: Found, error: Exception, stage: str, identity: Identity | None = None) -> Outcome:
    """What an error that concerns one dump means for it."""
    result, reason = Result.FAILED, str(error)
    detail = {"waiting": True} if isinstance(error, StillChanging) else {}
    if isinstance(error, SourceGone):
        result = Result.GONE
    elif isinstance(error, SourceDenied):
        result = Result.DENIED
    elif isinstance(error, StillChanging | NotAFile):
        result = Result.SKIPPED
    elif isinstance(error, NotADump):
        result, reason = Result.SKIPPED, f"not a dump: {reason}"
    return Outcome(result, node.name, found.path, identity, found.size, 0, stage, reason, detail)


def _up_to(dumps: Sequence[Identified], total: int, most: int) -> Iterator[list[Identified]]:
    """The dumps in runs of no more than ``most``, and of no more than ``total`` bytes, or of one."""
    run: list[Identified] = []
    held = 0
    for dump in dumps:
        if run and (held + dump.found.size > total or len(run) == most):
            yield run
            run, held = [], 0
        run.append(dump)
        held += dump.found.size
    if run:
        yield run


def sysinfo_of(about: About, name: str, say: Callable[[str], None]) -> Mapping[str, Any]:
    """The node's own sysinfo with ``_`` for blanks in names; else host name, OS and release under the same names."""
    if about.sysinfo is None or about.sysinfo.strip():
        try:
            return _kept(about.sysinfo)
        except ValueError as error:
            say(f"{name}: its sysinfo is {error}; noting host name and release only")
    return {
        "Hostname": about.node,
        "System_Type": about.system,
        "Release": about.release,
        "Version": about.version,
        "Machine": about.machine,
    }


def _kept(printed: bytes | None) -> Mapping[str, Any]:
    """Raises ValueError, which says what a sysinfo is that is not kept."""
    if printed is None:
        raise ValueError(_TOO_LARGE)
    try:
        told = _underscored(json.loads(printed))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"not JSON that we can keep ({error})") from error
    if not isinstance(told, dict):
        raise ValueError("not a JSON object")  # noqa: TRY004 - as all that a node may say and should not
    if len(json.dumps(told)) > _SYSINFO:
        raise ValueError(_TOO_LARGE)
    return told


def _underscored(value: Any, depth: int = 0) -> Any:
    """Raises ValueError for what json.loads reads and a document cannot hold."""
    if depth > _DEPTH:
        raise ValueError(f"nested more than {_DEPTH} deep")
    if isinstance(value, dict):
        return {key.replace(" ", "_"): _underscored(item, depth + 1) for key, item in value.items()}
    if isinstance(value, list):
        return [_underscored(item, depth + 1) for item in value]
    if isinstance(value, float) and not isfinite(value):
        raise ValueError(f"{value} is no number of JSON")
    return value
