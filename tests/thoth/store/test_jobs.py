"""Manta's jobs by their client: none is made twice, no input is given twice, and lists are whole."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace

import pytest

from tests.support.manta_moods import Answer, NeverReply, Reset
from tests.support.manta_server import MantaServer, Options
from tests.support.manta_store import account, hurried, manta
from thoth.errors import NoSuchObject, StoreError, StoreUnavailable
from thoth.store.jobs import Jobs, JobStatus, Phase
from thoth.store.manta import MantaStore

ECHO = (Phase("storage-map", "echo done"), Phase("reduce", "cat"))
LIMITS, TIMES = hurried()


@pytest.fixture
def server() -> Iterator[MantaServer]:
    with MantaServer(account(), options=Options(v1=True)) as running:
        yield running


@pytest.fixture
def store(server: MantaServer) -> Iterator[MantaStore]:
    made = manta(server, limits=LIMITS, times=TIMES)
    yield made
    made.close()


@pytest.fixture
def jobs(store: MantaStore) -> Jobs:
    found = store.jobs()
    assert found is not None
    return found


def finished(jobs: Jobs, job: str) -> JobStatus:
    while not (status := jobs.status(job)).done:
        pass
    return status


def made(server: MantaServer) -> list[str]:
    """The jobs that the server has."""
    assert server.service.jobs is not None
    return list(server.service.jobs._jobs)


def test_from_its_beginning_to_its_end(server: MantaServer, store: MantaStore, jobs: Jobs) -> None:
    store.put("/alice/stor/thoth/a b/core%41.1", b"x")
    phases = (Phase("storage-map", 'basename "$MANTA_INPUT_FILE"', memory=256, disk=16), ECHO[1])
    job = jobs.create("one", phases)
    jobs.add(job, ["/alice/stor/thoth/a b/core%41.1"])
    assert not jobs.status(job).done
    jobs.end(job)
    status = finished(jobs, job)
    assert status == JobStatus("done", False, tasks=2, tasks_done=2, outputs=1, errors=0)
    (output,) = jobs.outputs(job, status)
    assert store.get(output)[0] == b"core%41.1\n"
    assert jobs.errors(job, status) == []
    with pytest.raises(NoSuchObject, match="job 1234"):
        jobs.status("1234")


def test_a_server_without_jobs() -> None:
    with MantaServer(account()) as running:
        store = manta(running)
        assert store.jobs() is None
        store.close()


# ---- making one -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mood", "posts"),
    [
        (NeverReply(stored=True), 1),  # the job was made, and its answer is lost
        (Answer(500, when="done"), 1),
        (Answer(503, "ServiceUnavailable"), 2),  # refused, so asked for again
    ],
)
def test_F33_a_job_whose_answer_is_lost_is_found(
    server: MantaServer, jobs: Jobs, mood: Answer | NeverReply, posts: int
) -> None:
    server.moods.add(mood, method="POST", path="/alice/jobs")
    job = jobs.create("thoth-1", ECHO)
    assert made(server) == [job]
    assert len([each for each in server.requests if (each.method, each.path) == ("POST", "/alice/jobs")]) == posts
    jobs.cancel(job)


@pytest.mark.parametrize(
    "mood", [NeverReply(stored=True), Answer(500, when="done"), Answer(500, when="done", retry_after=3600)]
)
def test_F33_it_is_looked_for_although_there_is_to_be_no_other_try(
    server: MantaServer, jobs: Jobs, mood: Answer | NeverReply
) -> None:
    server.moods.add(Answer(503, "ServiceUnavailable"), method="POST", path="/alice/jobs", count=4)
    server.moods.add(mood, method="POST", path="/alice/jobs", nth=5)
    job = jobs.create("thoth-11", ECHO)
    assert made(server) == [job]
    jobs.cancel(job)


def test_F33_nobody_can_tell_whether_it_was_made(server: MantaServer, jobs: Jobs) -> None:
    """Then no second one is made."""
    server.moods.add(NeverReply(stored=False), method="POST", path="/alice/jobs", count=None)
    with pytest.raises(
        StoreError, match="job thoth-2: Manta did not say whether it was made; 'mjob list -n thoth-2'"
    ):
        jobs.create("thoth-2", ECHO)
    assert made(server) == []
    assert [each.method for each in server.requests if each.path == "/alice/jobs"].count("POST") == 1


def test_interrupted_while_it_is_made_it_is_cancelled(server: MantaServer) -> None:
    class Interrupted(BaseException):
        pass

    def interrupted(seconds: float) -> None:
        raise Interrupted

    store = manta(server, limits=LIMITS, times=replace(TIMES, sleep=interrupted))
    jobs = store.jobs()
    assert jobs is not None
    server.moods.add(NeverReply(stored=True), method="POST", path="/alice/jobs")
    server.moods.add(Answer(503, "ServiceUnavailable"), method="GET", path="/alice/jobs")  # so there is a pause
    with pytest.raises(Interrupted):
        jobs.create("thoth-3", ECHO)
    (job,) = made(server)
    assert finished(jobs, job).cancelled
    store.close()


def test_what_manta_refuses(jobs: Jobs) -> None:
    with pytest.raises(StoreError, match="InvalidJob"):
        jobs.create("thoth-4", (Phase("storage-map", "x", memory=17),))


def test_nobody_there(server: MantaServer, jobs: Jobs) -> None:
    server.close()
    with pytest.raises(StoreUnavailable, match="no connection"):
        jobs.create("thoth-5", ECHO)


# ---- input ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("mood", [NeverReply(stored=True), Answer(500, when="done"), Reset(), Answer(503)])
def test_F33_input_is_given_once(server: MantaServer, jobs: Jobs, mood: Answer | NeverReply | Reset) -> None:
    job = jobs.create("thoth-6", ECHO)
    names = [f"/alice/stor/nothing/{number}" for number in range(230)]
    server.moods.add(mood, method="POST", path="*/live/in", nth=2)
    jobs.add(job, names)
    jobs.end(job)
    status = finished(jobs, job)
    assert server.service.jobs is not None
    assert server.service.jobs._jobs[job].inputs == names
    assert status.errors == 230


def test_the_end_of_the_input_is_said_again(server: MantaServer, jobs: Jobs) -> None:
    job = jobs.create("thoth-7", ECHO)
    server.moods.add(NeverReply(stored=True), method="POST", path="*/live/in/end")
    jobs.end(job)
    assert finished(jobs, job).outputs == 1  # the reducer's
    jobs.cancel(job)  # too late, and no error
    jobs.end(job)
    with pytest.raises(StoreError, match=f"job {job}: takes no more input"):
        jobs.add(job, ["/alice/stor/x"])


# ---- what it leaves --------------------------------------------------------------------------------


def test_more_errors_than_a_live_list_shows(server: MantaServer, jobs: Jobs) -> None:
    """The archive has them all."""
    job = jobs.create("thoth-8", (Phase("storage-map", "true"),))
    names = [f"/alice/stor/nothing/{number}" for number in range(150)]
    jobs.add(job, names)
    jobs.end(job)
    server.moods.add(Answer(404, "ResourceNotFound"), path="*/err.txt", count=2)  # it takes its time
    errors = jobs.errors(job, finished(jobs, job))
    assert [error.key for error in errors] == names
    assert {(error.code, error.stderr) for error in errors} == {("ResourceNotFound", None)}


def test_what_is_live_is_gone(server: MantaServer, store: MantaStore, jobs: Jobs) -> None:
    job = jobs.create("thoth-9", (Phase("reduce", "echo out; exit 0"), Phase("map", "echo said >&2; exit 2")))
    jobs.end(job)
    status = finished(jobs, job)
    server.moods.add(Answer(404, "JobNotFound"), path="*/live/*", count=None)
    assert jobs.status(job) == status
    assert jobs.outputs(job, status) == []
    (error,) = jobs.errors(job, status)
    assert error.code == "UserTaskError"
    assert error.message.endswith(" 2")
    assert error.stderr is not None
    assert store.get(error.stderr)[0] == b"said\n"


def test_an_answer_that_makes_no_sense(server: MantaServer, store: MantaStore, jobs: Jobs) -> None:
    job = jobs.create("thoth-10", (Phase("reduce", "true"),))
    jobs.end(job)
    finished(jobs, job)
    server.moods.add(Answer(410, "ResourceGone"), path="*/live/*", count=None)
    store.put(f"/alice/jobs/{job}/job.json", json.dumps({"state": "done"}).encode())
    with pytest.raises(StoreError, match=f"job {job}: Manta does not say how far it is"):
        jobs.status(job)
