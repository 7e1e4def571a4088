"""The daemon's log: events with fields, as JSON lines or as text for people. The only module that knows structlog.

What paramiko, apscheduler and others log goes the same way and looks the same. Secrets are taken out of every event,
whoever it is from, and no event can reach the terminal with control characters in it.
"""

from __future__ import annotations

import logging
import os
import re
import sys
import threading
from collections.abc import Callable, Mapping, MutableMapping
from pathlib import Path
from typing import Any, Final, Protocol, TextIO

import structlog

from thoth import escaped, text

_REDACTED: Final = "[redacted]"
_SECRET_NAME: Final = re.compile(
    r"authorization|auth_?key|pass(word|wd|phrase)?$|secret|token|cookie|credential|private_?key", re.IGNORECASE
)
# What gives a secret away inside text: a private key, a URL's user, a header, NAME=VALUE.
_SECRET_TEXT: Final = (
    (re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL), _REDACTED),
    (re.compile(r"(://)[^/\s@]*:[^/\s]*@"), rf"\1{_REDACTED}@"),
    (re.compile(r"(?i)\b(authorization\s*[:=]\s*)[^\r\n]+"), rf"\1{_REDACTED}"),
    (re.compile(r"(?i)\b(\w*(?:auth_?key|password|passwd|secret|token)\w*[\"']?\s*[:=]\s*)\S+"), rf"\1{_REDACTED}"),
)
# What others have to tell beside what is in our errors.
_OTHERS: Final = {
    "paramiko": logging.CRITICAL,
    "apscheduler": logging.ERROR,  # the tracebacks of passes; when they begin and end we tell
    "urllib3": logging.ERROR,
}
_DEEPEST: Final = 6  # levels of a field's value that are looked into; what is deeper is not shown

Event = MutableMapping[str, Any]


class Log(Protocol):
    """Takes events: a name in words, and fields."""

    def debug(self, event: str, **fields: Any) -> Any: ...
    def info(self, event: str, **fields: Any) -> Any: ...
    def warning(self, event: str, **fields: Any) -> Any: ...
    def error(self, event: str, **fields: Any) -> Any: ...
    def exception(self, event: str, **fields: Any) -> Any: ...


def is_json(wish: str, environ: Mapping[str, str], *, terminal: bool) -> bool:
    """Whether the log is JSON: where that was asked for, or with ``auto`` where a service manager takes it."""
    if wish == "auto":
        managed = any(name in environ for name in ("SMF_FMRI", "NOTIFY_SOCKET", "JOURNAL_STREAM"))
        return managed and not terminal
    return wish == "json"


def open_log(*, as_json: bool, debug: bool = False, stream: TextIO | None = None) -> Log:
    """Set up logging for the whole process, onto ``stream`` (stderr), and return our log."""
    out = sys.stderr if stream is None else stream
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    handler = _Handler(out)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, structlog.stdlib.ExtraAdder()],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.format_exc_info,
                redacted,
                *_rendering(as_json, out),
            ],
        )
    )
    root = logging.getLogger()
    for old in list(root.handlers):
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(logging.DEBUG if debug else logging.INFO)
    for name, level in _OTHERS.items():
        logging.getLogger(name).setLevel(logging.DEBUG if debug else level)
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
    log: Log = structlog.get_logger("sdc_thoth")
    threading.excepthook = lambda args: log.error(
        "a thread failed", thread=args.thread.name if args.thread else None, exc_info=args.exc_value
    )
    sys.excepthook = lambda _kind, error, _trace: log.error("failed", exc_info=error)
    return log


def close_log() -> None:
    """Leave nothing for Python to write to a stream that fails: it would end with a status of its own."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            with Path(os.devnull).open("w") as nowhere:
                os.dup2(nowhere.fileno(), stream.fileno())


class _Handler(logging.StreamHandler[TextIO]):
    """A log that cannot be written (its reader is gone, its disk full) is not a reason to stop collecting."""

    def handleError(self, record: logging.LogRecord) -> None:
        if not isinstance(sys.exc_info()[1], OSError | ValueError):
            super().handleError(record)


def _rendering(as_json: bool, out: TextIO) -> list[Callable[..., Any]]:
    if as_json:
        return [structlog.processors.JSONRenderer(), _without_del]
    return [_shown, structlog.dev.ConsoleRenderer(colors=out.isatty(), pad_event_to=0)]


# ---- what an event may show --------------------------------------------------------------------------


def redacted(_logger: Any, _method: str, event: Event) -> Event:
    """The event without what is None, and without secrets: fields whose name says so, and what looks like one inside
    of text."""
    return {name: _clean(name, value, 0) for name, value in event.items() if value is not None}


def _clean(name: str, value: Any, depth: int) -> Any:
    if _SECRET_NAME.search(name) and value is not None and not isinstance(value, bool):
        return _REDACTED
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, Mapping | list | tuple | set | frozenset):
        return _clean_within(value, depth + 1) if depth < _DEEPEST else "..."
    return _without_secrets(text(value) if isinstance(value, bytes) else str(value))


def _clean_within(value: Any, depth: int) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _clean(str(key), item, depth) for key, item in value.items()}
    return [_clean("", item, depth) for item in value]


def _without_secrets(value: str) -> str:
    for pattern, instead in _SECRET_TEXT:
        value = pattern.sub(instead, value)
    return value


def _without_del(_logger: Any, _method: str, line: str) -> str:
    return line.replace("\x7f", "\\u007f")  # the one control character that JSON lets through


def _shown(_logger: Any, _method: str, event: Event) -> Event:
    """Nothing but what a terminal shows as it is. A traceback keeps its lines, set in from the events' own."""
    shown = {name: _printable(value) for name, value in event.items() if name != "exception"}
    if "exception" in event:
        shown["exception"] = "\n".join(f"    {escaped(line)}" for line in str(event["exception"]).split("\n"))
    return shown


def _printable(value: Any) -> Any:
    return value if isinstance(value, bool | int | float) else escaped(str(value))
