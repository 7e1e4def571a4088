"""What a runner on Manta's jobs does beyond the contract of runners (tests/contract/test_runner.py)."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.support.elfwriter import illumos_core
from tests.support.jobs import JobBench, job_bench, quick_times
from tests.support.manta_moods import Answer, NeverReply
from tests.support.processes import wait_until
from thoth.analysis.changes import BadChange, Changes, Sent, changes_in
from thoth.analysis.job_assets import documents_asset, sweep_assets
from thoth.analysis.job_records import records_in
from thoth.analysis.job_run import JobFailed
from thoth.analysis.job_runner import sizes
from thoth.analysis.run import Analysis, Analyzer
from thoth.analysis.runner import Outcome, Settings, Unanalyzed
from thoth.edit import SetProperty, SetTicket
from thoth.errors import StoreUnavailable, UsageError
from thoth.model import DumpInfo, Identity

LIMITS = {"timeout": 30}


@pytest.fixture
def bench() -> Iterator[JobBench]:
    with job_bench() as made:
        yield made


def keep(bench: JobBench, *pids: int) -> list[DumpInfo]:
    return [bench.keep(illumos_core(pid=pid), b"core.%d" % pid) for pid in pids]


def run(bench: JobBench, script: str, *dumps: DumpInfo, **more: object) -> list[Outcome]:
    settings = Settings(limits=LIMITS)
    runner = bench.runner(Analyzer("test", script.encode()), settings, **{"times": quick_times(), **more})
    with closing(runner.outcomes([dump.id for dump in dumps])) as outcomes:
        return list(outcomes)


def jobs_made(bench: JobBench) -> list[str]:
    return [each.path for each in bench.server.requests if each.method == "POST" and each.path == "/alice/jobs"]


def test_one_job_for_all_dumps_and_nothing_is_left(bench: JobBench) -> None:
    dumps = keep(bench, *range(5))
    outcomes = run(bench, "echo $THOTH_NAME", *dumps)
    assert [each.output.decode().strip() for each in outcomes if isinstance(each, Analysis)] == [d.id for d in dumps]
    assert len(jobs_made(bench)) == 1
    assert bench.left_behind() == []
    job = bench.said[0].split()[-1]
    assert bench.said == [
        f"created job {job}",
        f"waiting for completion of job {job}",
        f"job {job} completed in 0h0m{bench.said[2].rpartition('0m')[2]}",
    ]


def test_large_documents_are_spread_over_several_jobs(bench: JobBench) -> None:
    """Each task gets the documents of all dumps of its job."""
    dumps = keep(bench, 1, 2)
    for dump in dumps:
        large = dump.changed(properties={"large": "x" * (9 << 20)})
        bench.store.put(f"/alice/stor/thoth/{dump.id}/info.json", large.to_json().encode())
    outcomes = run(bench, "json properties.large.length < $THOTH_INFO", *dumps)
    assert [each.output for each in outcomes if isinstance(each, Analysis)] == [b"%d\n" % (9 << 20)] * 2
    assert len(jobs_made(bench)) == 2


def test_dumps_of_which_none_can_be_analyzed_need_no_job(bench: JobBench) -> None:
    (dump,) = keep(bench, 1)
    bench.store.delete(f"/alice/stor/thoth/{dump.id}/core.1")
    (outcome,) = run(bench, "true", dump)
    assert "its dump is lost" in (outcome.reason or "")
    assert jobs_made(bench) == []


def test_a_task_that_fails_is_told_by_its_last_words(bench: JobBench) -> None:
    """Or by Manta's, when those cannot be had."""
    first, second = keep(bench, 1, 2)
    outcomes = run(bench, f"[ $THOTH_NAME = {second.id} ] || kill -9 $PPID", first, second)
    assert isinstance(outcomes[0], Unanalyzed)
    assert isinstance(outcomes[0].error, JobFailed)
    assert outcomes[0].reason.startswith("its task failed: ")
    assert " Killed " in outcomes[0].reason
    assert isinstance(outcomes[1], Analysis)
    assert not outcomes[1].failed
    bench.server.moods.add(Answer(404, "ResourceNotFound"), path="*.err.*", method="GET", count=None)
    (again,) = run(bench, "kill -9 $PPID", first)
    assert (again.reason or "").startswith("its task failed: the command was ended by SIGKILL")


