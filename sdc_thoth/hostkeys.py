"""``sdc-thoth hostkeys``: fetch the nodes' host keys, show them, and pin those that somebody agrees to.

A key is trusted because a person has compared it, so nothing is pinned without a word. ``--yes`` is that word
for nodes that were never seen; it is not for one whose key has changed.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from sdc_thoth.algorithms import host_key_families
from sdc_thoth.errors import NodeError
from sdc_thoth.inventory import Node
from sdc_thoth.known_hosts import HostKey, KnownHosts, host_names
from thoth import ThothError, UsageError, escaped, write_durably

_AT_A_TIME = 8  # nodes
_HOW_TO_AGREE = (
    "Compare the fingerprints on the nodes, then answer y on a terminal; --yes pins new keys without a question, and"
    " never changed ones"
)


class Standing(Enum):
    """How a key that a node shows stands to what is pinned."""

    KNOWN = "known"
    NEW = "new"
    CHANGED = "CHANGED"  # other keys are pinned for this node, and none of them is shown for this type
    REVOKED = "REVOKED"


@dataclass(frozen=True, slots=True)
class Offer:
    """A key that a node shows. ``pinned`` are the keys that it would take the place of."""

    node: Node
    key: HostKey
    standing: Standing
    pinned: tuple[HostKey, ...] = ()

    def __str__(self) -> str:
        return f"{escaped(self.node.name)} {escaped(self.node.place)} {self.key} {self.standing.value}"


def fetch_host_keys(node: Node, seconds: float) -> tuple[HostKey, ...]:
    """The host's keys of all types that it has, each proved by the host; a connection for each type.

    ``seconds`` are for each step of connecting. Raises NodeUnreachable.
    """
    from sdc_thoth.session import fetch_host_key  # noqa: PLC0415 - paramiko takes 0.1 s to import

    first, offered = fetch_host_key(node, seconds)
    keys = [first]
    for names in host_key_families():
        asked = [name for name in names if name in offered]
        if asked and not (first.type in names or (first.type == "ssh-rsa" and "rsa-sha2-512" in names)):
            keys.append(fetch_host_key(node, seconds, asked)[0])
    return tuple(keys)


def compare(node: Node, keys: Sequence[HostKey], known: KnownHosts) -> tuple[Offer, ...]:
    """How each of the keys that the node shows stands to what is pinned for it."""
    pinned = known.keys(node)
    proved = any(key in pinned for key in keys)
    return tuple(_offer(node, key, known, pinned, proved) for key in keys)


def _offer(node: Node, key: HostKey, known: KnownHosts, pinned: tuple[HostKey, ...], proved: bool) -> Offer:
    if known.is_revoked(node, key):
        return Offer(node, key, Standing.REVOKED)
    if key in pinned:
        return Offer(node, key, Standing.KNOWN)
    # Another type alone proves nothing: who answers in a node's place would leave out the type that is
    # pinned.
    others = tuple(other for other in pinned if other.type == key.type or not proved)
    return Offer(node, key, Standing.CHANGED if others else Standing.NEW, others)


def pin_host_keys(
    nodes: Sequence[Node],
    known_hosts: Path,
    *,
    timeout: float,
    yes: bool,
    say: Callable[[str], None],
    confirm: Callable[[str], bool],
) -> int:
    """Fetch the nodes' keys, show them, ask, and write known_hosts, keeping what else stands there.

    ``say`` takes a line for each key, ``NODE ADDRESS TYPE FINGERPRINT STANDING``, or for a node that fails.
    ``confirm`` is given a question and answers True or False: once for all new keys, or with ``yes`` not at
    all, and once for each changed key; ``yes`` leaves those as they are. Returns the exit status: 0 when
    every node has answered and every key that was shown is pinned, else 1. ``timeout`` is in seconds, for
    each step of connecting. Raises UsageError when known_hosts cannot be read or was changed meanwhile,
    ThothError when it cannot be written.
    """
    known = KnownHosts.read(known_hosts)
    offers: list[Offer] = []
    silent = False
    for answer in _answers(nodes, known, timeout):
        if isinstance(answer, NodeError):
            silent = True
            say(str(answer))
            continue
        for offer in answer:
            say(str(offer))
        offers += answer
    agreed = _agreed(offers, yes, confirm)
    if agreed:
        _write(known, agreed)
        say(f"pinned {_counted(agreed)} in {escaped(os.fsencode(known_hosts))}")
    left = [offer for offer in offers if offer.standing is not Standing.KNOWN and offer not in agreed]
    if left:
        say(f"not pinned: {_counted(left)}. {_HOW_TO_AGREE}")
    return 1 if silent or left else 0


def _agreed(offers: Sequence[Offer], yes: bool, confirm: Callable[[str], bool]) -> list[Offer]:
    # A further key of a node that is known already came over a connection of its own: somebody has to look at it.
    met = {offer.node.name for offer in offers if offer.standing is not Standing.NEW}
    new = [offer for offer in offers if offer.standing is Standing.NEW and offer.node.name not in met]
    further = [offer for offer in offers if offer.standing is Standing.NEW and offer.node.name in met]
    changed = [offer for offer in offers if offer.standing is Standing.CHANGED]
    if new and not (yes or confirm(f"Pin {_counted(new)} never seen before?")):
        new = []
    if further and (yes or not confirm(f"Pin {_counted(further)} known by other keys?")):
        further = []
    return new + further + [offer for offer in changed if not yes and confirm(_question(offer))]


def _answers(nodes: Sequence[Node], known: KnownHosts, seconds: float) -> Iterator[tuple[Offer, ...] | NodeError]:
    def answer(node: Node) -> tuple[Offer, ...] | NodeError:
        try:
            return compare(node, fetch_host_keys(node, seconds), known)
        except NodeError as error:
            return error

    with ThreadPoolExecutor(_AT_A_TIME) as pool:
        yield from pool.map(answer, nodes)


def _counted(offers: Sequence[Offer]) -> str:
    nodes = len({offer.node.name for offer in offers})
    return f"{len(offers)} key{'s' * (len(offers) > 1)} of {nodes} node{'s' * (nodes > 1)}"


def _question(offer: Offer) -> str:
    before = ", ".join(map(str, offer.pinned))
    return f"{offer.node.shown}: the key has CHANGED from {before} to {offer.key}. Was the node installed anew?"


# ---- writing ---------------------------------------------------------------------------------------


def _write(known: KnownHosts, accepted: Sequence[Offer]) -> None:
    lines: list[str | None] = list(known.lines)
    for offer in accepted:
        for pinned in offer.pinned:
            _unpin(lines, known, offer.node, pinned)
    lines += [offer.key.line(host_names(offer.node)[0]) for offer in accepted]
    text = "".join(line + "\n" for line in lines if line is not None)
    shown = escaped(os.fsencode(known.path))
    if KnownHosts.read(known.path).lines != known.lines:
        raise UsageError(f"{shown}: was changed meanwhile; run the command again")
    try:
        known.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_durably(known.path.resolve(), text.encode())
    except OSError as error:
        raise ThothError(f"{shown}: {error.strerror or error}") from error


def _unpin(lines: list[str | None], known: KnownHosts, node: Node, key: HostKey) -> None:
    """Take the node out of the lines that pin this key for it; a line that speaks of it alone goes."""
    names = set(host_names(node))
    for entry in known.entries_of(node):
        line = lines[entry.number - 1]
        if entry.revoked or entry.key != key or line is None:
            continue
        left = [host for host in line.split()[0].split(",") if host.lower() not in names]
        if entry.plain and left:
            lines[entry.number - 1] = " ".join([",".join(left), *line.split()[1:]])
        elif entry.plain or entry.hosts.startswith("|"):
            lines[entry.number - 1] = None
        else:
            shown = escaped(os.fsencode(known.path))
            raise UsageError(f"{shown}:{entry.number}: pins the old key by a pattern; change this line by hand")
