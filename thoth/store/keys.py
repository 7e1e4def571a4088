"""Finding the key that requests are signed with, from what MANTA_KEY_ID says.

What needs nobody's passphrase goes first: files, then ssh-agent; files with a passphrase come last. Files are
the one that is named, or those in ``~/.ssh``, as the public Node client has it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from thoth.errors import StoreUnavailable, UsageError
from thoth.store.keyfiles import (
    PRIVATE_MAX,
    Folder,
    KeyFile,
    NeedsPassphrase,
    WrongPassphrase,
    look_through,
    read_key_file,
    read_small,
)
from thoth.store.publickeys import Fingerprint, parse_fingerprint, parse_public
from thoth.store.signing import HttpSigner, KeyOwner, LocalKey, Signer, SigningKey

__all__ = ["KeyOwner", "KeyPlaces", "Signer", "find_signer"]

Ask = Callable[[str], str]  # a prompt -> a passphrase

_TRIES: Final = 3  # of a passphrase
_SHOWN: Final = 3  # files that could not be looked into, of those that an error names


@dataclass(frozen=True, slots=True)
class KeyPlaces:
    """Where keys are looked for: the user's home directory, and the socket of ssh-agent. None: there is none."""

    home: Path | None
    agent: str | None


def find_signer(
    owner: KeyOwner, key_id: str, *, places: KeyPlaces, ask: Ask | None, setting: str = "MANTA_KEY_ID"
) -> Signer:
    """The signer with the key that ``key_id`` names.

    ``key_id`` is a fingerprint (``aa:bb:...``, ``MD5:aa:bb:...``, ``SHA256:...``) or a key's file. ``ask`` gets a
    prompt and returns a passphrase; None: there is no terminal. ``setting`` is what errors call the key id.
    Raises UsageError, which says what to do.
    """
    if fingerprint := parse_fingerprint(key_id, setting):
        folder = look_through(places.home / ".ssh") if places.home else Folder()
        return HttpSigner(_Search(fingerprint, folder, places.agent, ask, setting).key(), owner)
    path = _path(key_id, places.home, setting)
    if public := parse_public(read_small(path, PRIVATE_MAX)[0]):  # its private half lies beside it, or in the agent
        fingerprint, folder = Fingerprint(public.sha256), look_through(path.parent)
    else:
        file = read_key_file(path)
        if file.public is None:
            return HttpSigner(_undisclosed(file, ask), owner)
        fingerprint, folder = Fingerprint(file.public.sha256), Folder(path, (file,))
    return HttpSigner(_Search(fingerprint, folder, places.agent, ask, setting).key(), owner)


def _path(key_id: str, home: Path | None, setting: str) -> Path:
    if key_id.startswith("~/") and home:
        return home / key_id[2:]
    try:
        if key_id.startswith(("/", "./", "../")) or Path(key_id).is_file():
            return Path(key_id)
    except (OSError, ValueError):  # too long for a file's name, or with a NUL in it: so it is none
        pass
    # Not shown: whoever took this for the key itself shall not find it in a log.
    raise UsageError(
        f"{setting}: neither a fingerprint (16 pairs of hex digits with ':' between them, or SHA256: and 43"
        " characters of base64) nor a private key's file; ssh-keygen -lf FILE prints a key's fingerprint"
    )


def names_a_key(key_id: str, home: Path | None) -> bool:
    """Whether a setting is what it should be: else it may be the key itself, which nobody is to be shown."""
    try:
        return bool(parse_fingerprint(key_id, "") or _path(key_id, home, ""))
    except UsageError:
        return False


def _undisclosed(file: KeyFile, ask: Ask | None) -> LocalKey:
    """The key of a file that doesn't tell without its passphrase which it is: no agent can be asked for it."""
    if file.fault:
        raise UsageError(file.fault)
    advice = f"give it a public half (ssh-keygen -yf {file.path} > {file.path}.pub) and load it into ssh-agent"
    return _unlocked(file, ask, f"{advice} (ssh-add {file.path})")


