"""The command that a node runs for the collector's key: dumps, and nothing else (F74)."""

from __future__ import annotations

import os
import shlex
import socket
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from sdc_thoth.images import Ask, image_request
from sdc_thoth.listing import Place
from sdc_thoth.protocol import END, about_request, command, discover_request, hash_request, places_request, script
from tests.support import releases
from tests.support.collector import Collector
from tests.support.elfwriter import illumos_core
from tests.support.processes import wait_until
from tests.support.roots import Flavour
from tests.support.server import free_port
from tests.support.sshagent import SshAgent
from tests.support.sshd import Node

PLACE = "/opt/custom/thoth-node"
RESTRICTED = f'restrict,from="127.0.0.0/8",command="{PLACE}"'


def guarded(node: Node) -> Node:
    """The node with the command in place, and the line in authorized_keys that the installer tells."""
    node.put(PLACE, releases.pack().node_command()).chmod(0o755)
    node.authorize(node.login_key, options=RESTRICTED)
    return node


def ask(node: Node, asked: str, stdin: bytes) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(node.ssh(asked), input=stdin, capture_output=True, timeout=30, check=False)


@pytest.mark.parametrize("flavour", ["smartos", "busybox", "gnu", "little"])
def test_a_pass_is_what_it_is_without(flavour: Flavour, node: Callable[..., Node], tmp_path: Path) -> None:
    machine = guarded(node(flavour=flavour))
    machine.put("/var/tmp/thoth/core.app.1", illumos_core(1, size=20 << 10))
    machine.put("/var/tmp/thoth/core.large.2", illumos_core(2, size=3 << 20))
    known_hosts = tmp_path / "known_hosts"
    known_hosts.write_text(machine.known_hosts_line())
    collector = Collector(
        tmp_path,
        f'[ssh]\nkey = "{machine.identity_file}"\nknown_hosts = "{known_hosts}"\n'
        f'[[node]]\nname = "cn0"\naddress = "{machine.address}"\nport = {machine.port}\n',
    )
    done = collector.collect()
    assert done.code == 0, done.document
    assert {dump["result"] for dump in done.dumps.values()} == {"stored"} and len(done.dumps) == 2


def test_F74_whatever_else_is_asked(node: Callable[..., Node]) -> None:
    machine = guarded(node(flavour="gnu"))
    machine.replace_program("logger", '#!/bin/sh\necho "$@" >>/logged\n')
    text = script()
    length = len(text)
    evil = b"touch /canary\n".ljust(length, b"#")
    places = [Place("core", "-", "/etc", "passwd")]
    for asked, stdin, because in (
        ("id", b"", "no request of sdc-thoth"),
        ("", b"id\n", "no request of sdc-thoth"),
        ("hash; id", b"", "no request of sdc-thoth"),
        (command(length) + "; id", text, "no request of sdc-thoth"),
        (command(length).replace(str(length), "1;id"), text, "no request of sdc-thoth"),
        (command(length), text + places_request(places) + discover_request() + END, "not among its directories"),
        (command(length), text + b"place\tcore\t-\t/var/tmp/thoth\t../../../etc/passwd\n", "another directory"),
        (command(length), text + b"place\tcore\t-\t/var/tmp/thoth/../../etc\tpasswd\n", "not among its directories"),
        (command(length), text + hash_request([], "/bin/sh"), "not for dumps"),
        (command(length), text + b"touch /canary\n", "not for dumps"),
        (command(length), text + image_request([Ask(b"/etc/passwd", ((0, 1),))], "m"), None),
        (command(length), evil + about_request() + END, None),  # what is sent as a script is not run
    ):
        done = ask(machine, asked, stdin)
        if because:
            assert done.returncode != 0 and because in done.stderr.decode(), (asked, done)
            assert done.stdout in (b"", b"end\0") or b"root:" not in done.stdout
        else:
            assert done.stdout.startswith((b"about\0", b"file m\0not an executable or library\0"))
            assert b"root:" not in done.stdout
    assert not machine.path("/canary").exists()
    logged = machine.path("/logged").read_text().splitlines()
    assert len(logged) == 10 and all(line.startswith("-p auth.warning -t thoth-node refused: ") for line in logged)


class Log:
    """What a node's logger is given; that of busybox is built into its shell, and cannot be watched."""

    def __init__(self, node: Node, flavour: Flavour) -> None:
        self._path = None if flavour == "busybox" else node.path("/logged")
        node.replace_program("logger", '#!/bin/sh\necho "$@" >>/logged\n')

    def check(self, count: int, last: str, what: object) -> None:
        """There are so many lines, and the last of them says this."""
        if self._path is not None:
            lines = self._path.read_text().splitlines()
            assert len(lines) == count, (what, lines)
            assert lines[-1].startswith(f"-p auth.warning -t thoth-node refused: {last}"), (what, lines)


