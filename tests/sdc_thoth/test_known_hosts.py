"""The file that pins host keys (F73), read as OpenSSH reads it, but for lines that it would skip."""

from __future__ import annotations

import base64
import os
import subprocess
from pathlib import Path

import pytest

from sdc_thoth.errors import NodeDenied
from sdc_thoth.inventory import Node
from sdc_thoth.known_hosts import HostKey, KnownHosts
from tests.support.server import make_key
from thoth import UsageError

PATH = Path("/etc/known_hosts")


def key(fill: int, type: str = "ssh-ed25519") -> HostKey:
    name = type.encode()
    return HostKey(type, len(name).to_bytes(4, "big") + name + b"\0\0\0\x20" + bytes([fill]) * 32)


A, B, C = key(1), key(2), key(3, "ssh-rsa")
NODE = Node("cn0", "10.0.0.7")
OTHER_PORT = Node("cn0", "10.0.0.7", 2222)


def known(*lines: str) -> KnownHosts:
    return KnownHosts.parse("".join(line + "\n" for line in lines).encode(), PATH)


def text(key: HostKey) -> str:
    return key.line("").strip()


@pytest.mark.parametrize(
    "hosts",
    [
        "10.0.0.7",
        "cn0",
        "CN0",
        "other,10.0.0.7,third",
        "10.0.0.*",
        "10.0.?.7",
        "*",
        "*,!10.0.0.8",
        "|1|F1E1KeoE/eEWhi10WpGv4OdiO6Y=|3988QV0VE8wmZL7suNrYQLITLCg=,",  # replaced below
    ],
)
def test_lines_that_speak_of_a_node(hosts: str, tmp_path: Path) -> None:
    if hosts.startswith("|"):
        file = tmp_path / "known_hosts"
        file.write_text(A.line("10.0.0.7") + "\n")
        subprocess.run(["ssh-keygen", "-q", "-H", "-f", file], check=True, capture_output=True)
        assert "10.0.0.7" not in file.read_text()
        found = KnownHosts.read(file)
    else:
        found = known(f"{hosts} {text(A)} a comment")
    assert found.keys(NODE) == (A,)
    assert found.keys(Node("x", "10.1.0.9")) == ((A,) if hosts.startswith("*") else ())


@pytest.mark.parametrize("hosts", ["10.0.0.8", "10.0.0.7:22", "[10.0.0.7]:2222", "*,!cn0,!10.0.0.7", "cn", "10.0.0."])
def test_lines_that_speak_of_others(hosts: str) -> None:
    assert known(f"{hosts} {text(A)}").keys(NODE) == ()


def test_F73_a_port_is_part_of_the_name() -> None:
    found = known(A.line("10.0.0.7"), B.line("[10.0.0.7]:2222"))
    assert found.keys(NODE) == (A,)
    assert found.keys(OTHER_PORT) == (B,)


def test_comments_and_empty_lines_and_several_keys() -> None:
    found = known("# hosts", "", "  ", "   # more", A.line("10.0.0.7"), C.line("cn0"), A.line("cn0"))
    assert found.keys(NODE) == (A, C)


def test_a_pattern_with_many_stars_takes_no_time() -> None:
    found = known(("*a" * 500) + f"b {text(A)}")
    assert found.keys(Node("cn0", "a" * 250)) == ()


def test_F73_revoked_keys_are_never_pinned() -> None:
    found = known(A.line("10.0.0.7"), f"@revoked * {text(A)}", B.line("10.0.0.7"))
    assert found.keys(NODE) == (B,)
    assert found.is_revoked(NODE, A)
    with pytest.raises(
        NodeDenied, match=r"^cn0 \(10.0.0.7\): shows the host key .*, which is revoked in /etc/known_hosts$"
    ):
        found.check(NODE, A)
    found.check(NODE, B)


