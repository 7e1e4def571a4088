"""Jobs on a Manta of version 1, for tests: a server whose tasks find illumos' tools, and a Thoth that uses it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from tests.support.analysis import common_ground
from tests.support.arrivals import take
from tests.support.illumos_tools import IllumosTools
from tests.support.manta_server import MantaServer, Options
from tests.support.manta_store import account, manta
from tests.support.memory_index import MemoryIndex
from tests.support.node_packages import node_package
from thoth.analysis.cache import Cache
from thoth.analysis.job_run import Times
from thoth.analysis.job_runner import JobRunner
from thoth.analysis.run import Task
from thoth.analysis.runner import Settings
from thoth.library import Thoth
from thoth.model import DumpInfo
from thoth.store.jobs import Jobs
from thoth.store.manta import MantaStore


@dataclass
class JobBench:
    """A Thoth on such a server. ``said`` has the talk of the runners."""

    server: MantaServer
    store: MantaStore
    thoth: Thoth
    tools: IllumosTools
    cache: Cache
    said: list[str] = field(default_factory=list)

    @property
    def jobs(self) -> Jobs:
        jobs = self.store.jobs()
        assert jobs is not None
        return jobs

    def keep(self, dump: bytes, filename: bytes = b"core.19972") -> DumpInfo:
        """Take a dump in."""
        return take(self.thoth, dump, filename).info

    def runner(self, task: Task, settings: Settings | None = None, **more: Any) -> JobRunner:
        """A JobRunner on it."""
        return JobRunner(
            self.thoth,
            self.jobs,
            self.cache,
            task,
            settings or Settings(),
            self.said.append,
            self.said.append,
            **more,
        )

    def left_behind(self) -> list[str]:
        """What is in the directory of the jobs' assets."""
        return [entry.name for entry in self.store.list("/alice/stor/thoth/jobs")]


def expanded_form(compressed: bytes) -> bytes:
    """What savecore could make of a vmdump: the same header, without the flag."""
    return (
        compressed[:8] + (int.from_bytes(compressed[8:12], "little") & ~0x8).to_bytes(4, "little") + compressed[12:]
    )


def quick_times(pause: float = 0.02) -> Times:
    """Looks at a job as often as that."""
    return Times(sleep=lambda seconds: time.sleep(min(seconds, pause)))


@contextmanager
def v1_server(tools: IllumosTools) -> Iterator[MantaServer]:
    """A Manta that runs jobs, in whose tasks these tools are, and the Node client's mput."""
    programs = (tools.directory, node_package("manta") / "bin")
    with MantaServer(account(), options=Options(v1=True), task_programs=programs) as server:
        yield server


@contextmanager
def job_bench() -> Iterator[JobBench]:
    with common_ground() as ground:
        tools = IllumosTools(ground)
        with v1_server(tools) as server:
            store = manta(server)
            try:
                thoth = Thoth(store, MemoryIndex(), "alice", jobs=store.jobs)
                yield JobBench(server, store, thoth, tools, Cache(ground / "cache"))
            finally:
                store.close()
