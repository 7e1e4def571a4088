"""Everything that can go wrong, as exceptions whose text is the one line that the user reads.

The text names the thing and, where there is something to do, says what. ``exit_code`` is what the
command ends with when the exception reaches it.
"""

from __future__ import annotations


class ThothError(Exception):
    """Base of all errors of this project."""

    exit_code = 1


class UsageError(ThothError):
    """A command line, specification or configuration that cannot be used as it stands."""


# ---- reading a dump -------------------------------------------------------------------------------


class NotADump(ThothError):
    """The file is not a core or crash dump that has an identity; ``reason`` says why, without the name."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class SourceError(ThothError):
    """A dump's file cannot be read: a link, not a regular file, an I/O error."""


class SourceGone(SourceError):
    """The file was there and is no more."""


class SourceDenied(SourceError):
    """We may not read the file."""


class SourceChanged(SourceError):
    """The file is not, or no longer, the one that was looked at: it grew, shrank or was replaced."""


# ---- naming a dump --------------------------------------------------------------------------------


class NoSuchDump(ThothError):
    """No dump has this name."""

    exit_code = 2


class AmbiguousName(ThothError):
    """A prefix that several dumps share."""


# ---- a service that is asked over HTTP -------------------------------------------------------------


class ServiceError(ThothError):
    """The service gave no answer that can be used."""


class NoAnswer(ServiceError):
    """The answer did not come, or broke off: what was asked for may have been done all the same."""


class Unreachable(NoAnswer):
    """No connection could be made: what was asked for has not been done."""


class Untrusted(ServiceError):
    """The service cannot prove, by TLS, that it is what its URL says."""


# ---- the store ------------------------------------------------------------------------------------


class StoreError(ThothError):
    """The store failed for one object; another object may still work."""


class NoSuchObject(StoreError):
    """There is no object by this name."""


class PreconditionFailed(StoreError):
    """The object changed since it was read, or exists although it had to be absent."""


class CorruptTransfer(StoreError):
    """What the store holds, or was sent, is not what was read: size or digest differ."""


class StoreUnavailable(StoreError):
    """The store refuses everything: full, read-only, unreachable, access denied. It ends a run."""


class NoRoom(StoreUnavailable):
    """The store has no room for an object of this size; a smaller one may still fit.

    It ends a run as its parent does, unless the caller chooses to go on with the other dumps.
    """


class NotAllowed(StoreUnavailable):
    """The store knows who asks, and refuses it this place."""


class StoreTransient(StoreError):
    """One request failed in a way that passes: the same request may work in a while.

    ``retry_after`` is how many seconds the store asked to be left alone, if it said. ``tried``: the request itself is
    not to be made again: it was, as often as there is patience for, or only a new beginning would help.
    """

    def __init__(self, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after
        self.tried = False


class OtherBytes(StoreTransient):
    """What was taken for a repetition of what is stored turned out to be something else: it has to be sent."""


class StoreUnreachable(StoreTransient):
    """Nobody could be connected to. When that lasts it is StoreUnavailable: no other request would fare better."""


class CannotWrite(ThothError):
    """A write was asked of a store, index or journal that is open for a dry run. Always a defect of ours."""


# ---- the index ------------------------------------------------------------------------------------


class IndexFailure(ThothError):
    """The index failed; what is in the store stays true and ``thoth index`` heals the index."""


class BadDocument(ThothError):
    """An info.json that is not a JSON object with the fields that every dump has."""


# ---- the cache ------------------------------------------------------------------------------------


class CacheError(ThothError):
    """The cache of dumps on this machine cannot be used, or has no room."""