def _unlocked(file: KeyFile, ask: Ask | None, advice: str) -> LocalKey:
    """The key of a file with a passphrase. ``advice`` is for those who have no terminal."""
    if ask is None:
        raise UsageError(f"key {file.path}: has a passphrase, and there is no terminal to ask for it; {advice}")
    for _ in range(_TRIES):
        try:
            return file.opened(ask(f"Passphrase for {file.path}: "))
        except EOFError as error:
            raise UsageError(f"key {file.path}: has a passphrase, and none was given") from error
        except WrongPassphrase:
            continue
    raise UsageError(f"key {file.path}: none of {_TRIES} passphrases opens it; try: ssh-keygen -yf {file.path}")


class _Search:
    """One search, with what it came across that explains why it found nothing."""

    def __init__(self, wanted: Fingerprint, folder: Folder, agent: str | None, ask: Ask | None, setting: str) -> None:
        self._wanted = wanted
        self._folder = folder
        self._agent = agent
        self._ask = ask
        self._named = f"{setting} {wanted}"
        self._refusals: list[str] = []  # a line for each key that is the right one and cannot be used
        self._agent_seen = "there is no ssh-agent (SSH_AUTH_SOCK is not set)"

    def key(self) -> SigningKey:
        locked: list[KeyFile] = []
        found = self._open_one(locked) or self._in_agent() or self._unlock_one(locked)
        if found:
            return found
        raise UsageError("; ".join(self._refusals) or self._nowhere())

    def _open_one(self, locked: list[KeyFile]) -> LocalKey | None:
        """The key from a file without a passphrase. Those that have one are added to ``locked``."""
        for file in self._folder.keys:
            if file.public is None or not self._wanted.matches(file.public):
                continue
            if file.fault:
                self._refusals.append(file.fault)
                continue
            try:
                if key := self._checked(file, file.opened()):
                    return key
            except NeedsPassphrase:
                locked.append(file)
            except UsageError as error:
                self._refusals.append(str(error))
        return None

    def _in_agent(self) -> SigningKey | None:
        if self._agent is None:
            return None
        from thoth.store.agentkeys import KeyInAgent, agent_keys  # noqa: PLC0415 - paramiko takes 0.1 s

        try:
            keys = agent_keys(self._agent)
        except StoreUnavailable as error:
            self._agent_seen = str(error)
            return None
        self._agent_seen = f"{_counted(len(keys))} in ssh-agent"
        for key in filter(self._wanted.matches, keys):
            if not key.agent_fault:
                return KeyInAgent(self._agent, key)
            self._refusals.append(f"{self._named}: {key.agent_fault}")
        return None

    def _unlock_one(self, locked: list[KeyFile]) -> LocalKey | None:
        for file in locked:
            unfit = file.public.agent_fault if file.public else ""
            advice = f"the key {unfit}" if unfit else f"load it into ssh-agent (ssh-add {file.path})"
            if key := self._checked(file, _unlocked(file, self._ask, f"{advice}; {self._agent_seen}")):
                return key
        return None

    def _checked(self, file: KeyFile, key: LocalKey) -> LocalKey | None:
        """The key, if it is the one that its public half said it was."""
        if self._wanted.matches(key.public):
            return key
        pub = f"{file.path}.pub"
        self._refusals.append(
            f"key {file.path}: {pub} is not its public half; run: ssh-keygen -yf {file.path} > {pub}"
        )
        return None

    def _nowhere(self) -> str:
        """The line for a key that is in none of the places."""
        for path, public in self._folder.lone:
            if self._wanted.matches(public):
                return (
                    f"{self._named}: only the public half is there, {path}: put the private one beside it, as"
                    f" {path.with_suffix('')}, or into ssh-agent (ssh-add FILE); {self._agent_seen}"
                )
        folder = self._folder
        seen = f"{_counted(folder.known)} in {folder.path}" if folder.path else "there is no home directory"
        unread = "".join(f"; {reason}" for reason in folder.unread[:_SHOWN])
        return (
            f"{self._named}: no key has this fingerprint: {seen}, {self._agent_seen}{unread}; load it into ssh-agent"
            f" (ssh-add FILE), or look which it is: {self._wanted.printed_by}"
        )


def _counted(keys: int) -> str:
    return "1 key" if keys == 1 else f"{keys or 'no'} keys"
