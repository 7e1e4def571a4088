"""``thoth init``, ``upload`` and ``object``: dumps on their way in.

What only one of them needs is imported by it: ``thoth object`` runs once for every dump on every node.
"""

from __future__ import annotations

import os
from functools import partial
from typing import TYPE_CHECKING

from thoth.cli.console import OutputFailed
from thoth.cli.options import add_places, configured, opened, word
from thoth.cli.receipts import failed_line, receipt_line, tell
from thoth.cli.repeated import Repeated, some
from thoth.errors import NoRoom, StoreUnavailable, ThothError
from thoth.render import escaped, json_text

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from thoth.analysis.autoanalyze import Autoanalyzer
    from thoth.analysis.verdicts import Verdict
    from thoth.cli.console import Console
    from thoth.config import Config
    from thoth.dumps.binaries import Binaries
    from thoth.dumps.source import LocalFile, ReadAt
    from thoth.ingest.arrival import Arrival, Receipt
    from thoth.library import Thoth
    from thoth.model import Json

_STREAM = "JSON lines instead: one object for each file"

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

--json: {"path", "id"}; what has no identity has no line.

exit status: 0 done; 1 at least one of them could not be read, or is no dump
"""
    parser.add_argument("files", nargs="+", type=word, metavar="FILE", help="a core or crash dump")
    parser.add_argument("--json", action="store_true", help=_STREAM)
    parser.set_defaults(run=object_)


def object_(arguments: Namespace, console: Console) -> int:
    """Print identities."""

    def identified(path: str) -> bool:
        identity = _identity(path)
        console.result(json_text({"path": path, "id": identity}) if arguments.json else identity)
        return True

    return for_each_file(arguments.files, console, identified)


def _identity(path: str) -> str:
    from thoth.dumps.identity import identify
    from thoth.dumps.source import LocalFile

    with LocalFile(path) as source:
        return identify(source)


# ---- thoth upload ---------------------------------------------------------------------------------


def declare_upload(parser: ArgumentParser) -> None:
    parser.description = (
        "Store dumps, describe and index them, and print the identity of each, one a line.\n"
        "What a core's threads were doing is noted on it: stack (of the one that dumped), threads, fault_address.\n"
        "A dump that is there already is not sent again; what was set on it, and its ticket, stay. It is known\n"
        "by its headers and its size; --verify compares all of it.\n"
        "A whole dump takes the place of one that was cut short. One that was purged is not stored again.\n"
        "Where Manta runs jobs (v1) a crash dump is uncompressed and processed there; elsewhere, or when that\n"
        "fails, 'thoth analyze DUMP process-dump' does it later."
    )
    parser.epilog = """\
examples:
  thoth upload core.19972
  thoth upload /cores/core.* /var/crash/volatile/vmdump.*
  thoth upload --verify core.19972        before you remove the file; or where scrub finds corruption
  thoth upload --json core.19972 | jq -r .result

--verify reads a file whose dump is there already, and what is stored of it. A stored dump that is not, or
not any more, what its document says is stored again if the file is. A file with other bytes is a conflict,
as one of another size is without --verify: the dump that is stored stays, and so should the file.

--json: {"path", "result", "id", "size", "complete", "sent", "reason"}; complete is false for a dump
that was cut short: its first bytes are kept until the whole one comes. result is stored, present (there
already, or purged, as reason tells), replaced, stored-unindexed (kept, but `thoth ls` cannot find it yet),
conflict, failed, or not-tried: a store that refuses everything ends the run; one that has no room for
a dump may have some for the next.

