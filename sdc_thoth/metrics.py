"""Metrics for Prometheus, made from the status: on a port of this host, and as a file for node_exporter.

The only module that knows prometheus_client. The port is one of 127.0.0.1, never of another address.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from prometheus_client import CollectorRegistry, generate_latest, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from sdc_thoth.notes import Amount, PassNote
from sdc_thoth.state import shown
from sdc_thoth.status import State, Status
from thoth import ThothError, UsageError, write_durably

_PREFIX: Final = "sdc_thoth"
_LOOPBACK: Final = "127.0.0.1"


class _Told:
    """A status as metrics; asked anew each time they are collected."""

    def __init__(self, status: Callable[[], Status | None]) -> None:
        self._status = status

    def collect(self) -> Iterator[Metric]:
        status = self._status()
        if status is not None:
            yield from _metrics(status)


def _metrics(status: Status) -> Iterator[Metric]:
    yield from _of_totals(status)
    yield from _of_nodes(status)
    yield _gauge("failing_dumps", "Dumps that fail.", status.failing_dumps)
    if status.last_pass is not None:
        note = status.last_pass
        yield _gauge("last_pass_start_timestamp_seconds", "When the last pass began.", note.started)
        yield _gauge("last_pass_duration_seconds", "How long it took.", note.seconds)
        yield _gauge("last_pass_success", "Whether every outcome of it was a good one.", int(note.good))
        yield _gauge("last_pass_sent_bytes", "Bytes that it brought into the store.", note.sent)
        yield from _of_limits(note)
        yield _by_result("last_pass_dumps", "Dumps by outcome, in the last pass.", note.dumps)
        yield _gauge("waiting_dumps", "Dumps that were still being written.", note.waiting.dumps)
    if status.rate is not None:
        yield _gauge("rate_bytes_per_second", "Bytes a second while dumps were on their way.", status.rate)
    if status.daemon is not None:
        daemon = status.daemon
        yield _gauge("daemon_running", "Whether the daemon runs.", int(daemon.state is not State.STOPPED))
        yield _counter("passes_missed", "Times at which a pass was due and was not begun.", daemon.passed_over)
        if daemon.next_pass is not None:
            yield _gauge("next_pass_timestamp_seconds", "When the next pass is due.", daemon.next_pass)


def _of_totals(status: Status) -> Iterator[Metric]:
    dumps = CounterMetricFamily(f"{_PREFIX}_dumps", "Dumps by outcome, in all passes.", labels=["result"])
    sizes = CounterMetricFamily(f"{_PREFIX}_dump_bytes", "Bytes of these dumps.", labels=["result"])
    for result, amount in status.totals.items():
        dumps.add_metric([result], amount.dumps)
        sizes.add_metric([result], amount.bytes)
    yield from (dumps, sizes)


def _by_result(name: str, help: str, amounts: Mapping[str, Amount]) -> Metric:
    dumps = GaugeMetricFamily(f"{_PREFIX}_{name}", help, labels=["result"])
    for result, amount in amounts.items():
        dumps.add_metric([result], amount.dumps)
    return dumps


def _of_limits(note: PassNote) -> Iterator[Metric]:
    dumps = GaugeMetricFamily(f"{_PREFIX}_limited_dumps", "Dumps that a limit kept out.", labels=["limit"])
    sizes = GaugeMetricFamily(f"{_PREFIX}_limited_bytes", "Bytes of these dumps.", labels=["limit"])
    for limit, amount in note.limited.items():
        dumps.add_metric([limit], amount.dumps)
        sizes.add_metric([limit], amount.bytes)
    yield from (dumps, sizes)


def _of_nodes(status: Status) -> Iterator[Metric]:
    up = GaugeMetricFamily(
        f"{_PREFIX}_node_up",
        "Whether the node's last visit was a good one; not told of a node that does not run and does not fail.",
        labels=["node"],
    )
    running = GaugeMetricFamily(
        f"{_PREFIX}_node_running", "Whether the node runs, as far as the inventory knows.", labels=["node"]
    )
    reached = GaugeMetricFamily(
        f"{_PREFIX}_node_reached_timestamp_seconds", "When the node was last searched to the end.", labels=["node"]
    )
    failing = GaugeMetricFamily(
        f"{_PREFIX}_node_failing_since_timestamp_seconds", "Since when the node fails.", labels=["node"]
    )
    remark = GaugeMetricFamily(
        f"{_PREFIX}_node_remark", "Whether the status has a remark on a node that is up.", labels=["node"]
    )
    for node in status.nodes:
        if node.is_running or node.failing_since is not None:
            up.add_metric([node.node], int(node.failing_since is None))
        running.add_metric([node.node], int(node.is_running))
        remark.add_metric([node.node], int(node.remark is not None))
        if node.reached is not None:
            reached.add_metric([node.node], node.reached)
        if node.failing_since is not None:
            failing.add_metric([node.node], node.failing_since)
    yield from (up, running, reached, failing, remark)


def _gauge(name: str, help: str, value: float) -> Metric:
    return GaugeMetricFamily(f"{_PREFIX}_{name}", help, value=value)


def _counter(name: str, help: str, value: float) -> Metric:
    return CounterMetricFamily(f"{_PREFIX}_{name}", help, value=value)


def _registry(status: Callable[[], Status | None]) -> CollectorRegistry:
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Told(status))
    return registry


def write_textfile(path: Path, status: Status) -> None:
    """The metrics as a file that node_exporter, which is another user, may read. Raises ThothError."""
    data = generate_latest(_registry(lambda: status))
    try:
        write_durably(path, data, mode=0o644)
    except OSError as error:
        raise ThothError(f"[metrics] textfile {shown(path)}: {error.strerror or error}") from error


class MetricsPort:
    """Answers on a port of 127.0.0.1 until it is closed. Raises UsageError when the port cannot be had."""

    def __init__(self, port: int, status: Callable[[], Status | None]) -> None:
        try:
            self._server, self._thread = start_http_server(port, _LOOPBACK, _registry(status))
        except OSError as error:
            raise UsageError(f"[metrics] port {port}: {error.strerror or error}") from error

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
