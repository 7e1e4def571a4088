"""Analyzers that do what they should not: row F25. Each by a Thoth of root's and by one of an ordinary user's."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

from tests.support.arrivals import CORE
from tests.support.processes import descendants, wait_until
from tests.support.sandboxed import CANARY, Ran, Runner, runner

MIB = 1 << 20
USERS = ["root", "user"]


@pytest.fixture(scope="module", params=USERS)
def shared(request: pytest.FixtureRequest) -> Iterator[Runner]:
    with runner(request.param) as made:
        yield made


@pytest.fixture
def thoth(shared: Runner) -> Iterator[Runner]:
    """Runs analyzers; afterwards nothing of them may be left."""
    yield shared
    assert shared.alive() == []
    assert descendants(shared.process.pid) == []
    assert not shared.runs()


def assert_timed_out(ran: Ran, seconds: float) -> None:
    assert (ran.ended.status, ran.ended.reason) == (None, f"timed out after {seconds:g} s")
    assert seconds <= ran.ended.seconds < seconds + 2


# ---- what does not end ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "script",
    [
        "while :; do :; done",
        "trap '' TERM HUP INT XCPU; sleep 100",
        "kill -STOP $$",
        "sleep 100 & kill -STOP 0",
        "cat /dev/zero",
    ],
)
def test_F25_endless(thoth: Runner, script: str) -> None:
    assert_timed_out(thoth.run(script, timeout=0.2), 0.2)


def test_F25_uses_too_much_cpu(thoth: Runner) -> None:
    ended = thoth.run("while :; do :; done", cpu=1).ended
    assert (ended.status, ended.reason) == (None, "used more than 1 s of CPU time")


# ---- what multiplies ------------------------------------------------------------------------------


def test_F25_starts_ten_thousand_processes(thoth: Runner) -> None:
    script = "i=0; while [ $i -lt 10000 ]; do sleep 100 & i=$((i+1)); echo $i; done"
    ended = thoth.run(script, processes=64).ended
    assert ended.status == 2, "the shell ends when it cannot fork"
    *counts, refusal = ended.output.decode().splitlines()
    assert "fork" in refusal
    assert 30 < int(counts[-1]) <= 64


@pytest.mark.parametrize(
    "script",
    [
        "f() { f | f & }; f; sleep 100",
        # A chain: each of them lives only until it has a child.
        "perl -e 'fork and sleep 100; while (1) { exit if fork }'",
        "perl -e 'use POSIX; fork and sleep 100; while (1) { setsid; exit if fork }'",
    ],
)
def test_F25_forks_without_end(thoth: Runner, script: str) -> None:
    assert_timed_out(thoth.run(script, timeout=0.3, processes=64), 0.3)


# ---- what runs away -------------------------------------------------------------------------------

_DAEMON = "perl -e 'use POSIX; fork and exit; setsid; fork and exit; close STDOUT; close STDERR; sleep 100' <&-"


@pytest.mark.parametrize("leaves", ["sleep 100 &", "(setsid sleep 100 &)", _DAEMON, f"({_DAEMON} & {_DAEMON} &)"])
def test_F25_leaves_processes_behind(thoth: Runner, leaves: str) -> None:
    ended = thoth.run(f"{leaves}\necho done").ended
    assert (ended.status, ended.output) == (0, b"done\n")
    assert ended.seconds < 3


@pytest.mark.parametrize("leaves", ["(setsid sleep 100 &)", _DAEMON])
def test_F25_daemonizes_and_never_ends(thoth: Runner, leaves: str) -> None:
    assert_timed_out(thoth.run(f"{leaves}\nsleep 100", timeout=0.3), 0.3)


# ---- what is too much -----------------------------------------------------------------------------


def test_F25_writes_a_file_of_ten_gib(thoth: Runner) -> None:
    ended = thoth.run("exec dd if=/dev/zero of=large bs=1M count=10240", file_size=4 * MIB).ended
    assert (ended.status, ended.reason) == (None, f"wrote a file of more than {4 * MIB} bytes")


def test_F25_writes_ten_gib_to_many_files(thoth: Runner) -> None:
    script = "for i in $(seq 10240); do head -c 1048576 /dev/zero >d$((i % 7))-$i; done"
    ended = thoth.run(script, file_size=4 * MIB).ended
    assert (ended.status, ended.reason) == (None, f"wrote more than {4 * MIB} bytes to its directory")


def test_F25_prints_one_gib(thoth: Runner) -> None:
    ran = thoth.run("echo first; exec head -c 1073741824 /dev/zero", output=1000, timeout=20)
    assert ran.ended.status == 0
    assert ran.ended.cut
    assert ran.ended.output == b"first\n" + bytes(994)
    assert ran.maxrss < 100 << 10


def test_F25_wants_all_memory(thoth: Runner) -> None:
    ended = thoth.run("perl -e '$x = q(x) x (1 << 30); print length $x'", memory=256 * MIB).ended
    assert ended.status != 0
    assert b"1073741824" not in ended.output


# ---- what pries and spoils ------------------------------------------------------------------------


def test_F25_reads_the_environment(thoth: Runner) -> None:
    script = """
        env
        for file in /proc/[0-9]*/environ; do
            [ "$file" = /proc/1/environ ] || tr '\\0' '\\n' <"$file"
        done 2>&1 | grep -a -o 'canary-[0-9a-f]*'
        exit 0
    """
    ended = thoth.run(script).ended
    assert ended.status == 0
    names = {line.partition(b"=")[0].decode() for line in ended.output.splitlines()}
    assert {"PATH", "HOME", "TMPDIR"} <= names <= {"PATH", "HOME", "TMPDIR", "PWD", "DUMP", "THOTH_TEST_TOKEN", "_"}
    assert CANARY.encode() not in ended.output


def test_F25_reads_the_memory_of_thoth(thoth: Runner) -> None:
    pid = thoth.process.pid
    ended = thoth.run(f"for file in mem environ maps; do head -c 1 /proc/{pid}/$file && echo got $file; done").ended
    assert b"got" not in ended.output
    assert b"ermission denied" in ended.output


@pytest.mark.parametrize("spoils", ['echo x >>"$DUMP"', ': >"$DUMP"', 'dd if=/dev/zero of="$DUMP" conv=notrunc'])
def test_F25_edits_the_dump(thoth: Runner, spoils: str) -> None:
    ran = thoth.run(spoils)
    assert ran.ended.status not in (0, None)
    assert b"ermission denied" in ran.ended.output
    assert ran.dump == CORE


def test_F25_makes_the_dump_its_own_first(thoth: Runner) -> None:
    """To a user the dump is his own file: he can, and the next analyzer gets a good one all the same."""
    ran = thoth.run('chmod u+w "$DUMP"; echo x >>"$DUMP"; mv "$DUMP" "$DUMP.x"; rm -f "$DUMP.x"; true')
    assert ran.ended.status == 0
    assert thoth.run("true").dump == CORE


def test_F25_root_s_dump_cannot_be_touched() -> None:
    with runner("root") as root:
        ran = root.run('chmod u+w "$DUMP" || rm -f "$DUMP" || mv "$DUMP" x || ln "$DUMP" "${DUMP%/*}/x"')
        assert ran.ended.status == 1
        assert ran.ended.output.count(b"not permitted") + ran.ended.output.count(b"denied") == 4
        assert ran.dump == CORE


def test_F25_dumps_core(thoth: Runner) -> None:
    ended = thoth.run("ulimit -c unlimited; ulimit -c; kill -SEGV $$").ended
    assert (ended.status, ended.reason) == (None, "was killed by SIGSEGV")
    assert b"unlimited" not in ended.output.splitlines()


def test_F25_leaves_directories_that_cannot_be_entered(thoth: Runner) -> None:
    assert thoth.run("mkdir -p a/b/c; touch a/b/x; chmod 0 a/b/c a/b a; mkdir d; chmod 0 d .").ended.status == 0


def test_F25_exits_137(thoth: Runner) -> None:
    ended = thoth.run("echo out of memory >&2; exit 137").ended
    assert (ended.status, ended.reason, ended.output) == (137, None, b"out of memory\n")


@pytest.mark.parametrize("who", USERS)
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT], ids=lambda number: number.name)
def test_F25_thoth_is_killed(who: str, number: signal.Signals) -> None:
    with runner(who) as killed:
        killed.start(f"(setsid sleep 100 &); {_DAEMON} & trap '' TERM INT; sleep 100; sleep 100", timeout=60)
        assert wait_until(lambda: killed.alive().count("sleep") == 2, 10)
        assert len(killed.runs()) == 2, "a directory and its lock"
        killed.process.send_signal(number)
        killed.process.wait(10)
        assert wait_until(lambda: killed.alive() == [], 5), killed.alive()
        if number == signal.SIGINT:  # the other gives it no chance
            assert not killed.runs()


@pytest.mark.parametrize("who", USERS)
def test_F25_what_a_killed_thoth_has_left_is_removed_by_the_next(who: str) -> None:
    with runner(who) as killed:
        killed.start(
            "mkdir -p a/b/c; touch a/b/x; ln -s / a/b/root; chmod 0 a/b/c a/b a .; exec sleep 100", timeout=60
        )
        assert wait_until(lambda: "sleep" in killed.alive(), 10)
        killed.process.kill()
        killed.process.wait(10)
        assert wait_until(lambda: killed.alive() == [], 5)
        assert killed.runs()
        with killed.again() as following:
            following.run("true")
            assert not following.runs()
