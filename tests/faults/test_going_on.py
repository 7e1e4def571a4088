"""F05, F06: what a killed run had begun is gone on with by the next one, as far as it is proved to be right."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from sdc_thoth.journal import open_journal
from tests.faults.scene import MIB
from tests.sdc_thoth.test_shared import SiteCollector
from tests.support.chaos import Cut, Proxy
from tests.support.collector import Collector
from tests.support.elfwriter import illumos_core
from tests.support.mishaps import check_settled, collector
from tests.support.processes import wait_until
from tests.support.reqlite import ReqlServer
from tests.support.site import site
from tests.support.sshd import Node

PATH = "/var/tmp/thoth/core.1"
_SIZE = 100 * MIB + 4321
_KILLED_AT = 80 * MIB  # of which 64 are noted


def core(size: int = _SIZE, seed: int = 0) -> bytes:
    noise = os.urandom(MIB)
    head = illumos_core(1, size=64 << 10)
    return (head + bytes([seed]) + noise * (size // MIB + 1))[:size]


@pytest.fixture
def only(node: Callable[..., Node]) -> Node:
    return node(flavour="gnu", own_process=True)


def killed_in_the_middle(home: Collector, proxy: Proxy, at: int = _KILLED_AT) -> None:
    """A pass that is killed when so many bytes have come, and so many are noted."""
    before = proxy.passed["down"]
    run = home.start("--compress", "none")
    assert wait_until(lambda: proxy.passed["down"] - before > at, 60)
    run.send_signal(signal.SIGKILL)
    run.communicate(timeout=20)
    assert run.returncode == -signal.SIGKILL
    assert home.infos() == []


@pytest.fixture
def proxy(only: Node) -> Iterator[Proxy]:
    with Proxy((only.address, only.port)) as made:
        yield made


def drafts(home: Collector) -> list[Path]:
    return list((home.store / ".uploads").glob("*.draft"))


def failing(home: Collector) -> list[str]:
    """The dumps that could not be had, by the journal."""
    with open_journal(home.home / ".local/state/sdc-thoth", read_only=True, say=pytest.fail) as journal:
        return [os.fsdecode(each.path) for _, each in journal.all_failing()]


def test_F05_a_killed_run_is_gone_on_with_behind_what_came(only: Node, proxy: Proxy, tmp_path: Path) -> None:
    content = core()
    only.put(PATH, content)
    home = collector(tmp_path, [only], proxy=proxy)
    killed_in_the_middle(home, proxy)
    before = proxy.passed["down"]
    done = home.run("--compress", "none")
    assert done.returncode == 0, done.stdout
    assert f"cn0: {PATH}: goes on behind 64.00MB of 100.00MB" in done.stdout
    assert proxy.passed["down"] - before < 45 * MIB
    assert "uploaded 36.00MB" in done.stdout.splitlines()  # what came before was sent before
    status = json.loads(home.command_run("status", "--json").stdout)
    assert status["last_pass"]["sent"] == _SIZE - 64 * MIB
    assert [data for _, data in home.stored()] == [content]  # its digests are those of the whole: check_store looks
    check_settled(home, [only])
    assert drafts(home) == []


def test_F06_what_was_cut_is_gone_on_with_compressed(only: Node, tmp_path: Path) -> None:
    """However a part of it came, the next pass goes on with what there is."""
    content = core(160 * MIB)
    only.put(PATH, content)
    with Proxy((only.address, only.port), Cut(80 * MIB)) as proxy:
        home = collector(tmp_path, [only], proxy=proxy)
        for way in ("gzip", "none"):
            assert home.collect("--compress", way).results == {PATH.encode(): "failed"}
        proxy.set()
        done = home.run("--compress", "zstd")
        assert done.returncode == 0 and "goes on behind" in done.stdout, done.stdout
        assert [data for _, data in home.stored()] == [content]
        check_settled(home, [only])


@pytest.mark.parametrize("narrowed", ["a type", "an executable", "other places"])
def test_F06_a_pass_that_looks_elsewhere_leaves_it_to_the_next(narrowed: str, only: Node, tmp_path: Path) -> None:
    """What a pass was not told to look at is not gone: the draft stays, and that the dump could not be had."""
    content = core()
    only.put(PATH, content)
    with Proxy((only.address, only.port), Cut(_KILLED_AT)) as proxy:
        home = collector(tmp_path, [only], proxy=proxy)
        assert home.collect("--compress", "none").results == {PATH.encode(): "failed"}
        proxy.set()
        whole = home.inventory.read_text()
        if narrowed == "other places":
            home.inventory.write_text(whole + '[paths]\ncrash = ["/dumps/vmcore"]\n')
        flags = {"a type": ["-t", "core,crash"], "an executable": ["-t", "cat"], "other places": ["-t", "crash"]}
        seen = home.collect(*flags[narrowed])
        assert (seen.code, seen.dumps) == (0, {})
        assert len(drafts(home)) == 1
        assert failing(home) == [PATH]
        home.inventory.write_text(whole)
        done = home.run("--compress", "none")
        assert done.returncode == 0 and f"cn0: {PATH}: goes on behind" in done.stdout, done.stdout
        assert [data for _, data in home.stored()] == [content]
        assert failing(home) == []
        check_settled(home, [only])


def test_F05_what_was_begun_of_a_dump_that_came_by_hand_is_thrown_away(
    only: Node, proxy: Proxy, tmp_path: Path
) -> None:
    content = core()
    only.put(PATH, content)
    home = collector(tmp_path, [only], proxy=proxy)
    killed_in_the_middle(home, proxy)
    copy = tmp_path / "core.copy"
    copy.write_bytes(content)
    assert home.thoth("upload", str(copy)).returncode == 0
    assert len(drafts(home)) == 1
    assert home.collect().results == {PATH.encode(): "present"}
    assert drafts(home) == []
    check_settled(home, [only])


@pytest.mark.parametrize("flags", [(), ("-t", "gcore")])
def test_F13_the_failures_of_a_file_that_is_no_more_are_forgotten(
    flags: Sequence[str], only: Node, tmp_path: Path
) -> None:
    only.put(PATH, core())
    with Proxy((only.address, only.port), Cut(_KILLED_AT)) as proxy:
        home = collector(tmp_path, [only], proxy=proxy)
        home.collect("--compress", "none")
        assert (failing(home), len(drafts(home))) == ([PATH], 1)
        proxy.set()
        only.path(PATH).unlink()
        assert home.collect(*flags).code == 0
        assert (failing(home), drafts(home)) == ([], [])


@pytest.mark.parametrize("damage", ["flipped", "shorter", "gone"])
def test_F11_what_lies_there_is_not_believed(damage: str, only: Node, proxy: Proxy, tmp_path: Path) -> None:
    content = core()
    only.put(PATH, content)
    home = collector(tmp_path, [only], proxy=proxy)
    killed_in_the_middle(home, proxy)
    (draft,) = drafts(home)
    if damage == "flipped":
        with draft.open("r+b") as file:
            file.seek(50 * MIB)
            file.write(b"not what came")
    elif damage == "shorter":
        os.truncate(draft, 50 * MIB)
    else:
        draft.unlink()
    done = home.run()
    assert done.returncode == 0 and "goes on behind" not in done.stdout
    assert [data for _, data in home.stored()] == [content]
    check_settled(home, [only])


@pytest.mark.parametrize("change", ["rewritten", "gone", "replaced"])
def test_F13_what_was_begun_of_another_file_is_thrown_away(
    change: str, only: Node, proxy: Proxy, tmp_path: Path
) -> None:
    only.put(PATH, core())
    home = collector(tmp_path, [only], proxy=proxy)
    killed_in_the_middle(home, proxy)
    assert len(drafts(home)) == 1
    content = illumos_core(9, size=5 * MIB)
    if change == "rewritten":
        only.path(PATH).write_bytes(content)
        os.utime(only.path(PATH), (1_700_000_000, 1_700_000_000))
    elif change == "replaced":
        only.put(PATH, content)
    else:
        only.path(PATH).unlink()
    assert home.collect("-n").code == 0
    assert len(drafts(home)) == 1  # a plan touches nothing
    assert home.collect().code == 0
    assert drafts(home) == []
    assert [data for _, data in home.stored()] == ([] if change == "gone" else [content])
    check_settled(home, [only])


# ---- Manta ---------------------------------------------------------------------------------------------

_IN_PARTS = 300 * MIB  # from 256 MiB on a dump goes in parts, of 16 MiB


@pytest.fixture
def away(reql: ReqlServer, only: Node, proxy: Proxy, tmp_path: Path) -> Iterator[SiteCollector]:
    with site(reql, tmp_path / "bc") as made:
        made.share()
        home = SiteCollector(
            tmp_path / "home", collector(tmp_path / "home", [only], proxy=proxy).inventory.read_text()
        )
        home.site = made
        yield home


def parts(home: SiteCollector) -> list[str]:
    """The numbers of the parts that were sent, as often as they were."""
    seen = home.site.server.requests
    return [each.path.rpartition("/")[2] for each in seen if each.method == "PUT" and "/uploads/" in each.path]


def test_F05_no_part_is_sent_to_manta_twice(only: Node, proxy: Proxy, away: SiteCollector) -> None:
    content = core(_IN_PARTS)
    only.put(PATH, content)
    killed_in_the_middle(away, proxy)
    whole = [each for each in away.site.server.requests if each.method == "PUT" and each.status == 204]
    there = {each.path.rpartition("/")[2] for each in whole if "/uploads/" in each.path}
    assert there
    before = len(parts(away))
    assert away.collect().results == {PATH.encode(): "stored"}
    assert not there & {*parts(away)[before:]}
    (identity,) = away.site.dumps()
    assert away.site.info(identity)["size"] == _IN_PARTS


def test_F13_an_upload_to_manta_of_another_file_is_aborted(only: Node, proxy: Proxy, away: SiteCollector) -> None:
    only.put(PATH, core(_IN_PARTS))
    killed_in_the_middle(away, proxy)
    only.path(PATH).unlink()
    assert away.collect().code == 0
    assert [each for each in away.site.server.requests if each.method == "POST" and each.path.endswith("/abort")]
