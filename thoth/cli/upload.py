"""``thoth upload``: dumps of this machine on their way in."""

from __future__ import annotations

import os
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Final, NamedTuple

from thoth.cli.files import FILE, FILE_LINES, STDIN, check_stdin, for_each_file, opened_dump, shown
from thoth.cli.options import add_places, configured, opened, word
from thoth.cli.receipts import failed_line, receipt_line, tell
from thoth.cli.repeated import Repeated, some
from thoth.errors import NoRoom, StoreUnavailable, ThothError, UsageError
from thoth.render import escaped

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from thoth.analysis.autoanalyze import Autoanalyzer
    from thoth.analysis.verdicts import Verdict
    from thoth.cli.console import Console
    from thoth.config import Config
    from thoth.dumps.binaries import Binaries
    from thoth.dumps.source import OpenFile, ReadAt
    from thoth.ingest.arrival import Arrival, Receipt
    from thoth.library import Thoth
    from thoth.model import Json

_LONGEST_NAME: Final = 255  # bytes of a file's name on any system that dumps come from


def declare_upload(parser: ArgumentParser) -> None:
    parser.description = (
        "Store dumps, describe and index them, and print the identity of each, one a line.\n"
        "What a core's threads were doing is noted on it: stack (of the one that dumped), threads, fault_address.\n"
        "A dump that is there already is not sent again; what was set on it, and its ticket, stay. It is known\n"
        "by its headers and its size; --verify compares all of it.\n"
        "A whole dump takes the place of one that was cut short. One that was purged is not stored again.\n"
        "Where Manta runs jobs (v1) a crash dump is uncompressed and processed there; elsewhere, or when that\n"
        "fails, 'thoth analyze DUMP process-dump' does it later.\n"
        "A dump on standard input (-) is spooled in the cache (THOTH_CACHE) first, in a file without a name, unless\n"
        "it is a file: a dump has its identity from all over it. It is called core.PID, core, vmdump.0 or vmcore,\n"
        "or what --name says."
    )
    parser.epilog = """\
examples:
  thoth upload core.19972
  thoth upload /cores/core.* /var/crash/volatile/vmdump.*
  thoth upload --verify core.19972        before you remove the file; or where scrub finds corruption
  thoth upload --json core.19972 | jq -r .result
  coredumpctl dump 4711 | thoth upload -
  ssh cn7 cat /cores/core.nginx.99 | thoth upload --name core.nginx.99 -

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
    parser.add_argument("files", nargs="+", type=word, metavar="FILE", help=FILE)
    parser.add_argument("--name", metavar="NAME", help="what standard input is called in the store")
    parser.add_argument(
        "--verify",
        action="store_true",
        help="compare what is there already with the file, and mend it if it is damaged",
    )
    parser.add_argument("--json", action="store_true", help=FILE_LINES)
    add_places(parser)
    parser.set_defaults(run=upload)


def upload(arguments: Namespace, console: Console) -> int:
    """Store dumps."""
    check_stdin(arguments.files, "upload")
    name = _file_name(arguments.name)
    if name is not None and STDIN not in arguments.files:
        raise UsageError("upload: --name is for standard input, and files have names; add - or leave it out")
    files = iter(arguments.files)
    try:
        return _upload_each(files, name, configured(arguments), console, arguments)
    except StoreUnavailable as error:
        console.failure(error)
        left = list(files)
        for path in left if arguments.json else ():
            console.result(failed_line(path, "not-tried", error))
        if 0 < len(left) < len(arguments.files):
            console.complain(f"not tried: {some(left)}")
        return error.exit_code


def _upload_each(
    files: Iterable[str], name: bytes | None, config: Config, console: Console, arguments: Namespace
) -> int:
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
            with _opened(path, name, config, console) as dump:
                receipt = _received(thoth, dump, console, stacks, autoanalyzer.any_rules, verify=arguments.verify)
                _tell(dump, receipt, console, as_json=arguments.json)
            has_line = True
            if receipt.result is Result.STORED_UNINDEXED and unindexed.is_first(path):
                what = f"{shown(path)}: stored as {receipt.info.id}, not indexed: {receipt.reason}"
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


def _received(
    thoth: Thoth,
    dump: _Dump,
    console: Console,
    stacks: Callable[[ReadAt], Mapping[str, Json]],
    rules: Callable[[], bool],
    *,
    verify: bool,
) -> Receipt:
    """What became of one dump."""
    import time

    from thoth.ingest.receive import Reopened, receive
    from thoth.patience import usual_tries

    _, source, arrival = dump
    stream = Reopened(lambda: _announced(source, arrival, console))
    tries = partial(usual_tries, console.say)
    found = partial(stacks, source)
    return receive(
        thoth,
        arrival,
        stream,
        now=time.time(),
        tries=tries,
        stacks=found,
        rules=rules,
        verify=Reopened(lambda: _compared(source, arrival, console)) if verify else None,
    )


def _tell(dump: _Dump, receipt: Receipt, console: Console, *, as_json: bool) -> None:
    from thoth.dumps.identity import is_named_whole

    named_whole = receipt.info.complete is not False or is_named_whole(dump.source)
    tell(dump.path, receipt, console, named_whole=named_whole)
    console.result(receipt_line(dump.path, receipt) if as_json else receipt.info.id)
    console.flush()


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


# ---- a dump of this machine -------------------------------------------------------------------------


class _Dump(NamedTuple):
    path: str
    source: OpenFile
    arrival: Arrival


@contextmanager
def _opened(path: str, name: bytes | None, config: Config, console: Console) -> Iterator[_Dump]:
    """A file, or standard input, which is called ``name``, as a dump that arrives. Raises as ``opened_dump``."""
    from pathlib import Path

    with opened_dump(path, console, lambda: Path(config.cache)) as source:
        if path == STDIN:
            where = filename = _usual_name(source) if name is None else name
        else:
            where, filename = os.fsencode(Path(path).absolute()), os.fsencode(Path(path).name)
        yield _Dump(path, source, _arrival(source, filename, where))


def _arrival(source: OpenFile, filename: bytes, where: bytes) -> Arrival:
    """Raises NotADump and SourceError."""
    from thoth.dumps.describe import fact_ranges, facts_of
    from thoth.dumps.identity import identify
    from thoth.ingest.arrival import Arrival
    from thoth.model import text

    node, mtime = os.uname().nodename, source.stat.st_mtime
    return Arrival(
        identity=identify(source),
        size=source.size,
        mtime=mtime,
        filename=filename,
        ranges=tuple(fact_ranges(source)),
        node=node,
        source={"node": node, "path": text(where), "mtime": mtime},
        whole=facts_of(source).complete,
    )


def _usual_name(source: OpenFile) -> bytes:
    """What a system calls such a dump. Raises NotADump and SourceError."""
    from thoth.dumps.describe import describe

    facts = describe(source)
    if facts.type == "crash":
        return b"vmcore" if facts.os == "linux" else b"vmdump.0"
    return b"core" if facts.pid is None else b"core.%d" % facts.pid


def _file_name(told: str | None) -> bytes | None:
    """What a file of a node can be called, as told. Raises UsageError."""
    if told is None:
        return None
    raw = os.fsencode(told)
    if raw in (b"", b".", b"..") or b"/" in raw or len(raw) > _LONGEST_NAME:
        raise UsageError(
            f"upload: --name: '{escaped(told)}' cannot be the name of a file; leave directories out of it"
        )
    return raw


def _announced(source: OpenFile, arrival: Arrival, console: Console) -> Iterator[bytes]:
    """The dump's blocks. Nothing is said before somebody asks for them: a dump may be there already."""
    console.say(f"creating {arrival.identity}")
    console.say(f"uploading {escaped(arrival.filename)} to {arrival.identity}")
    yield from console.progress(arrival.filename, arrival.size, source.stream())


def _compared(source: OpenFile, arrival: Arrival, console: Console) -> Iterator[bytes]:
    """The blocks of a dump that is there already."""
    console.say(f"comparing {escaped(arrival.filename)} with {arrival.identity}")
    yield from console.progress(arrival.filename, arrival.size, source.stream())
