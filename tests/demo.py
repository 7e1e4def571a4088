"""``make demo``: the main job on this machine. Two throw-away nodes, real crashes, collected by the real commands."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.support.crash import Crasher, writer
from tests.support.crashwriter import vmdump
from tests.support.sshd import Fleet, Node, NodeSpec

_ANALYZER = """\
[[ "$THOTH_TYPE" == "core" ]] || exit 0
pages=$(( $(wc -c < "$THOTH_DUMP") / 4096 ))
thoth_set pages $pages
echo $THOTH_NAME: $(json cmd < $THOTH_INFO) has $pages pages
"""
_BIN = Path(sys.executable).parent
_PATIENCE = 120  # seconds for one command
_SPECS = (NodeSpec("hn0", "smartos"), NodeSpec("cn1", "busybox", core_pattern="/var/cores/core.%e.%p"))


def main() -> int:
    started = time.monotonic()
    with (
        tempfile.TemporaryDirectory(prefix="thoth-demo-") as home,
        tempfile.TemporaryDirectory(prefix="thoth-demo-cache-") as cache,
        Fleet(_SPECS) as fleet,
    ):
        say("Two nodes run on loopback, each an OpenSSH server: hn0 is like SmartOS, cn1 has busybox.")
        commands = Commands(Path(home), cache, fleet)
        with tempfile.TemporaryDirectory(prefix="crasher-", dir=home) as folder:
            crasher = Crasher(Path(folder))
            crash(crasher, fleet["hn0"], "/zones/global/cores", "vmadmd")
            crash(crasher, fleet["cn1"], "/var/cores", "worker;$(touch canary)")
            crash(crasher, fleet["cn1"], "/var/cores", "vmadmd")
        panic(fleet["hn0"])
        collect(commands)
        crashed = look(commands)
        compare(commands, crashed)
        work(commands, crashed)
        show_again(commands, fleet)
    say(f"That took {time.monotonic() - started:.0f} s. Nodes, store and index are gone again.")
    return 0


def say(text: str) -> None:
    print(f"\n# {text}", flush=True)


class Commands:
    """Runs the commands as a user would, in a home directory of their own, and shows them."""

    def __init__(self, home: Path, cache: str, fleet: Fleet) -> None:
        self._home = home
        self._cache = cache
        key = fleet.identity_file
        lines = ["[ssh]", f'key = "{key}"', ""]
        for node in fleet:
            lines += ["[[node]]", f'name = "{node.name}"', f'address = "{node.address}"', f"port = {node.port}"]
        (home / "fleet.toml").write_text("\n".join(lines) + "\n")

    def run(self, line: str, stdin: str = "") -> str:
        """Print a command line, run it, print and return what it printed. Ends the demo when the command fails."""
        print(f"\n$ {line}" + (f" <<EOF\n{stdin}EOF" if stdin else ""), flush=True)
        words = shlex.split(line)
        environment = {
            "HOME": str(self._home),
            "PATH": "/usr/bin:/bin",
            "LC_ALL": "C.UTF-8",
            "THOTH_CACHE": self._cache,
        }
        done = subprocess.run(
            [_BIN / words[0], *words[1:]],
            cwd=self._home,
            env=environment,
            input=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=_PATIENCE,
            check=False,
        )
        print(done.stdout, end="", flush=True)
        if done.returncode:
            raise SystemExit(f"demo: {words[0]} ended with {done.returncode}")
        return done.stdout


def crash(crasher: Crasher, node: Node, folder: str, name: str) -> None:
    """A process of that name really crashes on the node; the kernel, or gdb, leaves its core."""
    say(f"A process called {name!r} crashes on {node.name}.")
    if writer() == "gdb":
        core = crasher.native(node.path("/tmp") / "core", "segv", threads=3)
        node.put(f"{folder}/core.{name}.4711", core)
        core.unlink()
        return
    executable = node.put(f"/tmp/{name}", crasher.executable("-static"))
    executable.chmod(0o755)
    node.path(folder).mkdir(parents=True, exist_ok=True)
    script = f"cd {folder} && ulimit -c unlimited && {shlex.quote(f'/tmp/{name}')} segv 2"
    print(f"[{node.name}] $ {script}", flush=True)
    subprocess.run(node.ssh(script), check=False, capture_output=True, timeout=_PATIENCE)
    (core,) = (found for found in node.path(folder).glob("core*") if not found.name.endswith(".4711"))
    core.rename(core.with_name(f"core.{name}.4711"))
    settled = time.time() - 60  # a core that has just been written would wait for the next run
    os.utime(node.path(folder) / f"core.{name}.4711", (settled, settled))


def panic(node: Node) -> None:
    say(f"{node.name} has panicked before: savecore has left a vmdump.")
    node.put("/var/crash/volatile/vmdump.0", vmdump(node=node.name, panic="BAD TRAP: type=e (#pf Page fault)"))


def collect(commands: Commands) -> None:
    say("First the nodes' host keys are pinned. (Here without comparing fingerprints, which is what --yes means.)")
    commands.run("sdc-thoth hostkeys --inventory fleet.toml --yes")
    say("A dry run says what would be collected, and writes nothing.")
    commands.run("sdc-thoth --inventory fleet.toml --dry-run")
    say("The real run.")
    commands.run("sdc-thoth --inventory fleet.toml")
    say("A second run finds nothing to do.")
    again = commands.run("sdc-thoth --inventory fleet.toml")
    if again.count("nothing to do") != len(_SPECS):
        raise SystemExit("demo: the second run was not idle")


def look(commands: Commands) -> str:
    """Show what has been collected; the beginning of the identity of vmadmd's core."""
    say("What Thoth has:")
    commands.run("thoth ls")
    crashed = commands.run("thoth ls type=core cmd=vmadmd node signal exec").splitlines()
    commands.run("thoth ls type=crash panicstring")
    name = crashed[1].split()[0]
    commands.run(f"thoth info {name}")
    return name


