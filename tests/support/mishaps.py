"""What the fault tests of the collector share: its home, programs of a node that misbehave, a store that is small."""

from __future__ import annotations

import os
import pty
import subprocess
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.support.chaos import Proxy
from tests.support.collector import Collector
from tests.support.invariants import check_store
from tests.support.roots import program
from tests.support.sshd import Fleet, Node

_HIDDEN = "/usr/lib/bench/real"  # where a wrapped program goes


def collector(home: Path, nodes: Fleet | Iterable[Node], more: str = "", *, proxy: Proxy | None = None) -> Collector:
    """A collector for these nodes, with ``more`` lines of its configuration; by ``proxy`` when there is one node."""
    home.mkdir(parents=True, exist_ok=True)
    nodes = list(nodes)
    known_hosts = home / "known_hosts"
    lines = ["[ssh]", f'key = "{nodes[0].identity_file}"', f'known_hosts = "{known_hosts}"', more]
    pinned = ""
    for node in nodes:
        address, port = proxy.address if proxy else (node.address, node.port)
        keys = (line.split(" ", 1)[1] for line in node.known_hosts_line().splitlines())
        pinned += "".join(f"[{address}]:{port} {key}\n" for key in keys)
        lines += ["[[node]]", f'name = "{node.name}"', f'address = "{address}"', f"port = {port}"]
    known_hosts.write_text(pinned)
    return Collector(home, "\n".join(lines) + "\n")


def analyze_without_end(home: Collector, cache: Path, script: str) -> None:
    """Have a rule of this collector run ``script``, which does not end, on each core."""
    settings = home.home / ".config/thoth/config.toml"
    settings.parent.mkdir(parents=True)
    settings.write_text(f'cache = "{cache}"\n')
    place = home.store / "thoth/stor/thoth/analyzers/endless"
    place.parent.mkdir(parents=True)
    place.write_text(f"{script}\n")
    rules = home.home / "rules.json"
    rules.write_text('[{"name": "r", "version": 1, "matches": ["type=core"], "analyzer": "endless"}]')
    assert home.thoth("autoanalyzers", "upload", str(rules)).returncode == 0


def wrap(node: Node, name: str, before: str) -> None:
    """From now on the node's program runs ``before`` first, in sh, with its own arguments. Not on busybox nodes."""
    real = node.path(f"{_HIDDEN}/{name}")
    real.parent.mkdir(parents=True, exist_ok=True)
    node.path(f"/usr/bin/{name}").rename(real)
    node.replace_program(name, f'#!/bin/sh\n{before}\nexec {_HIDDEN}/{name} "$@"\n')


def at_reading(node: Node, number: int, commands: str) -> None:
    """Run ``commands`` on the node, in sh, at its n-th reading of files: they are open, and no byte has been read."""
    count = "n=1; until mkdir /tmp/reading.$n 2>/dev/null; do n=$((n + 1)); done"
    # dd with blocks of another size is how the node's shell gets its text.
    reading = "bs=4096 | bs=1048576 | [!b]* | ''"
    guarded = f"case ${{1-}} in {reading})\n{count}\nif [ $n = {number} ]; then {commands}; fi ;;\nesac"
    for name in ("cat", "dd", "head"):
        wrap(node, name, guarded)


def after_listing(node: Node, commands: str) -> None:
    """Run ``commands`` on the node, in sh, once: after the listing and before anything is opened. What it is asked
    then, in a pass that is no dry run, is what it is."""
    node.replace_program("sysinfo", f"#!/bin/sh\nif mkdir /tmp/listed 2>/dev/null; then {commands}; fi >&2\n")


def at_session(node: Node, number: int, commands: str) -> None:
    """Run ``commands`` on the node, in sh, when its script starts for the n-th time."""
    count = "n=1; until mkdir /tmp/session.$n 2>/dev/null; do n=$((n + 1)); done"
    # Each time it first sees what the system's stat can do.
    wrap(node, "stat", f'case "$4 $3" in "/ "*.Y*)\n{count}\nif [ $n = {number} ]; then {commands}; fi ;;\nesac')


def check_settled(home: Collector, nodes: Iterable[Node]) -> None:
    """Store and index are right, another pass has nothing to do, and no session or command is left on the nodes."""
    check_store(home)
    again = home.collect()
    assert again.document["bytes"] == 0
    assert set(again.results.values()) <= {"present", "skipped"}
    assert again.code == 0
    assert all(node.wait_idle() for node in nodes)


def keep_in(home: Collector, store: Path, database: Path | None = None) -> None:
    """The store, and the index if it is named too, lie here from now on."""
    place = home.home / ".config/thoth/config.toml"
    place.parent.mkdir(parents=True, exist_ok=True)
    lines = [f'store = "file://{store}"', f'db = "sqlite://{database}"' if database else ""]
    place.write_text("\n".join(lines) + "\n")


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[Path]:
    """A file system of this size, in memory; ``size`` as mount takes it: "4m"."""
    folder.mkdir()
    mount = [str(program("mount")), "-t", "tmpfs", "-o", f"size={size},mode=700", "none", str(folder)]
    subprocess.run(mount, check=True)
    try:
        yield folder
    finally:
        subprocess.run([str(program("umount")), str(folder)], check=True)


def in_terminal(command: Sequence[str], environment: Mapping[str, str]) -> bytes:
    """What the command writes to its terminal, stdout and stderr, as the terminal gets it."""
    ours, theirs = pty.openpty()
    written = b""
    with (
        os.fdopen(ours, "rb", buffering=0) as screen,
        subprocess.Popen(command, env=environment, stdin=theirs, stdout=theirs, stderr=theirs),
    ):
        os.close(theirs)
        while part := _read(screen.fileno()):
            written += part
    return written


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 1 << 16)
    except OSError:  # EIO: nobody has the other end open any more
        return b""
