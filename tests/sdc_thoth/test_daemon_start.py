"""How the daemon is started, by hand and by SMF and systemd, and what it says when it cannot be."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.daemon import OFTEN, SELDOM, Daemon
from tests.support.mishaps import collector
from tests.support.processes import process, wait_until
from tests.support.sshd import Node

SMF = {"SMF_FMRI": "svc:/site/sdc-thoth:default"}


@pytest.mark.parametrize("detach", [(), ("--detach",)], ids=["in front", "detached"])
def test_F57_what_is_wrong_at_the_start_tells_smf_not_to_try_again(
    only: Node, tmp_path: Path, detach: tuple[str, ...]
) -> None:
    home = collector(tmp_path, [only], "[schedule]\ncron = 'x'\n")
    for surroundings, code in ((SMF, 96), ({}, 1)):
        with Daemon(home, *detach, environment=surroundings) as daemon:
            assert daemon.wait() == code
            (told,) = daemon.events("cannot run")
            assert re.search(r"fleet.toml:\d+: \[schedule\] cron: 'x': not five fields", told["reason"])
    assert "Connection from" not in only.log


def test_what_is_wrong_and_no_configuration_is_fatal_to_smf(only: Node, tmp_path: Path) -> None:
    home = collector(tmp_path, [only], OFTEN)
    with Daemon(home) as daemon:
        daemon.wait_for("started")
        for surroundings, code in (({}, 75), (SMF, 95)):
            with Daemon(home, environment=surroundings) as second:
                assert second.wait() == code
                assert "already running: process " in second.events("cannot run")[0]["reason"]
        assert home.run().returncode in (0, 75)  # a single pass between those of the daemon
        assert daemon.stop() == 0


def test_a_usage_error_is_one(only: Node, tmp_path: Path) -> None:
    home = collector(tmp_path, [only], OFTEN)
    for flags, said in (
        (["--dry-run"], "--dry-run: is for a single pass"),
        (["-N", "cn9"], "not in the inventory: cn9"),
    ):
        done = home.run("--daemon", *flags)
        assert done.returncode == 1 and said in done.stderr, done.stderr
        assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("flags", [["--detach"], ["--log", "json"]], ids=lambda flags: flags[0])
def test_a_single_pass_takes_no_flag_of_the_daemon_s(only: Node, tmp_path: Path, flags: list[str]) -> None:
    done = collector(tmp_path, [only], OFTEN).run(*flags)
    assert done.returncode == 1
    assert done.stderr == f"sdc-thoth: {flags[0]}: is for --daemon, not for a single pass\n"


def test_detached_it_goes_on_without_the_process_that_was_started(only: Node, tmp_path: Path) -> None:
    home = collector(tmp_path, [only], SELDOM)
    log = home.home / "log"
    with log.open("w") as out:
        command = home.command("--daemon", "--detach", "--log", "json")
        done = subprocess.run(
            command, env=home.environment, stdin=subprocess.DEVNULL, stdout=out, stderr=out, timeout=30, check=False
        )
    started = next(json.loads(line) for line in log.read_text().splitlines() if '"started"' in line)
    pid = started["pid"]
    try:
        assert done.returncode == 0
        assert wait_until(lambda: "pass ends" in log.read_text(), 20)
        assert os.getsid(pid) == pid and Path(f"/proc/{pid}/cwd").readlink() == Path("/")
        assert len(home.stored()) == 1
    finally:
        os.kill(pid, signal.SIGTERM)
        assert wait_until(lambda: (found := process(pid)) is None or found.state == "Z", 20)
    assert '"stopped"' in log.read_text()


@contextmanager
def service_manager(path: Path) -> Iterator[list[str]]:
    """systemd's end of the protocol: the messages that come, as they come."""
    messages: list[str] = []
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as end:
        end.bind(str(path))
        end.settimeout(0.1)
        over = threading.Event()

        def listen() -> None:
            while not over.is_set():
                try:
                    messages.append(end.recv(4096).decode())
                except TimeoutError:
                    continue

        thread = threading.Thread(target=listen, name="service manager")
        thread.start()
        try:
            yield messages
        finally:
            over.set()
            thread.join()


def test_systemd_is_told(only: Node, tmp_path: Path) -> None:
    home = collector(tmp_path / "home", [only], SELDOM)
    with service_manager(tmp_path / "notify") as messages:
        environment = {
            "NOTIFY_SOCKET": str(tmp_path / "notify"),
            "WATCHDOG_USEC": "400000",
        }
        with Daemon(home, environment=environment, log="auto") as daemon:
            daemon.wait_for("started")  # as JSON, since it is systemd that takes the log
            assert wait_until(lambda: any(each.startswith("READY=1") for each in messages), 10)
            assert wait_until(lambda: messages.count("WATCHDOG=1") >= 2, 10)
            daemon.send(signal.SIGHUP)
            assert wait_until(lambda: sum(each.startswith("READY=1") for each in messages) == 2, 10)
            assert any(re.fullmatch(r"RELOADING=1\nMONOTONIC_USEC=\d+", each) for each in messages)
            assert daemon.stop() == 0
    assert messages[-1] == "STOPPING=1"
