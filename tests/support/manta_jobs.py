"""Jobs, which only Manta v1 has: routes, states, and the phases that run. What is live is lost with the server."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from tests.support.manta_auth import authorize
from tests.support.manta_directories import send_lines
from tests.support.manta_entries import Entry
from tests.support.manta_errors import Refusal, not_offered
from tests.support.manta_exchange import Exchange
from tests.support.manta_paths import decoded
from tests.support.manta_phases import Job, Phase

if TYPE_CHECKING:
    from tests.support.manta_exchange import Service

_LIVE = re.compile(r"/[^/]+/jobs/([^/]+)/live/(.+)")
_TYPES = ("map", "reduce", "storage-map")
_MEMORY = (128, 256, 512, 1024, 2048, 4096, 8192)  # MB
_DISK = (2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)  # GB
_MOST_REDUCERS = 1024
_MOST_CREATE = 100_000  # bytes of a body
_MOST_INPUT = 1 << 20
_SHOWN = 100  # lines of a live list: the newest


class Jobs:
    """The jobs of a running server. ``gate`` gives the URL at which a job's tasks reach Manta as its owner."""

    def __init__(self, service: Service, gate: Callable[[Job], str], seconds: float) -> None:
        self._service = service
        self._gate = gate
        self._seconds = seconds
        self._jobs: dict[str, Job] = {}

    def handle(self, exchange: Exchange) -> bool:
        """Answers a request for a job; False: it is one for a directory or object. Raises Refusal."""
        login = exchange.key.split("/")[1]
        if exchange.path == f"/{login}/jobs":
            return self._root(exchange)
        found = _LIVE.fullmatch(exchange.path)
        if not found:
            return False
        job = self._jobs.get(found[1])
        if job is None or job.login != login:
            raise Refusal(404, "JobNotFound", f"there is no job {found[1]}")
        authorize(exchange, "getjob" if exchange.reads else "managejob", ())
        actions: Mapping[tuple[str, str], Callable[[Exchange, Job], None]] = {
            ("POST", "in"): _add,
            ("POST", "in/end"): _end,
            ("POST", "cancel"): _cancel,
            ("GET", "status"): _status,
            ("GET", "in"): lambda exchange, job: _keys(exchange, job.inputs),
            ("GET", "out"): lambda exchange, job: _keys(exchange, job.outputs),
            ("GET", "fail"): lambda exchange, job: _keys(exchange, job.failures),
            ("GET", "err"): _errors,
        }
        action = actions.get((exchange.method, found[2]))
        if action is None:
            raise not_offered(exchange.method, exchange.path)
        action(exchange, job)
        return True

    def close(self) -> None:
        """Ends all jobs. Raises what made one fail that is no fault of its commands."""
        for job in self._jobs.values():
            job.cancel()
        for job in self._jobs.values():
            job.join()

    def _root(self, exchange: Exchange) -> bool:
        if exchange.method == "POST":
            self._create(exchange)
        elif exchange.method == "GET" and {"state", "status", "name"} & exchange.query.keys():
            self._list(exchange)
        else:
            return False
        return True

    def _create(self, exchange: Exchange) -> None:
        authorize(exchange, "createjob", ())
        document = exchange.json(_MOST_CREATE)
        name, phases = _checked(document)
        caller, login = exchange.caller, exchange.key.split("/")[1]
        job = Job(self._service, caller, login, name=name, phases=phases, seconds=self._seconds)
        now = self._service.now_ms()
        for path in (job.folder, f"{job.folder}/live", f"{job.folder}/stor"):
            self._service.entries.put(Entry(path, "directory", now, roles=caller.roles if caller.subuser else ()))
        self._jobs[job.id] = job
        job.start(self._gate(job))
        exchange.send(201, {"Location": job.folder})

    def _list(self, exchange: Exchange) -> None:
        authorize(exchange, "listjobs", ())
        state = exchange.query.get("state") or exchange.query.get("status")
        if state not in (None, "live", "running"):
            raise Refusal(400, "InvalidParameter", f"not a state to list by: {state}")
        login, name = exchange.key.split("/")[1], exchange.query.get("name")
        jobs = [job for job in self._jobs.values() if job.login == login and name in (None, job.name)]
        lines = [job.line() for job in jobs if state is None or job.state != "done"]
        send_lines(exchange, lines, "application/x-json-stream; type=job", {})


def _checked(document: object) -> tuple[str, tuple[Phase, ...]]:
    """Name and phases. Raises Refusal."""
    if not isinstance(document, dict) or not isinstance(document.get("phases"), list) or not document["phases"]:
        raise _invalid("it has no phases")
    name = document.get("name", "")
    if not isinstance(name, str):
        raise _invalid("its name is not a string")
    return name, tuple(_phase(number, phase) for number, phase in enumerate(document["phases"]))


def _phase(number: int, phase: object) -> Phase:
    where = f"phases[{number}]"
    if not isinstance(phase, dict) or not isinstance(phase.get("exec"), str):
        raise _invalid(f"{where} has no exec")
    if unknown := phase.keys() - {"type", "exec", "init", "assets", "count", "memory", "disk", "image"}:
        raise _invalid(f"{where}.{min(unknown)} means nothing")
    kind = phase.get("type", "map")
    assets = phase.get("assets", [])
    count = phase.get("count", 1)
    checks = {
        "type": kind in _TYPES,
        "init": isinstance(phase.get("init", ""), str),
        "assets": isinstance(assets, list) and all(isinstance(each, str) and decoded(each) for each in assets),
        "count": type(count) is int and 1 <= count <= (_MOST_REDUCERS if kind == "reduce" else 1),
        "memory": phase.get("memory", _MEMORY[0]) in _MEMORY,
        "disk": phase.get("disk", _DISK[0]) in _DISK,
    }
    if bad := [name for name, good in checks.items() if not good]:
        raise _invalid(f"{where}.{bad[0]} cannot be that")
    keys = tuple(decoded(each) or "" for each in assets)
    return Phase(kind == "reduce", phase["exec"], phase.get("init"), keys, count, phase)


def _invalid(message: str) -> Refusal:
    return Refusal(400, "InvalidJob", message)


def _add(exchange: Exchange, job: Job) -> None:
    data = exchange.body.all(_MOST_INPUT)
    if data is None:
        raise Refusal(413, "RequestEntityTooLarge", f"the body is longer than {_MOST_INPUT} bytes")
    keys = [line for line in re.split(r"\r?\n", data.decode()) if line]
    if not job.add(keys, end=exchange.query.get("end") == "true"):
        raise _wrong_state(job)
    exchange.send(204)


def _end(exchange: Exchange, job: Job) -> None:
    if not job.add([], end=True):
        raise _wrong_state(job)
    exchange.send(202)


def _cancel(exchange: Exchange, job: Job) -> None:
    if job.state == "done":
        raise _wrong_state(job)
    job.cancel()
    exchange.send(202)


def _wrong_state(job: Job) -> Refusal:
    return Refusal(409, "InvalidJobState", f"the job {job.id} is {job.state}, and takes nothing more")


def _status(exchange: Exchange, job: Job) -> None:
    exchange.send_json(200, job.status())


def _keys(exchange: Exchange, keys: list[str]) -> None:
    send_lines(exchange, keys[-_SHOWN:], "text/plain", {})


def _errors(exchange: Exchange, job: Job) -> None:
    send_lines(exchange, job.errors[-_SHOWN:], "application/x-json-stream; type=job-error", {})
