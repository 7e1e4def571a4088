"""``thoth info``, ``ls`` and ``report``: dumps that are there."""

from __future__ import annotations

from argparse import BooleanOptionalAction
from itertools import chain, islice
from typing import TYPE_CHECKING, TypeVar

from thoth.cli.options import add_places, configured, opened, opened_to_look, word
from thoth.cli.specification import SPECIFICATION, Word, asked, local_identity, tell_nothing, tell_unknown, the_one
from thoth.errors import AmbiguousName, BadDocument, NoSuchDump, UsageError
from thoth.render import escaped, json_array, json_counts, table, table_paths

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from thoth.cli.console import Console
    from thoth.library import Thoth
    from thoth.model import DumpInfo, Identity, Json
    from thoth.query import KeyPath

    _Show = Callable[[DumpInfo], DumpInfo]

_Found = TypeVar("_Found")

# ---- thoth info -----------------------------------------------------------------------------------


def declare_info(parser: ArgumentParser) -> None:
    parser.description = (
        "Show what is known of a dump as a JSON object, or of all dumps of a specification as a JSON array."
    )
    parser.epilog = f"""\
{SPECIFICATION}
examples:
  thoth info 3e166b93871e7747c799008f58bd30b9
  thoth info 3e166b93                     enough digits for it to be the only one
  thoth info ./core.19972                 is this local dump there already?
  thoth info core.1 core.2                an array of those that are there; a line on stderr for each other
  thoth info cmd=svc* limit=5 | jq -r '.[].id'

exit status: 0 found, or a specification; 2 no such dump, or one of several; 1 anything else
"""
    parser.add_argument(
        "words",
        nargs="+",
        type=word,
        metavar="DUMP|SPEC",
        help="identity, its beginning, local dump, or constraint",
    )
    parser.add_argument("--json", action="store_true", help="JSON, which it always is")
    parser.add_argument(
        "--demangle",
        action=BooleanOptionalAction,
        help="names of C++ and Rust as people write them (on a terminal they are)",
    )
    add_places(parser)
    parser.set_defaults(run=info)


def info(arguments: Namespace, console: Console) -> int:
    """Show documents."""
    words = [Word(each, local_identity(each)) for each in arguments.words]
    asked_for = arguments.demangle
    show = _readable if (console.on_terminal if asked_for is None else asked_for) else _as_it_is
    of_index = any(each.is_constraint for each in words)
    open_it = opened_to_look if of_index else opened
    with open_it(configured(arguments), console) as thoth:
        if of_index:
            return _of_specification(thoth, words, console, show)
        if len(words) > 1:
            return _of_several(thoth, words, console, show)
        console.block(show(the_one(thoth, words[0])).to_json(indent=4) + "\n")
    return 0


def _as_it_is(info: DumpInfo) -> DumpInfo:
    return info


def _readable(info: DumpInfo) -> DumpInfo:
    """The same with the names in its stacks as people write them."""
    from dataclasses import replace

    from thoth.demangled import readable_document

    return replace(info, document=readable_document(info.document))


def _of_specification(thoth: Thoth, words: Iterable[Word], console: Console, show: _Show) -> int:
    query, others = asked([each.given if each.is_constraint else each.name or each.given for each in words], console)
    if others:
        raise NoSuchDump(f"no such dump or file: {escaped(others[0])}")
    tell_unknown(thoth, query, console)
    some, found = _peeked(thoth.index.find(query))
    for piece in json_array(map(show, found)):
        console.block(piece)
    if not some:
        tell_nothing(thoth, console, None)
    return 0


def _of_several(thoth: Thoth, words: Iterable[Word], console: Console, show: _Show) -> int:
    """Show the dumps that are there, each once and oldest first, and tell of each other one."""
    from thoth.query import sort_key

    found: dict[Identity, DumpInfo] = {}
    code = 0
    for each in words:
        try:
            one = the_one(thoth, each)
            found[one.id] = one
        except (NoSuchDump, AmbiguousName, BadDocument) as error:
            console.failure(error)
            code = max(code, error.exit_code)
    for piece in json_array(map(show, sorted(found.values(), key=sort_key))):
        console.block(piece)
    return code


# ---- thoth ls -------------------------------------------------------------------------------------


