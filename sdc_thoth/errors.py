"""What can go wrong between the collector and a node. Each error says what became of the node."""

from __future__ import annotations

from typing import ClassVar

from thoth import Result, ThothError


class NodeError(ThothError):
    """Something failed for one node; other nodes still work. ``result`` is what the node is reported as."""

    result: ClassVar[Result] = Result.FAILED


class NodeUnreachable(NodeError):
    """No connection: refused, no route, no SSH server there, or a step of connecting took too long."""

    result = Result.UNREACHABLE


class NodeDenied(NodeError):
    """The node refuses us, or we refuse the node: its host key is unknown, another one or revoked."""

    result = Result.DENIED


class NodeTimeout(NodeError):
    """The node is connected, but nothing came from it, or could be sent to it, for the whole idle time."""


class NodeLost(NodeError):
    """The connection broke, or was closed by us, before the end of what was asked for."""


class ProtocolError(NodeError):
    """What the node replied is not what was agreed."""


class Desynchronized(ProtocolError):
    """A reply does not hold as many bytes as announced: a file changed its size while it was read."""


class OpenHung(ProtocolError):
    """The node's shell did not come back from opening a file, and was ended: what was one is a FIFO by now, or its
    file system does not answer."""


class NoTimes(ProtocolError):
    """What a node's stat says of one file holds no times that can be read."""


class AlreadyRunning(ThothError):
    """Another run holds the lock."""

    exit_code = 75  # EX_TEMPFAIL of sysexits(3): try again later
