"""The status: as a file, in words, as metrics; and what of it is not well."""

from __future__ import annotations

import json
import os
import stat
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sdc_thoth.config import Metrics, Settings, SshSettings, load_settings
from sdc_thoth.metrics import write_textfile
from sdc_thoth.notes import Amount, NodeNote, PassNote
from sdc_thoth.publish import publish
from sdc_thoth.standing import lines_of, show_status, troubles_of
from sdc_thoth.status import DaemonNote, FailingNote, State, Status, beside_a_daemon, read_status, write_status
from thoth import ThothError, UsageError

NOW = 1_800_000_000.0
HOUR, DAY = 3600.0, 86400.0
HOSTILE = "a\x1b[2J\n\udcff\x7f"

DAEMON = DaemonNote(os.getpid(), NOW - DAY, State.WAITING, NOW - HOUR, "every 900 s", 0.0, NOW + 60)
PASS = PassNote(
    started=NOW - HOUR,
    seconds=75.0,
    busy=10.0,
    sent=1 << 20,
    dumps={"stored": Amount(1, 1 << 20), "present": Amount(40, 1 << 30)},
    nodes={"reached": 2},
    waiting=Amount(1, 2048),
)
GOOD = NodeNote("cn0", "reached", None, NOW - HOUR, None, 0)
BAD = NodeNote("cn1", "unreachable", f"cn1 (10.0.0.1): no answer {HOSTILE}", NOW - 9 * DAY, NOW - 8 * DAY, 190)
DUMP = FailingNote("cn0", f"/cores/core.{HOSTILE}", 3, NOW - DAY, NOW + 600, "changed while it was read")
WELL = Status(NOW, DAEMON, PASS, {"stored": Amount(9, 9 << 20)}, 1 << 20, (GOOD,), (), 0)
ILL = replace(WELL, nodes=(GOOD, BAD), failing=(DUMP,), failing_dumps=1, last_pass=replace(PASS, good=False))


def words(status: Status) -> list[str]:
    return list(lines_of(status, NOW))


def troubles(status: Status) -> list[str]:
    return list(troubles_of(status, NOW))


# ---- the file ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [WELL, ILL, Status(NOW, None, None, {}, None, (), (), 0)])
def test_it_comes_back_as_it_went(tmp_path: Path, status: Status) -> None:
    assert read_status(tmp_path) is None
    write_status(tmp_path, status)
    assert read_status(tmp_path) == status
    (path,) = tmp_path.iterdir()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert path.read_bytes().isascii() and b"\x7f" not in path.read_bytes() and b"\x1b" not in path.read_bytes()


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"{}", b'{"version": 2}', b'{"version": 1}', b"\xff", b"[" * 100_000]
)
def test_another_file_is_an_error_and_is_replaced(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "status.json").write_bytes(content)
    with pytest.raises(ThothError, match="the next pass writes it anew"):
        read_status(tmp_path)
    assert beside_a_daemon(tmp_path, WELL) == WELL
    write_status(tmp_path, WELL)
    assert read_status(tmp_path) == WELL


def test_F18_a_link_by_its_name_is_replaced_not_followed(tmp_path: Path) -> None:
    (tmp_path / "victim").write_text("mine")
    (tmp_path / "status.json").symlink_to(tmp_path / "victim")
    write_status(tmp_path, WELL)
    assert (tmp_path / "victim").read_text() == "mine" and not (tmp_path / "status.json").is_symlink()


def test_what_cannot_be_written_names_the_file(tmp_path: Path) -> None:
    with pytest.raises(ThothError, match=rf"status {tmp_path}/none/status.json: No such file or directory"):
        write_status(tmp_path / "none", WELL)


def test_a_pass_by_hand_keeps_what_a_living_daemon_says(tmp_path: Path) -> None:
    by_hand = replace(WELL, daemon=None)
    assert beside_a_daemon(tmp_path, by_hand) == by_hand
    write_status(tmp_path, WELL)
    assert beside_a_daemon(tmp_path, by_hand) == WELL
    write_status(tmp_path, replace(WELL, daemon=replace(DAEMON, pid=2**22 + 1)))
    assert beside_a_daemon(tmp_path, by_hand) == by_hand


