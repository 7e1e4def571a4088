"""What the tasks of a job, and sessions of mlogin, find in Manta: a script, and the documents of the dumps.

Their names are nobody else's. They lie in ``/USER/stor/thoth/jobs``, and are deleted when the job has ended, or by a
later one when nobody did that.
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
from thoth.errors import NoSuchObject, StoreError
from thoth.library import Thoth
from thoth.model import DumpInfo
from thoth.objects import dump_object
from thoth.store.names import home, jobs_dir

_OLD: Final = 7 * 86_400.0  # seconds after which what is left there is nobody's any more: no job runs as long
_SUFFIXES: Final = (".sh", ".documents", ".result")
_FIRST_LINE: Final = 16  # bytes of the first line of the documents


@dataclass(frozen=True, slots=True)
class Assets:
    """The objects of one job, by their names."""

    name: str  # the beginning of all of them: no other job has it
    script: str
    documents: str
    result: str  # what a session of mlogin leaves

    @property
    def command(self) -> str:
        """What is to be run."""
        return f"bash {shlex.quote('/assets' + self.script)}"


@contextmanager
def task_assets(
    thoth: Thoth, task: Task, documents: bytes, *, timeout: float, output: int, say: Callable[[str], None]
) -> Iterator[Assets]:
    """What the tasks of a job need, for as long as the context lasts. ``timeout`` in seconds and ``output`` in bytes
    are the limits of one task. Raises StoreError."""
    limits = {"thoth_timeout": f"{timeout:g}", "thoth_output": str(output)}
    with _held(thoth, say) as assets:
        thoth.store.put(assets.documents, documents)
        thoth.store.put(assets.script, _script(thoth, task, assets, "task.sh", limits))
        yield assets


@contextmanager
def login_assets(thoth: Thoth, analyzer: Analyzer, info: DumpInfo, say: Callable[[str], None]) -> Iterator[Assets]:
    """The same, for a session of mlogin in which an analyzer is developed. Raises StoreError."""
    with _held(thoth, say) as assets:
        more = {"thoth_prompt": f"{thoth.user}@thoth # ", "thoth_result": assets.result, "thoth_name": analyzer.name}
        thoth.store.put(assets.documents, documents_asset(thoth, [info]))
        thoth.store.put(assets.script, _script(thoth, analyzer, assets, "login.sh", more))
        yield assets


@contextmanager
def _held(thoth: Thoth, say: Callable[[str], None]) -> Iterator[Assets]:
    name = f"thoth-{secrets.token_hex(8)}"
    names = [f"{jobs_dir(thoth.user)}/{name}{suffix}" for suffix in _SUFFIXES]
    try:
        yield Assets(name, *names)
    finally:
        for each in names:
            try:
                thoth.store.delete(each)
            except NoSuchObject:
                continue  # it did not come to that
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


def _script(thoth: Thoth, task: Task, assets: Assets, name: str, more: Mapping[str, str]) -> bytes:
    variables: Mapping[str, bytes] = {
        "thoth_documents": f"/assets{assets.documents}".encode(),
        "thoth_environment": environment(),
        "thoth_analyzer": task.script if isinstance(task, Analyzer) else b"",
        "thoth_dcmd": b"" if isinstance(task, Analyzer) else task.command.encode("utf-8", "surrogateescape"),
        "thoth_changes": str(MOST).encode(),
        "thoth_values": str(LARGEST).encode(),
        "thoth_home": home(thoth.user).encode(),
        "THOTH_RESERVED": " ".join(sorted({*SYSTEM, "ticket"})).encode(),
        **{name: value.encode() for name, value in more.items()},
    }
    assigned = b"".join(_assigned(name, value) for name, value in variables.items())
    return assigned + _job_text("prepare.sh") + _job_text(name)


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
    """The documents of the dumps, behind a table of them: job/prepare.sh has the format."""
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
