"""Keys that ssh-keygen made, of all kinds and in all forms in which people have them."""

from __future__ import annotations

import shutil
import subprocess
from functools import cached_property
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_ssh_private_key,
)

from tests.support.roots import program

PASSPHRASE: Final = "canary passphrase ü"
KINDS: Final = {
    "rsa": ("-t", "rsa", "-b", "2048"),
    "p256": ("-t", "ecdsa", "-b", "256"),
    "p384": ("-t", "ecdsa", "-b", "384"),
    "p521": ("-t", "ecdsa", "-b", "521"),
    "ed25519": ("-t", "ed25519"),
}
_FORMS: Final = {"openssh": "RFC4716", "pem": "PEM", "pkcs8": "PKCS8"}  # as ssh-keygen -m calls them
FORMS: Final = [(kind, form) for kind in KINDS for form in _FORMS if (kind, form) != ("ed25519", "pem")]


class SshKey:
    """One key: ``file``, without passphrase in OpenSSH's form, and ``file``.pub."""

    def __init__(self, file: Path) -> None:
        self.file = file

    @cached_property
    def public(self) -> str:
        """The line of the ``.pub`` file."""
        return self.file.with_name(f"{self.file.name}.pub").read_text()

    @cached_property
    def md5(self) -> str:
        return self._fingerprint("md5").removeprefix("MD5:")

    @cached_property
    def sha256(self) -> str:
        return self._fingerprint("sha256")

    def _fingerprint(self, hash_name: str) -> str:
        return keygen("-E", hash_name, "-lf", f"{self.file}.pub").split()[1]

    def put(self, target: Path, form: str = "openssh", passphrase: str = "", *, public: bool = True) -> Path:
        """A copy in another form, with its ``.pub`` beside it if ``public``; the mode is 0600."""
        shutil.copyfile(self.file, target)
        target.chmod(0o600)
        if form == "pkcs8" and "ed25519" in self.public:
            self._put_pkcs8(target, passphrase)
        elif (form, passphrase) != ("openssh", ""):
            keygen("-p", "-a", "1", "-m", _FORMS[form], "-P", "", "-N", passphrase, "-f", target)
        if public:
            target.with_name(f"{target.name}.pub").write_text(self.public)
        return target

    def _put_pkcs8(self, target: Path, passphrase: str) -> None:  # which ssh-keygen cannot write
        key = load_ssh_private_key(target.read_bytes(), None)
        sealed = BestAvailableEncryption(passphrase.encode()) if passphrase else NoEncryption()
        target.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, sealed))


class SshKeys:
    """One key of each kind, made when it is first asked for."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._made: dict[str, SshKey] = {}

    def __getitem__(self, kind: str) -> SshKey:
        if kind not in self._made:
            file = self._folder / kind
            keygen(*KINDS[kind], "-N", "", "-C", f"the {kind} one", "-f", file)
            self._made[kind] = SshKey(file)
        return self._made[kind]


def keygen(*arguments: str | Path) -> str:
    """Runs ssh-keygen, and returns what it prints."""
    command = [program("ssh-keygen"), "-q", *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True, stdin=subprocess.DEVNULL).stdout
