"""``thoth upload`` beside another one, and of a file that grows."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from tests.support.elfwriter import illumos_core
from tests.thoth.cli.conftest import Core, Run, identity
from thoth.library import Thoth
from thoth.model import Identity

ROUNDS = """
import sys
from thoth.cli import main
for line in sys.stdin:
    code = main(["-q", "upload", line.strip()])
    print("code", code, flush=True)
"""


def upload_at_once(rounds: int, run: Run, core: Core, environment: dict[str, str]) -> None:
    """Two processes are told of each dump at the same moment, each of its own name for it."""
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", ROUNDS],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
            text=True,
        )
        for _ in range(2)
    ]
    try:
        for pid in range(rounds):
            names = [f"core.{pid}", f"core.{pid}" if pid % 2 else f"other.{pid}"]
            paths = [core(pid, name) for name in names]
            for process, path in zip(processes, paths, strict=True):
                assert process.stdin is not None
                process.stdin.write(f"{path}\n")
                process.stdin.flush()
            for process in processes:
                assert process.stdout is not None
                assert process.stdout.readline() == identity(run, paths[0]) + "\n"
                assert process.stdout.readline() == "code 0\n"
    finally:
        for process in processes:
            process.communicate(timeout=30)


def check_rounds(rounds: int, run: Run, stored: Thoth) -> None:
    documents = [json.loads(line) for line in run("ls", "--json").lines]
    assert len(documents) == rounds
    for document in documents:
        entries = [entry.name for entry in stored.store.list(document["name"])]
        assert sorted(entries) == sorted([document["dump"].rpartition("/")[2], "info.json"])
        assert len(document["sources"]) == (1 if int(document["pid"]) % 2 else 2)
        found = stored.stored_info(Identity(document["id"]))
        assert found is not None
        assert found[0].document == document


def test_F34_two_processes_at_the_same_time(
    run: Run, core: Core, stored: Thoth, child_environment: dict[str, str]
) -> None:
    upload_at_once(20, run, core, child_environment)
    check_rounds(20, run, stored)


@pytest.mark.soak
def test_F34_two_processes_at_the_same_time_200_rounds(
    run: Run, core: Core, stored: Thoth, child_environment: dict[str, str]
) -> None:
    upload_at_once(200, run, core, child_environment)
    check_rounds(200, run, stored)


def test_F12_a_file_that_grows_while_it_is_uploaded(run: Run, core: Core, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file is written to when its blocks are asked for: after identification, before its end."""
    path = core(1, size=1 << 20)
    whole = illumos_core(pid=1, size=1 << 20)
    real_pread = os.pread

    def pread(fd: int, length: int, offset: int) -> bytes:
        data = real_pread(fd, length, offset)
        if length >= 1 << 19:
            path.write_bytes(whole + b"more")
        return data

    monkeypatch.setattr(os, "pread", pread)
    ran = run("upload", path)
    assert (ran.code, ran.out) == (1, "")
    assert ran.said[-1] == f"thoth: {path}: changed while it was read"
    monkeypatch.undo()
