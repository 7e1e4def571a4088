"""``thoth set``, ``unset``, ``ticket`` and ``unticket``: what people note on dumps."""

from __future__ import annotations

import sys
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from thoth.cli.options import add_places, configured, opened, word
from thoth.cli.specification import SPECIFICATION, chosen, read_from_stdin, tell_nothing
from thoth.errors import UsageError
from thoth.render import escaped, json_text

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from collections.abc import Callable, Iterator, Sequence

    from thoth.cli.console import Console
    from thoth.edit import Edit, Edited
    from thoth.library import Thoth
    from thoth.model import Identity, Json

_NOTES = f"""\
{SPECIFICATION}
A dump is named by its identity, the beginning of one, or as a local file. The dumps of a specification
are looked up once, and then changed one by one. Others may change them meanwhile: no change is lost.

--json: JSON lines {{"id", "changed", "reason"}}; changed is false for a dump that was so already, and for one
that failed, of which reason tells why. Changed and with a reason: the index could not be told.
"""
_FEW = 5  # tickets that are named
_STATUS = """\
exit status: 0 done, also when no dump matches; 1 a dump could not be changed; 2 there is no dump by that name
"""


class _Talk(NamedTuple):
    """How to speak of a change, each before a number of dumps."""

    done: str  # "set 'triage' on"
    planned: str  # "would set 'triage' on"
    same: str  # of dumps that are left as they are


class _More(NamedTuple):
    """Other dumps to change, found by those that are named, and how they are changed."""

    find: Callable[[Thoth, list[Identity]], list[Identity]]
    edits: Sequence[Edit]


# ---- thoth set ------------------------------------------------------------------------------------


def declare_set(parser: ArgumentParser) -> None:
    parser.usage = "thoth set [-n] [--json] DUMP|SPEC... PROPERTY [VALUE]"
    parser.description = (
        "Set a user property of one dump, or of all dumps of a specification.\n"
        "It is kept in 'properties' of what `thoth info` shows; a dotted name reaches into an object.\n"
        "VALUE is JSON when it reads as JSON, else text. Without VALUE, JSON is read from standard input; a dump's\n"
        "whole document may have 64 MiB."
    )
    parser.epilog = f"""\
{_NOTES}
examples:
  thoth set 086d664357716ae7 triage bmc
  thoth set cmd=svc.configd triage.engineer bmc
  thoth set cmd=svc.configd triage < triage.json
  thoth set 086d6643 count 17             a number; '"17"' is the text
  thoth set 086d6643 offset -- -1         what begins with a dash stands behind --
  thoth set -n mtime=7d triage bmc        which dumps would change?

{_STATUS}"""
    _declare(parser, "a dump, or the constraints of a specification; then the property, and the value")
    parser.set_defaults(run=set_)


def set_(arguments: Namespace, console: Console) -> int:
    """Set a property."""
    from thoth.edit import SetProperty, property_value, settable
    from thoth.query import shown, split_words

    dumps, (name, *values) = _parted(split_words(arguments.words))
    path = settable(name)
    talk = _Talk(f"set {shown(name)} on", f"would set {shown(name)} on", "had that value already")
    if values:
        edits = [SetProperty(path, property_value(values[0]))]
        return _change(arguments, console, dumps, lambda: edits, talk)
    if from_stdin := read_from_stdin(dumps):
        raise UsageError(f"set: {from_stdin[0]} and the value: standard input can be read once; give VALUE as a word")
    return _change(arguments, console, dumps, lambda: [SetProperty(path, _stdin_value(name, console))], talk)


def _parted(split: tuple[Sequence[str], Sequence[str]]) -> tuple[Sequence[str], Sequence[str]]:
    """The dumps, and the property with its value if one is given. Raises UsageError."""
    dumps, rest = split
    if not rest:
        raise UsageError("set: name a dump or a specification, then a property; see 'thoth set --help'")
    if len(rest) > 2:
        raise UsageError(
            f"set: {escaped(rest[2])}: one dump or specification, one property and one value; a value of several"
            " words stands in quotes, several dumps are given with dump=stdin"
        )
    return dumps, rest


def _stdin_value(name: str, console: Console) -> Json:
    from thoth.edit import property_value_from
    from thoth.query import shown
    from thoth.store.base import MAX_SMALL

    if sys.stdin is not None and sys.stdin.isatty():
        console.say(f"type the value of {shown(name)} as JSON; Ctrl-D on a line of its own ends it")
    data = console.all_of_stdin(MAX_SMALL, f"JSON for {shown(name)}")
    return property_value_from(data, "standard input")


