"""The nodes of a Triton data center, as CNAPI lists them."""

from __future__ import annotations

from collections.abc import Sequence

from sdc_thoth.config import Settings
from sdc_thoth.inventory import Node, select


def nodes_of(settings: Settings, names: Sequence[str] | None, exclude: bool) -> tuple[Node, ...]:
    return select(settings.nodes, names, exclude)
