"""``thoth analyzer`` and ``analyzers``: the scripts that dumps are analyzed with."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from thoth.cli.options import add_places, configured, opened, word
from thoth.render import escaped, json_text

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

    from thoth.cli.console import Console
    from thoth.library import Thoth

# ---- thoth analyzer -------------------------------------------------------------------------------


def declare_analyzer(parser: ArgumentParser) -> None:
    parser.usage = "thoth analyzer NAME < FILE | thoth analyzer --show NAME | thoth analyzer --remove NAME"
    parser.description = (
        "Store standard input as an analyzer, in place of an older one of that name.\n"
        "An analyzer is a script for bash that `thoth analyze` runs against one dump at a time."
    )
    parser.epilog = """\
what an analyzer finds in its shell:
  $THOTH_DUMP, $MANTA_INPUT_FILE    path of the dump, which it can only read
  $THOTH_INFO                       path of the dump's JSON, for json: json cmd < "$THOTH_INFO"
  $THOTH_TYPE                       core or crash
  $THOTH_NAME                       identity of the dump
  thoth_set PROPERTY [VALUE]        set a property; without VALUE to what comes on standard input
  thoth_unset PROPERTY              remove a property
  thoth_ticket [TICKET]             tie the dump to a ticket
  thoth_unticket                    untie it
  thoth_stack                       what comes on standard input is the dump's stack, a frame a line
  thoth_store FILE                  keep FILE, a vmdump's vmcore, beside the dump

examples:
  thoth analyzer fmri < fmri.sh
  thoth analyzer --show fmri > fmri.sh
  thoth debug 3e166b93 fmri         write it with a dump at hand

exit status: 0 done; 1 failed: standard input was empty or no script, or there is no such analyzer
"""
    parser.add_argument("name", type=word, metavar="NAME", help="what it is called")
    group = parser.add_mutually_exclusive_group()
    group.add_argument("--show", action="store_true", help="print the analyzer as it is stored")
    group.add_argument("--remove", action="store_true", help="delete the analyzer")
    add_places(parser)
    parser.set_defaults(run=analyzer)


def _tell_rules(thoth: Thoth, name: str, console: Console) -> None:
    """Tell of the rules that an analyzer is missing from now on."""
    from thoth.analysis.rules import RunAnalyzer
    from thoth.analysis.stored_rules import read_rules

    for rule in read_rules(thoth).late:
        if rule.action == RunAnalyzer(name):
            console.complain(f"rule '{rule.name}' runs it; 'thoth autoanalyzers remove {rule.name}' removes that too")


def analyzer(arguments: Namespace, console: Console) -> int:
    """Store, show or delete an analyzer."""
    from thoth.analysis.analyzers import remove

    with opened(configured(arguments), console) as thoth:
        if arguments.show:
            _show(thoth, arguments.name, console)
        elif arguments.remove:
            remove(thoth, arguments.name)
            console.say(f"removed analyzer '{escaped(arguments.name)}'")
            _tell_rules(thoth, arguments.name, console)
        else:
            _store(thoth, arguments.name, console)
    return 0


def _store(thoth: Thoth, name: str, console: Console) -> None:
    from thoth.analysis.analyzers import LARGEST, add, check_name

    check_name(name)  # before anybody types a script
    console.say(f"reading analyzer '{escaped(name)}' from stdin")
    if sys.stdin is not None and sys.stdin.isatty():
        console.say("type the script; Ctrl-D on a line of its own ends it")
    add(thoth, name, console.all_of_stdin(LARGEST, "an analyzer"))
    console.say(f"added analyzer '{escaped(name)}'")


def _show(thoth: Thoth, name: str, console: Console) -> None:
    """The script: byte for byte into a file or pipe, made harmless on a terminal."""
    from thoth.analysis.analyzers import fetch
    from thoth.model import text

    script, _ = fetch(thoth, name)
    if sys.stdout is not None and not sys.stdout.isatty():
        console.raw(script)
        return
    for line in text(script).removesuffix("\n").split("\n"):
        console.result(line.expandtabs())


# ---- thoth analyzers ------------------------------------------------------------------------------


def declare_analyzers(parser: ArgumentParser) -> None:
    parser.description = "List the analyzers by their absolute names in the store."
    parser.epilog = """\
examples:
  thoth analyzers
  thoth analyzers --json | jq -r .name

--json: JSON lines {"name", "object"}: the name for `thoth analyze`, and that in the store.
`thoth init` brings five: fmri, jsexception, jsstack, process-dump and ucode.

exit status: 0 done, also when there is none; 1 failed
"""
    parser.add_argument("--json", action="store_true", help="JSON lines instead")
    add_places(parser)
    parser.set_defaults(run=analyzers)


def analyzers(arguments: Namespace, console: Console) -> int:
    """List the analyzers."""
    from thoth.analysis.analyzers import listed

    with opened(configured(arguments), console) as thoth:
        for name in listed(thoth):
            console.result(
                json_text({"name": name.rpartition("/")[2], "object": name}) if arguments.json else escaped(name)
            )
    return 0
