"""A session at a pace: the same protocol, and no more bytes in a second than that allows."""

from __future__ import annotations

from collections.abc import Iterator
from types import TracebackType
from typing import Self

from sdc_thoth.channel import BLOCK, Channel, Session
from sdc_thoth.pace import NodePace


class PacedSession:
    """``Session`` around another one. All that its commands print counts."""

    def __init__(self, session: Session, pace: NodePace) -> None:
        self._session = session
        self._pace = pace

    def run(self, command: str, stdin: bytes = b"", *, last: bool = True) -> Channel:
        return PacedChannel(self._session.run(command, stdin, last=last), self._pace)

    def close(self, reason: str = "the session was closed") -> None:
        self._session.close(reason)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class PacedChannel:
    """``Channel`` around another one."""

    def __init__(self, channel: Channel, pace: NodePace) -> None:
        self._channel = channel
        self._pace = pace

    def recv(self) -> bytes:
        data = self._channel.recv()
        if self._pace.limited:
            piece = self._pace.piece
            if len(data) > piece:
                self._channel.unread(data[piece:])
                data = data[:piece]
            self._pace.passed(len(data))
        return data

    def unread(self, data: bytes) -> None:
        self._channel.unread(data)

    def read_exactly(self, count: int) -> bytes:
        if not self._pace.limited:
            return self._channel.read_exactly(count)
        return b"".join(self._pieces(count))

    def _pieces(self, count: int) -> Iterator[bytes]:
        while count > 0:
            piece = self._channel.read_exactly(min(count, self._pace.piece))
            self._pace.passed(len(piece))
            count -= len(piece)
            yield piece

    def read_until(self, separator: bytes, limit: int) -> bytes:
        field = self._channel.read_until(separator, limit)
        if self._pace.limited:  # a listing is a million of them
            self._pace.passed(len(field) + len(separator))
        return field

    def blocks(self, count: int, size: int = BLOCK) -> Iterator[bytes]:
        while count > 0:
            block = self.read_exactly(min(count, size))
            count -= len(block)
            yield block

    def feed(self, stdin: bytes, *, last: bool = True) -> None:
        self._channel.feed(stdin, last=last)

    def finish(self) -> tuple[int | None, bytes]:
        return self._channel.finish()

    def close(self) -> None:
        self._channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
