"""The stacks of a core as gdb finds them: how it is asked, and what its answer means."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Final, NamedTuple

from thoth.analysis.debugger import BadReply, Subject
from thoth.analysis.gdb_mi import Line, Result, Value, records
from thoth.analysis.reach import Place
from thoth.dumps.stack import MOST_FRAMES, MOST_OTHER_FRAMES, ToldFrame

_MOST_THREADS: Final = 256
_SETTINGS: Final = (
    "set auto-load no",  # nothing that a core or a library brings along is run
    "set auto-load safe-path /nonexistent",  # an empty one would be the usual one
    "set libthread-db-search-path /nonexistent",
    "set backtrace past-main on",
    "set backtrace past-entry on",
    "set backtrace limit unlimited",
    "set width 0",
    "set height 0",
)
_HANDLER: Final = "<signal handler called>"
_CONTROL: Final = re.compile(rb"[\x00-\x1f\x7f]")
_LWP: Final = re.compile(r"\bLWP ([0-9]+)")
_FIRST: Final = 1000  # number of the command that asks for the frames of thread 0, which there is not


class _Place(NamedTuple):
    pc: int
    sp: int


def invocation(program: str, about: Subject, place: Place, *, servers: bool) -> tuple[str, ...]:
    """gdb without anybody's settings, before a core. ``servers``: it may ask debuginfod."""
    asks = "on" if servers else "off"
    settings = [*_SETTINGS, f"set debuginfod enabled {asks}", f"set solib-search-path {place.libraries}"]
    words = [word for each in settings for word in ("-iex", each)]
    return (
        program,
        "-nx",
        "-nh",
        "-q",
        "--interpreter=mi2",
        *words,
        "-c",
        str(about.dump),
        *([place.executable.path] if place.executable else []),
    )


def questions(threads: int, mark: str) -> bytes:
    """What it is asked for a core of so many threads, as lines of its stdin. The mark stands before each place."""
    threads = min(threads, _MOST_THREADS)
    places = f'printf \\"{mark} %d %lx %lx\\\\n\\", $_gthread, $pc, $sp'
    everywhere = f"thread apply all -q -s frame apply {MOST_FRAMES + 1} -q -s {places}"
    lines = ["1-thread-info", f'2-interpreter-exec console "{everywhere}"']
    for number in range(1, threads + 1):
        most = MOST_FRAMES if number == 1 else MOST_OTHER_FRAMES
        lines.append(f"{_FIRST + number}-stack-list-frames --thread {number} 0 {most}")
    return "\n".join([*lines, "-gdb-exit", ""]).encode()


def answers(output: str, mark: str, *, links: bool) -> dict[int, tuple[ToldFrame, ...]]:
    """The frames of each thread by its LWP, the innermost first. ``output`` has a character for each byte.

    ``links``: a call of this processor leaves the return address in a register. Raises BadReply.
    """
    replies: dict[int, Result] = {}
    printed: list[str] = []
    for each in records(output):
        if isinstance(each, Line):
            printed.append(each.text)
        else:
            replies[each.number] = each
    lwps, places = _lwps(replies.get(1)), _places("".join(printed), mark)
    found = {}
    for number, lwp in lwps.items():
        frames = _rows(replies.get(_FIRST + number), "stack")
        if frames:
            found[lwp] = tuple(_real(frames, places.get(number, ()), links=links))
    if not found:
        raise BadReply("gdb: told no frames")
    return found


def _rows(reply: Result | None, key: str) -> list[Mapping[str, Value]]:
    """The tuples of a list in a reply; none when gdb could not do it."""
    rows = reply.told.get(key, []) if reply and reply.kind == "done" else []
    return [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []


def _lwps(reply: Result | None) -> dict[int, int]:
    """gdb's number of each thread with the system's."""
    found = {}
    for row in _rows(reply, "threads"):
        number, target = row.get("id"), row.get("target-id")
        lwp = _LWP.search(target) if isinstance(target, str) else None
        if isinstance(number, str) and number.isdecimal() and lwp:
            found[int(number)] = int(lwp[1])
    return found


def _places(printed: str, mark: str) -> dict[int, list[_Place]]:
    """The places of each thread's frames. The mark, which nobody can guess, tells them from what a dump says."""
    found: dict[int, list[_Place]] = {}
    for thread, pc, sp in re.findall(rf"^{mark} ([0-9]+) ([0-9a-f]+) ([0-9a-f]+)$", printed, re.MULTILINE):
        found.setdefault(int(thread), []).append(_Place(int(pc, 16), int(sp, 16)))
    return found


def _real(frames: Sequence[Mapping[str, Value]], places: Sequence[_Place], *, links: bool) -> Iterator[ToldFrame]:
    """The frames of the stack: without functions that were inlined into the next, or have jumped to the one before.

    These have the next one's place on the stack, where a call would have moved it.
    """
    called = False
    addresses = [_address(frame) for frame in frames]
    if addresses != [place.pc for place in places[: len(frames)]]:
        raise BadReply("gdb: told two different stacks of one thread")
    for number, frame in enumerate(frames):
        if number + 1 < len(places) and _is_virtual(*places[number : number + 2], links=links):
            continue
        name = frame.get("func")
        signal = name == _HANDLER
        yield ToldFrame(addresses[number], called and not signal, None if signal else _function(name), signal)
        called = not signal


def _is_virtual(place: _Place, above: _Place, *, links: bool) -> bool:
    return place.sp == above.sp and (place.pc == above.pc or not links)


def _function(name: Value | None) -> bytes | None:
    """A function's name without control characters; None when gdb knows none."""
    if not isinstance(name, str) or name in ("", "??"):
        return None
    return _CONTROL.sub(b"?", name.encode("latin-1", "replace"))


def _address(frame: Mapping[str, Value]) -> int:
    told = frame.get("addr")
    if not isinstance(told, str) or not re.fullmatch("0x[0-9a-f]{1,16}", told):
        raise BadReply("gdb: told a frame without an address")
    return int(told, 16)
