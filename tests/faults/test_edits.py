"""F34, F36, F37: notes on dumps while others write the same documents, and notes that are too much."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.arrivals import CORE, take, whole
from tests.support.elfwriter import illumos_core
from tests.support.memory_index import MemoryIndex
from tests.support.memory_store import MemoryStore
from thoth.config import environment, load_config
from thoth.edit import SetProperty, SetTicket, edit_dump, edited, revise
from thoth.index.documents import MAX_DEPTH
from thoth.library import Thoth, open_thoth
from thoth.maintain import reindex
from thoth.model import DumpInfo, Identity, Json

TOP = Path(__file__).resolve().parents[2]
MIB = 1 << 20
_PATIENCE = 100  # seconds

# Does what it is told, a command a line, and says how each ended.
WORKER = """
import json, sys
from thoth.cli import main
for line in sys.stdin:
    print("code", main(["-q", *json.loads(line)]), flush=True)
"""


def child_environment() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    return {**kept, "PYTHONPATH": str(TOP), "PYTHONDONTWRITEBYTECODE": "1"}


class Worker:
    """A process that runs ``thoth`` again and again."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", WORKER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=child_environment(),
            text=True,
        )

    def start(self, *words: str | Path) -> None:
        """Tell it a command and go on."""
        assert self._process.stdin
        self._process.stdin.write(json.dumps([str(word) for word in words]) + "\n")
        self._process.stdin.flush()

    def code(self) -> int:
        """How the next of the commands has ended."""
        assert self._process.stdout
        for line in self._process.stdout:
            if line.startswith("code "):
                return int(line.split()[1])
        raise AssertionError("the process has ended")

    def end(self) -> None:
        self._process.communicate(timeout=_PATIENCE)


@contextmanager
def workers(count: int) -> Iterator[list[Worker]]:
    started = [Worker() for _ in range(count)]
    try:
        yield started
    finally:
        for each in started:
            each.end()


@pytest.fixture
def thoth() -> Iterator[Thoth]:
    """The store and index of this test's user: a directory and an SQLite file."""
    with open_thoth(load_config(environment())) as thoth:
        yield thoth


@pytest.fixture
def _often_switched() -> Iterator[None]:
    """Threads take turns in the middle of what they do, and not only now and then."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(0.0001)
    yield
    sys.setswitchinterval(before)


def in_threads(*works: Callable[[], None]) -> None:
    """Do all of them at the same time; what one of them raises goes through."""
    with ThreadPoolExecutor(len(works)) as threads:
        for done in [threads.submit(work) for work in works]:
            done.result(_PATIENCE)


# ---- F36: several writers --------------------------------------------------------------------------


@pytest.mark.usefixtures("_often_switched")
def test_F36_two_threads_set_1000_times_each() -> None:
    """Neither ever sees its own change undone, or the other's go back."""
    thoth = Thoth(MemoryStore(), MemoryIndex(), "bmc")
    identity = take(thoth, CORE).info.id

    def setting(mine: str, other: str) -> None:
        seen = -1
        for n in range(1000):
            kept = edit_dump(thoth, identity, [SetProperty((mine,), n)]).properties
            assert kept[mine] == n
            assert kept.get(other, -1) >= seen
            seen = kept.get(other, -1)

    in_threads(lambda: setting("a", "b"), lambda: setting("b", "a"))
    info = whole(thoth, identity)
    assert (info.properties, info.revision) == ({"a": 999, "b": 999}, 2000)


def set_from_processes(thoth: Thoth, processes: int, rounds: int) -> None:
    identity = take(thoth, CORE).info.id
    with workers(processes) as started:
        for n in range(rounds):
            for who, each in enumerate(started):
                each.start("set", identity, f"p{who}.{n}", str(n))
        assert {each.code() for each in started for _ in range(rounds)} == {0}
    info = whole(thoth, identity)
    assert info.properties == {f"p{who}": {str(n): n for n in range(rounds)} for who in range(processes)}
    assert info.revision == processes * rounds


def test_F36_processes_lose_no_change(thoth: Thoth) -> None:
    set_from_processes(thoth, 3, 20)


