"""One task of a job: a shell command beside its input, as Manta v1 ran it in a zone on the storage node.

The command runs as /bin/bash would run it, in its own mount and process namespaces below a root that is this
machine's, with /assets and /manta added: nothing of it shows outside, and whatever it started ends with it.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_ISOLATE = ("unshare", "--mount", "--propagation", "private", "--pid", "--fork", "--kill-child")
# $1: the root to be, $2: a folder with assets/ and manta/, $3: the script of the task.
_ENTER = """
set -eu
mount -t tmpfs -o mode=755 task "$1"
for entry in /* /.[!.]*; do
    name=${entry#/}
    case $name in assets|manta|'*'|'.[!.]*') continue ;; esac
    if [ -L "$entry" ]; then cp -P "$entry" "$1/$name"
    elif [ -d "$entry" ]; then mkdir "$1/$name"; mount --rbind "$entry" "$1/$name"
    fi
done
for name in assets manta; do mkdir "$1/$name"; mount --bind "$2/$name" "$1/$name"; done
chroot "$1" /bin/bash "$3"  # no exec: the first process of a namespace cannot be killed from within
"""


class NeedsRoot(Exception):
    """Tasks cannot be isolated by this user."""


@dataclass(frozen=True, slots=True)
class Command:
    """``assets`` and ``inputs``: paths in Manta and the files with their bytes. ``stdin``: the files that feed it."""

    init: str | None
    exec: str
    environment: Mapping[str, str]
    assets: Mapping[str, Path]
    inputs: Mapping[str, Path]
    stdin: Sequence[Path]


@dataclass(frozen=True, slots=True)
class Finished:
    """``status`` is a shell's, over 128 for a signal; None when the time was over."""

    status: int | None
    stdout: Path
    stderr: Path


class Task:
    """A command that runs in a work folder of its own. ``kill`` may be called from another thread."""

    def __init__(self, command: Command, folder: Path, seconds: float) -> None:
        self._command = command
        self._folder = folder
        self._seconds = seconds
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._killed = False

    def run(self) -> Finished:
        """Runs it to its end. Raises NeedsRoot."""
        if os.geteuid() != 0:
            raise NeedsRoot("jobs of the Manta test server need root (mount, chroot): run as root")
        words = self.lay_out()
        stdout, stderr = self._folder / "stdout", self._folder / "stderr"
        with self._stdin().open("rb") as source, stdout.open("wb") as out, stderr.open("wb") as err:
            process = self._start(words, source.fileno(), out.fileno(), err.fileno())
            if process is None:
                return Finished(128 + signal.SIGKILL, stdout, stderr)
            try:
                status: int | None = process.wait(self._seconds)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                status = None
        return Finished(status, stdout, stderr)

    def kill(self) -> None:
        with self._lock:
            self._killed = True
            if self._process and self._process.poll() is None:
                self._process.kill()  # --kill-child takes everything below with it

    def _start(self, words: Sequence[str], stdin: int, stdout: int, stderr: int) -> subprocess.Popen[bytes] | None:
        with self._lock:
            if self._killed:
                return None
            self._process = subprocess.Popen(
                words,
                stdin=stdin,
                stdout=stdout,
                stderr=stderr,
                env=dict(self._command.environment),
                start_new_session=True,
            )
            return self._process

    def lay_out(self) -> list[str]:
        """Puts everything into the work folder; returns the words that run the command, in a root of its own."""
        for name in ("root", "assets", "manta"):
            (self._folder / name).mkdir()
        for below, files in (("assets", self._command.assets), ("manta", self._command.inputs)):
            for path, source in files.items():
                target = self._folder / below / path.lstrip("/")
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(source, target)
                target.chmod(0o755 if below == "assets" else 0o644)
        init = f"{self._command.init}\nstatus=$?\n[ $status -eq 0 ] || exit $status\n" if self._command.init else ""
        (self._folder / "task.sh").write_text(f"cd /\n{init}{self._command.exec}\n")
        arguments = [str(self._folder / "root"), str(self._folder), str(self._folder / "task.sh")]
        return [*_ISOLATE, "/bin/sh", "-c", _ENTER, "task", *arguments]

    def _stdin(self) -> Path:
        """One file with all that goes in."""
        if len(self._command.stdin) == 1:
            return self._command.stdin[0]
        target = self._folder / "stdin"
        with target.open("wb") as joined:
            for path in self._command.stdin:
                with path.open("rb") as source:
                    shutil.copyfileobj(source, joined, 1 << 20)
        return target
