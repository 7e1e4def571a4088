"""A fleet of throw-away nodes: OpenSSH servers on loopback, each node with its own address and root tree.

    with Fleet(2) as fleet:
        fleet["cn0"].put("/var/cores/core.x", data)

works in a fixture, in a benchmark and in a demonstration alike. It needs root, for sshd and chroot.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import shutil
import signal
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.support import folder as folders
from tests.support.processes import Process, connections, holds_one_of, process, rooted_in, send, wait_until
from tests.support.roots import Flavour, Stock, plant, program, write_script
from tests.support.server import MOST_ADDRESSES, CannotServe, Place, Server, can_isolate, make_key
from tests.support.smartos import HIDDEN, Machine
from tests.support.usage import cpu_with_children

_FLEET = uuid.UUID("7b0f3a5e-54a2-5b53-9c2e-0d6a3b1f7c11")  # node UUIDs come from it and the node's name
_RUN_SSHD = Path("/run/sshd")
_TAKEN = "|/usr/lib/systemd/systemd-coredump %P"  # a core_pattern that names no place
_GRACE = 5.0  # seconds that processes may take to stop


class NeedsRoot(Exception):
    """A fleet cannot be made by this user."""


@dataclass(frozen=True, slots=True)
class NodeSpec:
    """What a node is to be. ``own_process``: an sshd of its own, that can be stopped, killed and restarted.

    ``core_pattern`` is what the node's kernel says it does with cores; None: what this machine's does. ``options``
    are lines of sshd_config, ``host_key_types`` names that ssh-keygen knows; both count only with ``own_process``,
    else the fleet's do.
    """

    name: str
    flavour: Flavour = "busybox"
    own_process: bool = False
    core_pattern: str | None = _TAKEN
    options: tuple[str, ...] = ()
    host_key_types: tuple[str, ...] = ("ed25519",)


class Node:
    """One node of a running fleet."""

    def __init__(
        self, spec: NodeSpec, machine: Machine, place: Place, *, server: Server, login_key: str, key: Path
    ) -> None:
        self.spec = spec
        self.name = machine.name
        self.uuid = machine.uuid
        self.zones = machine.zones
        self.address = machine.address
        self.root = place.root
        self.identity_file = key
        self.login_key = login_key  # public half: type and base64
        self._authorized_keys = place.authorized_keys
        self._server = server
        self._stopped: set[int] = set()
        self.authorize(login_key)

    @property
    def port(self) -> int:
        return self._server.port

    @property
    def log(self) -> str:
        """The log of the node's sshd; nodes without ``own_process`` share one."""
        return self._server.log

    # ---- files ------------------------------------------------------------------------------------

    def path(self, name: str | bytes) -> Path:
        """Where an absolute path of the node lies on this machine."""
        text = os.fsdecode(name)
        if not text.startswith("/") or ".." in text.split("/"):
            raise ValueError(f"not an absolute path on a node: {text!r}")
        return self.root / text.lstrip("/")

    def put(self, name: str | bytes, content: bytes | Path, *, age: float = 3600.0) -> Path:
        """Writes a file, given as bytes or as one to copy, last changed ``age`` seconds ago."""
        target = self.path(name)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.unlink(missing_ok=True)
        if isinstance(content, Path):
            shutil.copyfile(content, target)
        else:
            target.write_bytes(content)
        changed = time.time_ns() - int(age * 1e9)
        os.utime(target, ns=(changed, changed))
        return target

    def replace_program(self, name: str, script: str) -> None:
        """A script in place of a program, on this node only."""
        write_script(self.root / "usr" / "bin" / name, script)

    # ---- who may log in, and what answers ---------------------------------------------------------

    def authorize(self, *public_keys: str, options: str = "") -> None:
        """Only these keys may log in from now on; ``options`` go before each in authorized_keys."""
        lines = [f"{options} {key}".strip() + "\n" for key in public_keys]
        self._authorized_keys.write_text("".join(lines))

    def force_command(self, script: str | None) -> None:
        """Whatever is asked of the node from now on, this script answers; None ends that.

        It finds what was asked in SSH_ORIGINAL_COMMAND. A script without ``#!`` is one for the node's sh.
        """
        if script is None:
            self.authorize(self.login_key)
            return
        place = f"{HIDDEN}/forced"
        write_script(self.path(place), script if script.startswith("#!") else "#!/bin/sh\n" + script)
        self.authorize(self.login_key, options=f'command="{place}"')

    def known_hosts_line(self) -> str:
        """The node's host keys as lines of a known_hosts file, one for each type, each with its newline."""
        return "".join(f"[{self.address}]:{self.port} {key}\n" for key in self._server.host_keys)

    def ssh(self, *command: str) -> list[str]:
        """The argument vector that runs a command on the node with OpenSSH's client."""
        known_hosts = self.identity_file.with_name(f"known_hosts.{self.address}")
        known_hosts.write_text(self.known_hosts_line())
        options = {
            "IdentitiesOnly": "yes",
            "BatchMode": "yes",
            "UserKnownHostsFile": known_hosts,
            "LogLevel": "ERROR",
        }
        options["KexAlgorithms"] = "curve25519-sha256"  # the default costs the client 0.2 s of computing
        pairs = [f"-o{key}={value}" for key, value in options.items()]
        where = ["-p", str(self.port), "-i", str(self.identity_file), f"root@{self.address}"]
        return [str(program("ssh")), "-F", "none", "-T", *pairs, *where, "--", *command]

    # ---- processes --------------------------------------------------------------------------------

    def pids(self) -> list[int]:
        """sshd's processes that serve a connection to this node, logged in or not."""
        sockets = connections(self.address, self.port)
        return [process.pid for process in self._server.everything() if holds_one_of(process.pid, sockets)]

    def commands(self) -> list[Process]:
        """What runs in the node's root: commands, shells, sftp servers, also those whose session is gone."""
        return rooted_in(self.root)

    def wait_idle(self, seconds: float = 5.0) -> bool:
        """Waits until no session and no command is left; False when some are, after that time."""
        return wait_until(lambda: not self.pids() and not self.commands(), seconds)

    def stop(self) -> None:
        """Freezes the node with SIGSTOP: sessions and commands, with ``own_process`` also the listener.

        The kernel still completes TCP connections and takes some data, as on a machine that hangs.
        """
        stopped = self._processes()
        self._stopped |= set(stopped)
        send(signal.SIGSTOP, stopped)
        # A process that is just running on the other processor takes the signal a moment later.
        wait_until(lambda: not any(map(_runs, stopped)), _GRACE)

    def cont(self) -> None:
        """Undoes ``stop``."""
        # A session whose client has gone with a reset has no connection any more by which it could be found.
        send(signal.SIGCONT, [*self._processes(), *self._stopped])
        self._stopped.clear()

    def kill(self) -> None:
        """SIGKILL for sessions and commands; with ``own_process`` for all: connections are then refused."""
        if self.spec.own_process:
            self._server.stop()
        else:
            send(signal.SIGKILL, self._processes())

    def restart(self, *, new_host_key: bool = False) -> None:
        """Kills the node and starts it again on the same port. Needs ``own_process``."""
        if not self.spec.own_process:
            raise CannotServe(f"{self.name} shares its sshd: give it own_process=True to restart it")
        self._server.stop()
        if new_host_key:
            self._server.make_host_keys()
        self._server.start()

    def _processes(self) -> list[int]:
        # The listener first, so that it starts nothing new while the others are gone through.
        listener = [self._server.listener()] if self.spec.own_process else []
        return [*listener, *self.pids(), *(process.pid for process in self.commands())]


