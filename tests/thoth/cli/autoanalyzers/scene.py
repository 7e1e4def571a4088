"""What the tests of ``thoth autoanalyzers`` have in common."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.thoth.cli.conftest import Ran

Rules = Callable[..., Path]

TICKET = {"name": "OS-2359", "version": 1, "matches": ["type=core", "cmd=svc.startd"], "ticket": "OS-2359"}
TRIAGE = {
    "name": "triage",
    "version": 2,
    "matches": ["ticket=OS-2359"],
    "depends": ["OS-2359"],
    "property": {"name": "triage.engineer", "value": "bmc"},
}
FMRI = {"name": "fmri", "version": 1, "matches": ["type=core"], "analyzer": "fmri"}


def lines(ran: Ran) -> list[dict[str, Any]]:
    return [json.loads(line) for line in ran.lines]
