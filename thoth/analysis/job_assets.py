"""What the tasks of a job find in Manta: one script, and the documents of the dumps, under names of their own.

They lie in ``/USER/stor/thoth/jobs``, are deleted when the job has ended, and by a later one when nobody did that.
"""

from __future__ import annotations

import secrets
import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.resources import files
from typing import Final

from thoth.analysis.changes import LARGEST, MOST
from thoth.analysis.run import Analyzer, Task
from thoth.edit import SYSTEM
from thoth.errors import StoreError
from thoth.library import Thoth
from thoth.model import DumpInfo
from thoth.objects import dump_object
from thoth.store.names import home, jobs_dir

_OLD: Final = 7 * 86_400.0  # seconds after which what is left there is nobody's any more: no job runs as long
_SUFFIXES: Final = (".sh", ".documents")
_FIRST_LINE: Final = 16  # bytes of the first line of the documents


@dataclass(frozen=True, slots=True)
class Assets:
    """The objects of one job."""

    name: str  # the beginning of both names: no other job has it
    script: str
    documents: str

    @property
    def command(self) -> str:
        """What a task runs."""
        return f"bash {shlex.quote('/assets' + self.script)}"

    @property
    def names(self) -> tuple[str, ...]:
        return self.script, self.documents


@contextmanager
def put_assets(
    thoth: Thoth, task: Task, documents: bytes, *, timeout: float, output: int, say: Callable[[str], None]
) -> Iterator[Assets]:
    """Put them there, for as long as the context lasts. ``timeout`` in seconds and ``output`` in bytes are the
    limits of one task. Raises StoreError."""
    name = f"thoth-{secrets.token_hex(8)}"
    script, table = (f"{jobs_dir(thoth.user)}/{name}{suffix}" for suffix in _SUFFIXES)
    assets = Assets(name, script, table)
    try:
        thoth.store.put(table, documents)
        thoth.store.put(script, _script(thoth, task, table, timeout, output))
        yield assets
    finally:
        for each in assets.names:
            try:
                thoth.store.delete(each)
            except StoreError as error:
                say(f"{each} is left behind: {error}")


def sweep_assets(thoth: Thoth, now: float) -> None:
    """Delete what jobs of long ago have left. Raises StoreError when they cannot be listed."""
    directory = jobs_dir(thoth.user)
    for entry in list(thoth.store.list(directory)):
        if entry.name.endswith(_SUFFIXES) and entry.name.startswith("thoth-") and entry.mtime < now - _OLD:
            with suppress(StoreError):  # somebody else was faster; or the next job tries again
                thoth.store.delete(f"{directory}/{entry.name}")


# ---- the script -----------------------------------------------------------------------------------


def _script(thoth: Thoth, task: Task, documents: str, timeout: float, output: int) -> bytes:
    variables: Mapping[str, bytes] = {
        "thoth_documents": f"/assets{documents}".encode(),
        "thoth_environment": environment(),
        "thoth_analyzer": task.script if isinstance(task, Analyzer) else b"",
        "thoth_dcmd": b"" if isinstance(task, Analyzer) else task.command.encode(),
        "thoth_timeout": f"{timeout:g}".encode(),
        "thoth_output": str(output).encode(),
        "thoth_changes": str(MOST).encode(),
        "thoth_values": str(LARGEST).encode(),
        "thoth_home": home(thoth.user).encode(),
        "THOTH_RESERVED": " ".join(sorted({*SYSTEM, "ticket"})).encode(),
    }
    return b"".join(_assigned(name, value) for name, value in variables.items()) + _job_text("task.sh")


def environment() -> bytes:
    """The file that every bash of an analyzer reads first: the functions."""
    usual = files("thoth.analysis").joinpath("environment.sh").read_bytes()
    return usual + _assigned("_thoth_json", _job_text("json.awk")) + _job_text("environment.sh")


def _job_text(name: str) -> bytes:
    return files("thoth.analysis").joinpath("job", name).read_bytes()


def _assigned(name: str, value: bytes) -> bytes:
    """A line of shell that sets a variable, whatever bytes are in it."""
    return f"{name}={shlex.quote(value.decode('latin-1'))}\n".encode("latin-1")


# ---- the documents --------------------------------------------------------------------------------


def documents_asset(thoth: Thoth, infos: Iterable[DumpInfo]) -> bytes:
    """The documents of the dumps, behind a table of them: job/task.sh has the format."""
    rows, documents, start = [], [], 0
    for info in infos:
        document = as_document(info)
        kind = info.document.get("type")
        shown = kind if kind in ("core", "crash") else "-"
        filename = dump_object(thoth.user, info).filename.encode("utf-8", "surrogateescape").replace(b"\n", b"?")
        rows.append(f"{info.id} {shown} {start} {len(document)} ".encode() + filename + b"\n")
        documents.append(document)
        start += len(document)
    table = b"".join(rows) + b"\n"
    return f"{len(table) + _FIRST_LINE:{_FIRST_LINE - 1}d}\n".encode() + table + b"".join(documents)


def as_document(info: DumpInfo) -> bytes:
    """The document as an analyzer finds it in THOTH_INFO."""
    return (info.to_json(indent=4) + "\n").encode("ascii")
