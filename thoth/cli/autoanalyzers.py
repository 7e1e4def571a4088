"""``thoth autoanalyzers``: rules that every dump is held against as it arrives, and again on demand."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final, NamedTuple

from thoth.cli.options import add_places, configured, opened, word
from thoth.cli.specification import SPECIFICATION
from thoth.cli.verdicts import dryrun, run
from thoth.errors import UsageError
from thoth.render import UNSET, escaped, json_text

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from thoth.analysis.rules import Rule, RuleSet
    from thoth.analysis.stored_rules import StoredRule
    from thoth.cli.console import Console
    from thoth.library import Thoth

_TITLES: Final = ("NAME", "VERSION", "DEPENDS", "ACTION", "MATCHES")


class _Verb(NamedTuple):
    run: Callable[[Namespace, Console], int]
    options: frozenset[str]  # besides those that every command has
    words: str  # what has to be named; empty when nothing has to be


def declare_autoanalyzers(parser: ArgumentParser) -> None:
    parser.usage = """thoth autoanalyzers upload [--force] [--json] [FILE ...]
       thoth autoanalyzers ls [--json]
       thoth autoanalyzers show NAME
       thoth autoanalyzers run [--rule NAME]... [-p N] [--json] DUMP|SPEC...
       thoth autoanalyzers dryrun [--rule NAME]... [--json] DUMP|SPEC...
       thoth autoanalyzers remove [--json] NAME..."""
    parser.description = """\
Keep rules that every dump is held against as it arrives, by `thoth upload` or by the collector: a rule ties
dumps that match it to a ticket, sets a property of them, or runs a stored analyzer on them.

  upload   store rules from files or standard input: one rule, or a JSON array; all of them or none
  ls       list the rules in the order in which they run
  show     print one as JSON, as `upload` takes it
  run      hold dumps against the rules again; with --rule against those, and those that they depend on
  dryrun   tell what `run` would do; nothing is written, and no analyzer is run
  remove   remove rules; what they have set stays"""
    parser.epilog = f"""\
a rule:
  {{
      "name": "OS-2359",
      "version": 1,
      "matches": ["type=core", "cmd=svc.startd", "stack=*utmpx_postfork*"],
      "depends": ["fmri"],
      "ticket": "OS-2359"
  }}
In place of "ticket" it has "property": {{"name": "triage", "value": "bmc"}}, or "analyzer": "fmri". "depends"
and "comment" may be left out. The rule applies to a dump when all of "matches" hold, as in a specification.

Rules run after those they depend on: first those that need nothing but what is known of the dump, then those
that run an analyzer and what depends on them; else by name. Each sees the dump as those before it left it.
When a rule fails on a dump, those that depend on it are not run there. What people have set stays, and what
they have removed is not set again: a ticket or property is set when there is none, or when the present one
was set by the same rule. That holds for what an analyzer sets, too; `thoth analyze` asks nobody. To change
a rule, raise its version.

What became of a rule is recorded on the dump, under "autoanalyzed" in what `thoth info` shows:
  autoanalyzed.OS-2359=undefined          the rule has not been run, or did not apply; with this in SPEC a
                                          `run` goes on where one that was interrupted has ended
  autoanalyzed.fmri.failed=*              it failed; run it again when the cause is gone
  autoanalyzed=undefined                  no rule applied, or there were none when it came
A dump that arrives while there are rules has "rules_pending", a time, until they have been run. When the
upload or collector is killed before that, the next upload of the dump or pass over its node runs the rest:
  rules_pending=*                         of a dump that will not come again, `run` does it
  rules_begun.host=*                      an analyzer runs on it, as "rules_begun" says: others leave it
                                          until that process is gone, or an hour if it is elsewhere

