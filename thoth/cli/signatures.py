"""``thoth top``, ``similar`` and ``signature``: what crashes together, and why."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from thoth.cli.maintain import counted_dumps
from thoth.cli.options import add_places, configured, opened, opened_to_look, whole_number, word
from thoth.cli.specification import SPECIFICATION, Word, asked, local_identity, tell_nothing, tell_unknown, the_one
from thoth.errors import UsageError
from thoth.render import UNSET, cell, columns, escaped, json_text, node_or_cmd, time_text

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from collections.abc import Iterator, Mapping

    from thoth.cli.console import Console
    from thoth.crashes import Similar
    from thoth.index.base import Ranking, Together
    from thoth.model import DumpInfo, Json
    from thoth.signatures.signature import Explained

_USUAL: Final = 20  # rows
_BAR: Final = 10  # characters
_RECOMPUTE: Final = "'thoth signature --recompute' finds those of older dumps"


# ---- thoth top ------------------------------------------------------------------------------------


def declare_top(parser: ArgumentParser) -> None:
    parser.description = (
        "List the signatures that most dumps have: of all dumps, or of those of a specification.\n"
        "A signature is made of the innermost frames of a stack that say something, so dumps of the same\n"
        "crash have the same one. VERSIONS are platforms, which cores of Linux do not tell. Of several tickets the\n"
        "one of most dumps is shown."
    )
    parser.epilog = f"""\
{SPECIFICATION}
examples:
  thoth top                               what crashes most
  thoth top mtime=7d                      and this week
  thoth top ticket=undefined type=core    of what nobody has a ticket for
  thoth top --limit 3 cmd=svc.startd
  thoth top --json mtime=30d | jq -r '.top[] | select(.last - .first < 86400) | .signature'

Nothing is computed here: dumps whose documents have no signature are told at the end, by their number.

--json: {{"version", "dumps", "unsigned", "signatures", "top"}}; each of top has "signature", "dumps",
"first", "last" (seconds since 1970), and "nodes", "versions", "tickets", each with the number of dumps.

exit status: 0 done, also when no dump matches; 1 failed
"""
    parser.add_argument("words", nargs="*", type=word, metavar="SPEC", help="constraint, or dump")
    _add_limit(parser, "signatures")
    parser.add_argument("--json", action="store_true", help="one JSON object")
    add_places(parser)
    parser.set_defaults(run=top)


def top(arguments: Namespace, console: Console) -> int:
    """Rank signatures."""
    query, others = asked(arguments.words, console)
    if others:
        raise UsageError(f"top: {escaped(others[0])}: not a constraint; PROPERTY=VALUE is one")
    with opened_to_look(configured(arguments), console) as thoth:
        tell_unknown(thoth, query, console)
        ranking = thoth.index.rank(query, arguments.limit)
        if arguments.json:
            console.result(json_text(_ranking_json(ranking)))
        elif ranking.groups:
            console.results(_top_lines(ranking))
        if ranking.dumps or ranking.unsigned:
            _tell_the_rest(ranking, console)
        else:
            tell_nothing(thoth, console)
    return 0


def _top_lines(ranking: Ranking) -> Iterator[str]:
    most = ranking.groups[0].dumps
    rows = [(each, "#" * max(1, round(_BAR * each.dumps / most))) for each in ranking.groups]
    titles = ("DUMPS", "", "FIRST", "LAST", "NODES", "VERSIONS", "TICKET", "SIGNATURE")
    yield from columns(titles, [_top_row(each, bar) for each, bar in rows], right=(0, 4, 5))


def _top_row(group: Together, bar: str) -> tuple[str, ...]:
    return (
        str(group.dumps),
        bar,
        time_text(group.first),
        time_text(group.last),
        _number(group.nodes),
        _number(group.platforms),
        _ticket(group.tickets),
        escaped(group.signature),
    )


def _number(places: Mapping[str, int]) -> str:
    """How many there are; none is that no dump tells: each was somewhere."""
    return str(len(places)) if places else UNSET


def _ticket(tickets: Mapping[str, int]) -> str:
    if not tickets:
        return UNSET
    first = max(tickets, key=lambda each: (tickets[each], each))
    return cell(first) + (f" +{len(tickets) - 1}" if len(tickets) > 1 else "")


def _ranking_json(ranking: Ranking) -> Json:
    return {
        "version": 1,
        "dumps": ranking.dumps + ranking.unsigned,
        "unsigned": ranking.unsigned,
        "signatures": ranking.signatures,
        "top": [
            {
                "signature": each.signature,
                "dumps": each.dumps,
                "first": each.first,
                "last": each.last,
                "nodes": dict(each.nodes),
                "versions": dict(each.platforms),
                "tickets": dict(each.tickets),
            }
            for each in ranking.groups
        ],
    }


def _tell_the_rest(ranking: Ranking, console: Console) -> None:
    if left := ranking.signatures - len(ranking.groups):
        console.say(f"{left} signature{'' if left == 1 else 's'} more; --limit shows them")
    if ranking.unsigned:
        whole = ranking.dumps + ranking.unsigned
        have = "has" if ranking.unsigned == 1 else "have"
        console.say(f"{ranking.unsigned} of {counted_dumps(whole)} {have} no signature; {_RECOMPUTE}")


# ---- thoth similar --------------------------------------------------------------------------------


def declare_similar(parser: ArgumentParser) -> None:
    parser.description = (
        "List the dumps that crashed as this one did: those of its signature, the newest first, then the newest\n"
        "dump of each signature that has frames in common with it, the nearest first."
    )
    parser.epilog = """\
