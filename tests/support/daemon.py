"""``sdc-thoth --daemon`` as its users run it: a process of its own, whose log is read while it runs."""

from __future__ import annotations

import json
import signal
import subprocess
import threading
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.support.collector import Collector
from tests.support.processes import send

PLACE = "/var/tmp/thoth"  # of dumps, on a node
OFTEN = "[schedule]\nevery = 0.5\n"
SELDOM = "[schedule]\nevery = 3600\n"

_PATIENCE = 30.0  # seconds
_IMPATIENT = ("-T", "2", "-e", "3")

Event = Mapping[str, Any]


class Daemon:
    """Runs from ``with`` to its end. ``home`` says with which configuration; ``flags`` are the daemon's."""

    def __init__(
        self, home: Collector, *flags: str, environment: Mapping[str, str] | None = None, log: str = "json"
    ) -> None:
        self.home = home
        self.flags = (*_IMPATIENT, "--log", log, *flags)
        self._environment = {**home.environment, **(environment or {})}
        self._changed = threading.Condition()
        self._lines: list[str] = []
        self._events: list[Event] = []
        self._ended = False

    def __enter__(self) -> Self:
        self.process = subprocess.Popen(
            self.home.command("--daemon", *self.flags),
            env=self._environment,
            cwd=self.home.home,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="surrogateescape",
        )
        self._reader = threading.Thread(target=self._read, name="log of a daemon")
        self._reader.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        send(signal.SIGCONT, [self.process.pid])
        self.process.kill()
        self.process.wait()
        self._reader.join()
        assert self.process.stdout and self.process.stderr
        self.process.stdout.close()
        self.process.stderr.close()

    def _read(self) -> None:
        assert self.process.stderr
        for line in self.process.stderr:
            with self._changed:
                self._lines.append(line)
                if line.startswith("{"):
                    self._events.append(json.loads(line))
                self._changed.notify_all()
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    # ---- its log ------------------------------------------------------------------------------------

    @property
    def log(self) -> str:
        """All that it has said so far."""
        with self._changed:
            return "".join(self._lines)

    @property
    def all_events(self) -> list[Event]:
        """All events so far."""
        with self._changed:
            return list(self._events)

    def events(self, name: str) -> list[Event]:
        """The events of that name so far."""
        with self._changed:
            return [event for event in self._events if event["event"] == name]

    def wait_for(self, name: str, count: int = 1, *, seconds: float = _PATIENCE) -> Event:
        """The ``count``-th event of that name, once it has come."""
        with self._changed:
            self._changed.wait_for(lambda: self._ended or self._count(name) >= count, seconds)
            assert self._count(name) >= count, f"no {name!r} within {seconds:g} s:\n{''.join(self._lines)}"
            return [event for event in self._events if event["event"] == name][count - 1]

    def _count(self, name: str) -> int:
        return sum(event["event"] == name for event in self._events)

    def wait_for_passes(self, count: int, *, seconds: float = _PATIENCE) -> list[Event]:
        """The ends of the passes, once there are so many more than now."""
        before = len(self.events("pass ends"))
        self.wait_for("pass ends", before + count, seconds=seconds)
        return self.events("pass ends")

    # ---- what is done to it -------------------------------------------------------------------------

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def stop(self, number: signal.Signals = signal.SIGTERM, *, seconds: float = _PATIENCE) -> int:
        """Tell it to stop; returns its exit status."""
        self.process.send_signal(number)
        return self.wait(seconds)

    def wait(self, seconds: float = _PATIENCE) -> int:
        """Its exit status, once it has ended."""
        code = self.process.wait(seconds)
        self._reader.join(seconds)
        return code

    # ---- what it leaves to be seen ------------------------------------------------------------------

    @property
    def directory(self) -> Path:
        return self.home.home / ".local/state/sdc-thoth"

    def status(self) -> dict[str, Any]:
        """The status file."""
        document: dict[str, Any] = json.loads((self.directory / "status.json").read_bytes())
        return document
