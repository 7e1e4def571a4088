"""F30, F34, F39: runs that are killed at each call they make, and others that work in the middle of them."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import count, product
from pathlib import Path
from typing import Final

import pytest

from tests.support.arrivals import CORE, CUT, SHORTER, arrival, objects, take, whole
from tests.support.memory_index import MemoryIndex
from tests.support.memory_store import MemoryStore
from thoth.analysis.autoanalyze import Autoanalyzer
from thoth.analysis.rules import parse_rules
from thoth.analysis.stored_rules import upload_rules
from thoth.edit import SetTicket, Unticket, edit_dump
from thoth.errors import ThothError
from thoth.ingest.arrival import Receipt
from thoth.library import Thoth
from thoth.maintain import UPLOADING, stored_identities
from thoth.model import DumpInfo, Result
from thoth.purge import Rules, purge_dump
from thoth.scrub.check import ghosts, scrub, strays
from thoth.scrub.findings import Clock, Finding, Kind
from thoth.scrub.mend import mend
from thoth.store.base import Digests, ObjectStat, ObjectStore, Upload
from thoth.store.directory import DirectoryStore
from thoth.store.names import dump_dir, info_name
from thoth.store.wrappers import Passing

IDENTITY: Final = arrival(CORE).identity
_STILL: Final = 1 << 30


class Killed(BaseException):
    """The process is gone."""


class Turns(Passing):
    """A store that lets somebody else do something before or after the n-th of its calls, or the first of a kind."""

    def __init__(self, store: ObjectStore) -> None:
        super().__init__(store)
        self.at: int | str = _STILL
        self.turn: Callable[[], object] = lambda: None
        self._count = 0

    def wait_for(self, at: int | str, turn: Callable[[], object]) -> None:
        self.at, self.turn, self._count = at, turn, 0

    @property
    def came(self) -> bool:
        return self.at == _STILL

    def called(self, what: str) -> None:
        self._count += 1
        if self.at in (what, self._count):
            self.at = _STILL
            self.turn()

    def get(self, name: str) -> tuple[bytes, str]:
        self.called("before get")
        return super().get(name)

    def stat(self, name: str) -> ObjectStat:
        self.called("before stat")
        return super().stat(name)

    def put(self, name: str, data: bytes, *, if_match: str | None = None) -> str:
        self.called("before put")
        etag = super().put(name, data, if_match=if_match)
        self.called("after put")
        return etag

    def delete(self, name: str, *, if_match: str | None = None) -> None:
        self.called("before delete")
        super().delete(name, if_match=if_match)
        self.called("after delete")

    def begin(self, name: str, size: int | None, *, if_match: str | None = None) -> Upload:
        return _Turning(self, super().begin(name, size, if_match=if_match))


class _Turning:
    def __init__(self, turns: Turns, upload: Upload) -> None:
        self._turns = turns
        self._upload = upload
        self.part, self.abort = upload.part, upload.abort

    def commit(self, digests: Digests) -> ObjectStat:
        self._turns.called("before commit")
        stat = self._upload.commit(digests)
        self._turns.called("after commit")
        return stat


class Scene:
    """One dump in a store that several work with, on a clock that can be set forward."""

    def __init__(self, store: ObjectStore) -> None:
        self.turns = Turns(store)
        self.index = MemoryIndex()
        self.interrupted = Thoth(self.turns, self.index, "bmc")
        self.thoth = Thoth(store, self.index, "bmc")
        self._passed = 0.0

    def now(self) -> float:
        return time.time() + self._passed

    def pass_time(self, seconds: float = 2 * UPLOADING) -> None:
        self._passed += seconds

    def found(self, thoth: Thoth) -> list[Finding]:
        clock = Clock(self.now, self.now, self.pass_time)
        stored = stored_identities(thoth)
        checked = scrub(thoth, stored, clock)
        findings = [finding for each in checked for finding in each.findings]
        return [*findings, *strays(thoth), *ghosts(thoth, stored, clock)]

    def repair(self, thoth: Thoth) -> None:
        clock = Clock(self.now, self.now, self.pass_time)
        for finding in self.found(thoth):
            mend(thoth, finding, clock)

    def check_settled(self) -> DumpInfo:
        """After one more upload and a repair all is as it should be."""
        assert take(self.thoth, CORE).result.good
        self.pass_time()
        self.repair(self.thoth)
        assert [each for each in self.found(self.thoth) if each.kind is not Kind.UNRECORDED] == []
        info = self.thoth.stored_info(IDENTITY)
        assert info is not None
        return info[0] if info[0].document.get("purged") else whole(self.thoth, IDENTITY)


Work = Callable[[Scene, Thoth], object]


def uploading(data: bytes, name: bytes = b"core.19972") -> Work:
    return lambda scene, thoth: take(thoth, data, name)


def ticketing(scene: Scene, thoth: Thoth) -> None:
    edit_dump(thoth, IDENTITY, [SetTicket("OS-1")])


def purging(scene: Scene, thoth: Thoth) -> None:
    purge_dump(thoth, IDENTITY, Rules(), now=scene.now())


def losing(scene: Scene, thoth: Thoth) -> None:
    """The dump is stored, and then its object vanishes."""
    info = take(thoth, CORE).info
    thoth.store.delete(str(info.document["dump"]))


def orphaning(scene: Scene, thoth: Thoth) -> None:
    take(thoth, CUT)
    thoth.store.delete(info_name("bmc", IDENTITY))
    scene.index.delete(IDENTITY)


def copying(scene: Scene, thoth: Thoth) -> None:
    take(thoth, CORE)
    thoth.store.put(f"{dump_dir('bmc', IDENTITY)}/core.copy", CORE)


BEFORE: Final[dict[str, Work]] = {
    "nothing": lambda scene, thoth: None,
    "whole": uploading(CORE),
    "cut": uploading(CUT),
    "shorter": uploading(SHORTER),
    "lost": losing,
    "orphan": orphaning,
    "copy": copying,
}
WORK: Final[dict[str, Work]] = {
    "upload": uploading(CORE),
    "upload under another name": uploading(CORE, b"core.other"),
    "upload a cut one": uploading(CUT),
    "upload a cut one under another name": uploading(CUT, b"core.other"),
    "ticket": ticketing,
    "purge": purging,
    "scrub --repair": lambda scene, thoth: scene.repair(thoth),
}


def interrupted(
    make: Callable[[int], ObjectStore], before: str, work: str, turn: Callable[[Scene], None]
) -> Iterator[Scene]:
    """The scenes after a work in which, at one call after the other, somebody else had a turn."""
    for number in count(1):
        scene = Scene(make(number))
        BEFORE[before](scene, scene.thoth)
        scene.pass_time()
        scene.turns.wait_for(number, lambda scene=scene: turn(scene))  # type: ignore[misc]  # mypy knows no default here
        with suppress(Killed, ThothError):
            WORK[work](scene, scene.interrupted)
        if not scene.turns.came:
            return
        yield scene


def die(scene: Scene) -> None:
    raise Killed


_SAMPLES: Final = [
    ("nothing", "upload a cut one under another name"),
    ("cut", "upload under another name"),
    ("lost", "upload a cut one"),
    ("orphan", "scrub --repair"),
    ("copy", "scrub --repair"),
    ("whole", "purge"),
]


def kill(folder: Path, before: str, work: str) -> None:
    for scene in interrupted(lambda number: DirectoryStore(folder / str(number), create=True), before, work, die):
        scene.check_settled()


@pytest.mark.parametrize(("before", "work"), _SAMPLES)
def test_F30_killed_at_every_call(tmp_path: Path, before: str, work: str) -> None:
    kill(tmp_path, before, work)


# What lies beside a purged dump has nothing that it could be held against.
_ALL: Final = [pair for pair in product(BEFORE, WORK) if pair != ("copy", "purge")]


@pytest.mark.soak
@pytest.mark.parametrize(("before", "work"), _ALL)
def test_F30_killed_at_every_call_of_everything(tmp_path: Path, before: str, work: str) -> None:
    kill(tmp_path, before, work)


@pytest.mark.parametrize("other", ["upload", "upload under another name", "ticket", "purge"])
@pytest.mark.parametrize("work", WORK)
@pytest.mark.parametrize("before", ["cut", "lost", "whole"])
def test_F34_another_at_every_call(before: str, work: str, other: str) -> None:
    """Whatever the two do to the dump, one more run leaves nothing to be done."""
    for scene in interrupted(lambda _: MemoryStore(now=time.time), before, work, lambda s: turned(s, other)):
        scene.check_settled()


def turned(scene: Scene, other: str) -> None:
    with suppress(ThothError):
        WORK[other](scene, scene.thoth)


# ---- nobody is told that a dump is stored whose bytes are not ------------------------------------------


@pytest.fixture
def scene() -> Scene:
    return Scene(MemoryStore(now=time.time))


def at(scene: Scene, point: str, data: bytes, name: bytes = b"core.19972") -> list[Receipt]:
    """What a whole upload of this is told that comes at a point of what the scene's other user does."""
    told: list[Receipt] = []
    scene.turns.wait_for(point, lambda: told.append(take(scene.thoth, data, name)))
    return told


