"""What gdb says of a core's stacks, and how it compares with what we say."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from tests.support.roots import program
from thoth.dumps.stack import Frame, Stacks

SCRIPT = Path(__file__).with_name("gdb_frames.py")
NOWHERE = "/nonexistent"  # where neither side is to look for symbols that were stripped

_PATIENCE = 60.0  # seconds
_SETTINGS = (
    f"set debug-file-directory {NOWHERE}",
    "set debuginfod enabled off",
    "set print demangle off",
    "set backtrace past-main on",
    "set backtrace past-entry on",
)

Backtrace = Sequence[tuple[int, str]]  # pc and function of each frame, the innermost first


def gdb_backtraces(executable: Path, core: Path, *, demangled: bool = False) -> Mapping[int, Backtrace]:
    """Each thread's frames as gdb finds them, by the thread's id; with the names of C++ and Rust as in the files."""
    shown = [each for each in _SETTINGS if not (demangled and "demangle" in each)]
    steps = [*shown, f"file {executable}", f"core-file {core}", f"source {SCRIPT}"]
    script = [part for step in steps for part in ("-ex", step)]
    ended = subprocess.run(
        [str(program("gdb")), "-nx", "-batch", *script],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=_PATIENCE,
        check=True,
    )
    found: dict[int, list[tuple[int, str]]] = {}
    for line in ended.stdout.splitlines():
        if line.startswith("FRAME "):
            _, thread, pc, name = line.split(" ", 3)
            found.setdefault(int(thread), []).append((int(pc, 16), name))
    assert found, ended.stdout + ended.stderr
    return found


@dataclass(frozen=True, slots=True)
class Comparison:
    """How many frames there are, and how many of them are the same function at the same place."""

    frames: int
    equal: int
    different: tuple[str, ...]  # a line for each other one


def compared(stacks: Stacks, backtraces: Mapping[int, Backtrace]) -> Comparison:
    """Our frames against gdb's, of all threads; where we have cut a stack, as far as it goes."""
    equal, frames, different = 0, 0, []
    for thread in stacks.threads:
        theirs = backtraces.get(thread.id, ())
        length = len(thread.frames) if thread.cut else max(len(thread.frames), len(theirs))
        frames += length
        for place in range(length):
            ours = thread.frames[place] if place < len(thread.frames) else None
            other = theirs[place] if place < len(theirs) else None
            if ours and other and ours.pc == other[0] and is_function(ours, other[1]):
                equal += 1
            else:
                different.append(f"{thread.id} #{place}: {ours and ours.text!r}, gdb: {other}")
    return Comparison(frames, equal, tuple(different))


def is_function(frame: Frame, name: str) -> bool:
    """Whether gdb means the same function, by whichever of its names; of one without a name, whether it has none."""
    if frame.signal:
        return name == "<signal handler called>"
    if frame.symbol is None:
        return name == "?"
    own = frame.symbol.decode()
    # What is cut out of a function by the compiler has a suffix, which debug information does not know.
    if name.partition(".")[0] == own.partition(".")[0]:
        return True
    places = _places(frame.object.decode()) if frame.object else {}
    return bool(places.get(own, frozenset()) & places.get(name, frozenset()))


@cache
def _places(path: str) -> Mapping[str, frozenset[str]]:
    """Where each function of a file is, in nm's words."""
    found: dict[str, frozenset[str]] = {}
    for table in ([], ["-D"]):
        listed = subprocess.run(
            [str(program("nm")), *table, path], capture_output=True, text=True, check=False
        ).stdout
        for words in map(str.split, listed.splitlines()):
            if len(words) == 3:
                name = words[2].partition("@")[0]
                found[name] = found.get(name, frozenset()) | {words[0]}
    return found
