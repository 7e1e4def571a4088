"""``sdc-thoth hostkeys`` on real servers (F73): what it shows, asks and writes."""

from __future__ import annotations

import stat
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sdc_thoth.config import SshSettings
from sdc_thoth.hostkeys import fetch_host_keys, pin_host_keys
from sdc_thoth.inventory import Node
from sdc_thoth.known_hosts import HostKey, KnownHosts
from sdc_thoth.session import open_session, read_credentials
from tests.support.chaos import Proxy, Silence
from tests.support.server import make_key
from tests.support.sshd import Fleet
from tests.support.sshd import Node as Machine
from thoth import UsageError


@pytest.fixture(scope="module")
def zoo() -> Iterator[Fleet]:
    """Two nodes with host keys of three types each."""
    with Fleet(["cn0", "cn1"], host_key_types=("ed25519", "ecdsa", "rsa")) as fleet:
        yield fleet


def node(machine: Machine) -> Node:
    return Node(machine.name, machine.address, machine.port)


class Run:
    """One run of the command on these nodes: what was said and asked. ``answers`` are given in turn."""

    def __init__(
        self, known_hosts: Path, *nodes: Node, yes: bool = False, answers: str = "", timeout: float = 10
    ) -> None:
        self.said: list[str] = []
        self.asked: list[str] = []
        self._answers = list(answers)
        self.status = pin_host_keys(
            nodes, known_hosts, timeout=timeout, yes=yes, say=self.said.append, confirm=self._confirm
        )
        assert not self._answers

    def _confirm(self, question: str) -> bool:
        self.asked.append(question)
        return self._answers.pop(0) == "y"

    @property
    def standings(self) -> list[str]:
        return [line.split()[-1] for line in self.said if "SHA256:" in line]


def scanned(machine: Machine) -> set[tuple[str, str]]:
    """Types and fingerprints as OpenSSH's own tool prints them."""
    printed = subprocess.run(
        ["ssh-keygen", "-lf", "-"],
        input=machine.known_hosts_line(),
        capture_output=True,
        text=True,
        check=True,
    )
    lines = [line.split() for line in printed.stdout.splitlines()]
    return {(line[-1].strip("()").lower(), line[1]) for line in lines}


def wrong(machine: Machine, tmp_path: Path, kind: str = "ed25519") -> str:
    """A line that pins a key which the machine does not have."""
    return f"[{machine.address}]:{machine.port} {make_key(tmp_path / 'wrong', kind)}\n"


def test_keys_of_all_types_as_the_server_has_them(zoo: Fleet) -> None:
    for machine in zoo:
        keys = fetch_host_keys(node(machine), 5)
        kinds = {"ssh-ed25519": "ed25519", "ecdsa-sha2-nistp256": "ecdsa", "ssh-rsa": "rsa"}
        assert {(kinds[key.type], key.fingerprint) for key in keys} == scanned(machine)
        assert len(keys) == 3


def test_new_keys_are_shown_asked_about_once_and_written(zoo: Fleet, tmp_path: Path) -> None:
    hosts = tmp_path / "state" / "known_hosts"
    run = Run(hosts, *map(node, zoo), answers="y")
    assert run.status == 0
    assert run.asked == ["Pin 6 keys of 2 nodes never seen before?"]
    assert run.standings == ["new"] * 6
    machine = zoo["cn0"]
    shown = {tuple(line.split()[3:4]) for line in run.said if line.startswith("cn0 ")}
    assert shown == {(fingerprint,) for _, fingerprint in scanned(machine)}
    assert run.said[0].startswith(f"cn0 [{machine.address}]:{machine.port} ssh-ed25519 SHA256:")
    assert stat.S_IMODE(hosts.stat().st_mode) == 0o600
    assert sorted(hosts.read_text().splitlines()) == sorted(
        line for each in zoo for line in each.known_hosts_line().splitlines()
    )
    credentials = read_credentials(SshSettings(zoo.identity_file, hosts))
    open_session(node(machine), credentials, connect_timeout=5, idle_timeout=5).close()
    again = Run(hosts, *map(node, zoo))
    assert (again.status, again.standings) == (0, ["known"] * 6)


def test_no_is_no(zoo: Fleet, tmp_path: Path) -> None:
    hosts = tmp_path / "known_hosts"
    assert Run(hosts, node(zoo["cn0"]), answers="n").status == 1
    assert not hosts.exists()


def test_yes_does_not_ask_and_keeps_what_stood_there(zoo: Fleet, tmp_path: Path) -> None:
    hosts = tmp_path / "known_hosts"
    before = "# ours\n" + wrong(zoo["cn1"], tmp_path).replace("127.", "10.")
    hosts.write_text(before)
    run = Run(hosts, node(zoo["cn0"]), yes=True)
    assert (run.status, run.asked) == (0, [])
    assert hosts.read_text().startswith(before)
    assert len(KnownHosts.read(hosts).keys(node(zoo["cn0"]))) == 3