def declare_ls(parser: ArgumentParser) -> None:
    parser.description = (
        "List dumps, oldest first: all of them, those named, or those of a specification.\n"
        "Each PROPERTY is shown in a column of its own; what is not set is shown as -."
    )
    parser.epilog = f"""\
{SPECIFICATION}
examples:
  thoth ls
  thoth ls type=crash node=95SY9R1
  thoth ls mtime=3d cmd=pg_prefaulter signal exec
  thoth ls ticket=undefined properties.triage
  thoth ls --json type=core | jq -r .id

--json: JSON lines, each one the whole document of a dump, as `thoth info` shows it.
exit status: 0 done, also when no dump matches; 1 failed
"""
    _declare_words(parser, json="JSON lines instead of a table")
    parser.set_defaults(run=ls)


def ls(arguments: Namespace, console: Console) -> int:
    """List dumps."""
    query, properties = asked([_without_files(each) for each in arguments.words], console)
    if arguments.json and properties:
        raise UsageError(f"ls: --json shows whole documents; leave {escaped(properties[0])} out")
    paths = table_paths(properties)
    _warn_of_files(properties, console)
    with opened_to_look(configured(arguments), console) as thoth:
        tell_unknown(thoth, query, console, paths)
        if arguments.json:
            some, found = _peeked(thoth.index.find(query))
            console.results(each.to_json() for each in found)
        else:
            some, rows = _peeked(thoth.index.select(query, paths))
            console.results(table(_readable_rows(rows, paths), properties))
        if not some:
            tell_nothing(thoth, console)
    return 0


def _readable_rows(rows: Iterable[Sequence[Json]], paths: Sequence[KeyPath]) -> Iterable[Sequence[Json]]:
    """The rows with the names of stacks as people write them, if there is such a column."""
    if not any(path[0] in ("stack", "threads") for path in paths):
        return rows
    from thoth.demangled import readable_row

    return (readable_row(row, paths) for row in rows)


# ---- thoth report ---------------------------------------------------------------------------------


def declare_report(parser: ArgumentParser) -> None:
    parser.description = (
        "Count dumps by the values of a property: a JSON object, rarest value first.\n"
        "Without a PROPERTY: how many dumps there are."
    )
    parser.epilog = f"""\
{SPECIFICATION}
A word without = is the PROPERTY, wherever it stands, unless it consists of hex digits: then it is a dump.

examples:
  thoth report cmd=svc.startd platform
  thoth report type=crash mtime=30d node
  thoth report ticket=undefined signature
  thoth report cmd=node properties.triage.engineer
  thoth report ticket=undefined                        just the number

Dumps that do not have the property are counted as undefined; a value that is no text as its JSON.
exit status: 0 done, also when no dump matches; 1 failed
"""
    _declare_words(parser, json="JSON, which it always is")
    parser.set_defaults(run=report)


def report(arguments: Namespace, console: Console) -> int:
    """Count dumps."""
    from thoth.query import property_path

    query, properties = asked([_without_files(each) for each in arguments.words], console)
    if len(properties) > 1:
        both = " and ".join(escaped(each) for each in properties[:2])
        raise UsageError(f"report: {both} are two properties; name one, and constraints as PROPERTY=VALUE")
    paths = [property_path(each) for each in properties]
    with opened_to_look(configured(arguments), console) as thoth:
        tell_unknown(thoth, query, console, paths)
        counts = thoth.index.report(query, paths[0]) if paths else {}
        count = sum(counts.values()) if paths else thoth.index.count(query)
        for piece in json_counts(counts) if paths else [f"{count}\n"]:
            console.block(piece)
        if not count:
            tell_nothing(thoth, console, None)
    return 0


# ---- all of them ----------------------------------------------------------------------------------


def _peeked(found: Iterator[_Found]) -> tuple[bool, Iterator[_Found]]:
    """Whether anything was found, and all of it, as it comes."""
    first = list(islice(found, 1))
    return bool(first), chain(first, found)


def _declare_words(parser: ArgumentParser, json: str) -> None:
    parser.add_argument(
        "words", nargs="*", type=word, metavar="SPEC|PROPERTY", help="constraint, dump, ./local-dump, or property"
    )
    parser.add_argument("--json", action="store_true", help=json)
    add_places(parser)


def _warn_of_files(properties: Iterable[str], console: Console) -> None:
    """Tell who means a local dump that a word without a slash is a column."""
    from pathlib import Path

    for name in properties:
        if Path(name).is_file():
            console.say(f"'{escaped(name)}' is taken for a property to show; './{escaped(name)}' is the local dump")


def _without_files(word: str) -> str:
    """The word, or the identity of the local dump that it names: only what has a / is looked for among files."""
    from thoth.query import dump_name

    local = local_identity(word) if "/" in word else None
    if local is None and "/" in word and "=" not in word and dump_name(word) is None:
        raise UsageError(f"{escaped(word)}: no such file; a dump in the store is named by its identity")
    return local or word
