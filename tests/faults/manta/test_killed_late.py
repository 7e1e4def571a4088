"""``thoth upload`` to Manta, killed when all bytes are there and the dump is not: row F30. None is sent again."""

from __future__ import annotations

import hashlib
import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.elfwriter import illumos_core
from tests.support.manta_moods import Answer, Barrier, Mood, NeverReply
from tests.support.processes import wait_until
from tests.support.reqlite import ReqlServer
from tests.support.site import HOME, Site
from tests.support.site import site as a_site

SIZE = 40_000_000  # bytes: three parts
_PATIENCE = 60  # seconds

IN_PARTS = {"THOTH_PARTS_FROM": "6M"}
AS_STREAM = {"THOTH_PARTS_FROM": "none"}
BEFORE_ITS_DOCUMENT = (NeverReply(stored=False), "PUT", "*/info.json")
AT_ITS_COMMIT = (Barrier(2, patience=_PATIENCE), "POST", "*/commit")


@pytest.fixture
def site(reql: ReqlServer, tmp_path: Path) -> Iterator[Site]:
    with a_site(reql, tmp_path / "bc") as made:
        yield made


def test_F30_a_document_that_manta_refuses_since_another_comes(site: Site, tmp_path: Path) -> None:
    core = tmp_path / "core.7"
    core.write_bytes(illumos_core(pid=7, size=SIZE))
    site.server.moods.add(Answer(409, "ConcurrentRequest", when="body"), method="PUT", path="*/info.json", count=1)
    identity = done(site, IN_PARTS, "upload", core).strip()
    assert site.info(identity)["pid"] == "7"
    assert len([each for each in site.server.requests if each.path.endswith("/uploads")]) == 1


def started(site: Site, told: dict[str, str], *words: str | Path) -> subprocess.Popen[str]:
    environment = {**site.environment, **told, "PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8"}
    command = [Path(sys.executable).with_name("thoth"), "-q", *words]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def done(site: Site, told: dict[str, str], *words: str | Path) -> str:
    process = started(site, told, *words)
    out, err = process.communicate(timeout=_PATIENCE)
    assert process.returncode == 0, err
    return out


@pytest.mark.parametrize(
    ("size", "told", "moment"),
    [
        (SIZE, IN_PARTS, BEFORE_ITS_DOCUMENT),
        (SIZE, IN_PARTS, AT_ITS_COMMIT),
        (SIZE, AS_STREAM, BEFORE_ITS_DOCUMENT),
        (300_000, AS_STREAM, BEFORE_ITS_DOCUMENT),
    ],
    ids=["parts", "commit", "stream", "small"],
)
def test_F30_nothing_is_sent_again(
    site: Site, tmp_path: Path, size: int, told: dict[str, str], moment: tuple[Mood, str, str]
) -> None:
    core = tmp_path / "core.7"
    core.write_bytes(illumos_core(pid=7, size=size))
    # Its directory is there: else the first commit fails for that, and another follows.
    site.node.run("mmkdir", "-p", f"{HOME}/{done(site, told, 'object', core).strip()}")
    mood, method, path = moment
    placed = site.server.moods.add(mood, method=method, path=path, count=None)
    process = started(site, told, "upload", core)
    # One that is killed while it sends its request never comes to the barrier, and the next would be alone there.
    assert wait_until(lambda: (placed.waiting if placed.barrier else placed.hits) == 1, _PATIENCE)
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=_PATIENCE)
    if mood is not AT_ITS_COMMIT[0]:  # else the next commit meets the one that waits
        site.server.moods.clear()
    before = len(site.server.requests)
    identity = done(site, told, "upload", core).strip()
    sent = [each for each in site.server.requests[before:] if each.method in ("PUT", "POST")]
    names = {each.path.rpartition("/")[2] for each in sent if each.method == "PUT"}
    assert names == {"info.json"}, sent
    assert [each.path for each in sent if each.path.endswith("/uploads")] == []
    document = json.loads(done(site, told, "info", identity))
    assert document["sha256"] == hashlib.sha256(core.read_bytes()).hexdigest()
    assert done(site, told, "scrub") == ""
