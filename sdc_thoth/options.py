"""The options of the ``sdc-thoth`` command."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Mapping
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from sdc_thoth.config import CNAPI
from sdc_thoth.expand import lacking
from sdc_thoth.limits import COMPRESS, SIZE
from sdc_thoth.plan import Plan
from thoth import UsageError, __version__, escaped, parsed_size

if TYPE_CHECKING:
    from sdc_thoth.passes import Orders

_DIRECTORY = "where lock, journal, status and known_hosts lie"
LOGS = ("auto", "json", "text")
SHELLS = ("bash", "zsh", "tcsh")

_EPILOG = """\
examples:
  sdc-thoth hostkeys --inventory fleet.toml         pin the nodes' host keys, after a look at them
  sdc-thoth -n --inventory fleet.toml               what would be collected; writes nothing, anywhere
  sdc-thoth --inventory fleet.toml                  collect it
  sdc-thoth --inventory fleet.toml -N cn0,cn1       from two nodes; -x -N cn0: from all but one
  sdc-thoth --inventory fleet.toml -t crash,nginx   kernel dumps, and the cores of nginx
  sdc-thoth -n --json --inventory fleet.toml        the plan, for scripts
  sdc-thoth --inventory cnapi --daemon              stay, and collect from Triton's compute nodes by schedule
  sdc-thoth status                                  what was reached, is waited for, and fails

exit status: 0 every outcome was a good one; 1 otherwise; 75 another run holds the lock; 129, 130, 143 on SIGHUP,
SIGINT, SIGTERM; 141 nobody reads stdout: the pass is made all the same. A daemon that is told to stop ends with 0;
one that cannot start, under SMF or systemd, with 95, 96.
Where dumps are kept is what `thoth` is told: THOTH_STORE, THOTH_DB, THOTH_USER.
"""


_USAGE = """sdc-thoth [OPTION ...]                       a pass, or with --daemon many
       sdc-thoth status [OPTION ...]                what the last passes have reached, and what fails
       sdc-thoth hostkeys [OPTION ...] [NODE ...]   pin the nodes' host keys
       sdc-thoth completion SHELL                   print a script for bash, zsh or tcsh that completes all that"""
COMMANDS = ("status", "hostkeys", "completion")


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message}; see {self.prog} --help")


class _PassParser(_Parser):
    def parse_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Raises UsageError, which for a word knows the command that is meant."""
        parsed, unknown = self.parse_known_args(args, namespace)
        if unknown and not unknown[0].startswith("-"):
            raise UsageError(_no_such_command(unknown[0]))
        if unknown:
            self.error(f"unrecognized arguments: {' '.join(unknown)}")
        return parsed


def _no_such_command(word: str) -> str:
    if word in COMMANDS:
        return f"'{word}' has to come first: sdc-thoth {word} [OPTION ...]"
    close = get_close_matches(word, COMMANDS, n=1)
    hint = f"did you mean '{close[0]}'?" if close else "see sdc-thoth --help"
    return f"there is no command '{escaped(word)}'; {hint}"


def pass_parser() -> argparse.ArgumentParser:
    parser = _PassParser(
        prog="sdc-thoth",
        usage=_USAGE,
        description="Collects those core and crash dumps of a fleet that Thoth does not have yet, over SSH.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("-n", "--dry-run", action="store_true", help="say what would be done; write nothing, on either side")
    add("-N", "--node", type=_listed, metavar="A,B", help="these nodes only, by name or UUID")
    add("-x", "--exclude", action="store_true", help="all nodes but those of -N")
    add(
        "-t",
        "--type",
        type=_listed,
        default=["all"],
        metavar="TYPE",
        help="all, core, global, gcore, crash, or a name that is part of the cores' file names, as in core.NAME.PID;"
        " several with commas (all)",
    )
    _add_limits(parser)
    add(
        "-T",
        "--timeout",
        type=_seconds,
        default=10.0,
        metavar="SECONDS",
        help="to connect, and for each step of logging in (10)",
    )
    add(
        "-e",
        "--exectimeout",
        type=_seconds,
        default=600.0,
        metavar="SECONDS",
        help="without a byte from a node (600)",
    )
    add("-D", "--deadman", type=_seconds, default=360.0, metavar="MINUTES", help="for the whole pass (360)")
    add(
        "-l",
        "--lockfile",
        default="lock",
        metavar="NAME",
        help="of the lock, in the collector's directory (lock)",
    )
    add("-v", "--verbose", action="store_true", help="list the dumps that are already there too")
    add("--json", action="store_true", help="one JSON document on stdout: dumps, nodes, bytes")
    add("--daemon", action="store_true", help="stay, and run passes by [schedule]; its log goes to stderr")
    add("--detach", action="store_true", help="with --daemon: return once it runs, or with why it cannot")
    add(
        "--log",
        choices=LOGS,
        help="the daemon's log: json, text, or auto: json under SMF and systemd, else text",
    )
    _add_common(parser)
    return parser


def _add_limits(parser: argparse.ArgumentParser) -> None:
    """Each stands in for the key of [limits] that ``limits`` gives it."""
    add = parser.add_argument
    add("-p", "--parallelism", type=_count, metavar="N", help="nodes at a time (4)")
    add("--dumps", type=_count, metavar="N", help="dumps on their way at a time, from all nodes")
    add("--rate", type=_size, metavar="BYTES", help="a second, from all nodes together: 20M")
    add("--node-rate", type=_size, metavar="BYTES", help="a second, from each node")
    add("--max-size", type=_size, metavar="BYTES", help="larger dumps stay where they are")
    add("--min-free", type=_size, metavar="BYTES", help="that have to stay free on the store's disk")
    add("--compress", choices=COMPRESS, help="dumps on their way; auto: where that is faster (auto)")


def limits(arguments: argparse.Namespace) -> Mapping[str, Any]:
    """What the command line says of limits, by the keys of [limits]; None: nothing. Raises UsageError."""
    if arguments.compress is not None and (lack := lacking(arguments.compress)):
        raise UsageError(f"--compress: {arguments.compress} {lack}")
    keys = ("dumps", "rate", "node_rate", "max_size", "min_free", "compress")
    return {"nodes": arguments.parallelism, **{key: getattr(arguments, key) for key in keys}}


def hostkeys_parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="sdc-thoth hostkeys",
        description="Fetches the nodes' host keys, shows their fingerprints, and pins those that you agree to.",
        epilog="On the node's console, `ssh-keygen -lf /var/ssh/ssh_host_ed25519_key.pub` shows the true one.",
    )
    parser.add_argument("nodes", nargs="*", metavar="NODE", help="by name or UUID; all nodes when none is named")
    parser.add_argument("--yes", action="store_true", help="pin new keys without asking; a changed key always asks")
    parser.add_argument("-T", "--timeout", type=_seconds, default=10.0, metavar="SECONDS", help="to connect (10)")
    _add_common(parser)
    return parser


