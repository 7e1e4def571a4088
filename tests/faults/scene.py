"""A fleet with a fault in it, the collector that meets it, and what has to hold once the fault is gone."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tests.support.chaos import Address
from tests.support.collector import Collector, Pass
from tests.support.elfwriter import linux_core
from tests.support.invariants import check_store
from tests.support.sshd import Fleet, Node

DUMPS = "/var/tmp/thoth"  # where nodes of each system keep dumps that were made by hand
MIB = 1 << 20
# Seconds to connect, and without a byte. They hold for the good nodes too, on a machine that has little to spare.
IMPATIENT = ("-T", "2", "-e", "2")

# Runs the command and says at the end how much memory it took. VmHWM begins anew with each program; what wait4 tells
# holds the memory of the test's own process too.
_MEASURED = """
import re, sys
from sdc_thoth.cli import main
status = main(sys.argv[1:])
print(re.search(r"VmHWM:\\s*(\\d+) kB", open("/proc/self/status").read())[1], file=sys.stderr)
sys.exit(status)
"""


class Scene:
    """``home`` takes all that the collector writes. Each node has dumps; ``planted`` is path -> content."""

    def __init__(self, fleet: Fleet, home: Path) -> None:
        self.fleet = fleet
        self.home = home
        self.known_hosts = home / "known_hosts"
        self.planted: dict[bytes, bytes] = {}
        home.mkdir(exist_ok=True)
        self.collector = Collector(home, "")
        self.reach({})

    def plant(self, node: Node, *sizes: int) -> None:
        """Dumps of these sizes on a node."""
        for size in sizes:
            pid = len(self.planted) + 1
            path, core = f"{DUMPS}/core.{node.name}.{pid}", linux_core(pid=pid, size=size)
            node.put(path, core)
            self.planted[path.encode()] = core

    def of(self, node: str) -> set[bytes]:
        """The paths of what is planted on a node."""
        return {path for path in self.planted if path.startswith(f"{DUMPS}/core.{node}.".encode())}

    # ---- what the collector is told ----------------------------------------------------------------

    def reach(
        self,
        places: Mapping[str, Address],
        *,
        key: Path | None = None,
        known_hosts: Callable[[Node], str] = Node.known_hosts_line,
        more: Mapping[str, str] | None = None,
    ) -> None:
        """These nodes are reached at these addresses, all others at their own. Names that the fleet does not know are
        nodes too. ``known_hosts`` gives a node's lines, ``more`` a line of TOML for some."""
        pinned, nodes = "", ""
        for name in dict.fromkeys([*(node.name for node in self.fleet), *places]):
            node = next((node for node in self.fleet if node.name == name), None)
            host, port = places[name] if node is None else places.get(name, (node.address, node.port))
            if node is not None:
                own = f"[{node.address}]:{node.port} "
                pinned += known_hosts(node).replace(own, f"[{host}]:{port} ")
            nodes += f'\n[[node]]\nname = "{name}"\naddress = "{host}"\nport = {port}\n'
            nodes += (more or {}).get(name, "") + "\n"
        self.known_hosts.write_text(pinned)
        head = f'[ssh]\nkey = "{key or self.fleet.identity_file}"\nknown_hosts = "{self.known_hosts}"\n'
        self.collector.inventory.write_text(head + nodes)

    @property
    def lock(self) -> Path:
        """Where the lock of a run lies, while there is one."""
        return self.home / ".local/state/sdc-thoth/lock"

    # ---- what is seen ------------------------------------------------------------------------------

    def measured(self, *flags: str, seconds: float = 90) -> tuple[Pass, int]:
        """A pass, which takes no longer than that, and the most bytes of memory that it had."""
        command = [sys.executable, "-c", _MEASURED, *self.collector.command("--json", *flags)[1:]]
        home, environment = self.collector.home, self.collector.environment
        root = str(Path(__file__).parents[2])
        done = subprocess.run(
            command,
            env={**environment, "PYTHONPATH": root},
            cwd=home,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )
        *_, kib = done.stderr.split()
        return Pass.of(done), int(kib) << 10

    def check_good(self, seen: Pass, *nodes: str) -> None:
        """The faults of others cost these nodes nothing (I6)."""
        for name in nodes:
            assert seen.nodes[name]["result"] == "reached", seen.nodes[name]
            for path in self.of(name):
                told = seen.dumps_by_node[name, path]
                assert told["result"] in ("stored", "present"), told

    def check_healed(self) -> None:
        """With the fault gone one run completes, the store is whole, and a further run finds nothing to do."""
        healed = self.collector.collect()
        bad = [each for each in healed.dumps.values() if each["result"] == "failed"]
        assert healed.code == 0, (bad, healed.nodes, healed.talk)
        assert set(healed.results) == set(self.planted)
        assert set(healed.results.values()) <= {"stored", "replaced", "present"}
        check_store(self.collector)
        stored = self.collector.stored()
        assert sorted(data for _, data in stored) == sorted(self.planted.values())
        again = self.collector.collect()
        assert (again.code, again.document["bytes"]) == (0, 0)
        assert set(again.results.values()) == {"present"}
        assert self.collector.stored() == stored
        self.check_clean()

    def check_healed_with_status(self) -> None:
        """As ``check_healed``; and the status says that all is well."""
        self.check_healed()
        shown = self.collector.command_run("status")
        assert shown.returncode == 0, shown.stdout

    def check_clean(self) -> None:
        """Nothing is left behind: no lock, no command on a node, no changed dump (I3, I8)."""
        assert not self.lock.exists()
        for node in self.fleet:
            assert node.wait_idle(), node.commands()
        for path, data in self.planted.items():
            node = next(node for node in self.fleet if path in self.of(node.name))
            assert node.path(path).read_bytes() == data


@contextmanager
def within(seconds: float) -> Iterator[None]:
    started = time.monotonic()
    yield
    took = time.monotonic() - started
    assert took < seconds, f"{took:.1f} s"
