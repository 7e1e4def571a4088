"""Files of rules, and a dump that they match."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.thoth.cli.autoanalyzers.scene import Rules
from tests.thoth.cli.conftest import Core


@pytest.fixture
def rules(tmp_path: Path) -> Rules:
    """``rules(TICKET, TRIAGE)`` writes a file of rules and gives its path; one rule is no array."""

    def rules(*documents: Any, name: str = "rules.json") -> Path:
        path = tmp_path / name
        path.write_text(json.dumps(documents if len(documents) != 1 else documents[0]))
        return path

    return rules


@pytest.fixture
def svc_startd(core: Core) -> Path:
    return core(19972, cmd="svc.startd")