@pytest.mark.soak
def test_F36_many_processes_lose_no_change_for_long(thoth: Thoth) -> None:
    set_from_processes(thoth, 8, 150)


def test_F36_set_while_an_analyzer_works_on_the_dump(thoth: Thoth) -> None:
    """What an analyzer found is made up before others change the dump, and kept beside what they set."""
    identity = take(thoth, CORE).info.id
    with workers(1) as (worker,):
        tries = 0

        def found(info: DumpInfo) -> DumpInfo | None:
            nonlocal tries
            tries += 1
            if tries <= 3:
                worker.start("set", identity, f"triage.{tries}", "bmc")
                assert worker.code() == 0
            return edited(info, [SetProperty(("fmri",), "svc:/x"), SetTicket("OS-1")])

        revise(thoth, identity, found)
        assert tries == 4
    info = whole(thoth, identity)
    assert info.properties == {"triage": {"1": "bmc", "2": "bmc", "3": "bmc"}, "fmri": "svc:/x"}
    assert (info.document["ticket"], info.revision) == ("OS-1", 4)


class OvertakenIndex(MemoryIndex):
    """Somebody is faster: each batch of documents waits until they have set something on each of the dumps."""

    overtake = True

    def put_many(self, infos: Iterable[DumpInfo]) -> int:
        held = list(infos)
        if self.overtake:
            self.overtake = False
            for info in held:
                edit_dump(self.thoth, info.id, [SetTicket("OS-1")])
            self.overtake = True
        return super().put_many(held)

    thoth: Thoth


def test_F36_an_index_that_is_made_again_never_overwrites_what_is_newer() -> None:
    index = MemoryIndex()
    thoth = Thoth(MemoryStore(), index, "bmc")
    cores = [illumos_core(pid=pid) for pid in range(1, 4)]
    identities = [take(thoth, core).info.id for core in cores]
    overtaken = OvertakenIndex()
    overtaken.thoth = Thoth(thoth.store, overtaken, "bmc")
    assert reindex(overtaken.thoth, identities).failures == ()
    for identity in identities:
        kept, stored = overtaken.get(identity), thoth.stored_info(identity)
        assert kept is not None
        assert stored is not None
        assert (kept, kept.document["ticket"], kept.revision) == (stored[0], "OS-1", 1)


def set_while_indexing(thoth: Thoth, rounds: int) -> None:
    identities = [take(thoth, illumos_core(pid=pid)).info.id for pid in range(1, 6)]
    with workers(2) as (setter, indexer):
        for n in range(rounds):
            setter.start("set", "type=core", f"a{n}", str(n))
            indexer.start("index")
        assert {each.code() for each in (setter, indexer) for _ in range(rounds)} == {0}
    for identity in identities:
        stored = thoth.stored_info(identity)
        assert stored is not None
        assert stored[0].properties == {f"a{n}": n for n in range(rounds)}
        assert thoth.index.get(identity) == stored[0]


def test_F36_set_while_the_index_is_made_again(thoth: Thoth) -> None:
    set_while_indexing(thoth, 15)


@pytest.mark.soak
def test_F36_set_while_the_index_is_made_again_for_long(thoth: Thoth) -> None:
    set_while_indexing(thoth, 500)


# ---- F34: notes on a dump that comes again ---------------------------------------------------------


def upload_and_note(thoth: Thoth, folder: Path, rounds: int) -> None:
    """A dump that is there and has notes comes twice at the same instant, under two names, and gets another note."""
    with workers(3) as (one, other, noting):
        for pid in range(1, rounds + 1):
            data = illumos_core(pid=pid)
            identity = take(thoth, data, b"core").info.id
            edit_dump(thoth, identity, [SetTicket(f"OS-{pid}"), SetProperty(("triage",), {"engineer": "bmc"})])
            paths = [folder / f"core.{pid}", folder / f"again.{pid}"]
            for path in paths:
                path.write_bytes(data)
            one.start("upload", paths[0])
            other.start("upload", paths[1])
            noting.start("set", identity, "triage.seen", "3")
            assert [each.code() for each in (one, other, noting)] == [0, 0, 0]
            check_notes(thoth, identity, pid, paths)


