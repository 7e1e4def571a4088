"""``thoth object``."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.support import vectors
from tests.thoth.cli.conftest import Core, Ran, Run, identity


class TestObject:
    def test_one_identity_a_line_in_the_order_of_the_files(self, run: Run, tmp_path: Path) -> None:
        names = ["illumos-core64.core.30522", "vmdump/vmdump.0", "linux-core64.core.3850110"]
        ran = run("object", *(vectors.write(name, tmp_path) for name in names))
        assert ran == Ran(0, "".join(vectors.entry(name)["identity"] + "\n" for name in names), "")

    def test_F14_a_bad_file_does_not_stop_the_rest(self, run: Run, core: Core, tmp_path: Path) -> None:
        good, other = core(1), core(2)
        bad = tmp_path / "text"
        bad.write_text("no dump")
        ran = run("object", good, bad, tmp_path / "nope", tmp_path, other)
        assert (ran.code, len(ran.lines)) == (1, 2)
        assert [line.split(": ")[:2] for line in ran.said] == [
            ["thoth", str(bad)],
            ["thoth", f"{tmp_path}/nope"],
            ["thoth", str(tmp_path)],
        ]
        assert ran.lines == [identity(run, good), identity(run, other)]

    def test_it_needs_no_store_and_no_configuration(
        self, run: Run, core: Core, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = core(1)
        for name in ("THOTH_STORE", "THOTH_CONFIG", "THOTH_USER", "MANTA_URL"):
            monkeypatch.setenv(name, "/\0nonsense"[:1] + "nonsense")
        assert run("object", path).code == 0
        assert list(Path(os.environ["HOME"]).iterdir()) == []

    def test_json_lines(self, run: Run, core: Core) -> None:
        path = core(1)
        ran = run("object", path, path, "--json")
        assert [json.loads(line) for line in ran.lines] == [{"path": str(path), "id": identity(run, path)}] * 2

    def test_F16_a_fifo_does_not_block_and_a_device_is_not_opened(self, run: Run, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "core.fifo")
        ran = run("object", tmp_path / "core.fifo", "/dev/zero")
        assert ran.said == [
            f"thoth: {tmp_path}/core.fifo: not a regular file",
            "thoth: /dev/zero: not a regular file",
        ]
