"""``thoth index`` and ``load``: the index made again from the store."""

from __future__ import annotations

from typing import TYPE_CHECKING

from thoth.cli.options import add_places, configured, opened, opened_anew, word
from thoth.cli.specification import SPECIFICATION, Word, chosen, local_identity, specified, tell_nothing, tell_unknown
from thoth.errors import NoSuchDump, UsageError
from thoth.render import escaped

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from collections.abc import Sequence

    from thoth.cli.console import Console
    from thoth.config import Config
    from thoth.library import Thoth
    from thoth.model import Identity

# ---- thoth index ----------------------------------------------------------------------------------


def declare_index(parser: ArgumentParser) -> None:
    parser.description = (
        "Make the index again from the store: every dump that is there is put into it.\n"
        "With mtime=AGE only those dumps are to whose directory in the store something was written\n"
        "within that time, by the store's clock. That is not the time of the dump.\n"
        "Safe to repeat, and while others work: a newer document in the index stays, and nothing is\n"
        "removed. What is younger than an hour and has no document yet is taken for an upload on its way.\n"
        "An index that spoke of another store speaks of this one then.\n"
        "An index that is damaged has to be moved away first."
    )
    parser.epilog = """\
examples:
  thoth index
  thoth index mtime=2d                    after a weekend on which the index was down
  mv dumps.db dumps.db.damaged && THOTH_DB=sqlite:///$PWD/dumps.db thoth index

exit status: 0 all dumps are in the index; 1 some are not, each of which has its line on stderr
"""
    _add_stacks(parser)
    parser.add_argument("age", nargs="?", type=word, metavar="mtime=AGE", help="6h, 2d, 3w: written to since then")
    add_places(parser)
    parser.set_defaults(run=index)


def index(arguments: Namespace, console: Console) -> int:
    """Make the index again."""
    from thoth.library import require_store
    from thoth.maintain import stored_identities

    since = _since(arguments.age)
    config = configured(arguments)
    require_store(config)
    whole = arguments.age is None  # a part of it does not make it another store's
    with (opened_anew if whole else opened)(config, console) as thoth:
        thoth.index.create()
        was_another = whole and thoth.renew()
        identities = stored_identities(thoth, since)
        code = _made_again(thoth, config, identities, console, stacks=arguments.stacks, listed=True)
        if was_another:
            _tell_of_others(thoth, identities, console)
        return code


def _tell_of_others(thoth: Thoth, identities: Sequence[Identity], console: Console) -> None:
    """What is left in the index of the store that it spoke of before."""
    from thoth.query import Query

    stored = set[str](identities)
    left = sum(row[0] not in stored for row in thoth.index.select(Query(), [("id",)]))
    of_it = f"; what is not there ({counted_dumps(left)}) 'thoth scrub --repair' takes out" if left else ""
    console.complain(f"the index spoke of another store, and speaks of this one now{of_it}")


def _since(age: str | None) -> float:
    """Seconds since 1970 from which on dumps are asked for. Raises UsageError."""
    import time
    from math import inf

    from thoth.query import age_seconds

    if age is None:
        return -inf
    key, _, value = age.partition("=")
    if key != "mtime" or not value:
        raise UsageError(f"index: {escaped(age)}: only mtime=AGE can be asked for; 'thoth load' takes specifications")
    return time.time() - age_seconds(value)


def _add_stacks(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--stacks",
        action="store_true",
        help="walk the stacks of the cores again, too; what is better than what is noted takes its place",
    )


def _made_again(
    thoth: Thoth,
    config: Config,
    identities: Sequence[Identity],
    console: Console,
    *,
    stacks: bool,
    listed: bool = False,
) -> int:
    from thoth.cli.stacks import restacked

    code = _reindex(thoth, identities, console, listed=listed)
    return max(code, restacked(thoth, config, identities, console)) if stacks else code


def _reindex(thoth: Thoth, identities: Sequence[Identity], console: Console, *, listed: bool) -> int:
    import time

    from thoth.maintain import reindex

    done = reindex(thoth, console.counting("indexing", identities), now=time.time() if listed else None)
    for failure in done.failures:
        console.failure(failure)
    more = f"; {counted_dumps(done.arriving)} on the way, as it seems: no document yet" if done.arriving else ""
    console.say(f"indexed {counted_dumps(done.indexed)}{more}")
    return 1 if done.failures else 0


