"""Jobs of the Manta test server in its v1 mode."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote

import pytest

from tests.support.manta_client import Client, Reply
from tests.support.manta_server import MantaServer, Options
from tests.support.processes import wait_until

STOR = "/alice/stor"
JOBS = "/alice/jobs"

Serve = Callable[..., MantaServer]
Connect = Callable[..., Client]


def refused(reply: Reply) -> tuple[int, str]:
    return reply.status, reply.code


@pytest.fixture
def server(serve: Serve) -> MantaServer:
    return serve(options=Options(v1=True), task_seconds=20)


@pytest.fixture
def old(client: Client) -> Client:
    """A client of v1 with two objects."""
    client.put(f"{STOR}/one", b"1\n")
    client.put(f"{STOR}/two%202", b"22\n")
    return client


def begin(client: Client, *phases: Mapping[str, object], name: str = "") -> str:
    reply = client.post(JOBS, {"name": name, "phases": list(phases)})
    assert reply.status == 201, reply.body
    return reply.headers["location"]


def run(client: Client, keys: list[str], *phases: Mapping[str, object]) -> str:
    """The path of a job that is done."""
    job = begin(client, *phases)
    assert client.request("POST", f"{job}/live/in", "\r\n".join(keys).encode()).status == 204
    assert client.request("POST", f"{job}/live/in/end").status == 202
    assert wait_until(lambda: status(client, job)["state"] == "done", 20)
    return job


def status(client: Client, job: str) -> dict[str, Any]:
    found: dict[str, Any] = client.get(f"{job}/live/status").json()
    return found


def lines(client: Client, path: str) -> list[str]:
    return client.get(path).body.decode().splitlines()


def outputs(client: Client, job: str) -> list[str]:
    """What the outputs hold."""
    return [client.get(quote(key)).body.decode() for key in lines(client, f"{job}/live/out")]


def test_map_and_reduce(old: Client) -> None:
    phases = {"type": "map", "exec": "cat; echo $MANTA_INPUT_OBJECT"}, {"type": "reduce", "exec": "sort"}
    job = run(old, [f"{STOR}/one", f"{STOR}/two%202"], *phases)
    assert sorted(outputs(old, job)[0].split()) == sorted(["1", "22", f"{STOR}/one", f"{STOR}/two%202"])
    found = status(old, job)
    assert found["stats"] == {"errors": 0, "outputs": 1, "retries": 0, "tasks": 3, "tasksDone": 3}
    assert (found["id"], found["cancelled"], found["inputDone"], found["transient"]) == (
        job.rpartition("/")[2],
        False,
        True,
        False,
    )
    assert found["timeCreated"] <= found["timeDone"]
    assert lines(old, f"{job}/live/in") == [f"{STOR}/one", f"{STOR}/two%202"]


def test_what_a_task_finds(old: Client) -> None:
    old.put(f"{STOR}/asset%20a.sh", b'#!/bin/sh\ncat "$1"; echo $MANTA_USER $PWD; ls /assets /manta; cat /tmp/made')
    command = '"/assets/alice/stor/asset a.sh" "$MANTA_INPUT_FILE"; [ "$(cat)" = 22 ]'
    phase = {
        "type": "storage-map",
        "exec": command,
        "init": "echo init > /tmp/made-$$; mv /tmp/made-$$ /tmp/made",
        "assets": [f"{STOR}/asset%20a.sh"],
    }
    job = run(old, [f"{STOR}/two%202"], phase)
    assert outputs(old, job) == ["22\nalice /\n/assets:\nalice\n\n/manta:\nalice\ninit\n"], status(old, job)
    shown = status(old, job)["phases"][0]
    assert shown == {**phase, "type": "map"}


def test_tasks_reach_manta_as_the_one_who_made_the_job(old: Client) -> None:
    command = 'curl -s -T "$MANTA_INPUT_FILE" "${MANTA_URL}alice/stor/copy"; curl -s "${MANTA_URL}alice/stor/copy"'
    assert outputs(old, run(old, [f"{STOR}/one"], {"exec": command})) == ["1\n"]
    assert old.get(f"{STOR}/copy").body == b"1\n"


def test_tasks_that_fail(old: Client) -> None:
    keys = [f"{STOR}/one", f"{STOR}/nothing"]
    job = run(old, keys, {"exec": "echo why >&2; exit 3"}, {"type": "reduce", "exec": "cat"})
    first, second = (json.loads(line) for line in lines(old, f"{job}/live/err"))
    stderr = first.pop("stderr")
    assert first == {
        "phase": "0",
        "what": f'phase 0: map input "{keys[0]}"',
        "code": "UserTaskError",
        "message": "the command exited with status 3",
        "input": keys[0],
        "p0input": keys[0],
    }
    assert stderr.startswith(f"{job}/stor{STOR}/one.0.err.") and old.get(stderr).body == b"why\n"
    assert (second["code"], second["input"]) == ("ResourceNotFound", keys[1])
    assert lines(old, f"{job}/live/fail") == keys
    assert outputs(old, job) == [""]  # the reducer runs all the same


@pytest.mark.parametrize(
    ("phase", "code", "said"),
    [
        ({"exec": "kill -9 $$"}, "UserTaskError", "ended by SIGKILL"),
        ({"exec": "true", "init": "exit 4"}, "UserTaskError", "exited with status 4"),
        ({"exec": "true", "assets": ["/alice/stor/nothing"]}, "TaskInitError", "no asset"),
    ],
)
def test_how_tasks_end(old: Client, phase: dict[str, object], code: str, said: str) -> None:
    job = run(old, [f"{STOR}/one"], phase)
    (error,) = (json.loads(line) for line in lines(old, f"{job}/live/err"))
    assert error["code"] == code and said in error["message"]
    assert status(old, job)["stats"]["errors"] == 1


def test_a_task_that_takes_too_long(serve: Serve, connect: Connect) -> None:
    client = connect(serve(options=Options(v1=True), task_seconds=0.3))
    client.put(f"{STOR}/one", b"1\n")
    job = run(client, [f"{STOR}/one"], {"exec": "sleep 60"})
    assert "longer than" in lines(client, f"{job}/live/err")[0]


def test_nothing_that_a_task_starts_stays(old: Client) -> None:
    job = run(old, [f"{STOR}/one"], {"exec": "sleep 71 >/dev/null 2>&1 & echo started"})
    assert outputs(old, job) == ["started\n"]  # and the leak check looks for the rest


def test_cancel(old: Client) -> None:
    job = begin(old, {"exec": "sleep 60"})
    old.request("POST", f"{job}/live/in", f"{STOR}/one".encode())
    assert wait_until(lambda: status(old, job)["stats"]["tasks"] == 1, 10)
    assert status(old, job)["state"] == "running"
    assert old.request("POST", f"{job}/live/cancel").status == 202
    assert wait_until(lambda: status(old, job)["state"] == "done", 10)
    assert status(old, job)["cancelled"] is True
    for path in ("in", "in/end", "cancel"):
        assert refused(old.request("POST", f"{job}/live/{path}", b"/x")) == (409, "InvalidJobState")


def test_a_server_with_a_running_job_can_end(old: Client, server: MantaServer) -> None:
    job = begin(old, {"exec": "sleep 60"})
    old.request("POST", f"{job}/live/in", f"{STOR}/one".encode())
    assert wait_until(lambda: status(old, job)["stats"]["tasks"] == 1, 10)
    server.close()


def test_input_in_several_turns(old: Client) -> None:
    job = begin(old, {"exec": "cat"})
    old.request("POST", f"{job}/live/in", f"{STOR}/one".encode())
    assert wait_until(lambda: len(lines(old, f"{job}/live/out")) == 1, 20)
    assert status(old, job)["inputDone"] is False
    assert old.request("POST", f"{job}/live/in?end=true", f"{STOR}/two%202\n".encode()).status == 204
    assert wait_until(lambda: status(old, job)["state"] == "done", 20)
    assert sorted(outputs(old, job)) == ["1\n", "22\n"]


def test_lists_show_the_newest_hundred(old: Client) -> None:
    job = begin(old, {"type": "reduce", "exec": "wc -l"})
    keys = [f"{STOR}/{number}" for number in range(150)]
    old.request("POST", f"{job}/live/in", "\n".join(keys).encode())
    assert lines(old, f"{job}/live/in") == keys[50:]
    old.request("POST", f"{job}/live/cancel")


def test_what_is_kept_of_a_job(old: Client) -> None:
    job = run(old, [f"{STOR}/one"], {"exec": "cat"})
    names = [line["name"] for line in old.get(job).lines()]
    assert {"in.txt", "out.txt", "err.txt", "fail.txt", "job.json", "stor", "live"} == set(names)
    assert old.get(f"{job}/out.txt").body.decode().splitlines() == lines(old, f"{job}/live/out")
    assert [line["name"] for line in old.get(JOBS).lines()] == [job.rpartition("/")[2]]
    assert old.get(f"{JOBS}?state=running").body == b""
    assert refused(old.get(f"{JOBS}?state=odd")) == (400, "InvalidParameter")


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"phases": []},
        {"phases": [{"type": "map"}]},
        {"phases": [{"exec": "true", "type": "other"}]},
        {"phases": [{"exec": "true", "memory": 100}]},
        {"phases": [{"exec": "true", "disk": 3}]},
        {"phases": [{"exec": "true", "type": "reduce", "count": 0}]},
        {"phases": [{"exec": "true", "assets": "/alice/stor/x"}]},
        {"phases": [{"exec": "true", "other": 1}]},
        {"phases": [{"exec": "true"}], "name": 3},
    ],
    ids=range(10),
)
def test_jobs_that_cannot_be(old: Client, document: object) -> None:
    assert refused(old.post(JOBS, document)) == (400, "InvalidJob")


def test_unknown_jobs_and_methods(old: Client) -> None:
    assert refused(old.get(f"{JOBS}/00000000-0000-4000-8000-000000000000/live/status")) == (404, "JobNotFound")
    job = begin(old, {"exec": "cat"})
    assert old.request("PUT", f"{job}/live/status").status == 405
    assert old.get(f"{job}/live/nothing").status == 405
    old.request("POST", f"{job}/live/cancel")


def test_v1_says_so_and_v2_has_none(old: Client, serve: Serve, connect: Connect) -> None:
    assert old.head(f"{STOR}/nothing").headers["server"] == "Manta"
    assert "jobs" in [line["name"] for line in old.get("/alice").lines()]
    new = connect(serve())
    assert refused(new.post(JOBS, {"phases": [{"exec": "true"}]})) == (404, "ResourceNotFound")
    assert refused(new.get(JOBS)) == (404, "ResourceNotFound")
    assert new.head(f"{STOR}/nothing").headers["server"] == "Manta/2"
