"""F16: files over which a node's shell would hang. They cost themselves, and no other zone's dumps (I6)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support import releases
from tests.support.elfwriter import illumos_core
from tests.support.mishaps import after_listing, collector, wrap
from tests.support.sshd import Node

ZONES = '[paths]\ncore = ["/zones/*/cores/core.*"]'
_PLACE = "/opt/custom/thoth-node"


def too_early(node: Node, before: bytes = b"false") -> None:
    """The node's script sees what was there before when it looks whether a dump is a file: a race is won at once.
    ``before`` is run by it before it looks, in the dump's directory."""
    text = releases.pack().node_command()
    look = b'elif [ -f "./$name" ]; then'
    assert text.count(look) == 1
    node.put(_PLACE, text.replace(look, b'elif { %b; } || [ -e "./$name" ]; then' % before)).chmod(0o755)
    node.authorize(node.login_key, options=f'restrict,command="{_PLACE}"')


@pytest.mark.parametrize("count", [pytest.param(1, marks=pytest.mark.soak), 12])
def test_F16_dumps_that_become_fifos_when_they_are_opened(
    count: int, node: Callable[..., Node], tmp_path: Path
) -> None:
    gnu = node(flavour="gnu")
    for pid in range(20):
        gnu.put(f"/zones/{'evil' if pid < count else 'good'}/cores/core.{pid}", illumos_core(pid))
    fifos = "; ".join(f"rm /zones/evil/cores/core.{pid}; mkfifo /zones/evil/cores/core.{pid}" for pid in range(count))
    after_listing(gnu, fifos)
    too_early(gnu)
    home = collector(tmp_path, [gnu], ZONES)
    result = home.collect("-e", "30")
    told = {path.decode(): (dump["result"], dump["reason"]) for path, dump in result.dumps.items()}
    for pid in range(count, 20):
        assert told[f"/zones/good/cores/core.{pid}"][0] == "stored", told
    reasons = [told[f"/zones/evil/cores/core.{pid}"] for pid in range(count)]
    hung = ("failed", "opening it does not come back: it became a FIFO, or its file system does not answer")
    passed_over = ("failed", "not tried: opening other files of its directory did not come back")
    assert sorted(reasons) == sorted([hung] * min(count, 2) + [passed_over] * (count - 2))
    assert result.nodes[gnu.name]["result"] == "reached"
    assert result.document["seconds"] < 25  # seconds for a group and two files, and no more for all others
    assert gnu.wait_idle(), gnu.commands()


def test_F16_others_are_asked_for_together_again(node: Callable[..., Node], tmp_path: Path) -> None:
    gnu = node(flavour="gnu")
    for pid in range(60):
        gnu.put(f"/zones/{'evil' if pid == 3 else 'good'}/cores/core.{pid}", illumos_core(pid))
    after_listing(gnu, "rm /zones/evil/cores/core.3; mkfifo /zones/evil/cores/core.3")
    too_early(gnu)
    wrap(gnu, "uname", "echo >>/asked")  # each script does so once
    result = collector(tmp_path, [gnu], ZONES).collect("-e", "30")
    assert sorted(result.results.values()) == ["failed"] + ["stored"] * 59
    assert len(gnu.path("/asked").read_text().splitlines()) < 20  # of which a group of seven, one by one


def test_F16_large_dumps_that_become_fifos(node: Callable[..., Node], tmp_path: Path) -> None:
    """Not before the whole of them is asked for: identities come from small parts, which are fetched together."""
    gnu = node(flavour="gnu")
    for pid in range(5):
        gnu.put(f"/zones/{'evil' if pid else 'good'}/cores/core.{pid}", illumos_core(pid) + bytes(9 << 20))
    swap = b'case $directory$units in */evil/*all) rm "./$name" && mkfifo "./$name" && false ;; *) false ;; esac'
    too_early(gnu, swap)
    result = collector(tmp_path, [gnu], ZONES).collect("-e", "30")
    told = {path.decode(): dump["reason"] for path, dump in result.dumps.items() if dump["result"] == "failed"}
    assert len(told) == 4 and result.results[b"/zones/good/cores/core.0"] == "stored", result.document
    assert sum(reason.startswith("not tried: ") for reason in told.values()) == 2, told


def test_a_dump_over_which_a_node_falls_silent_lets_others_pass(node: Callable[..., Node], tmp_path: Path) -> None:
    gnu = node(flavour="gnu")
    for pid in range(20):
        gnu.put(f"/zones/{'evil' if pid == 3 else 'good'}/cores/core.{pid}", illumos_core(pid))
    hang = 'for fd in /proc/$$/fd/*; do case $(readlink "$fd") in */evil/*) exec sleep 9 ;; esac; done'
    for name in ("cat", "dd", "head"):
        wrap(gnu, name, hang)
    home = collector(tmp_path, [gnu], ZONES)
    for _ in range(3):
        result = home.collect("-e", "3")
        assert result.nodes[gnu.name]["result"] == "failed"
    told = {path.decode(): dump["result"] for path, dump in result.dumps.items()}
    assert told.pop("/zones/evil/cores/core.3") == "failed"
    assert set(told.values()) <= {"stored", "present"}, told
    assert len(home.stored()) == 19
