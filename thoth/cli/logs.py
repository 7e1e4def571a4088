"""``thoth logs``: what collectors and their scripts wrote about their work."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from thoth.cli.options import add_places, configured, opened, word
from thoth.errors import UsageError
from thoth.render import escaped, json_text, size_text, time_text

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

    from thoth.cli.console import Console
    from thoth.library import Thoth
    from thoth.logs import Log

_LATELY: Final = 3600  # seconds; as far as the original looks back
_HEADER: Final = f"{'TIME':<19} {'SIZE':>9} NAME"


def declare_logs(parser: ArgumentParser) -> None:
    parser.usage = "thoth logs [AGE | --all | NAME | --put NAME] [--json] ..."
    parser.description = (
        "List the logs in the store, newest last: those of the past hour, of an AGE, or all.\n"
        "With a NAME, print that log; with --put, store standard input as a log of that name."
    )
    parser.epilog = """\
examples:
  thoth logs                              the past hour
  thoth logs 7d                           the past week; units as in `thoth ls mtime=7d`
  thoth logs 2026/03/01/09/headnode.log   print one; on a terminal control characters are shown as \\x1b
  sdc-thoth --inventory fleet.toml 2>&1 | thoth logs --put "$(date -u +%Y/%m/%d/%H)/$(hostname).log"

--put makes the directories in the name. It refuses an empty input, and a name that a log has already.
Times are those of the store's clock, in UTC.
--json: JSON lines: {"name", "size", "time"}, time in seconds since 1970.
exit status: 0 done; 1 failed, or there is no such log
"""
    parser.add_argument(
        "what", nargs="?", type=word, metavar="AGE|NAME", help="how far back (default: 1h), or which log"
    )
    parser.add_argument("--all", action="store_true", help="list all logs")
    parser.add_argument("--put", metavar="NAME", help="store standard input under this name")
    parser.add_argument("--json", action="store_true", help="list as JSON lines")
    add_places(parser)
    parser.set_defaults(run=logs)


def logs(arguments: Namespace, console: Console) -> int:
    """List, print or store logs."""
    import time

    from thoth.library import require_store
    from thoth.logs import logs_since, read_log

    if sum(each is not None for each in (arguments.what, arguments.put, arguments.all or None)) > 1:
        raise UsageError("logs: an AGE, a NAME, --all and --put exclude each other; give one of them")
    age = _age(arguments.what)
    name = arguments.what if age is None else None
    if arguments.json and (name, arguments.put) != (None, None):
        raise UsageError("logs: --json is for lists of logs; leave it out to print or store one")
    config = configured(arguments)
    if arguments.put is not None:
        require_store(config, new_ok=True)
    with opened(config, console) as thoth:
        if arguments.put is not None:
            _put(thoth, arguments.put, console)
        elif name is not None:
            console.copy(read_log(thoth, name))
        else:
            found = logs_since(thoth) if arguments.all else logs_since(thoth, time.time() - (age or 0))
            _show(found, console, as_json=arguments.json)
    return 0


def _age(what: str | None) -> int | None:
    """The seconds that a word writes; None for one that is the name of a log."""
    from thoth.query import age_seconds

    try:
        return _LATELY if what is None else age_seconds(what)
    except UsageError:
        return None


def _put(thoth: Thoth, name: str, console: Console) -> None:
    from thoth.logs import store_log

    if _age(name) is not None:
        raise UsageError(f"logs: '{escaped(name)}' is an age, by which no log could be printed; choose another name")
    size = store_log(thoth, name, console.blocks_in())
    console.say(f"stored log {escaped(name)}, {size_text(size)}")


def _show(found: list[Log], console: Console, *, as_json: bool) -> None:
    if not as_json:
        console.result(_HEADER)
    for log in found:
        if as_json:
            console.result(json_text({"name": log.name, "size": log.size, "time": log.mtime}))
        else:
            console.result(f"{time_text(log.mtime):<19} {size_text(log.size):>9} {escaped(log.name)}")
