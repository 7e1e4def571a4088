"""Who may get in where: our key (F09), the node's key (F73), and the algorithms (F75)."""

from __future__ import annotations

import dataclasses
import signal
import socket
import subprocess
import threading
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import paramiko
import pytest
from paramiko.common import MSG_CHANNEL_OPEN_FAILURE, MSG_EXT_INFO, MSG_REQUEST_FAILURE

from sdc_thoth.algorithms import CIPHERS
from sdc_thoth.config import SshSettings
from sdc_thoth.errors import (
    NodeDenied,
    NodeError,
    NodeUnreachable,
)
from sdc_thoth.known_hosts import KnownHosts
from sdc_thoth.session import Credentials, open_session, read_credentials
from tests.sdc_thoth.reaching import at, refused, server, within
from tests.support.server import make_key
from tests.support.sshd import Fleet
from tests.support.sshd import Node as Machine
from thoth import Result, UsageError

# ---- our key ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "pem"), [("ed25519", False), ("ecdsa", False), ("rsa", False), ("ecdsa", True), ("rsa", True)]
)
def test_keys_of_all_kinds_let_us_in(
    node: Callable[..., Machine], trusted: Callable[..., Credentials], tmp_path: Path, kind: str, pem: bool
) -> None:
    machine, key = node(), tmp_path / "key"
    machine.authorize(make_key(key, kind))
    if pem:
        subprocess.run(["ssh-keygen", "-q", "-p", "-m", "PEM", "-N", "", "-f", key], check=True, capture_output=True)
        assert b"OPENSSH" not in key.read_bytes()
    with (
        open_session(at(machine), trusted(machine, key=key), connect_timeout=5, idle_timeout=5) as session,
        session.run("echo in") as channel,
    ):
        assert channel.recv() == b"in\n"


