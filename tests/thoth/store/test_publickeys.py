"""How a key is named: fingerprints in their forms, and what is refused."""

from __future__ import annotations

import pytest

from tests.support.sshagent import framed
from tests.support.sshkeys import KINDS, SshKeys
from thoth.errors import UsageError
from thoth.store.publickeys import Fingerprint, SshPublicKey, parse_fingerprint, parse_public

MD5 = "3d:ba:35:d8:54:d0:90:10:fc:fc:53:f1:5e:9a:7c:34"
SHA256 = "SHA256:" + "aB3/+" * 8 + "xyz"


@pytest.mark.parametrize("kind", KINDS)
def test_fingerprints_are_ssh_keygens(ssh_keys: SshKeys, kind: str) -> None:
    key = parse_public(ssh_keys[kind].public.encode())
    assert key
    assert (key.md5, key.sha256) == (ssh_keys[kind].md5, ssh_keys[kind].sha256)
    assert key.fault == ""
    assert bool(key.agent_fault) == (kind == "p384")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (MD5, f"MD5:{MD5}"),
        (f"MD5:{MD5}", f"MD5:{MD5}"),
        (f"md5:{MD5.upper()}", f"MD5:{MD5}"),
        (SHA256, SHA256),
        (f"{SHA256}=", SHA256),
    ],
)
def test_forms_of_a_fingerprint(value: str, text: str) -> None:
    assert parse_fingerprint(value, "MANTA_KEY_ID") == Fingerprint(text)


@pytest.mark.parametrize(
    "value",
    [
        MD5[:-3],
        f"{MD5}:00",
        f"MD5:{MD5[:-1]}",
        f"{MD5}\n",
        SHA256[:-1],
        f"{SHA256}==",
        f"{SHA256}a",
        "SHA256:",
        "aa:",
    ],
)
def test_almost_a_fingerprint(value: str) -> None:
    with pytest.raises(UsageError, match=r"^MANTA_KEY_ID: not a whole fingerprint: MD5 has 16 pairs .*; ssh-keygen"):
        parse_fingerprint(value, "MANTA_KEY_ID")


@pytest.mark.parametrize("value", ["", "~/.ssh/id_rsa", "id_rsa", "/a/b", "SHA1:abc"])
def test_something_else(value: str) -> None:
    assert parse_fingerprint(value, "MANTA_KEY_ID") is None


def test_the_command_that_prints_the_same_form() -> None:
    assert Fingerprint(f"MD5:{MD5}").printed_by == "ssh-keygen -E md5 -lf FILE"
    assert Fingerprint(SHA256).printed_by == "ssh-keygen -E sha256 -lf FILE"


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"\n",
        b"ssh-rsa",
        b"ssh-rsa AAAA",  # an empty string is no kind
        b"ssh-rsa ====",
        b"ssh-rsa AAAAC3NzaC1lZDI1NTE5AAAAIA==",  # it is an ed25519 key's
        b"-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA",
        b"\xff\xfe\x00 \xff",
    ],
)
def test_no_public_key(line: bytes) -> None:
    assert parse_public(line) is None


@pytest.mark.parametrize(
    ("kind", "fault"),
    [
        (b"ssh-dss", "is a DSA key"),
        (b"sk-ssh-ed25519@openssh.com", "lies on a security key"),
        (b"ssh-ed448", "is not an ed25519, ECDSA"),
    ],
)
def test_kinds_that_cannot_be_used(kind: bytes, fault: str) -> None:
    key = SshPublicKey(framed(kind) + framed(b"x"))
    assert key.fault.startswith(fault)
    assert key.agent_fault == key.fault


def test_a_key_that_is_none_has_no_kind() -> None:
    assert SshPublicKey(b"\0\0\0\x09ssh").kind == ""
    assert SshPublicKey(framed(b"\xff")).kind == ""
