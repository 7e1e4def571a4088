"""Where a shared index lies, as a value: host and port, database, who asks, and how long it may take."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class TlsPlace:
    """How a server's certificate is verified: by the CAs in a PEM file, or by those of the system."""

    ca_file: str | None = None


@dataclass(frozen=True, slots=True)
class RethinkPlace:
    """A database on a RethinkDB server. The password is in no ``repr`` and no error.

    ``connect_timeout``: seconds until the server has let us in, TLS and password included. ``answer_timeout``:
    seconds for a question by name or for a write, connecting included; and for each part of a longer answer.
    ``scan_timeout``: seconds for a question that may have to look at every dump. Either is twice that where a
    connection was kept from before on which nothing comes any more. ``rest``: seconds for which a server
    that was silent while we connected is not tried again; a pass over a fleet has thousands of questions.
    """

    host: str
    database: str
    port: int = 28015
    user: str = "admin"
    password: str = field(default="", repr=False)
    tls: TlsPlace | None = None
    connect_timeout: float = 10.0
    answer_timeout: float = 10.0
    scan_timeout: float = 300.0
    rest: float = 30.0

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"rethinkdb://{host}:{self.port}/{self.database}"
