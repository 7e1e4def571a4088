"""The stacks of dumps that are stored, found again: a better one takes the place of the one that is noted."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from threading import Event
from typing import Final, Literal

from thoth.analysis.changes import STACK_BY
from thoth.analysis.engines import Keys, Tools, find_stacks, is_good, worth
from thoth.analysis.mdb_stacks import answers
from thoth.config import ENGINES, Config
from thoth.dumps.binaries import Binaries
from thoth.edit import revise
from thoth.errors import IndexFailure, NoSuchDump, StoreUnavailable, ThothError
from thoth.ingest.arrival import Receipt
from thoth.library import Thoth
from thoth.model import DumpInfo, Identity, Result
from thoth.signatures.signature import signed
from thoth.stacks import STACK_KEYS

_REPLACED: Final = frozenset({*STACK_KEYS, STACK_BY})


@dataclass(frozen=True, slots=True)
class Restacked:
    """What became of a dump's stacks; ``reason`` says why they are not what they could be."""

    identity: Identity
    result: Literal["better", "kept", "failed"]
    reason: str | None = None


def restack_each(
    thoth: Thoth, identities: Iterable[Identity], engines: Sequence[str], tools: Tools
) -> Iterator[Restacked]:
    """Do that to each dump; one that fails does not stop the others.

    An IndexFailure does, whatever is left. Raises StoreUnavailable, since no other dump would fare better.
    """
    for identity in identities:
        try:
            yield restack(thoth, identity, engines, tools)
        except StoreUnavailable:
            raise
        except ThothError as error:
            yield Restacked(identity, "failed", str(error).removeprefix(f"{identity}: "))
            if isinstance(error, IndexFailure):
                return


def restack(thoth: Thoth, identity: Identity, engines: Sequence[str], tools: Tools) -> Restacked:
    """Find the stacks of one dump again, and note them if they are better. Its object is read in parts.

    Raises NoSuchDump, StoreError, BadDocument and IndexFailure.
    """
    stored = thoth.stored_info(identity)
    if stored is None:
        raise NoSuchDump(f"no such dump: {identity}")
    info = stored[0]
    if (why := _left_alone(info)) is not None:
        return Restacked(identity, "kept", why)
    complaints: list[str] = []
    found = find_stacks(engines, thoth, info, tools, complaints.append)
    if not found or "stack_failed" in found:
        failed = found.get("stack_failed")
        reasons = [*complaints, *([str(failed)] if failed else [])]
        return Restacked(identity, "failed" if reasons else "kept", "; ".join(reasons) or None)
    _, replaced = _noted(thoth, info, found)
    return Restacked(identity, "better" if replaced else "kept", "; ".join(complaints) or None)


def _left_alone(info: DumpInfo) -> str | None:
    """Why a dump has no stacks to be found; None for one that may."""
    if info.document.get("type") != "core":
        return "is no core"
    if info.document.get("purged"):
        return "was purged"
    by = info.document.get(STACK_BY)
    return None if by is None or by in ENGINES else "has the stack that an analyzer found"


def _noted(thoth: Thoth, info: DumpInfo, found: Keys) -> tuple[DumpInfo, bool]:
    """The document, and whether what was found took the place of what was there: of the same bytes, and worse."""
    replaced = False

    def change(now: DumpInfo) -> DumpInfo | None:
        nonlocal replaced
        same = now.sha256 == info.sha256 and _left_alone(now) is None
        replaced = same and worth(found) > worth(now.document)
        if not replaced:
            return None
        kept = {key: value for key, value in now.document.items() if key not in _REPLACED}
        return signed(DumpInfo({**kept, **found, "revision": now.revision + 1}))

    return revise(thoth, info.id, change), replaced


# ---- as dumps arrive ------------------------------------------------------------------------------


class Debuggers:
    """The debuggers that a configuration names beside our own walk, for cores that have just been stored."""

    def __init__(
        self, thoth: Thoth, config: Config, environ: Mapping[str, str], binaries: Binaries | None = None
    ) -> None:
        self._thoth = thoth
        self._first = config.stack[0] != "native"
        self._engines = config.stack if self._first else config.stack[1:]
        self._cancelled = Event()
        self._tools = Tools.of(config, environ, binaries, self._cancelled)

    @staticmethod
    def asked_for(config: Config) -> bool:
        return config.stack != ("native",)

    def wants(self, receipt: Receipt) -> bool:
        """Whether a core came of which a debugger may know more."""
        arrived = receipt.result in (Result.STORED, Result.REPLACED) and receipt.info.document.get("type") == "core"
        return arrived and (self._first or not is_good(receipt.info.document))

    def ask(self, identity: Identity) -> Restacked:
        """Have the stacks of a dump found by them. Raises StoreUnavailable."""
        return next(iter(restack_each(self._thoth, [identity], self._engines, self._tools)))

    def cancel(self) -> None:
        """End the one that is under way, and each that begins; from another thread."""
        self._cancelled.set()


def is_from_illumos(receipt: Receipt) -> bool:
    """Whether a core of illumos came."""
    document = receipt.info.document
    arrived = receipt.result in (Result.STORED, Result.REPLACED)
    return arrived and (document.get("type"), document.get("os")) == ("core", "illumos")


def note_mdb_stacks(thoth: Thoth, info: DumpInfo, printed: str) -> DumpInfo:
    """Note what mdb printed of the stacks of a core that is stored, if it is better than what is noted.

    ``printed`` has a character for each byte. Returns the document as it is then. Raises BadReply, StoreError,
    BadDocument and IndexFailure.
    """
    dumped = info.document.get("lwp")
    found = answers(printed, dumped if isinstance(dumped, int) else 1)
    return _noted(thoth, info, {**found, STACK_BY: "mdb"})[0]