{SPECIFICATION}
examples:
  thoth autoanalyzers upload OS-2359.json
  thoth autoanalyzers dryrun mtime=7d
  thoth autoanalyzers run --rule OS-2359 autoanalyzed.OS-2359=undefined
  thoth autoanalyzers run -p 8 --rule fmri autoanalyzed.fmri=undefined limit=1000
  thoth autoanalyzers run rules_pending=*
  thoth autoanalyzers show OS-2359 > OS-2359.json
  thoth autoanalyzers remove OS-2359

--json: JSON lines. run, dryrun: {{"id", "rule", "action", "result", "reason"}}; result is set, kept, matched
(its analyzer was run), failed or skipped. upload, remove: {{"rule", "version", "result"}}. ls: the rules
themselves; "fault" says why one cannot run.
exit status: 0 done; 1 something failed or was refused, or a stored rule cannot run; 2 no such dump
"""
    parser.add_argument(
        "words", nargs="*", type=word, metavar="WORD", help="upload, ls, show, run, dryrun or remove; then its words"
    )
    parser.add_argument("--rule", metavar="NAME", action="append", default=[], help="run, dryrun: only this one")
    parser.add_argument(
        "-p", "--parallel", metavar="N", help="run: so many dumps at a time (default: one for each CPU)"
    )
    parser.add_argument("--force", action="store_true", help="upload: also in place of a higher version")
    parser.add_argument("--json", action="store_true", help="JSON lines on stdout")
    add_places(parser)
    parser.set_defaults(run=autoanalyzers)


def autoanalyzers(arguments: Namespace, console: Console) -> int:
    """Do what the first word says."""
    verbs: Mapping[str, _Verb] = {
        "upload": _Verb(_upload, frozenset({"force", "json"}), ""),
        "ls": _Verb(_ls, frozenset({"json"}), ""),
        "show": _Verb(_show, frozenset({"json"}), "a rule"),
        "run": _Verb(run, frozenset({"rule", "parallel", "json"}), "a dump or a specification"),
        "dryrun": _Verb(dryrun, frozenset({"rule", "json"}), "a dump or a specification"),
        "remove": _Verb(_remove, frozenset({"json"}), "a rule"),
    }
    if not arguments.words:
        raise _misused(f"name one of {', '.join(verbs)}")
    name, *arguments.words = arguments.words
    if name not in verbs:
        raise _misused(f"there is no '{escaped(name)}'; it is one of {', '.join(verbs)}")
    verb = verbs[name]
    for option in ("rule", "force", "parallel", "json"):
        if getattr(arguments, option) and option not in verb.options:
            raise _misused(f"{name} takes no --{option}")
    if verb.words and not arguments.words:
        raise _misused(f"{name}: name {verb.words}")
    return verb.run(arguments, console)


def _misused(what: str) -> UsageError:
    return UsageError(f"autoanalyzers: {what}; see 'thoth autoanalyzers --help'")


# ---- upload and remove ----------------------------------------------------------------------------


def _upload(arguments: Namespace, console: Console) -> int:
    from thoth.analysis.stored_rules import upload_rules

    rules = _given_rules(arguments.words, console)
    with opened(configured(arguments), console) as thoth:
        done = upload_rules(thoth, rules, force=arguments.force)
    words = {"added": "added", "replaced": "replaced", "unchanged": "is there already:"}
    for rule, result in done:
        if arguments.json:
            console.result(json_text({"rule": rule.name, "version": rule.version, "result": result}))
        console.say(f"{words[result]} rule '{rule.name}', version {rule.version}")
    return 0


def _given_rules(files: Sequence[str], console: Console) -> list[Rule]:
    """The rules of these files, or of standard input. Raises UsageError and OSError."""
    from thoth.analysis.rules import parse_rules
    from thoth.analysis.stored_rules import MAX_TOTAL

    if not files:
        console.say("reading rules from stdin")
        return list(parse_rules(console.all_of_stdin(MAX_TOTAL, "an autoanalyzer"), "standard input"))
    rules = [rule for file in files for rule in parse_rules(_contents(file, MAX_TOTAL), escaped(file))]
    twice = next((name for name, count in Counter(rule.name for rule in rules).items() if count > 1), None)
    if twice is not None:
        raise UsageError(f"rule {twice}: name: is in two of the files")
    return rules


def _contents(file: str, limit: int) -> bytes:
    from pathlib import Path

    with Path(file).open("rb") as opened:
        data = opened.read(limit + 1)
    if len(data) > limit:
        raise UsageError(f"{escaped(file)}: over {limit} bytes, which is too much for rules")
    if not data.strip():
        raise UsageError(f"{escaped(file)}: is empty; there are no rules to read")
    return data


def _remove(arguments: Namespace, console: Console) -> int:
    from thoth.analysis.stored_rules import remove_rules

    with opened(configured(arguments), console) as thoth:
        for name in remove_rules(thoth, arguments.words):
            if arguments.json:
                console.result(json_text({"rule": name, "result": "removed"}))
            console.say(f"removed rule '{name}'")
    return 0


# ---- ls and show ----------------------------------------------------------------------------------


def _ls(arguments: Namespace, console: Console) -> int:
    from thoth.analysis.autoanalyze import fault_lines
    from thoth.analysis.stored_rules import in_order, stored_rules, with_analyzers

    with _for_dry_run(arguments, console) as thoth:
        stored = stored_rules(thoth)
        ordered = with_analyzers(thoth, in_order(stored))
    there = {each.name: each.rule for each in stored if each.rule}
    named = {rule.name for rule in ordered.rules}
    listed = [*ordered.rules, *(there[name] for name in ordered.faults if name in there and name not in named)]
    lines = _json_lines(listed, ordered) if arguments.json else _table(listed)
    for line in lines:
        console.result(line)
    for line in fault_lines(ordered):
        console.complain(line)
    return 1 if ordered.faults else 0


def _json_lines(rules: Iterable[Rule], ordered: RuleSet) -> Iterator[str]:
    names = set()
    for rule in rules:
        names.add(rule.name)
        why = {"fault": ordered.faults[rule.name]} if rule.name in ordered.faults else {}
        yield json_text({**rule.document, **why})
    for name, fault in ordered.faults.items():
        if name not in names:
            yield json_text({"name": name, "fault": fault})


def _table(rules: Sequence[Rule]) -> Iterator[str]:
    """A table whose columns are as wide as they have to be: there are few rules, and they are all there."""
    rows = [_TITLES, *(_cells(rule) for rule in rules)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        *before, last = row
        yield " ".join([*(cell.ljust(width) for cell, width in zip(before, widths, strict=False)), last])


def _cells(rule: Rule) -> tuple[str, ...]:
    depends = ",".join(rule.depends) or UNSET
    matches = " ".join(escaped(each) for each in rule.matches)
    return rule.name, str(rule.version), depends, escaped(rule.action_text), matches


def _show(arguments: Namespace, console: Console) -> int:
    from thoth.analysis.rules import no_such_rule

    if len(arguments.words) > 1:
        raise _misused("show: name one rule")
    (name,) = arguments.words
    found = next((each for each in _stored(arguments, console) if each.name == name), None)
    if found is None:
        raise UsageError(f"rule '{escaped(name)}': {no_such_rule()}")
    if found.rule is None:
        raise UsageError(f"rule {found.name}: cannot be read: {found.fault}; upload it again, or remove it")
    console.block(json_text(found.rule.document, indent=4) + "\n")
    return 0


def _stored(arguments: Namespace, console: Console) -> list[StoredRule]:
    from thoth.analysis.stored_rules import stored_rules

    with _for_dry_run(arguments, console) as thoth:
        return stored_rules(thoth)


def _for_dry_run(arguments: Namespace, console: Console) -> Thoth:
    from thoth.library import require_store

    config = configured(arguments)
    require_store(config, new_ok=True)
    return opened(config, console, dry_run=True)