def test_a_reducer_that_fails_fails_all(bench: JobBench, monkeypatch: pytest.MonkeyPatch) -> None:
    dumps = keep(bench, 1, 2)
    bench.tools.directory.joinpath("cat").write_text(
        '#!/bin/sh\n[ -z "$MANTA_REDUCER" ] || exit 4\nexec /bin/cat "$@"\n'
    )
    bench.tools.directory.joinpath("cat").chmod(0o755)
    outcomes = run(bench, "thoth_set x 1", *dumps)
    for each in outcomes:
        assert (each.reason or "").startswith("its job failed: the command exited with status 4")
    assert bench.left_behind() == []


def test_a_job_that_somebody_else_cancels(bench: JobBench) -> None:
    (dump,) = keep(bench, 1)

    def cancel() -> None:
        assert wait_until(lambda: len(bench.said) == 2, 10)  # it is waited for
        bench.jobs.cancel(bench.said[0].split()[-1])

    helper = threading.Thread(target=cancel)
    helper.start()
    (outcome,) = run(bench, "sleep 60", dump)
    helper.join()
    assert (outcome.reason or "").endswith("was cancelled by somebody else, or by Manta")
    assert bench.left_behind() == []


def test_a_job_that_makes_no_progress_is_cancelled(bench: JobBench) -> None:
    (dump,) = keep(bench, 1)
    (outcome,) = run(bench, "sleep 60", dump, patience=-29.0)
    job = bench.said[0].split()[-1]
    assert outcome.reason == f"job {job}: was cancelled after 1 s without progress"
    assert bench.said[-1] == f"cancelled job {job}"
    assert bench.jobs.status(job).cancelled


def test_F31_a_job_outlasts_a_manta_that_is_away(bench: JobBench) -> None:
    """What it does, and what it has left, is asked for until Manta answers."""
    (dump,) = keep(bench, 1)
    away = [
        bench.server.moods.add(Answer(503, "ServiceUnavailable"), method="GET", path=path, nth=nth, count=20)
        for path, nth in (("*/live/status", 1), ("*/live/status", 22), ("*/live/out", 1))
    ]
    (outcome,) = run(bench, "echo $THOTH_NAME", dump)
    assert isinstance(outcome, Analysis)
    assert outcome.output.decode().strip() == dump.id
    assert [each.hits for each in away] == [20, 20, 20]
    assert not any("cancelled" in line for line in bench.said)


def test_F31_but_not_for_ever(bench: JobBench) -> None:
    (dump,) = keep(bench, 1)
    bench.server.moods.add(Answer(503, "ServiceUnavailable"), path="*/live/status", count=None)
    (outcome,) = run(bench, "sleep 60", dump, patience=600.0)
    job = bench.said[0].split()[-1]
    assert (outcome.reason or "").startswith(f"job {job}: Manta: ServiceUnavailable")
    assert bench.said[-1] == f"cancelled job {job}"
    bench.server.moods.clear()
    assert bench.jobs.status(job).cancelled


def test_F31_a_refusal_ends_a_job_at_once(bench: JobBench) -> None:
    (dump,) = keep(bench, 1)
    refusal = bench.server.moods.add(Answer(403, "AuthorizationFailed"), path="*/live/status", count=None)
    with pytest.raises(StoreUnavailable, match="AuthorizationFailed"):
        run(bench, "sleep 60", dump)
    job = bench.said[0].split()[-1]
    assert (bench.said[-1], refusal.hits) == (f"cancelled job {job}", 1)


