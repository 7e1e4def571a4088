"""The examples of manta-thoth's README that bring dumps in. What it tells of Manta's jobs has no place here."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.elfwriter import illumos_core
from tests.thoth.cli.conftest import Ran, Run

TAKEN = 1449234626  # 2015-12-04T13:10:26 UTC


@pytest.fixture
def cores(tmp_path: Path) -> Iterator[Path]:
    """A directory to work in, with two cores called as the README has them."""
    for name, cmd, pid in (("core.bc.24388", "bc", 24388), ("core.19972", "utmpd", 19972)):
        facts = illumos_core(pid, cmd, f"/usr/lib/{cmd}", platform="joyent_20130418T192128Z")
        (tmp_path / name).write_bytes(facts)
        os.utime(tmp_path / name, (TAKEN, TAKEN))
    here = Path.cwd()
    os.chdir(tmp_path)
    yield tmp_path
    os.chdir(here)


def of(ran: Ran) -> str:
    assert ran.code == 0, ran.err
    return ran.out.strip()


def test_setup(spawn: Run, cores: Path) -> None:
    """thoth init, thoth upload ./core.bc.24388, thoth ls."""
    made = spawn("init").said
    for line in ("created table 'dumps'", "created table 'analyzers'", "created index 'time'"):
        assert f"thoth: {line}" in made
    uploaded = spawn("upload", "./core.bc.24388")
    name = of(uploaded)
    assert uploaded.said == [f"thoth: creating {name}", f"thoth: uploading core.bc.24388 to {name}"]
    assert of(spawn("ls")).splitlines() == [
        "NAME             TYPE  TIME                NODE/CMD         TICKET",
        f"{name[:16]} core  2015-12-04T13:10:26 bc               -",
    ]


def test_object_tells_what_upload_will_call_it(spawn: Run, cores: Path) -> None:
    """thoth object core.19972, to automate uploads."""
    name = of(spawn("object", "core.19972"))
    assert len(name) == 32
    assert spawn("info", name).code == 2
    assert of(spawn("upload", "core.19972")) == name


def test_info_of_what_was_uploaded(spawn: Run, cores: Path) -> None:
    """thoth info HASH; and of a local dump, whose exit status tells whether it is there."""
    assert spawn("info", "core.19972").code == 2
    name = of(spawn("upload", "core.19972"))
    assert spawn("info", "core.19972").code == 0
    told = json.loads(of(spawn("info", name)))
    expected = {
        "name": f"/thoth/stor/thoth/{name}",
        "dump": f"/thoth/stor/thoth/{name}/core.19972",
        "pid": "19972",
        "cmd": "utmpd",
        "psargs": "/usr/lib/utmpd",
        "platform": "joyent_20130418T192128Z",
        "node": "headnode",
        "version": "1",
        "time": TAKEN,
        "type": "core",
        "properties": {},
    }
    assert {key: value for key, value in told.items() if key in expected} == expected
    assert list(told)[: len(expected)] == list(expected)
