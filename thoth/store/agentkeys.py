"""Keys that an ssh-agent holds. Source of what is said to it: draft-miller-ssh-agent, over paramiko.

Each call is a connection of its own: to open one costs less than a signature does, several threads need no
turns, an agent that was started anew is found again, and nothing is left open.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from typing import Final

from paramiko.agent import (
    SSH2_AGENT_IDENTITIES_ANSWER,
    AgentKey,
    AgentSSH,
    cSSH2_AGENTC_REQUEST_IDENTITIES,
)
from paramiko.message import Message
from paramiko.ssh_exception import SSHException

from thoth.errors import StoreUnavailable
from thoth.store.publickeys import ED25519, P256, P521, RSA, SshPublicKey
from thoth.store.signing import Signature, from_ssh

_LISTED: Final = 5.0  # seconds until the list of keys is there
_SIGNED: Final = 60.0  # seconds until a signature is there: ssh-add -c has the agent ask somebody first
_LARGEST: Final = 256 << 10  # bytes of a message, OpenSSH's own limit
# What is expected of the agent. Of RSA's hashes it is asked for SHA-256; the others it takes from the curve.
_EXPECTED: Final = {RSA: "rsa-sha256", P256: "ecdsa-sha256", P521: "ecdsa-sha512", ED25519: "ed25519-sha512"}


def agent_keys(path: str) -> list[SshPublicKey]:
    """The keys, without certificates, of the agent whose socket is at ``path``; none while it is locked.

    Raises StoreUnavailable, naming the socket, when there is no agent.
    """
    with _connected(path, _LISTED) as agent:
        keys = agent.keys()
    return [key for key in keys if not key.certificate]


class KeyInAgent:
    """A ``SigningKey`` without an ``agent_fault``."""

    def __init__(self, path: str, public: SshPublicKey) -> None:
        self._path = path
        self.public = public
        self.algorithm = _EXPECTED[public.kind]

    def sign(self, data: bytes) -> Signature:
        """Raises StoreUnavailable when the agent is gone, has the key no more, or was told not to use it."""
        with _connected(self._path, _SIGNED) as agent:
            return agent.signed(self.public, data)


class _Connection(AgentSSH):
    """paramiko's agent, at the socket that it is told, patient for so long and no longer."""

    def __init__(self, raw: socket.socket) -> None:
        super().__init__()
        self._raw = raw

    def _send_message(self, message: Message) -> tuple[int, Message]:  # what paramiko's AgentKey calls
        data = bytes(message)
        self._raw.sendall(len(data).to_bytes(4, "big") + data)
        length = int.from_bytes(self._received(4), "big")
        if not 0 < length <= _LARGEST:
            raise SSHException("it speaks another protocol")
        answer = self._received(length)
        return answer[0], Message(answer[1:])

    def _received(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            more = self._raw.recv(count - len(data))
            if not more:
                raise SSHException("it closed the connection")
            data += more
        return data

    def keys(self) -> list[SshPublicKey]:
        request = Message(cSSH2_AGENTC_REQUEST_IDENTITIES)
        kind, answer = self._send_message(request)
        if kind != SSH2_AGENT_IDENTITIES_ANSWER:
            raise SSHException("it does not list its keys")
        keys = []
        for _ in range(answer.get_int()):
            keys.append(SshPublicKey(answer.get_binary()))
            answer.get_binary()  # the comment, which need not be UTF-8
            if not keys[-1].blob:
                raise SSHException("its list of keys is cut short")
        return keys

    def signed(self, key: SshPublicKey, data: bytes) -> Signature:
        answer = AgentKey(self, key.blob).sign_ssh_data(data, "rsa-sha2-256" if key.kind == RSA else None)
        return from_ssh(bytes(answer), key)


@contextlib.contextmanager
def _connected(path: str, seconds: float) -> Iterator[_Connection]:
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as raw:
            raw.settimeout(seconds)
            raw.connect(path)
            yield _Connection(raw)
    except TimeoutError as error:
        raise StoreUnavailable(f"ssh-agent at {path}: no answer within {seconds:g} s") from error
    except (OSError, SSHException, ValueError) as error:
        raise StoreUnavailable(f"ssh-agent at {path}: {getattr(error, 'strerror', None) or error}") from error
