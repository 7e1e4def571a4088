"""What ``upload``, ``index`` and ``load`` do about the stacks of cores."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from thoth.render import escaped

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from thoth.cli.console import Console
    from thoth.config import Config
    from thoth.dumps.binaries import Binaries
    from thoth.ingest.arrival import Receipt
    from thoth.library import Thoth
    from thoth.model import Identity


@contextmanager
def binaries_of(config: Config, console: Console) -> Iterator[Binaries]:
    """The executables and libraries that stacks are read with: those of this machine, then those of debuginfod."""
    from thoth.dumps.binaries import FirstOf, LocalBinaries

    with ExitStack() as undo:
        sources: list[Binaries] = [undo.enter_context(LocalBinaries())]
        if config.debuginfod:
            from thoth.debuginfod import Debuginfod

            sources.append(undo.enter_context(Debuginfod.of(config, console.complain)))
        yield FirstOf(sources)


def with_debuggers(thoth: Thoth, config: Config, receipt: Receipt, binaries: Binaries, console: Console) -> Receipt:
    """The same once the debuggers that are asked for have looked at a core that came."""
    if config.stack == ("native",):
        return receipt
    from dataclasses import replace

    from thoth.analysis.restack import Debuggers
    from thoth.config import environment

    debuggers = Debuggers(thoth, config, environment(), binaries)
    if not debuggers.wants(receipt):
        return receipt
    done = debuggers.ask(receipt.info.id)
    if done.reason:
        console.complain(f"{done.identity}: stacks: {escaped(done.reason)}")
    current = thoth.stored_info(receipt.info.id)
    return receipt if current is None else replace(receipt, info=current[0])


def restacked(thoth: Thoth, config: Config, identities: Sequence[Identity], console: Console) -> int:
    """The exit code of finding the stacks of these dumps again."""
    from collections import Counter

    from thoth.analysis.engines import Tools
    from thoth.analysis.restack import restack_each
    from thoth.config import environment

    results: Counter[str] = Counter()
    with binaries_of(config, console) as binaries:
        waiting = console.counting("walking stacks of", identities)
        for done in restack_each(thoth, waiting, config.stack, Tools.of(config, environment(), binaries)):
            results[done.result] += 1
            if done.result == "failed":
                console.complain(f"{done.identity}: {escaped(done.reason or 'its stacks cannot be read')}")
    kept = results["kept"] + results["failed"]
    console.say(f"stacks: {results['better']} are better now, {kept} are as they were")
    return 1 if results["failed"] else 0
