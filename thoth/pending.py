"""That the rules of a dump are pending: a mark in its document, from its first info.json until they have been run.

``rules_pending`` is when the mark was put, in seconds since 1970. Where there are no rules no dump gets it. Whoever
meets a dump that has it runs what is left: the rules that need nothing but the document, which do no harm when they
were run before, and of those that run analyzers the ones that have no record after that time.

``rules_begun`` says who has begun to run an analyzer on such a dump, and when (thoth.analysis.rule_run).
"""

from __future__ import annotations

from collections.abc import Mapping
from math import inf, nextafter
from typing import Final

from thoth.model import DumpInfo, Json

RULES_PENDING: Final = "rules_pending"  # keys of the document
RULES_BEGUN: Final = "rules_begun"
AUTOANALYZED: Final = "autoanalyzed"
_NEVER: Final = 10**12  # seconds: no clock of ours says that


def pending_since(info: DumpInfo) -> float | None:
    """When the mark was put; None: there is none."""
    return _seconds(info.document.get(RULES_PENDING))


def marked(info: DumpInfo, now: float) -> DumpInfo:
    """The document, of the same revision, with a new mark. ``now``: seconds since 1970.

    It is later than the mark and the records of rules that are there: they speak of what the dump was before.
    """
    times = [pending_since(info), *map(record_time, rule_records(info).values())]
    later = [nextafter(time, inf) for time in times if time is not None]
    document = {key: value for key, value in info.document.items() if key != RULES_BEGUN}
    return DumpInfo({**document, RULES_PENDING: max([now, *later])})


def unmarked(info: DumpInfo) -> DumpInfo:
    """The document of the next revision without the mark, or ``info`` itself when it has none."""
    return info if pending_since(info) is None else info.without(RULES_PENDING).without(RULES_BEGUN)


def rule_records(info: DumpInfo) -> Mapping[str, Mapping[str, Json]]:
    """What is recorded of each rule (thoth.analysis.verdicts); left out is what is no record."""
    value = info.document.get(AUTOANALYZED)
    records = value if isinstance(value, dict) else {}
    return {name: record for name, record in records.items() if isinstance(record, dict)}


def record_time(record: Mapping[str, Json]) -> float | None:
    """When a record was made, in seconds since 1970; None: it does not say."""
    return _seconds(record.get("time"))


def _seconds(value: Json) -> float | None:
    if not isinstance(value, int | float) or isinstance(value, bool):
        return None
    return value if abs(value) < _NEVER else None
