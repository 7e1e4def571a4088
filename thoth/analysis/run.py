"""Running an analyzer, or a debugger's command, on one dump, and what becomes of the dump's document by it."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path
from threading import Event
from typing import Final

from thoth.analysis.cache import Cache
from thoth.analysis.changes import CHANGES, BadChange, Changes, changed, read_changes
from thoth.analysis.expanded import store_expanded
from thoth.analysis.sandbox import Ended, Limits, clean_environment, give, run_sandboxed
from thoth.edit import SYSTEM, revise
from thoth.errors import CacheError, IndexFailure, NoRoom, NoSuchObject, StoreUnavailable, ThothError
from thoth.library import Thoth
from thoth.model import DumpInfo, Identity, Json
from thoth.objects import dump_object, expanded_object

ANALYZER: Final = "analyzer"  # the files in an analyzer's directory
INFO: Final = "info.json"
ENVIRONMENT: Final = "environment.sh"
_JSON: Final = "json_paths.py"


@dataclass(frozen=True, slots=True)
class Analyzer:
    """A shell script and the name it is known by."""

    name: str
    script: bytes


@dataclass(frozen=True, slots=True)
class Dcmd:
    """A command of mdb: ``::stack``, ``$C``."""

    command: str

    @property
    def name(self) -> str:
        return self.command


Task = Analyzer | Dcmd
# What makes of a document, given the changes, the analyzer's name and the expanded dump, the next one: ``changed``.
Change = Callable[[DumpInfo, Changes, str, Mapping[str, Json] | None], DumpInfo | None]
ByStatus = Callable[[int], Change]  # how changes are made of a task that has ended with this exit status


def plainly(_: int) -> Change:
    """All of them are made, whatever the exit status."""
    return changed


class NoTool(ThothError):
    """A program that the task needs is not installed here."""


class Interrupted(ThothError):
    """The analysis was called off while its dump was fetched."""


@dataclass(frozen=True, slots=True)
class Analysis:
    """What became of a task on one dump.

    ``status`` is its exit status, None when it was stopped. ``reason`` says in one line why it was, or why what it
    asked for was not done. ``output`` is what it wrote, without the end when it is ``cut``. ``changes`` are those
    that were made (in a dry run: that would be made), as JSON.
    """

    identity: Identity
    status: int | None
    reason: str | None
    output: bytes
    cut: bool
    changes: tuple[Mapping[str, Json], ...]
    seconds: float

    @property
    def failed(self) -> bool:
        return self.status != 0 or self.reason is not None


def analyze(
    thoth: Thoth,
    info: DumpInfo,
    task: Task,
    *,
    cache: Cache,
    environ: Mapping[str, str],
    limits: Limits | None = None,
    apply: bool = True,
    change: ByStatus = plainly,
    cancelled: Event | None = None,
) -> Analysis:
    """Run a task on one dump and make the changes that it asked for, as one revision of the document.

    They are made whatever the exit status; none is when the task was stopped, or when one of them cannot be. Without
    ``apply`` nothing is changed; ``change`` may leave out some of them, and add others. ``environ`` is the caller's
    environment, of which the task sees little; ``cancelled`` stops the task when it is set, from another thread.
    Raises NoTool, what borrowing the dump raises, and StoreUnavailable.
    """

    def look_up(_: int) -> None:
        if cancelled is not None and cancelled.is_set():
            raise Interrupted("was interrupted")

    with cache.borrow(thoth, info, keep=False, progress=look_up) as dump, cache.work() as work:
        environment = prepared(work, info, dump, task, environ)
        ended = run_sandboxed(
            command(task, work, dump, environ),
            directory=work,
            environment=environment,
            limits=limits or Limits.for_dump(dump.stat().st_size),
            cancelled=cancelled,
        )
        return concluded(thoth, info, task, ended, lambda: read_changes(work), change=change if apply else None)


def command(task: Task, work: Path, dump: Path, environ: Mapping[str, str]) -> list[str]:
    """The argument vector that runs a task in its prepared directory. Raises NoTool."""
    match task:
        case Analyzer():
            return [tool("bash", environ), "--noprofile", "--norc", str(work / ANALYZER)]
        case Dcmd(words):
            return [tool("mdb", environ), "-e", words, str(dump)]


def tool(name: str, environ: Mapping[str, str]) -> str:
    """The path of a program. Raises NoTool."""
    found = shutil.which(name, path=environ.get("PATH", os.defpath))
    if found is None:
        hint = "; it is part of illumos" if name == "mdb" else ""
        raise NoTool(f"{name} is not installed here{hint}")
    return found


def prepared(
    directory: Path, info: DumpInfo, dump_path: Path, task: Task, environ: Mapping[str, str]
) -> dict[str, str]:
    """Write what a task finds in its directory, and return the environment it runs with.

    The directory has to be empty, and the task's own. Raises CacheError when there is no room.
    """
    ours = files("thoth.analysis")
    written = {
        INFO: (info.to_json(indent=4) + "\n").encode("ascii"),
        ENVIRONMENT: ours.joinpath(ENVIRONMENT).read_bytes(),
        _JSON: ours.joinpath(_JSON).read_bytes(),
        **({ANALYZER: task.script} if isinstance(task, Analyzer) else {}),
    }
    try:
        for name, data in written.items():
            path = directory / name
            path.write_bytes(data)
            give(path)
    except OSError as error:
        raise CacheError(
            f"cache {directory.parent}: {error.strerror}; make room, or name another place with THOTH_CACHE"
        ) from error
    return {**clean_environment(directory, environ), **_variables(directory, info, dump_path)}


def _variables(directory: Path, info: DumpInfo, dump_path: Path) -> dict[str, str]:
    kind = info.document.get("type")
    return {
        "THOTH_DUMP": str(dump_path),
        "MANTA_INPUT_FILE": str(dump_path),
        "THOTH_INFO": str(directory / INFO),
        "THOTH_TYPE": kind if kind in ("core", "crash") else "",
        "THOTH_NAME": str(info.id),
        "THOTH_ANALYZER": str(directory / ANALYZER),
        "THOTH_CHANGES": str(directory / CHANGES),
        "THOTH_RESERVED": " ".join(sorted({*SYSTEM, "ticket"})),
        "THOTH_JSON": str(directory / _JSON),
        # Not the one of a virtual environment, which may lie where the task cannot go.
        "THOTH_PYTHON": os.path.realpath(sys.executable),
        # bash expands the value of BASH_ENV like a word in quotes: a path in it would be read as a script.
        "THOTH_ENVIRONMENT": str(directory / ENVIRONMENT),
        "BASH_ENV": "$THOTH_ENVIRONMENT",
    }


# ---- afterwards -----------------------------------------------------------------------------------


def concluded(
    thoth: Thoth, info: DumpInfo, task: Task, ended: Ended, read: Callable[[], Changes], *, change: ByStatus | None
) -> Analysis:
    """What became of a task that has ended; ``read`` gives the changes that it asked for, which are made.

    Without ``change`` none is. Raises StoreUnavailable.
    """
    analysis = Analysis(info.id, ended.status, ended.reason, ended.output, ended.cut, (), ended.seconds)
    if ended.status is None or ended.reason is not None or isinstance(task, Dcmd):
        return analysis
    try:
        changes = read()
        if changes and change:
            make_changes(thoth, info, task, changes, change(ended.status))
        elif changes:
            changed(info, changes, task.name)  # tells what cannot be done
    except IndexFailure as error:
        analysis = replace(analysis, reason=f"its changes are stored, but not indexed: {error}")
    except StoreUnavailable as error:
        if not isinstance(error, NoRoom):
            raise
        return replace(analysis, reason=str(error))
    except ThothError as error:
        return replace(analysis, reason=str(error).removeprefix(f"{info.id}: "))
    return replace(analysis, changes=tuple(changes.described()))


def make_changes(thoth: Thoth, info: DumpInfo, task: Task, changes: Changes, make: Change = changed) -> None:
    """Make the changes. Raises as revise does, and UsageError when one of them cannot be made; then none is."""
    make(info, changes, task.name, None)  # what cannot be done is told before anything is sent
    expanded = store_expanded(thoth, info, changes.expanded) if changes.expanded else None
    older: list[DumpInfo] = []

    def change(stored: DumpInfo) -> DumpInfo | None:
        if expanded is not None and stored.document.get("purged"):
            raise BadChange("the dump was purged while it was analyzed")
        older[:] = [stored]
        return make(stored, changes, task.name, expanded)

    revise(thoth, info.id, change)
    if expanded is not None:
        _drop_other(thoth, older[0], str(expanded["dump"]))


def _drop_other(thoth: Thoth, older: DumpInfo, name: str) -> None:
    """Delete what an earlier document had as the expanded form, if it has another name."""
    before = expanded_object(thoth.user, older)
    if before is not None and before.name not in (name, dump_object(thoth.user, older).name):
        with suppress(NoSuchObject):
            thoth.store.delete(before.name)