def test_F73_yes_does_not_replace_a_changed_key(zoo: Fleet, tmp_path: Path) -> None:
    hosts = tmp_path / "known_hosts"
    hosts.write_text(wrong(zoo["cn0"], tmp_path))
    before = hosts.read_bytes()
    run = Run(hosts, node(zoo["cn0"]), yes=True)
    assert (run.status, run.asked) == (1, [])
    # None of its keys is the pinned one, so the other types prove nothing either.
    assert run.standings == ["CHANGED"] * 3
    assert hosts.read_bytes() == before


def test_F73_each_changed_key_is_asked_about_alone(zoo: Fleet, tmp_path: Path) -> None:
    hosts = tmp_path / "known_hosts"
    machine = zoo["cn0"]
    old = KnownHosts.parse(wrong(machine, tmp_path).encode(), hosts).entries[0].key
    hosts.write_text(f"a.example,[{machine.address}]:{machine.port} {old.line('').strip()} both\n")
    run = Run(hosts, node(machine), answers="ynn")
    assert run.status == 1
    assert len(run.asked) == 3
    assert run.asked[0].startswith(
        f"cn0 ([{machine.address}]:{machine.port}): the key has CHANGED from {old} to ssh-ed25519 "
    )
    known = KnownHosts.read(hosts)
    assert [key.type for key in known.keys(node(machine))] == ["ssh-ed25519"]
    assert old not in known.keys(node(machine))
    assert known.keys(Node("a.example", "a.example")) == (old,)  # the line's other host keeps it
    # One key is proved now; the others are new ones of a node that we know.
    assert Run(hosts, node(machine), answers="y").standings == ["known", "new", "new"]


@pytest.mark.parametrize("hashed", [False, True])
def test_a_line_that_speaks_of_the_node_alone_goes(zoo: Fleet, tmp_path: Path, hashed: bool) -> None:
    hosts = tmp_path / "known_hosts"
    hosts.write_text(wrong(zoo["cn0"], tmp_path))
    if hashed:
        subprocess.run(["ssh-keygen", "-q", "-H", "-f", hosts], check=True, capture_output=True)
    assert Run(hosts, node(zoo["cn0"]), answers="yyy").status == 0
    assert sorted(hosts.read_text().splitlines()) == sorted(zoo["cn0"].known_hosts_line().splitlines())


def test_a_pattern_is_not_rewritten(zoo: Fleet, tmp_path: Path) -> None:
    hosts = tmp_path / "known_hosts"
    hosts.write_text("* " + wrong(zoo["cn0"], tmp_path).split(" ", 1)[1])
    before = hosts.read_bytes()
    with pytest.raises(UsageError, match=r"known_hosts:1: pins the old key by a pattern; change this line by hand"):
        Run(hosts, node(zoo["cn0"]), answers="yyy")
    assert hosts.read_bytes() == before


def test_F73_a_revoked_key_cannot_be_pinned(zoo: Fleet, tmp_path: Path) -> None:
    hosts = tmp_path / "known_hosts"
    lines = zoo["cn0"].known_hosts_line().splitlines()
    hosts.write_text(f"@revoked * {lines[0].split(' ', 1)[1]}\n")
    run = Run(hosts, node(zoo["cn0"]), yes=True)
    assert run.status == 1
    assert run.standings == ["REVOKED", "new", "new"]
    assert lines[0] not in hosts.read_text()


def test_a_node_that_is_silent_does_not_stop_the_others(zoo: Fleet, tmp_path: Path) -> None:
    hosts = tmp_path / "known_hosts"
    with Proxy(("127.0.0.1", 1), Silence()) as proxy:
        run = Run(hosts, Node("dead", "127.0.0.1", proxy.port), node(zoo["cn0"]), yes=True, timeout=2)
    assert run.status == 1
    assert run.said[0] == f"dead ([127.0.0.1]:{proxy.port}): no SSH banner within 2 s"
    assert run.standings == ["new"] * 3
    assert hosts.exists()


def test_known_hosts_that_somebody_changes_meanwhile(zoo: Fleet, tmp_path: Path, fleet: Callable[..., Fleet]) -> None:
    hosts = tmp_path / "known_hosts"

    def meddle(_question: str) -> bool:
        hosts.write_text(wrong(zoo["cn1"], tmp_path))
        return True

    with pytest.raises(UsageError, match="was changed meanwhile; run the command again"):
        pin_host_keys([node(zoo["cn0"])], hosts, timeout=5, yes=False, say=lambda _line: None, confirm=meddle)
    assert "ecdsa" not in hosts.read_text()


def test_a_link_to_known_hosts_stays_one(zoo: Fleet, tmp_path: Path) -> None:
    hosts = tmp_path / "known_hosts"
    hosts.symlink_to(tmp_path / "real")
    (tmp_path / "real").touch()
    assert Run(hosts, node(zoo["cn0"]), yes=True).status == 0
    assert hosts.is_symlink()
    assert "ssh-ed25519" in (tmp_path / "real").read_text()


def test_names_reach_the_terminal_escaped() -> None:
    key = HostKey("ssh-ed25519", b"x")
    assert "\x1b" not in str(key) + Node("a\x1b[2J", "b\x1b").shown