# ---- thoth unset ----------------------------------------------------------------------------------


def declare_unset(parser: ArgumentParser) -> None:
    parser.usage = "thoth unset [-n] [--json] DUMP|SPEC... PROPERTY"
    parser.description = (
        "Remove a user property of dumps, whatever its value; a dotted name removes it from inside an object.\n"
        "PROPERTY=undefined then finds the dump."
    )
    parser.epilog = f"""\
{_NOTES}
examples:
  thoth unset 086d664357716ae7 triage
  thoth unset properties.triage.engineer=bmc triage.engineer
  thoth ls properties.triage=undefined

{_STATUS}"""
    _declare(parser, "dumps, or the constraints of a specification; the property comes last")
    parser.set_defaults(run=unset)


def unset(arguments: Namespace, console: Console) -> int:
    """Remove a property."""
    from thoth.edit import UnsetProperty, settable
    from thoth.query import shown

    *dumps, name = arguments.words
    if not dumps:
        raise UsageError("unset: name a dump or a specification, then a property; see 'thoth unset --help'")
    edits = [UnsetProperty(settable(name))]
    talk = _Talk(f"unset {shown(name)} on", f"would unset {shown(name)} on", "did not have it")
    return _change(arguments, console, dumps, lambda: edits, talk)


# ---- thoth ticket ---------------------------------------------------------------------------------


def declare_ticket(parser: ArgumentParser) -> None:
    parser.usage = "thoth ticket [-n] [--signature] [--json] DUMP|SPEC... TICKET"
    parser.description = (
        "Tie dumps to a ticket of a defect tracking system, in place of the one that they are tied to.\n"
        "A ticket is up to 256 printable characters without blanks and '='.\n"
        "With --signature all dumps that crashed as these did are tied to it too, but for those that have a ticket."
    )
    parser.epilog = f"""\
{_NOTES}
examples:
  thoth ticket 086d664357716ae7 OS-2359
  thoth ticket cmd=svc.startd 'stack=utmpx_postfork*' ticket=undefined OS-2359
  thoth ticket -n --signature 086d6643 OS-2359     which dumps would that be?
  thoth ticket --signature 086d6643 OS-2359
  thoth ls ticket=OS-2359

{_STATUS}"""
    _declare(parser, "dumps, or the constraints of a specification; the ticket comes last")
    parser.add_argument("--signature", action="store_true", help="also dumps of the same signature, without a ticket")
    parser.set_defaults(run=ticket)


def ticket(arguments: Namespace, console: Console) -> int:
    """Set a ticket."""
    from thoth.edit import SetTicket, ticket_text

    *dumps, given = arguments.words
    if not dumps:
        raise UsageError("ticket: name a dump or a specification, then a ticket; see 'thoth ticket --help'")
    edits = [SetTicket(ticket_text(given))]
    talk = _Talk(f"set ticket {given} on", f"would set ticket {given} on", "had it already")
    if arguments.signature:
        find = partial(_of_their_signatures, given=given, console=console)
        more = _More(find, [SetTicket(given, if_none=True)])  # somebody may be faster
        return _change(arguments, console, dumps, lambda: edits, talk, more=more)
    offer = None if arguments.dry_run else partial(_offer, given=given, console=console)
    return _change(arguments, console, dumps, lambda: edits, talk, afterwards=offer)


def _of_their_signatures(thoth: Thoth, named: list[Identity], *, given: str, console: Console) -> list[Identity]:
    """The other dumps of their signatures that have no ticket. Tells of those that have another one."""
    from thoth.crashes import signatures_of, tied_elsewhere, untied

    signatures = signatures_of(thoth, named)
    if not signatures:
        console.say("they have no signature; 'thoth signature --recompute' finds those of older dumps")
    others = tied_elsewhere(thoth, signatures, given, besides=named)
    if others:
        tickets = ", ".join(map(escaped, sorted(others)[:_FEW])) + (", ..." if len(others) > _FEW else "")
        count = sum(others.values())
        stay = "stays" if count == 1 else "stay"
        console.say(f"{_dumps(count)} of the same signature {stay} with another ticket: {tickets}")
    return [each for each in untied(thoth, signatures) if each not in frozenset(named)]


def _offer(thoth: Thoth, named: list[Identity], *, given: str, console: Console) -> None:
    """Tell how many more dumps crashed as the one that has just been tied to a ticket."""
    from thoth.crashes import signatures_of, untied

    if len(named) > 1 or console.quiet:
        return
    if others := len(untied(thoth, signatures_of(thoth, named))):
        console.say(
            f"{_dumps(others)} more crashed in the same way and {'has' if others == 1 else 'have'} no ticket:"
            f" 'thoth ticket --signature {named[0][:16]} {given}' ties {'it' if others == 1 else 'them'} too"
        )


