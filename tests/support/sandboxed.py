"""Analyzers that are run by a process of root's or of an ordinary user's, as ``thoth analyze`` would run them.

The process is this module: it takes jobs as lines of JSON and answers each with one.
"""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from shlex import quote
from typing import Any, Self

from tests.support.analysis import common_ground
from tests.support.arrivals import CORE, take
from tests.support.memory_index import MemoryIndex
from tests.support.memory_store import MemoryStore
from tests.support.processes import PROC
from thoth.analysis.cache import Cache
from thoth.analysis.sandbox import Ended, Limits, clean_environment, run_sandboxed
from thoth.library import Thoth

TOP = Path(__file__).resolve().parent.parent.parent
_USERS = range(200_000, 300_000)  # nobody's: what else runs here must not count as theirs
CANARY = "canary-71f3e8"
TOKEN = "THOTH_TEST_TOKEN"  # in the environment of everything that one runner's analyzers start


@dataclass(frozen=True, slots=True)
class Ran:
    """What became of one analyzer."""

    ended: Ended
    maxrss: int  # KiB, of the process that ran it
    dump: bytes  # as it was afterwards


class Runner:
    """A process that runs analyzers. ``with runner("user") as ..`` makes one."""

    def __init__(self, command: list[str], place: Path, token: str) -> None:
        self.place = place
        self._command = command
        self._token = f"{TOKEN}={token}".encode()
        environ = {"PATH": "/usr/bin:/bin", "MANTA_KEY": CANARY, "THOTH_DB": CANARY, "PYTHONPATH": str(TOP)}
        self.process = subprocess.Popen(
            [*command, sys.executable, "-m", __name__, str(place), token],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=TOP, env=environ, text=True,
        )  # fmt: skip

    def start(self, script: str, **limits: Any) -> None:
        """Have a shell script run as an analyzer of a dump, ``$DUMP``. ``limits`` are those of the sandbox."""
        assert self.process.stdin
        self.process.stdin.write(json.dumps({"script": script, "limits": limits}) + "\n")
        self.process.stdin.flush()

    def result(self) -> Ran:
        assert self.process.stdout
        told = json.loads(self.process.stdout.readline())
        names = [field.name for field in fields(Ended)]
        ended = Ended(**{name: told[name] for name in names} | {"output": told["output"].encode("latin-1")})
        return Ran(ended, told["maxrss"], told["dump"].encode("latin-1"))

    def run(self, script: str, **limits: Any) -> Ran:
        self.start(script, **{"timeout": 5.0, **limits})
        return self.result()

    def alive(self) -> list[str]:
        """What is left of all analyzers that were run: their commands."""
        return list(_with_variable(self._token))

    def runs(self) -> list[Path]:
        """The directories of runs in the cache, and their locks."""
        return sorted((self.place / "cache").glob(".run-*"))

    def again(self) -> Runner:
        """Another one, with the same cache."""
        return Runner(self._command, self.place, f"{self.place.parent.name}-again")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self.process.kill()
        self.process.communicate()


@contextmanager
def runner(who: str) -> Iterator[Runner]:
    """``who`` is "root" or "user"."""
    with common_ground() as ground, Runner(*_started(who, ground)) as made:
        yield made


def _started(who: str, ground: Path) -> tuple[list[str], Path, str]:
    place, hold = ground / "place", ground / "hold"
    place.mkdir()
    hold.mkdir()
    token = ground.name
    if who == "root":
        return [], place, token
    user = str(secrets.choice(_USERS))
    os.chown(place, int(user), int(user))
    script = opened_up(hold, Path(sys.base_prefix), Path(sys.prefix), TOP)
    become = ["setpriv", "--reuid", user, "--regid", user, "--clear-groups", "--inh-caps=-all"]
    return ["unshare", "-m", "--propagation", "private", "sh", "-c", script, "sh", *become], place, token


def opened_up(hold: Path, *paths: Path) -> str:
    """A script that runs its arguments where none of the paths lies below a directory of root's alone.

    It has a mount namespace of its own, in which an empty directory takes the place of each of those.
    """
    closed: dict[Path, Path] = {}
    for needed in {path.resolve() for path in paths}:
        for parent in needed.parents:
            if not parent.stat().st_mode & 0o001:
                closed[needed] = parent  # in the end the topmost
    held = {needed: hold / f"{number}" for number, needed in enumerate(closed)}
    lines = [
        f"mkdir -p {quote(str(there))}; mount --bind {quote(str(n))} {quote(str(there))}" for n, there in held.items()
    ]
    lines += [f"mount -t tmpfs -o mode=755 tmpfs {quote(str(top))}" for top in {*closed.values()}]
    lines += [
        f"mkdir -p {quote(str(n))}; mount --bind {quote(str(there))} {quote(str(n))}" for n, there in held.items()
    ]
    return "\n".join(["set -e", *lines, 'exec "$@"'])


def _with_variable(variable: bytes) -> Iterator[str]:
    for entry in PROC.iterdir():
        try:
            if entry.name.isdigit() and variable in (entry / "environ").read_bytes().split(b"\0"):
                yield (entry / "comm").read_text().strip()
        except OSError:
            continue  # it has ended


# ---- the process ----------------------------------------------------------------------------------


def _largest() -> int:
    """The most memory that this process has had, in KiB. getrusage tells of the process that started it, too."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0])


def _main(place: Path, token: str) -> None:
    thoth = Thoth(MemoryStore(), MemoryIndex(), "bmc")
    info = take(thoth, CORE).info
    cache = Cache(place / "cache")
    environ: Mapping[str, str] = {"PATH": "/usr/bin:/bin"}
    for line in sys.stdin:
        job = json.loads(line)
        with cache.borrow(thoth, info, keep=True) as dump, cache.work() as work:
            environment = {**clean_environment(work, environ), TOKEN: token, "DUMP": str(dump)}
            ended = run_sandboxed(
                ["sh", "-c", job["script"]],
                directory=work,
                environment=environment,
                limits=Limits(**job["limits"]),
            )
            content = dump.read_bytes() if dump.exists() else b""
        told = {**asdict(ended), "maxrss": _largest()}
        told |= {"output": ended.output.decode("latin-1"), "dump": content.decode("latin-1")}
        print(json.dumps(told), flush=True)


if __name__ == "__main__":
    _main(Path(sys.argv[1]), sys.argv[2])
