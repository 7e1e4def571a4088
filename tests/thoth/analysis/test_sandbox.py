"""What a program in the sandbox finds, and what is told of it. What it may not do: tests/faults, row F25."""

from __future__ import annotations

import os
import stat
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.analysis import common_ground
from tests.support.processes import wait_until
from thoth.analysis.accounts import draw_user, reading_group
from thoth.analysis.sandbox import Ended, Limits, clean_environment, give, run_sandboxed
from thoth.errors import ThothError

SECRETS = {
    "THOTH_DB": "x", "THOTH_DB_AUTHKEY": "x", "MANTA_KEY_ID": "x", "SSH_AUTH_SOCK": "x", "AWS_SECRET_ACCESS_KEY": "x",
    "LD_PRELOAD": "x", "BASH_ENV": "x", "ENV": "x", "PYTHONPATH": "x", "SDC_KEY_ID": "x", "LCD": "x",
}  # fmt: skip


@pytest.fixture
def ground() -> Iterator[Path]:
    with common_ground() as place:
        yield place


@pytest.fixture
def directory(ground: Path) -> Path:
    place = ground / "run"
    place.mkdir(mode=0o700)
    return place


def run(
    directory: Path, script: str, *, stdin: bytes = b"", cancelled: threading.Event | None = None, **limits: Any
) -> Ended:
    return run_sandboxed(
        ["/bin/sh", "-c", script],
        directory=directory,
        environment=clean_environment(directory, {"PATH": "/usr/bin:/bin"}),
        limits=Limits(**{"timeout": 10.0, **limits}),
        stdin=stdin,
        cancelled=cancelled,
    )


def said(directory: Path, script: str, **limits: Any) -> str:
    ended = run(directory, script, **limits)
    assert (ended.status, ended.reason) == (0, None), ended
    return ended.output.decode().strip()


# ---- what it finds --------------------------------------------------------------------------------


def test_it_runs_in_its_directory(directory: Path) -> None:
    assert said(directory, "pwd -P; echo $HOME $TMPDIR $PWD; echo x >file") == f"{directory}\n" + " ".join(
        [str(directory)] * 3
    )
    assert (directory / "file").read_text() == "x\n"
    assert stat.S_IMODE((directory / "file").stat().st_mode) == 0o600


def test_it_has_a_session_of_its_own(directory: Path) -> None:
    fields = said(directory, "echo $$ $(cut -d' ' -f5,6 /proc/$$/stat)").split()
    assert fields[0] == fields[1] == fields[2]


def test_it_has_no_descriptors_but_three(directory: Path) -> None:
    secret = os.open(directory, os.O_RDONLY)
    os.set_inheritable(secret, True)
    try:
        script = "for fd in $(seq 0 99); do [ ! -e /proc/$$/fd/$fd ] || echo $fd; done"
        assert said(directory, script).split() == ["0", "1", "2"]
    finally:
        os.close(secret)


def test_it_gets_no_privileges(directory: Path) -> None:
    status = dict(line.split(":", 1) for line in said(directory, "cat /proc/self/status").splitlines())
    assert status["NoNewPrivs"].strip() == "1"
    assert {int(status[name], 16) for name in ("CapInh", "CapPrm", "CapEff", "CapAmb")} == {0}
    assert status["Groups"].strip() == ""


def test_it_gets_the_signals_as_they_are_for_a_new_process(directory: Path) -> None:
    status = dict(line.split(":", 1) for line in said(directory, "exec cat /proc/self/status").splitlines())
    # 32 and 33 are the C library's own: no program can set them, and its posix_spawn leaves them ignored.
    others = ~(0b11 << 31)
    assert {int(status[name], 16) & others for name in ("SigIgn", "SigBlk", "SigCgt")} == {0}


def test_root_s_runs_as_nobody_and_each_as_another(directory: Path, ground: Path) -> None:
    other = ground / "other"
    other.mkdir()
    first, second = (int(said(place, "id -u")) for place in (directory, other))
    assert first != second
    assert min(first, second) >= 0x7000_0000
    assert int(said(directory, "id -g")) == reading_group()