# ---- in words ------------------------------------------------------------------------------------------


def test_when_all_is_well() -> None:
    assert words(WELL) == [
        f"daemon: waiting since 2027-01-15T07:00:00Z, process {os.getpid()}; passes every 900 s;"
        " next 2027-01-15T08:01:00Z",
        "last pass: 2027-01-15T07:00:00Z (1 h ago), took 75.0s; 2 reached",
        "  1 stored (1.00MB), 40 present (1.00GB); sent 1.00MB",
        "  1 still change (2.00KB) and wait for the next pass",
        "rate: 1.00MB/s while dumps were on their way",
        "all passes: 9 stored (9.00MB)",
        "nodes: 1",
        "  cn0: reached, last reached 2027-01-15T07:00:00Z",
    ]
    assert troubles(WELL) == []


def test_what_fails_and_since_when() -> None:
    shown = words(ILL)
    assert (
        "  cn1: unreachable since 2027-01-07T08:00:00Z (8 d ago, 190 tries), last reached 2027-01-06T08:00:00Z:"
        r" cn1 (10.0.0.1): no answer a\x1b[2J\n\xff\x7f"
    ) in shown
    assert (
        r"  cn0: /cores/core.a\x1b[2J\n\xff\x7f: 3 tries since 2027-01-14T08:00:00Z, next after 2027-01-15T08:10:00Z:"
        " changed while it was read"
    ) in shown
    assert all(line.isprintable() for line in shown)
    assert troubles(ILL) == ["the last pass had failures", "1 of 2 nodes cannot be collected from", "1 dump fails"]


@pytest.mark.parametrize(
    ("daemon", "trouble"),
    [
        (replace(DAEMON, pid=2**22 + 1), f"the daemon is gone: there is no process {2**22 + 1}"),
        (replace(DAEMON, next_pass=NOW - HOUR), "a pass was due 1 h ago and has not begun"),
        (replace(DAEMON, next_pass=NOW - HOUR, state=State.COLLECTING), None),
        (replace(DAEMON, state=State.COLLECTING, until=NOW + 1), None),
        (
            replace(DAEMON, state=State.COLLECTING, until=NOW - 1),
            "a pass has been under way since 2027-01-15T07:00:00Z and should be over",
        ),
        (replace(DAEMON, next_pass=NOW - HOUR, late=2 * HOUR), None),
        (replace(DAEMON, next_pass=NOW - 60), None),
        (replace(DAEMON, pid=2**22 + 1, state=State.STOPPED), None),
        (replace(DAEMON, refused_configuration="x.toml:3: no"), "the configuration was not taken: x.toml:3: no"),
        (None, None),
    ],
)
def test_troubles_of_the_daemon(daemon: DaemonNote | None, trouble: str | None) -> None:
    assert troubles(replace(WELL, daemon=daemon)) == ([trouble] if trouble else [])


def test_passes_that_nobody_makes_any_more() -> None:
    """Each was made by cron, or a timer, which is gone; or the daemon was stopped, and nobody started it again."""
    for daemon in (None, replace(DAEMON, state=State.STOPPED)):
        status = replace(WELL, daemon=daemon, last_pass=replace(PASS, started=NOW - 30 * DAY))
        assert troubles(status) == [
            "the last pass ended 29 d ago, and no daemon runs: is cron or the timer still there?"
        ]
        assert troubles(replace(status, last_pass=replace(PASS, started=NOW - DAY))) == []
        assert len(list(troubles_of(replace(status, last_pass=PASS), NOW, late=0.5))) == 1
    assert troubles(replace(WELL, last_pass=replace(PASS, started=NOW - 30 * DAY))) == []


def test_the_first_pass_of_a_daemon_is_under_way() -> None:
    first = replace(WELL, last_pass=None, daemon=replace(DAEMON, state=State.COLLECTING, since=NOW - 60))
    assert troubles(first) == []
    assert troubles(replace(first, daemon=DAEMON)) == ["no pass has ended yet"]


