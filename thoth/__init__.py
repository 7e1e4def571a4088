"""Keeps core and crash dumps: identify, store, describe, find. The names below are the library.

They are loaded on first use (PEP 562), so that a command imports only what it needs.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from thoth.analysis.autoanalyze import Autoanalyzer, Held
    from thoth.analysis.restack import Debuggers, is_from_illumos, note_mdb_stacks
    from thoth.analysis.verdicts import Verdict
    from thoth.completions import completion_script, offer_words
    from thoth.config import environment, load_config
    from thoth.debuginfod import Debuginfod
    from thoth.dumps.binaries import Binaries, FirstOf, build_id_of, debug_path, likely_ranges
    from thoth.dumps.describe import describe, fact_ranges
    from thoth.dumps.identity import identify, identity_ranges
    from thoth.dumps.source import KnownRanges, LocalFile, MissingRange, Range, ReadAt
    from thoth.durable import write_durably
    from thoth.errors import (
        BadDocument,
        CannotWrite,
        CorruptTransfer,
        IndexFailure,
        NoRoom,
        NotADump,
        ServiceError,
        SourceChanged,
        SourceDenied,
        SourceError,
        SourceGone,
        StoreError,
        StoreUnavailable,
        ThothError,
        Unreachable,
        UsageError,
    )
    from thoth.http import Service
    from thoth.index.base import Known
    from thoth.index.wrappers import GatheringIndex
    from thoth.ingest.annotate import annotate
    from thoth.ingest.arrival import Arrival, Receipt
    from thoth.ingest.receive import Reopened, give_up, receive
    from thoth.ingest.wanted import is_wanted, other_dump, with_size
    from thoth.library import Thoth, open_thoth
    from thoth.model import DumpFacts, DumpInfo, Outcome, Result
    from thoth.naming import Identity, raw_bytes, text
    from thoth.render import age_text, escaped, one_line, size_text
    from thoth.settings import Config
    from thoth.sizes import parsed_size
    from thoth.transit import Prefix, Seekable
    from thoth.version import __version__

_HOME = {
    "Arrival": "ingest.arrival",
    "Autoanalyzer": "analysis.autoanalyze",
    "BadDocument": "errors",
    "Binaries": "dumps.binaries",
    "CannotWrite": "errors",
    "Config": "settings",
    "CorruptTransfer": "errors",
    "Debuggers": "analysis.restack",
    "Debuginfod": "debuginfod",
    "DumpFacts": "model",
    "DumpInfo": "model",
    "FirstOf": "dumps.binaries",
    "GatheringIndex": "index.wrappers",
    "Held": "analysis.autoanalyze",
    "Identity": "naming",
    "IndexFailure": "errors",
    "Known": "index.base",
    "KnownRanges": "dumps.source",
    "LocalFile": "dumps.source",
    "MissingRange": "dumps.source",
    "NoRoom": "errors",
    "NotADump": "errors",
    "Outcome": "model",
    "Prefix": "transit",
    "Range": "dumps.source",
    "ReadAt": "dumps.source",
    "Receipt": "ingest.arrival",
    "Reopened": "ingest.receive",
    "Result": "model",
    "Seekable": "transit",
    "Service": "http",
    "ServiceError": "errors",
    "SourceChanged": "errors",
    "SourceDenied": "errors",
    "SourceError": "errors",
    "SourceGone": "errors",
    "StoreError": "errors",
    "StoreUnavailable": "errors",
    "Thoth": "library",
    "ThothError": "errors",
    "Unreachable": "errors",
    "UsageError": "errors",
    "Verdict": "analysis.verdicts",
    "__version__": "version",
    "age_text": "render",
    "annotate": "ingest.annotate",
    "build_id_of": "dumps.binaries",
    "completion_script": "completions",
    "debug_path": "dumps.binaries",
    "describe": "dumps.describe",
    "environment": "config",
    "escaped": "render",
    "fact_ranges": "dumps.describe",
    "give_up": "ingest.receive",
    "identify": "dumps.identity",
    "identity_ranges": "dumps.identity",
    "is_from_illumos": "analysis.restack",
    "is_wanted": "ingest.wanted",
    "likely_ranges": "dumps.binaries",
    "load_config": "config",
    "note_mdb_stacks": "analysis.restack",
    "offer_words": "completions",
    "one_line": "render",
    "open_thoth": "library",
    "other_dump": "ingest.wanted",
    "parsed_size": "sizes",
    "raw_bytes": "naming",
    "receive": "ingest.receive",
    "size_text": "render",
    "text": "naming",
    "with_size": "ingest.wanted",
    "write_durably": "durable",
}

__all__ = [
    "Arrival",
    "Autoanalyzer",
    "BadDocument",
    "Binaries",
    "CannotWrite",
    "Config",
    "CorruptTransfer",
    "Debuggers",
    "Debuginfod",
    "DumpFacts",
    "DumpInfo",
    "FirstOf",
    "GatheringIndex",
    "Held",
    "Identity",
    "IndexFailure",
    "Known",
    "KnownRanges",
    "LocalFile",
    "MissingRange",
    "NoRoom",
    "NotADump",
    "Outcome",
    "Prefix",
    "Range",
    "ReadAt",
    "Receipt",
    "Reopened",
    "Result",
    "Seekable",
    "Service",
    "ServiceError",
    "SourceChanged",
    "SourceDenied",
    "SourceError",
    "SourceGone",
    "StoreError",
    "StoreUnavailable",
    "Thoth",
    "ThothError",
    "Unreachable",
    "UsageError",
    "Verdict",
    "__version__",
    "age_text",
    "annotate",
    "build_id_of",
    "completion_script",
    "debug_path",
    "describe",
    "environment",
    "escaped",
    "fact_ranges",
    "give_up",
    "identify",
    "identity_ranges",
    "is_from_illumos",
    "is_wanted",
    "likely_ranges",
    "load_config",
    "note_mdb_stacks",
    "offer_words",
    "one_line",
    "open_thoth",
    "other_dump",
    "parsed_size",
    "raw_bytes",
    "receive",
    "size_text",
    "text",
    "with_size",
    "write_durably",
]


def __getattr__(name: str) -> Any:
    try:
        home = _HOME[name]
    except KeyError:
        raise AttributeError(f"module 'thoth' has no attribute {name!r}") from None
    return getattr(import_module(f"thoth.{home}"), name)


def __dir__() -> list[str]:
    return __all__
