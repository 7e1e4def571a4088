"""Scripts that teach a shell a command's options and words. The only module that knows shtab."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from argparse import Action, ArgumentParser
    from collections.abc import Iterator

SHELLS: Final = ("bash", "zsh", "tcsh")


def completion_script(parser: ArgumentParser, shell: str) -> str:
    """The script of one of SHELLS for a command and those below it.

    Files are offered for what its metavar calls FILE or DUMP, since local files name dumps, too; directories for DIR.
    """
    from shtab import DIRECTORY, FILE, complete  # noqa: PLC0415 - only who asks for a script needs it

    for each in _parsers(parser):
        for action in each._actions:
            names = {*action.metavar.split("|")} if isinstance(action.metavar, str) else set()
            if not hasattr(action, "complete") and names & {"FILE", "DUMP", "DIR"}:
                action.complete = DIRECTORY if "DIR" in names else FILE  # type: ignore[attr-defined]  # where shtab looks for it
    return complete(parser, shell=shell) + "\n"


def offer_words(action: Action, name: str, words: str, *, files: bool = False) -> None:
    """Have words offered for an argument, and with ``files`` names of files. ``name`` is of the function for that.

    In bash the words may come from a command, ``$(command)``, which has to see to it that they are letters, digits
    and what means nothing to bash, which expands them. Other shells then offer the files alone.
    """
    function = f"_{name}_files" if files else f"_{name}"
    body = f'compgen -W "{words}" -- "$1"' + ('; compgen -f -- "$1"' if files else "")
    listed = "" if words.startswith("$") else f"({words})"
    action.complete = {  # type: ignore[attr-defined]  # where shtab looks for it
        "bash": function,
        "zsh": "_files" if files else listed,
        "tcsh": "f:*" if files else listed,
        "preamble": {"bash": f"{function}() {{ {body}; }}"},
    }


def _parsers(parser: ArgumentParser) -> Iterator[ArgumentParser]:
    yield parser
    for action in parser._actions:
        if isinstance(action.choices, dict):  # of subcommands
            for each in action.choices.values():
                yield from _parsers(each)
