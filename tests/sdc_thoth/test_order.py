"""In which order dumps come, and whose turn it is."""

from __future__ import annotations

import threading
from dataclasses import dataclass

import pytest

from sdc_thoth.listing import Found, Signature
from sdc_thoth.order import Pending, deletion
from sdc_thoth.task import Backlog
from sdc_thoth.turns import Turns

DAY = 86400.0
NOW = 1_800_000_000.0
ZONE = b"/zones/7a1/cores"


def found(name: str, age: float, directory: bytes = ZONE, size: int = 100) -> Found:
    raw = f"1:2:{size}:{NOW - age:.0f}:{NOW - age:.0f}:1".encode()
    return Found("core", directory, name.encode(), Signature.parse(raw))


@pytest.mark.parametrize(
    ("directory", "system", "days", "left"),
    [
        (ZONE, "SunOS", 4.9, None),
        (ZONE, "SunOS", 5.1, 1.9),
        (b"/zones/global/cores", "SunOS", 6.9, 0.1),
        (ZONE, "SunOS", 7.5, -0.5),  # it goes tonight
        (ZONE, "SunOS", 30, None),  # nothing is deleted there
        (ZONE, "Linux", 6.9, None),
        (b"/var/tmp/thoth", "SunOS", 6.9, None),
        (b"/zones/7a1/root/var/tmp/thoth", "SunOS", 6.9, None),
        (b"/zones/a/b/cores", "SunOS", 6.9, None),
        (ZONE, "SunOS", -1, None),
    ],
)
def test_when_a_node_deletes_its_cores(directory: bytes, system: str, days: float, left: float | None) -> None:
    when = deletion(found("core.1", days * DAY, directory), system, NOW)
    assert when == (None if left is None else pytest.approx(NOW + left * DAY, abs=1))


def pending(*dumps: Found) -> Pending:
    waiting = Pending()
    for dump in dumps:
        waiting.add(dump, None, deletion(dump, "SunOS", NOW))
    return waiting


def names(waiting: Pending, most: int = 100, size: int = 1 << 40) -> list[str]:
    return [due.found.name.decode() for due in waiting.take(most, size)]


def test_long_names_take_more_room_than_short_ones() -> None:
    waiting = pending(found("a", 60), found("b" * 4000, 70, b"/" + b"d" * 4000))
    assert 1000 + 16_000 < waiting.memory < 1000 + 16_200
    assert len(names(waiting, 1)) == 1
    assert 500 < waiting.memory < 600
    backlog = Backlog(waiting.memory + 100)
    backlog.add(sum(due.memory for due in waiting.clear()))
    assert waiting.memory == 0
    assert not backlog.full
    backlog.add(100)
    assert backlog.full


def test_what_is_about_to_be_deleted_comes_first_then_the_oldest() -> None:
    waiting = pending(
        found("new", 60),
        found("older", 3 * DAY),
        found("ancient", 300 * DAY),
        found("soon", 6 * DAY),
        found("sooner", 6.5 * DAY),
    )
    assert waiting.next_deletion == pytest.approx(NOW + 0.5 * DAY)
    assert names(waiting) == ["sooner", "soon"]  # a turn of these alone
    assert waiting.next_deletion is None
    assert names(waiting) == ["ancient", "older", "new"]
    assert len(waiting) == 0 and names(waiting) == []


def test_all_that_are_left_whatever_their_size() -> None:
    most = (1 << 63) - 1  # that a node may claim
    waiting = pending(*(found(f"core.{n}", 10 - n, size=most) for n in range(5)), found("core.near", 6.5 * DAY))
    assert [due.found.name for due in waiting.clear()] == [b"core.near", *(b"core.%d" % n for n in range(5))]
    assert len(waiting) == 0


def test_a_turn_has_an_end() -> None:
    dumps = [found(f"{number}", 1000 - number, size=100) for number in range(5)]
    waiting = pending(*dumps)
    assert names(waiting, 2) == ["0", "1"]
    assert names(waiting, 9, 250) == ["2", "3"]
    assert names(waiting, 9, 1) == ["4"]  # one is always taken
    assert [due.found.name for due in pending(*dumps, found("near", 6 * DAY)).clear()] == [
        b"near",
        *(b"%d" % number for number in range(5)),
    ]


# ---- turns ---------------------------------------------------------------------------------------------


@dataclass(eq=False)
class Node:
    name: str
    dumps: int = 0
    deleted: float | None = None
    served: int = 0

    @property
    def claim(self) -> tuple[int, float]:
        return (1, self.served) if self.deleted is None else (0, self.deleted)


def played(turns: Turns[Node]) -> list[str]:
    """One worker's visits: a survey, then a dump each."""
    order: list[str] = []
    surveyed: set[str] = set()
    while (node := turns.next()) is not None:
        order.append(node.name)
        if node.name in surveyed:
            node.dumps, node.served, node.deleted = node.dumps - 1, node.served + 1, None
        surveyed.add(node.name)
        if node.dumps:
            turns.back(node)
        else:
            turns.done(node)
    return order


def test_a_node_with_a_thousand_dumps_starves_nobody() -> None:
    order = played(Turns([Node("big", 1000), *(Node(f"n{each}", 2) for each in range(5))], [], 1))
    assert len(order) == 6 + 1000 + 10
    assert max(at for at, name in enumerate(order) if name != "big") < 6 + 18
    assert order[6:12] == ["big", "n0", "n1", "n2", "n3", "n4"]


def test_what_is_about_to_be_deleted_goes_first_on_whatever_node() -> None:
    order = played(Turns([Node("a", 2), Node("b", 1, deleted=NOW + 9), Node("c", 1, deleted=NOW + 5)], [], 1))
    assert order == ["a", "b", "c", "c", "b", "a", "a"]


def test_nodes_that_failed_keep_no_dump_waiting() -> None:
    turns = Turns([Node("a", 1), Node("b", 1)], [Node(f"dead{each}") for each in range(4)], 4)
    at_once = [turns.next() for _ in range(4)]
    assert [node.name for node in at_once if node] == ["a", "b", "dead0", "dead1"]
    first, second, third, _ = at_once
    assert first and second and third
    turns.back(first)
    turns.back(second)
    assert [node.name for _ in range(2) if (node := turns.next())] == [
        "a",
        "b",
    ]  # half of the workers are with the dead
    turns.done(third)
    assert (node := turns.next()) and node.name == "dead2"


def test_a_worker_waits_for_what_another_may_bring_back() -> None:
    turns = Turns([Node("a", 1)], [], 2)
    only = turns.next()
    assert only
    got: list[Node | None] = []
    waiting = threading.Thread(target=lambda: got.append(turns.next()))
    waiting.start()
    waiting.join(0.1)
    assert got == []
    turns.back(only)
    waiting.join(5)
    assert got == [only]
    ended = threading.Thread(target=lambda: got.append(turns.next()))
    ended.start()
    turns.done(only)
    ended.join(5)
    assert got == [only, None]
