"""What a pass does about dumps that were there already, and about what was lost of them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.sdc_thoth.passes import MEGABYTE, PLACE, changed_at, only_info
from tests.support.elfwriter import illumos_core, linux_core
from tests.support.invariants import check_store
from tests.support.mishaps import check_settled, collector
from tests.support.sshd import Fleet, Node
from thoth import DumpInfo, load_config, open_thoth

# ---- what is there already -----------------------------------------------------------------------------------------


def test_a_dump_that_came_by_hand_gets_sysinfo_and_keeps_its_ticket(
    node: Callable[..., Node], tmp_path: Path
) -> None:
    only = node()
    core = only.put(f"{PLACE}/core.1", illumos_core(1))
    home = collector(tmp_path, [only])
    assert home.thoth("upload", str(core)).returncode == 0
    (path,) = home.store.glob("*/stor/thoth/*/info.json")
    info = DumpInfo.from_json(path.read_bytes())
    ticketed = info.changed(ticket="OS-1", properties={"triage": "mine"})
    path.write_text(ticketed.to_json())
    result = home.collect()
    assert result.results == {f"{PLACE}/core.1".encode(): "present"} and result.document["bytes"] == 0
    after = only_info(home)
    assert after.document["ticket"] == "OS-1"
    assert after.properties["triage"] == "mine" and after.properties["sysinfo"]["System_Type"] == "Linux"
    assert [source["node"] for source in after.document["sources"]][1:] == [only.name]
    check_settled(home, [only])


def test_a_dump_that_was_cut_short_is_replaced(node: Callable[..., Node], tmp_path: Path) -> None:
    only = node()
    whole = illumos_core(1, size=300_000)
    only.put(f"{PLACE}/core.1", whole[:200_000])
    home = collector(tmp_path, [only])
    assert home.collect().results == {f"{PLACE}/core.1".encode(): "stored"}
    assert only_info(home).complete is False
    only.put(f"{PLACE}/core.1", whole)
    result = home.collect()
    assert result.results == {f"{PLACE}/core.1".encode(): "replaced"} and result.code == 0
    assert only_info(home).complete is True
    assert [data for _, data in home.stored()] == [whole]
    # The cut one is now the lesser one: it changes nothing.
    only.put(f"{PLACE}/core.1", whole[:200_000])
    assert home.collect().results == {f"{PLACE}/core.1".encode(): "present"}
    assert [data for _, data in home.stored()] == [whole]
    check_settled(home, [only])


def test_another_dump_with_the_same_headers_is_a_conflict(node: Callable[..., Node], tmp_path: Path) -> None:
    only = node()
    first = illumos_core(1)
    only.put(f"{PLACE}/core.1", first)
    home = collector(tmp_path, [only])
    assert home.collect().code == 0
    only.put(f"{PLACE}/core.2", first + b"more than the headers tell")
    result = home.collect()
    dump = result.dumps[f"{PLACE}/core.2".encode()]
    assert (dump["result"], dump["stage"]) == ("conflict", "look up")
    assert dump["reason"] == "stored whole with 16384 bytes; this file has 16410 and the same headers; keep it"
    assert result.code == 1
    assert [data for _, data in home.stored()] == [first]


def test_where_no_size_is_recorded_the_stored_dump_tells(node: Callable[..., Node], tmp_path: Path) -> None:
    only = node()
    first = illumos_core(1)
    core = only.put(f"{PLACE}/core.1", first)
    home = collector(tmp_path, [only])
    assert home.thoth("upload", str(core)).returncode == 0
    (path,) = home.store.glob("*/stor/thoth/*/info.json")
    ours = {"size", "sha256", "md5", "complete", "revision", "uploaded", "sources"}
    bare = {key: value for key, value in only_info(home).document.items() if key not in ours}
    path.write_text(json.dumps(bare))
    (home.store.parent / "thoth.db").unlink()
    assert home.thoth("index").returncode == 0
    only.put(f"{PLACE}/core.2", first + b"more than the headers tell")
    for flags in (["-n"], []):
        result = home.collect(*flags)
        results = {f"{PLACE}/core.1".encode(): "present", f"{PLACE}/core.2".encode(): "conflict"}
        assert (result.results, result.code) == (results, 1)
    assert [data for _, data in home.stored()] == [first]


def test_a_whole_dump_that_is_shorter_is_a_conflict_and_a_part_is_none(
    node: Callable[..., Node], tmp_path: Path
) -> None:
    only = node()
    whole = illumos_core(1, size=5 * MEGABYTE)
    first = whole + b"more than the headers tell"
    only.put(f"{PLACE}/core.1", first)
    home = collector(tmp_path, [only])
    assert home.collect().code == 0
    only.put(f"{PLACE}/core.2", whole)
    only.put(f"{PLACE}/core.3", whole[:MEGABYTE])
    result = home.collect()
    results = {f"{PLACE}/core.{n}".encode(): what for n, what in ((1, "present"), (2, "conflict"), (3, "present"))}
    assert (result.results, result.code) == (results, 1)
    assert [data for _, data in home.stored()] == [first]


@pytest.mark.parametrize("complete", [True, False])
def test_a_dump_that_was_purged_is_not_fetched_again(
    node: Callable[..., Node], tmp_path: Path, complete: bool
) -> None:
    only = node()
    core = illumos_core(1, size=100_000)
    only.put(f"{PLACE}/core.1", core if complete else core[:50_000])
    home = collector(tmp_path, [only])
    assert home.collect().results == {f"{PLACE}/core.1".encode(): "stored"}
    assert only_info(home).complete is complete
    purged = only_info(home).changed(purged=1_700_000_000)
    with open_thoth(
        load_config(home.environment, store=f"file://{home.store}", db=f"sqlite://{home.store.parent}/thoth.db")
    ) as thoth:
        thoth.store.put(f"/thoth/stor/thoth/{purged.id}/info.json", purged.to_json().encode())
        thoth.index.put(purged)
        thoth.store.delete(str(purged.document["dump"]))
    only.put(f"{PLACE}/core.1", core + b"more than there was")
    for flags in (["-n"], [], []):
        result = home.collect(*flags)
        assert result.results == {f"{PLACE}/core.1".encode(): "present"}
        assert (result.document["bytes"], result.code) == (0, 0)
    assert only_info(home).document["purged"] == 1_700_000_000
    assert not list(home.store.glob("*/stor/thoth/*/core.1"))


def test_the_same_core_on_two_nodes(fleet: Callable[..., Fleet], tmp_path: Path) -> None:
    nodes = fleet(["cn0", "cn1"])
    for node in nodes:
        node.put(f"{PLACE}/core.1", illumos_core(1))
    home = collector(tmp_path, nodes)
    told = home.run("--json", "-p", "2")
    assert told.returncode == 0
    sources = only_info(home).document["sources"]
    assert sorted((source["node"], source["path"]) for source in sources) == [
        ("cn0", f"{PLACE}/core.1"),
        ("cn1", f"{PLACE}/core.1"),
    ]
    check_store(home)


def test_dumps_that_are_too_large_stay(node: Callable[..., Node], tmp_path: Path) -> None:
    only = node()
    only.put(f"{PLACE}/core.1", illumos_core(1, size=100_000))
    only.put(f"{PLACE}/core.2", illumos_core(2, size=100_001))
    home = collector(tmp_path, [only], "[limits]\nmax_size = 100000")
    result = home.collect()
    assert result.results == {f"{PLACE}/core.1".encode(): "stored", f"{PLACE}/core.2".encode(): "skipped"}
    assert result.dumps[f"{PLACE}/core.2".encode()]["reason"] == "larger than max_size, 100000 bytes"
    assert result.code == 0
    home = collector(tmp_path, [only])
    assert home.collect().results[f"{PLACE}/core.2".encode()] == "stored"


# ---- what was lost -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [16384, 5 * MEGABYTE])
def test_a_dump_that_the_store_has_lost_comes_again(node: Callable[..., Node], tmp_path: Path, size: int) -> None:
    """Its document is there, with what people set, and the index has it: nothing but the store tells."""
    only = node()
    path, core = f"{PLACE}/core.1", linux_core(1, size=size)
    only.put(path, core)
    home = collector(tmp_path, [only])
    home.collect()
    (info,) = home.infos()
    assert home.thoth("ticket", info.id, "OS-7").returncode == 0
    (home.store / str(info.document["dump"]).lstrip("/")).unlink()
    fresh = ("-d", str(tmp_path / "fresh"))  # the journal of another collector
    planned = home.collect("-n", *fresh).dumps[path.encode()]
    assert (planned["result"], planned["reason"]) == ("planned", "what is stored was cut short, or is lost")
    assert home.collect(*fresh).results == {path.encode(): "stored"}
    ((again, data),) = home.stored()
    assert (data, again.document["ticket"]) == (core, "OS-7")
    check_settled(home, [only])


@pytest.mark.parametrize("flags", [("-n",), ()], ids=["dry", "wet"])
def test_a_damaged_document_is_the_failure_of_one_dump(
    node: Callable[..., Node], tmp_path: Path, flags: tuple[str, ...]
) -> None:
    only = node()
    damaged, fresh = (f"{PLACE}/core.{pid}".encode() for pid in (1, 2))
    only.put(damaged.decode(), linux_core(1))
    home = collector(tmp_path, [only])
    home.collect()
    (info,) = home.infos()
    (home.store / str(info.document["name"]).lstrip("/") / "info.json").write_text("{")
    only.put(fresh.decode(), linux_core(2))
    result = home.collect(*flags, "-d", str(tmp_path / "fresh"))
    assert result.results == {damaged: "failed", fresh: "planned" if flags else "stored"}
    assert "info.json: not JSON" in result.dumps[damaged]["reason"]
    assert (result.code, result.nodes[only.name]["result"]) == (1, "reached")


def test_a_lost_index_heals_without_sending_dumps_again(node: Callable[..., Node], tmp_path: Path) -> None:
    only = node()
    for pid in range(1, 6):
        only.put(f"{PLACE}/core.{pid}", illumos_core(pid))
    home = collector(tmp_path, [only])
    assert home.collect().code == 0
    before = changed_at(home)
    for path in home.store.parent.glob("thoth.db*"):
        path.unlink()
    result = home.collect()
    assert set(result.results.values()) == {"present"} and result.document["bytes"] == 0
    assert {path: when for path, when in changed_at(home).items() if not path.endswith(".lock")} == {
        path: when for path, when in before.items() if not path.endswith(".lock")
    }
    assert len(home.infos()) == 5
    check_settled(home, [only])


def test_a_lost_journal_costs_time_and_nothing_else(node: Callable[..., Node], tmp_path: Path) -> None:
    only = node()
    for pid in range(1, 6):
        only.put(f"{PLACE}/core.{pid}", illumos_core(pid))
    home = collector(tmp_path, [only])
    assert home.collect().code == 0
    journal = home.home / ".local/state/sdc-thoth/journal.sqlite"
    content, before = journal.read_bytes(), changed_at(home)
    for damaged in (None, b"no database\n" * 1000, content[: len(content) // 2], b""):
        journal.unlink()
        if damaged is not None:
            journal.write_bytes(damaged)
        result = home.collect()
        assert set(result.results.values()) == {"present"} and result.document["bytes"] == 0
        assert result.code == 0
        assert changed_at(home) == before
    check_settled(home, [only])
