"""``thoth init`` and ``object``.

What only one of them needs is imported by it: ``thoth object`` runs once for every dump on every node.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from thoth.cli.files import FILE, FILE_LINES, check_stdin, for_each_file, opened_dump
from thoth.cli.options import add_places, configured, word
from thoth.render import json_text

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from collections.abc import Callable
    from pathlib import Path

    from thoth.cli.console import Console

# ---- thoth init -----------------------------------------------------------------------------------


def declare_init(parser: ArgumentParser) -> None:
    parser.description = "Make what the store and the index need. Safe to repeat; what is there stays as it is."
    parser.epilog = """\
examples:
  thoth init
  THOTH_STORE=file:///dumps THOTH_DB=sqlite:///dumps/index.db thoth init

exit status: 0 all is there; 1 something could not be made
"""
    add_places(parser)
    parser.set_defaults(run=init)


def init(arguments: Namespace, console: Console) -> int:
    """Make store and index ready and say what they are."""
    from thoth.analysis.analyzers import add_bundled
    from thoth.library import make_store, open_thoth

    config = configured(arguments)
    console.say(f"using store at {config.described('store')}")
    made = make_store(config)
    with open_thoth(config, ask=console.asks()) as thoth:
        console.say(f"using database at {thoth.database}")
        for line in (*made, *thoth.begin()):
            console.say(line)
        for name in add_bundled(thoth):
            console.say(f"added analyzer '{name}'")
    return 0


# ---- thoth object ---------------------------------------------------------------------------------


def declare_object(parser: ArgumentParser) -> None:
    parser.description = (
        "Print the identity of each local dump, one a line, in the order of the files.\n"
        "Reads headers and notes only, and neither store nor index."
    )
    parser.epilog = """\
examples:
  thoth object core.19972
  thoth object /cores/core.*
  thoth object -- -core.1                 a name that begins with a dash
  zstd -dc core.zst | thoth object -      spooled in the cache (THOTH_CACHE) on the way, without a name

--json: {"path", "id"}; what has no identity has no line.

exit status: 0 done; 1 at least one of them could not be read, or is no dump
"""
    parser.add_argument("files", nargs="+", type=word, metavar="FILE", help=FILE)
    parser.add_argument("--json", action="store_true", help=FILE_LINES)
    parser.set_defaults(run=object_)


def object_(arguments: Namespace, console: Console) -> int:
    """Print identities."""

    check_stdin(arguments.files, "object")

    def identified(path: str) -> bool:
        identity = _identity(path, console, lambda: _cache(arguments))
        console.result(json_text({"path": path, "id": identity}) if arguments.json else identity)
        return True

    return for_each_file(arguments.files, console, identified)


def _identity(path: str, console: Console, cache: Callable[[], Path]) -> str:
    from thoth.dumps.identity import identify

    with opened_dump(path, console, cache) as source:
        return identify(source)


def _cache(arguments: Namespace) -> Path:
    from pathlib import Path

    return Path(configured(arguments).cache)
