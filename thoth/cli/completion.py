"""``thoth completion``: what a shell offers where a command is typed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from thoth.cli.options import add_common, add_places, word
from thoth.completions import SHELLS, completion_script, offer_words

if TYPE_CHECKING:
    from argparse import Action, ArgumentParser, Namespace

    from thoth.cli.console import Console

# What a dump tells, and what a specification asks for beside that.
PROPERTIES: Final = (
    "arch cmd complete dump exec fault_address id limit lwp lwps md5 mtime name node os otime panicstring pid"
    " platform ppid properties psargs purged release revision rules_pending sha256 signal signature signature_rules"
    " size sources stack stack_by threads ticket time truncated type uid uploaded uuid version zone zoneid"
)
_VERBS: Final = "upload ls show run dryrun remove"  # of autoanalyzers
# Of a store that is slow none is offered; of names that others gave, those that mean nothing to a shell.
_ANALYZERS: Final = (
    "$(timeout 2 thoth -q analyzers 2> /dev/null | sed 's|.*/||' | grep '^[A-Za-z0-9_][A-Za-z0-9_.-]*$')"
)


def declare_completion(parser: ArgumentParser) -> None:
    parser.description = (
        "Print a script that teaches a shell to complete the commands, options and files of thoth,\n"
        "in bash also the names of properties and analyzers."
    )
    parser.epilog = """\
examples:
  eval "$(thoth completion bash)"                                         in ~/.bashrc
  thoth completion bash > /etc/bash_completion.d/thoth                    for all users
  thoth completion zsh > "${fpath[1]}/_thoth"                             then start a new shell
  thoth completion tcsh > ~/.thoth.complete; source ~/.thoth.complete     in ~/.tcshrc

exit status: 0 done; 1 not a shell that it knows
"""
    parser.add_argument("shell", type=word, choices=SHELLS, metavar="SHELL", help="bash, zsh or tcsh")
    parser.set_defaults(run=completion)


def completion(arguments: Namespace, console: Console) -> int:
    """Print the completion of a shell."""
    console.block(completion_script(_whole_command(), arguments.shell))
    return 0


def _whole_command() -> ArgumentParser:
    """All commands in one parser; the command itself imports and declares only the one that it runs."""
    from argparse import ArgumentParser
    from importlib import import_module

    from thoth.cli import _COMMANDS

    top = ArgumentParser("thoth")
    top.add_argument("--version", action="store_true", help="show the version")
    commands = top.add_subparsers(metavar="COMMAND")
    parsers = {name: commands.add_parser(name, help=command.summary) for name, command in _COMMANDS.items()}
    for name, command in _COMMANDS.items():
        getattr(import_module(f"thoth.cli.{command.home}"), f"declare_{name}")(parsers[name])
        add_common(parsers[name])
        for action in parsers[name]._actions:
            _offer(name, action)
    add_common(top)
    add_places(top)
    return top


def _offer(command: str, action: Action) -> None:
    """Words for what is no option."""
    if action.option_strings or not isinstance(action.metavar, str):
        return
    if command == "autoanalyzers":
        offer_words(action, "thoth_rules", _VERBS, files=True)
    elif command in ("analyze", "analyzer") or action.metavar == "ANALYZER":
        offer_words(action, "thoth_analyzers", _ANALYZERS, files=command == "analyze")
    elif {"SPEC", "WORD"} & {*action.metavar.split("|")}:
        offer_words(action, "thoth_properties", PROPERTIES, files=True)
