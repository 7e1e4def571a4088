"""What a pass has left: at home, and on its nodes."""

from __future__ import annotations

from tests.support.collector import Collector
from tests.support.sshd import Node
from thoth import DumpInfo

PLACE = "/var/tmp/thoth"
MEGABYTE = 1 << 20


def changed_at(home: Collector) -> dict[str, int]:
    """When each file of the store was last written, in ns."""
    return {str(path): path.stat().st_mtime_ns for path in home.store.rglob("*") if path.is_file()}


def sessions(node: Node) -> int:
    """How often the node's script has been run, on a node that counts."""
    return len(list(node.path("/tmp").glob("session.*")))


def only_info(home: Collector) -> DumpInfo:
    (info,) = home.infos()
    return info
