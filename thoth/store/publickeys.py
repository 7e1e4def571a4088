"""The public half of an SSH key: its fingerprints, and the forms in which people name a key by them.

Sources: RFC 4253 section 6.6 and RFC 5656 section 3.1 (the key's bytes), RFC 4251 section 5 (strings).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from dataclasses import dataclass
from typing import Final

from thoth.errors import UsageError

RSA: Final = "ssh-rsa"
ED25519: Final = "ssh-ed25519"
P256, P384, P521 = (f"ecdsa-sha2-nistp{bits}" for bits in (256, 384, 521))
_USABLE: Final = frozenset((RSA, ED25519, P256, P384, P521))

_MD5: Final = re.compile(r"(?:MD5:)?([0-9a-f]{2}(?::[0-9a-f]{2}){15})", re.IGNORECASE)
_SHA256: Final = re.compile(r"SHA256:([A-Za-z0-9+/]{43})=?")
_MEANT: Final = re.compile(r"MD5:|SHA256:|[0-9a-f]{2}:", re.IGNORECASE)  # a fingerprint, well-formed or not


def take_string(data: bytes, at: int) -> tuple[bytes, int]:
    """The string (4 bytes of length, then its bytes) at ``at``, and where it ends. Raises ValueError when cut."""
    start = at + 4
    end = start + int.from_bytes(data[at:start], "big")
    if len(data) < max(start, end):
        raise ValueError("cut short")
    return data[start:end], end


@dataclass(frozen=True, slots=True)
class SshPublicKey:
    """A public key as SSH has it on the wire and, in base64, in a ``.pub`` file."""

    blob: bytes

    @property
    def kind(self) -> str:
        """``ssh-rsa``, ``ecdsa-sha2-nistp256``, ...; empty for what is no key."""
        try:
            return take_string(self.blob, 0)[0].decode("ascii")
        except ValueError:
            return ""

    @property
    def md5(self) -> str:
        """16 pairs of lower-case hex digits with colons: the form on the wire, without a prefix."""
        return hashlib.md5(self.blob, usedforsecurity=False).digest().hex(":")

    @property
    def sha256(self) -> str:
        """``SHA256:`` and 43 characters of base64, as ``ssh-keygen -l`` prints it."""
        digest = hashlib.sha256(self.blob).digest()
        return f"SHA256:{base64.b64encode(digest).decode().rstrip('=')}"

    @property
    def certificate(self) -> bool:
        """Whether this is no key but a certificate for one."""
        return self.kind.endswith("-cert-v01@openssh.com")

    @property
    def fault(self) -> str:
        """Why no request can be signed with a key of this kind; empty when one can."""
        if self.kind in _USABLE:
            return ""
        if self.kind == "ssh-dss":
            return "is a DSA key, which SSH itself has given up; use an ed25519, ECDSA or RSA key"
        if self.kind.startswith("sk-"):
            return "lies on a security key, whose signatures no server of Manta can check; use another key"
        return "is not an ed25519, ECDSA (P-256, P-384, P-521) or RSA key"

    @property
    def agent_fault(self) -> str:
        """Why no request can be signed with this key by an ssh-agent; empty when one can."""
        if self.kind == P384:
            return (
                "is an ECDSA P-384 key, with which ssh-agent signs SHA-384, and Manta's servers know no SHA-384; use"
                " it from a file, or use an ed25519, RSA, P-256 or P-521 key"
            )
        return self.fault


def parse_public(line: bytes) -> SshPublicKey | None:
    """The key in the first line of a ``.pub`` file: ``TYPE BASE64 COMMENT``. None for anything else."""
    fields = line.split(b"\n", 1)[0].split()
    try:
        key = SshPublicKey(binascii.a2b_base64(fields[1], strict_mode=True))
    except (IndexError, binascii.Error):
        return None
    return key if key.kind and key.kind.encode() == fields[0] else None


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """What names a key: ``MD5:aa:bb:...`` or ``SHA256:...``, in the one form that ``ssh-keygen -l`` prints."""

    text: str

    def __str__(self) -> str:
        return self.text

    def matches(self, key: SshPublicKey) -> bool:
        return self.text == (f"MD5:{key.md5}" if self.text.startswith("MD5:") else key.sha256)

    @property
    def printed_by(self) -> str:
        """The command that prints fingerprints of this form."""
        return f"ssh-keygen -E {'md5' if self.text.startswith('MD5:') else 'sha256'} -lf FILE"


def parse_fingerprint(value: str, setting: str) -> Fingerprint | None:
    """``aa:bb:...``, ``MD5:aa:bb:...`` or ``SHA256:...`` (with or without its ``=``); None: it is something else.

    Raises UsageError, which names the setting, for what begins like one and is none.
    """
    if found := _MD5.fullmatch(value):
        return Fingerprint(f"MD5:{found[1].lower()}")
    if found := _SHA256.fullmatch(value):
        return Fingerprint(f"SHA256:{found[1]}")
    if _MEANT.match(value):
        raise UsageError(
            f"{setting}: not a whole fingerprint: MD5 has 16 pairs of hex digits with ':' between them, SHA256: has"
            " 43 characters of base64 after it; ssh-keygen -lf FILE prints the latter"
        )
    return None
