"""Telling the world how things stand: the status file, and the metrics where they are wanted."""

from __future__ import annotations

from sdc_thoth.config import Settings
from sdc_thoth.status import Status, write_status


def publish(settings: Settings, status: Status) -> None:
    """Write the status and, where one is configured, the textfile of metrics. Raises ThothError."""
    write_status(settings.directory, status)
    if settings.metrics.textfile is not None:
        from sdc_thoth.metrics import write_textfile  # noqa: PLC0415 - prometheus_client takes its time to import

        write_textfile(settings.metrics.textfile, status)
