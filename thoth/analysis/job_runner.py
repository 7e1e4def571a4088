"""Running analyzers where the dumps are: as one job of Manta over all of them.

A task writes one record of what became of its dump; a second phase puts the records together, so that the job leaves
one object, however many dumps there are. What the analyzers asked to be changed is made from here, afterwards.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NamedTuple

from thoth.analysis.cache import Cache
from thoth.analysis.changes import LARGEST_RECORD
from thoth.analysis.fetching import wanted
from thoth.analysis.job_assets import as_document, documents_asset, sweep_assets, task_assets
from thoth.analysis.job_records import Record, changes_of, ended, records_in
from thoth.analysis.job_run import Done, JobFailed, JobRun, Talk, Times
from thoth.analysis.parallel import in_order
from thoth.analysis.run import Analysis, Task, concluded, plainly
from thoth.analysis.runner import Outcome, Settings, Unanalyzed, current, tried
from thoth.analysis.sandbox import Limits
from thoth.errors import CacheError, StoreError, StoreUnavailable, ThothError, UsageError
from thoth.library import Thoth
from thoth.model import DumpInfo, Identity, text
from thoth.objects import EXPANDED
from thoth.store.jobs import DISK, MEMORY, Jobs, Phase, TaskError
from thoth.store.manta_service import target

_MOST: Final = 10_000  # dumps of one job
_DOCUMENTS: Final = 16 << 20  # bytes of their documents: each task gets all of them
_QUEUED: Final = 1800.0  # seconds that a job may wait for its turn, beside what its tasks may take
_TOLD: Final = 4096  # bytes of a task's stderr, from its end, of which the last line is shown
_EXPANDING: Final = (8192, 256)  # MB and GB for crash dumps yet to be expanded, as the original has them


class Ready(NamedTuple):
    """A dump that a job can be run on: its document, and the object that is the task's input."""

    info: DumpInfo
    name: str


@dataclass(frozen=True, slots=True)
class JobRunner:
    """A Runner on Manta's jobs. ``cache`` has room for what a job leaves; the dumps themselves stay where they are.

    ``say`` takes a line of talk, ``complain`` one that nothing silences; ``talk`` is what is said of each job.
    ``patience``: seconds without any progress, beside the time limit of a task, after which a job is cancelled.
    """

    thoth: Thoth
    jobs: Jobs
    cache: Cache
    task: Task
    settings: Settings
    say: Callable[[str], None]
    complain: Callable[[str], None]
    talk: Talk = field(default_factory=Talk)
    patience: float = _QUEUED
    times: Times = field(default_factory=Times)

    def outcomes(self, identities: Sequence[Identity]) -> Generator[Outcome]:
        """As Runner has it. Raises UsageError, before anything else, for limits that no task can have."""
        sizes(self.settings.limits, [])
        return self._all(identities)

    def _all(self, identities: Sequence[Identity]) -> Generator[Outcome]:
        with suppress(StoreError):  # of no use to the dumps at hand, and no harm to them
            sweep_assets(self.thoth, self.times.now())
        looked_at = in_order(self._looked_at, identities, workers=self.settings.workers, stop=lambda: None)
        with closing(looked_at):
            for some in _batches(looked_at):
                yield from self._outcomes(some)

    def _looked_at(self, identity: Identity) -> Ready | Unanalyzed:
        try:
            info = current(self.thoth, identity)
            return Ready(info, wanted(self.thoth, info).name)
        except StoreUnavailable:
            raise
        except ThothError as error:
            return Unanalyzed(identity, error)

    # ---- one job

    def _outcomes(self, dumps: Sequence[Ready | Unanalyzed]) -> Generator[Outcome]:
        ready = [dump for dump in dumps if isinstance(dump, Ready)]
        with ExitStack() as held:
            result = self._result(ready, held) if ready else _NOTHING

            def outcome(dump: Ready | Unanalyzed) -> Outcome:
                if isinstance(dump, Unanalyzed):
                    return dump
                return tried(dump.info.id, lambda: self._concluded(dump, result))

            yield from in_order(outcome, dumps, workers=self.settings.workers, stop=lambda: None)

    def _result(self, ready: Sequence[Ready], held: ExitStack) -> _Result:
        """What a job on these dumps leaves; a job that fails is what became of each of them."""
        try:
            work = held.enter_context(self.cache.work())
            collected = work / "records"
            done = self._run(ready, collected)
        except StoreUnavailable:
            raise
        except (JobFailed, StoreError) as error:
            return _Result(None, {}, {}, error)
        try:
            with collected.open("rb") as file:
                found = records_in(file)
        except OSError as error:
            raise CacheError(f"cache {work.parent}: {error.strerror}") from error
        lacking = JobFailed(_without_key(done.errors) or f"job {done.job} has left nothing for it")
        return _Result(collected, found, {error.key: error for error in done.errors if error.key}, lacking)

    def _run(self, ready: Sequence[Ready], into: Path) -> Done:
        limits = self._limits
        documents = documents_asset(self.thoth, [dump.info for dump in ready])
        memory, disk = sizes(self.settings.limits, [dump.info for dump in ready])
        with task_assets(
            self.thoth, self.task, documents, timeout=limits.timeout, output=limits.output, say=self.complain
        ) as assets:
            phases = (
                Phase("storage-map", assets.command, (assets.script, assets.documents), memory, disk),
                Phase("reduce", "cat"),
            )
            run = JobRun(self.thoth, self.jobs, self.say, self.complain, self.patience + limits.timeout, self.times)
            with run.done(assets.name, phases, [dump.name for dump in ready], self.talk) as done:
                _collect(run, done, into)
        return done

    @property
    def _limits(self) -> Limits:
        return self.settings.limits_for(0)

    # ---- one dump of it

    def _concluded(self, dump: Ready, result: _Result) -> Analysis:
        record = result.records.get(dump.info.id)
        if record is None or result.file is None:
            raise self._task_failed(result.errors.get(target(dump.name))) or result.lacking
        limits = self._limits
        with result.file.open("rb") as file:
            file.seek(record.begin)
            output = file.read(min(record.output, limits.output))
            file.seek(record.begin + record.output)
            changes = file.read(min(record.changes, LARGEST_RECORD))
        return concluded(
            self.thoth,
            dump.info,
            self.task,
            ended(record, output, limits.output, limits.timeout),
            lambda: changes_of(record, changes),
            change=plainly if self.settings.apply else None,
        )

    def _task_failed(self, error: TaskError | None) -> JobFailed | None:
        if error is None:
            return None
        said = self._last_line(error.stderr) if error.stderr else ""
        return JobFailed(f"its task failed: {said or error.message} ({error.code})")

    def _last_line(self, name: str) -> str:
        """What a task said last."""
        try:
            with self.thoth.store.open(name) as source:
                data = source.read_at(max(0, source.size - _TOLD), _TOLD)
        except StoreError:
            return ""  # Manta's own words have to do
        lines = [line for line in text(data).splitlines() if line.strip()]
        return lines[-1].removeprefix("thoth: ") if lines else ""


