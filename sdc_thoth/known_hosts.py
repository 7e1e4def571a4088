"""Host keys, and the file that pins them. Source of the format: sshd(8), SSH_KNOWN_HOSTS FILE FORMAT.

Stricter than OpenSSH in one thing: a line that cannot be understood is an error, never skipped. Whoever wrote
it meant something by it. Certificate authorities are not supported, so they are such a line too.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final

from sdc_thoth.errors import NodeDenied
from sdc_thoth.inventory import Node
from thoth import UsageError, escaped

_SIZE_MAX: Final = 64 << 20  # bytes of a known_hosts file: 10^5 nodes with three keys each are half of that
_HASHED: Final = re.compile(r"\|1\|([A-Za-z0-9+/=]+)\|([A-Za-z0-9+/=]+)")
_KEY_TYPE: Final = re.compile(r"[a-z0-9][a-z0-9@.-]*")


@dataclass(frozen=True, slots=True)
class HostKey:
    """A host's public key: its type (``ssh-ed25519``, ``ssh-rsa``, ...) and its bytes as SSH sends them."""

    type: str
    blob: bytes

    @property
    def fingerprint(self) -> str:
        """As OpenSSH shows it: ``SHA256:`` and base64 without padding."""
        digest = hashlib.sha256(self.blob).digest()
        return "SHA256:" + base64.b64encode(digest).decode("ascii").rstrip("=")

    def __str__(self) -> str:
        return f"{self.type} {self.fingerprint}"

    def line(self, hosts: str) -> str:
        """The line of a known_hosts file, without its newline."""
        return f"{hosts} {self.type} {base64.b64encode(self.blob).decode('ascii')}"


@dataclass(frozen=True, slots=True)
class Entry:
    """A line that pins, or with ``revoked`` outlaws, a key for the hosts that match."""

    number: int  # of its line, from 1
    hosts: str
    key: HostKey
    revoked: bool

    @property
    def patterns(self) -> tuple[str, ...]:
        return tuple(self.hosts.lower().split(","))

    @property
    def plain(self) -> bool:
        """Whether it names hosts as they are: not hashed, no pattern."""
        return not any(char in self.hosts for char in "*?!|")

    def matches(self, host: str) -> bool:
        """Whether it speaks of ``host``, which is lower-case and has the form that a line has."""
        if hashed := _HASHED.fullmatch(self.hosts):
            salt, wanted = (base64.b64decode(part) for part in hashed.groups())
            return hmac.compare_digest(hmac.new(salt, host.encode(), "sha1").digest(), wanted)
        negated = (pattern[1:] for pattern in self.patterns if pattern.startswith("!"))
        if any(_pattern_matches(pattern, host) for pattern in negated):
            return False
        return any(_pattern_matches(pattern, host) for pattern in self.patterns if not pattern.startswith("!"))


def _pattern_matches(pattern: str, host: str) -> bool:
    """``*`` and ``?`` as in OpenSSH's ssh_config(5). Time grows with the product of the lengths at most."""
    at = seen = 0
    star, resume = -1, 0
    while seen < len(host):
        if at < len(pattern) and pattern[at] == "*":
            star, resume = at, seen
            at += 1
        elif at < len(pattern) and pattern[at] in ("?", host[seen]):
            at, seen = at + 1, seen + 1
        elif star >= 0:
            resume += 1
            at, seen = star + 1, resume
        else:
            return False
    return not pattern[at:].strip("*")