SCORE is 100 for the same signature. Else it is the part of the two signatures that they have in common, in
percent, where the innermost frame weighs 1, the next one 1/2, then 1/3, and so on; WHY names these frames.
The frames of a signature are what 'thoth signature --explain' shows as kept or joined.

examples:
  thoth similar 3e166b93
  thoth similar --limit 5 ./core.19972    a local dump, which has to be stored
  thoth similar --json 3e166b93 | jq -r 'select(.ticket) | .ticket'

--json: JSON lines {"score", "common", "dumps", "signature", "id", "time", "node", "cmd", "ticket"};
dumps is how many there are of the signature.

exit status: 0 done, also when there are none; 2 no such dump; 1 it has no signature, or anything else
"""
    parser.add_argument("dump", type=word, metavar="DUMP", help="identity, its beginning, or local dump")
    _add_limit(parser, "dumps of the same signature, and near signatures")
    parser.add_argument("--json", action="store_true", help="JSON lines instead of a table")
    add_places(parser)
    parser.set_defaults(run=similar)


def similar(arguments: Namespace, console: Console) -> int:
    """List dumps like one."""
    from thoth.crashes import similar as similar_to

    with opened(configured(arguments), console) as thoth:
        info = the_one(thoth, Word(arguments.dump, local_identity(arguments.dump)))
        found = list(similar_to(thoth, info, arguments.limit))
    if arguments.json:
        console.results(json_text(_similar_json(each)) for each in found)
    elif found:
        titles = ("SCORE", "NAME", "TIME", "NODE/CMD", "TICKET", "WHY")
        console.results(columns(titles, [_similar_row(each) for each in found], right=(0,)))
    else:
        console.say("no other dump is like it")
    return 0


def _similar_row(each: Similar) -> tuple[str, ...]:
    document = each.info.document
    place = node_or_cmd(*map(document.get, ("type", "node", "cmd")))
    return (
        str(each.nearness.score),
        each.info.id[:16],
        time_text(each.info.time),
        cell(place),
        cell(document.get("ticket")),
        _why(each),
    )


def _why(each: Similar) -> str:
    if each.nearness.score == 100:
        return "the same signature"
    shared = ", ".join(map(escaped, each.nearness.common))
    return f"{shared}; {counted_dumps(each.dumps)} of {escaped(each.signature)}"


def _similar_json(each: Similar) -> Json:
    document = each.info.document
    told = {key: document.get(key) for key in ("node", "cmd", "ticket")}
    return {
        "score": each.nearness.score,
        "common": list(each.nearness.common),
        "dumps": each.dumps,
        "signature": each.signature,
        "id": each.info.id,
        "time": each.info.time,
        **told,
    }


# ---- thoth signature ------------------------------------------------------------------------------


def declare_signature(parser: ArgumentParser) -> None:
    parser.usage = (
        "thoth signature [--explain] [--json] DUMP\n       thoth signature --recompute [--write] [--json] [SPEC...]"
    )
    parser.description = (
        "Show the signature of a dump, and how it came about; or make signatures again when the rules have\n"
        "changed. They are made from the stacks in the documents; no dump is read.\n"
        "--recompute shows what would change: signatures that merge and that split. --write does it."
    )
    parser.epilog = f"""\
{SPECIFICATION}
examples:
  thoth signature 3e166b93
  thoth signature --explain 3e166b93      each frame: kept, joined or skipped, and by which rule
  thoth ls 'signature=*utmpx_postfork*' signature
  thoth signature --recompute             of all dumps: what would change? Writes nothing
  thoth signature --recompute --write
  thoth signature --recompute --write signature=undefined        only those that have none yet

