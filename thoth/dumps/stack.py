"""The stacks of a core's threads, frame by frame, from the file alone and the binaries that can be had.

Frames are written as mdb's ``$c 0`` prints them: ``libc.so.1`abort+0x10e()``. Every number of the dump may be a
lie: what is read, walked and kept has a bound.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import NamedTuple

from thoth.dumps.allowance import Allowance
from thoth.dumps.binaries import Binaries, NoBinaries
from thoth.dumps.elfcore import ElfCore
from thoth.dumps.loaded import Loaded
from thoth.dumps.modules import Modules, illumos_modules, linux_modules
from thoth.dumps.paged import PAGE, Paged
from thoth.dumps.source import ReadAt
from thoth.dumps.space import AddressSpace
from thoth.dumps.threads import Process, ThreadState, process_of
from thoth.dumps.unwind import Unwinder
from thoth.dumps.unwind_fp import Place, walk_frame_pointers

NOTES_LIMIT = 48 << 20  # bytes of a core that are read for its notes: a process may have 40,000 open files
CORE_LIMIT = 32 << 20  # and for its stacks
MOST_FRAMES = 1024  # of the thread that dumped
MOST_OTHER_FRAMES = 256  # of each other thread
ALL_FRAMES = 8192  # of all threads together


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame. ``offset`` is its address as its object was linked; None: not known.

    ``trust`` says how it was found: ``context`` (registers that the kernel saved), ``cfi``, ``frame-pointer``,
    ``return-address`` (what lay on top of the stack).
    """

    pc: int
    trust: str
    object: bytes | None = None  # path
    build_id: str | None = None
    offset: int | None = None
    symbol: bytes | None = None  # mangled, as the object has it
    symbol_offset: int = 0
    main: bool = False  # of the executable itself
    signal: bool = False  # the code that a signal's handler returns to
    alike: bool = False  # its file has no build-id, and was taken for the pages that the core holds of it

    @property
    def text(self) -> bytes:
        """The frame as ``$c 0`` of mdb prints it; a signal's trampoline, which illumos does not have, as gdb does."""
        if self.signal:
            return b"<signal handler called>"
        if self.symbol is None:
            return b"0x%x()" % self.pc
        prefix = b"" if self.main else (self.object or b"?").rpartition(b"/")[2] + b"`"
        offset = b"+0x%x" % self.symbol_offset if self.symbol_offset else b""
        return prefix + self.symbol + offset + b"()"


@dataclass(frozen=True, slots=True)
class Thread:
    """A thread's frames, the innermost first. ``cut``: there are more than were walked."""

    id: int
    signal: int | None
    frames: tuple[Frame, ...]
    cut: bool = False


@dataclass(frozen=True, slots=True)
class Stacks:
    """All threads that were walked, the one that dumped first; and the address that it could not use, if any."""

    threads: tuple[Thread, ...]
    fault_address: int | None = None


class ToldFrame(NamedTuple):
    """A frame that somebody else has found. ``name`` is its function's, if that is known there."""

    pc: int
    called: bool  # pc is a return address
    name: bytes | None = None
    signal: bool = False


@dataclass(frozen=True, slots=True)
class Told:
    """The stacks of a core as somebody else has found them, by thread; ``by`` becomes the trust of their frames."""

    by: str
    frames: Mapping[int, Sequence[ToldFrame]]


def read_stacks(
    source: ReadAt, binaries: Binaries | None = None, *, page: int = PAGE, told: Told | None = None
) -> Stacks | None:
    """The stacks of a core; None for a dump that has none which we could walk.

    ``page`` is how many bytes one read fetches at least: more where each costs a round trip. With ``told`` nothing is
    walked, and what is told gets its modules and symbols. Raises what ``source`` raises.
    """
    notes = ElfCore.from_source(Paged(source, Allowance(NOTES_LIMIT), page))
    process = process_of(notes) if notes else None
    if notes is None or process is None or not process.threads:
        return None
    core = ElfCore(Paged(source, Allowance(CORE_LIMIT), page), notes.header)
    walker = _Walker(core, process, binaries or NoBinaries(), told)
    return Stacks(tuple(walker.threads()), process.fault_address)


