"""Manta's public Node client: its commands, run as a user would, with a home and a key of their own."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from tests.support.manta_accounts import fingerprint
from tests.support.manta_client import PrivateKey
from tests.support.node_packages import node_package

_TIME = 60.0  # seconds; usually it is 0.4


class NodeClient:
    """``run("mls", "-l", "~~/stor")``. The folder becomes its home, with the key in .ssh."""

    def __init__(self, url: str, home: Path, key: PrivateKey, user: str = "alice", **environment: str) -> None:
        self.bin = node_package("manta") / "bin"
        self.home = home
        form = PrivateFormat.TraditionalOpenSSL if isinstance(key, rsa.RSAPrivateKey) else PrivateFormat.OpenSSH
        keys = home / ".ssh"
        keys.mkdir(mode=0o700, parents=True)
        (keys / "id_test").write_bytes(key.private_bytes(Encoding.PEM, form, NoEncryption()))
        (keys / "id_test").chmod(0o600)
        self.environment = {
            "HOME": str(home),
            "PATH": f"{self.bin}:{os.environ['PATH']}",
            "NODE_NO_WARNINGS": "1",
            "MANTA_URL": url,
            "MANTA_USER": user,
            "MANTA_KEY_ID": fingerprint(key.public_key()),
            **environment,
        }

    def run(self, *command: str, stdin: bytes = b"", status: int = 0, **more: str) -> bytes:
        """What the command prints. Asserts its exit status; ``more`` goes into its environment."""
        ran = self.start(command, stdin, more)
        assert ran.returncode == status, f"{' '.join(command)}: {ran.returncode}: {ran.stderr.decode()}"
        return ran.stdout

    def complain(self, *command: str, stdin: bytes = b"", status: int = 1) -> str:
        """What a command that fails says."""
        ran = self.start(command, stdin, {})
        assert ran.returncode == status, f"{' '.join(command)}: {ran.returncode}: {ran.stderr.decode()}"
        return ran.stderr.decode().strip()

    def start(
        self, command: tuple[str, ...], stdin: bytes, more: Mapping[str, str]
    ) -> subprocess.CompletedProcess[bytes]:
        environment = {**self.environment, **more}
        program = [str(self.bin / command[0]), *command[1:]]
        return subprocess.run(
            program, env=environment, cwd=self.home, input=stdin, capture_output=True, timeout=_TIME, check=False
        )
