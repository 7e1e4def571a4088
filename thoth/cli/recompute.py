"""``thoth signature --recompute``: signatures made again, with what merges and what splits."""

from __future__ import annotations

from typing import TYPE_CHECKING

from thoth.cli.maintain import counted_dumps
from thoth.cli.options import configured, opened
from thoth.cli.specification import dumps_or_query
from thoth.render import escaped, json_text

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Iterator, Mapping, Sequence

    from thoth.cli.console import Console
    from thoth.library import Thoth
    from thoth.model import DumpInfo, Json
    from thoth.resign import Survey


def recompute(arguments: Namespace, console: Console) -> int:
    """Tell what would change, and change it with ``--write``."""
    from thoth.resign import survey

    with opened(configured(arguments), console, dry_run=not arguments.write) as thoth:
        found = survey(console.counting("looking", _documents(thoth, arguments.words, console)))
        if not arguments.json:
            console.results(_survey_lines(found))
        failed = _write(thoth, found, console) if arguments.write else 0
    if arguments.json:
        console.result(json_text(_survey_json(found, failed, written=arguments.write)))
    _tell_survey(found, failed, console, written=arguments.write)
    return 1 if failed else 0


def _documents(thoth: Thoth, words: Sequence[str], console: Console) -> Iterator[DumpInfo]:
    from thoth.query import Query

    meant = dumps_or_query(thoth, words, console) if words else Query()
    if isinstance(meant, Query):
        yield from thoth.index.find(meant)
        return
    for identity in meant:
        stored = thoth.stored_info(identity)
        if stored is not None:
            yield stored[0]


def _write(thoth: Thoth, found: Survey, console: Console) -> int:
    """Change the documents; how many could not be changed or indexed, each of which is told."""
    from thoth.resign import resign

    done = failed = 0
    for each in resign(thoth, console.counting("signing", found.stale)):
        done += 1
        if each.error:
            failed += 1
            console.failure(each.error, about=each.identity)
    return failed + len(found.stale) - done


def _survey_lines(found: Survey) -> Iterator[str]:
    kinds = (("merged", found.merged(), "had"), ("split", found.split(), "get"), ("renamed", found.moved(), "get"))
    for title, groups, other in kinds:
        for signature, parts in groups.items():
            verb = "get" if other == "had" else "had"
            yield f"{title}: {counted_dumps(sum(parts.values()))} {verb} {escaped(signature)}"
            yield from (f"  {count:>8} {other} {escaped(part)}" for part, count in parts.items())


def _survey_json(found: Survey, failed: int, *, written: bool) -> Json:
    from thoth.signatures.rules import current_rules

    def groups(several: Mapping[str, Mapping[str, int]], key: str) -> list[Json]:
        return [{"signature": signature, key: dict(parts)} for signature, parts in several.items()]

    return {
        "version": 1,
        "rules": current_rules().version,
        "dumps": found.dumps,
        "signed": found.signed,
        "unsigned": found.unsigned,
        "renamed": found.renamed,
        "stale": len(found.stale),
        "merged": groups(found.merged(), "from"),
        "split": groups(found.split(), "into"),
        "moved": groups(found.moved(), "into"),
        "written": written,
        "failed": failed,
    }


def _tell_survey(found: Survey, failed: int, console: Console, *, written: bool) -> None:
    told = [
        f"{found.signed} get their first signature",
        f"{found.unsigned} lose theirs",
        f"{found.renamed} get another one",
    ]
    console.say(f"of {counted_dumps(found.dumps)} {', '.join(told)}; {len(found.stale)} documents change")
    if failed:
        console.complain(f"{counted_dumps(failed)} could not be changed; run it again")
    elif found.stale and not written:
        console.say("nothing was written: --write does it")