def test_more_dumps_fail_than_are_listed(tmp_path: Path) -> None:
    many = replace(ILL, failing_dumps=2500)
    assert "2500 dumps fail" in troubles(many)
    assert "dumps that fail: 2500" in words(many) and words(many)[-1] == "  and 2499 more"
    told = json.loads(many.to_json())
    del told["failing_dumps"]  # as an older version wrote it
    assert Status.from_json(json.dumps(told).encode()) == ILL


def test_a_pass_that_broke_off_and_none_at_all() -> None:
    broken = replace(PASS, error=f"store /x: {HOSTILE}", good=False)
    assert troubles(replace(WELL, last_pass=broken)) == [r"the last pass broke off: store /x: a\x1b[2J\n\xff\x7f"]
    stopped = replace(PASS, stopped="stopped by SIGTERM", good=False)
    assert troubles(replace(WELL, last_pass=stopped)) == []
    assert "  stopped by SIGTERM before its end" in words(replace(WELL, last_pass=stopped))
    assert troubles(replace(WELL, last_pass=None)) == ["no pass has ended yet"]


@pytest.mark.parametrize("at", [-1e18, 0.0, 1e18])
def test_times_of_a_clock_that_was_wrong(at: float) -> None:
    assert all(
        words(replace(WELL, nodes=(replace(BAD, reached=at, failing_since=at),), last_pass=replace(PASS, started=at)))
    )


def test_show(tmp_path: Path) -> None:
    told: list[str] = []

    def show(**more: Any) -> int:
        told.clear()
        return show_status(tmp_path, out=told.append, now=lambda: NOW, **{"as_json": False, **more})

    with pytest.raises(ThothError, match="no pass has left a status here; name the collector's directory with -d"):
        show()
    write_status(tmp_path, WELL)
    assert show() == 0 and told == words(WELL)
    write_status(tmp_path, ILL)
    assert show() == 1 and told[-3:] == [f"!! {line}" for line in troubles(ILL)]
    assert show(as_json=True) == 1
    assert Status.from_json(told[0].encode()) == ILL


# ---- metrics -------------------------------------------------------------------------------------------


def metrics(tmp_path: Path, status: Status) -> dict[str, float]:
    write_textfile(tmp_path / "x.prom", status)
    lines = (tmp_path / "x.prom").read_text().splitlines()
    return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines if not line.startswith("#")}


def test_metrics(tmp_path: Path) -> None:
    told = metrics(tmp_path, ILL)
    assert told == {
        'sdc_thoth_dumps_total{result="stored"}': 9,
        'sdc_thoth_dump_bytes_total{result="stored"}': 9 << 20,
        'sdc_thoth_node_up{node="cn0"}': 1,
        'sdc_thoth_node_up{node="cn1"}': 0,
        'sdc_thoth_node_running{node="cn0"}': 1,
        'sdc_thoth_node_running{node="cn1"}': 1,
        'sdc_thoth_node_remark{node="cn0"}': 0,
        'sdc_thoth_node_remark{node="cn1"}': 0,
        'sdc_thoth_node_reached_timestamp_seconds{node="cn0"}': NOW - HOUR,
        'sdc_thoth_node_reached_timestamp_seconds{node="cn1"}': NOW - 9 * DAY,
        'sdc_thoth_node_failing_since_timestamp_seconds{node="cn1"}': NOW - 8 * DAY,
        "sdc_thoth_failing_dumps": 1,
        "sdc_thoth_last_pass_start_timestamp_seconds": NOW - HOUR,
        "sdc_thoth_last_pass_duration_seconds": 75,
        "sdc_thoth_last_pass_success": 0,
        "sdc_thoth_last_pass_sent_bytes": 1 << 20,
        'sdc_thoth_last_pass_dumps{result="present"}': 40,
        'sdc_thoth_last_pass_dumps{result="stored"}': 1,
        "sdc_thoth_waiting_dumps": 1,
        "sdc_thoth_rate_bytes_per_second": 1 << 20,
        "sdc_thoth_daemon_running": 1,
        "sdc_thoth_passes_missed_total": 0,
        "sdc_thoth_next_pass_timestamp_seconds": NOW + 60,
    }
    before = metrics(tmp_path, Status(NOW, None, None, {}, None, (), (), 0))
    assert before == {"sdc_thoth_failing_dumps": 0}