def test_F09_refused_and_no_other_way_is_tried(
    shared: Machine, trusted: Callable[..., Credentials], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = tmp_path / "key"
    make_key(key)
    with socket.socket(socket.AF_UNIX) as agent:
        agent.bind(str(tmp_path / "agent"))
        agent.listen()
        agent.settimeout(0)
        monkeypatch.setenv("SSH_AUTH_SOCK", str(tmp_path / "agent"))
        error = refused(at(shared), trusted(shared, key=key), 5)
        with pytest.raises(BlockingIOError):  # nobody asked the agent
            agent.accept()
    assert isinstance(error, NodeDenied)
    assert error.result is Result.DENIED
    assert f"does not let root in with the key {key} (SHA256:" in str(error)
    assert "authorized_keys" in str(error)


def test_F09_a_node_that_wants_a_password(fleet: Callable[..., Fleet], trusted: Callable[..., Credentials]) -> None:
    options = ["PubkeyAuthentication no", "PasswordAuthentication yes", "PermitRootLogin yes"]
    machine = fleet(1, options=options)[0]
    assert "it takes only password" in str(refused(at(machine), trusted(machine), 5))


def test_F09_a_node_that_wants_more_than_a_key(
    fleet: Callable[..., Fleet], trusted: Callable[..., Credentials]
) -> None:
    options = [
        "AuthenticationMethods publickey,password",
        "PasswordAuthentication yes",
        "PermitRootLogin yes",
    ]
    machine = fleet(1, options=options)[0]
    error = refused(at(machine), trusted(machine), 5)
    assert isinstance(error, NodeDenied)
    assert "takes our key and then wants password" in str(error)


def test_F09_keys_that_cannot_be_used(tmp_path: Path) -> None:
    key, hosts = tmp_path / "key", tmp_path / "known_hosts"

    def message() -> str:
        with pytest.raises(UsageError) as caught:
            read_credentials(SshSettings(key, hosts))
        assert str(caught.value).startswith(f"key {key}: ")
        return str(caught.value).removeprefix(f"key {key}: ")

    assert message() == "No such file or directory"
    make_key(key)
    for mode in (0o644, 0o640, 0o604, 0o602):
        key.chmod(mode)
        assert message() == f"others may use it (mode {mode:04o}); run: chmod 600 {key}"
    key.chmod(0o600)
    read_credentials(SshSettings(key, hosts))
    for pem in ([], ["-m", "PEM"]):
        make_key(key, "ecdsa")
        subprocess.run(["ssh-keygen", "-q", "-p", *pem, "-N", "secret", "-f", key], check=True, capture_output=True)
        assert message() == "has a passphrase, and nobody is there to type it: give a key without"
    key.write_text("-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n-----END OPENSSH PRIVATE KEY-----\n")
    assert message() == "not a private key in OpenSSH's format or PEM"
    key.write_bytes(b"\xff" * 200_000)
    assert message() == "not a private key in OpenSSH's format or PEM"
    key.unlink()
    key.mkdir(0o700)
    assert message() == "not a regular file"
    with pytest.raises(UsageError, match=r"no private key: .* \[ssh\] key"):
        read_credentials(SshSettings(None, hosts))


# ---- the node's key --------------------------------------------------------------------------------


def fingerprint(line: str) -> str:
    printed = subprocess.run(["ssh-keygen", "-lf", "-"], input=line, capture_output=True, text=True, check=True)
    return printed.stdout.split()[1]


def test_F73_an_unknown_key(shared: Machine, trusted: Callable[..., Credentials]) -> None:
    error = refused(at(shared), trusted(shared, known=""), 5)
    assert isinstance(error, NodeDenied)
    assert "host key unknown" in str(error)
    assert fingerprint(shared.known_hosts_line()) in str(error)
    assert str(error).endswith("sdc-thoth hostkeys shared")


def test_F73_a_changed_key(node: Callable[..., Machine], trusted: Callable[..., Credentials]) -> None:
    machine = node(own_process=True)
    credentials = trusted(machine)
    before = fingerprint(machine.known_hosts_line())
    machine.restart(new_host_key=True)
    error = refused(at(machine), credentials, 5)
    assert isinstance(error, NodeDenied)
    for part in ("CHANGED", before, fingerprint(machine.known_hosts_line()), "sdc-thoth hostkeys cn0"):
        assert part in str(error)


def test_F73_another_type_of_key_is_not_the_pinned_one(
    fleet: Callable[..., Fleet], trusted: Callable[..., Credentials]
) -> None:
    machine = fleet(1, host_key_types=["ecdsa"])[0]
    pinned = "[{}]:{} {}".format(machine.address, machine.port, make_key(fleet(0).folder / "other"))
    error = refused(at(machine), trusted(machine, known=pinned + "\n"), 5)
    assert "CHANGED" in str(error)
    assert "ecdsa-sha2-nistp256 SHA256:" in str(error)
    assert "ssh-ed25519 SHA256:" in str(error)


@pytest.mark.parametrize("type", ["ed25519", "ecdsa", "rsa"])
def test_F73_the_type_that_is_pinned_is_asked_for(
    zoo: Machine, trusted: Callable[..., Credentials], type: str
) -> None:
    (line,) = [line for line in zoo.known_hosts_line().splitlines() if type in line]
    with open_session(at(zoo), trusted(zoo, known=line + "\n"), connect_timeout=5, idle_timeout=5):
        pass


@pytest.fixture(scope="module")
def zoo() -> Iterator[Machine]:
    """A node with host keys of all types."""
    with Fleet(["zoo"], host_key_types=("ed25519", "ecdsa", "rsa")) as fleet:
        yield fleet[0]


def test_F73_a_revoked_key(shared: Machine, trusted: Callable[..., Credentials]) -> None:
    line = shared.known_hosts_line()
    error = refused(at(shared), trusted(shared, known=line + "@revoked * " + line.split(" ", 1)[1]), 5)
    assert isinstance(error, NodeDenied)
    assert "which is revoked in" in str(error)


def test_F73_a_hashed_file(tmp_path: Path, fleet: Callable[..., Fleet]) -> None:
    made = fleet(2)
    hosts = made.write_known_hosts(tmp_path / "hosts", hashed=True)
    credentials = read_credentials(SshSettings(made.identity_file, hosts))
    for machine in made:
        open_session(at(machine), credentials, connect_timeout=5, idle_timeout=5).close()


def test_F73_a_certificate_does_not_stand_in_for_the_key(
    fleet: Callable[..., Fleet], trusted: Callable[..., Credentials], tmp_path: Path
) -> None:
    machine = fleet(1, own_process=True)[0]
    ca = tmp_path / "ca"
    known = f"@cert-authority * {make_key(ca)}\n"
    with pytest.raises(UsageError, match="known_hosts:1: @cert-authority is not supported"):
        trusted(machine, known=known)


def test_F73_nothing_in_the_source_accepts_keys_by_itself() -> None:
    source = Path(__file__).parents[2] / "sdc_thoth"
    for path in source.rglob("*.py"):
        text = path.read_text()
        assert "AutoAddPolicy" not in text
        assert "WarningPolicy" not in text


# ---- weak and odd servers --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("option", "kind", "named"),
    [
        ("HostKeyAlgorithms ssh-rsa", "host key", "ssh-rsa"),
        ("Ciphers aes128-cbc", "cipher", "aes128-cbc"),
        ("MACs hmac-sha1", "MAC", "hmac-sha1"),
        ("KexAlgorithms diffie-hellman-group14-sha1", "key exchange", "diffie-hellman-group14-sha1"),
    ],
)
def test_F75_the_algorithm_that_is_missing_is_named(
    fleet: Callable[..., Fleet], trusted: Callable[..., Credentials], option: str, kind: str, named: str
) -> None:
    machine = fleet(1, options=[option], host_key_types=["rsa" if named == "ssh-rsa" else "ed25519"])[0]
    error = refused(at(machine), trusted(machine), 5)
    assert isinstance(error, NodeUnreachable)
    assert f"no {kind} algorithm in common: it offers only {named}" in str(error)