def compare(commands: Commands, crashed: str) -> None:
    """What crashes together; ``crashed`` is the beginning of a core's identity."""
    say("What that thread was doing makes its signature: the frames that say something. No debugger was asked.")
    commands.run(f"thoth signature --explain {crashed}")
    say("What crashes most, and what crashed as that one did: a ticket for one of them is offered to the others.")
    commands.run("thoth top")
    commands.run(f"thoth similar {crashed}")
    commands.run(f"thoth ticket {crashed} OS-2358")
    commands.run(f"thoth ticket --signature {crashed} OS-2358")
    commands.run("thoth top ticket=OS-2358")


def work(commands: Commands, crashed: str) -> None:
    """What is done with dumps once they are there; ``crashed`` is the beginning of a core's identity."""
    say("How many there are, by type; a property and a ticket; and the dumps that have neither.")
    commands.run("thoth report type")
    commands.run("thoth set type=crash triage", '{"category": "kernel", "engineer": "bmc"}\n')
    commands.run("thoth ticket type=crash OS-2359")
    commands.run("thoth ls ticket=OS-2359 properties.triage.engineer")
    say("An analyzer, which runs in a sandbox on each core.")
    commands.run("thoth analyzer size", _ANALYZER)
    commands.run("thoth analyze type=core size")
    commands.run("thoth ls type=core properties.pages")
    say("A debugger on one of them, without a terminal, and a look at whether all that is stored is whole.")
    commands.run(f"thoth debug --batch -e 'info threads' {crashed}")
    commands.run("thoth scrub")


def show_again(commands: Commands, fleet: Fleet) -> None:
    """The name that would have run a command had it ever been one."""
    canaries = [path for node in fleet for path in node.root.rglob("canary") if path.is_file()]
    if canaries:
        raise SystemExit(f"demo: a file name was executed: {canaries[0]}")


if __name__ == "__main__":
    sys.exit(main())
