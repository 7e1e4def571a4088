"""``thoth info`` and ``ls``: dumps that are there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from thoth.cli.options import add_places, configured, word
from thoth.errors import AmbiguousName, NoSuchDump, NotADump, SourceError, SourceGone, UsageError
from thoth.render import escaped, json_array, table

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from collections.abc import Iterable, Sequence

    from thoth.cli.console import Console
    from thoth.library import Thoth
    from thoth.model import DumpInfo, Identity
    from thoth.query import Query

_SPECIFICATION = """\
a specification is constraints that all hold:
  PROPERTY=VALUE      * and ? in the value match anything; PROPERTY=undefined: it is not set;
                      a dotted property reaches inwards (properties.triage=bmc)
  mtime=6h  otime=1y  newer, older than an age in s, min, h, d, w, fortnight, m (month) or y
  limit=5             no more than so many
  dump=stdin          the identities on standard input
"""

# ---- thoth info -----------------------------------------------------------------------------------


def declare_info(parser: ArgumentParser) -> None:
    parser.description = (
        "Show what is known of a dump as a JSON object, or of all dumps of a specification as a JSON array."
    )
    parser.epilog = f"""\
{_SPECIFICATION}
examples:
  thoth info 3e166b93871e7747c799008f58bd30b9
  thoth info 3e166b93                     enough digits for it to be the only one
  thoth info ./core.19972                 is this local dump there already?
  thoth info cmd=svc* limit=5 | jq -r '.[].id'

exit status: 0 found, or a specification; 2 no such dump; 1 anything else
"""
    parser.add_argument(
        "words",
        nargs="+",
        type=word,
        metavar="DUMP|SPEC",
        help="identity, its beginning, local dump, or constraint",
    )
    add_places(parser)
    parser.set_defaults(run=info)


def info(arguments: Namespace, console: Console) -> int:
    """Show documents."""
    from thoth.library import open_thoth

    words = [_local_identity(each) or each for each in arguments.words]
    with open_thoth(configured(arguments)) as thoth:
        if len(words) == 1 and "=" not in words[0]:
            console.block(_the_one(thoth, words[0]).to_json(indent=4) + "\n")
            return 0
        query, others = _query(words, console)
        if others:
            raise NoSuchDump(f"no such dump or file: {escaped(others[0])}")
        for piece in json_array(thoth.index.find(query)):
            console.block(piece)
    return 0


def _local_identity(word: str) -> Identity | None:
    """The identity of the local dump that a word names; None when it names no file, or also something else.

    A dump is taken for one whatever it is called. Raises UsageError for a file that is no dump.
    """
    from thoth.dumps.identity import identify
    from thoth.dumps.source import LocalFile
    from thoth.query import dump_name

    try:
        with LocalFile(word) as source:
            return identify(source)
    except SourceGone:
        return None
    except (SourceError, NotADump) as error:
        if "=" in word or dump_name(word) is not None:
            return None
        raise UsageError(f"{escaped(word)}: {error}") from error


def _the_one(thoth: Thoth, word: str) -> DumpInfo:
    """The document of the dump that a word names. Raises NoSuchDump and AmbiguousName."""
    from thoth.model import Identity
    from thoth.query import dump_name

    name = dump_name(word)
    if name is None:
        raise NoSuchDump(f"no such dump or file: {escaped(word)}")
    found = [Identity(name)] if len(name) == 32 else thoth.index.named(name)
    if len(found) > 1:
        raise AmbiguousName(f"{name} is the beginning of several dumps: {', '.join(found)}")
    stored = thoth.stored_info(found[0]) if found else None
    if stored is None:
        raise NoSuchDump(f"no such dump: {name}")
    return stored[0]


# ---- thoth ls -------------------------------------------------------------------------------------


def declare_ls(parser: ArgumentParser) -> None:
    parser.description = (
        "List dumps, oldest first: all of them, those named, or those of a specification.\n"
        "Each PROPERTY is shown in a column of its own; what is not set is shown as -."
    )
    parser.epilog = f"""\
{_SPECIFICATION}
examples:
  thoth ls
  thoth ls type=crash node=95SY9R1
  thoth ls mtime=3d cmd=pg_prefaulter stack
  thoth ls ticket=undefined properties.triage
  thoth ls --json type=core | jq -r .id

--json: JSON lines, each one the whole document of a dump, as `thoth info` shows it.
"""
    parser.add_argument(
        "words", nargs="*", type=word, metavar="SPEC|PROPERTY", help="constraint, dump, or property to show"
    )
    parser.add_argument("--json", action="store_true", help="JSON lines instead of a table")
    add_places(parser)
    parser.set_defaults(run=ls)


def ls(arguments: Namespace, console: Console) -> int:
    """List dumps."""
    from thoth.library import open_thoth

    query, properties = _query(arguments.words, console)
    if arguments.json and properties:
        raise UsageError(f"ls: --json shows whole documents; leave {escaped(properties[0])} out")
    with open_thoth(configured(arguments)) as thoth:
        infos = thoth.index.find(query)
        lines = (each.to_json() for each in infos) if arguments.json else table(infos, properties)
        for line in lines:
            console.result(line)
    return 0


# ---- both -----------------------------------------------------------------------------------------


def _query(words: Sequence[str], console: Console) -> tuple[Query, tuple[str, ...]]:
    """What the words ask for, and those that ask for nothing. Raises UsageError."""
    import time

    from thoth.query import parse

    def stdin() -> Iterable[str]:
        console.say("reading dump identifiers from stdin")
        return console.lines_in()

    return parse(words, now=time.time(), stdin=stdin)
