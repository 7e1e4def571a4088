"""The shell in which an analyzer is developed on one dump: what it finds, and what remains of it when it has ended.

It has two directories. The one it starts in is ours alone: the analyzer is edited there, and what is stored is read
from there. In the other one ``thoth_analyze`` runs the analyzer as ``thoth analyze`` would, as that user and within
those limits, so nothing that we trust lies there.
"""

from __future__ import annotations

import os
import shlex
import sys
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Final

from thoth.analysis.analyzers import NoSuchAnalyzer, add, fetch
from thoth.analysis.changes import Changes, read_changes
from thoth.analysis.removal import remove_tree
from thoth.analysis.run import ANALYZER, INFO, Analyzer, command, prepared, tool
from thoth.analysis.sandbox import Ended, Limits, give, run_sandboxed
from thoth.dumps.source import LocalFile
from thoth.errors import SourceError
from thoth.library import Thoth
from thoth.model import DumpInfo
from thoth.store.base import ABSENT, MAX_SMALL

_SHELL, _RUN = "shell", "run"  # the two directories
_RAN: Final = "ran"  # what the second is called once the analyzer has ended by itself
_START: Final = ".start"  # what the shell reads first
_OWN: Final = ("MANTA_INPUT_FILE", "BASH_ENV")  # besides THOTH_*, what an analyzer's environment has of ours

# In an interactive shell this is the rcfile, in another one BASH_ENV; the scripts that it starts have an analyzer's.
_START_TEXT: Final = """\
BASH_ENV='$THOTH_ENVIRONMENT'
unset HISTFILE THOTH_START
. "$THOTH_ENVIRONMENT"
PS1={prompt}
thoth_analyze() {{
    PYTHONPATH={source} {python} -P -m thoth.cli.thoth_analyze {words}
}}
"""


class Kept(Enum):
    """What became of an analyzer that was edited."""

    UNCHANGED = "unchanged"
    EMPTY = "empty"  # and not stored
    ADDED = "added"
    STORED = "stored"


@dataclass(frozen=True, slots=True)
class Original:
    """An analyzer as it was when its shell began; ABSENT is the etag of one that is new."""

    name: str
    script: bytes
    etag: str

    @property
    def new(self) -> bool:
        return self.etag == ABSENT


@dataclass(frozen=True, slots=True)
class Shell:
    """How the shell is started, and where."""

    argv: tuple[str, ...]
    environment: Mapping[str, str]
    work: Path

    @property
    def directory(self) -> Path:
        """Where it starts."""
        return self.work / _SHELL


# ---- before ---------------------------------------------------------------------------------------


def original(thoth: Thoth, name: str) -> tuple[Original, str | None]:
    """The analyzer of that name, or a new one and then why it is new. Raises UsageError and StoreError."""
    try:
        script, etag = fetch(thoth, name)
    except NoSuchAnalyzer as error:
        return Original(name, b"", ABSENT), str(error)
    return Original(name, script, etag), None


def prepare(
    analyzer: Original,
    info: DumpInfo,
    dump: Path,
    *,
    user: str,
    work: Path,
    environ: Mapping[str, str],
    interactive: bool,
) -> Shell:
    """Write what the shell finds below ``work``, which is empty. Raises NoTool where there is no bash.

    The shell is the user's own and has the user's environment, and an analyzer's variables besides.
    """
    give(work)
    directory = work / _SHELL
    directory.mkdir(0o700)
    task = Analyzer(analyzer.name, analyzer.script)
    theirs = prepared(directory, info, dump, task, environ)
    _take_back(directory)
    words = shlex.join([str(work), str(dump), analyzer.name])
    start = _START_TEXT.format(
        prompt=shlex.quote(f"{user}@thoth # "),
        source=shlex.quote(str(Path(__file__).resolve().parents[2])),
        python=shlex.quote(sys.executable),
        words=words,
    )
    (directory / _START).write_text(start, encoding="utf-8", errors="surrogateescape")
    bash = tool("bash", environ)
    argv = (bash, "--noprofile", "--rcfile", str(directory / _START), "-i") if interactive else (bash, "-s")
    ours = {name: value for name, value in theirs.items() if name.startswith("THOTH_") or name in _OWN}
    started = {} if interactive else {"BASH_ENV": "$THOTH_START", "THOTH_START": str(directory / _START)}
    return Shell(argv, {**environ, **ours, **started}, work)


def _take_back(directory: Path) -> None:
    """What was prepared is for the user that analyzers run as, who may only read it."""
    for path in directory.iterdir():
        os.chown(path, os.geteuid(), os.getegid())
        path.chmod(0o600)


# ---- thoth_analyze --------------------------------------------------------------------------------


def analyze_again(work: Path, dump: Path, name: str, environ: Mapping[str, str]) -> tuple[Ended, Changes]:
    """Run the analyzer as it now is. What it asks for takes the place of what the run before asked for.

    Nothing is changed yet. A run that was stopped asks for nothing. Raises ThothError for an analyzer that cannot be
    run, or asks for what cannot be done.
    """
    info = DumpInfo.from_json(_contents(work / _SHELL / INFO, "$THOTH_INFO"), INFO)
    task = Analyzer(name, _contents(work / _SHELL / ANALYZER, "$THOTH_ANALYZER"))
    directory = _anew(work)
    environment = prepared(directory, info, dump, task, environ)
    ended = run_sandboxed(
        command(task, directory, dump, environ),
        directory=directory,
        environment=environment,
        limits=Limits.for_dump(dump.stat().st_size),
    )
    if ended.status is not None and ended.reason is None:
        directory.rename(work / _RAN)
    return ended, _asked_for(work / _RAN)


def _anew(work: Path) -> Path:
    for name in (_RAN, _RUN):
        with suppress(FileNotFoundError):
            remove_tree(work / name)
    directory = work / _RUN
    directory.mkdir(0o700)
    return directory


def _asked_for(directory: Path) -> Changes:
    return read_changes(directory) if directory.is_dir() else Changes()


# ---- afterwards -----------------------------------------------------------------------------------


def changes_of(shell: Shell) -> Changes:
    """What the analyzer's last run asked for, and then what was typed. Raises UsageError when it cannot be done."""
    return _asked_for(shell.work / _RAN).followed_by(read_changes(shell.directory))


def script_of(shell: Shell) -> bytes:
    """The analyzer as it was left. Raises SourceError when it is gone, or no regular file."""
    return _contents(shell.directory / ANALYZER, "$THOTH_ANALYZER")


def keep(thoth: Thoth, analyzer: Original, script: bytes) -> Kept:
    """Store the analyzer if it was changed, and was not made empty.

    Raises PreconditionFailed when somebody else has changed it since, UsageError for what is no analyzer, StoreError.
    """
    if script == analyzer.script:
        return Kept.UNCHANGED
    if not script.strip():
        return Kept.EMPTY
    add(thoth, analyzer.name, script, if_match=analyzer.etag)
    return Kept.ADDED if analyzer.new else Kept.STORED


def set_aside(script: bytes) -> str:
    """Write a script that was not stored into a new private file, and return its path. Raises OSError."""
    fd, path = tempfile.mkstemp(prefix="thoth-analyzer-", suffix=".sh")
    with open(fd, "wb") as file:  # noqa: PTH123 - a descriptor has no Path
        file.write(script)
    return path


def _contents(path: Path, called: str) -> bytes:
    try:
        with LocalFile(path) as file:
            return file.read_at(0, MAX_SMALL)
    except SourceError as error:
        raise SourceError(f"{called}: {error}") from error
