"""Stacks by the node's own mdb, where that is configured; and by debuggers of the collector's machine."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from sdc_thoth.config import load_settings
from tests.install.test_node_command import PLACE as COMMAND
from tests.install.test_node_command import guarded
from tests.support.crash import Crasher
from tests.support.elfwriter import illumos_core, linux_core
from tests.support.mishaps import collector
from tests.support.sshd import Node
from thoth import UsageError

PLACE = "/var/tmp/thoth"
ASKED = '[stacks]\nnode = "mdb"\n'
# As strict as can be about how it is called; it prints what mdb prints of a core that it knows.
MDB = """#!/bin/sh
echo "$#" "$1" "$2" "$4" >>/asked
[ "$3" = '$c 0
::walk thread | ::findstack' ] || exit 2
printf '%s\\n' 'libc.so.1`_lwp_kill+0xa()' 'main+0x2a()'
"""


@pytest.fixture
def smartos(node: Callable[..., Node]) -> Node:
    machine = node(flavour="smartos")
    machine.replace_program("mdb", MDB)
    return machine


def asked(machine: Node) -> list[str]:
    place = machine.path("/asked")
    return place.read_text().splitlines() if place.exists() else []


def test_the_nodes_own_mdb(smartos: Node, tmp_path: Path) -> None:
    smartos.put(f"{PLACE}/core.1", illumos_core(1))
    smartos.put(f"{PLACE}/core.$(touch x);'2", illumos_core(2))
    smartos.put(f"{PLACE}/core.3", linux_core(3))
    home = collector(tmp_path, [smartos], ASKED)
    assert home.collect().code == 0
    infos = {info.document["pid"]: info.document for info in home.infos()}
    for pid in "12":
        assert infos[pid]["stack"] == ["libc.so.1`_lwp_kill+0xa()", "main+0x2a()"]
        assert infos[pid]["stack_by"] == "mdb"
    assert "stack_by" not in infos["3"]
    assert sorted(asked(smartos)) == ["4 -S -e ./core.$(touch x);'2", "4 -S -e ./core.1"]
    assert not smartos.path(f"{PLACE}/x").exists()
    assert home.collect().document["counts"] == {"present": 3}
    assert len(asked(smartos)) == 2


def test_nobody_asks_it_unless_configured(smartos: Node, tmp_path: Path) -> None:
    smartos.put(f"{PLACE}/core.1", illumos_core(1))
    home = collector(tmp_path, [smartos], '[stacks]\nnode = "native"\n')
    assert home.collect().code == 0
    assert asked(smartos) == []


def test_a_node_without_one(node: Callable[..., Node], tmp_path: Path) -> None:
    machine = node(flavour="gnu")
    machine.put(f"{PLACE}/core.1", illumos_core(1))
    home = collector(tmp_path, [machine], ASKED)
    assert home.collect().code == 0
    assert "stack_by" not in home.infos()[0].document


@pytest.mark.parametrize("script", ["#!/bin/sh\necho hello world\n", "#!/bin/sh\nexit 1\n", "#!/bin/sh\nyes\n"])
def test_one_that_says_nothing_of_use(script: str, smartos: Node, tmp_path: Path) -> None:
    smartos.replace_program("mdb", script)
    smartos.put(f"{PLACE}/core.1", illumos_core(1))
    home = collector(tmp_path, [smartos], ASKED)
    ran = home.run()
    assert ran.returncode == 0
    assert f"{smartos.name}: {PLACE}/core.1: stacks: mdb: " in ran.stdout
    assert "stack_by" not in home.infos()[0].document


def test_F74_a_node_with_the_forced_command_decides_itself(smartos: Node, tmp_path: Path) -> None:
    guarded(smartos)
    smartos.put(f"{PLACE}/core.1", illumos_core(1))
    home = collector(tmp_path / "one", [smartos], ASKED)
    ran = home.run()
    assert ran.returncode == 0 and "stacks: " in ran.stdout + ran.stderr
    assert asked(smartos) == [] and "stack_by" not in home.infos()[0].document
    command = smartos.path(COMMAND)
    command.write_bytes(command.read_bytes().replace(b"\ndebugger=no ", b"\ndebugger=yes "))
    home = collector(tmp_path / "two", [smartos], ASKED)
    assert home.collect().code == 0
    assert home.infos()[0].document["stack_by"] == "mdb"


@pytest.fixture
def cache() -> Iterator[str]:
    """A directory that others can reach, as /var/tmp is and pytest's are not: debuggers run as nobody."""
    with TemporaryDirectory(prefix="thoth-cache-") as made:
        Path(made).chmod(0o755)
        yield f"{made}/cache"


def test_a_debugger_of_the_collectors_machine(
    node: Callable[..., Node], crasher: Crasher, tmp_path: Path, cache: str
) -> None:
    """The node has not got the executable; here it is, and gdb finds it."""
    machine = node(flavour="busybox")
    machine.put(f"{PLACE}/core.1", crasher.native(tmp_path / "core"))
    home = collector(tmp_path / "home", [machine])
    place = home.home / ".config/thoth/config.toml"
    place.parent.mkdir(parents=True)
    place.write_text(f'stack = ["native", "gdb"]\ncache = "{cache}"\n')
    ran = home.run()
    assert ran.returncode == 0, ran.stdout
    document = home.infos()[0].document
    assert document["stack_by"] == "gdb", ran.stdout + ran.stderr
    assert "read_record" in document["stack"][0]


@pytest.mark.parametrize("written", ['node = "gdb"', "node = 1", 'nodes = "mdb"'])
def test_settings(written: str, tmp_path: Path) -> None:
    file = tmp_path / "fleet.toml"
    file.write_text(f'[stacks]\n{written}\n[[node]]\nname = "cn0"\n')
    with pytest.raises(UsageError, match="stacks"):
        load_settings(config=file)
