"""One job from its beginning to its end: made, fed, waited for, and what it left fetched."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from thoth.errors import StoreError, ThothError
from thoth.library import Thoth
from thoth.store.jobs import Jobs, JobStatus, Phase, TaskError

_FIRST: Final = 0.25  # seconds between two looks at a job; each pause is longer than the one before
_LONGEST: Final = 5.0
_GROWTH: Final = 1.2
_BLOCK: Final = 1 << 20


class JobFailed(ThothError):
    """The job did not come to its end, or has left nothing for a dump."""


@dataclass(frozen=True, slots=True)
class Talk:
    """What is said as a job goes on, beside what is said of each; ``{job}`` is its id. Empty: nothing."""

    before: str = ""
    created: str = "created job {job}"
    fed: str = ""


@dataclass(frozen=True, slots=True)
class Times:
    """``clock`` is monotonic and ``now`` since 1970, both in seconds."""

    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], object] = time.sleep
    now: Callable[[], float] = time.time


@dataclass(frozen=True, slots=True)
class Done:
    """A job that has come to its end, by itself."""

    job: str
    status: JobStatus
    errors: tuple[TaskError, ...]


@dataclass(frozen=True, slots=True)
class JobRun:
    """Runs jobs. ``say`` takes a line of talk, ``complain`` one that nothing silences. ``patience`` is how many
    seconds a job may show no progress, or not be seen at all, before it is cancelled."""

    thoth: Thoth
    jobs: Jobs
    say: Callable[[str], None]
    complain: Callable[[str], None]
    patience: float
    times: Times

    @contextmanager
    def done(self, name: str, phases: Sequence[Phase], keys: Sequence[str], talk: Talk) -> Iterator[Done]:
        """A job on these objects, once it has come to its end.

        One that does not, also since we are interrupted, is cancelled: nothing of it runs any more. Raises JobFailed
        and StoreError.
        """
        self._say(talk.before)
        started = self.times.clock()
        job = self.jobs.create(name, phases)
        over = False
        try:
            self._say(talk.created, job)
            self.jobs.add(job, keys)
            self.jobs.end(job)
            self._say(talk.fed, job)
            self.say(f"waiting for completion of job {job}")
            status = self._waited(job)
            over = True
            self._judge(job, status)
            self.say(f"job {job} completed in {_hours(self.times.clock() - started)}")
            yield Done(job, status, tuple(self._patient.errors(job, status)))
        finally:
            if not over:
                self._cancel(job)

    @property
    def _patient(self) -> Jobs:
        """For what is asked of a job that may have run for hours, and that does not care whether Manta answers."""
        return self.jobs.patient(self.patience)

    def _waited(self, job: str) -> JobStatus:
        pause, since = _FIRST, self.times.clock()
        before = self._patient.status(job)
        status = before
        while not status.done:
            if status != before:
                before, since = status, self.times.clock()
            elif self.times.clock() - since > self.patience:
                raise JobFailed(f"job {job}: was cancelled after {self.patience:.0f} s without progress")
            self.times.sleep(pause)
            pause = min(pause * _GROWTH, _LONGEST)
            status = self._patient.status(job)
        return status

    @staticmethod
    def _judge(job: str, status: JobStatus) -> None:
        if status.cancelled:
            raise JobFailed(f"job {job}: was cancelled by somebody else, or by Manta")

    def _cancel(self, job: str) -> None:
        try:
            self.jobs.cancel(job)
        except StoreError as error:
            self.complain(f"job {job} may go on: {error}; 'mjob cancel {job}' ends it")
        except KeyboardInterrupt:  # whoever interrupted us does not wait for that either
            self.complain(f"job {job} may go on: interrupted while it was cancelled; 'mjob cancel {job}' ends it")
            raise
        else:
            self.say(f"cancelled job {job}")

    def _say(self, line: str, job: str = "") -> None:
        if line:
            self.say(line.format(job=job))

    # ---- what it left

    def collect(self, done: Done, into: Path) -> None:
        """Put all its outputs, one behind the other, into a file. Raises StoreError and OSError."""
        with into.open("xb") as file:
            for name in self._patient.outputs(done.job, done.status):
                with self.thoth.store.open(name) as source:
                    at = 0
                    while block := source.read_at(at, _BLOCK):
                        file.write(block)
                        at += len(block)


def _hours(seconds: float) -> str:
    whole = int(seconds)
    return f"{whole // 3600}h{whole % 3600 // 60}m{whole % 60}s"