def check_notes(thoth: Thoth, identity: Identity, pid: int, paths: Sequence[Path]) -> None:
    found = thoth.stored_info(identity)
    assert found is not None
    document = found[0].document
    entries = sorted(entry.name for entry in thoth.store.list(f"/thoth/stor/thoth/{identity}"))
    assert entries == ["core", "info.json"]
    assert {source["path"] for source in document["sources"]} == {"/cores/core", *map(str, paths)}
    assert (document["ticket"], document["properties"]) == (f"OS-{pid}", {"triage": {"engineer": "bmc", "seen": 3}})
    assert thoth.index.get(identity) == found[0]


def test_F34_notes_stay_when_a_dump_comes_again_from_two_sides(thoth: Thoth, tmp_path: Path) -> None:
    upload_and_note(thoth, tmp_path, 10)


@pytest.mark.soak
def test_F34_notes_stay_when_a_dump_comes_again_from_two_sides_200_rounds(thoth: Thoth, tmp_path: Path) -> None:
    upload_and_note(thoth, tmp_path, 200)


# ---- F37: values that are large, odd or deep --------------------------------------------------------


def nested(depth: int) -> bytes:
    return b'{"a": ' * depth + b"1" + b"}" * depth


ODD_KEYS: Json = {
    "with space": 1, "a.b": 2, "$set": {"$ne": 3}, "": 4, "__class__": 5, "é北": 6, "a\nb\t\"'\\": 7, "\0": 8,
    "x" * 5000: 9, "\u2028\x7f\x1b[31m": 10, "\udcff": 11, "=": 12, "*": 13, "properties": {"properties": 14},
}  # fmt: skip
KEPT = {
    "a mebibyte": json.dumps({"text": "x" * MIB}).encode(),
    "many small things": json.dumps([{"n": n} for n in range(20_000)]).encode(),
    "odd keys": json.dumps(ODD_KEYS).encode(),
    "deep": nested(MAX_DEPTH - 1),
    "long number": b"[" + b"7" * 4000 + b", -0.0, 1e-320, 18446744073709551616]",
}
REFUSED = {
    "too deep": nested(MAX_DEPTH),
    "far too deep": nested(100_000),
    "lists without end": b"[" * MIB,
    "small with indents beyond all bounds": b"[" * 150 + b",".join([b"0"] * 150_000) + b"]" * 150,
    "over the limit": b'"' + b"x" * (64 * MIB) + b'"',
}


def thoth_set(*words: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-m", "thoth", "set", *words],
        input=stdin,
        capture_output=True,
        env=child_environment(),
        timeout=_PATIENCE,
        check=False,
    )


def stored_and_indexed(thoth: Thoth, identity: Identity) -> DumpInfo:
    found = thoth.stored_info(identity)
    assert found is not None
    assert thoth.index.get(identity) == found[0]
    return found[0]


@pytest.mark.parametrize("data", KEPT.values(), ids=KEPT)
def test_F37_kept_whole(thoth: Thoth, data: bytes) -> None:
    value = json.loads(data)
    identity = take(thoth, CORE).info.id
    ran = thoth_set(identity, "sysinfo", stdin=data)
    assert (ran.returncode, ran.stderr) == (0, b"thoth: set 'sysinfo' on 1 dump\n")
    info = stored_and_indexed(thoth, identity)
    assert json.dumps(info.properties["sysinfo"]) == json.dumps(value)
    edit_dump(thoth, identity, [SetProperty(("again",), value)])
    assert stored_and_indexed(thoth, identity).properties["again"] == value
    thoth.index.delete(identity)
    assert reindex(thoth, [identity]).indexed == 1
    stored_and_indexed(thoth, identity)


@pytest.mark.parametrize("data", REFUSED.values(), ids=REFUSED)
def test_F37_refused_whole(thoth: Thoth, data: bytes) -> None:
    before = take(thoth, CORE).info
    ran = thoth_set(before.id, "sysinfo", stdin=data)
    assert (ran.returncode, ran.stdout) == (1, b"")
    assert ran.stderr.startswith(b"thoth: ")
    assert len(ran.stderr) < 400
    assert stored_and_indexed(thoth, before.id) == before
