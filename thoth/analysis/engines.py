"""Who finds the stacks of a stored core: we, from the file, or a debugger that is installed and asked for.

A debugger runs on a copy of the dump in the sandbox of analyzers: without anybody's settings, with limits, and with
nothing of the dump in its words but the path of the executable, which was looked at before.
"""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Event
from typing import Final, Self

from thoth.analysis import gdb_stacks, mdb_stacks
from thoth.analysis.cache import Cache
from thoth.analysis.changes import STACK_BY
from thoth.analysis.debugger import BadReply, Debugger, Name, NoDebugger, Subject, Which, program_of, subject
from thoth.analysis.reach import within_work
from thoth.analysis.sandbox import Limits, clean_environment, run_sandboxed
from thoth.config import Config
from thoth.dumps.binaries import Binaries
from thoth.dumps.source import LocalFile
from thoth.dumps.stack import Told, process_in, read_stacks
from thoth.dumps.threads import Process
from thoth.errors import SourceError, StoreUnavailable, ThothError
from thoth.library import Thoth
from thoth.model import DumpInfo, Json
from thoth.objects import dump_object
from thoth.stacks import keys_of, stored_stacks

_SECONDS: Final = 120  # of a debugger on one core
_OUTPUT: Final = 16 << 20  # bytes

Keys = Mapping[str, Json]


@dataclass(frozen=True, slots=True)
class Tools:
    """What engines work with. ``servers``: URLs of debuginfod servers that gdb may ask, too."""

    cache: Cache
    environ: Mapping[str, str]
    which: Which
    binaries: Binaries | None = None
    servers: str = ""
    cancelled: Event | None = None  # ends a debugger that is under way

    @classmethod
    def of(
        cls,
        config: Config,
        environ: Mapping[str, str],
        binaries: Binaries | None = None,
        cancelled: Event | None = None,
    ) -> Self:
        """Those of a configuration; programs are looked for on the PATH of ``environ``."""
        return cls(
            Cache(Path(config.cache)),
            environ,
            lambda name: shutil.which(name, path=environ.get("PATH")),
            binaries,
            servers=config.debuginfod,
            cancelled=cancelled,
        )


def find_stacks(
    engines: Sequence[str], thoth: Thoth, info: DumpInfo, tools: Tools, complain: Callable[[str], None]
) -> Keys:
    """The keys of thoth.stacks by the first of these engines that knows what a function is called, else the best.

    ``complain`` takes a line on each that fails. A debugger is not asked about a system that it does not know. Raises
    StoreUnavailable.
    """
    best: Keys = {}
    system = info.document.get("os")
    fitting = [engine for engine in engines if _SYSTEMS.get(engine, system) == system]
    if not fitting:
        complain(f"{' and '.join(engines)} cannot find them; let the setting stack name native, too")
    for engine in fitting:
        try:
            found = _ENGINES[engine](thoth, info, tools)
        except StoreUnavailable:
            raise
        except (ThothError, OSError) as error:
            complain(f"{engine}: {str(error).removeprefix(f'{engine}: ')}")
            continue
        best = max(found, best, key=worth)
        if is_good(found):
            break
    return best


# ---- how good stacks are --------------------------------------------------------------------------


def is_good(keys: Keys) -> bool:
    """Whether a function of the thread that dumped has a name."""
    return worth(keys)[0] > 0


def worth(keys: Keys) -> tuple[int, int, int]:
    """What stacks are compared by: functions with names, frames that are sure, frames; of the thread that dumped."""
    stack = keys.get("stack")
    lines = [line for line in stack if isinstance(line, str)] if isinstance(stack, list) else []
    named = sum(not line.startswith("0x") for line in lines)
    return named, _sure(keys), len(lines)