def counted_dumps(count: int) -> str:
    """``1 dump``, ``2 dumps``."""
    return f"{count} dump{'' if count == 1 else 's'}"


# ---- thoth load -----------------------------------------------------------------------------------


def declare_load(parser: ArgumentParser) -> None:
    parser.description = (
        "Make the index again for some dumps: their documents are read from the store and put into it. Those of\n"
        "older programs that have a stack and no signature get theirs, in the store too.\n"
        "A whole identity is looked for in the store, so the index need not know it. The beginning of\n"
        "one, and a specification, are looked up in the index."
    )
    parser.epilog = f"""\
{SPECIFICATION}
examples:
  thoth load 3e166b93871e7747c799008f58bd30b9
  thoth load mtime=1d type=crash
  thoth load dump=stdin < identities
  thoth load --stacks node=cn7 mtime=1w     with what debuginfod, or a newer Thoth, knows by now

exit status: 0 all of them are in the index; 2 no such dump; 1 some are not, each of which has its
line on stderr
"""
    _add_stacks(parser)
    parser.add_argument(
        "words", nargs="+", type=word, metavar="DUMP|SPEC", help="identity, local dump, or constraint"
    )
    add_places(parser)
    parser.set_defaults(run=load)


def load(arguments: Namespace, console: Console) -> int:
    """Make the index again for some dumps."""
    from thoth.library import require_store

    config = configured(arguments)
    require_store(config)
    with opened(config, console) as thoth:
        identities = in_store(thoth, arguments.words, console)
        code = _made_again(thoth, config, identities, console, stacks=arguments.stacks)
        return max(code, _sign(thoth, identities, console))


def _sign(thoth: Thoth, identities: Sequence[Identity], console: Console) -> int:
    """Give a signature to those that lack theirs; one that cannot be changed is told, and is in the index without."""
    from thoth.resign import sign_unsigned

    failed = False
    for each in sign_unsigned(thoth, identities):
        if each.error:
            failed = True
            console.failure(each.error, about=f"{each.identity}: has no signature")
    return int(failed)


# ---- which dumps, whatever the index knows ----------------------------------------------------------


def in_store(thoth: Thoth, words: Sequence[str], console: Console) -> list[Identity]:
    """The dumps that words mean, as ``chosen`` has it, but a whole identity need not be in the index.

    Its document is not read: it may be what is broken. Raises NoSuchDump for one of which neither store nor index
    has anything, and as ``chosen`` does.
    """
    from thoth.model import Identity

    meant = [Word(each, local_identity(each)) for each in words]
    if any(each.is_constraint for each in meant):
        return _of_specification(thoth, meant, console)
    found: list[Identity] = []
    for each in meant:
        name = each.name
        if name is not None and len(name) == 32:
            _require(thoth, Identity(name))
            found.append(Identity(name))
        elif name is not None and len(known := thoth.index.named(name)) == 1:
            found += known
        else:
            found += chosen(thoth, [each.given], console)
    return list(dict.fromkeys(found))


def _of_specification(thoth: Thoth, meant: Sequence[Word], console: Console) -> list[Identity]:
    from thoth.model import Identity
    from thoth.query import Named, matches

    query = specified(meant, console)
    tell_unknown(thoth, query, console)
    names = [each.prefixes for each in query.constraints if isinstance(each, Named)]
    found = [Identity(row[0]) for row in thoth.index.select(query, [("id",)])]
    if not found:
        tell_nothing(thoth, console, None)
    if len(names) < len(query.constraints):
        return found  # only the index can tell which dumps these are
    whole = sorted({name for each in names for name in each if len(name) == 32 and matches(query, {"id": name})})
    return list(dict.fromkeys([*found, *map(Identity, whole)]))[: query.limit]


def _require(thoth: Thoth, identity: Identity) -> None:
    from thoth.store.names import dump_dir

    if next(iter(thoth.store.list(dump_dir(thoth.user, identity))), None) is None and not thoth.index.known(
        [identity]
    ):
        raise NoSuchDump(f"no such dump: {identity}")
