"""A store and an index for a scrub to look at, on a clock of their own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.support.arrivals import CORE, NOW, take
from tests.support.elfwriter import illumos_core
from tests.support.memory_index import MemoryIndex
from tests.support.memory_store import MemoryStore
from thoth.edit import stored_form
from thoth.library import Thoth
from thoth.maintain import UPLOADING, stored_identities
from thoth.model import DumpInfo, Identity
from thoth.scrub.check import ghosts, scrub, strays
from thoth.scrub.findings import Clock, Finding, Kind
from thoth.scrub.mend import mend
from thoth.store.names import dump_dir, info_name

LONG = 2 * UPLOADING
OTHER = illumos_core(pid=7, cmd="svc.startd", size=1 << 16)


class Stage:
    """A store and an index in memory, on a clock that goes on when somebody sleeps, or asks it to."""

    def __init__(self) -> None:
        self.time = NOW
        self.sleeps: list[float] = []
        self.meanwhile: Callable[[], object] = lambda: None
        self.thoth = Thoth(MemoryStore(now=lambda: self.time), MemoryIndex(), "bmc")
        self.clock = Clock(lambda: self.time, lambda: self.time, self._sleep)

    def _sleep(self, seconds: float) -> None:
        self.sleeps.append(seconds)
        self.time += seconds
        step, self.meanwhile = self.meanwhile, lambda: None
        step()

    def upload(self, data: bytes = CORE, **changes: Any) -> DumpInfo:
        """A dump that was stored long ago."""
        info = take(self.thoth, data, **changes).info
        self.time += LONG
        return info

    def found(self, *identities: Identity, **options: Any) -> list[Finding]:
        """All that is wrong with these dumps, or with everything."""
        stored = stored_identities(self.thoth)
        checked = scrub(self.thoth, identities or stored, self.clock, **options)
        findings = [finding for each in checked for finding in each.findings]
        if not identities:
            findings += [*strays(self.thoth), *ghosts(self.thoth, stored, self.clock)]
        return findings

    def told(self, **options: Any) -> list[tuple[Kind, str]]:
        return [(each.kind, each.what) for each in self.found(**options)]

    def kinds(self, **options: Any) -> list[Kind]:
        return [each.kind for each in self.found(**options)]

    def mended(self) -> list[Finding]:
        return [mend(self.thoth, each, self.clock) for each in self.found()]

    def beside(self, info: DumpInfo, name: str) -> str:
        return f"{dump_dir('bmc', info.id)}/{name}"

    def document(self, identity: Identity) -> DumpInfo:
        found = self.thoth.stored_info(identity)
        assert found is not None
        return found[0]

    def write(self, info: DumpInfo) -> None:
        """The document, into the store alone."""
        self.thoth.store.put(info_name("bmc", info.id), stored_form(info))


@pytest.fixture
def stage() -> Stage:
    return Stage()


def replaced(data: bytes, at: int) -> bytes:
    at %= len(data)
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]