@pytest.mark.parametrize("offered", ["zlib", "zlib@openssh.com"])
def test_F75_a_server_that_wants_to_compress_everything_is_refused(
    offered: str, somebody: Credentials, tmp_path: Path
) -> None:
    """A few bytes of its could fill our memory; each sshd also knows ``none``, so it takes a server of our own."""
    host_key = make_key(tmp_path / "host_key")

    def talk(connection: socket.socket) -> None:
        transport = paramiko.Transport(connection)
        transport._compression_info = {  # type: ignore[attr-defined]
            offered: transport._compression_info["zlib"]  # type: ignore[attr-defined]
        }
        transport.get_security_options().compression = (offered,)
        transport.add_server_key(paramiko.Ed25519Key.from_private_key_file(str(tmp_path / "host_key")))
        transport.start_server(event=threading.Event(), server=paramiko.ServerInterface())
        transport.join(10)
        transport.packetizer.complete_handshake()  # its timer outlives it

    with server(talk) as node, within(10):
        known = tmp_path / "hosts"
        known.write_text(f"{node.place} {host_key}\n")
        error = refused(node, dataclasses.replace(somebody, known_hosts=KnownHosts.read(known)), 5)
    assert isinstance(error, NodeUnreachable)
    assert f"no compression algorithm in common: it offers only {offered}, needed is one of none" in str(error)


def test_F75_rsa_signatures_with_sha1_only(trusted: Callable[..., Credentials], tmp_path: Path) -> None:
    # OpenSSH names all algorithms that it knows, so an old server's list needs a server of our own.
    make_key(tmp_path / "key", "rsa")
    host_key = make_key(tmp_path / "host_key")

    def talk(connection: socket.socket) -> None:
        transport = paramiko.Transport(connection)
        transport._preferred_pubkeys = ("ssh-rsa",)  # type: ignore[attr-defined]  # what it announces
        transport.add_server_key(paramiko.Ed25519Key.from_private_key_file(str(tmp_path / "host_key")))
        transport.start_server(event=threading.Event(), server=paramiko.ServerInterface())
        transport.join(10)

    with server(talk) as node:
        known = tmp_path / "hosts"
        known.write_text(f"{node.place} {host_key}\n")
        error = refused(node, read_credentials(SshSettings(tmp_path / "key", known)), 5)
    assert isinstance(error, NodeDenied)
    assert "takes RSA keys only with SHA-1 signatures (it names ssh-rsa): use an ed25519 key" in str(error)