@pytest.mark.parametrize("point", ["after put", "before get"])
def test_F34_a_whole_dump_that_takes_the_name_of_a_cut_one_which_is_being_replaced(scene: Scene, point: str) -> None:
    take(scene.thoth, SHORTER)
    told = at(scene, point, CORE)
    take(scene.interrupted, CUT, b"core.other")
    assert [each.result for each in told] == [Result.REPLACED]
    assert whole(scene.thoth, IDENTITY).complete


def test_F34_a_lost_dump_that_comes_back_while_a_cut_one_takes_its_place(scene: Scene) -> None:
    losing(scene, scene.thoth)
    told = at(scene, "before put", CORE)
    assert take(scene.interrupted, CUT, b"core.other").result is Result.PRESENT
    assert [each.result for each in told] == [Result.STORED]
    assert whole(scene.thoth, IDENTITY).complete


@pytest.mark.parametrize("point", ["after delete", "before put"])
def test_F39_an_upload_in_the_middle_of_a_purge_leaves_no_object_behind(scene: Scene, point: str) -> None:
    take(scene.thoth, CORE)
    told = at(scene, point, CORE)
    purging(scene, scene.interrupted)
    assert len(told) == 1
    info = scene.thoth.stored_info(IDENTITY)
    assert info is not None
    assert info[0].document["purged"]
    assert [*objects(scene.thoth)] == [info_name("bmc", IDENTITY)]


