"""ssh-agent for tests: the real one, and one that says what a test wants it to say."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.support.processes import wait_until
from tests.support.roots import program

_START = 10.0  # seconds; usually it is 0.01


class SshAgent:
    """A real ssh-agent, which ends with the block. Where it would ask somebody, ``askpass`` answers."""

    def __init__(self, askpass: str = "#!/bin/sh\nexit 1\n") -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="agent-"))  # a socket's path is short
        self.socket = str(self._folder / "socket")
        script = self._folder / "askpass"
        script.write_text(askpass)
        script.chmod(0o700)
        self._environ = {
            "PATH": os.environ["PATH"],
            "SSH_ASKPASS": str(script),
            "SSH_ASKPASS_REQUIRE": "force",
            "SSH_AUTH_SOCK": self.socket,
        }
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self._process = subprocess.Popen(
            [program("ssh-agent"), "-D", "-a", self.socket],
            env=self._environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        assert wait_until(self._listens, _START), "ssh-agent does not listen"

    def _listens(self) -> bool:
        with socket.socket(socket.AF_UNIX) as probe:
            return probe.connect_ex(self.socket) == 0

    def stop(self) -> None:
        """Ends the process, which takes its keys and its socket with it. May be called twice."""
        if self._process:
            self._process.terminate()
            self._process.wait(_START)
            self._process = None

    def ssh_add(self, *arguments: str | Path) -> str:
        """Runs ssh-add, and returns what it prints."""
        ran = subprocess.run(
            [program("ssh-add"), *arguments],
            env=self._environ,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=True,
        )
        return ran.stdout + ran.stderr

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        shutil.rmtree(self._folder)


class ScriptedAgent:
    """Listens as an agent would, and answers each message with what ``reply`` makes of it; None: it hangs up.

    Messages are without their length in front, as draft-miller-ssh-agent has them. ``connections`` counts.
    """

    def __init__(self, reply: Callable[[bytes], bytes | None]) -> None:
        self._reply = reply
        self._folder = Path(tempfile.mkdtemp(prefix="agent-"))
        self.socket = str(self._folder / "socket")
        self.connections = 0
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(self.socket)
        self._listener.listen()
        self._thread = threading.Thread(target=self._serve, name="scripted agent")

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:  # it was shut down: the end
                return
            self.connections += 1
            # Who was told something odd hangs up at once.
            with contextlib.suppress(ConnectionError), connection, connection.makefile("rb") as requests:
                while (length := requests.read(4)) and (
                    answer := self._reply(requests.read(int.from_bytes(length, "big")))
                ) is not None:
                    connection.sendall(answer)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join(_START)
        self._listener.close()
        shutil.rmtree(self._folder)


def framed(message: bytes) -> bytes:
    """A string as SSH has it: its length, then its bytes. Also how an agent frames its messages."""
    return len(message).to_bytes(4, "big") + message


def listing(*blobs: bytes) -> bytes:
    """An agent's answer to the question for its keys."""
    keys = b"".join(framed(blob) + framed(b"caf\xe9") for blob in blobs)  # a comment that is not UTF-8
    return framed(bytes([12]) + len(blobs).to_bytes(4, "big") + keys)


def signed(kind: bytes, signature: bytes) -> bytes:
    """An agent's answer with a signature."""
    return framed(bytes([14]) + framed(framed(kind) + framed(signature)))
