"""One OpenSSH server process in front of the roots of one or many nodes.

It runs below a shell that holds the read end of a pipe: when this process goes away, however it goes,
the pipe ends and the shell kills the server. Where the system allows it (``isolated``), shell and
server have their own mount and process namespaces: then each root has its /proc, and everything that
runs on a node and everything mounted there goes with the shell, whatever state it is in.
"""

from __future__ import annotations

import re
import signal
import socket
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.support.processes import Process, descendants, rooted_in, send, wait_until
from tests.support.roots import program

_ISOLATE = ("unshare", "--mount", "--propagation", "slave", "--pid", "--fork", "--kill-child")
_KEEPER = """
[ -z "$3" ] || mount --all --fstab "$3" || exit 1
exec 3<&0 </dev/null 2>/dev/null
"$1" -D -f "$2" -E "$4" 2>>"$4" &
server=$!
{ read -r _ <&3; kill -KILL $server; } &
wait $server
kill -KILL $! 2>/dev/null
"""
MOST_ADDRESSES = 16  # sshd's own limit, MAX_LISTEN_SOCKS
_UNBOUND = re.compile("Bind to port .* failed")
_START = 10.0  # seconds that a server may take until it listens; usually it is 0.02
_TRIES = 5  # ports


class CannotServe(Exception):
    """The server does not start, or this is asked of it in a state in which it cannot do it."""


@dataclass(frozen=True, slots=True)
class Place:
    """What the server shows at one address."""

    address: str
    root: Path
    authorized_keys: Path
    core_pattern: Path | None = None  # a file that stands in for /proc/sys/kernel/core_pattern


def can_isolate() -> bool:
    """Whether this process may make mount and process namespaces; some containers forbid it."""
    return subprocess.run([*_ISOLATE, "true"], capture_output=True, check=False).returncode == 0


def make_key(path: Path, kind: str = "ed25519") -> str:
    """Makes ``path`` and ``path``.pub without passphrase; returns the public half: type and base64."""
    for old in (path, path.with_name(path.name + ".pub")):
        old.unlink(missing_ok=True)
    command = [str(program("ssh-keygen")), "-q", "-t", kind, "-N", "", "-C", "bench", "-f", str(path)]
    subprocess.run(command, check=True, capture_output=True, stdin=subprocess.DEVNULL)
    return " ".join(path.with_name(path.name + ".pub").read_text().split()[:2])


