"""What a proxy can do to a connection, as values.

``up`` is what the client sends, ``down`` what the server sends. Offsets count bytes of one direction of one
connection, and are exact.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Direction = Literal["up", "down"]


@dataclass(frozen=True, slots=True)
class Delay:
    """Holds every ``every``-th chunk back for some seconds."""

    seconds: float
    every: int = 1
    direction: Direction = "down"


@dataclass(frozen=True, slots=True)
class Throttle:
    """Lets this many bytes through in a second."""

    bytes_per_second: int
    direction: Direction = "down"


@dataclass(frozen=True, slots=True)
class Flip:
    """Inverts the lowest bit of the byte at ``offset``."""

    offset: int
    direction: Direction = "down"


@dataclass(frozen=True, slots=True)
class Cut:
    """Ends the connection when ``after`` bytes have passed: closed in order, or with a reset."""

    after: int
    direction: Direction = "down"
    reset: bool = False


@dataclass(frozen=True, slots=True)
class HalfOpen:
    """When ``after`` bytes have passed nothing more is read or written either way, and nothing is closed."""

    after: int
    direction: Direction = "down"


@dataclass(frozen=True, slots=True)
class Silence:
    """Accepts and never says anything. The server behind is not asked."""


@dataclass(frozen=True, slots=True)
class Babble:
    """Sends ``text`` over and over, ``size`` bytes every ``interval`` seconds, until the client has enough.

    ``Babble(b"SSH-2.0-x", size=1, interval=1.0)`` is a banner that never gets done, ``Babble()`` one without
    end, ``Babble(b"hello\\r\\n")`` a server that keeps talking before its banner. The server is not asked.
    """

    text: bytes = b"x"
    size: int = 1 << 16
    interval: float = 0.0


Fault = Delay | Throttle | Flip | Cut | HalfOpen | Silence | Babble