def test_F25_an_interrupt_cancels_the_job(bench: JobBench) -> None:
    """And nothing of it is left behind."""
    (dump,) = keep(bench, 1)

    class Interrupt(BaseException):
        pass

    def interrupted(seconds: float) -> None:
        raise Interrupt

    times = quick_times()
    with pytest.raises(Interrupt):
        run(bench, "sleep 60", dump, times=type(times)(sleep=interrupted))
    assert bench.jobs.status(bench.said[0].split()[-1]).cancelled
    assert bench.left_behind() == []


def test_F25_two_interrupts_leave_a_job_that_is_told(bench: JobBench) -> None:
    """The second one comes while the job is cancelled: then nobody knows whether it is."""
    (dump,) = keep(bench, 1)

    def interrupted(seconds: float) -> None:
        raise KeyboardInterrupt

    def interrupt_again() -> None:
        assert wait_until(lambda: silence.hits == 1, 20)
        os.kill(os.getpid(), signal.SIGINT)

    silence = bench.server.moods.add(NeverReply(), method="POST", path="*/cancel")
    times = quick_times()
    again = threading.Thread(target=interrupt_again)
    again.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            run(bench, "sleep 60", dump, times=type(times)(sleep=interrupted))
    finally:
        again.join()
    job = bench.said[0].split()[-1]
    assert f"job {job} may go on: interrupted while it was cancelled; 'mjob cancel {job}' ends it" in bench.said
    bench.jobs.cancel(job)


def test_limits_that_no_task_can_have_are_refused_before_anything_else(bench: JobBench) -> None:
    runner = bench.runner(Analyzer("test", b""), Settings(limits={"memory": 64 << 30}))
    with pytest.raises(UsageError, match="--memory: a task of a job has at most 8G"):
        runner.outcomes([])


def test_the_reason_does_not_name_the_dump_again(bench: JobBench) -> None:
    (dump,) = keep(bench, 1)
    bench.store.delete(f"/alice/stor/thoth/{dump.id}/core.1")
    (outcome,) = run(bench, "true", dump)
    assert isinstance(outcome, Unanalyzed)
    assert outcome.reason.startswith("its dump is lost: the store has no /alice/")


def test_what_others_left_is_swept_after_a_week(bench: JobBench) -> None:
    bench.store.put("/alice/stor/thoth/jobs/thoth-0123456789abcdef.sh", b"x")
    bench.store.put("/alice/stor/thoth/jobs/another", b"x")
    sweep_assets(bench.thoth, time.time() + 6 * 86_400)
    assert len(bench.left_behind()) == 2
    sweep_assets(bench.thoth, time.time() + 8 * 86_400)
    assert bench.left_behind() == ["another"]


def test_the_sizes_that_tasks_ask_for() -> None:
    crash = DumpInfo({"id": "ab" * 16, "name": f"/a/stor/thoth/{'ab' * 16}", "type": "crash"})
    assert sizes({}, []) == (None, None)
    assert sizes({}, [crash]) == (8192, 256)
    assert sizes({}, [crash.changed(expanded={})]) == (None, None)
    assert sizes({"memory": 129 << 20, "file_size": 3 << 30}, [crash]) == (256, 4)
    with pytest.raises(UsageError, match="--memory: a task of a job has at most 8G; THOTH_NO_JOBS=1"):
        sizes({"memory": 9 << 30}, [])


# ---- what comes back, which nobody believes --------------------------------------------------------

ONE, TWO = "11" * 16, "22" * 16


def records(tmp_path: Path, data: bytes) -> dict[str, tuple[str, int, int, int]]:
    path = tmp_path / "records"
    path.write_bytes(data)
    with path.open("rb") as file:
        return {key: (each.how, each.begin, each.output, each.changes) for key, each in records_in(file).items()}


@pytest.mark.parametrize(
    "rest",
    [b"", b"garbage", b"thoth-task 2", b"\n", b"thoth-task 1 x", f"thoth-task 1 {TWO} exit 0 0 5 0\n1234".encode(),
     f"thoth-task 1 {TWO} exit 0 0 999999999999999 0\n".encode(), b"x" * 5000],
)  # fmt: skip
def test_records_are_read_as_far_as_they_go(tmp_path: Path, rest: bytes) -> None:
    head = f"thoth-task 1 {ONE} exit 3 7 4 2\n".encode()
    forged = f"thoth-task 1 {ONE} exit 0 0 0 0\n".encode()
    inner = head[:4] + b"cc"
    assert records(tmp_path, head + inner + forged + rest) == {ONE: ("exit", len(head), 4, 2)}


