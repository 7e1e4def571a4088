"""The nodes that dumps are collected from, and the choice among them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from thoth import Outcome, UsageError, escaped


@dataclass(frozen=True, slots=True)
class Node:
    """A machine that is reached over SSH."""

    name: str  # what people call it; unique in an inventory
    address: str  # host name, IPv4 or IPv6 address
    port: int = 22
    user: str = "root"
    uuid: str | None = None  # lower-case
    remote_thoth: str | None = None  # path of a thoth on the node that names dumps there
    instead: Outcome | None = field(
        default=None, hash=False
    )  # what is told of it in place of a visit: it is not running, has no address

    @property
    def place(self) -> str:
        """The address, with the port where it is not the usual one: ``10.99.99.7``, ``[10.99.99.7]:2222``."""
        return self.address if self.port == 22 else f"[{self.address}]:{self.port}"

    @property
    def shown(self) -> str:
        """The node as messages name it: ``cn7 (10.99.99.7)``."""
        return f"{escaped(self.name)} ({escaped(self.place)})"


def select(nodes: Iterable[Node], names: Sequence[str] | None, exclude: bool = False) -> tuple[Node, ...]:
    """The nodes that are named by name or UUID, or with ``exclude`` all others, in the order of the
    inventory.

    None for names: all nodes. Raises UsageError for a name that is not in the inventory, and when no node is left.
    """
    every = tuple(nodes)
    if names is None:
        if exclude:
            raise UsageError("-x: excludes the nodes that -N names, and there is no -N")
        return every
    known = {name: node for node in every for name in (node.name, node.uuid) if name}
    wanted = {name: known.get(name) or known.get(name.lower()) for name in names}
    unknown = [escaped(name) for name, node in wanted.items() if node is None]
    if unknown:
        raise UsageError(f"not in the inventory: {', '.join(unknown)}")
    chosen = {node.name for node in wanted.values() if node}
    left = tuple(node for node in every if (node.name in chosen) is not exclude)
    if not left:
        raise UsageError("-x: no node is left")
    return left