# Requests that a line by line check could read in another way than what answers them, with what they are after.
SHADOW = b"place\tcore\t-\t/etc\t[a-z\t/var/tmp/thoth\t]*\nskim\tm\nget\tx\t0\tall\t=/etc\t=shadow\n"
KEY = SHADOW.replace(b"/etc", b"/root/.ssh").replace(b"=shadow", b"=id_rsa")
READ = b"skim\tm\nget\t1:2:3:4:5:1\t0\tall\t=%b\t%b\n"
FORGED = {
    "a name that goes on into another word": SHADOW,
    "the same for a key": KEY,
    "a word too many": b"place\tcore\t-\t/etc\t/var/tmp/thoth\tcore.*\n",
    "a word too few": b"place\tcore\t/var/tmp/thoth\tcore.*\n",
    "an empty word": b"place\tcore\t\t-\t/var/tmp/thoth\tcore.*\n",
    "a tab behind all": b"place\tcore\t-\t/var/tmp/thoth\tcore.*\t\n",
    "no name": b"place\tcore\t-\t/var/tmp/thoth\t\n",
    "a bracket": b"place\tcore\t-\t/var/tmp/thoth\t[!x]*\n",
    "a backslash": b"place\tcore\t-\t/var/tmp/thoth\tcore\\*\n",
    "braces": b"place\tcore\t-\t/var/tmp/thoth\t{core,x}*\n",
    "a pattern of ksh": b"place\tcore\t-\t/var/tmp/thoth\t@(core|x)*\n",
    "a slash for the kernel's place": b"place\tcore\tLinux\t@core_pattern\t../../etc/*\n",
    "the kernel's place as another word": b"place\t@core_pattern\t-\t/var/tmp/thoth\tcore.*\n",
    "a carriage return": b"place\tcore\t-\t/var/tmp/thoth\tcore.*\r\n",
    "a type that is an option": b"place\t--help\0\t-\t/etc\tpasswd\n",
    "a directory in part": b"place\tcore\t-\t/var/tmp\tthoth\n",
    "two lines of its list": b"place\tcore\t-\t/var/tmp/thoth /zones/*/cores\tcore.*\n",
    "a get with a word too many": READ % (b"/var/tmp/thoth", b"=core.1\t=x"),
    "a get with an empty word": READ % (b"/var/tmp/thoth", b"\t=core.1"),
    "a get of what is not encoded": READ % (b"/var/tmp/thoth", b"core.1"),
    "a get with a blank": READ % (b"/var/tmp/thoth", b"=core.1 x"),
    "a number that is a command": b"skim\tm\nget\t1:2:3:4:5:1\t$(id)\tall\t=/etc\t=shadow\n",
    "a number below zero": b"image\tm\nfile\t=/bin\t=sh\npart\t-1\t1\n",
    "a mark that is a command": b"skim\t`id`\n",
    "a mark with another word": b"skim\tm\tm\n",
    "a file with a word too many": b"image\tm\nfile\t=/etc\t=\t=shadow\n",
    "a program of its own": b"hash\t=/bin/sh\n",
    "in capitals": b"Debug\n",
    "an end that is none": b"end\r\n",
    "blanks in place of tabs": b"skim m\n",
}


@pytest.mark.parametrize("flavour", ["smartos", "gnu", "busybox", "little"])
def test_F74_requests_that_are_not_what_they_seem(flavour: Flavour, node: Callable[..., Node]) -> None:
    machine = guarded(node(flavour=flavour))
    log = Log(machine, flavour)
    for path in ("/etc/shadow", "/root/.ssh/id_rsa", "/var/tmp/thoth/core.1"):
        machine.put(path, b"SECRET of " + path.encode())
    text = script()
    for count, (what, request) in enumerate(FORGED.items(), start=1):
        done = ask(machine, command(len(text)), text + request + END)
        assert done.returncode != 0 and b"thoth-node: refused: " in done.stderr, (what, done)
        assert b"SECRET" not in done.stdout and b"uid=" not in done.stdout, (what, done)
        log.check(count, "", what)


@pytest.mark.parametrize("flavour", ["smartos", "gnu", "busybox", "little"])
def test_F74_files_that_no_discovery_lists(flavour: Flavour, node: Callable[..., Node]) -> None:
    """Requests of the right form for files that lie elsewhere: looked into by what opens them, and logged."""
    machine = guarded(node(flavour=flavour))
    log = Log(machine, flavour)
    for path in ("/etc/shadow", "/var/tmp/thoth/secret", "/var/tmp/thoth/.core.1", "/zones/a/b/cores/core.1"):
        machine.put(path, b"SECRET")
    machine.path("/zones/link").symlink_to("/zones/a/b")
    place = b"place\tcore\t-\t%b\tcore.*\n"
    text = script() + place % b"/var/tmp/thoth" + place % b"/zones/*/cores"
    outside = {
        (b"=/etc", b"=shadow"): True,
        (b"=/var/tmp/thoth", b"=secret"): True,
        (b"=/var/tmp/thoth", b"=../../../etc/shadow"): True,
        (b"=/var/tmp/thoth", b"=.core.1"): True,
        (b"=/var/tmp/thoth/../../../etc", b"=shadow"): True,
        (b"%/var/tmp/thoth\\0012/etc", b"=shadow"): True,
        (b"=/zones/a/b/cores", b"=core.1"): True,
        (b"=/zones/a/../a/b/cores", b"=core.1"): True,
        (b"=/zones/link/cores", b"=core.1"): False,  # it has the form of a place, and is none
        (b"=/zones/a/b/../cores", b"=core.1"): True,
    }
    count = 0
    for (directory, name), is_logged in outside.items():
        for verb in (b"skim\tm", b"read\tm", b"press\tgzip\tm"):
            request = b"%b\nget\t1:2:3:4:5:1\t0\tall\t%b\t%b\n" % (verb, directory, name)
            done = ask(machine, command(len(script())), text + request + END)
            assert done.stdout.startswith(b"group m\x001\0") and b"SECRET" not in done.stdout, (directory, name, done)
            count += is_logged
            log.check(count, "a file that lies in none of its places", (directory, name))


