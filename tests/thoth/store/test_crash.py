"""The directory store under strace: killed at its N-th system call, or with the N-th one failing."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from tests.thoth.store.one_upload import CORE, INFO, SIZE, store_dump
from tests.thoth.store.traced import Run, traced
from thoth.errors import NoSuchObject
from thoth.store.directory import DirectoryStore

CALLS = ("openat", "write", "fsync", "renameat", "unlinkat", "mkdirat")


def run(root: Path, letter: str, *options: str) -> Run:
    """Store one dump in a process of its own, under strace."""
    return traced("tests.thoth.store.one_upload", root, [letter], CALLS, options)


def new_root(tmp_path: Path, name: str, older: str) -> Path:
    root = tmp_path / name
    root.mkdir(mode=0o700)
    if older:
        store_dump(DirectoryStore(root), older)
    return root


def all_numbers(calls: Iterable[tuple[str, str]]) -> Iterator[tuple[str, int]]:
    for call, count in Counter(name for name, _ in calls).items():
        yield from ((call, number) for number in range(1, count + 1))


def some_numbers(calls: Iterable[tuple[str, str]]) -> Iterator[tuple[str, int]]:
    for call, count in Counter(name for name, _ in calls).items():
        yield from ((call, number) for number in sorted({1, (count + 1) // 2, count}))


def stored(root: Path, name: str) -> bytes:
    try:
        return DirectoryStore(root).get(name)[0]
    except NoSuchObject:
        return b""


def assert_whole(root: Path, older: str) -> None:
    core, info = stored(root, CORE), stored(root, INFO)
    assert core in (older.encode() * SIZE, b"b" * SIZE)
    assert info in (older.encode() * 700, b"b" * 700)
    assert info[:1] != b"b" or core[:1] == b"b", "the document is there before its dump"


def files(root: Path) -> set[str]:
    return {str(path.relative_to(root)) for path in root.rglob("*") if not path.is_dir()}


def kill_at(root: Path, older: str, call: str, number: int) -> None:
    killed = run(root, "b", "-e", f"inject={call}:signal=KILL:when={number}")
    assert killed.status == -9, killed.said
    assert_whole(root, older)
    store_dump(DirectoryStore(root), "b")
    assert stored(root, CORE) == b"b" * SIZE
    assert stored(root, INFO) == b"b" * 700
    assert files(root) == {CORE[1:], INFO[1:], ".lock"}


@pytest.mark.parametrize("older", ["", "a"], ids=["new", "replacing"])
def test_F30_killed_at_some_system_calls(tmp_path: Path, older: str) -> None:
    calls = run(new_root(tmp_path, "untouched", older), "b").calls
    assert set(CALLS) - {name for name, _ in calls} <= {"unlinkat", "mkdirat"}
    for call, number in some_numbers(calls):
        kill_at(new_root(tmp_path, f"{call}-{number}", older), older, call, number)


@pytest.mark.soak
@pytest.mark.parametrize("older", ["", "a"], ids=["new", "replacing"])
def test_F30_killed_at_every_system_call(tmp_path: Path, older: str) -> None:
    for call, number in all_numbers(run(new_root(tmp_path, "untouched", older), "b").calls):
        kill_at(new_root(tmp_path, f"{call}-{number}", older), older, call, number)


def fail_at(root: Path, older: str, call: str, number: int, error: str) -> str:
    failed = run(root, "b", "-e", f"inject={call}:error={error}:when={number}")
    assert failed.status == 3, failed.said
    assert failed.said.count("\n") == 1
    assert_whole(root, older)
    assert not [name for name in files(root) if "draft" in name]
    kind, _, text = failed.said.partition(": ")
    assert kind in ("NoRoom", "StoreUnavailable")
    assert text.startswith(f"store {root}: ")
    return text


FAILURES = [
    ("write", "ENOSPC", "no space"),
    ("write", "EDQUOT", "quota"),
    ("fsync", "ENOSPC", "no space"),
    ("fsync", "EIO", "I/O error"),
    ("renameat", "ENOSPC", "no space"),
    ("mkdirat", "EROFS", "read-only"),
    ("openat", "EACCES", "access denied"),
]


@pytest.mark.parametrize(("call", "error", "words"), FAILURES)
def test_F10_some_system_calls_fail(tmp_path: Path, call: str, error: str, words: str) -> None:
    calls = run(new_root(tmp_path, "untouched", ""), "b").calls
    chosen = [number for name, number in some_numbers(calls) if name == call]
    assert chosen
    for number in chosen:
        root = new_root(tmp_path, f"{call}-{number}", "")
        assert words in fail_at(root, "", call, number, error)


@pytest.mark.soak
@pytest.mark.parametrize("older", ["", "a"], ids=["new", "replacing"])
@pytest.mark.parametrize("error", ["ENOSPC", "EIO", "EROFS"])
def test_F10_every_system_call_fails(tmp_path: Path, older: str, error: str) -> None:
    for call, number in all_numbers(run(new_root(tmp_path, "untouched", older), "b").calls):
        fail_at(new_root(tmp_path, f"{call}-{number}", older), older, call, number, error)


def test_a_dump_and_its_document_cost_five_syncs_in_this_order(tmp_path: Path) -> None:
    root = new_root(tmp_path, "store", "")
    DirectoryStore(root).put("/alice/stor/thoth/another/info.json", b"{}")
    steps = []
    for name, rest in run(root, "b").calls:
        if name == "fsync":
            path = re.sub(r".*<(.*)>.*", r"\1", rest)
            steps.append("sync " + ("draft" if path.endswith(".draft") else Path(path).name))
        elif name == "renameat":
            steps.append("rename to " + rest.split('"')[3])
    dump = Path(CORE).parent.name
    assert steps == [
        "sync draft",
        "rename to core.x",
        f"sync {dump}",
        "sync thoth",
        "sync draft",
        "rename to info.json",
        f"sync {dump}",
    ]
