"""The stacks of a dump as keys of its document: ``stack``, ``threads``, ``fault_address``.

``stack`` is that of the thread that dumped, as the original has it: mdb's lines. ``threads`` has all of them, so
many frames of each. Addresses are hex text, since JSON's readers round numbers as large as these. Whatever goes
wrong, a dump is stored: ``stack_failed`` then says what did.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final

from thoth.dumps.binaries import Binaries
from thoth.dumps.paged import PAGE
from thoth.dumps.source import ReadAt
from thoth.dumps.stack import Frame, Stacks, Thread, read_stacks
from thoth.model import Json, text
from thoth.store.base import ObjectStore

STACK_KEYS: Final = ("stack", "threads", "fault_address", "stack_failed")

# Of a document, so that it stays small among a million others; the largest that they allow has some MiB.
MOST_THREADS: Final = 256
MOST_FRAMES: Final = 128  # of the thread that dumped, in ``threads``; ``stack`` has all that were walked
MOST_OTHER_FRAMES: Final = 32  # of each other thread
ALL_FRAMES: Final = 2048  # of all threads together
LONGEST_NAME: Final = 1024  # bytes of a symbol or an object's name
_STORED_PAGE = 1 << 16  # bytes: what a request to a store is worth

FindStacks = Callable[[], Mapping[str, Json]]


def stacks_in(source: ReadAt, binaries: Binaries | None = None, *, page: int = PAGE) -> dict[str, Json]:
    """The keys for a dump; none when it has no stack that we could walk. It raises nothing."""
    return _told(lambda: read_stacks(source, binaries, page=page))


def stored_stacks(store: ObjectStore, name: str, binaries: Binaries | None = None) -> dict[str, Json]:
    """The same for a dump in the store, of which only what is needed is read."""

    def read() -> Stacks | None:
        with store.open(name) as source:
            return read_stacks(source, binaries, page=_STORED_PAGE)

    return _told(read)


def _told(read: Callable[[], Stacks | None]) -> dict[str, Json]:
    try:
        stacks = read()
    except Exception as error:  # noqa: BLE001 - a dump is kept whatever its numbers do to us; its document says it
        return {"stack_failed": f"{type(error).__name__}: {error}"}
    return {} if stacks is None else keys_of(stacks)


def keys_of(stacks: Stacks) -> dict[str, Json]:
    """The keys for stacks that were read, with as much of them as a document is to hold."""
    keys: dict[str, Json] = {}
    frames = stacks.threads[0].frames
    if frames:
        keys["stack"] = [_short(frame.text) for frame in frames]
    keys["threads"] = list(_threads(stacks.threads[:MOST_THREADS]))
    if stacks.fault_address is not None:
        keys["fault_address"] = f"{stacks.fault_address:#x}"
    return keys


def _threads(threads: Sequence[Thread]) -> Iterator[dict[str, Json]]:
    left = ALL_FRAMES
    for number, thread in enumerate(threads):
        most = min(left, MOST_OTHER_FRAMES if number else MOST_FRAMES)
        left -= min(most, len(thread.frames))
        yield _thread(thread, most)


def _thread(thread: Thread, most: int) -> dict[str, Json]:
    """A thread; ``cut`` where it has frames that are not told of."""
    told: dict[str, Json] = {"id": thread.id}
    if thread.signal is not None:
        told["signal"] = thread.signal
    told["frames"] = [_frame(frame) for frame in thread.frames[:most]]
    if thread.cut or len(thread.frames) > most:
        told["cut"] = True
    return told


def _frame(frame: Frame) -> dict[str, Json]:
    """A frame without what is not known; ``object`` is the last part of its path."""
    told: dict[str, Json] = {"pc": f"{frame.pc:#x}", "trust": frame.trust}
    if frame.object:
        told["object"] = _short(frame.object.rpartition(b"/")[2])
    if frame.build_id:
        told["build_id"] = frame.build_id
    if frame.offset is not None:
        told["offset"] = f"{frame.offset:#x}"
    if frame.symbol is not None:
        told["symbol"] = _short(frame.symbol)
    if frame.signal:
        told["signal"] = True
    if frame.alike:
        told["alike"] = True
    return told


def _short(name: bytes) -> str:
    """A name, without its end where that is longer than any compiler's."""
    return text(name if len(name) <= LONGEST_NAME else name[:LONGEST_NAME] + b"...")
