"""A MantaStore and the server that it talks to, for tests."""

from __future__ import annotations

import functools
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.support.manta_server import Account, MantaServer, Options
from thoth.http import Limits
from thoth.patience import USUAL, Patience
from thoth.store.manta import MantaAccess, MantaStore, PartSizes, Times
from thoth.store.signing import HttpSigner, KeyOwner, LocalKey

QUICK = Limits(connect=2.0, idle=2.0, total=4.0)


@functools.cache
def private_key() -> ec.EllipticCurvePrivateKey:
    """One for all tests, of a kind that every Manta knows and that is quickly made."""
    return ec.generate_private_key(ec.SECP256R1())


def account(login: str = "alice") -> Account:
    """An account with that key."""
    line = private_key().public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
    return Account(login, (line.decode(),))


def signer(login: str = "alice", private: ec.EllipticCurvePrivateKey | None = None) -> HttpSigner:
    return HttpSigner(LocalKey(private or private_key()), KeyOwner(login))


@dataclass
class Pauses:
    """Pauses that are noted and not made; the clock goes on as if they had been.

    Each thread has a clock of its own: another's pause would else end a question that is on its way.
    """

    made: list[float] = field(default_factory=list)
    _own: threading.local = field(default_factory=threading.local)

    def sleep(self, seconds: float) -> None:
        self.made.append(seconds)
        self._own.passed = self._passed + seconds

    def clock(self) -> float:
        return time.monotonic() + self._passed

    @property
    def _passed(self) -> float:
        passed: float = getattr(self._own, "passed", 0.0)
        return passed

    def times(self, *, attempts: int = 5) -> Times:
        patience = Patience(attempts=attempts)
        return Times(clock=self.clock, sleep=self.sleep, chance=lambda: 0.5, patience=patience)


def hurried(factor: float = 150.0) -> tuple[Limits, Times]:
    """The limits and the patience that everybody has, all so many times as short, and so in their proportions: beside
    QUICK the patience lasts much longer than a silence, which it does not in earnest."""
    usual = Limits()
    patience = replace(USUAL, total=USUAL.total / factor, first=USUAL.first / factor)
    limits = Limits(connect=2.0, idle=usual.idle / factor, total=usual.total / factor)
    return limits, Times(patience=patience)


def manta(
    server: MantaServer,
    *,
    sizes: PartSizes | None = None,
    unfinished: Path | None = None,
    times: Times | None = None,
    limits: Limits = QUICK,
    roles: tuple[str, ...] = (),
) -> MantaStore:
    """alice's store on this server."""
    access = MantaAccess(server.url, "alice", roles=roles, limits=limits)
    return MantaStore(access, signer(), sizes=sizes, unfinished=unfinished, times=times or Pauses().times())


@contextmanager
def manta_store(sizes: PartSizes | None = None, unfinished: Path | None = None) -> Iterator[MantaStore]:
    """alice's store on a server of its own."""
    with MantaServer(account(), options=Options()) as server:
        store = manta(server, sizes=sizes, unfinished=unfinished)
        try:
            yield store
        finally:
            store.close()