def test_its_limits(directory: Path) -> None:
    told = said(directory, "ulimit -a; ulimit -Ht", cpu=7, memory=1 << 30, file_size=1 << 20).splitlines()
    found = {line.rsplit(None, 1)[0].split("(")[0].strip(): line.split()[-1] for line in told[:-1]}
    assert found["time"] == "7"
    assert found["file"] == f"{(1 << 20) // 512}"
    assert found["coredump"] == "0"
    assert found["vmemory"] == f"{(1 << 30) // 1024}"
    assert told[-1] == "8"


def test_it_is_the_first_to_go_when_memory_runs_out(directory: Path) -> None:
    assert said(directory, "cat /proc/self/oom_score_adj") == "1000"


def test_it_reads_stdin(directory: Path) -> None:
    large = os.urandom(3 << 20)
    assert run(directory, "cat", stdin=large, output=4 << 20).output == large
    assert run(directory, "cat").output == b""


def test_arguments_and_variables_are_bytes(directory: Path) -> None:
    odd = os.fsdecode(b"\xff\xfe\n;$(x) \xc3\xa9")
    ended = run_sandboxed(
        ["/bin/sh", "-c", 'printf %s "$1$ODD"', "sh", odd],
        directory=directory,
        environment={"ODD": odd},
        limits=Limits(),
    )
    assert ended.output == os.fsencode(odd) * 2


def test_large_environments(directory: Path) -> None:
    environment = {f"V{number}": "x" * 60_000 for number in range(10)}
    ended = run_sandboxed(
        ["/bin/sh", "-c", "echo ${#V9}"], directory=directory, environment=environment, limits=Limits()
    )
    assert ended.output == b"60000\n"


def test_the_environment_is_an_allow_list(directory: Path) -> None:
    kept = {"PATH": "/opt/bin", "LANG": "C.UTF-8", "LC_ALL": "C", "TZ": "UTC", "TERM": "xterm"}
    own = {name: str(directory) for name in ("HOME", "TMPDIR", "PWD")}
    assert clean_environment(directory, {**SECRETS, **kept, "HOME": "/root"}) == {**kept, **own}
    assert clean_environment(directory, {}) == {"PATH": os.defpath, **own}


# ---- what is told of it ---------------------------------------------------------------------------


def test_status_and_output(directory: Path) -> None:
    ended = run(directory, "echo out; echo err >&2; exit 3")
    assert (ended.status, ended.reason, ended.output, ended.cut) == (3, None, b"out\nerr\n", False)
    assert 0 < ended.seconds < 10


@pytest.mark.parametrize(("room", "kept", "cut"), [(5, b"12345", True), (6, b"123456", False), (0, b"", True)])
def test_output_is_cut(directory: Path, room: int, kept: bytes, cut: bool) -> None:
    ended = run(directory, "printf 123456", output=room)
    assert (ended.output, ended.cut) == (kept, cut)


def test_a_signal_is_named(directory: Path) -> None:
    assert run(directory, "kill -USR1 $$").reason == "was killed by SIGUSR1"
    assert run(directory, "kill -40 $$").reason == "was killed by signal 40"


def test_a_program_that_is_not_there(directory: Path) -> None:
    ended = run_sandboxed(["no-such"], directory=directory, environment={"PATH": "/bin"}, limits=Limits())
    assert (ended.status, ended.reason) == (None, "cannot be started: no-such: No such file or directory")


def test_a_directory_that_is_not_there(directory: Path) -> None:
    ended = run(directory / "x", "true")
    assert (ended.status, ended.reason) == (None, f"cannot be started: {directory / 'x'}: No such file or directory")


def test_a_directory_that_is_a_link(directory: Path, ground: Path) -> None:
    (ground / "link").symlink_to(directory)
    ended = run(ground / "link", "true")
    assert ended.status is None
    assert "Not a directory" in (ended.reason or "")


def test_a_place_where_the_program_cannot_go(tmp_path: Path) -> None:
    place = tmp_path / "closed" / "run"
    place.mkdir(parents=True)
    place.parent.chmod(0o700)
    ended = run(place, "true")
    assert ended.status is None
    denied = "Permission denied to the user that it runs as; name another place with THOTH_CACHE"
    assert ended.reason == f"cannot be started: {place}: {denied}"