@dataclass(frozen=True)
class KnownHosts:
    """The keys that are pinned. Made by ``read`` or ``parse``."""

    path: Path
    lines: tuple[str, ...]  # as they stand in the file
    entries: tuple[Entry, ...]
    hostkeys: str = "sdc-thoth hostkeys"  # the command that pins keys, as messages advise it

    @classmethod
    def read(cls, path: Path) -> KnownHosts:
        """The file's content; no file is an empty one. Raises UsageError, naming file and line."""
        try:
            data = _content(path)
        except FileNotFoundError:
            data = b""
        except PermissionError as error:
            advice = "run 'sdc-thoth hostkeys' as the user who collects"
            raise UsageError(f"{_shown(path)}: {error.strerror}; {advice}") from error
        except OSError as error:
            raise UsageError(f"{_shown(path)}: {error.strerror or error}") from error
        return cls.parse(data, path)

    @classmethod
    def parse(cls, data: bytes, path: Path) -> KnownHosts:
        """Raises UsageError for a line that is not understood."""
        try:
            text = data.decode("utf-8")
        except UnicodeDecodeError as error:
            number = data.count(b"\n", 0, error.start) + 1
            raise UsageError(f"{_shown(path)}:{number}: not UTF-8 text") from error
        # Not splitlines, which also takes other characters for the end of a line.
        lines = tuple(text.removesuffix("\n").split("\n")) if text else ()
        return cls(path, lines, tuple(_entries(lines, path)))

    @cached_property
    def _by_host(self) -> dict[str, list[Entry]]:
        index: dict[str, list[Entry]] = {}
        for entry in self.entries:
            for host in entry.patterns if entry.plain else ():
                index.setdefault(host, []).append(entry)
        return index

    @cached_property
    def _others(self) -> tuple[Entry, ...]:
        return tuple(entry for entry in self.entries if not entry.plain)

    def entries_of(self, node: Node) -> tuple[Entry, ...]:
        """The lines that speak of the node, by its address or its name, in the order of the file."""
        found: dict[int, Entry] = {}
        for host in host_names(node):
            found |= {entry.number: entry for entry in self._by_host.get(host, ())}
            found |= {entry.number: entry for entry in self._others if entry.matches(host)}
        return tuple(found[number] for number in sorted(found))

    def keys(self, node: Node) -> tuple[HostKey, ...]:
        """The keys that the node may show, revoked ones left out."""
        entries = self.entries_of(node)
        revoked = {entry.key for entry in entries if entry.revoked}
        return tuple(dict.fromkeys(entry.key for entry in entries if entry.key not in revoked))

    def is_revoked(self, node: Node, key: HostKey) -> bool:
        return any(entry.revoked and entry.key == key for entry in self.entries_of(node))

    def check(self, node: Node, key: HostKey) -> None:
        """Raises NodeDenied unless the node may show this key: with all fingerprints and what to do."""
        file, accept = _shown(self.path), f"{self.hostkeys} {escaped(node.name)}"
        if self.is_revoked(node, key):
            raise NodeDenied(f"{node.shown}: shows the host key {key}, which is revoked in {file}")
        pinned = self.keys(node)
        if key in pinned:
            return
        if not pinned:
            raise NodeDenied(
                f"{node.shown}: host key unknown: it shows {key}; compare it on the node, then run: {accept}"
            )
        expected = ", ".join(map(str, pinned))
        raise NodeDenied(
            f"{node.shown}: HOST KEY CHANGED: it shows {key}, {file} pins {expected}; someone may answer"
            f" in its place. If the node was installed anew, run: {accept}"
        )


def host_names(node: Node) -> tuple[str, ...]:
    """What a line may call the node: its address and its name, as ``[..]:PORT`` when the port is not 22."""
    names = (node.address.lower(), node.name.lower())
    return tuple(dict.fromkeys(name if node.port == 22 else f"[{name}]:{node.port}" for name in names))


def _content(path: Path) -> bytes:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            raise UsageError(f"{_shown(path)}: not a regular file")
        if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            raise UsageError(f"{_shown(path)}: others may write to it; run: chmod go-w {_shown(path)}")
        if status.st_size > _SIZE_MAX:
            raise UsageError(f"{_shown(path)}: {status.st_size} bytes are no known_hosts file")
        return os.read(fd, status.st_size)
    finally:
        os.close(fd)


def _shown(path: Path) -> str:
    return escaped(os.fsencode(path))


def _entries(lines: tuple[str, ...], path: Path) -> Iterator[Entry]:
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        try:
            yield _entry(number, line)
        except ValueError as error:
            raise UsageError(f"{_shown(path)}:{number}: {error}") from error


def _entry(number: int, line: str) -> Entry:
    fields = line.split()
    marker = fields.pop(0) if fields[0].startswith("@") else ""
    if marker == "@cert-authority":
        raise ValueError("@cert-authority is not supported; pin the host's own key")
    if marker not in ("", "@revoked"):
        raise ValueError(f"unknown marker {escaped(marker)}")
    if len(fields) < 3:
        raise ValueError("not a line of hosts, key type and key")
    hosts, type_, encoded = fields[:3]
    _check_hosts(hosts)
    return Entry(number, hosts, _key(type_, encoded), revoked=bool(marker))


def _check_hosts(hosts: str) -> None:
    if not hosts.startswith("|"):
        if "" in hosts.split(","):
            raise ValueError("an empty name among the hosts")
        return
    hashed = _HASHED.fullmatch(hosts)
    try:
        sizes = [len(base64.b64decode(part, validate=True)) for part in hashed.groups()] if hashed else []
    except binascii.Error:
        sizes = []
    if len(sizes) != 2 or sizes[1] != 20:
        raise ValueError("not a hashed host name")


def _key(type_: str, encoded: str) -> HostKey:
    try:
        blob = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        blob = b""
    # The key begins with its type again (RFC 4253, section 6.6): a damaged line is so found out.
    if not _KEY_TYPE.fullmatch(type_) or not blob.startswith(len(type_).to_bytes(4, "big") + type_.encode()):
        raise ValueError(f"not a key of type {escaped(type_[:64])}")
    if len(blob) < 8 + len(type_):
        raise ValueError("the key is cut short")
    return HostKey(type_, blob)