def record(*changes: tuple[bytes, bytes]) -> bytes:
    return b"".join(b"%d %d\n%b%b" % (len(head), len(value), head, value) for head, value in changes)


def test_changes_of_a_record() -> None:
    data = record((b"set\0stdin\0a.b", b"1\n"), (b"ticket\0argument\0", b"T"), (b"stack\0stdin\0", b"f()\n\ng()\n"))
    assert changes_in(data) == Changes((SetProperty(("a", "b"), 1), SetTicket("T")), ("f()", "g()"))
    sent = b"vmcore.0 12 " + b"a" * 32 + b" " + b"b" * 64
    assert changes_in(record((b"store\0argument\0", sent))).expanded == Sent("vmcore.0", 12, "a" * 32, "b" * 64)
    assert changes_in(b"") == Changes()


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"damaged\n", "a name is none of ours"),
        (b"many\n", "over 10000 changes"),
        (record((b"set\0stdin\0a", b"1")) + b"large\n", "changes of over 64 MiB"),
        (record((b"set\0stdin\0a", b"1"))[:-1], "incomplete"),
        (b"9999999999 0\n", "incomplete"),
        (b"-1 0\n", "incomplete"),
        (record((b"x" * 70000 + b"\0\0", b"")), "incomplete"),
        (record((b"set", b"")), "a head is incomplete"),
        (record((b"store\0argument\0", b"/etc/passwd")), "what it says of the file cannot be read"),
        (record((b"store\0argument\0", b"info.json 1 " + b"a" * 32 + b" " + b"b" * 64)), "cannot be read"),
        (record((b"store\0argument\0", b".x 1 " + b"a" * 32 + b" " + b"b" * 64)), "cannot be read"),
        (record((b"unticket\0argument\0", b"")) * 10_001, "incomplete"),
    ],
)
def test_changes_that_are_damaged(data: bytes, reason: str) -> None:
    with pytest.raises(BadChange, match=reason):
        changes_in(data)


def test_a_document_with_a_filename_of_the_originals(bench: JobBench) -> None:
    """It may have blanks; the table of documents is read word by word."""
    (dump,) = keep(bench, 1)
    odd = dump.changed(dump=f"/alice/stor/thoth/{dump.id}/core of the day 5 6")
    table = documents_asset(bench.thoth, [odd, dump]).split(b"\n\n")[0].splitlines()
    assert table[1].split(b" ", 4)[4] == b"core of the day 5 6"
    assert int(table[0]) == sum(len(line) + 1 for line in table) + 1
    assert Identity(table[2].split()[0].decode()) == dump.id


@pytest.mark.parametrize("lie", ["size", "name", "nothing", "content"])
def test_F25_what_a_task_says_of_what_it_stored_is_looked_at(bench: JobBench, lie: str) -> None:
    (dump,) = keep(bench, 1)
    name = {"name": "core.1"}.get(lie, "vmcore.0")
    if lie != "nothing":
        bench.store.put(f"/alice/stor/thoth/{dump.id}/vmcore.0", b"no dump")
    size = 8 if lie == "size" else 7
    sent = f"{name} {size} {'a' * 32} {'b' * 64}"
    (outcome,) = run(bench, f"_thoth_change thoth_store store '' '{sent}'; thoth_set x 1", dump)
    reasons = {
        "size": "has 7 bytes, and 8 were sent",
        "name": "the name of the dump itself",
        "nothing": "is not there, though it was to be sent",
        "content": "is no illumos crash dump",
    }
    assert reasons[lie] in (outcome.reason or "")
    found = bench.thoth.stored_info(dump.id)
    assert found is not None
    assert found[0].document == dump.document