# ---- thoth unticket -------------------------------------------------------------------------------


def declare_unticket(parser: ArgumentParser) -> None:
    parser.usage = "thoth unticket [-n] [--json] DUMP|SPEC..."
    parser.description = "Untie dumps from their ticket, whatever it is."
    parser.epilog = f"""\
{_NOTES}
examples:
  thoth unticket 086d664357716ae7
  thoth unticket ticket=OS-2359

{_STATUS}"""
    _declare(parser, "dumps, or the constraints of a specification")
    parser.set_defaults(run=unticket)


def unticket(arguments: Namespace, console: Console) -> int:
    """Remove a ticket."""
    from thoth.edit import Unticket

    talk = _Talk("removed the ticket of", "would remove the ticket of", "had none")
    return _change(arguments, console, arguments.words, lambda: [Unticket()], talk)


# ---- all of them ----------------------------------------------------------------------------------


def _declare(parser: ArgumentParser, words: str) -> None:
    parser.add_argument("words", nargs="+", type=word, metavar="WORD", help=words)
    parser.add_argument(
        "-n", "--dry-run", action="store_true", help="print the identities that would change; change nothing"
    )
    parser.add_argument("--json", action="store_true", help="JSON lines on stdout: one object for each dump")
    add_places(parser)


def _change(
    arguments: Namespace,
    console: Console,
    words: Sequence[str],
    edits: Callable[[], Sequence[Edit]],
    talk: _Talk,
    *,
    more: _More | None = None,
    afterwards: Callable[[Thoth, list[Identity]], None] | None = None,
) -> int:
    """Look the dumps up, change them, and tell. ``edits`` is asked once it is known that there are dumps.

    ``afterwards`` comes when all of them are changed.
    """
    with opened(configured(arguments), console, dry_run=arguments.dry_run) as thoth:
        identities = chosen(thoth, words, console)
        if not identities:
            tell_nothing(thoth, console)
            return 0
        others = more.find(thoth, identities) if more else []
        seen: list[Edited] = []
        wanted = [(identities, edits()), (others, more.edits if more else ())]
        try:
            for done in _each(arguments, console, thoth, wanted):
                seen.append(done)
                _show(done, arguments, console)
        finally:  # also when it is interrupted, or the store is gone: what is done is done
            _tell(seen, len(identities) + len(others), console, talk, planned=arguments.dry_run)
        failed = len(seen) < len(identities) + len(others) or any(done.error for done in seen)
        if afterwards and not failed:
            afterwards(thoth, identities)
    return 1 if failed else 0


def _each(
    arguments: Namespace,
    console: Console,
    thoth: Thoth,
    wanted: Sequence[tuple[Sequence[Identity], Sequence[Edit]]],
) -> Iterator[Edited]:
    from thoth.edit import edit_each, plan_each
    from thoth.errors import IndexFailure

    for identities, edits in wanted:
        if arguments.dry_run:
            yield from plan_each(thoth, identities, edits)
            continue
        # A bar and lines of results would write over each other.
        with_bar = len(identities) > 1 and not arguments.json
        for done in edit_each(thoth, console.counting("changing", identities) if with_bar else identities, edits):
            yield done
            if isinstance(done.error, IndexFailure):
                return


def _show(done: Edited, arguments: Namespace, console: Console) -> None:
    if arguments.json:
        reason = str(done.error) if done.error else None
        console.result(json_text({"id": done.identity, "changed": done.changed, "reason": reason}))
    elif arguments.dry_run and done.changed:
        console.result(done.identity)


def _tell(seen: Sequence[Edited], wanted: int, console: Console, talk: _Talk, *, planned: bool) -> None:
    """Each failure, and then in one line what became of the others."""
    for done in seen:
        if done.error:
            named = done.identity in str(done.error)
            console.failure(done.error, about=None if named else done.identity)
    told = [f"{talk.planned if planned else talk.done} {_dumps(sum(done.changed for done in seen))}"]
    if same := sum(not done.changed and not done.error for done in seen):
        told.append(f"{same} {talk.same}")
    if failed := sum(not done.changed and done.error is not None for done in seen):
        told.append(f"{failed} failed")
    if left := wanted - len(seen):
        told.append(f"{left} {'was' if left == 1 else 'were'} not reached")
    console.say("; ".join(told))


def _dumps(count: int) -> str:
    return f"{count} dump{'' if count == 1 else 's'}"
