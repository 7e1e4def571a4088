from __future__ import annotations

import threading
from pathlib import Path

import pytest

from thoth.errors import StoreError, StoreUnavailable
from thoth.store.unfinished import Registry, Unfinished

URL = "https://manta"
NAME = "/alice/stor/thoth/x"
UPLOAD = Unfinished(URL, NAME, 10, "/alice/uploads/0/0f", 5, 1000.0)


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return Registry(tmp_path / "deep" / "notes")


def test_what_is_recorded_is_found_by_the_next(registry: Registry, tmp_path: Path) -> None:
    claim = registry.claim(URL, NAME, 10)
    assert claim is not None
    assert claim.found is None
    claim.record(UPLOAD)
    claim.release()
    claim.release()
    modes = {each.stat().st_mode & 0o777 for each in (tmp_path / "deep" / "notes").iterdir()}
    assert (modes, (tmp_path / "deep" / "notes").stat().st_mode & 0o777) == ({0o600}, 0o700)
    again = registry.claim(URL, NAME, 10)
    assert again is not None
    assert again.found == UPLOAD
    again.forget()
    assert not list((tmp_path / "deep" / "notes").iterdir())


@pytest.mark.parametrize("other", [("https://other", NAME, 10), (URL, NAME + "y", 10), (URL, NAME, 11)])
def test_uploads_do_not_mix(registry: Registry, other: tuple[str, str, int]) -> None:
    claim, another = registry.claim(URL, NAME, 10), registry.claim(*other)
    assert claim is not None
    assert another is not None
    claim.record(UPLOAD)
    for each in (claim, another):
        each.release()
    found = registry.claim(*other)
    assert found is not None
    assert found.found is None
    found.release()


def test_a_claim_is_one_process_or_threads(registry: Registry) -> None:
    claim = registry.claim(URL, NAME, 10)
    assert claim is not None
    assert registry.claim(URL, NAME, 10) is None
    claim.release()
    again = registry.claim(URL, NAME, 10)
    assert again is not None
    again.release()


def test_claims_and_their_ends_race_without_two_holders(registry: Registry) -> None:
    holders: list[int] = []
    most: list[int] = []

    def work(number: int) -> None:
        for _ in range(100):
            claim = registry.claim(URL, NAME, 10)
            if claim is None:
                continue
            holders.append(number)
            most.append(len(holders))
            holders.remove(number)
            claim.forget()

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(most) == {1}


@pytest.mark.parametrize(
    "note",
    [b"", b"{", b"[]", b"{}", b"\xff", b'{"url": "https://manta"}', b"x" * 100_000],
    ids=["empty", "cut", "list", "object", "bytes", "some", "large"],
)
def test_a_note_that_is_none_is_not_there(registry: Registry, tmp_path: Path, note: bytes) -> None:
    claim = registry.claim(URL, NAME, 10)
    assert claim is not None
    claim.record(UPLOAD)
    (file,) = (tmp_path / "deep" / "notes").glob("*.json")
    file.write_bytes(note)
    claim.release()
    again = registry.claim(URL, NAME, 10)
    assert again is not None
    assert again.found is None
    again.record(UPLOAD)
    again.forget()


@pytest.mark.parametrize("field", ["part_size", "size", "directory", "begun"])
def test_a_note_with_a_wrong_value_is_none(registry: Registry, tmp_path: Path, field: str) -> None:
    claim = registry.claim(URL, NAME, 10)
    assert claim is not None
    claim.record(UPLOAD)
    (file,) = (tmp_path / "deep" / "notes").glob("*.json")
    value = str(getattr(UPLOAD, field)) if field != "directory" else '"/alice/uploads/0/0f"'
    file.write_text(file.read_text().replace(f'"{field}": {value}', f'"{field}": null'))
    claim.release()
    again = registry.claim(URL, NAME, 10)
    assert again is not None
    assert again.found is None
    again.forget()


def test_a_directory_that_others_may_write_to_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes").chmod(0o777)
    with pytest.raises(StoreError, match="others may write to it"):
        Registry(tmp_path / "notes").claim(URL, NAME, 10)


def test_a_directory_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StoreUnavailable, match=r"unfinished uploads cannot be noted there: .*; make it writable"):
        Registry(tmp_path / "file" / "notes").claim(URL, NAME, 10)


def test_a_lock_that_is_a_link_is_not_followed(registry: Registry, tmp_path: Path) -> None:
    claim = registry.claim(URL, NAME, 10)
    assert claim is not None
    (lock,) = (tmp_path / "deep" / "notes").iterdir()
    claim.forget()
    lock.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StoreUnavailable):
        registry.claim(URL, NAME, 10)
    assert not (tmp_path / "elsewhere").exists()


def test_nothing_is_abandoned_where_nothing_was_noted(registry: Registry) -> None:
    assert list(registry.abandoned(URL, 1e12)) == []