# ---- rules --------------------------------------------------------------------------------------------


def ruled(thoth: Thoth, data: bytes) -> Receipt:
    """An upload of this, with the rules of the store behind it."""
    rules = Autoanalyzer(thoth, cache=Path("/nowhere"), environ={}, clock=time.time, say=pytest.fail)
    receipt = take(thoth, data, rules=rules.any_rules)
    assert not any(each.stands_in_the_way for each in rules.arrived(receipt.result, receipt.info).verdicts)
    return receipt


def indexed(scene: Scene) -> DumpInfo:
    found = scene.thoth.stored_info(IDENTITY)
    assert found is not None
    assert scene.index.get(IDENTITY) == found[0]
    return found[0]


@pytest.mark.parametrize("before", ["nothing", "cut", "orphan"])
@pytest.mark.parametrize("healed", ["upload", "scrub --repair"])
def test_F30_killed_at_every_call_of_an_upload_with_rules(before: str, healed: str) -> None:
    """Whoever puts the dump right, the next upload of it has its rule run, and run once."""
    rule = {"name": "r", "version": 1, "matches": ["complete=true"], "ticket": "OS-1"}
    for number in count(1):
        scene = Scene(MemoryStore(now=time.time))
        BEFORE[before](scene, scene.thoth)
        scene.pass_time()
        upload_rules(scene.thoth, parse_rules(json.dumps(rule).encode(), "x"))
        scene.turns.wait_for(number, lambda scene=scene: die(scene))  # type: ignore[misc]  # as above
        with suppress(Killed):
            ruled(scene.interrupted, CORE)
        if not scene.turns.came:
            break
        if healed != "upload":
            scene.pass_time()
            scene.repair(scene.thoth)
        ruled(scene.thoth, CORE)
        info = indexed(scene)
        assert (info.document["ticket"], "rules_pending" in info.document) == ("OS-1", False)
        edit_dump(scene.thoth, IDENTITY, [Unticket()])
        ruled(scene.thoth, CORE)
        assert "ticket" not in indexed(scene).document
    assert number > 4
