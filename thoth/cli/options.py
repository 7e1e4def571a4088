"""Command lines: the options that every command has, and errors that end as ours do, not as argparse's."""

from __future__ import annotations

import re
from argparse import SUPPRESS, Action, ArgumentParser, ArgumentTypeError, Namespace, RawDescriptionHelpFormatter
from contextlib import ExitStack
from typing import TYPE_CHECKING, NoReturn

from thoth.errors import UsageError
from thoth.render import escaped
from thoth.sizes import parsed_size

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from thoth.cli.console import Console
    from thoth.config import Config
    from thoth.library import Thoth


class TextAsked(Exception):
    """The command line asks for nothing but this text: a help text or the version."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.text = text


class ShowText(Action):
    """An option that asks for a text, which ``show`` makes. argparse's own ignores a stdout that is full."""

    def __init__(
        self, option_strings: Sequence[str], dest: str, show: Callable[[ArgumentParser], str], help: str
    ) -> None:
        super().__init__(option_strings, dest=SUPPRESS, default=SUPPRESS, nargs=0, help=help)
        self._show = show

    def __call__(self, parser: ArgumentParser, *_: object) -> NoReturn:
        raise TextAsked(self._show(parser))


class _Layout(RawDescriptionHelpFormatter):
    """Texts as they are written, of a fixed width: to ask the terminal imports shutil, 5 ms at each start."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, width=100)


class Parser(ArgumentParser):
    """An ArgumentParser that raises UsageError, takes no abbreviations and leaves texts as they are."""

    def __init__(self, prog: str, description: str, epilog: str | None = None, usage: str | None = None) -> None:
        super().__init__(
            prog=prog,
            usage=usage,
            description=description,
            epilog=epilog,
            formatter_class=_Layout,
            allow_abbrev=False,
            add_help=False,
        )
        self.add_argument("-h", "--help", action=ShowText, show=ArgumentParser.format_help, help="show this text")
        add_common(self)

    def parse(self, words: Sequence[str], into: Namespace) -> Namespace:
        """Options and words in any order; behind ``--`` everything is a word. Raises UsageError."""
        # argparse knows no ``--`` where the two may mix. A NUL, which no argument of a process holds, keeps a
        # word that begins with a dash from being an option, until ``word`` takes it off.
        at = words.index("--") if "--" in words else len(words)
        try:
            return self.parse_intermixed_args([*words[:at], *(f"\0{each}" for each in words[at + 1 :])], into)
        except UsageError as error:
            unknown = [each for each in words[:at] if self._is_unknown(each)]
            if unknown:  # argparse may have told that a word is missing, which is not what is wrong
                self._refuse(f"unrecognized arguments: {' '.join(unknown)}", error)
            raise

    def _is_unknown(self, argument: str) -> bool:
        option = argument.partition("=")[0]
        # Short options may stand together, and with their value.
        names = (option,) if option.startswith("--") else (option, option[:2])
        return len(option) > 1 and option[0] == "-" and not any(name in self._option_string_actions for name in names)

    def _refuse(self, message: str, cause: Exception) -> NoReturn:
        try:
            self.error(message)
        except UsageError as error:
            raise error from cause

    def error(self, message: str) -> NoReturn:
        _, _, command = self.prog.partition(" ")
        about = f"{command}: " if command else ""
        raise UsageError(f"{about}{message}; see '{self.prog} --help'")


def word(argument: str) -> str:
    """A positional argument as it was given: the ``type`` of each of them."""
    return argument.removeprefix("\0")


def size_bytes(text: str) -> int:
    """Bytes that a size such as ``500M`` or ``10G`` writes; a unit is 1,024 of the one before. Raises UsageError."""
    size = parsed_size(text)
    if size is None:
        raise UsageError(f"'{escaped(text)}' is not a size: a whole number and K, M, G, T or P, as in 10G")
    return size


def whole_number(text: str) -> int:
    """The number that a text writes, from 1 to a million: the ``type`` of an option, which argparse names."""
    if re.fullmatch("[1-9][0-9]{0,6}", text, re.ASCII) is None or int(text) > 1_000_000:
        raise ArgumentTypeError(f"'{escaped(text)}' is not a whole number from 1 to 1,000,000")
    return int(text)


def add_common(parser: ArgumentParser) -> None:
    """What may stand before as well as behind the command's name: where it does not stand it sets nothing."""
    parser.add_argument("-q", "--quiet", action="store_true", default=SUPPRESS, help="results and errors only")
    parser.add_argument("--debug", action="store_true", default=SUPPRESS, help="show the traceback of an error")


def add_places(parser: ArgumentParser) -> None:
    """The flags of the configuration, for commands that open a store and an index."""
    group = parser.add_argument_group("where the dumps are, unless the environment or the file says so")
    group.add_argument("--store", metavar="URL", default=SUPPRESS, help="file:///DIRECTORY, or manta (THOTH_STORE)")
    group.add_argument("--db", metavar="URL", default=SUPPRESS, help="sqlite:///FILE or rethinkdb://HOST (THOTH_DB)")
    group.add_argument("--user", metavar="NAME", default=SUPPRESS, help="whose dumps (THOTH_USER, MANTA_USER)")
    group.add_argument("--config", metavar="FILE", default=SUPPRESS, help="a TOML file (THOTH_CONFIG)")


def absent() -> Namespace:
    """The values of all the options above when none is given."""
    return Namespace(quiet=False, debug=False, store=None, db=None, user=None, config=None)


def configured(arguments: Namespace) -> Config:
    """The configuration that flags, environment and file amount to. Raises UsageError."""
    from thoth.config import environment, load_config

    return load_config(
        environment(), file=arguments.config, store=arguments.store, db=arguments.db, user=arguments.user
    )


def opened(config: Config, console: Console, *, dry_run: bool = False) -> Thoth:
    """The Thoth that a configuration names. Says which database it uses when that is not a file of the user's own.

    Raises what ``thoth.library.open_thoth`` does, and StoreUnavailable when the index speaks of another store.
    """
    return _opened(config, console, lambda thoth: thoth.check_tie(), dry_run=dry_run)


def opened_to_look(config: Config, console: Console) -> Thoth:
    """As ``opened``, for what asks the index alone, and can while the store is away."""
    return _opened(config, console, lambda thoth: thoth.check_to_look())


def opened_anew(config: Config, console: Console) -> Thoth:
    """As ``opened``, for what has the index speak of the store, whatever it spoke of before."""
    return _opened(config, console, lambda thoth: None)


def _opened(config: Config, console: Console, check: Callable[[Thoth], None], *, dry_run: bool = False) -> Thoth:
    from thoth.library import open_thoth

    with ExitStack() as undo:
        thoth = undo.enter_context(open_thoth(config, dry_run=dry_run, ask=console.asks(), say=console.say))
        check(thoth)
        undo.pop_all()
    if not thoth.database.startswith("sqlite:"):
        console.say(f"using database at {thoth.database}")
    return thoth
