"""The daemon's log: both of its forms, what others log, and that no secret and no control character gets out."""

from __future__ import annotations

import io
import json
import logging
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

import pytest
import structlog

from sdc_thoth.events import Log, is_json, open_log

SECRET = "hunter2-0815"
KEY = "-----BEGIN OPENSSH PRIVATE KEY-----\nhunter2-0815\n-----END OPENSSH PRIVATE KEY-----"


@pytest.fixture(autouse=True)
def _logging_as_before() -> Iterator[None]:
    root, hook, main_hook = logging.getLogger(), threading.excepthook, sys.excepthook
    names = ("paramiko", "apscheduler", "urllib3")
    handlers, level = list(root.handlers), root.level
    levels = {name: logging.getLogger(name).level for name in names}
    propagate = logging.getLogger("paramiko").propagate
    yield
    root.handlers[:], root.level = handlers, level
    threading.excepthook, sys.excepthook = hook, main_hook
    for name, before in levels.items():
        logging.getLogger(name).setLevel(before)
    logging.getLogger("paramiko").propagate = propagate
    structlog.reset_defaults()


def fail(error: Exception) -> NoReturn:
    raise error


def json_lines(write: Callable[[Log], Any], *, debug: bool = False) -> list[dict[str, Any]]:
    out = io.StringIO()
    write(open_log(as_json=True, debug=debug, stream=out))
    return [json.loads(line) for line in out.getvalue().splitlines()]


def text_of(write: Callable[[Log], Any]) -> str:
    out = io.StringIO()
    write(open_log(as_json=False, stream=out))
    return out.getvalue()


def test_an_event_as_json() -> None:
    (event,) = json_lines(lambda log: log.warning("node", node="cn0", reason=None, counts={"a": 1}, path=b"/\xff"))
    assert event.pop("timestamp").endswith("Z")
    assert event == {
        "event": "node",
        "level": "warning",
        "logger": "sdc_thoth",
        "node": "cn0",
        "counts": {"a": 1},
        "path": "/\udcff",
    }


def test_an_event_as_text() -> None:
    line = text_of(lambda log: log.info("pass ends", seconds=1.5, nodes={"reached": 2}))
    assert line.rstrip().endswith("[info     ] pass ends [sdc_thoth] nodes=\"{'reached': 2}\" seconds=1.5")


@pytest.mark.parametrize("logger", ["paramiko.transport", "apscheduler.executors.default", "whoever"])
def test_what_others_log_looks_the_same(logger: str) -> None:
    def failing(_log: Log) -> None:
        try:
            fail(ZeroDivisionError("of theirs"))
        except ZeroDivisionError:
            logging.getLogger(logger).exception("it failed: %s", "really")

    logging.getLogger("paramiko").propagate = True
    if logger.startswith("paramiko"):
        assert json_lines(failing) == []  # what matters of its failures is in our errors
    (event,) = json_lines(failing, debug=True)
    assert (event["event"], event["level"], event["logger"]) == ("it failed: really", "error", logger)
    assert "ZeroDivisionError: of theirs" in event["exception"] and "\n" in event["exception"]


def test_only_what_is_asked_for_in_detail_is_told_in_detail() -> None:
    def chat(log: Log) -> None:
        log.debug("detail")
        logging.getLogger("apscheduler.scheduler").info("theirs")
        logging.getLogger("urllib3.connectionpool").warning("theirs")

    assert json_lines(chat) == []
    assert [event["event"] for event in json_lines(chat, debug=True)] == ["detail", "theirs", "theirs"]


