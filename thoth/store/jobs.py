"""Manta's jobs, which v1 has: made, fed, watched and ended, and the lists that they leave. Facts: manta-muskie before
April 2020, and the public Node client.

Two requests cannot simply be sent again. A job is made under a name that no other one has: when the answer is lost it
is looked for by that name, and never made anew before it was. Input is sent in batches no longer than the list that
shows the newest of it, so that what came through can be told.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, Final, TypeVar

from thoth.errors import NoAnswer, StoreError, StoreTransient, StoreUnreachable
from thoth.http import Answer
from thoth.patience import Patience, Tries
from thoth.store.manta_errors import code_of, json_object, shown
from thoth.store.manta_service import Manta, bytes_body, json_body, quoted, target

MEMORY: Final = (128, 256, 512, 1024, 2048, 4096, 8192)  # MB that a task may have
DISK: Final = (2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)  # GB

_SHOWN: Final = 100  # lines of a live list: the newest; the archive has them all
_LIST: Final = 64 << 20  # bytes of a list
_ARCHIVED: Final = 120.0  # seconds within which the archive of a job that is done has to appear
_TICK: Final = 2.0  # seconds between two looks for it
_WRONG_STATE: Final = "InvalidJobState"
_GONE: Final = (404, 410)  # what is live is not for ever: then there is the archive
_JSON: Final = {"Content-Type": "application/json"}
_TEXT: Final = {"Content-Type": "text/plain"}
_ID: Final = re.compile(r"[A-Za-z0-9-]{1,64}")

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Phase:
    """One step of a job. ``kind`` is ``storage-map``, ``map`` or ``reduce``, ``exec`` a command of bash, ``assets``
    the names of objects that its tasks find below /assets. ``memory`` in MB and ``disk`` in GB are each one of those
    above; None: what Manta gives."""

    kind: str
    exec: str
    assets: tuple[str, ...] = ()
    memory: int | None = None
    disk: int | None = None

    def document(self) -> dict[str, Any]:
        """As Manta takes it."""
        sizes = {"memory": self.memory, "disk": self.disk}
        told = {name: size for name, size in sizes.items() if size is not None}
        return {"type": self.kind, "exec": self.exec, "assets": list(self.assets), **told}


@dataclass(frozen=True, slots=True)
class JobStatus:
    """How far a job is. ``outputs`` and ``errors`` say how many there are."""

    state: str  # queued, running, done
    cancelled: bool
    tasks: int
    tasks_done: int
    outputs: int
    errors: int

    @property
    def done(self) -> bool:
        return self.state == "done"


@dataclass(frozen=True, slots=True)
class TaskError:
    """What went wrong with one task. ``stderr`` names an object; ``key`` is the job's input that it comes from, as it
    was given."""

    code: str
    message: str
    stderr: str | None
    key: str | None


class Jobs:
    """The jobs of one account. Every method raises StoreError; what passes is tried again, with ``patience`` or the
    usual one."""

    def __init__(self, manta: Manta, patience: Patience | None = None) -> None:
        self._manta = manta
        self._home = f"/{manta.access.account}/jobs"
        self._patience = patience

    def patient(self, seconds: float) -> Jobs:
        """The same jobs, of which what fails in a way that passes may do so for that long."""
        return Jobs(self._manta, replace(self._manta.times.patience, attempts=math.inf, total=seconds))

    @property
    def fingerprint(self) -> str:
        """Of the key by which they are ours, in MD5, as all of Manta's programs take it; empty: nothing is signed."""
        return self._manta.fingerprint

    # ---- making one

    def create(self, name: str, phases: Sequence[Phase]) -> str:
        """Make a job and return its id. ``name`` has to be a new one, of characters that a URL leaves as they are.

        One that was made is never lost: who is interrupted in here leaves none behind. Raises StoreError also when
        nobody can tell whether it was made.
        """
        body = {"name": name, "phases": [phase.document() for phase in phases]}
        try:
            return self._created(name, body, self._tries())
        except StoreError:
            raise
        except BaseException:  # interrupted: the request may be with Manta already
            with suppress(StoreError):
                for job in self._named(name):
                    self.cancel(job)
            raise

    def _created(self, name: str, body: object, tries: Tries) -> str:
        while True:
            try:
                headers = _JSON
                return _job_id(self._ask("POST", "", f"job {name}", 201, headers=headers, body=json_body(body)))
            except StoreTransient as error:
                if (found := self._found_after(error, name, tries)) is not None:
                    return found

    def _found_after(self, error: StoreTransient, name: str, tries: Tries) -> str | None:
        """The job that a request has made although it failed; None when it is sure to have made none."""
        if isinstance(error, StoreUnreachable):
            tries.pause(error)
            return None
        answered, looks = not isinstance(error.__cause__, NoAnswer), 0
        if not answered:  # it may still be on its way: a second one is not made on a guess
            lost = f"job {name}: Manta did not say whether it was made; 'mjob list -n {name}' may tell"
            error = StoreTransient(lost)
        while True:
            try:
                found = self._named(name)
            except StoreTransient as again:
                tries.pause(again)
                continue
            looks += 1
            if found or (answered and looks > 1):
                return found[0] if found else None
            tries.pause(error)  # only now: when this is the end, there was a look all the same

    def _named(self, name: str) -> list[str]:
        answer = self._ask("GET", f"?name={quoted(name)}", f"job {name}", 200, most=_LIST)
        return [job for each in _documents(answer, "jobs") if _ID.fullmatch(job := str(each.get("name", "")))]

    # ---- feeding it, and ending it

    def add(self, job: str, keys: Iterable[str]) -> None:
        """Give a job objects to work on, by name, each once."""
        left = iter(keys)
        while batch := list(islice(left, _SHOWN)):
            self._add(job, [target(name) for name in batch])

    def _add(self, job: str, keys: list[str]) -> None:
        tries = self._tries()
        while keys:
            body = bytes_body("".join(f"{key}\n" for key in keys).encode())
            try:
                answer = self._live("POST", job, "in", headers=_TEXT, body=body)
                if code_of(answer) == _WRONG_STATE:
                    raise StoreError(f"job {job}: takes no more input: somebody has ended or cancelled it")
                self._manta.require(answer, f"job {job}", 204)
            except StoreTransient as error:
                tries.pause(error)
                there = {*self._patiently(lambda: self._live("GET", job, "in", 200, most=_LIST)).body.split()}
                keys = [key for key in keys if key.encode() not in there]
            else:
                return

    def end(self, job: str) -> None:
        """No more input will come."""
        self._once(job, "in/end")

    def cancel(self, job: str) -> None:
        """End it now. One that is done stays as it is."""
        self._once(job, "cancel")

    def _once(self, job: str, action: str) -> None:
        def asked() -> None:
            answer = self._live("POST", job, action)
            if code_of(answer) != _WRONG_STATE:  # it is so already: the answer to an earlier try was lost
                self._manta.require(answer, f"job {job}", 202, 204)

        self._patiently(asked)

    # ---- what it does, and leaves

    def status(self, job: str) -> JobStatus:
        """How far it is."""
        answer = self._patiently(lambda: self._live("GET", job, "status"))
        if answer.status in _GONE:
            answer = self._patiently(lambda: self._ask("GET", f"/{job}/job.json", f"job {job}", 200))
        self._manta.require(answer, f"job {job}", 200)
        return _status(next(_documents(answer, f"job {job}"), {}), job)

    def outputs(self, job: str, status: JobStatus) -> list[str]:
        """The names of the objects that a job which is done has left."""
        return self._list(job, "out", status.outputs).body.decode("utf-8", "replace").splitlines()

    def errors(self, job: str, status: JobStatus) -> list[TaskError]:
        """What went wrong in a job which is done."""
        if not status.errors:
            return []
        return [_task_error(each) for each in _documents(self._list(job, "err", status.errors), f"job {job}")]

    def _list(self, job: str, which: str, count: int) -> Answer:
        if count <= _SHOWN:
            answer = self._patiently(lambda: self._live("GET", job, which, most=_LIST))
            if answer.status not in _GONE:
                self._manta.require(answer, f"job {job}", 200)
                return answer
        return self._archived(job, which)

    def _archived(self, job: str, which: str) -> Answer:
        times = self._manta.times
        deadline = times.clock() + _ARCHIVED
        while True:
            answer = self._patiently(lambda: self._ask("GET", f"/{job}/{which}.txt", f"job {job}", most=_LIST))
            if answer.status != 404 or times.clock() > deadline:
                self._manta.require(answer, f"job {job}: {which}.txt", 200)
                return answer
            times.sleep(_TICK)

    # ---- requests

    def _patiently(self, once: Callable[[], _T]) -> _T:
        return self._tries().run(once)

    def _tries(self) -> Tries:
        return self._manta.tries(patience=self._patience)

    def _live(self, method: str, job: str, what: str, *due: int, **more: Any) -> Answer:
        answer = self._ask(method, f"/{job}/live/{what}", f"job {job}", *due, **more)
        if answer.status >= 500 or answer.status in (408, 429):
            self._manta.require(answer, f"job {job}")
        return answer

    def _ask(self, method: str, below: str, about: str, *due: int, **more: Any) -> Answer:
        return self._manta.ask(method, target(self._home) + below, about, *due, **more)


