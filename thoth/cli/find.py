"""``thoth info`` and ``ls``: dumps that are there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from thoth.cli.options import add_places, configured, word
from thoth.errors import AmbiguousName, BadDocument, NoSuchDump, NotADump, SourceError, SourceGone, UsageError
from thoth.render import escaped, json_array, table

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from collections.abc import Iterable, Iterator, Sequence

    from thoth.cli.console import Console
    from thoth.library import Thoth
    from thoth.model import DumpInfo, Identity
    from thoth.query import Query

_FROM_STDIN: Final = (("dump", "stdin"), ("dumps", "stdin"), ("name", "stdin"))

_SPECIFICATION: Final = """\
a specification is constraints that all hold:
  PROPERTY=VALUE      * and ? in the value match anything; PROPERTY=undefined: it is not set;
                      a dotted property reaches inwards (properties.triage=bmc)
  mtime=AGE           newer than that, by the time of the dump; time=AGE is the same
  otime=AGE           older than that; an AGE is a number of s, min, h, d, w, fortnight, m or month, y, as in
                      6h, 2fortnight or 3month; without a unit it is seconds
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
    add_places(parser)
    parser.set_defaults(run=info)


def info(arguments: Namespace, console: Console) -> int:
    """Show documents."""
    from thoth.library import open_thoth

    words = [_Word(each, _local_identity(each)) for each in arguments.words]
    with open_thoth(configured(arguments)) as thoth:
        if any(each.is_constraint for each in words):
            return _of_specification(thoth, words, console)
        if len(words) > 1:
            return _of_several(thoth, words, console)
        console.block(_the_one(thoth, words[0]).to_json(indent=4) + "\n")
    return 0


class _Word(NamedTuple):
    """A word that says which dump, or which dumps, are meant."""

    given: str
    local: Identity | None  # of the local dump that it names

    @property
    def is_constraint(self) -> bool:
        return self.local is None and "=" in self.given

    @property
    def name(self) -> str | None:
        """The identity that it names, or the beginning of one; people may write it in capitals."""
        from thoth.query import dump_name

        return self.local or dump_name(self.given) or dump_name(self.given.lower())


def _of_specification(thoth: Thoth, words: Iterable[_Word], console: Console) -> int:
    query, others = _query([each.given if each.is_constraint else each.name or each.given for each in words], console)
    if others:
        raise NoSuchDump(f"no such dump or file: {escaped(others[0])}")
    for piece in json_array(thoth.index.find(query)):
        console.block(piece)
    return 0


def _of_several(thoth: Thoth, words: Iterable[_Word], console: Console) -> int:
    """Show the dumps that are there, each once and oldest first, and tell of each other one."""
    from thoth.query import sort_key

    found: dict[Identity, DumpInfo] = {}
    code = 0
    for each in words:
        try:
            one = _the_one(thoth, each)
            found[one.id] = one
        except (NoSuchDump, AmbiguousName, BadDocument) as error:
            console.failure(error)
            code = max(code, error.exit_code)
    for piece in json_array(sorted(found.values(), key=sort_key)):
        console.block(piece)
    return code


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


def _the_one(thoth: Thoth, word: _Word) -> DumpInfo:
    """The document of the dump that a word names. Raises NoSuchDump, AmbiguousName and BadDocument."""
    from thoth.model import Identity

    name = word.name
    if name is None:
        raise NoSuchDump(f"no such dump or file: {escaped(word.given)}")
    found = [Identity(name)] if len(name) == 32 else thoth.index.named(name)
    if len(found) > 1:
        raise AmbiguousName(f"{name} is the beginning of several dumps: {', '.join(found)}")
    stored = thoth.stored_info(found[0]) if found else None
    if stored is None:
        of_file = f", which {escaped(word.given)} is" if word.local else ""
        raise NoSuchDump(f"no such dump: {name}{of_file}")
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
  thoth ls mtime=3d cmd=pg_prefaulter signal exec
  thoth ls ticket=undefined properties.triage
  thoth ls --json type=core | jq -r .id

--json: JSON lines, each one the whole document of a dump, as `thoth info` shows it.
"""
    parser.add_argument(
        "words",
        nargs="*",
        type=word,
        metavar="SPEC|PROPERTY",
        help="constraint, dump, ./local-dump, or property",
    )
    parser.add_argument("--json", action="store_true", help="JSON lines instead of a table")
    add_places(parser)
    parser.set_defaults(run=ls)


def ls(arguments: Namespace, console: Console) -> int:
    """List dumps."""
    from thoth.library import open_thoth

    query, properties = _query([_without_files(each) for each in arguments.words], console)
    if arguments.json and properties:
        raise UsageError(f"ls: --json shows whole documents; leave {escaped(properties[0])} out")
    with open_thoth(configured(arguments)) as thoth:
        infos = thoth.index.find(query)
        lines = (each.to_json() for each in infos) if arguments.json else table(infos, properties)
        for line in lines:
            console.result(line)
    return 0


def _without_files(word: str) -> str:
    """The word, or the identity of the local dump that it names: only what has a / is looked for among files."""
    from thoth.query import dump_name

    local = _local_identity(word) if "/" in word else None
    if local is None and "/" in word and "=" not in word and dump_name(word) is None:
        raise UsageError(f"{escaped(word)}: no such file; a dump in the store is named by its identity")
    return local or word


# ---- both -----------------------------------------------------------------------------------------


class _NothingNamed(Exception):
    """Standard input, which was to name dumps, names none."""


def _query(words: Sequence[str], console: Console) -> tuple[Query, tuple[str, ...]]:
    """What the words ask for, and those that ask for nothing. Raises UsageError.

    No names on standard input are no dumps, and not all of them; a command that changes dumps refuses them.
    """
    import time

    from thoth.query import Named, Query, parse

    from_stdin = [each for each in words if each.partition("=")[::2] in _FROM_STDIN]
    if len(from_stdin) > 1:
        raise UsageError(f"{from_stdin[0]} and {from_stdin[1]}: standard input can be read once")

    def stdin() -> Iterable[str]:
        console.say("reading dump identifiers from stdin")
        return _some(console.lines_in())

    try:
        return parse(words, now=time.time(), stdin=stdin)
    except _NothingNamed:
        query, others = parse([each for each in words if each not in from_stdin], now=time.time())
        return Query((*query.constraints, Named(frozenset())), query.limit), others


def _some(lines: Iterator[str]) -> Iterator[str]:
    """The same lines. Raises _NothingNamed when none has a word in it."""
    for line in lines:
        if line.split():
            yield line
            yield from lines
            return
    raise _NothingNamed