def test_F73_unknown_and_changed_name_the_fingerprints_and_the_command() -> None:
    with pytest.raises(NodeDenied) as unknown:
        known().check(NODE, A)
    assert A.fingerprint in str(unknown.value)
    assert "sdc-thoth hostkeys cn0" in str(unknown.value)
    with pytest.raises(NodeDenied) as changed:
        known(B.line("10.0.0.7"), C.line("10.0.0.7")).check(NODE, A)
    for part in (A.fingerprint, B.fingerprint, C.fingerprint, "CHANGED", "sdc-thoth hostkeys cn0"):
        assert part in str(changed.value)


BAD = [
    ("10.0.0.7 ssh-ed25519", "not a line of hosts, key type and key"),
    ("10.0.0.7", "not a line of hosts, key type and key"),
    ("@revoked", "not a line of hosts, key type and key"),
    (f"@cert-authority * {text(A)}", "@cert-authority is not supported"),
    (f"@unknown * {text(A)}", "unknown marker @unknown"),
    (f"10.0.0.7 ssh-rsa {text(A).split()[1]}", "not a key of type ssh-rsa"),
    ("10.0.0.7 ssh-ed25519 AAAA!!!!", "not a key of type ssh-ed25519"),
    (f"10.0.0.7 ssh-ed25519 {text(A).split()[1][:-3]}", "not a key of type ssh-ed25519"),
    ("10.0.0.7 ssh-ed25519 " + base64.b64encode(A.blob[:15]).decode(), "the key is cut short"),
    ("10.0.0.7 2048 35 123456789", "not a key of type 2048"),
    (f"a,,b {text(A)}", "an empty name among the hosts"),
    (f"|1|abc {text(A)}", "not a hashed host name"),
    (f"|2|AAAA|AAAA {text(A)}", "not a hashed host name"),
    (f"|1|AAAA|AAAA {text(A)}", "not a hashed host name"),
    ("10.0.0.7\x1b[2J x", "not a line of hosts"),
]


@pytest.mark.parametrize(("line", "message"), BAD)
def test_F73_a_line_that_is_not_understood_is_an_error(line: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        known(A.line("10.0.0.7"), line)
    assert str(caught.value).startswith(f"/etc/known_hosts:2: {message}")


def test_F73_files_that_are_not_taken(tmp_path: Path) -> None:
    assert KnownHosts.read(tmp_path / "none").entries == ()
    file = tmp_path / "known_hosts"
    file.write_bytes(A.line("a").encode() + b"\n# \xff\n")
    with pytest.raises(UsageError, match=r"known_hosts:2: not UTF-8 text"):
        KnownHosts.read(file)
    file.write_text("")
    file.chmod(0o666)
    with pytest.raises(UsageError, match="others may write to it; run: chmod go-w"):
        KnownHosts.read(file)
    os.mkfifo(tmp_path / "fifo")
    for odd in (tmp_path, tmp_path / "fifo"):
        with pytest.raises(UsageError, match="not a regular file"):
            KnownHosts.read(odd)


@pytest.mark.parametrize("kind", ["ed25519", "ecdsa", "rsa"])
def test_fingerprints_as_openssh_prints_them(tmp_path: Path, kind: str) -> None:
    make_key(tmp_path / "key", kind)
    printed = subprocess.run(
        ["ssh-keygen", "-lf", tmp_path / "key.pub"], check=True, capture_output=True, text=True
    ).stdout
    type, encoded = (tmp_path / "key.pub").read_text().split()[:2]
    found = KnownHosts.parse(f"a {type} {encoded}\n".encode(), PATH)
    (entry,) = found.entries
    assert entry.key.fingerprint == printed.split()[1]
    assert entry.key.line("a") == f"a {type} {encoded}"


def test_ten_thousand_nodes_are_looked_up_at_once() -> None:
    found = known(*(A.line(f"10.{n >> 8}.{n & 255}.1") for n in range(10_000)))
    assert all(found.keys(Node("x", f"10.{n >> 8}.{n & 255}.1")) for n in range(10_000))
