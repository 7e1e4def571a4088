"""``thoth debug`` where the dump lies: by mlogin, in a task of a job of Manta."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Callable, Mapping, Sequence

    from thoth.cli.console import Console
    from thoth.config import Config, MantaSettings
    from thoth.library import Thoth
    from thoth.model import DumpInfo


class Session(NamedTuple):
    """How mlogin is started: its path, the object that is debugged, and the environment."""

    program: str
    dump: str
    environment: Mapping[str, str]

    def run(self, words: Sequence[str], console: Console) -> int:
        """Give it our terminal until it ends. Returns its exit code; another one than 0 when we were interrupted."""
        from thoth.analysis.foreground import Foreground

        console.flush()
        with Foreground() as foreground:
            code = foreground.run(words, Path("/"), self.environment)
        return code or (1 if foreground.interrupted else 0)


def session(
    thoth: Thoth, config: Config, info: DumpInfo, arguments: Namespace, which: Callable[[str], str | None]
) -> Session | None:
    """A session for this dump; None where it has to be debugged on this machine.

    mlogin has mdb, which reads what illumos leaves, and wants a terminal: neither another debugger, nor a batch, nor
    commands through a pipe. Raises what is wrong with the dump: NoDebugger for one that mdb cannot read either,
    NoSuchObject, and StoreError.
    """
    from thoth.analysis.login import MLOGIN
    from thoth.config import environment

    of_illumos = info.document.get("os", "illumos") == "illumos"
    if arguments.batch or arguments.exec or arguments.debugger not in (None, "mdb") or not of_illumos:
        return None
    if any(each is None or not each.isatty() for each in (sys.stdin, sys.stdout)):
        return None
    program = which(MLOGIN)
    if program is None or thoth.jobs() is None:
        return None
    from thoth.analysis.debugger import choose, foreseen
    from thoth.analysis.fetching import wanted

    if arguments.analyzer is None and (about := foreseen(info)) is not None:
        choose(about, "mdb", lambda name: name)
    return Session(program, wanted(thoth, info).name, _environment(environment(), config.manta))


def debug_there(session: Session, console: Console) -> int:
    """mdb on the dump. Returns our exit code."""
    from thoth.analysis.login import debugger_words

    return 1 if session.run(debugger_words(session.program, session.dump), console) else 0


def _environment(environ: Mapping[str, str], settings: MantaSettings) -> dict[str, str]:
    """The environment of mlogin: the user's, in which Manta is the one that the configuration names."""
    told = {
        "MANTA_URL": settings.url,
        "MANTA_USER": settings.user,
        "MANTA_SUBUSER": settings.subuser,
        "MANTA_KEY_ID": settings.key_id,
        "MANTA_ROLE": ",".join(settings.roles),
        "MANTA_TLS_INSECURE": "1" if settings.tls_insecure else "",
        "MANTA_NO_AUTH": "true" if settings.no_auth else "",
    }
    others = {name: value for name, value in environ.items() if name not in told}
    return others | {name: value for name, value in told.items() if value}
