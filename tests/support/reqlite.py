"""A ReQL server for the tests: reqlite from npm, or the RethinkDB that THOTH_TEST_RETHINKDB=HOST:PORT names.

    with reql_server() as server:
        place = server.place("some_database")

One server does for all tests of a run; each has databases of its own, which are dropped when it ends.
"""

from __future__ import annotations

import itertools
import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from rethinkdb import r

from tests.support.node_packages import node_package
from thoth.index.rethink_place import RethinkPlace

REAL: Final = os.environ.get("THOTH_TEST_RETHINKDB", "")
USER, PASSWORD = "thoth", "I<3dümps!"  # one who may ask reqlite too, beside admin without a password
_PROGRAM: Final = Path(__file__).with_name("reqlite.js")


@dataclass(slots=True)
class ReqlServer:
    """A server that runs. ``process`` is None for one that was there before."""

    host: str
    port: int
    process: subprocess.Popen[str] | None = None
    _numbers: Iterator[int] = field(default_factory=itertools.count)
    _given: list[str] = field(default_factory=list)

    def new_place(self) -> RethinkPlace:
        """A database that nobody has used."""
        self._given.append(f"thoth_test_{os.getpid()}_{next(self._numbers)}")
        return RethinkPlace(self.host, self._given[-1], self.port)

    def drop_all(self) -> None:
        """Drops the databases that were given, as far as they are there."""
        given, self._given = self._given, []
        if given:
            with r.connect(self.host, self.port) as connection:
                for name in set(given).intersection(r.db_list().run(connection)):
                    r.db_drop(name).run(connection)


def reql_by() -> str:
    """Which server the tests ask, in words."""
    packages = json.loads((_PROGRAM.parent / "package.json").read_text())["dependencies"]
    return f"RethinkDB at {REAL}" if REAL else f"reqlite {packages['reqlite']}"


@contextmanager
def reql_server() -> Iterator[ReqlServer]:
    """The server; it ends, if it is ours, with the block. Raises MissingNodePackage."""
    if REAL:
        host, _, port = REAL.rpartition(":")
        yield ReqlServer(host or "localhost", int(port))
        return
    with started() as server:
        yield server


@contextmanager
def started(pem: Path | None = None) -> Iterator[ReqlServer]:
    """A reqlite of one's own; with a file of a key and its certificate it speaks TLS."""
    users = json.dumps({"admin": "", USER: PASSWORD})
    command = ["node", "--no-deprecation", str(_PROGRAM), str(node_package("reqlite")), users]
    command += [str(pem)] if pem else []
    # It ends with its standard input: when we go away, however, so does it.
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield ReqlServer("127.0.0.1", int(process.stdout.readline()), process)
        finally:
            process.kill()
