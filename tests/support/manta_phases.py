"""A job of the Manta test server at work: inputs go through its phases, one task after the other."""

from __future__ import annotations

import json
import shutil
import signal
import tempfile
import threading
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from tests.support import manta_content
from tests.support.manta_accounts import Caller
from tests.support.manta_directories import iso
from tests.support.manta_entries import NOTHING, Changed, Entry, parent_of
from tests.support.manta_paths import decoded
from tests.support.manta_tasks import PATH, Command, Finished, Task

if TYPE_CHECKING:
    from tests.support.manta_exchange import Service

_END = 20.0  # seconds that a cancelled job may take to end


@dataclass(frozen=True, slots=True)
class Phase:
    """``assets`` are decoded paths; ``asked`` is the phase as it was submitted."""

    reduces: bool
    exec: str
    init: str | None
    assets: tuple[str, ...]
    count: int
    asked: Mapping[str, object]


class Failed(Exception):
    """A task does not start or does not succeed. ``stderr``: the key of what it said."""

    def __init__(self, code: str, message: str, stderr: str | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.stderr = stderr


class Job:
    """State and results; the lists hold what the live lists show."""

    def __init__(
        self,
        service: Service,
        caller: Caller,
        login: str,
        *,
        name: str,
        phases: tuple[Phase, ...],
        seconds: float,
    ) -> None:
        self.id = str(uuid.uuid4())
        self.caller = caller
        self.login = login
        self.name = name
        self.folder = f"/{login}/jobs/{self.id}"
        self.state = "queued"
        self.inputs: list[str] = []
        self.outputs: list[str] = []
        self.failures: list[str] = []
        self.errors: list[str] = []
        self._service = service
        self._phases = phases
        self._seconds = seconds
        self._changed = threading.Condition()
        self._input_done = False
        self._cancelled = False
        self._created = service.now_ms()
        self._done_at: int | None = None
        self._tasks = 0
        self._tasks_done = 0
        self._url = ""
        self._task: Task | None = None
        self._fault: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name=f"manta job {self.id}")

    # ---- what the routes ask ----------------------------------------------------------------------

    def start(self, url: str) -> None:
        """Begins to work. The job's tasks find Manta at the URL."""
        self._url = url
        self._thread.start()

    def add(self, keys: Sequence[str], *, end: bool) -> bool:
        """Takes inputs; False when there can be none any more."""
        with self._changed:
            if self._input_done or self.state == "done":
                return False
            self.inputs.extend(keys)
            self._input_done = end
            self._changed.notify_all()
            return True

    def cancel(self) -> None:
        """The task at hand is killed, and no other one starts."""
        with self._changed:
            self._cancelled = self._cancelled or self.state != "done"
            if self._task:
                self._task.kill()
            self._changed.notify_all()

    def join(self) -> None:
        """Waits for its end. Raises what made it fail that is no fault of its commands."""
        self._thread.join(_END)
        if self._fault:
            raise self._fault

    def line(self) -> str:
        """The job in a list of jobs."""
        return json.dumps({"name": self.id, "type": "directory", "mtime": iso(self._created)})

    def status(self) -> dict[str, object]:
        with self._changed:
            done = {"timeDone": iso(self._done_at)} if self._done_at is not None else {}
            return {
                "id": self.id,
                "name": self.name,
                "state": self.state,
                "cancelled": self._cancelled,
                "inputDone": self._input_done or self._cancelled,
                "transient": False,
                "stats": {
                    "errors": len(self.errors),
                    "outputs": len(self.outputs),
                    "retries": 0,
                    "tasks": self._tasks,
                    "tasksDone": self._tasks_done,
                },
                "timeCreated": iso(self._created),
                **done,
                "phases": [_shown(phase.asked) for phase in self._phases],
            }

    # ---- the work ---------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            with self._changed:
                self.state = "running"
            keys: list[tuple[str, str]] = []  # each with the job's input that it comes from
            for number, phase in enumerate(self._phases):
                source = self._arriving() if number == 0 else iter(keys)
                keys = list(
                    self._reduce(number, phase, source) if phase.reduces else self._map(number, phase, source)
                )
            self._archive()
        except BaseException as error:  # noqa: BLE001  # whatever it is, join() raises it in the test's own thread
            self._fault = error
        finally:
            with self._changed:
                self.state = "done"
                self._done_at = self._service.now_ms()

    def _arriving(self) -> Iterator[tuple[str, str]]:
        taken = 0
        while True:
            with self._changed:
                while not (self._cancelled or self._input_done or len(self.inputs) > taken):
                    self._changed.wait()
                if self._cancelled or taken == len(self.inputs):
                    return
                key = self.inputs[taken]
            taken += 1
            yield key, key

    def _map(self, number: int, phase: Phase, source: Iterator[tuple[str, str]]) -> Iterator[tuple[str, str]]:
        for key, first in source:
            yield from self._one(number, phase, [key], mapped=key, first=first)

    def _reduce(self, number: int, phase: Phase, source: Iterator[tuple[str, str]]) -> Iterator[tuple[str, str]]:
        pairs = list(source)
        for reducer in range(phase.count):
            keys = [key for at, (key, _) in enumerate(pairs) if at % phase.count == reducer]
            first = pairs[0][1] if pairs else ""
            yield from self._one(number, phase, keys, mapped=None, first=first, reducer=reducer)

    def _one(
        self, number: int, phase: Phase, keys: Sequence[str], *, mapped: str | None, first: str, reducer: int = 0
    ) -> Iterator[tuple[str, str]]:
        """Runs a task; yields its output."""
        if self._cancelled:
            return
        self._tasks += 1
        try:
            output = self._perform(number, phase, keys, mapped, reducer)
        except Failed as failed:
            self._fail(number, phase, failed, mapped, first)
        else:
            if number == len(self._phases) - 1:
                self.outputs.append(output)
            yield output, first
        finally:
            self._tasks_done += 1

    def _perform(self, number: int, phase: Phase, keys: Sequence[str], mapped: str | None, reducer: int) -> str:
        """Runs the command; returns the key of its output. Raises Failed."""
        with tempfile.TemporaryDirectory(prefix="manta-task-") as temporary:
            folder = Path(temporary)
            # What comes from outside is encoded as in a URL; what a phase before this one has left is a name.
            names = [decoded(key) or "" if number == 0 else key for key in keys]
            inputs = [self._fetch(name, folder / f"input-{at}") for at, name in enumerate(names)]
            assets = {key: self._asset(key, folder / f"asset-{at}") for at, key in enumerate(phase.assets)}
            shown = {decoded(mapped) or mapped: inputs[0]} if mapped else {}
            environment = self._environment(mapped, reducer if phase.reduces else None)
            command = Command(phase.init, phase.exec, environment, assets, shown, inputs or [Path("/dev/null")])
            # A zone is thrown away with all that a task has left in it; this machine's /var/tmp is not.
            environment["TMPDIR"] = str(folder)
            work = folder / "work"
            work.mkdir()
            with self._at_hand(Task(command, work, self._seconds)) as task:
                finished = task.run()
            return self._judge(number, finished, mapped)

    def _judge(self, number: int, finished: Finished, mapped: str | None) -> str:
        if self._cancelled:
            raise Failed("TaskKilled", "the job was cancelled")
        base = f"{decoded(mapped) or ''}" if mapped else "/reduce"
        if finished.status == 0:
            return self._save(f"{base}.{number}.{uuid.uuid4()}", finished.stdout)
        said = self._save(f"{base}.{number}.err.{uuid.uuid4()}", finished.stderr)
        if finished.status is None:
            raise Failed("InternalError", f"the task took longer than {self._seconds:.0f} s", said)
        if finished.status - 128 in [*signal.Signals]:
            name = signal.Signals(finished.status - 128).name
            raise Failed("UserTaskError", f"the command was ended by {name}", said)
        raise Failed("UserTaskError", f"the command exited with status {finished.status}", said)

    @contextmanager
    def _at_hand(self, task: Task) -> Iterator[Task]:
        with self._changed:
            self._task = task
            if self._cancelled:
                task.kill()
        try:
            yield task
        finally:
            with self._changed:
                self._task = None

    def _fail(self, number: int, phase: Phase, failed: Failed, mapped: str | None, first: str) -> None:
        what = f'phase {number}: map input "{mapped}"' if mapped else f"phase {number}: reduce"
        error = {"phase": str(number), "what": what, "code": failed.code, "message": failed.message}
        error |= {"stderr": failed.stderr} if failed.stderr else {}
        error |= {"input": mapped, "p0input": first} if mapped else {}
        self.errors.append(json.dumps(error))
        if mapped:
            self.failures.append(first)

    def _environment(self, mapped: str | None, reducer: int | None) -> dict[str, str]:
        environment = {
            "PATH": ":".join([*map(str, self._service.programs), PATH]),
            "HOME": "/root",
            "USER": "root",
            "LOGNAME": "root",
            "TERM": "dumb",
            "MANTA_JOB_ID": self.id,
            "MANTA_NO_AUTH": "true",
            "MANTA_URL": self._url,
            "MANTA_USER": self.login,
            "MANTA_OUTPUT_BASE": f"{self.folder}/stor/",
        }
        if mapped:
            environment |= {"MANTA_INPUT_OBJECT": mapped, "MANTA_INPUT_FILE": f"/manta{decoded(mapped) or mapped}"}
        return environment | ({"MANTA_REDUCER": str(reducer)} if reducer is not None else {})

    # ---- the store --------------------------------------------------------------------------------

    def _fetch(self, key: str, target: Path) -> Path:
        """An object's bytes in a file of the task's own. Raises Failed."""
        opened = self._service.entries.open(key)
        if opened is None:
            raise Failed("ResourceNotFound", f"there is no object {key}")
        return _copied(opened[1], target)

    def _asset(self, key: str, target: Path) -> Path:
        opened = self._service.entries.open(key)
        if opened is None:
            raise Failed("TaskInitError", f"there is no asset {key}")
        return _copied(opened[1], target)

    def _save(self, name: str, source: Path) -> str:
        """A file as an object of the job; returns its key."""
        path = f"{self.folder}/stor{name}"
        self._make_directories(parent_of(path))
        return self._write(path, source.read_bytes(), "application/octet-stream")

    def _write(self, path: str, data: bytes, kind: str) -> str:
        content = manta_content.of_bytes(data, self._service.folder)
        roles = self.caller.roles if self.caller.subuser else ()
        now = self._service.now_ms()
        self._service.entries.put(Entry(path, "object", now, content.id, content, kind, 2, roles=roles))
        return path

    def _make_directories(self, path: str) -> None:
        if self._service.entries.get(path) is None:
            self._make_directories(parent_of(path))
            try:
                self._service.entries.put(Entry(path, "directory", self._service.now_ms()), NOTHING)
            except Changed:
                return  # a task has made it meanwhile

    def _archive(self) -> None:
        lists = {"in": self.inputs, "out": self.outputs, "fail": self.failures, "err": self.errors}
        for name, lines in lists.items():
            text = "".join(f"{line}\n" for line in lines)
            self._write(f"{self.folder}/{name}.txt", text.encode(), "text/plain")
        text = json.dumps({**self.status(), "state": "done"}) + "\n"
        self._write(f"{self.folder}/job.json", text.encode(), "application/json")


def _copied(files: Sequence[tuple[BinaryIO, int]], target: Path) -> Path:
    with target.open("wb") as copy:
        for file, _ in files:
            with file:
                shutil.copyfileobj(file, copy, 1 << 20)
    return target


def _shown(asked: Mapping[str, object]) -> dict[str, object]:
    return {**asked, "type": "reduce" if asked.get("type") == "reduce" else "map"}
