"""Connections that are kept between passes, where that is cheaper than to make them anew.

Measured: to connect costs us 3 ms of CPU, and the node several times as much; a connection that rests costs 0.014 ms
a second, keepalives included, as much on the other side, a thread here and a process there. So they are kept when the
next pass is minutes away, not hours.
"""

from __future__ import annotations

import resource
from collections.abc import Callable, Iterable
from threading import Lock
from types import TracebackType
from typing import Final, Self

from sdc_thoth.config import SshSettings
from sdc_thoth.errors import NodeError
from sdc_thoth.inventory import Node
from sdc_thoth.session import Credentials, SshSession, open_session, read_credentials

WORTH: Final = 600.0  # seconds to the next pass for which a connection is kept
_MOST: Final = 500  # of them
_OTHER_FILES: Final = 128  # that a pass may have open


class Connections:
    """Any thread may call. ``timeout`` and ``idle``: seconds, as ``open_session`` takes them; ``until_next``: seconds
    to the next pass, None when there will be none."""

    def __init__(
        self,
        *,
        timeout: float,
        idle: float,
        hostkeys: str,
        until_next: Callable[[], float | None] = lambda: None,
    ) -> None:
        self._timeout = timeout
        self._idle = idle
        self._hostkeys = hostkeys
        self._lock = Lock()
        self._kept: dict[Node, SshSession] = {}
        self._credentials: Credentials | None = None
        self._until_next = until_next
        self._closed = False
        self._most = max(0, min(_MOST, resource.getrlimit(resource.RLIMIT_NOFILE)[0] - _OTHER_FILES))

    def begin(self, ssh: SshSettings, nodes: Iterable[Node]) -> None:
        """A pass over these nodes begins. Raises UsageError for a key or known_hosts that cannot be used.

        What was kept for other nodes, or with another key or other host keys, is closed: trust may have ended.
        """
        credentials = read_credentials(ssh, hostkeys=self._hostkeys)
        before, self._credentials = self._credentials, credentials
        same = before is not None and _same(before, credentials)
        wanted = set(nodes) if same else set()
        with self._lock:
            dropped = [self._kept.pop(node) for node in list(self._kept) if node not in wanted]
        for session in dropped:
            session.close()

    def connect(self, node: Node) -> SshSession:
        """A session to the node: the one that was kept, if it still answers. Raises NodeError."""
        with self._lock:
            kept = self._kept.pop(node, None)
        if kept is not None:
            try:
                kept.wake(self._timeout)
            except NodeError:  # it broke while nobody looked
                kept.close()
            else:
                return kept
        assert self._credentials is not None, "a pass has begun"  # noqa: S101 - to the type checker
        return open_session(node, self._credentials, connect_timeout=self._timeout, idle_timeout=self._idle)

    def release(self, node: Node, session: SshSession) -> None:
        """The node is done with. The session is kept or closed."""
        until_next = self._until_next()
        self._keep(node, session, worth=until_next is not None and until_next <= WORTH)

    def park(self, node: Node, session: SshSession) -> None:
        """The node will be asked for again in this pass. The session is kept, unless there are too many."""
        self._keep(node, session, worth=True)

    def drop(self, node: Node) -> None:
        """What was kept of this node is closed."""
        with self._lock:
            kept = self._kept.pop(node, None)
        if kept is not None:
            kept.close()

    def _keep(self, node: Node, session: SshSession, *, worth: bool) -> None:
        with self._lock:
            keep = worth and not self._closed and len(self._kept) < self._most and node not in self._kept
            if keep:
                session.rest()
                self._kept[node] = session
        if not keep:
            session.close()

    def close(self) -> None:
        """Keep none any more. Safe to repeat."""
        with self._lock:
            self._closed = True
            sessions, self._kept = list(self._kept.values()), {}
        for session in sessions:
            session.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _same(one: Credentials, other: Credentials) -> bool:
    return one.key_shown == other.key_shown and one.known_hosts.lines == other.known_hosts.lines
