"""The contract of runners, which thoth/analysis/runner.py has, on this machine and on Manta's jobs."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path

import pytest

from tests.support.elfwriter import illumos_core, vmdump
from tests.support.jobs import JobBench, expanded_form, job_bench, quick_times
from tests.support.processes import PROC, wait_until
from thoth.analysis.run import Analysis, Analyzer, Dcmd, Task
from thoth.analysis.runner import LocalRunner, Outcome, Runner, Settings, Unanalyzed
from thoth.edit import revise
from thoth.model import DumpInfo

PRINTED = Path(__file__).parents[1] / "thoth" / "analysis" / "printed"
BUNDLED = Path(__file__).parents[2] / "thoth" / "analysis" / "bundled"
QUICK = {"timeout": 30}

Make = Callable[..., Runner]


@pytest.fixture
def bench() -> Iterator[JobBench]:
    with job_bench() as made:
        yield made


@pytest.fixture(params=["here", "jobs"])
def make(request: pytest.FixtureRequest, bench: JobBench) -> Make:
    """``make(task, timeout=1)`` is a runner."""

    def make(task: Task | str, *, workers: int = 2, **limits: int) -> Runner:
        asked = Analyzer("test", task.encode()) if isinstance(task, str) else task
        settings = Settings(workers, limits={**QUICK, **limits})
        if request.param == "jobs":
            return bench.runner(asked, settings, times=quick_times())
        environ = {**os.environ, "PATH": bench.tools.path}
        return LocalRunner(bench.thoth, bench.cache, asked, settings, environ)

    return make


def run(runner: Runner, *dumps: DumpInfo) -> list[Outcome]:
    with closing(runner.outcomes([dump.id for dump in dumps])) as outcomes:
        return list(outcomes)


def run_one(runner: Runner, dump: DumpInfo) -> Analysis:
    (outcome,) = run(runner, dump)
    assert isinstance(outcome, Analysis), outcome
    return outcome


def keep(bench: JobBench, *pids: int, **facts: str) -> list[DumpInfo]:
    return [bench.keep(illumos_core(pid=pid, **facts), b"core.%d" % pid) for pid in pids]  # type: ignore[arg-type]


def stored(bench: JobBench, dump: DumpInfo) -> DumpInfo:
    found = bench.thoth.stored_info(dump.id)
    assert found is not None
    assert bench.thoth.index.get(dump.id) == found[0]
    return found[0]


# ---- what an analyzer finds, and what becomes of what it asks for ----------------------------------

EVERYTHING = r"""
echo "$THOTH_NAME $THOTH_TYPE"
cmp "$THOTH_DUMP" "$MANTA_INPUT_FILE" && head -c 4 "$THOTH_DUMP" | tail -c 3
echo; json cmd sources[0].node < $THOTH_INFO; cat $THOTH_INFO | json id
thoth_set word hello
thoth_set triage.engineer bmc
printf '{"a": [1, 2.5, null]}' | thoth_set object
printf 'two\nlines\n' | thoth_set lines
thoth_set gone 1; thoth_unset gone
thoth_set empty ''
( thoth_set nested sub ) && bash -c 'thoth_set script "$1"' x 'with  blanks and "quotes"'
thoth_ticket OS-1; thoth_unticket; echo OS-2359 | thoth_ticket
printf 'main+0x4()\n_start+0x83()\n' | thoth_stack
touch here && [ "$(pwd)" = "$HOME" ] || exit 9
thoth_set name x || echo refused
read -r line || echo 'no stdin'
"""


def test_what_an_analyzer_finds_and_sets(bench: JobBench, make: Make) -> None:
    (dump,) = keep(bench, 7, cmd="svc.startd")
    done = run_one(make(EVERYTHING), dump)
    assert done.output.decode().splitlines() == [
        f"{dump.id} core",
        "ELF",
        "svc.startd",
        "headnode",
        dump.id,
        "thoth_set: 'name' is set by Thoth itself; choose another name",
        "refused",
        "no stdin",
    ]
    assert (done.status, done.reason, done.failed) == (0, None, False)
    assert len(done.changes) == 13
    after = stored(bench, dump)
    assert after.document["properties"] == {
        "word": "hello",
        "triage": {"engineer": "bmc"},
        "object": {"a": [1, 2.5, None]},
        "lines": "two\nlines",
        "empty": "",
        "nested": "sub",
        "script": 'with  blanks and "quotes"',
    }
    assert (after.document["ticket"], after.document["stack"]) == ("OS-2359", ["main+0x4()", "_start+0x83()"])
    assert (after.document["stack_by"], after.revision) == ("test", dump.revision + 1)


def test_under_any_options_of_the_analyzer(bench: JobBench, make: Make) -> None:
    (dump,) = keep(bench, 1)
    script = (
        "set -eufCo pipefail; IFS=:; thoth_set a 'x y'; echo z | thoth_set b; json cmd nope < \"$THOTH_INFO\";"
        " thoth_ticket T"
    )
    assert run_one(make(script), dump).status == 0
    assert stored(bench, dump).document["properties"] == {"a": "x y", "b": "z"}


def test_large_values_and_bytes_that_are_no_text(bench: JobBench, make: Make) -> None:
    (dump,) = keep(bench, 1)
    script = r"""
