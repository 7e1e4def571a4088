"""node.sh in every shell that a node may have: files that come compressed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from sdc_thoth import protocol
from sdc_thoth.expand import expanded
from sdc_thoth.listing import Place
from sdc_thoth.protocol import Get
from tests.sdc_thoth.shells import Shell, ask, found_in


@pytest.mark.parametrize("program", ["gzip", "zstd"])
@pytest.mark.parametrize("start", [0, 4096, 1 << 20])
def test_a_file_comes_compressed(shell: Shell, program: str, start: int, cores: Path, places: list[Place]) -> None:
    content = os.urandom(4096) * 700 + b"end"
    (cores / "core.a b").write_bytes(content)
    (found,) = found_in(shell, places, cores)
    get = Get(found, start // 4096)
    reply = ask(shell, protocol.read_request([get], "mark", press=program), cores, places)
    assert protocol.statuses(reply, [get], "mark") == ["ok"]
    came: list[int] = []
    assert b"".join(expanded(reply, get.length, program, came.append)) == content[start:]
    assert sum(came) >= 4096
    assert protocol.afterwards(reply, [get], "mark") == [None]
    protocol.ended(reply, "mark")


@pytest.mark.parametrize("program", ["lzma", "", "gzip;touch CANARY", "$(touch CANARY)"])
def test_another_program_is_not_run(shell: Shell, program: str, cores: Path, places: list[Place]) -> None:
    (cores / "core.1").write_bytes(b"x" * 5000)
    (found,) = found_in(shell, places, cores)
    request = protocol.read_request([Get(found)], "mark", press=program or "-")
    reply = ask(shell, request, cores, places)
    assert protocol.statuses(reply, [Get(found)], "mark") == ["cannot compress"]
    assert list(cores.parent.rglob("CANARY")) == []


def test_what_has_changed_is_not_compressed(shell: Shell, cores: Path, places: list[Place]) -> None:
    (cores / "core.1").write_bytes(b"x" * 5000)
    (found,) = found_in(shell, places, cores)
    (cores / "core.1").write_bytes(b"y" * 6000)
    reply = ask(shell, protocol.read_request([Get(found)], "mark", press="gzip"), cores, places)
    (status,) = protocol.statuses(reply, [Get(found)], "mark")
    assert status.startswith("changed ")
    protocol.afterwards(reply, [], "mark")
    protocol.ended(reply, "mark")
