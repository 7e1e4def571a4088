"""Below a session, what paramiko lacks: packets that tell why a peer left, and waits that have an end."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import Final

import paramiko
from cryptography.exceptions import InvalidTag
from paramiko.common import MSG_DISCONNECT, MSG_EXT_INFO, MSG_KEXINIT
from paramiko.packet import Packetizer

from sdc_thoth.wire import Wire
from thoth import escaped

_EXTENSIONS_MAX: Final = 64


class Packets(Packetizer):
    """paramiko's packets, with what it drops: why a peer said goodbye and what it offered."""

    # A re-key that paramiko starts can hang while data is under way, one that the server starts does not. So
    # the server decides; OpenSSH does after 64 GiB with these ciphers.
    REKEY_BYTES = 1 << 40
    REKEY_PACKETS = 1 << 32

    def __init__(self, wire: Wire) -> None:
        super().__init__(wire)
        self._wire = wire
        self.offers: Mapping[str, Sequence[str]] = {}  # kind of algorithm -> names
        self.farewell = ""

    def start_handshake(self, timeout: float) -> None:
        # paramiko would start a timer, whose thread outlives a handshake that fails. The wire keeps the time.
        self._wire.begin("key exchange", timeout)

    def read_message(self) -> tuple[int, paramiko.Message]:
        try:
            kind, message = super().read_message()
        except InvalidTag as error:  # paramiko lets it through
            raise paramiko.SSHException("a packet was damaged on its way") from error
        if kind == MSG_KEXINIT:
            message.get_bytes(16)
            names = ("key exchange", "host key", "cipher", "", "MAC", "", "compression")
            self.offers = {name: message.get_list() for name in names}
            message.rewind()
        elif kind == MSG_DISCONNECT:
            message.get_int()
            self.farewell = escaped(message.get_string()[:200])
            message.rewind()
        elif kind == MSG_EXT_INFO:
            # paramiko loops as often as this number says, up to 2^32 times.
            if message.get_int() > _EXTENSIONS_MAX:
                raise paramiko.SSHException("announces too many extensions")
            message.rewind()
        return kind, message


class Patience(threading.Event):
    """An event that nobody waits for without end: after that time TimeoutError is raised."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self._seconds = seconds

    def wait(self, timeout: float | None = None) -> bool:
        if timeout is None and not super().wait(self._seconds):
            raise TimeoutError
        return super().wait(timeout)
