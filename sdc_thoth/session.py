"""Sessions: commands on a node, over SSH. Only this module and ``packets`` know paramiko.

paramiko does the cryptography and the protocol. Trust, deadlines, limits and buffers are ours: see
``known_hosts``, ``wire`` and ``inbox``. Each of its exceptions, and each of the socket's, becomes a NodeError
here.
"""

from __future__ import annotations

import contextlib
import io
import logging
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Final, Self, cast

import paramiko

from sdc_thoth import wire as wires
from sdc_thoth.algorithms import (
    CIPHERS,
    MACS,
    disagreement,
    host_key_algorithms,
    safe_exchanges,
    takes_only_sha1,
)
from sdc_thoth.channel import Channel, Session, SshChannel
from sdc_thoth.config import SshSettings
from sdc_thoth.errors import NodeDenied, NodeError, NodeLost, NodeTimeout, NodeUnreachable, ProtocolError
from sdc_thoth.inbox import Inbox, Overrun
from sdc_thoth.inventory import Node
from sdc_thoth.known_hosts import HostKey, KnownHosts
from sdc_thoth.packets import Packets, Patience
from sdc_thoth.private_key import read_private_key
from sdc_thoth.wire import Wire
from thoth import UsageError, escaped

__all__ = ["Channel", "Credentials", "Session", "fetch_host_key", "open_session", "read_credentials"]


# ---- what we prove ourselves with, and whom we trust ---------------------------------------------


@dataclass(frozen=True, slots=True)
class Credentials:
    """Our key and the keys of the nodes. Made by ``read_credentials``, for all sessions of a run."""

    key: paramiko.PKey
    key_shown: str  # file and fingerprint, for messages
    known_hosts: KnownHosts


_KEY_CLASSES: Final[Mapping[str, type[paramiko.PKey]]] = {
    "ed25519": paramiko.Ed25519Key,
    "ecdsa": paramiko.ECDSAKey,
    "rsa": paramiko.RSAKey,
}


def read_credentials(ssh: SshSettings, *, hostkeys: str = "sdc-thoth hostkeys") -> Credentials:
    """Read the key and known_hosts that the configuration names. Raises UsageError; connects to nothing.

    ``hostkeys`` is the command that messages advise for a host key that is not pinned.
    """
    if ssh.key is None:
        raise UsageError("no private key: none of the usual ones exists in ~/.ssh; name one with [ssh] key")
    kind, text = read_private_key(ssh.key)
    key = _KEY_CLASSES[kind].from_private_key(io.StringIO(text))
    shown = f"{escaped(str(ssh.key))} ({HostKey(key.get_name(), key.asbytes()).fingerprint})"
    return Credentials(key, shown, replace(KnownHosts.read(ssh.known_hosts), hostkeys=hostkeys))


# ---- the connection --------------------------------------------------------------------------------

_WINDOW: Final = 2 << 20  # bytes; four times as much made it no faster
_KEEPALIVE: Final = 30.0  # seconds without anything sent
_ATTENTIVE: Final = 0.1  # seconds between looks of a session in use, as paramiko has it
_RESTING: Final = 5.0  # of one that rests
_REMEMBERED: Final = 16  # channels of a session that rests


