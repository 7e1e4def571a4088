"""Values as people and terminals get them: foreign text made harmless, sizes, ages, times, tables, JSON.

Only here are file names decoded and is text out of dumps made fit to be shown.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from itertools import chain, islice
from typing import TYPE_CHECKING, Final

from thoth.naming import text

if TYPE_CHECKING:
    from thoth.model import DumpInfo, Json

_SHORT: Final = {"\n": "\\n", "\r": "\\r", "\t": "\\t", "\\": "\\\\"}

UNSET: Final = "-"  # what a table shows for a property that a dump does not have


def escaped(value: str | bytes) -> str:
    """A foreign text that any terminal shows as it is, on one line; different texts stay different.

    Letters of any script stay. A byte that is not UTF-8, as ``thoth.model.text`` carries it, becomes
    ``\\xNN`` (NN from 80 up), and so does an ASCII control character (NN up to 1f, and 7f); C1 controls,
    characters that steer direction or are invisible, and line separators become ``\\uNNNN``, a backslash is
    doubled.
    """
    shown = text(value) if isinstance(value, bytes) else value
    if shown.isprintable() and "\\" not in shown:
        return shown
    return "".join(_SHORT.get(char) or (char if char.isprintable() else _escape(char)) for char in shown)


def one_line(message: str, encoding: str = "utf-8") -> str:
    """A whole message with nothing in it that a terminal acts on or that ``encoding`` lacks.

    Unlike ``escaped`` it leaves backslashes alone: parts of the message that were escaped stay as they are.
    """
    if message.isascii() and message.isprintable():
        return message
    return "".join(
        char if char.isprintable() and _can_show(char, encoding) else _SHORT.get(char) or _escape(char)
        for char in message
    )


def _escape(char: str) -> str:
    code = ord(char)
    if 0xDC80 <= code <= 0xDCFF:
        return f"\\x{code - 0xDC00:02x}"
    if code < 0x80:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"


def _can_show(char: str, encoding: str) -> bool:
    try:
        char.encode(encoding)
    except (UnicodeEncodeError, LookupError):
        return char.isascii()
    return True


def size_text(size: int) -> str:
    """A number of bytes as the original shows it, ``512B``, ``3.83MB``: a unit is 1,024 of the one before."""
    if size < 1024:
        return f"{size}B"
    amount, units = size / 1024, "KMGTP"
    while amount >= 1023.995 and len(units) > 1:  # what would be written as 1024.00
        amount, units = amount / 1024, units[1:]
    return f"{amount:.2f}{units[0]}B"


def age_text(seconds: float) -> str:
    """A time span in its two largest units: ``45s``, ``3m10s``, ``2h5m``, ``4d1h``. Below zero is ``0s``."""
    left = max(0, int(seconds))
    if left < 60:
        return f"{left}s"
    if left < 3600:
        return f"{left // 60}m{left % 60}s"
    if left < 86400:
        return f"{left // 3600}h{left % 3600 // 60}m"
    return f"{left // 86400}d{left % 86400 // 3600}h"


def time_text(seconds: float | None) -> str:
    """Seconds since 1970 as UTC to the second, ``2015-12-04T13:10:26``; ``-`` for None.

    What is no date of the years 1 to 9999 is shown as the number that it is.
    """
    if seconds is None:
        return UNSET
    try:
        return _iso(time.gmtime(seconds)) or f"{seconds:g}"
    except (OverflowError, ValueError, OSError):
        return f"{seconds:g}"


def _iso(at: time.struct_time) -> str | None:
    if not 1 <= at.tm_year <= 9999:
        return None
    return f"{at.tm_year:04d}-{at.tm_mon:02d}-{at.tm_mday:02d}T{at.tm_hour:02d}:{at.tm_min:02d}:{at.tm_sec:02d}"


def json_text(value: Json, indent: int | None = None) -> str:
    """A value as JSON in ASCII that no terminal acts on: control characters, DEL included, are escaped."""
    import json  # noqa: PLC0415 - thoth object prints text

    return json.dumps(value, indent=indent).replace("\x7f", "\\u007f")


def json_array(infos: Iterable[DumpInfo]) -> Iterator[str]:
    """The text of a JSON array of documents, 4 spaces a level, piece by piece: memory stays flat."""
    opened = False
    for info in infos:
        yield ("," if opened else "[") + "\n    " + info.to_json(indent=4).replace("\n", "\n    ")
        opened = True
    yield "\n]\n" if opened else "[]\n"


# ---- the table of ls ------------------------------------------------------------------------------

_COLUMNS: Final = (("NAME", 16), ("TYPE", 5), ("TIME", 19), ("NODE/CMD", 16), ("TICKET", 12))


def table(infos: Iterable[DumpInfo], properties: Iterable[str] = ()) -> Iterator[str]:
    """The lines of ``ls``: the header, then one for each document as it comes.

    ``properties`` are shown behind the columns that are always there; a dotted one reaches into a value. The
    widths are fixed, so that the first line does not wait for the last; a longer value is shown whole. The header
    waits for the first document: where none can be read there is no table. Raises UsageError for what cannot be a
    property, at once.
    """
    from thoth.query import lookup, property_path  # noqa: PLC0415 - thoth object shows no table

    names = tuple(properties)
    asked = [property_path(name) for name in names]
    titles = [title for title, _ in _COLUMNS] + [escaped(name.upper()) for name in names]
    widths = [width for _, width in _COLUMNS] + [max(12, len(name)) for name in names]
    body = (_fixed_cells(info) + [cell(lookup(info.document, path)) for path in asked] for info in infos)
    return (_row(cells, widths) for cells in _headed(titles, body))


def _headed(titles: list[str], body: Iterator[list[str]]) -> Iterator[list[str]]:
    first = list(islice(body, 1))
    yield titles
    yield from chain(first, body)


def _fixed_cells(info: DumpInfo) -> list[str]:
    from thoth.query import dump_time  # noqa: PLC0415 - as above

    document = info.document
    kind = document.get("type")
    who = document.get("node") if kind == "crash" else document.get("cmd")
    return [info.id[:16], cell(kind), time_text(dump_time(document)), cell(who), cell(document.get("ticket"))]


def cell(value: Json) -> str:
    """A property's value on one line: text escaped, anything else as JSON, ``-`` for unset or empty."""
    if value is None or value == "":
        return UNSET
    return escaped(value) if isinstance(value, str) else json_text(value)


def _row(cells: list[str], widths: list[int]) -> str:
    *before, last = cells
    padded = [shown + " " * (width - _columns_taken(shown)) for shown, width in zip(before, widths, strict=False)]
    return " ".join([*padded, last])


def _columns_taken(shown: str) -> int:
    if shown.isascii():
        return len(shown)
    from unicodedata import combining, east_asian_width  # noqa: PLC0415 - only for names that are not ASCII

    return sum(0 if combining(char) else 2 if east_asian_width(char) in "WF" else 1 for char in shown)
