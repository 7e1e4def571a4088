"""What things are called in a store. The layout is the original's, so that both can read it."""

from __future__ import annotations

import os
import re

from thoth.errors import StoreError, UsageError
from thoth.model import Identity

INFO = "info.json"
LONGEST = 200  # bytes of a dump's name in the store

_SAFE = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-")
_CUT_ESCAPE = re.compile(r"%[0-9A-F]?\Z")


def safe_filename(raw: bytes) -> str:
    """The name in the store of a dump that was called ``raw``: 1 to 200 of ``A-Za-z0-9._-`` and ``%XX``.

    It never begins with a dot and is never ``info.json``. Names that need no cutting stay distinct.
    """
    if raw == INFO.encode():
        return "%69nfo.json"
    escaped = "".join(chr(byte) if byte in _SAFE else f"%{byte:02X}" for byte in raw)
    if escaped.startswith("."):
        escaped = "%2E" + escaped[1:]
    if len(escaped) > LONGEST:
        import hashlib  # noqa: PLC0415 - few names are so long, and every command starts by way of here

        kept = _CUT_ESCAPE.sub("", escaped[: LONGEST - 9])  # never half of a %XX
        escaped = f"{kept}-{hashlib.sha256(raw).hexdigest()[:8]}"
    return escaped or "unnamed"  # a dump that came through a pipe


def home(user: str) -> str:
    """``/USER/stor/thoth``, which holds all that is ours. Raises UsageError for what cannot be a user."""
    return f"/{_part(user, 'a user')}/stor/thoth"


def dump_dir(user: str, identity: Identity) -> str:
    """The directory of one dump."""
    return f"{home(user)}/{identity}"


def dump_name(user: str, identity: Identity, raw: bytes) -> str:
    """The object that holds the dump itself, which was called ``raw`` where it came from."""
    return f"{dump_dir(user, identity)}/{safe_filename(raw)}"


def info_name(user: str, identity: Identity) -> str:
    """The object that holds the dump's document."""
    return f"{dump_dir(user, identity)}/{INFO}"


def analyzers_dir(user: str) -> str:
    return f"{home(user)}/analyzers"


def analyzer_name(user: str, analyzer: str) -> str:
    """The object that holds an analyzer. Raises UsageError for a name that is a path."""
    return f"{analyzers_dir(user)}/{_part(analyzer, 'an analyzer')}"


def autoanalyzers_dir(user: str) -> str:
    return f"{home(user)}/autoanalyzers"


def autoanalyzer_name(user: str, rule: str) -> str:
    """The object that holds a rule of the autoanalyzers. Raises UsageError for a name that is a path."""
    return f"{autoanalyzers_dir(user)}/{_part(rule, 'an autoanalyzer')}.json"


def config_name(user: str) -> str:
    """The object that holds the configuration all users of the store share."""
    return f"{home(user)}/config.json"


def logs_dir(user: str) -> str:
    return f"{home(user)}/logs"


def jobs_dir(user: str) -> str:
    """Where what the tasks of Manta's jobs need lies as long as they run."""
    return f"{home(user)}/jobs"


def parts(name: str) -> tuple[str, ...]:
    """The parts of an object's name. Raises StoreError for a name that no object of ours can have."""
    first, *rest = name.split("/")
    if first or not rest:
        raise StoreError(f"not a name in the store, it must begin with /: {name[:200]!r}")
    for part in rest:
        fault = _fault(part)
        if fault:
            raise StoreError(f"not a name in the store, a part of it {fault}: {name[:200]!r}")
    return tuple(rest)


def _part(value: str, what: str) -> str:
    fault = "has a /" if "/" in value else _fault(value)
    if fault:
        raise UsageError(f"not {what}'s name, it {fault}: {value[:200]!r}")
    return value


def _fault(part: str) -> str:
    """Why this cannot be one part of a name; empty when it can. Dot files are the store's own."""
    if not part:
        return "is empty"
    if part.startswith("."):
        return "begins with a dot"
    if "\0" in part:
        return "has a NUL"
    try:
        size = len(part) if part.isascii() else len(os.fsencode(part))
    except UnicodeEncodeError:
        return "has a character that is none"
    return "is longer than 255 bytes" if size > 255 else ""