head -c 3000000 /dev/zero | tr '\0' x | thoth_set large
thoth_set bytes $'\xff\xfe'
printf 'a\0b\xff\x1b'; echo err >&2
"""
    done = run_one(make(script), dump)
    assert (done.output, done.status) == (b"a\0b\xff\x1berr\n", 0)
    properties = stored(bench, dump).document["properties"]
    assert (len(properties["large"]), properties["bytes"]) == (3_000_000, "\udcff\udcfe")


# ---- several dumps, and what goes wrong ------------------------------------------------------------


def test_F25_one_that_fails_does_not_stop_the_rest(bench: JobBench, make: Make) -> None:
    dumps = keep(bench, 1, 2, 3, 4, 5, 6, 7)
    purged, missing = dumps[4], dumps[5]
    revise(bench.thoth, purged.id, lambda info: info.changed(purged=2e9))
    bench.store.delete(f"/alice/stor/thoth/{missing.id}/info.json")
    script = f"""
thoth_set seen 1
case $THOTH_NAME in
    {dumps[0].id}) exit 3 ;;
    {dumps[1].id}) kill -9 $$ ;;
    {dumps[2].id}) thoth_set a..b x ;;
    {dumps[3].id}) exit 137 ;;
esac
echo $THOTH_NAME
"""
    outcomes = run(make(script), *dumps)
    assert [each.identity for each in outcomes] == [dump.id for dump in dumps]
    analyses = [each for each in outcomes if isinstance(each, Analysis)]
    assert [(each.status, each.failed) for each in analyses] == [
        (3, True),
        (None, True),
        (0, True),
        (137, True),
        (0, False),
    ]
    assert analyses[1].reason == "was killed by SIGKILL"
    assert "'a..b': not a property" in (analyses[2].reason or "")
    changed = [stored(bench, dumps[at]).document["properties"] for at in (0, 1, 2, 3, 6)]
    assert changed == [{"seen": 1}, {}, {}, {"seen": 1}, {"seen": 1}]
    told = [each.reason for each in outcomes if isinstance(each, Unanalyzed)]
    assert "was purged" in told[0]
    assert told[1] == "it was removed meanwhile"


def test_F25_the_time_limit(bench: JobBench, make: Make) -> None:
    """Changes are not made, and what the analyzer has started does not go on."""
    slow, quick = keep(bench, 1, 2)
    script = f"thoth_set x 1; [ $THOTH_NAME = {quick.id} ] || {{ echo begun; sleep 600.25 & sleep 600.25; }}"
    outcomes = run(make(script, timeout=1), slow, quick)
    assert [(each.status, each.reason, each.output) for each in outcomes if isinstance(each, Analysis)] == [
        (None, "timed out after 1 s", b"begun\n"),
        (0, None, b""),
    ]
    assert stored(bench, slow).document["properties"] == {}
    assert not running("600.25")


def test_F25_what_an_analyzer_leaves_running_ends_with_it(bench: JobBench, make: Make) -> None:
    (dump,) = keep(bench, 1)
    done = run_one(make("sleep 600.5 & (sleep 600.5 > /dev/null 2>&1 &); setsid sleep 600.5 & echo done"), dump)
    assert (done.status, done.output) == (0, b"done\n")
    assert wait_until(lambda: not running("600.5"), 5)


def test_output_without_end_is_cut(bench: JobBench, make: Make) -> None:
    (dump,) = keep(bench, 1)
    done = run_one(make("yes | head -c 5000000; thoth_set late 1"), dump)
    assert (done.output, done.cut) == (b"y\n" * (1 << 19), True)
    assert stored(bench, dump).document["properties"] == {"late": 1}


HOSTILE: Sequence[tuple[str, str]] = (
    ("mkdir -p $THOTH_CHANGES; echo ../../etc/passwd > $THOTH_CHANGES/order", "its changes are damaged"),
    ("thoth_set a b; echo change.none >> $THOTH_CHANGES/order", "change"),
    ("thoth_set a b; printf 'store\\0argument\\0' > $THOTH_CHANGES/change.x; echo /etc/passwd >"
     " $THOTH_CHANGES/change.x.value; echo change.x >> $THOTH_CHANGES/order", "thoth_store"),
    ("thoth_set a b; printf 'explode\\0argument\\0' > $THOTH_CHANGES/change.x; : > $THOTH_CHANGES/change.x.value;"
     " echo change.x >> $THOTH_CHANGES/order", "what is to be changed is not known"),
    ("thoth_set a b; f=$(cat $THOTH_CHANGES/order); ln -sf /etc/hostname $THOTH_CHANGES/$f.value", "change"),
    ("thoth_set a b; f=$(cat $THOTH_CHANGES/order); for ((i = 0; i <= 10000; i++)); do echo $f; done >>"
     " $THOTH_CHANGES/order", "it asks for over 10000 changes"),
)  # fmt: skip


def test_F25_changes_are_not_believed(bench: JobBench, make: Make) -> None:
    """Each is told, and none of what the analyzer asked for is made. Also when it writes records of its own."""
    dumps = keep(bench, *range(1, len(HOSTILE) + 2))
    cases = "".join(f"    {dump.id}) {script} ;;\n" for dump, (script, _) in zip(dumps, HOSTILE, strict=False))
    forged = f"thoth-task 1 {dumps[0].id} exit 0 0 3 0\\nxxx"
    done = run(make(f"case $THOTH_NAME in\n{cases} *) printf '{forged}'; thoth_set good 1 ;;\nesac"), *dumps)
    for outcome, (script, reason) in zip(done, HOSTILE, strict=False):
        assert reason in (outcome.reason or ""), (script, outcome)
    assert [stored(bench, dump).document["properties"] for dump in dumps[:-1]] == [{}] * len(HOSTILE)
    assert stored(bench, dumps[-1]).document["properties"] == {"good": 1}


def test_closed_before_its_end_nothing_runs_any_more(bench: JobBench, make: Make) -> None:
    dumps = keep(bench, 1, 2)
    outcomes = make("sleep 600.75", timeout=900, workers=1).outcomes([dump.id for dump in dumps])

    def interrupt() -> None:
        if wait_until(lambda: bool(running("600.75")), 15):
            os.kill(os.getpid(), signal.SIGINT)  # as Ctrl-C comes: in the midst of the wait

    helper = threading.Thread(target=interrupt)
    helper.start()
    with pytest.raises(KeyboardInterrupt), closing(outcomes):
        next(outcomes)
    helper.join()
    assert wait_until(lambda: not running("600.75"), 5)


def test_no_dumps(make: Make) -> None:
    assert run(make("true")) == []


# ---- mdb, and analyzers that were written for it ---------------------------------------------------


def test_a_command_of_mdb(bench: JobBench, make: Make) -> None:
    first, second = keep(bench, 1, 2)
    bench.tools.know(illumos_core(pid=1), stack=["main+0x4()"])
    outcomes = run(make(Dcmd("::stack")), first, second)
    assert [(each.status, each.output) for each in outcomes if isinstance(each, Analysis)] == [
        (0, b"main+0x4()\n"),
        (1, f"mdb: {told_nothing(bench, outcomes[1])}".encode()),
    ]


def told_nothing(bench: JobBench, outcome: Outcome) -> str:
    assert isinstance(outcome, Analysis)
    path = outcome.output.decode().removeprefix("mdb: ").partition(": ")[0]
    assert path.endswith("core.2")
    return f"{path}: this stand-in was told nothing of it\n"


def test_the_printed_analyzers_unchanged(bench: JobBench, make: Make) -> None:
    postfork = ["libc.so.1`abort+0x10e()", "utmpx_postfork+0x44()", "fork_common+0x186()"]
    dumps = keep(bench, 1, 2, cmd="svc.startd") + keep(bench, 3, cmd="svc.configd")
    for pid, cmd, stack in ((1, "svc.startd", postfork), (2, "svc.startd", ["main()"]), (3, "svc.configd", postfork)):
        fmri = [f"SMF_FMRI=svc:/system/{pid}:default"] if pid != 2 else ["HOME=/"]
        bench.tools.know(illumos_core(pid=pid, cmd=cmd), stack=stack, environment=fmri)
    for name in ("OS-2359-diagnose", "fmri"):
        outcomes = run(make(Analyzer(name, (PRINTED / name).read_bytes())), *dumps)
        assert not any(each.failed for each in outcomes if isinstance(each, Analysis)), outcomes
    assert [stored(bench, dump).document.get("ticket") for dump in dumps] == ["OS-2359", None, None]
    assert [stored(bench, dump).document["properties"].get("fmri") for dump in dumps] == [
        "svc:/system/1:default",
        None,
        "svc:/system/3:default",
    ]


def test_process_dump_stores_the_expanded_dump(bench: JobBench, make: Make) -> None:
    compressed, vmcore = vmdump(), expanded_form(vmdump())
    bench.tools.know(compressed, expands_to=vmcore)
    bench.tools.know(vmcore, stack=["vpanic()"], commands={"::status": "panic message: BAD TRAP\n"})
    dump = bench.keep(compressed, b"vmdump.0")
    done = run_one(make(Analyzer("process-dump", (BUNDLED / "process-dump").read_bytes())), dump)
    assert (done.status, done.reason) == (0, None), done
    after = stored(bench, dump).document
    assert (after["stack"], after["properties"]) == (["vpanic()"], {"status": "panic message: BAD TRAP"})
    expanded = after["expanded"]
    assert (expanded["dump"], expanded["size"]) == (f"/alice/stor/thoth/{dump.id}/vmcore.0", len(vmcore))
    with bench.store.open(expanded["dump"]) as found:
        assert found.read_at(0, found.size) == vmcore
    with bench.cache.borrow(
        bench.thoth, stored(bench, dump), keep=False
    ) as copy:  # holds size and SHA-256 against it
        assert copy.read_bytes() == vmcore


def running(word: str) -> list[str]:
    """Processes that have this word among their arguments."""
    found = []
    for entry in PROC.iterdir():
        try:
            if entry.name.isdigit() and word.encode() in (entry / "cmdline").read_bytes().split(b"\0"):
                found.append(entry.name)
        except OSError:
            continue  # it has ended
    return found
