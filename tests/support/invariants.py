"""What holds after every fault and one more clean run: whole or absent, found again, nothing left behind."""

from __future__ import annotations

import hashlib
import stat
import time
from collections.abc import Iterable

from tests.support.collector import Collector
from tests.support.memory_index import MemoryIndex
from thoth import DumpInfo
from thoth.library import Thoth
from thoth.maintain import UPLOADING, stored_identities
from thoth.scrub.check import ghosts, scrub, strays
from thoth.scrub.dump import PATIENCE
from thoth.scrub.findings import Clock
from thoth.store.directory import DirectoryStore


def check_store(collector: Collector) -> None:
    """Each document's dump is whole; nothing else lies in the store; index and store say the same (I1, I2, I8)."""
    told = {info.id: info for info in collector.infos()}
    stored = collector.stored()
    assert {info.id for info, _ in stored} == set(told)
    for info, data in stored:
        assert info.document == told[info.id].document
        assert info.size == len(data)
        assert info.sha256 == hashlib.sha256(data).hexdigest()
    check_nothing_left(collector, len(stored))
    check_scrubbed(collector, told.values())


def check_scrubbed(collector: Collector, infos: Iterable[DumpInfo]) -> None:
    """A scrub in an hour, when nothing passes for an upload on its way, would find 0 problems (I2)."""
    index = MemoryIndex()
    index.put_many(infos)
    thoth = Thoth(DirectoryStore(collector.store.resolve(), create=True), index, "thoth")
    clock = Clock(lambda: time.time() + UPLOADING + PATIENCE, time.monotonic, lambda seconds: None)
    stored = stored_identities(thoth)
    findings = [each for checked in scrub(thoth, stored, clock) for each in checked.findings]
    assert [*findings, *strays(thoth), *ghosts(thoth, stored, clock)] == []


def check_nothing_left(collector: Collector, dumps: int) -> None:
    """No partial file, no stray object, nobody else's eyes."""
    files = [path for path in collector.store.rglob("*") if path.is_file() and not path.name.startswith(".")]
    files = [path for path in files if path.parent.name != "autoanalyzers"]  # rules, which people put there
    assert len(files) == 2 * dumps, [str(path) for path in files]
    hidden = [path for path in collector.store.rglob(".uploads/*") if path.is_file()]
    assert not hidden
    for path in collector.store.rglob("*"):
        mode = stat.S_IMODE(path.lstat().st_mode)
        assert mode == (0o700 if path.is_dir() else 0o600), f"{path}: {mode:o}"
