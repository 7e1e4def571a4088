"""Settings as values: each with its origin, those of Manta, and the configuration that they amount to.

``thoth.config`` puts them together.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

DEFAULT: Final = "default"  # the origin of a value that nobody gave
ENGINES: Final = ("native", "mdb", "gdb")  # that can find the stacks of a core: we, or a debugger
MANTA: Final = "manta"  # the store that the original's variables ask for
NEVER: Final = 1 << 63  # bytes: more than any dump has
_CREDENTIALS: Final = re.compile(r"(?<=://)[^/].*@|\?.*", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Setting:
    """One value and where it came from: ``default``, a file, a variable of the environment, or a flag."""

    value: str = field(repr=False)  # of an index with its password
    origin: str


@dataclass(frozen=True, slots=True)
class MantaSettings:
    """How to reach Manta, with the names of node-manta's variables; empty: nobody says."""

    url: str = ""
    user: str = ""  # the account
    subuser: str = ""
    key_id: str = ""  # a fingerprint, MD5 or SHA256, or the path of a private key
    roles: tuple[str, ...] = ()
    tls_insecure: bool = False  # whatever certificate the server shows is taken
    no_auth: bool = False  # requests are not signed
    parts_from: int | None = None  # bytes from which on a dump goes in parts; None: nobody says
    no_jobs: bool = False  # what Manta v1 could do in a job is done on this machine
    proxy: str = field(default="", repr=False)  # the URL of an HTTP proxy on the way there, with its password
    home: str = ""  # whose .ssh has the key
    agent: str = ""  # the socket of an ssh-agent that may have it
    unfinished: str = ""  # the directory that remembers uploads to go on with; empty: nowhere


@dataclass(frozen=True, slots=True)
class Config:
    """What a Thoth is opened with: its store and index, whose dumps they are, and where copies go."""

    store: str  # a URL, or ``manta``
    db: str = field(repr=False)  # a URL, with the password when it has one
    user: str
    cache: str  # the directory of the dumps that are fetched to be debugged or analyzed
    origins: Mapping[str, str]  # of each of the fields above
    manta: MantaSettings = MantaSettings()
    # What variables say of the database that config.json in the store may name: its port, db and authKey.
    over: Mapping[str, str] = field(default_factory=dict, repr=False)
    stack: tuple[str, ...] = ENGINES[:1]  # who is asked for stacks, in this order
    debuginfod: str = ""  # URLs of debuginfod servers, with blanks between them
    debuginfod_cache: str = ""  # the directory of what came from them

    def described(self, name: str) -> str:
        """A setting as people may see it, without credentials: ``URL (configured from THOTH_STORE)``."""
        value = self.manta.url if (name, self.store) == ("store", MANTA) else getattr(self, name)
        return described(value, self.origins[name])


def described(url: str, origin: str) -> str:
    """A URL as people may see it, and where it came from; of a RethinkDB ``HOST:PORT``, as in the original."""
    where = DEFAULT if origin == DEFAULT else f"configured from {origin}"
    shown = without_credentials(url)
    if shown.startswith("rethinkdb://"):
        shown = shown.removeprefix("rethinkdb://").partition("/")[0]
    return f"{shown} ({where})"


def without_credentials(url: str) -> str:
    """A URL without what may be secret: user and password before its host, and its query."""
    return _CREDENTIALS.sub("", url)
