"""Who runs analyzers, and commands of mdb, on many dumps: this machine, or the jobs of Manta (job_runner.py)."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from threading import Event
from typing import Protocol

from thoth.analysis.cache import Cache
from thoth.analysis.parallel import in_order
from thoth.analysis.run import Analysis, Task, analyze
from thoth.analysis.sandbox import Limits
from thoth.errors import NoSuchDump, StoreUnavailable, ThothError
from thoth.library import Thoth
from thoth.model import DumpInfo, Identity
from thoth.objects import dump_object, expanded_object


@dataclass(frozen=True, slots=True)
class Unanalyzed:
    """A dump that the task could not be run on."""

    identity: Identity
    error: ThothError | OSError

    @property
    def reason(self) -> str:
        """In one line, without the dump's name."""
        strerror = self.error.strerror if isinstance(self.error, OSError) else None
        return strerror or str(self.error).removeprefix(f"{self.identity}: ")


Outcome = Analysis | Unanalyzed


class Runner(Protocol):
    """Runs one task on dumps.

    ``outcomes`` gives what became of each dump, in the order of the dumps, and each one once.

    - A dump that cannot be analyzed (it was removed or purged, its analyzer was stopped, something broke on the way)
      is an outcome, and does not stop the others. What would stop them all raises StoreUnavailable.
    - The analyzer finds THOTH_DUMP and MANTA_INPUT_FILE, THOTH_INFO, THOTH_TYPE and THOTH_NAME, the functions
      thoth_set, thoth_unset, thoth_ticket, thoth_unticket, thoth_stack and thoth_store, and ``json``.
    - What it asked to be changed is made as one revision of the document, before its outcome is given, whatever its
      exit status; nothing is when it was stopped (a signal, the time limit), or when one of its changes cannot be
      made. Another exit status than 0 counts as failed.
    - Of its output, stdout and stderr together, the beginning is kept: ``cut`` says whether there was more.
    - Closed before its end, or interrupted, the generator ends what is under way: nothing runs any more then, and of
      the dumps that were not given yet some may have been changed.
    """

    def outcomes(self, identities: Sequence[Identity]) -> Generator[Outcome]: ...


@dataclass(frozen=True, slots=True)
class Settings:
    """How a task is run: ``workers`` at a time; without ``apply`` nothing is changed; ``limits`` are those that were
    asked for, by their names in Limits. Others depend on the size of the dump."""

    workers: int = 1
    apply: bool = True
    limits: Mapping[str, int] = field(default_factory=dict)

    def limits_for(self, size: int) -> Limits:
        """All of them, for a dump of so many bytes."""
        return replace(Limits.for_dump(size), **self.limits)


@dataclass(frozen=True, slots=True)
class LocalRunner:
    """Runs the task in the sandbox of this machine, on copies in the cache. ``environ`` is the user's environment."""

    thoth: Thoth
    cache: Cache
    task: Task
    settings: Settings
    environ: Mapping[str, str]

    def outcomes(self, identities: Sequence[Identity]) -> Generator[Outcome]:
        """As Runner has it."""
        cancelled = Event()

        def outcome(identity: Identity) -> Outcome:
            return tried(identity, lambda: self._analyzed(identity, cancelled))

        return in_order(outcome, identities, workers=self.settings.workers, stop=cancelled.set)

    def _analyzed(self, identity: Identity, cancelled: Event) -> Analysis:
        info = current(self.thoth, identity)
        return analyze(
            self.thoth,
            info,
            self.task,
            cache=self.cache,
            environ=self.environ,
            limits=self.settings.limits_for(_size(self.thoth, info)),
            apply=self.settings.apply,
            cancelled=cancelled,
        )


def tried(identity: Identity, analyzed: Callable[[], Analysis]) -> Outcome:
    """What ``analyzed`` returns, or why it does not. Raises StoreUnavailable: no other dump would fare better."""
    try:
        return analyzed()
    except StoreUnavailable:
        raise
    except (ThothError, OSError) as error:  # OSError: the disk of the cache is full
        return Unanalyzed(identity, error)


def current(thoth: Thoth, identity: Identity) -> DumpInfo:
    """A dump's document as it is now. Raises NoSuchDump, StoreError and BadDocument."""
    found = thoth.stored_info(identity)
    if found is None:
        raise NoSuchDump("it was removed meanwhile")
    return found[0]


def _size(thoth: Thoth, info: DumpInfo) -> int:
    """Bytes of what the task will see. Raises BadDocument."""
    seen = expanded_object(thoth.user, info) or dump_object(thoth.user, info)
    return seen.size or 0