def test_a_python_that_does_not_start_is_told(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/nonexistent/python")
    assert run(directory, "true").reason == "cannot be started: /nonexistent/python: No such file or directory"
    monkeypatch.setattr(sys, "executable", "/bin/false")
    ended = run(directory, "true")
    assert (ended.status, ended.reason) == (None, "was ended together with its supervisor")


def test_it_can_be_cancelled(directory: Path) -> None:
    cancelled = threading.Event()

    def cancel_when_it_runs() -> None:
        wait_until((directory / "runs").exists, 10)
        cancelled.set()

    thread = threading.Thread(target=cancel_when_it_runs)
    thread.start()
    ended = run(directory, "touch runs; sleep 100", timeout=60, cancelled=cancelled)
    thread.join()
    assert (ended.status, ended.reason) == (None, "was interrupted")
    assert ended.seconds < 10


def test_several_at_once(ground: Path) -> None:
    results: dict[int, Ended] = {}

    def work(number: int) -> None:
        place = ground / f"{number}"
        place.mkdir()
        results[number] = run(place, f"(setsid sleep 100 &); echo {number}; exit {number}")

    threads = [threading.Thread(target=work, args=[number]) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [(results[n].status, results[n].output) for n in range(6)] == [(n, f"{n}\n".encode()) for n in range(6)]


def test_nothing_stays_open(directory: Path) -> None:
    run(directory, "true")
    before = sorted(Path("/proc/self/fd").iterdir())
    for _ in range(3):
        run(directory, "true")
    assert sorted(Path("/proc/self/fd").iterdir()) == before


# ---- limits and gifts -----------------------------------------------------------------------------


def test_limits_grow_with_the_dump() -> None:
    limits = Limits.for_dump(10 << 30)
    assert limits.memory == 14 << 30
    assert limits.file_size == (160 << 30) + (256 << 20)
    assert limits.timeout == 600


def test_what_is_given_can_be_read_and_not_written(directory: Path) -> None:
    for name, before, after in (("data", 0o600, 0o440), ("program", 0o700, 0o550)):
        path = directory / name
        path.write_text("#!/bin/sh\necho run\n")
        path.chmod(before)
        give(path)
        assert stat.S_IMODE(path.stat().st_mode) == after
    folder = directory / "folder"
    folder.mkdir()
    give(folder)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o750
    found = said(directory, "cat data; ./program; ls folder; echo x >data || touch folder/x || echo refused")
    assert found.startswith("#!/bin/sh\necho run\nrun\n")
    assert found.endswith("\nrefused")


def test_a_link_is_not_given(directory: Path, tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.touch(0o600)
    (directory / "link").symlink_to(target)
    with pytest.raises(OSError, match="symbolic link"):
        give(directory / "link")
    assert stat.S_IMODE(target.stat().st_mode) == 0o600


# ---- users that belong to nobody ------------------------------------------------------------------


def maps(folder: Path, text: str) -> Path:
    for name in ("uid_map", "gid_map"):
        (folder / name).write_text(text)
    return folder


def test_users_and_groups_are_nobody_s(tmp_path: Path) -> None:
    whole = maps(tmp_path, "         0          0 4294967295\n")
    assert draw_user(lambda _: 5, whole) == 0x7000_0005
    assert reading_group(whole) == reading_group() == 0x7FFF_0000


def test_where_there_is_no_proc(tmp_path: Path) -> None:
    assert draw_user(lambda _: 5, tmp_path) == 0x7000_0005
    assert reading_group(tmp_path) == 0x7FFF_0000


def test_in_a_user_namespace_they_are_among_what_there_is(tmp_path: Path) -> None:
    small = maps(tmp_path, "0 1000 1\n1 100000 65536\n")
    assert all(1024 <= draw_user(maps=small) < 65536 for _ in range(100))
    assert 1024 < reading_group(small) < 65536


def test_a_user_who_is_somebody_is_not_taken(tmp_path: Path) -> None:
    small = maps(tmp_path, "0 0 65536\n")
    numbers = iter([65534 - 1024, 7])
    assert draw_user(lambda _: next(numbers), small) == 1024 + 7  # 65534 is in the list of users


def test_where_there_is_nobody_else(tmp_path: Path) -> None:
    alone = maps(tmp_path, "0 1000 1\n")
    for take in (draw_user, reading_group):
        with pytest.raises(ThothError, match="run thoth as another user"):
            take(maps=alone)