class Fleet:
    """Nodes that run from ``with`` to its end, which leaves no process, mount or file behind.

    ``nodes`` is a number (cn0, cn1, ...), or names, or specs. ``options`` are lines for the shared sshd's
    configuration, which come before the bench's own; ``host_key_types`` are its keys. Of more than sixteen
    nodes, sixteen each share an sshd. ``isolated`` is for the bench's own tests.
    """

    def __init__(
        self,
        nodes: int | Sequence[str | NodeSpec] = 1,
        *,
        flavour: Flavour = "busybox",
        own_process: bool = False,
        options: Sequence[str] = (),
        host_key_types: Sequence[str] = ("ed25519",),
        isolated: bool | None = None,
    ) -> None:
        wanted = [f"cn{number}" for number in range(nodes)] if isinstance(nodes, int) else nodes
        self._specs = [
            node
            if isinstance(node, NodeSpec)
            else NodeSpec(node, flavour, own_process, _TAKEN, tuple(options), tuple(host_key_types))
            for node in wanted
        ]
        self._options = tuple(options)
        self._key_types = tuple(host_key_types)
        self._isolated = isolated
        self._undo = ExitStack()
        self._nodes: dict[str, Node] = {}
        self._servers: set[Server] = set()

    def __enter__(self) -> Self:
        if os.geteuid() != 0:
            raise NeedsRoot("a fleet of test nodes needs root (sshd, chroot, mknod): run as root")
        with self._undo:
            self._build()
            self._undo = self._undo.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Ends all servers and removes the folder. May be called twice."""
        self._undo.close()

    def __getitem__(self, name: str | int) -> Node:
        return list(self._nodes.values())[name] if isinstance(name, int) else self._nodes[name]

    def __iter__(self) -> Iterator[Node]:
        return iter(self._nodes.values())

    def __len__(self) -> int:
        return len(self._nodes)

    @property
    def cpu(self) -> float:
        """Seconds of CPU that its servers have used, with all that has ended on its nodes."""
        return sum(cpu_with_children(server.listener()) for server in self._servers)

    def write_known_hosts(self, path: Path, *, hashed: bool = False) -> Path:
        """Writes all nodes' host keys as known_hosts, host names hashed if asked for; returns the path."""
        lines = [line for node in self for line in node.known_hosts_line().splitlines()]
        path.write_text("".join((_hashed(line) if hashed else line) + "\n" for line in lines))
        return path

    def fleet_toml(self, known_hosts: Path | None = None) -> str:
        """The fleet as the collector's inventory file: [ssh] and a [[node]] each.

        Without ``known_hosts`` the file is written into the fleet's own folder.
        """
        pinned = known_hosts or self.write_known_hosts(self.folder / "known_hosts")
        lines = ["[ssh]", f'key = "{self.identity_file}"', f'known_hosts = "{pinned}"']
        for node in self:
            lines += [
                "",
                "[[node]]",
                f'name = "{node.name}"',
                f'address = "{node.address}"',
                f"port = {node.port}",
            ]
            lines += ['user = "root"', f'uuid = "{node.uuid}"']
        return "\n".join(lines) + "\n"

    # ---- building ---------------------------------------------------------------------------------

    def _build(self) -> None:
        _RUN_SSHD.mkdir(
            mode=0o755, exist_ok=True
        )  # where sshd locks up its unprivileged half; packages make it at boot
        isolated = can_isolate() if self._isolated is None else self._isolated
        self.folder = self._undo.enter_context(folders.lent())
        self.identity_file = self.folder / "id_ed25519"
        self.login_key = make_key(self.identity_file)
        stock = Stock(self.folder / "stock")
        machines = [_machine(spec.name, number) for number, spec in enumerate(self._specs)]
        places = [self._place(number, spec, machines[number]) for number, spec in enumerate(self._specs)]
        for spec, machine, place in zip(self._specs, machines, places, strict=True):
            plant(spec.flavour, place.root, stock, machine)
            _state_core_pattern(place, spec.core_pattern, isolated)
        servers = self._serve(places, isolated)
        self._servers = set(servers.values())
        for spec, machine, place in zip(self._specs, machines, places, strict=True):
            self._nodes[spec.name] = Node(
                spec,
                machine,
                place,
                server=servers[place.address],
                login_key=self.login_key,
                key=self.identity_file,
            )

    def _place(self, number: int, spec: NodeSpec, machine: Machine) -> Place:
        folder = self.folder / f"node-{number}"
        folder.mkdir()
        pattern = folder / "core_pattern" if spec.core_pattern is not None else None
        return Place(machine.address, folder / "root", folder / "authorized_keys", pattern)

    def _serve(self, places: Sequence[Place], isolated: bool) -> dict[str, Server]:
        """Starts the shared servers and those of single nodes; address -> its server."""
        pairs = list(zip(self._specs, places, strict=True))
        groups = [([place], spec.options, spec.host_key_types) for spec, place in pairs if spec.own_process]
        shared = [place for spec, place in pairs if not spec.own_process]
        groups += [(list(part), self._options, self._key_types) for part in _parts(shared, MOST_ADDRESSES)]
        servers: dict[str, Server] = {}
        for number, (group, options, key_types) in enumerate(groups):
            home = self.folder / f"server-{number}"
            server = Server(home, group, key_types=key_types, options=options, isolated=isolated)
            self._undo.callback(server.stop)
            server.start()
            servers |= {place.address: server for place in group}
        return servers