OFF = NodeNote("cn2", "not-running", "its status is unknown", NOW - HOUR, None, 0)
OFF_AND_FAILING = replace(OFF, node="cn3", failing_since=NOW - DAY, failures=2)


def test_a_node_that_does_not_run_is_neither_up_nor_down(tmp_path: Path) -> None:
    told = metrics(tmp_path, replace(WELL, nodes=(GOOD, BAD, OFF, OFF_AND_FAILING)))
    assert {name: told.get(f'sdc_thoth_node_up{{node="{name}"}}') for name in ("cn0", "cn1", "cn2", "cn3")} == {
        "cn0": 1,
        "cn1": 0,
        "cn2": None,
        "cn3": 0,  # it failed before, and has not been reached since
    }
    assert [told[f'sdc_thoth_node_running{{node="{name}"}}'] for name in ("cn0", "cn1", "cn2", "cn3")] == [1, 1, 0, 0]


def test_a_node_that_does_not_run_is_told_as_that() -> None:
    status = replace(WELL, nodes=(GOOD, OFF))
    assert words(status)[-1] == "  cn2: not running, last reached 2027-01-15T07:00:00Z: its status is unknown"
    assert troubles(status) == []
    status = replace(WELL, nodes=(GOOD, OFF_AND_FAILING))
    assert words(status)[-1] == (
        "  cn3: not running, and failing since 2027-01-14T08:00:00Z (1 d ago, 2 tries),"
        " last reached 2027-01-15T07:00:00Z: its status is unknown"
    )
    assert troubles(status) == ["1 of 2 nodes cannot be collected from"]


def test_a_remark_on_a_node_is_a_metric(tmp_path: Path) -> None:
    told = replace(GOOD, reason="2 files are compressed")
    off = replace(told, node="cn2", result="not-running", reason="setup is not complete")
    seen = metrics(tmp_path, replace(WELL, nodes=(told, BAD, off)))
    assert [seen[f'sdc_thoth_node_remark{{node="{name}"}}'] for name in ("cn0", "cn1", "cn2")] == [1, 0, 0]


def test_the_textfile_is_for_others_to_read_and_comes_whole(tmp_path: Path) -> None:
    os.umask(0o077)
    settings = Settings(tmp_path, SshSettings(None, tmp_path), metrics=Metrics(textfile=tmp_path / "x.prom"))
    publish(settings, WELL)
    assert stat.S_IMODE((tmp_path / "x.prom").stat().st_mode) == 0o644
    assert {path.name for path in tmp_path.iterdir()} == {"x.prom", "status.json"}
    with pytest.raises(ThothError, match=r"\[metrics\] textfile /nowhere/x.prom: No such file"):
        write_textfile(Path("/nowhere/x.prom"), WELL)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("port = 0", ":2: [metrics] port: not between 1 and 65535: 0"),
        ("port = 65536", ":2: [metrics] port: not between 1 and 65535"),
        ('port = "9464"', ":2: [metrics] port: expected a whole number, not text"),
        ("port = true", ":2: [metrics] port: expected a whole number, not true or false"),
        ('address = "0.0.0.0"', ":2: [metrics] address: unknown; known are port, textfile"),
        ("textfile = 5", ":2: [metrics] textfile: expected text in quotes, not a number"),
        ('textfile = ""', ":2: [metrics] textfile: not a path"),
    ],
)
def test_F57_errors_of_the_metrics(tmp_path: Path, lines: str, message: str) -> None:
    file = tmp_path / "fleet.toml"
    file.write_text(f'[metrics]\n{lines}\n[[node]]\nname = "cn0"\n')
    with pytest.raises(UsageError) as caught:
        load_settings(config=file, home=tmp_path)
    assert message in str(caught.value)
