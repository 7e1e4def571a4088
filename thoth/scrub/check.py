"""All dumps of a user, several at a time, and what lies beside them."""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice, product
from threading import Event
from typing import Final, TypeVar

from thoth.library import Thoth
from thoth.maintain import UPLOADING
from thoth.model import Identity
from thoth.naming import is_identity
from thoth.scrub.dump import Examined, Examiner, answered, ghost, noun
from thoth.scrub.findings import Clock, Finding, Kind, Scrubbed
from thoth.store.names import analyzers_dir, autoanalyzers_dir, config_name, dump_dir, home, jobs_dir, logs_dir

_EVERYTHING: Final = (1 << 63) - 1
_PREFIXES: Final = tuple(first + second for first, second in product("0123456789abcdef", repeat=2))

_Item = TypeVar("_Item")
_Answer = TypeVar("_Answer")


def scrub(
    thoth: Thoth, identities: Iterable[Identity], clock: Clock, *, quick: bool = False, workers: int = 1
) -> Generator[Scrubbed, None, None]:
    """Check these dumps, each once, in no promised order; ``workers`` of them at the same time.

    With ``quick`` the objects' sizes are checked and not their content. What cannot be read is a finding. Raises
    StoreUnavailable and IndexFailure, since no other dump would fare better. Memory stays flat.
    """
    stop = Event()
    examiner = Examiner(thoth, clock, quick, stop)
    suspects: deque[Examined] = deque()
    empty: list[Identity] = []
    with ThreadPoolExecutor(workers, "scrub") as pool:
        try:
            for examined in _in_order(pool, examiner.examine, identities, 4 * workers):
                if examined.state.is_empty:
                    empty.append(examined.identity)
                elif examined.findings:
                    suspects.append(examined)
                else:
                    yield examined.scrubbed
                while suspects and suspects[0].due <= clock.monotonic():
                    yield examiner.confirmed(suspects.popleft())
            while suspects:
                clock.sleep(max(0.0, suspects[0].due - clock.monotonic()))
                yield examiner.confirmed(suspects.popleft())
        finally:
            stop.set()
            pool.shutdown(cancel_futures=True)
    yield from _without_anything(thoth, empty, clock)


def strays(thoth: Thoth) -> Iterator[Finding]:
    """What lies beside the dumps and is nothing of ours. Raises StoreError."""
    top = home(thoth.user)
    ours = (analyzers_dir(thoth.user), autoanalyzers_dir(thoth.user), jobs_dir(thoth.user), logs_dir(thoth.user))
    known = {(each.rpartition("/")[2], True) for each in ours}
    known.add((config_name(thoth.user).rpartition("/")[2], False))
    for entry in thoth.store.list(top):
        if (entry.name, entry.directory) not in known and not (entry.directory and is_identity(entry.name)):
            name = f"{top}/{entry.name}"
            what = f"{noun(entry)} that is nothing of ours; find out whose it is, move it away"
            yield Finding(Kind.STRAY, what, None, name)


def unfinished(thoth: Thoth) -> Iterator[Finding]:
    """What uploads have left that ended early and that none goes on with now. Raises StoreError."""
    for each in thoth.store.unfinished(home(thoth.user)):
        what = f"an upload that ended early holds {each.size} bytes; the next one of the same dump may go on with it"
        yield Finding(Kind.UNFINISHED, what, None, each.name)


def ghosts(thoth: Thoth, stored: Sequence[Identity], clock: Clock) -> Iterator[Finding]:
    """The dumps of which the index knows and the store has nothing.

    ``stored``: those that the store had, sorted, as ``thoth.maintain.stored_identities`` gives them. Raises
    StoreError and IndexFailure.
    """
    for prefix in _PREFIXES:  # short questions, and memory stays flat
        rows = answered(clock, thoth.index.named, prefix, _EVERYTHING)
        there = stored[bisect_left(stored, prefix) : bisect_left(stored, prefix + "g")]
        for identity in sorted({*rows}.difference(there)):
            if next(iter(thoth.store.list(dump_dir(thoth.user, identity))), None) is None:
                yield ghost(identity)


def _without_anything(thoth: Thoth, identities: Sequence[Identity], clock: Clock) -> Iterator[Scrubbed]:
    """Dumps of which neither store nor index has anything, but perhaps a directory."""
    wanted = {*identities}
    entries = {each.name: each for each in thoth.store.list(home(thoth.user)) if each.name in wanted}
    for identity in identities:
        name = dump_dir(thoth.user, identity)
        entry = entries.get(identity)
        findings: tuple[Finding, ...] = ()
        if entry is None:
            findings = (Finding(Kind.LOST, "neither store nor index has anything of it", identity),)
        elif entry.mtime <= clock.now() - UPLOADING and next(iter(thoth.store.list(name)), None) is None:
            findings = (Finding(Kind.STRAY, "an empty directory", identity, name),)
        yield Scrubbed(identity, 0, findings)


def _in_order(
    pool: ThreadPoolExecutor, work: Callable[[_Item], _Answer], items: Iterable[_Item], ahead: int
) -> Iterator[_Answer]:
    """The answers in the order of the items, of which at most ``ahead`` wait."""
    left = iter(items)
    waiting: deque[Future[_Answer]] = deque(pool.submit(work, each) for each in islice(left, ahead))
    while waiting:
        yield waiting.popleft().result()
        waiting.extend(pool.submit(work, each) for each in islice(left, 1))