def test_F75_four_billion_extensions(somebody: Credentials, tmp_path: Path) -> None:
    # paramiko would go through them one by one, for an hour, whether they are there or not.
    host_key = make_key(tmp_path / "host_key")

    def talk(connection: socket.socket) -> None:
        transport = paramiko.Transport(connection)
        transport.add_server_key(paramiko.Ed25519Key.from_private_key_file(str(tmp_path / "host_key")))
        shaken = threading.Event()
        transport.start_server(event=shaken, server=paramiko.ServerInterface())
        shaken.wait(5)
        flood = paramiko.Message()
        flood.add_byte(bytes([MSG_EXT_INFO]))
        flood.add_int(0xFFFFFFFF)
        transport._send_message(flood)
        transport.join(10)

    with server(talk) as node, within(10):
        known = tmp_path / "hosts"
        known.write_text(f"{node.place} {host_key}\n")
        trust = dataclasses.replace(somebody, known_hosts=KnownHosts.read(known))
        assert isinstance(refused(node, trust, 1), NodeError)


_FLOODS = {"global requests": b"\x50", "channels": b"\x5a", "debug": b"\x04", "ignore": b"\x02"}


class _Deaf(paramiko.Transport):
    """A server that does not mind what is answered, so that nothing but the client ends a flood."""

    def __init__(self, connection: socket.socket) -> None:
        super().__init__(connection)
        answers = (MSG_REQUEST_FAILURE, MSG_CHANNEL_OPEN_FAILURE)
        self._handler_table = {**self._handler_table, **dict.fromkeys(answers, lambda _message: None)}

    def _ensure_authed(self, _kind: int, _message: paramiko.Message) -> None:
        """paramiko would refuse the answers, since nobody has been let in."""


class _Undecided(paramiko.ServerInterface):
    """Answers nobody who wants to be let in before the flood has ended."""

    def __init__(self) -> None:
        self.over = threading.Event()

    def get_allowed_auths(self, _user: str) -> str:
        self.over.wait(20)
        return "password"


@pytest.mark.parametrize("kind", _FLOODS)
def test_F75_a_flood_of_requests(kind: str, somebody: Credentials, tmp_path: Path) -> None:
    """They are answered or passed over as they come: nothing is kept of them, and the handshake has its limits."""
    host_key = make_key(tmp_path / "host_key")
    sent = 0

    def talk(connection: socket.socket) -> None:
        nonlocal sent
        transport, undecided = _Deaf(connection), _Undecided()
        transport.add_server_key(paramiko.Ed25519Key.from_private_key_file(str(tmp_path / "host_key")))
        shaken = threading.Event()
        transport.start_server(event=shaken, server=undecided)
        shaken.wait(5)
        with suppress(OSError, EOFError, paramiko.SSHException):  # the client has had enough
            for sent in range(100_000):
                transport._send_message(_flood(kind, sent))
        undecided.over.set()
        transport.close()

    tracemalloc.start()
    try:
        with server(talk) as node, within(60):
            known = tmp_path / "hosts"
            known.write_text(f"{node.place} {host_key}\n")
            trust = dataclasses.replace(somebody, known_hosts=KnownHosts.read(known))
            error = refused(node, trust, 4)
            assert "authentication" in str(error)  # the key exchange is over, and nobody was let in
            assert tracemalloc.get_traced_memory()[1] < 30 << 20
            assert sent > 100
    finally:
        tracemalloc.stop()


def _flood(kind: str, number: int) -> paramiko.Message:
    message = paramiko.Message()
    message.add_byte(_FLOODS[kind])
    if kind == "channels":
        message.add_string("session")
        for value in (number, 1 << 20, 1 << 15):
            message.add_int(value)
    elif kind == "global requests":
        message.add_string("keepalive@openssh.com")
        message.add_boolean(True)
    else:
        message.add_boolean(False)
        message.add_string("x" * 1000)
        message.add_string("")
    return message


def test_F75_without_strict_key_exchange_the_algorithms_are_safe_ones() -> None:
    """What cannot be used to cut the beginning of a session off is all that we take: no chacha20, no CBC with EtM."""
    assert all(name.endswith(("-gcm@openssh.com", "-ctr")) for name in CIPHERS)


def test_paramiko_says_nothing_by_itself(
    shared: Machine,
    trusted: Callable[..., Credentials],
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    with server(lambda connection: connection.sendall(b"SSH-2.0-x\r\n" + bytes(1000))) as node:
        refused(node, trusted(shared))
    out, err = capfd.readouterr()
    assert (out, err, caplog.records) == ("", "", [])
    assert signal.getsignal(signal.SIGPIPE) is signal.SIG_IGN