class SshSession:
    """``Session`` over paramiko. Made by ``open_session``."""

    def __init__(self, node: Node, wire: Wire, connect_timeout: float) -> None:
        _quiet()
        self._where = node.shown
        self._node = node
        self._wire = wire
        self._timeout = connect_timeout
        self._idle = connect_timeout
        self._ended_because: str | None = None
        self._cause: Exception | None = None
        wire.begin("SSH banner", connect_timeout)
        self._transport = paramiko.Transport(wire, packetizer_class=Packets)
        self._packets = cast(Packets, self._transport.packetizer)
        self._set_up()

    def _set_up(self) -> None:
        transport, timeout = self._transport, self._timeout
        options = transport.get_security_options()
        options.ciphers = CIPHERS
        options.digests = MACS
        options.kex = safe_exchanges(options.kex)
        options.compression = ("none",)
        transport.handshake_timeout = timeout
        # The wire keeps the time; these only end what does not read from it.
        transport.banner_timeout = transport.auth_timeout = 2 * timeout + 1
        transport.daemon = True

    @property
    def offers(self) -> Mapping[str, Sequence[str]]:
        """The names of the algorithms that the node offers, by their kind: ``host key``, ``cipher``, ..."""
        return self._packets.offers

    # ---- getting in ------------------------------------------------------------------------------

    def shake_hands(self, names: Sequence[str]) -> HostKey:
        """Exchange keys and return the host's, which it has proved to own. Raises NodeUnreachable."""
        self._transport.get_security_options().key_types = tuple(names)
        try:
            self._transport.start_client(timeout=3 * self._timeout)
            key = self._transport.get_remote_server_key()
        except Exception as error:
            raise self._no_handshake(error) from error
        return HostKey(key.get_name(), key.asbytes())

    def _no_handshake(self, error: Exception) -> NodeError:
        if self._wire.failure:
            return self._because_of_wire(self._wire.failure)
        if isinstance(error, paramiko.ssh_exception.IncompatiblePeer):
            return NodeUnreachable(f"{self._where}: {self._missing_algorithm() or escaped(str(error))}")
        if isinstance(error, EOFError) or self._packets.farewell:
            said = f": {self._packets.farewell}" if self._packets.farewell else ""
            return NodeUnreachable(f"{self._where}: closed the connection before the {self._wire.step}{said}")
        if isinstance(error.__context__, OSError):  # what it reads the banner from has failed: paramiko glues the two
            return NodeUnreachable(
                f"{self._where}: the connection broke before the {self._wire.step}: {_reason(error.__context__)}"
            )
        return NodeUnreachable(f"{self._where}: no SSH server that we can talk to: {_reason(error)}")

    def _missing_algorithm(self) -> str:
        options = self._transport.get_security_options()
        ours = {
            "key exchange": options.kex,
            "host key": options.key_types,
            "cipher": options.ciphers,
            "MAC": options.digests,
            "compression": options.compression,
        }
        return disagreement(ours, self.offers)

    def authenticate(self, credentials: Credentials) -> None:
        """Log in with our key. Raises NodeDenied, NodeUnreachable."""
        self._wire.begin("authentication", self._timeout)
        try:
            further = self._transport.auth_publickey(self._node.user, credentials.key)
        except Exception as error:
            raise self._not_let_in(error, credentials) from error
        if further:
            methods = escaped(", ".join(further)[:200])
            raise NodeDenied(f"{self._where}: takes our key and then wants {methods}, which we do not have")

    def _not_let_in(self, error: Exception, credentials: Credentials) -> NodeError:
        if self._wire.failure:
            return self._because_of_wire(self._wire.failure)
        named = (
            getattr(self._transport, "server_extensions", {}).get("server-sig-algs", b"").decode("ascii", "replace")
        )
        if takes_only_sha1(credentials.key.get_name(), named):
            takes = f"takes RSA keys only with SHA-1 signatures (it names {escaped(named[:200])})"
            return NodeDenied(f"{self._where}: {takes}: use an ed25519 key")
        user = escaped(self._node.user)
        denied = f"{self._where}: does not let {user} in with the key {credentials.key_shown}"
        if isinstance(error, paramiko.BadAuthenticationType):
            return NodeDenied(f"{denied}: it takes only {escaped(', '.join(error.allowed_types)[:200])}")
        if self._packets.farewell:
            return NodeDenied(f"{denied}: {self._packets.farewell}")
        if isinstance(error, paramiko.AuthenticationException) and self._transport.is_active():
            return NodeDenied(f"{denied}; its public half has to be in {user}'s authorized_keys there")
        return NodeUnreachable(f"{self._where}: closed the connection during authentication")

    def established(self, idle: float) -> None:
        """From now on only a silence of ``idle`` seconds is an end."""
        self._idle = idle
        self._wire.established(idle)
        self._transport.clear_to_send_timeout = idle
        self._transport.set_keepalive(_KEEPALIVE)

    # ---- between passes --------------------------------------------------------------------------

    def rest(self) -> None:
        """Nobody will use the session for a while. paramiko looks ten times a second whether anything is to be done,
        which costs more than all else; in a session that rests it does so every few seconds."""
        self._wire.settimeout(_RESTING)
        # paramiko notes each channel that there was, and forgets none: in a year that would be more than all else.
        # What still comes is of the last ones.
        seen = self._transport.channels_seen
        for number in list(seen)[:-_REMEMBERED]:
            del seen[number]

    def wake(self, seconds: float) -> None:
        """Make it ready for use. Raises NodeError when the node does not answer within that time."""
        self._wire.settimeout(_ATTENTIVE)
        try:
            self._transport.open_session(_WINDOW, timeout=seconds).close()
        except (paramiko.SSHException, OSError, EOFError) as error:
            raise self._error(error) from error

    # ---- commands --------------------------------------------------------------------------------

    def run(self, command: str, stdin: bytes = b"", *, last: bool = True) -> SshChannel:
        raw, inbox = self._open_channel()
        try:
            raw.event = Patience(self._idle)  # exec_command waits for the node's reply without end
            raw.exec_command(command)
        except (paramiko.SSHException, OSError, EOFError) as error:
            with contextlib.suppress(NodeError), self.translated():
                raw.close()
            if isinstance(error, paramiko.SSHException) and self._alive():
                raise NodeDenied(f"{self._where}: refuses to run a command: {_reason(error)}") from error
            raise self._error(error) from error
        channel = SshChannel(raw, inbox, self, self._where, self._idle)
        channel.feed(stdin, last=last)
        return channel

    def _open_channel(self) -> tuple[paramiko.Channel, Inbox]:
        try:
            raw = self._transport.open_session(_WINDOW, timeout=self._idle)
        except (paramiko.SSHException, OSError, EOFError) as error:
            if isinstance(error, paramiko.ChannelException) and self._alive():
                raise NodeDenied(f"{self._where}: refuses another command: {escaped(error.text)}") from error
            raise self._error(error) from error
        raw.settimeout(self._idle)
        inbox = Inbox(_WINDOW)
        raw.in_buffer, raw.in_stderr_buffer = inbox.out, inbox.err  # type: ignore[assignment]  # all that is used of it
        if raw.closed or raw.eof_received:  # it ended before the exchange
            inbox.close()
        return raw, inbox

    # ---- the end, of one kind or the other -------------------------------------------------------

    @contextlib.contextmanager
    def translated(self) -> Iterator[None]:
        try:
            yield
        except (paramiko.SSHException, OSError, EOFError) as error:
            raise self._error(error) from error

    def _error(self, error: Exception) -> NodeError:
        if self._wire.failure:
            self._wire.close()  # it may have been our sending that failed: then nobody else knows yet
        # paramiko has exceptions of its own for what takes too long, and no others while the connection
        # stands.
        if isinstance(error, TimeoutError | paramiko.SSHException) and self._alive():
            return NodeTimeout(f"{self._where}: nothing came for {self._idle:g} s")
        return self.lost(error)

    def _alive(self) -> bool:
        """Whether the connection stands, and not because of us or a limit it is about to end."""
        if self._ended_because is not None or self._wire.failure:
            return False
        self._transport.join(0.1)  # it ends its channels first and itself right after
        return self._transport.is_alive()

    def lost(self, error: Exception | None = None) -> NodeError:
        if self._ended_because is not None:
            return NodeLost(f"{self._where}: {self._ended_because}")
        if self._wire.failure:
            return self._because_of_wire(self._wire.failure)
        if self._alive():
            return NodeLost(f"{self._where}: closed the channel before the command had ended")
        self._cause = self._cause or self._transport.get_exception() or error
        kind = ProtocolError if isinstance(self._cause, Overrun) else NodeLost
        why = self._packets.farewell or _reason(self._cause)
        return kind(f"{self._where}: the connection broke{why and ': '}{why}")

    def _because_of_wire(self, failure: NodeError) -> NodeError:
        return type(failure)(f"{self._where}: {failure}")

    def close(self, reason: str = "the session was closed") -> None:
        self._ended_because = self._ended_because or reason
        self._transport.close()
        self._wire.close()
        if self._transport.ident is not None and self._transport is not threading.current_thread():
            self._transport.join(2.0)
        self._wire.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _reason(error: Exception | None) -> str:
    """What an exception of a foreign library says, on one line; empty for an end without a reason."""
    if error is None or isinstance(error, EOFError):
        return ""
    if isinstance(error, OSError):
        return error.strerror or str(error) or type(error).__name__
    return escaped(str(error)[:200]) or type(error).__name__