A stack of which nothing has a name makes no signature: none is guessed. The panic string of a crash dump
is a part of it; without a stack it is one by itself, unless it is of any cause, such as BAD TRAP.

--json: {{"version", "id", "signature", "recorded", "rules", "program", "panic", "frames"}}; with --recompute
{{"version", "rules", "dumps", "signed", "unsigned", "renamed", "stale", "merged", "split", "moved",
"written", "failed"}}.

exit status: 0 done, also when it has none; 2 no such dump; 1 a dump could not be changed, or anything else
"""
    parser.add_argument("words", nargs="*", type=word, metavar="DUMP|SPEC", help="a dump, or constraints")
    parser.add_argument("--explain", action="store_true", help="what became of each frame, and why")
    parser.add_argument("--recompute", action="store_true", help="make signatures again by the rules of this thoth")
    parser.add_argument("--write", action="store_true", help="with --recompute: change the documents")
    parser.add_argument("--json", action="store_true", help="one JSON object")
    add_places(parser)
    parser.set_defaults(run=signature)


def signature(arguments: Namespace, console: Console) -> int:
    """Show a signature, or make them again."""
    from thoth.cli.recompute import recompute

    if arguments.recompute:
        if arguments.explain:
            raise UsageError("signature: --explain is about one dump, --recompute about many")
        return recompute(arguments, console)
    if arguments.write:
        raise UsageError("signature: --write goes with --recompute")
    if len(arguments.words) != 1:
        raise UsageError("signature: name one dump; 'thoth ls SPEC signature' shows those of several")
    (given,) = arguments.words
    with opened(configured(arguments), console) as thoth:
        info = the_one(thoth, Word(given, local_identity(given)))
    return _show(arguments, console, info)


def _show(arguments: Namespace, console: Console, info: DumpInfo) -> int:
    from thoth.signatures.signature import SIGNATURE, explain

    explained, recorded = explain(info.document), info.document.get(SIGNATURE)
    if arguments.json:
        console.result(json_text(_explained_json(info, explained)))
        return 0
    if arguments.explain:
        console.results(_explained_lines(explained))
    console.result(escaped(explained.signature) if explained.signature else UNSET)
    if explained.signature is None:
        console.say("nothing tells of its stack")
    elif recorded != explained.signature:
        console.say(
            f"its document has {cell(recorded)}; 'thoth signature --recompute --write {info.id}' changes that"
        )
    return 0


def _explained_lines(explained: Explained) -> Iterator[str]:
    rows = [(cell(each.spot.line), cell(each.name), each.verdict, each.why) for each in explained.frames]
    if explained.panic:
        rows.insert(0, ("panic string", escaped(explained.panic), "kept", "it is what the kernel said"))
    if rows:
        yield from columns(("FRAME", "NAME", "VERDICT", "WHY"), rows)


def _explained_json(info: DumpInfo, explained: Explained) -> Json:
    from thoth.signatures.rules import current_rules
    from thoth.signatures.signature import SIGNATURE

    return {
        "version": 1,
        "id": info.id,
        "signature": explained.signature,
        "recorded": info.document.get(SIGNATURE),
        "rules": current_rules().version,
        "program": explained.program,
        "panic": explained.panic,
        "frames": [
            {"frame": each.spot.line, "name": each.name, "verdict": each.verdict, "why": each.why}
            for each in explained.frames
        ],
    }


# ---- all of them ----------------------------------------------------------------------------------


def _add_limit(parser: ArgumentParser, what: str) -> None:
    parser.add_argument(
        "--limit", type=whole_number, default=_USUAL, metavar="N", help=f"so many {what} at most (default: {_USUAL})"
    )
