"""The ``thoth`` command: finds what is asked for, runs it, and turns what goes wrong into one line."""

from __future__ import annotations

import os
import sys
from argparse import SUPPRESS
from importlib import import_module
from typing import TYPE_CHECKING, Final, NamedTuple

from thoth.cli.console import Console
from thoth.cli.options import Parser, ShowText, TextAsked, absent, add_places
from thoth.cli.signals import Terminated, terminating
from thoth.errors import ThothError, UsageError
from thoth.render import escaped

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Mapping, Sequence

_INTERRUPTED: Final = 130  # what a shell shows for a process that SIGINT ended
_NO_READER: Final = 141  # as for SIGPIPE: not 0, since a reader that left may have wanted more


class _Command(NamedTuple):
    home: str  # the module that has it, as ``declare_NAME(parser)``; the parser's default ``run`` does it
    summary: str


_COMMANDS: Final[Mapping[str, _Command]] = {
    "init": _Command("keep", "make what the store and the index need"),
    "upload": _Command("upload", "store dumps and print their identities"),
    "info": _Command("find", "show all that is known of a dump, as JSON"),
    "ls": _Command("find", "list dumps"),
    "get": _Command("get", "bring a dump out of the store"),
    "object": _Command("keep", "print the identity of local dumps; stores nothing"),
    "report": _Command("find", "count dumps by the values of a property"),
    "top": _Command("signatures", "rank what crashes together"),
    "similar": _Command("signatures", "list dumps that crashed as one did"),
    "signature": _Command("signatures", "show a dump's signature, and why it is so; make signatures again"),
    "set": _Command("edit", "set a property of dumps"),
    "unset": _Command("edit", "remove a property of dumps"),
    "ticket": _Command("edit", "tie dumps to a ticket"),
    "unticket": _Command("edit", "untie dumps from their ticket"),
    "analyze": _Command("analyze", "run an analyzer over dumps"),
    "analyzer": _Command("analyzers", "store standard input as an analyzer"),
    "analyzers": _Command("analyzers", "list the analyzers"),
    "autoanalyzers": _Command("autoanalyzers", "rules that every dump is held against as it arrives"),
    "debug": _Command("debug", "open a debugger on a dump"),
    "index": _Command("maintain", "make the index again from the store"),
    "load": _Command("maintain", "make the index again for some dumps"),
    "scrub": _Command("scrub", "check what is stored, and repair what can be"),
    "logs": _Command("logs", "list, show and store logs"),
    "purge": _Command("purge", "throw away dumps that are old or large, and keep what is known of them"),
    "config": _Command("settings", "show the configuration and where it came from"),
    "completion": _Command("completion", "print the completion of a shell"),
}

_EPILOG: Final = """\
commands:
{commands}

examples:
  thoth upload core.19972                 store a dump; prints its identity
  thoth ls type=crash mtime=7d            crash dumps of the last week
  thoth top mtime=7d                      what crashed most of all, by the signature of its stack
  thoth info 3e166b93                     one dump, by the beginning of its identity
  thoth get 3e166b93                      the dump itself, into the current directory
  thoth COMMAND --help                    all about a command

With nothing configured, dumps are kept in a directory and an SQLite file under your data directory.
THOTH_STORE=file:///DIRECTORY and THOTH_DB=sqlite:///FILE name other places. With MANTA_URL, MANTA_USER
and MANTA_KEY_ID set, dumps are kept in Manta, with the index that its config.json names. 'thoth config' shows all.

exit status: 0 done, also when no dump matches; 1 failed, also in part; 2 no such dump; 129, 130 and 143 when
SIGHUP, SIGINT or SIGTERM ended it
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``thoth`` with these arguments (default: the process's) and return its exit code."""
    _occupy_closed_descriptors()
    console = Console()
    try:
        return _reporting(list(sys.argv[1:] if argv is None else argv), console)
    except BrokenPipeError:
        return _NO_READER
    finally:
        console.release()


def _reporting(argv: list[str], console: Console) -> int:
    """The exit code of the command, after whatever ended it has been said in one line on stderr."""
    try:
        with terminating():
            code = _run(argv, console)
            console.flush()
    except Terminated as error:
        console.complain(str(error))
        return error.exit_code
    except KeyboardInterrupt:
        console.complain("interrupted")
        return _INTERRUPTED
    except ThothError as error:
        console.failure(error)
        return error.exit_code
    except BrokenPipeError:
        raise
    except OSError as error:
        console.failure(error, about=escaped(str(error.filename)) if error.filename else None)
        return ThothError.exit_code
    return code


def _run(argv: list[str], console: Console) -> int:
    try:
        arguments = _parsed(argv)
    except TextAsked as asked:
        console.block(asked.text)
        return 0
    console.quiet, console.debug = arguments.quiet, arguments.debug
    return int(arguments.run(arguments, console))


def _parsed(argv: list[str]) -> Namespace:
    """The arguments of the command that is named; ``run`` among them does it. Raises UsageError."""
    top = _top_parser()
    arguments = top.parse_args(argv, absent())
    if not arguments.command:
        top.error("name a command")
    name, *rest = arguments.command
    if name == "help":  # as many other commands have it
        return _parsed([*rest[:1], "--help"])
    if name not in _COMMANDS:
        raise UsageError(_unknown(name))
    home, summary = _COMMANDS[name]
    parser = Parser(f"thoth {name}", summary)
    getattr(import_module(f"thoth.cli.{home}"), f"declare_{name}")(parser)
    return parser.parse(rest, arguments)


def _top_parser() -> Parser:
    from thoth.version import __version__

    commands = "\n".join(f"  {name:<13} {command.summary}" for name, command in _COMMANDS.items())
    parser = Parser(
        "thoth",
        "Keeps core and crash dumps: stores them under their identity, describes and finds them.",
        _EPILOG.format(commands=commands),
        usage="thoth [-h] [--version] [-q] [--debug] COMMAND ...",
    )
    parser.add_argument(
        "--version", action=ShowText, show=lambda _: f"thoth {__version__}\n", help="show the version"
    )
    add_places(parser)
    parser.add_argument("command", nargs="...", help=SUPPRESS)
    return parser


def _unknown(name: str) -> str:
    from difflib import get_close_matches

    close = get_close_matches(name, _COMMANDS, n=1)
    hint = f"did you mean '{close[0]}'?" if close else "see 'thoth --help'"
    return f"there is no command '{escaped(name)}'; {hint}"


def _occupy_closed_descriptors() -> None:
    """A file that is opened must not become descriptor 0, 1 or 2: whatever is said would go into it."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(descriptor)
