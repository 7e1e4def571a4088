"""The limits of a pass: what is collected, how much at a time, how fast. The ``[limits]`` table as a value.

settle = 5             seconds that a dump must have been still
max_size = "200G"      larger dumps stay on their node (all are taken)
min_free = "50G"       dumps that would leave less free on the store's disk stay on their node (none do)
nodes = 4              that are worked on at a time
dumps = 8              that are on their way at a time, from all nodes (as many as the nodes bring)
rate = "20M"           bytes a second, from all nodes together (no limit)
node_rate = "5M"       bytes a second, from each node (no limit)
compress = "auto"      dumps are compressed on their way: auto, where that is faster; gzip, zstd, none

Sizes are numbers of bytes, or text with K, M, G, T, P. An option of the command goes before what a file says.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from sdc_thoth.expand import lacking
from sdc_thoth.toml import TomlTable
from thoth import parsed_size, size_text

COMPRESS: Final = ("auto", "gzip", "zstd", "none")
MOST_AT_A_TIME: Final = 1000
SIZE: Final = "a number of bytes above 0, or text like 20G"


@dataclass(frozen=True, slots=True)
class Limits:
    """None: there is no such limit."""

    settle: float = 5.0  # seconds that a dump must have been still
    max_size: int | None = None  # bytes
    min_free: int | None = None  # bytes
    nodes: int = 4
    dumps: int | None = None
    rate: int | None = None  # bytes a second
    node_rate: int | None = None  # bytes a second
    compress: str = "auto"

    @property
    def shown(self) -> str:
        """For people: ``4 nodes at a time, 20.00MB/s``."""
        sizes = {
            "up to {} each": self.max_size,
            "{} stay free": self.min_free,
            "{}/s": self.rate,
            "{}/s from each node": self.node_rate,
        }
        told = [f"{self.nodes} nodes at a time"]
        told += [f"{self.dumps} dumps at a time"] if self.dumps else []
        return ", ".join(told + [words.format(size_text(size)) for words, size in sizes.items() if size])

    def with_options(self, options: Mapping[str, Any]) -> Limits:
        """With what the command line says, by the names of the fields; None: it does not say."""
        return replace(self, **{name: value for name, value in options.items() if value is not None})


def limits_from(before: Limits, table: TomlTable) -> Limits:
    """The limits with what a table says in the place of what was said before. Raises UsageError."""
    told: dict[str, Any] = {"settle": table.number_in("settle", 0, 1e7)}
    for key in ("max_size", "min_free", "rate", "node_rate"):
        told[key] = _size(key, table)
    for key in ("nodes", "dumps"):
        number = table.number_in(key, 1, MOST_AT_A_TIME, whole=True)
        told[key] = None if number is None else int(number)
    told["compress"] = table.matching("compress", re.compile("|".join(COMPRESS)), f"one of {', '.join(COMPRESS)}")
    if told["compress"] is not None and (lack := lacking(told["compress"])):
        raise table.error("compress", f"{told['compress']} {lack}")
    table.done()
    return before.with_options(told)


def _size(key: str, table: TomlTable) -> int | None:
    value: int | str | None = table.take(key, (int, str), "a number of bytes, or text like 20G")
    if value is None:
        return None
    size = parsed_size(str(value))
    if not size:
        raise table.error(key, f"not {SIZE}")
    return size
