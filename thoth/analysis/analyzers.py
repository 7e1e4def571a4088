"""Analyzers in the store: shell scripts by name, ``/USER/stor/thoth/analyzers/NAME``."""

from __future__ import annotations

import shutil
import subprocess
from difflib import get_close_matches
from importlib.resources import files
from typing import Final

from thoth.errors import NoSuchObject, PreconditionFailed, UsageError
from thoth.library import Thoth
from thoth.naming import text
from thoth.query import shown
from thoth.store.base import ABSENT
from thoth.store.names import analyzer_name, analyzers_dir

LARGEST: Final = 1 << 20  # bytes of an analyzer: what is larger was meant for another command
LONGEST_NAME: Final = 200  # characters

BUNDLED: Final = ("fmri", "jsexception", "jsstack", "process-dump", "ucode")


class NoSuchAnalyzer(UsageError):
    """No analyzer has this name."""


def add(thoth: Thoth, name: str, script: bytes, *, if_match: str | None = None) -> str:
    """Store an analyzer, in place of an older one, and return its etag.

    ``if_match`` makes it a compare-and-set, as ObjectStore.put has it. Raises UsageError for a name that no
    analyzer can have and for what is no script, PreconditionFailed and StoreError.
    """
    place = _place(thoth, name)
    if fault := _script_fault(script) or _syntax_fault(script):
        raise UsageError(f"analyzer '{name}': {fault}")
    return thoth.store.put(place, script, if_match=if_match)


def check_name(name: str) -> None:
    """Raises UsageError for a name that no analyzer can have: what `thoth analyze` takes for something else."""
    if fault := _name_fault(name):
        raise UsageError(f"{shown(name)} is no name for an analyzer: it {fault}")


def fetch(thoth: Thoth, name: str) -> tuple[bytes, str]:
    """An analyzer's script and its etag. Raises NoSuchAnalyzer, which names those that are called alike."""
    try:
        return thoth.store.get(_place(thoth, name))
    except NoSuchObject as error:
        raise NoSuchAnalyzer(_unknown(thoth, name)) from error


def remove(thoth: Thoth, name: str) -> None:
    """Delete an analyzer. Raises NoSuchAnalyzer."""
    try:
        thoth.store.delete(_place(thoth, name))
    except NoSuchObject as error:
        raise NoSuchAnalyzer(_unknown(thoth, name)) from error


def listed(thoth: Thoth) -> list[str]:
    """The absolute names of all analyzers in the store, sorted."""
    directory = analyzers_dir(thoth.user)
    return [f"{directory}/{entry.name}" for entry in thoth.store.list(directory) if not entry.directory]


def add_bundled(thoth: Thoth) -> list[str]:
    """Store those of our own analyzers whose names are free, and return these. One of the user's own stays."""
    return [name for name in BUNDLED if _added_if_absent(thoth, name)]


def bundled(name: str) -> bytes:
    """The script of one of our own analyzers."""
    return files("thoth.analysis").joinpath("bundled", name).read_bytes()


def _added_if_absent(thoth: Thoth, name: str) -> bool:
    try:
        add(thoth, name, bundled(name), if_match=ABSENT)
    except PreconditionFailed:
        return False
    return True


def _place(thoth: Thoth, name: str) -> str:
    check_name(name)
    return analyzer_name(thoth.user, name)


def _name_fault(name: str) -> str:
    if not name or name.startswith(".") or "/" in name:
        return "is empty, begins with a dot or has a /"
    if not name.isprintable():
        return "has a character that cannot be shown"
    if name.startswith(("::", "$", "-")):
        return "begins like a debugger's command or an option"
    if "=" in name:
        return "has a =, as a constraint has"
    return f"is longer than {LONGEST_NAME} characters" if len(name) > LONGEST_NAME else ""


def _script_fault(script: bytes) -> str:
    if not script.strip():
        return "it is empty; nothing was stored"
    if b"\0" in script:
        return "it has a NUL, which no shell script has"
    return f"it has over {LARGEST} bytes, which is no analyzer" if len(script) > LARGEST else ""


def _syntax_fault(script: bytes) -> str:
    """What bash, where it is installed, finds wrong with a script that it does not run."""
    bash = shutil.which("bash")
    if bash is None:
        return ""
    # What ``shopt`` in the script switches on would not be known to it.
    command = [bash, "--noprofile", "--norc", "-O", "extglob", "-n"]
    ran = subprocess.run(command, input=script, env={"LC_ALL": "C"}, capture_output=True, check=False)
    if ran.returncode == 0:
        return ""
    said = text(ran.stderr).partition("\n")[0].removeprefix(f"{bash}: ")
    return f"bash does not take it: {shown(said)}; nothing was stored"


def _unknown(thoth: Thoth, name: str) -> str:
    there = [each.rpartition("/")[2] for each in listed(thoth)]
    close = get_close_matches(name, there, n=3)
    hint = f"did you mean {' or '.join(close)}?" if close else "'thoth analyzers' lists those that there are"
    return f"there is no analyzer {shown(name)}; {hint}"