def process_in(source: ReadAt) -> Process | None:
    """What the notes of a core say of its process; None for what is none. Raises what ``source`` raises."""
    core = ElfCore.from_source(Paged(source, Allowance(NOTES_LIMIT)))
    process = process_of(core) if core else None
    return process if process and process.threads else None


def modules_in(source: ReadAt) -> Modules:
    """The executable and libraries of a core's process; none of what is no core. Raises what ``source`` raises."""
    core, process = ElfCore.from_source(Paged(source, Allowance(CORE_LIMIT))), process_in(source)
    return _modules(process, AddressSpace(core, process.machine), core) if core and process else Modules([])


def _modules(process: Process, space: AddressSpace, core: ElfCore) -> Modules:
    return (illumos_modules if process.system == "illumos" else linux_modules)(process, space, core)


class _Walker:
    """Walks the threads of one process."""

    def __init__(self, core: ElfCore, process: Process, binaries: Binaries, told: Told | None) -> None:
        self._core, self._process, self._told = core, process, told
        self._frames: dict[Place, Frame] = {}  # threads of a pool all stand in the same places
        self._space = AddressSpace(core, process.machine)
        self._loaded = Loaded(core, process, _modules(process, self._space, core), binaries)
        self._space.look_elsewhere(self._loaded.read)
        illumos = process.system == "illumos"
        self._unwinder = None if illumos else Unwinder(process, self._space, self._loaded, core.header.order)

    def threads(self) -> Iterator[Thread]:
        left = ALL_FRAMES
        for number, state in enumerate(self._process.threads):
            most = min(left, MOST_OTHER_FRAMES if number else MOST_FRAMES)
            frames = list(islice(self._frames_of(state), most + 1))
            left -= len(frames[:most])
            yield Thread(state.id, state.signal, tuple(frames[:most]), cut=len(frames) > most)

    def _frames_of(self, state: ThreadState) -> Iterator[Frame]:
        if self._told is None:
            return map(self._frame, self._places(state))
        by = self._told.by
        return (self._as_told(each, by) for each in self._told.frames.get(state.id, ()))

    def _as_told(self, told: ToldFrame, by: str) -> Frame:
        """Its name is the one that its file has, which is mangled; of one that has none the one that is told."""
        frame = self._frame(Place(told.pc, by, told.called, told.signal))
        return frame if told.name is None or frame.symbol else replace(frame, symbol=told.name)

    def _places(self, state: ThreadState) -> Iterator[Place]:
        if self._unwinder:
            return self._unwinder.walk(state)
        return walk_frame_pointers(state, self._space, self._process.machine, self._core.header.order)

    def _frame(self, place: Place) -> Frame:
        if place not in self._frames:
            self._frames[place] = self._named(place)
        return self._frames[place]

    def _named(self, place: Place) -> Frame:
        module = self._loaded.modules.at(place.pc)
        if module is None:
            return Frame(place.pc, place.trust, signal=place.signal)
        own = module.own(place.pc)
        symbol = self._loaded.symbol(module, place.pc - self._before(place))
        return Frame(
            place.pc,
            place.trust,
            object=module.name or None,
            build_id=self._loaded.build_id(module),
            offset=own,
            symbol=symbol.name if symbol else None,
            symbol_offset=own - symbol.value if symbol else 0,
            main=module.main,
            signal=place.signal,
            alike=self._loaded.alike(module),
        )

    def _before(self, place: Place) -> int:
        """How far before its address a frame's function is looked for: mdb looks at the address itself.

        A call that never returns may be the last of its function, and the return address then lies in the next.
        """
        return int(place.called and self._unwinder is not None)
