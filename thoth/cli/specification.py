"""Which dumps the words of a command line mean: identities, their beginnings, local dumps, constraints."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from thoth.errors import AmbiguousName, NoSuchDump, NotADump, SourceError, SourceGone, UsageError
from thoth.render import escaped

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from thoth.cli.console import Console
    from thoth.library import Thoth
    from thoth.model import DumpInfo, Identity
    from thoth.query import KeyPath, Query

_FROM_STDIN: Final = (("dump", "stdin"), ("dumps", "stdin"), ("name", "stdin"))

_SHOWN: Final = 5  # of the dumps that match where one is wanted

SPECIFICATION: Final = """\
a specification is constraints that all hold:
  PROPERTY=VALUE      * and ? in the value match anything; PROPERTY=undefined: it is not set;
                      a dotted property reaches inwards (properties.triage=bmc)
  mtime=AGE           newer than that, by the time of the dump; time=AGE is the same
  otime=AGE           older than that; an AGE is a number of s, min, h, d, w, fortnight, m or month, y, as in
                      6h, 2fortnight or 3month; without a unit it is seconds
  uploaded=AGE        came in since then, however old the dump is
  limit=5             no more than so many
  dump=stdin          the identities on standard input
"""


class Word(NamedTuple):
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


def local_identity(word: str) -> Identity | None:
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


def the_one(thoth: Thoth, word: Word) -> DumpInfo:
    """The document of the dump that a word names. Raises NoSuchDump, AmbiguousName and BadDocument.

    Raises UsageError for a specification.
    """
    from thoth.model import Identity
    from thoth.query import refuse_comparison

    name = word.name
    if name is None and word.is_constraint:
        raise UsageError(
            f"takes one dump, not a specification: {escaped(word.given)}; 'thoth ls' shows which there are"
        )
    if name is None:
        if "/" not in word.given:
            refuse_comparison(word.given, word.given)
        raise NoSuchDump(f"no such dump or file: {escaped(word.given)}")
    found = [Identity(name)] if len(name) == 32 else thoth.index.named(name)
    if len(found) > 1:
        raise AmbiguousName(f"{name} is the beginning of several dumps: {', '.join(found)}")
    stored = thoth.stored_info(found[0]) if found else None
    if stored is None:
        of_file = f", which {escaped(word.given)} is" if word.local else ""
        why = None if found else thoth.why_empty()  # a whole identity is asked of the store
        raise NoSuchDump(f"no such dump: {name}{of_file}{f'; {why}' if why else ''}")
    return stored[0]


def the_only(thoth: Thoth, words: Sequence[str], console: Console) -> DumpInfo:
    """The document of the one dump that words mean: a name as for ``the_one``, or a specification of one dump.

    Raises NoSuchDump, AmbiguousName, BadDocument and UsageError.
    """
    from thoth.query import Query

    meant = [Word(each, local_identity(each)) for each in words]
    if not any(each.is_constraint for each in meant):
        if meant[1:]:
            raise UsageError(f"takes one dump, and {escaped(words[0])} and {escaped(words[1])} are two")
        return the_one(thoth, meant[0])
    query = specified(meant, console)
    tell_unknown(thoth, query, console)
    few = Query(query.constraints, min(query.limit or _SHOWN + 1, _SHOWN + 1))
    found = [str(row[0]) for row in thoth.index.select(few, [("id",)])]
    if not found:
        raise NoSuchDump(thoth.why_empty() or "no dump matches")
    if found[1:]:
        more = ", ..." if found[_SHOWN:] else ""
        raise AmbiguousName(
            f"takes one dump, and several match: {', '.join(found[:_SHOWN])}{more}; name one, or add constraints"
        )
    return the_one(thoth, Word(found[0], None))


class _NothingNamed(Exception):
    """Standard input, which was to name dumps, names none."""


def read_from_stdin(words: Iterable[str]) -> list[str]:
    """Those of the words that ask for names on standard input, such as ``dump=stdin``."""
    return [each for each in words if each.partition("=")[::2] in _FROM_STDIN]


def asked(words: Sequence[str], console: Console) -> tuple[Query, tuple[str, ...]]:
    """What the words ask for, and those that ask for nothing. Raises UsageError.

    No names on standard input are no dumps, and not all of them; a command that changes dumps refuses them.
    """
    import time

    from thoth.query import Named, Query, parse

    from_stdin = read_from_stdin(words)
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


def chosen(thoth: Thoth, words: Sequence[str], console: Console) -> list[Identity]:
    """The dumps that a command is to work on, oldest first; none when a specification matches none.

    Words without ``=`` are dumps, each of which has to be there; with a constraint among them all is one
    specification. Raises NoSuchDump, AmbiguousName, and UsageError when standard input was to name dumps and
    names none: to work on nothing in silence would hide a pipeline that broke.
    """
    from thoth.model import Identity

    meant = dumps_or_query(thoth, words, console)
    return meant if isinstance(meant, list) else [Identity(row[0]) for row in thoth.index.select(meant, [("id",)])]


def dumps_or_query(thoth: Thoth, words: Sequence[str], console: Console) -> list[Identity] | Query:
    """What ``chosen`` goes by, and raises: the dumps that are named, or the specification."""
    meant = [Word(each, local_identity(each)) for each in words]
    if not any(each.is_constraint for each in meant):
        return list(dict.fromkeys(the_one(thoth, each).id for each in meant))
    query = specified(meant, console)
    tell_unknown(thoth, query, console)
    return query


def specified(words: Sequence[Word], console: Console) -> Query:
    """The specification that words with a constraint among them are. Raises as ``chosen`` does."""
    query, others = asked([each.given if each.is_constraint else each.name or each.given for each in words], console)
    if others:
        raise NoSuchDump(f"no such dump or file: {escaped(others[0])}")
    if nothing_named(query):
        raise UsageError("standard input names no dump; nothing was done")
    return query


def nothing_named(query: Query) -> bool:
    """Whether standard input was to name dumps and was empty."""
    from thoth.query import Named

    return Named(frozenset()) in query.constraints


# ---- what looks like an answer and may be none ------------------------------------------------------


def tell_unknown(thoth: Thoth, query: Query, console: Console, properties: Iterable[KeyPath] = ()) -> None:
    """Tell of the properties that no dump has, in the specification and beside it."""
    from thoth.spelling import names, unknown

    if not console.quiet:
        for line in unknown(thoth.index, (*names(query), *properties)):
            console.say(line)


def tell_nothing(thoth: Thoth, console: Console, otherwise: str | None = "no dump matches") -> None:
    """Tell that nothing was found: why, where that is the index, or else what there is to say otherwise."""
    if not console.quiet and (said := thoth.why_empty() or otherwise):
        console.say(said)