def _quiet() -> None:
    # What matters of the tracebacks that paramiko logs is in our errors. Who wants them all the same has said so.
    log = logging.getLogger("paramiko")
    if log.level == logging.NOTSET:
        log.setLevel(logging.CRITICAL)
        log.propagate = False
        log.addHandler(logging.NullHandler())


def open_session(node: Node, ssh: Credentials, *, connect_timeout: float, idle_timeout: float) -> SshSession:
    """Connect, check the host key, log in.

    ``connect_timeout`` seconds are for each step: connection, banner, key exchange, authentication. After
    that ``idle_timeout`` seconds may pass without a byte. Raises NodeUnreachable, NodeDenied.
    """
    pinned = ssh.known_hosts.keys(node)
    session = _connected(node, connect_timeout)
    try:
        key = session.shake_hands(host_key_algorithms(key.type for key in pinned))
        ssh.known_hosts.check(node, key)
        session.authenticate(ssh)
        session.established(idle_timeout)
    except BaseException:
        session.close()
        raise
    return session


def fetch_host_key(node: Node, seconds: float, names: Sequence[str] | None = None) -> tuple[HostKey, frozenset[str]]:
    """A key of the host, of the first of these algorithms (all, if None) that it has; and the algorithms it
    offers.

    Raises NodeUnreachable.
    """
    session = _connected(node, seconds)
    try:
        key = session.shake_hands(names or host_key_algorithms())
        return key, frozenset(session.offers.get("host key", ()))
    finally:
        session.close()


def _connected(node: Node, seconds: float) -> SshSession:
    where = node.shown
    try:
        wire = wires.connect(node.address, node.port, seconds)
    except TimeoutError as error:
        raise NodeUnreachable(f"{where}: no answer within {seconds:g} s") from error
    except (OSError, UnicodeError) as error:
        raise NodeUnreachable(f"{where}: cannot connect: {_reason(error)}") from error
    try:
        return SshSession(node, wire, seconds)
    except BaseException:
        wire.release()
        raise