# ---- answers --------------------------------------------------------------------------------------------


def _job_id(answer: Answer) -> str:
    job = answer.headers.get("Location", "").rpartition("/")[2]
    if not _ID.fullmatch(job):
        raise StoreError(
            f"Manta made a job and did not say which: {shown(answer.headers.get('Location', 'nothing'))}"
        )
    return job


def _documents(answer: Answer, about: str) -> Iterator[Mapping[str, Any]]:
    """One for each line."""
    for line in answer.body.splitlines():
        try:
            if line.strip() and (told := json_object(line)):
                yield told
        except ValueError as error:
            raise StoreTransient(f"{about}: Manta's answer broke off") from error


def _status(told: Mapping[str, Any], job: str) -> JobStatus:
    stats = told.get("stats")
    if not isinstance(stats, dict) or not isinstance(told.get("state"), str):
        raise StoreError(f"job {job}: Manta does not say how far it is")
    counts = [stats.get(name) for name in ("tasks", "tasksDone", "outputs", "errors")]
    tasks, tasks_done, outputs, errors = (count if isinstance(count, int) else 0 for count in counts)
    return JobStatus(told["state"], bool(told.get("cancelled")), tasks, tasks_done, outputs, errors)


def _task_error(told: Mapping[str, Any]) -> TaskError:
    def text(name: str) -> str | None:
        value = told.get(name)
        return value if isinstance(value, str) and value else None

    code, message = text("code") or "error", text("message") or "nothing is told of it"
    return TaskError(shown(code), shown(message), text("stderr"), text("p0input") or text("input"))