exit status: 0 each of them is stored and indexed, or was; 1 at least one is not
"""
    parser.add_argument("files", nargs="+", type=word, metavar="FILE", help="a core or crash dump")
    parser.add_argument(
        "--verify",
        action="store_true",
        help="compare what is there already with the file, and mend it if it is damaged",
    )
    parser.add_argument("--json", action="store_true", help=_STREAM)
    add_places(parser)
    parser.set_defaults(run=upload)


def upload(arguments: Namespace, console: Console) -> int:
    """Store dumps."""
    files = iter(arguments.files)
    try:
        return _upload_each(files, configured(arguments), console, arguments)
    except StoreUnavailable as error:
        console.failure(error)
        left = list(files)
        for path in left if arguments.json else ():
            console.result(failed_line(path, "not-tried", error))
        if 0 < len(left) < len(arguments.files):
            console.complain(f"not tried: {some(left)}")
        return error.exit_code


def _upload_each(files: Iterable[str], config: Config, console: Console, arguments: Namespace) -> int:
    from thoth.cli.stacks import binaries_of, with_debuggers
    from thoth.library import require_store
    from thoth.model import Result
    from thoth.stacks import stacks_in

    require_store(config, new_ok=True)
    with opened(config, console) as thoth, binaries_of(config, console) as binaries:
        autoanalyzer = _autoanalyzer(thoth, config, console)
        has_line = False  # the file that is under way
        too_large = Repeated(console, "no room either for")
        unindexed = Repeated(console, "stored, and not indexed either:")

        def uploaded(path: str) -> bool:
            nonlocal has_line
            has_line = False
            find = stacks_in if config.stack[0] == "native" else _no_stacks
            stacks = partial(find, binaries=binaries)
            any_rules, verify = autoanalyzer.any_rules, arguments.verify
            receipt = _upload(thoth, path, console, stacks, any_rules, verify=verify, as_json=arguments.json)
            has_line = True
            if receipt.result is Result.STORED_UNINDEXED and unindexed.is_first(path):
                what = f"{escaped(path)}: stored as {receipt.info.id}, not indexed: {receipt.reason}"
                console.complain(f"{what}; then run 'thoth index'")
            receipt = with_debuggers(thoth, config, receipt, binaries, console)
            receipt = _expanded(thoth, config, receipt, console)
            _autoanalyze(autoanalyzer, receipt, console)
            return receipt.result.good

        def failed(path: str, error: Exception) -> bool:
            if arguments.json and not has_line:
                console.result(failed_line(path, "failed", error))
            return isinstance(error, NoRoom) and not too_large.is_first(path)

        code = for_each_file(files, console, uploaded, failed)
        too_large.sum_up()
        unindexed.sum_up()
        return code


def _no_stacks(source: ReadAt, *, binaries: Binaries) -> dict[str, Json]:
    return {}  # a debugger is to find them


def _upload(
    thoth: Thoth,
    path: str,
    console: Console,
    stacks: Callable[[ReadAt], Mapping[str, Json]],
    rules: Callable[[], bool],
    *,
    verify: bool,
    as_json: bool,
) -> Receipt:
    """Take one dump in and tell what became of it."""
    import time

    from thoth.dumps.identity import is_named_whole
    from thoth.dumps.source import LocalFile
    from thoth.ingest.receive import Reopened, receive
    from thoth.patience import usual_tries

    with LocalFile(path) as source:
        arrival = _arrival(source, os.uname().nodename)
        stream = Reopened(lambda: _announced(source, arrival, console))
        tries = partial(usual_tries, console.say)
        found = partial(stacks, source)
        receipt = receive(
            thoth,
            arrival,
            stream,
            now=time.time(),
            tries=tries,
            stacks=found,
            rules=rules,
            verify=Reopened(lambda: _compared(source, arrival, console)) if verify else None,
        )
        named_whole = receipt.info.complete is not False or is_named_whole(source)
    tell(path, receipt, console, named_whole=named_whole)
    console.result(receipt_line(path, receipt) if as_json else receipt.info.id)
    console.flush()
    return receipt


def _expanded(thoth: Thoth, config: Config, receipt: Receipt, console: Console) -> Receipt:
    """The same once a crash dump that came was expanded where it is stored, if jobs can be run there.

    It is stored whatever comes of that: what goes wrong is told, no more.
    """
    from thoth.analysis.expanding import is_expandable
    from thoth.model import Result

    if receipt.result not in (Result.STORED, Result.REPLACED) or not is_expandable(receipt.info):
        return receipt
    jobs = thoth.jobs()
    if jobs is None:
        return receipt
    from dataclasses import replace
    from pathlib import Path

    from thoth.analysis.cache import Cache
    from thoth.analysis.expanding import Expanding

    identity = receipt.info.id
    try:
        Expanding(thoth, jobs, Cache(Path(config.cache)), console.say, console.complain).run(identity)
    except StoreUnavailable:
        raise
    except ThothError as error:
        console.failure(error, about=f"{identity}: is stored, and not uncompressed")
        console.complain(f"{identity}: 'thoth analyze {identity} process-dump' tries again")
    current = thoth.stored_info(identity)
    return receipt if current is None else replace(receipt, info=current[0])


def _autoanalyzer(thoth: Thoth, config: Config, console: Console) -> Autoanalyzer:
    import time
    from pathlib import Path

    from thoth.analysis.autoanalyze import Autoanalyzer
    from thoth.config import environment

    return Autoanalyzer(thoth, cache=Path(config.cache), environ=environment(), clock=time.time, say=console.complain)


def _autoanalyze(autoanalyzer: Autoanalyzer, receipt: Receipt, console: Console) -> None:
    """Hold a dump that arrived, or whose rules are pending, against them.

    It is stored whatever they do: one that fails is told, no more.
    """
    from thoth.cli.verdicts import verdict_text

    def tell(verdicts: Iterable[Verdict]) -> None:
        for verdict in verdicts:
            say = console.complain if verdict.stands_in_the_way else console.say
            say(f"{verdict.identity}: autoanalyzer {verdict_text(verdict)}")

    held = autoanalyzer.arrived(receipt.result, receipt.info)
    tell(held.verdicts)
    if held.waiting:
        tell(autoanalyzer.finish(held))


def _arrival(source: LocalFile, node: str) -> Arrival:
    """A local file as a dump that arrives. Raises NotADump and SourceError."""
    from pathlib import Path

    from thoth.dumps.describe import fact_ranges, facts_of
    from thoth.dumps.identity import identify
    from thoth.ingest.arrival import Arrival
    from thoth.model import text

    path = os.fsencode(Path(source.path).absolute())
    mtime = source.stat.st_mtime
    return Arrival(
        identity=identify(source),
        size=source.size,
        mtime=mtime,
        filename=source.name,
        ranges=tuple(fact_ranges(source)),
        node=node,
        source={"node": node, "path": text(path), "mtime": mtime},
        whole=facts_of(source).complete,
    )


def _announced(source: LocalFile, arrival: Arrival, console: Console) -> Iterator[bytes]:
    """The dump's blocks. Nothing is said before somebody asks for them: a dump may be there already."""
    console.say(f"creating {arrival.identity}")
    console.say(f"uploading {escaped(arrival.filename)} to {arrival.identity}")
    yield from console.progress(arrival.filename, arrival.size, source.stream())


def _compared(source: LocalFile, arrival: Arrival, console: Console) -> Iterator[bytes]:
    """The blocks of a dump that is there already."""
    console.say(f"comparing {escaped(arrival.filename)} with {arrival.identity}")
    yield from console.progress(arrival.filename, arrival.size, source.stream())


# ---- both -----------------------------------------------------------------------------------------


def for_each_file(
    paths: Iterable[str],
    console: Console,
    handle: Callable[[str], bool],
    failed: Callable[[str, Exception], bool] = lambda path, error: False,
) -> int:
    """The exit code of doing something with each file: one that fails is told, and the others go on.

    Raises StoreUnavailable and OutputFailed, since no other file would fare better. ``failed`` hears of the former,
    too, and says whether it has told of a failure; a store that only has no room for a file fails that one.
    """
    good = True
    for path in paths:
        try:
            good = handle(path) and good
        except OutputFailed:
            raise
        except ThothError as error:
            is_told = failed(path, error)
            if isinstance(error, StoreUnavailable) and not isinstance(error, NoRoom):
                raise
            if not is_told:
                console.failure(error, about=escaped(path) or "''")
            good = False
    return 0 if good else 1
