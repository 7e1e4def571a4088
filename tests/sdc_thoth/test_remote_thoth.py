"""Identities by the node's own thoth, where the inventory names one; and never by one that is only there."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.collector import Collector
from tests.support.elfwriter import illumos_core
from tests.support.mishaps import at_session, check_settled, collector
from tests.support.sshd import Fleet, Node

PLACE = "/var/tmp/thoth"
OWN = "/opt/thoth"


@pytest.fixture
def gnu(node: Callable[..., Node]) -> Node:
    return node(flavour="gnu")


def install(node: Node, script: str, path: str = OWN) -> None:
    node.put(path, f"#!/bin/sh\necho x >>/tmp/asked\n{script}\n".encode()).chmod(0o755)


def asked(node: Node) -> int:
    """How often the node's thoth was run."""
    log = node.path("/tmp/asked")
    return log.read_text().count("x") if log.exists() else 0


def with_remote_thoth(home: Path, node: Node) -> Collector:
    made = collector(home, [node])
    made.inventory.write_text(f'{made.inventory.read_text()}remote_thoth = "{OWN}"\n')
    return made


def identity_of(home: Collector, path: Path) -> str:
    return home.thoth("object", str(path)).stdout.strip()


def test_it_is_believed_about_what_is_there(gnu: Node, tmp_path: Path) -> None:
    core = gnu.put(f"{PLACE}/core.1", illumos_core(1))
    home = with_remote_thoth(tmp_path, gnu)
    assert home.thoth("upload", str(core)).returncode == 0
    install(gnu, f"[ $1/$2 = object/./core.1 ] && echo {identity_of(home, core)}")
    at_session(gnu, 0, ":")
    result = home.collect()
    assert result.results == {f"{PLACE}/core.1".encode(): "present"} and result.document["bytes"] == 0
    assert asked(gnu) == 1
    # The listing and the identities, then what the node is: no part of the dump was read.
    assert len(list(gnu.path("/tmp").glob("session.*"))) == 2
    check_settled(home, [gnu])


_LIES = (
    "echo 0123456789abcdef0123456789abcdef",
    "echo ../../../../etc/passwd",
    "echo; echo; echo",
    "printf '%s' '$(touch /tmp/CANARY)'",
    "exit 3",
    "kill -9 $$",
    "head -c 60000 /dev/zero | tr '\\0' x",
    "cat >/tmp/stdin; echo 80ff2fe97bcb03d6bbafd136d3da4ddc; exit 1",
)


def test_what_it_says_cannot_name_a_dump_wrongly(fleet: Callable[..., Fleet], tmp_path: Path) -> None:
    nodes = fleet(len(_LIES), flavour="gnu")
    for pid, (node, lie) in enumerate(zip(nodes, _LIES, strict=True), 1):
        node.put(f"{PLACE}/core.{pid}", illumos_core(pid))
        install(node, lie)
    home = collector(tmp_path, nodes)
    with_it = home.inventory.read_text().replace("[[node]]", f'[[node]]\nremote_thoth = "{OWN}"')
    home.inventory.write_text(with_it)
    result = home.collect()
    assert set(result.results.values()) == {"stored"} and result.code == 0
    for pid, node in enumerate(nodes, 1):
        path = f"{PLACE}/core.{pid}"
        assert result.dumps[path.encode()]["identity"] == identity_of(home, node.path(path))
        assert asked(node) == 1
        assert not list(node.root.rglob("CANARY"))
    assert not list(tmp_path.rglob("CANARY"))
    check_settled(home, nodes)


def test_one_that_is_not_there(gnu: Node, tmp_path: Path) -> None:
    gnu.put(f"{PLACE}/core.1", illumos_core(1))
    home = with_remote_thoth(tmp_path, gnu)
    assert home.collect().results == {f"{PLACE}/core.1".encode(): "stored"}


@pytest.mark.parametrize("flavour", ["gnu", "smartos", "busybox"])
def test_one_in_path_is_never_run(flavour: str, node: Callable[..., Node], tmp_path: Path) -> None:
    only = node(flavour=flavour)
    only.put(f"{PLACE}/core.1", illumos_core(1))
    install(only, "echo 0123456789abcdef0123456789abcdef", "/usr/bin/thoth")
    home = collector(tmp_path, [only])
    assert home.collect().results == {f"{PLACE}/core.1".encode(): "stored"}
    assert asked(only) == 0