def _sure(keys: Keys) -> int:
    """Frames of all threads that were not found by following pointers alone."""
    threads = keys.get("threads")
    frames = [
        frame
        for thread in (threads if isinstance(threads, list) else [])
        for frame in (thread.get("frames", []) if isinstance(thread, dict) else [])
    ]
    return sum(isinstance(frame, dict) and frame.get("trust") in ("context", "cfi", "mdb", "gdb") for frame in frames)


# ---- the engines ----------------------------------------------------------------------------------


def _native(thoth: Thoth, info: DumpInfo, tools: Tools) -> Keys:
    return stored_stacks(thoth.store, dump_object(thoth.user, info).name, tools.binaries)


def _gdb(thoth: Thoth, info: DumpInfo, tools: Tools) -> Keys:
    debugger = _installed("gdb", tools)
    with ExitStack() as held:
        about = subject(held.enter_context(tools.cache.borrow(thoth, info, keep=False)), info.id)
        place = within_work(about, program_of(about, debugger, None)[0], held.enter_context(tools.cache.work()))
        mark = secrets.token_hex(16)
        argv = gdb_stacks.invocation(debugger.program, about, place, servers=bool(tools.servers))
        process = _process(about)
        asked = gdb_stacks.questions(len(process.threads), mark)
        output = _run(argv, about, place.directory, tools, asked)
        told = Told("gdb", gdb_stacks.answers(output, mark, links=process.machine.link is not None))
        with LocalFile(about.dump) as source:
            stacks = read_stacks(source, tools.binaries, told=told)
    if stacks is None or not stacks.threads[0].frames:
        raise BadReply("gdb: told nothing of the thread that dumped")
    return {**keys_of(stacks), STACK_BY: "gdb"}


def _mdb(thoth: Thoth, info: DumpInfo, tools: Tools) -> Keys:
    debugger = _installed("mdb", tools)
    with ExitStack() as held:
        about = subject(held.enter_context(tools.cache.borrow(thoth, info, keep=False)), info.id)
        directory = within_work(about, None, held.enter_context(tools.cache.work())).directory
        dumped = _process(about).threads[0].id
        output = _run(mdb_stacks.invocation(debugger.program, str(about.dump)), about, directory, tools)
    return {**mdb_stacks.answers(output, dumped), STACK_BY: "mdb"}


_Engine = Callable[[Thoth, DumpInfo, Tools], Keys]
_SYSTEMS: Final = {"mdb": "illumos", "gdb": "linux"}
_ENGINES: Final[Mapping[str, _Engine]] = {"native": _native, "mdb": _mdb, "gdb": _gdb}


def _installed(name: Name, tools: Tools) -> Debugger:
    """The debugger, before anything is fetched for it. Raises NoDebugger."""
    program = tools.which(name)
    if program is None:
        raise NoDebugger("is not installed here; leave it out of the setting stack")
    return Debugger(name, program)


def _process(about: Subject) -> Process:
    with LocalFile(about.dump) as source:
        process = process_in(source)
    if process is None:
        raise SourceError("has no threads that can be read")
    return process


def _run(argv: Sequence[str], about: Subject, directory: Path, tools: Tools, stdin: bytes = b"") -> str:
    """What a debugger writes, a character for each byte. Raises BadReply when it does not end well."""
    environment = clean_environment(directory, tools.environ)
    if tools.servers:
        environment["DEBUGINFOD_URLS"] = tools.servers
    usual = Limits.for_dump(about.dump.stat().st_size)
    limits = replace(usual, timeout=float(_SECONDS), cpu=_SECONDS, output=_OUTPUT)
    ended = run_sandboxed(
        argv,
        directory=directory,
        environment=environment,
        limits=limits,
        stdin=stdin,
        cancelled=tools.cancelled,
    )
    name = Path(argv[0]).name
    if ended.status is None:
        raise BadReply(f"{name}: {ended.reason or 'was stopped'}")
    if ended.status or ended.cut:
        raise BadReply(f"{name}: {'wrote too much' if ended.cut else f'ended with status {ended.status}'}")
    return ended.output.decode("latin-1")