def _runs(pid: int) -> bool:
    found = process(pid)
    return found is not None and found.state not in "TtZX"


def _parts(places: Sequence[Place], most: int) -> list[Sequence[Place]]:
    return [places[start : start + most] for start in range(0, len(places), most)]


def _machine(name: str, number: int) -> Machine:
    return Machine(name, str(uuid.uuid5(_FLEET, name)), f"127.77.{number // 250}.{number % 250 + 1}")


def _state_core_pattern(place: Place, pattern: str | None, isolated: bool) -> None:
    if pattern is None or place.core_pattern is None:
        return
    place.core_pattern.write_text(pattern + "\n")
    if not isolated:  # no /proc is mounted there, so a plain file says it
        stand_in = place.root / "proc/sys/kernel/core_pattern"
        stand_in.parent.mkdir(parents=True)
        stand_in.write_text(pattern + "\n")


def _hashed(line: str) -> str:
    # ssh-keygen -H's form: |1|salt|HMAC-SHA1 of the name with the salt as its key.
    host, _, rest = line.partition(" ")
    salt = hashlib.sha1(host.encode()).digest()  # any twenty bytes do; these are the same in every run
    digest = hmac.new(salt, host.encode(), "sha1").digest()
    return f"|1|{base64.b64encode(salt).decode()}|{base64.b64encode(digest).decode()} {rest}"
