"""Sessions: commands on a node, over SSH. The only module that knows paramiko.

paramiko does the cryptography and the protocol. Trust, deadlines, limits and buffers are ours: see ``known_hosts``,
``wire`` and ``inbox``. Each of its exceptions, and each of the socket's, becomes a NodeError here.
"""

from __future__ import annotations

import contextlib
import io
import logging
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Protocol, Self

import paramiko
from paramiko.common import MSG_DISCONNECT, MSG_EXT_INFO, MSG_KEXINIT
from paramiko.packet import Packetizer

from sdc_thoth import wire as wires
from sdc_thoth.channel import SshChannel
from sdc_thoth.config import SshSettings
from sdc_thoth.errors import NodeDenied, NodeError, NodeLost, NodeTimeout, NodeUnreachable
from sdc_thoth.inventory import Node
from sdc_thoth.known_hosts import HostKey, KnownHosts
from sdc_thoth.private_key import read_private_key
from sdc_thoth.wire import Wire
from thoth import UsageError, escaped