class Server:
    """A server process, its configuration, host keys and log, in a folder of its own."""

    def __init__(
        self,
        folder: Path,
        places: Sequence[Place],
        *,
        key_types: Sequence[str],
        options: Sequence[str],
        isolated: bool,
    ) -> None:
        folder.mkdir()
        self.folder = folder
        self.places = tuple(places)
        self.port = 0
        self.isolated = isolated
        self.host_keys: list[str] = []
        self._key_types = tuple(key_types)
        self._options = tuple(options)
        self._keeper: subprocess.Popen[bytes] | None = None

    @property
    def log(self) -> str:
        """What sshd has written so far."""
        path = self.folder / "log"
        return path.read_text(errors="replace") if path.exists() else ""

    def make_host_keys(self) -> None:
        """New host keys, which the next start uses."""
        self.host_keys = [make_key(self.folder / f"host_{kind}", kind) for kind in self._key_types]

    def start(self) -> None:
        """Starts the server; it listens when this returns. The first start chooses the port for good.

        Raises CannotServe with the last lines of sshd's log.
        """
        if not self.host_keys:
            self.make_host_keys()
        ports = [self.port] if self.port else [free_port(self.places[0].address) for _ in range(_TRIES)]
        for port in ports:
            if self._listens_on(port):
                self.port = port
                return
        raise CannotServe(f"sshd does not start: {'; '.join(self.log.splitlines()[-2:]) or 'its log is empty'}")

    def stop(self) -> None:
        """Ends the server and all that runs on its nodes. May be called twice."""
        if self._keeper is None:
            return
        strays = self.everything()
        assert self._keeper.stdin is not None
        self._keeper.stdin.close()
        try:
            self._keeper.wait(_START)
        except subprocess.TimeoutExpired:
            self._keeper.kill()
            self._keeper.wait()
        self._keeper = None
        if not self.isolated:
            self._kill_strays(strays)

    def everything(self) -> list[Process]:
        """The server's own processes, its sessions, and what they started."""
        if self._keeper is None:
            return []
        found = {process.pid: process for process in descendants(self._keeper.pid)}
        if not self.isolated:  # an orphan went to the machine's own init
            found |= {process.pid: process for place in self.places for process in rooted_in(place.root)}
        return list(found.values())

    def listener(self) -> int:
        """The pid of the process that accepts connections. Raises CannotServe when there is none."""
        for process in self.everything():
            if process.command == "sshd" and process.state != "Z":
                return process.pid  # parents come first, so it is no session
        raise CannotServe("the server is not running")

    def _listens_on(self, port: int) -> bool:
        self._write_configuration(port)
        for name in ("pid", "log"):
            (self.folder / name).unlink(missing_ok=True)
        with (self.folder / "log").open("ab") as log:
            keeper = self._keeper = subprocess.Popen(
                self._command(),
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=log,
                start_new_session=True,
            )
        # sshd writes its pid once it listens.
        wait_until(lambda: (self.folder / "pid").exists() or keeper.poll() is not None, _START, pause=0.002)
        # It goes on when it got only some of its addresses.
        if keeper.poll() is None and (self.folder / "pid").exists() and not _UNBOUND.search(self.log):
            return True
        self.stop()
        return False

    def _command(self) -> list[str]:
        fstab = str(self.folder / "fstab") if self.isolated else ""
        arguments = [str(program("sshd")), str(self.folder / "config"), fstab, str(self.folder / "log")]
        return [*(_ISOLATE if self.isolated else []), "/bin/sh", "-c", _KEEPER, "keeper", *arguments]

    def _kill_strays(self, strays: Sequence[Process]) -> None:
        send(signal.SIGKILL, (process.pid for process in strays))
        roots = [place.root for place in self.places]
        wait_until(lambda: not any([_killed(root) for root in roots]), _START)

    def _write_configuration(self, port: int) -> None:
        (self.folder / "config").write_text("\n".join(self._configuration(port)) + "\n")
        mounts = [line for place in self.places for line in _mounts(place)]
        (self.folder / "fstab").write_text("\n".join(mounts) + "\n")

    def _configuration(self, port: int) -> list[str]:
        keys = [f"HostKey {self.folder}/host_{kind}" for kind in self._key_types]
        addresses = [f"ListenAddress {place.address}" for place in self.places]
        # The first value of a setting counts, so the caller's go first.
        lines = [*self._options, f"Port {port}", f"PidFile {self.folder}/pid", *addresses, *keys, *_SETTINGS]
        if _version() >= (9, 8):
            lines.append("PerSourcePenalties no")  # all clients come from one address, and many fail on purpose
        for place in self.places:
            lines += [
                f"Match LocalAddress {place.address}",
                f"    ChrootDirectory {place.root}",
                f"    AuthorizedKeysFile {place.authorized_keys}",
            ]
        return lines


_SETTINGS = (
    "AddressFamily inet",
    "UsePAM no",
    "StrictModes no",
    "PermitRootLogin prohibit-password",
    "PubkeyAuthentication yes",
    "PasswordAuthentication no",
    "KbdInteractiveAuthentication no",
    "MaxStartups 1000:30:2000",
    "MaxSessions 100",
    "UseDNS no",
    "PrintMotd no",
    "PrintLastLog no",
    "X11Forwarding no",
    "LogLevel VERBOSE",
    "Subsystem sftp internal-sftp",
)


def _mounts(place: Place) -> list[str]:
    lines = [f"proc {place.root}/proc proc nosuid,nodev,noexec 0 0"]
    if place.core_pattern:
        lines.append(f"{place.core_pattern} {place.root}/proc/sys/kernel/core_pattern none bind 0 0")
    return lines


def _killed(root: Path) -> list[Process]:
    left = rooted_in(root)
    send(signal.SIGKILL, (process.pid for process in left))
    return left


def free_port(address: str) -> int:
    """A port at which nobody listens just now."""
    with socket.socket() as probe:
        probe.bind((address, 0))
        return int(probe.getsockname()[1])


def _version() -> tuple[int, int]:
    answer = subprocess.run([str(program("ssh")), "-V"], capture_output=True, text=True, check=True).stderr
    found = re.match(r"OpenSSH_(\d+)\.(\d+)", answer)
    return (int(found[1]), int(found[2])) if found else (0, 0)
