"""Values as people and terminals get them: foreign text made harmless, sizes, ages, times, tables, JSON.

Only here are file names decoded and is text out of dumps made fit to be shown.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain, islice
from typing import TYPE_CHECKING, Final

from thoth.naming import text

if TYPE_CHECKING:
    from thoth.model import DumpInfo, Json
    from thoth.query import KeyPath

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


def json_counts(counts: Mapping[str, int]) -> Iterator[str]:
    """The text of a report as a JSON object, 2 spaces a level, piece by piece."""
    opened = False
    for label, count in counts.items():
        yield f"{',' if opened else '{'}\n  {json_text(label)}: {count}"
        opened = True
    yield "\n}\n" if opened else "{}\n"


# ---- the table of ls ------------------------------------------------------------------------------

_COLUMNS: Final = (("NAME", 16), ("TYPE", 5), ("TIME", 19), ("NODE/CMD", 16), ("TICKET", 12))
_SHOWN: Final = (("id",), ("type",), ("time",), ("node",), ("cmd",), ("ticket",))  # what these columns show
_DAY: Final = 86400


def table_paths(properties: Iterable[str] = ()) -> tuple[KeyPath, ...]:
    """Of which values a row of a table with these properties is made; a dotted one reaches into a value.

    Raises UsageError for what cannot be a property.
    """
    from thoth.query import property_path  # noqa: PLC0415 - thoth object shows no table

    return (*_SHOWN, *map(property_path, properties))


def table(rows: Iterable[Sequence[Json]], properties: Iterable[str] = ()) -> Iterator[str]:
    """The lines of ``ls``: the header, then one for each row as it comes: the values at ``table_paths``.

    The widths are fixed, so that the first line does not wait for the last; a longer value is shown whole. The header
    waits for the first row: where none can be read there is no table.
    """
    names = tuple(properties)
    titles = [title for title, _ in _COLUMNS] + [escaped(name.upper()) for name in names]
    widths = [width for _, width in _COLUMNS] + [max(12, len(name)) for name in names]
    widths[-1] = 0  # nothing stands behind it
    waiting = iter(rows)
    first = list(islice(waiting, 1))
    yield " ".join(map(_padded, titles, widths))
    everything = chain(first, waiting)
    yield from (_line(row, widths) for row in everything) if names else _short_lines(everything, widths)


def _short_lines(rows: Iterable[Sequence[Json]], widths: Sequence[int]) -> Iterator[str]:
    """As ``_line``, where no properties follow. There may be millions: what is shown again and again is made once."""
    kinds, places, tickets = (_Cells(widths[at]) for at in (1, 3, 4))
    minutes, seconds = [f"{at // 60:02d}:{at % 60:02d}:" for at in range(1440)], [f"{at:02d}" for at in range(60)]
    start, end, day = 0.0, 0.0, ""  # of the day of the row before
    for identity, kind, at, node, cmd, ticket in rows:
        try:
            if not start <= at < end:
                start, end, day = _day_of(at)
            second, place = int(at - start), node if kind == "crash" or cmd is None else cmd
            when = f"{day}{minutes[second // 60]}{seconds[second % 60]}"
            line = f"{identity[:16]} {kinds[kind]} {when} {places[place]} {tickets[ticket]}"
        except (TypeError, ValueError, IndexError):  # an unknown time, one that is no date, a value that is no scalar
            line = _line((identity, kind, at, node, cmd, ticket), widths)
        yield line


def _line(row: Sequence[Json], widths: Sequence[int]) -> str:
    identity, kind, at, node, cmd, ticket, *others = row
    place = node_or_cmd(kind, node, cmd)
    cells = [identity[:16], cell(kind), time_text(at), *map(cell, (place, ticket, *others))]
    return " ".join(map(_padded, cells, widths))


def node_or_cmd(kind: Json, node: Json, cmd: Json) -> Json:
    """What says best whose dump it is: of a crash dump the node, also where it has the form of a core, else the
    command."""
    return node if kind == "crash" or cmd is None else cmd


def cell(value: Json) -> str:
    """A property's value on one line: text escaped, anything else as JSON, ``-`` for unset or empty."""
    if value is None or value == "":
        return UNSET
    return escaped(value) if isinstance(value, str) else json_text(value)


def columns(titles: Sequence[str], rows: Iterable[Sequence[str]], right: Iterable[int] = ()) -> Iterator[str]:
    """The lines of a small table, as wide as its cells, which are escaped already; ``right`` stand to the right."""
    lines = [tuple(titles), *map(tuple, rows)]
    widths = [max(map(_columns_taken, column)) for column in zip(*lines, strict=True)]
    to_the_right = frozenset(right)
    for line in lines:
        cells = [
            " " * (width - _columns_taken(shown)) + shown if at in to_the_right else _padded(shown, width)
            for at, (shown, width) in enumerate(zip(line, widths, strict=True))
        ]
        yield " ".join(cells).rstrip(" ")


class _Cells(dict[str | None, str]):
    """The cells of one column, by value. Only short texts are kept, and not more than columns like these have."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self._width = width

    def __missing__(self, value: Json) -> str:
        shown = _padded(cell(value), self._width)
        if value is None or (isinstance(value, str) and len(value) <= 64 and len(self) < 4096):
            self[value] = shown
        return shown


def _day_of(at: float) -> tuple[float, float, str]:
    """When the day of a time begins and ends, and how ``time_text`` begins then. Raises ValueError for no date."""
    start = at // _DAY * _DAY
    shown = time_text(start)
    if not shown.endswith("T00:00:00"):
        raise ValueError
    return start, start + _DAY, shown.removesuffix("00:00:00")


def _padded(shown: str, width: int) -> str:
    return shown + " " * (width - _columns_taken(shown))


def _columns_taken(shown: str) -> int:
    if shown.isascii():
        return len(shown)
    from unicodedata import combining, east_asian_width  # noqa: PLC0415 - only for names that are not ASCII

    return sum(0 if combining(char) else 2 if east_asian_width(char) in "WF" else 1 for char in shown)
