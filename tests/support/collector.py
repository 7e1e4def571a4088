"""``sdc-thoth`` as its users run it: a process of its own, with a home, a store and an index of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from thoth import DumpInfo

_BIN = Path(sys.executable).parent
_PATIENCE = 90  # seconds


@dataclass(frozen=True, slots=True)
class Pass:
    """A pass that has ended, as ``--json`` tells it."""

    code: int
    document: Mapping[str, Any]
    talk: str  # stderr

    @classmethod
    def of(cls, done: subprocess.CompletedProcess[str]) -> Pass:
        """What a run with ``--json`` printed."""
        assert done.stdout, done.stderr
        return cls(done.returncode, json.loads(done.stdout), done.stderr)

    @property
    def dumps_by_node(self) -> dict[tuple[str, bytes], dict[str, Any]]:
        """Node and path -> what became of the dump. Fails when a dump has two outcomes."""
        told = {(dump["node"], os.fsencode(dump["path"])): dump for dump in self.document["dumps"]}
        assert len(told) == len(self.document["dumps"]), "a dump has two outcomes"
        return told

    @property
    def dumps(self) -> dict[bytes, dict[str, Any]]:
        """Path on its node -> what became of the dump. Fails when a path has two outcomes, on one node or two."""
        told = {path: dump for (_, path), dump in self.dumps_by_node.items()}
        assert len(told) == len(self.document["dumps"]), "two nodes have dumps of the same path"
        return told

    @property
    def results(self) -> dict[bytes, str]:
        """Path on its node -> its result's word."""
        return {path: dump["result"] for path, dump in self.dumps.items()}

    @property
    def nodes(self) -> dict[str, dict[str, Any]]:
        """Name -> what became of the node. Fails when a node has two outcomes."""
        told = {node["node"]: node for node in self.document["nodes"]}
        assert len(told) == len(self.document["nodes"]), "a node has two outcomes"
        return told


class Collector:
    """Runs passes over an inventory. ``home`` holds everything that they write: store, index, journal."""

    def __init__(self, home: Path, inventory: str) -> None:
        self.home = home
        self.inventory = home / "fleet.toml"
        self.inventory.write_text(inventory)
        self.options: tuple[str, ...] = ("--inventory", str(self.inventory))

    @property
    def environment(self) -> dict[str, str]:
        return {"HOME": str(self.home), "PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8"}

    @property
    def store(self) -> Path:
        return self.home / ".local/share/thoth/store"

    def command(self, *flags: str) -> list[str]:
        return [str(_BIN / "sdc-thoth"), *self.options, *flags]

    def run(self, *flags: str) -> subprocess.CompletedProcess[str]:
        """A pass, with what it printed."""
        return self.command_run(*self.options, *flags)

    def command_run(self, *words: str) -> subprocess.CompletedProcess[str]:
        """The command with these words alone."""
        return subprocess.run(
            [str(_BIN / "sdc-thoth"), *words],
            env=self.environment,
            cwd=self.home,
            capture_output=True,
            text=True,
            errors="surrogateescape",
            timeout=_PATIENCE,
            check=False,
        )

    def collect(self, *flags: str) -> Pass:
        """A pass, as JSON."""
        return Pass.of(self.run("--json", *flags))

    def start(self, *flags: str) -> subprocess.Popen[str]:
        """A pass that goes on while the test does something to it."""
        return subprocess.Popen(
            self.command(*flags),
            env=self.environment,
            cwd=self.home,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def thoth(self, *words: str) -> subprocess.CompletedProcess[str]:
        """``thoth`` on what was collected."""
        return subprocess.run(
            [str(_BIN / "thoth"), *words],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=_PATIENCE,
            check=False,
        )

    def infos(self) -> list[DumpInfo]:
        """The documents of all dumps, by the index."""
        return [DumpInfo(document) for document in json.loads(self.thoth("info", "id=*").stdout)]

    def stored(self) -> list[tuple[DumpInfo, bytes]]:
        """By the store alone: each info.json with the bytes of its dump."""
        found = []
        for path in sorted(self.store.glob("*/stor/thoth/*/info.json")):
            info = DumpInfo.from_json(path.read_bytes())
            found.append((info, (self.store / str(info.document["dump"]).lstrip("/")).read_bytes()))
        return found
