"""The dumps of tests/vectors: files, the identity that the original printed for them, the facts in them."""

from __future__ import annotations

import gzip
import json
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent / "vectors"


@cache
def entries() -> tuple[dict[str, Any], ...]:
    """The rows of vectors.json, which explains its keys."""
    return tuple(json.loads((ROOT / "vectors.json").read_bytes())["files"])


@cache
def names() -> tuple[str, ...]:
    """Every file, as vectors.json calls it."""
    return tuple(entry["file"] for entry in entries())


def entry(name: str) -> dict[str, Any]:
    """The row of one file."""
    return next(each for each in entries() if each["file"] == name)


def load(name: str) -> bytes:
    """The dump's bytes."""
    return gzip.decompress((ROOT / f"{name}.gz").read_bytes())


def write(name: str, directory: Path) -> Path:
    """The dump as a file below ``directory``, under its own name."""
    target = directory / name
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(load(name))
    return target