@dataclass(frozen=True, slots=True)
class _Result:
    """What a job has left: a file of records, and what went wrong, by the keys of its input as they were given.
    ``lacking`` is why a dump has neither."""

    file: Path | None
    records: Mapping[Identity, Record]
    errors: Mapping[str, TaskError]
    lacking: ThothError


_NOTHING: Final = _Result(None, {}, {}, JobFailed("no job was run"))


def _collect(run: JobRun, done: Done, into: Path) -> None:
    try:
        run.collect(done, into)
    except OSError as error:
        raise CacheError(f"cache {into.parent.parent}: {error.strerror}; make room, or see THOTH_CACHE") from error


def _without_key(errors: Iterable[TaskError]) -> str:
    """What went wrong with the phase that has all records for its input."""
    return next((f"its job failed: {error.message} ({error.code})" for error in errors if not error.key), "")


def _batches(dumps: Iterable[Ready | Unanalyzed]) -> Iterator[list[Ready | Unanalyzed]]:
    """All of them, as a rule, in one."""
    batch: list[Ready | Unanalyzed] = []
    taken = 0
    for dump in dumps:
        size = len(as_document(dump.info)) if isinstance(dump, Ready) else 0
        if batch and (taken + size > _DOCUMENTS or len(batch) == _MOST):
            yield batch
            batch, taken = [], 0
        batch.append(dump)
        taken += size
    if batch:
        yield batch


def sizes(limits: Mapping[str, int], infos: Iterable[DumpInfo]) -> tuple[int | None, int | None]:
    """Memory in MB and disk in GB that the tasks ask for; None: what Manta gives. Raises UsageError."""
    expanding = any(info.document.get("type") == "crash" and EXPANDED not in info.document for info in infos)
    memory, disk = _EXPANDING if expanding else (None, None)
    if "memory" in limits:
        memory = _least(MEMORY, limits["memory"] / (1 << 20), "--memory", "8G")
    if "file_size" in limits:
        disk = _least(DISK, limits["file_size"] / (1 << 30), "--file-size", "1T")
    return memory, disk


def _least(offered: Sequence[int], asked: float, option: str, most: str) -> int:
    for size in offered:
        if size >= asked:
            return size
    raise UsageError(f"{option}: a task of a job has at most {most}; THOTH_NO_JOBS=1 runs it on this machine")