def test_F74_no_shell_no_files_no_forwarding(node: Callable[..., Node]) -> None:
    machine = guarded(node(flavour="gnu"))
    base = machine.ssh("x")[:-2]
    sftp = [*base[:-1], "-s", base[-1], "sftp"]
    done = subprocess.run(sftp, input=b"\0\0\0\5\1\0\0\0\3", capture_output=True, timeout=30, check=False)
    assert (done.returncode, done.stdout) == (1, b"")
    forwarding = [*base[:-1], "-o", "ExitOnForwardFailure=yes", "-R", "0:127.0.0.1:1", base[-1], "true"]
    done = subprocess.run(forwarding, input=b"", capture_output=True, timeout=30, check=False)
    assert done.returncode != 0
    terminal = [*base[:-1], "-tt", base[-1]]
    done = subprocess.run(terminal, input=b"id\n", capture_output=True, timeout=30, check=False)
    assert b"uid=" not in done.stdout, shlex.join(terminal)


def let_in(node: Node, restricted: bool) -> Node:
    """With the command in place; where the key is not ``restricted``, that alone is all that stands in the way."""
    machine = guarded(node)
    if not restricted:
        machine.authorize(machine.login_key, options=RESTRICTED.removeprefix("restrict,"))
    return machine


@contextmanager
def ssh(node: Node, *options: str, asked: tuple[str, ...], env: Mapping[str, str]) -> Iterator[None]:
    """OpenSSH's client, with these options, while the ``with`` lasts."""
    *base, where = node.ssh("x")[:-2]
    with subprocess.Popen(
        [*base, *options, where, *asked], stdin=subprocess.PIPE, stderr=subprocess.PIPE, env={**os.environ, **env}
    ) as client:
        try:
            yield
        finally:
            client.kill()


@pytest.mark.parametrize("restricted", [True, False])
def test_F74_no_way_to_others(node: Callable[..., Node], restricted: bool) -> None:
    """``ssh -L``: the client listens, and the node connects to nobody for it. Without ``restrict`` it would."""
    machine, port = let_in(node(flavour="gnu"), restricted), free_port("127.0.0.1")
    with socket.create_server(("127.0.0.1", 0)) as other:
        other.settimeout(5)
        way = f"127.0.0.1:{port}:127.0.0.1:{other.getsockname()[1]}"
        with ssh(machine, "-N", "-L", way, asked=(), env={}), connected(port) as ours:
            if restricted:
                assert ours.recv(100) == b""  # refused
                other.settimeout(0.2)
                with pytest.raises(TimeoutError):
                    other.accept()
            else:
                theirs, _ = other.accept()
                with theirs:
                    theirs.sendall(b"hello")
                    assert ours.recv(100) == b"hello"


def connected(port: int) -> socket.socket:
    """A connection to a port of this machine, once somebody listens there."""
    made: list[socket.socket] = []

    def attempt() -> bool:
        with suppress(ConnectionRefusedError):
            made.append(socket.create_connection(("127.0.0.1", port), timeout=10))
        return bool(made)

    assert wait_until(attempt, 15)
    return made[0]


@pytest.mark.parametrize("restricted", [True, False])
def test_F74_no_way_to_our_agent(node: Callable[..., Node], restricted: bool) -> None:
    """``ssh -A``: what runs on the node is not told of an agent. Without ``restrict`` it would be."""
    machine = let_in(node(flavour="gnu"), restricted)
    with SshAgent() as agent:
        waiting = (command(len(script())),)  # for its script
        with ssh(machine, "-A", asked=waiting, env={"SSH_AUTH_SOCK": agent.socket}):
            assert wait_until(lambda: any(each.command == "dd" for each in machine.commands()), 15)
            told = [Path(f"/proc/{each.pid}/environ").read_bytes() for each in machine.commands()]
    assert any(b"SSH_ORIGINAL_COMMAND=" in each for each in told)
    assert any(b"SSH_AUTH_SOCK=" in each for each in told) is not restricted


def test_the_key_is_of_no_use_from_elsewhere(node: Callable[..., Node]) -> None:
    machine = guarded(node(flavour="gnu"))
    machine.authorize(machine.login_key, options=RESTRICTED.replace("127.0.0.0/8", "10.99.99.7"))
    done = ask(machine, command(len(script())), script() + about_request() + END)
    assert done.returncode == 255 and b"Permission denied" in done.stderr