def status_parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="sdc-thoth status",
        description="What the collector has reached, is waiting for and fails at, by its last passes.",
        epilog="exit status: 0 all is well; 1 a node or dump fails, a pass failed or is late, or nothing is known.",
    )
    parser.add_argument("--json", action="store_true", help="the whole status, as JSON")
    parser.add_argument(
        "--late",
        type=_seconds,
        default=25.0,
        metavar="HOURS",
        help="how long after the last pass the next one is late, where no daemon runs (25)",
    )
    parser.add_argument("-d", "--dir", type=Path, metavar="DIR", help=_DIRECTORY)
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return parser


def completion_parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="sdc-thoth completion",
        description="Prints a script that teaches a shell the commands, options, files and, in bash, nodes.",
        epilog='In ~/.bashrc: eval "$(sdc-thoth completion bash)"',
    )
    parser.add_argument("shell", choices=SHELLS, metavar="SHELL", help="bash, zsh or tcsh")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return parser


def parser_of(command: str) -> argparse.ArgumentParser:
    """The parser of one of COMMANDS."""
    return {"status": status_parser, "hostkeys": hostkeys_parser, "completion": completion_parser}[command]()


def check_single(arguments: argparse.Namespace) -> None:
    """Raises UsageError for what a single pass cannot be told."""
    for name, given in (("--detach", arguments.detach), ("--log", arguments.log)):
        if given:
            raise UsageError(f"{name}: is for --daemon, not for a single pass")


def daemon_plan(arguments: argparse.Namespace, orders: Orders) -> Plan:
    """What the daemon is told. Raises UsageError for what it cannot be."""
    for name, given in (("--dry-run", arguments.dry_run), ("--json", arguments.json), ("-v", arguments.verbose)):
        if given:
            raise UsageError(f"{name}: is for a single pass, not for --daemon")
    return Plan(
        orders=replace(orders, patient=True),
        # It may leave the directory that it was started in.
        config=arguments.config and arguments.config.absolute(),
        inventory=_inventory(arguments.inventory),
        cnapi=arguments.cnapi,
        directory=arguments.dir and arguments.dir.absolute(),
        lockfile=arguments.lockfile,
        limits=limits(arguments),
        hostkeys=hostkeys_command(arguments),
        log=arguments.log or "auto",
        debug=arguments.debug,
        detach=arguments.detach,
    )


def _inventory(word: str | None) -> str | None:
    return word if word in (None, CNAPI) else str(Path(word).absolute())


def hostkeys_command(arguments: argparse.Namespace) -> str:
    """The command that pins host keys for a run with these options."""
    options = {
        "--inventory": arguments.inventory,
        "--cnapi": arguments.cnapi,
        "-c": arguments.config,
        "-d": arguments.dir,
    }
    given = [word for option, value in options.items() if value for word in (option, str(value))]
    return shlex.join(["sdc-thoth", "hostkeys", *given])


def _add_common(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--inventory", metavar="FILE", help="the nodes: a TOML file with [[node]] tables, or 'cnapi'")
    add("--cnapi", metavar="URL", help="where CNAPI is, when the inventory is cnapi (what the headnode knows)")
    add("-c", "--config", type=Path, metavar="FILE", help="configuration: [ssh], [paths], [limits], [schedule], ...")
    add("-d", "--dir", type=Path, metavar="DIR", help=_DIRECTORY)
    add("--debug", action="store_true", help="show the traceback of an error")
    add("--version", action="version", version=f"%(prog)s {__version__}")


def _listed(value: str) -> list[str]:
    words = value.split(",")
    if not all(words):
        raise argparse.ArgumentTypeError(f"{value!r} names nothing, or holds an empty name")
    return words


def _count(value: str) -> int:
    if not value.isdecimal():
        raise argparse.ArgumentTypeError(f"{value!r} is not a whole number")
    number = int(value)
    if not 1 <= number <= 1000:
        raise argparse.ArgumentTypeError(f"{value} is not between 1 and 1000")
    return number


def _size(value: str) -> int:
    size = parsed_size(value)
    if not size:
        raise argparse.ArgumentTypeError(f"{value!r} is not {SIZE}")
    return size


def _seconds(value: str) -> float:
    try:
        number = float(value)
    except ValueError:
        number = 0.0
    if not 0 < number < 1e7:
        raise argparse.ArgumentTypeError(f"{value!r} is not a time above 0")
    return number