@pytest.mark.parametrize(
    "fields",
    [
        {"authorization": SECRET},
        {"Authorization": f"Signature {SECRET}"},
        {"authKey": SECRET},
        {"auth_key": SECRET},
        {"password": SECRET},
        {"passphrase": [SECRET]},
        {"config": {"deep": {"ufds_admin_pw_secret": SECRET}}},
        {"headers": {"Authorization": SECRET}},
        {"reason": KEY},
        {"reason": KEY.partition("-----END")[0]},
        {"url": f"https://thoth:{SECRET}@manta.example.com/x"},
        {"said": f"Authorization: Signature keyId=x,signature={SECRET}"},
        {"said": f"THOTH_DB_AUTHKEY={SECRET}"},
        {"said": f'"password": "{SECRET}"'},
        {"said": f"rethinkdb password={SECRET}, and more"},
        {"items": [f"token={SECRET}"]},
        {"error": ValueError(f"password: {SECRET}")},
    ],
)
@pytest.mark.parametrize("as_json", [True, False])
def test_F71_no_secret_gets_out(fields: dict[str, Any], as_json: bool) -> None:
    def write(log: Log) -> None:
        log.info("an event", **fields)
        logging.getLogger("whoever").error("theirs: %s", fields)
        try:
            fail(ValueError(*fields.values()))
        except ValueError:
            log.exception("failed")

    out = io.StringIO()
    write(open_log(as_json=as_json, stream=out))
    written = out.getvalue()
    first = written.splitlines()[0]
    assert "an event" in first and "[redacted]" in first
    # A name that says so stands beside the value only in the event and in what others print of it.
    if not set(fields) & {
        "authorization",
        "authKey",
        "auth_key",
        "passphrase",
        "config",
        "headers",
        "Authorization",
        "password",
    }:
        assert SECRET not in written
    assert SECRET not in first


def test_what_is_no_secret_stays() -> None:
    (event,) = json_lines(
        lambda log: log.info(
            "ok", key="SHA256:abc", keys=3, token=None, user="root@cn0:22", url="http://cnapi/servers"
        )
    )
    assert (event["key"], event["keys"], event["user"], event["url"]) == (
        "SHA256:abc",
        3,
        "root@cn0:22",
        "http://cnapi/servers",
    )


@pytest.mark.parametrize("as_json", [True, False])
def test_F23_no_control_character_reaches_the_terminal(as_json: bool) -> None:
    hostile = "a\x1b[2J\x07\x9b\u202e\x7f\r\nforged: line"

    def write(log: Log) -> None:
        log.info(hostile, path=hostile, deep={hostile: [hostile]})
        logging.getLogger("whoever").error("theirs %s", hostile)
        try:
            fail(ValueError(hostile))
        except ValueError:
            log.exception("failed")

    out = io.StringIO()
    write(open_log(as_json=as_json, stream=out))
    written = out.getvalue()
    assert not [char for char in written if char != "\n" and not char.isprintable()]
    if as_json:
        assert [json.loads(line)["event"] for line in written.splitlines()] == [
            hostile,
            f"theirs {hostile}",
            "failed",
        ]
    else:
        lines = [line for line in written.splitlines() if not line.startswith("    ")]  # a traceback's are set in
        assert len(lines) == 3 and all(line.startswith("20") for line in lines)


def test_a_thread_that_fails_is_told() -> None:
    def work() -> None:
        raise ZeroDivisionError("in a thread")

    def write(_log: Log) -> None:
        thread = threading.Thread(target=work, name="worker")
        thread.start()
        thread.join()

    (event,) = json_lines(write)
    assert (event["event"], event["thread"], event["level"]) == ("a thread failed", "worker", "error")
    assert "ZeroDivisionError: in a thread" in event["exception"]


def test_a_log_that_cannot_be_written_stops_nobody() -> None:
    class Full(io.StringIO):
        def write(self, text: str) -> int:
            raise OSError(28, "No space left on device")

    open_log(as_json=True, stream=Full()).info("lost")


@pytest.mark.parametrize(
    ("wish", "environ", "expected"),
    [
        ("auto", {}, False),
        ("auto", {"SMF_FMRI": "svc:/site/thoth"}, True),
        ("auto", {"NOTIFY_SOCKET": "/run/x"}, True),
        ("auto", {"JOURNAL_STREAM": "8:1"}, True),
        ("auto", {"INVOCATION_ID": "0"}, False),
        ("json", {}, True),
        ("text", {"SMF_FMRI": "svc:/site/thoth"}, False),
    ],
)
def test_json_where_a_service_manager_takes_it_or_it_is_asked_for(
    wish: str, environ: dict[str, str], expected: bool
) -> None:
    assert is_json(wish, environ, terminal=False) is expected
    assert is_json(wish, environ, terminal=True) is (wish == "json")  # people read there
