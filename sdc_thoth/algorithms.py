"""The SSH algorithms that we take: none with SHA-1 or CBC, and first the ones that are cheapest for us."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from thoth import escaped

# paramiko opens packets of the first one twice as fast as those of its own first choice.
CIPHERS: Final = (
    "aes128-gcm@openssh.com",
    "aes256-gcm@openssh.com",
    "aes128-ctr",
    "aes192-ctr",
    "aes256-ctr",
)
MACS: Final = (
    "hmac-sha2-256-etm@openssh.com",
    "hmac-sha2-512-etm@openssh.com",
    "hmac-sha2-256",
    "hmac-sha2-512",
)
_HOST_KEYS: Final[Mapping[str, tuple[str, ...]]] = {  # type of the key -> algorithms it signs with
    "ssh-ed25519": ("ssh-ed25519",),
    "ecdsa-sha2-nistp256": ("ecdsa-sha2-nistp256",),
    "ecdsa-sha2-nistp384": ("ecdsa-sha2-nistp384",),
    "ecdsa-sha2-nistp521": ("ecdsa-sha2-nistp521",),
    "ssh-rsa": ("rsa-sha2-512", "rsa-sha2-256"),
}


def safe_exchanges(names: Iterable[str]) -> tuple[str, ...]:
    """The key exchanges among these that do not rest on SHA-1."""
    return tuple(name for name in names if not name.endswith("-sha1"))


def host_key_algorithms(first: Iterable[str] = ()) -> tuple[str, ...]:
    """All algorithms for host keys, those for keys of the types ``first`` before the others.

    A host shows the key of the first that it has.
    """
    preferred = frozenset(first)
    types = sorted(_HOST_KEYS, key=lambda type: type not in preferred)
    return tuple(name for type in types for name in _HOST_KEYS[type])


def host_key_families() -> Iterable[tuple[str, ...]]:
    """The algorithms of each type of host key."""
    return _HOST_KEYS.values()


def disagreement(ours: Mapping[str, Sequence[str]], theirs: Mapping[str, Sequence[str]]) -> str:
    """What a handshake failed for: a kind of algorithm with no common name. Both map kinds to names."""
    for kind, names in ours.items():
        offered = theirs.get(kind, ())
        if not set(names) & set(offered):
            listed = escaped(", ".join(offered)[:300])
            return f"no {kind} algorithm in common: it offers only {listed}, needed is one of {', '.join(names)}"
    return ""


def takes_only_sha1(key_type: str, named: str) -> bool:
    """Whether a server that names these algorithms for signatures takes none of today's from an RSA key."""
    names = set(named.split(","))
    return bool(named) and key_type == "ssh-rsa" and not names & {"rsa-sha2-256", "rsa-sha2-512"}
