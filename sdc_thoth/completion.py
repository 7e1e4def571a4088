"""``sdc-thoth completion``: what a shell offers where the command is typed."""

from __future__ import annotations

from typing import Final

from sdc_thoth import options
from thoth import completion_script, offer_words

# Of the last passes, by their status: no node is asked. Names that mean something to a shell are not offered.
_NODES: Final = (
    "$(timeout 2 sdc-thoth status 2> /dev/null"
    r" | sed -n '/^nodes: /,/^[^ ]/s/^  \([A-Za-z0-9_][A-Za-z0-9_.-]*\): .*/\1/p')"
)


def script(shell: str) -> str:
    """The completion for one of options.SHELLS, of all commands in one parser."""
    top = options.pass_parser()
    commands = top.add_subparsers(metavar="COMMAND")
    for name in options.COMMANDS:
        parser = options.parser_of(name)
        commands.add_parser(name, help=parser.description, parents=[parser], add_help=False)
        for action in parser._actions:
            if action.metavar == "NODE":
                offer_words(action, "sdc_thoth_nodes", _NODES)
    for action in top._actions:
        if "--node" in action.option_strings:
            offer_words(action, "sdc_thoth_nodes", _NODES)
    return completion_script(top, shell)
