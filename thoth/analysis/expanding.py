"""What becomes of a crash dump right after it was uploaded, where jobs can be run: the two halves of process-dump.

One job expands it and stores the vmcore beside it, another one, on the vmcore, finds status and stack.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from importlib.resources import files
from typing import Final

from thoth.analysis.cache import Cache
from thoth.analysis.job_run import JobFailed, Talk, Times
from thoth.analysis.job_runner import JobRunner
from thoth.analysis.run import Analysis, Analyzer
from thoth.analysis.runner import Outcome, Settings
from thoth.library import Thoth
from thoth.model import DumpInfo, Identity, text
from thoth.objects import EXPANDED
from thoth.store.jobs import Jobs

_NAME: Final = "process-dump"  # as what both make known who found the stack
_TIMEOUT: Final = 4 * 3600  # seconds for each: savecore reads and writes hundreds of gigabytes


@dataclass(frozen=True, slots=True)
class Expanding:
    """Expands crash dumps by ``jobs``. ``say`` takes a line of talk, ``complain`` one that nothing silences."""

    thoth: Thoth
    jobs: Jobs
    cache: Cache
    say: Callable[[str], None]
    complain: Callable[[str], None]
    times: Times = field(default_factory=Times)

    def run(self, identity: Identity) -> None:
        """Do both. Raises JobFailed, which says why it is not done, and StoreUnavailable."""
        created = "adding key to job {job}"
        self._run(
            "uncompress", identity, Talk(f"creating job to uncompress {identity}", created, "processing job {job}")
        )
        self._run("process", identity, Talk(f"creating job to process {identity}", created, f"processing {identity}"))

    def _run(self, half: str, identity: Identity, talk: Talk) -> None:
        script = files("thoth.analysis").joinpath("job", half).read_bytes()
        runner = JobRunner(
            self.thoth,
            self.jobs,
            self.cache,
            Analyzer(_NAME, script),
            Settings(limits={"timeout": _TIMEOUT}),
            self.say,
            self.complain,
            talk=talk,
            times=self.times,
        )
        with closing(runner.outcomes([identity])) as outcomes:
            for outcome in outcomes:
                if failure := _failure(outcome):
                    raise JobFailed(failure)


def is_expandable(info: DumpInfo) -> bool:
    """Whether it is a crash dump that savecore may have left compressed."""
    document = info.document
    return (
        document.get("type") == "crash"
        and document.get("os", "illumos") == "illumos"
        and EXPANDED not in document
        and info.complete is not False
    )


def _failure(outcome: Outcome) -> str:
    """Why it is not done; empty when it is."""
    if not isinstance(outcome, Analysis):
        return outcome.reason
    if not outcome.failed:
        return ""
    last = text(outcome.output).strip().rpartition("\n")[2]
    return outcome.reason or last or f"ended with status {outcome.status}"
