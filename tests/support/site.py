"""What a team has: a Manta with one account, bcantrill, and a database that ``config.json`` there names."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ed25519

from tests.support.manta_client import Signer
from tests.support.manta_server import Account, MantaServer, Options
from tests.support.node_client import NodeClient
from tests.support.reqlite import ReqlServer
from thoth.index.rethink_place import RethinkPlace

HOME = "/bcantrill/stor/thoth"


@dataclass(frozen=True, slots=True)
class Site:
    """``node`` is the Node client of the account, whose home and key ours have too."""

    server: MantaServer
    node: NodeClient
    place: RethinkPlace

    @property
    def environment(self) -> dict[str, str]:
        """What a process of ours needs to work here."""
        mine = {name: value for name, value in self.node.environment.items() if name.startswith("MANTA_")}
        return {"HOME": self.node.environment["HOME"], **mine}

    @property
    def using(self) -> str:
        return f"thoth: using database at {self.place.host}:{self.place.port} (configured from Manta)"

    def share(self) -> None:
        """Name the database to everybody."""
        self.configure(host=self.place.host, port=self.place.port, db=self.place.database)

    def configure(self, **told: object) -> None:
        self.node.run("mput", "-q", "-p", f"{HOME}/config.json", stdin=json.dumps({"db": told}).encode())

    def info(self, identity: str) -> dict[str, Any]:
        """A document as the Node client reads it."""
        document: dict[str, Any] = json.loads(self.node.run("mget", "-q", f"{HOME}/{identity}/info.json"))
        return document

    def dumps(self) -> list[str]:
        """The identities that Manta has something of."""
        names = self.node.run("mls", HOME).decode().split()
        return [name.rstrip("/") for name in names if len(name.rstrip("/")) == 32]


@contextmanager
def site(reql: ReqlServer, folder: Path, **options: Any) -> Iterator[Site]:
    """``folder`` becomes the home of the account's owner; ``options`` are those of the Manta server."""
    key = ed25519.Ed25519PrivateKey.generate()
    account = Account("bcantrill", (Signer(key).public,))
    with MantaServer(account, options=Options(**options)) as server:
        yield Site(server, NodeClient(server.url, folder, key, "bcantrill"), reql.new_place())
    reql.drop_all()
