"""What the command line tells the daemon."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sdc_thoth.config import Settings, load_settings

if TYPE_CHECKING:
    from sdc_thoth.passes import Orders


@dataclass(frozen=True, slots=True)
class Plan:
    """``config`` and ``inventory`` are read when the daemon starts, and again when it is told to."""

    orders: Orders
    config: Path | None
    inventory: str | None
    cnapi: str | None
    directory: Path | None
    lockfile: str
    limits: Mapping[str, Any]  # of the command line, by the keys of [limits]; None: the files' hold
    hostkeys: str  # the command that messages advise for a host key that is not pinned
    log: str  # json, text, auto
    debug: bool
    detach: bool

    def settings(self) -> Settings:
        """What the files say now. Raises UsageError."""
        return load_settings(
            config=self.config,
            inventory=self.inventory,
            directory=self.directory,
            cnapi=self.cnapi,
            limits=self.limits,
        )
