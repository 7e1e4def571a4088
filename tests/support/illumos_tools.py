"""Stand-ins for the programs of illumos that analyzers start: mdb, pargs, savecore.

They answer for the files that the test has told them of, told by their content, with what the real programs would
print; they refuse what those refuse: a file that is none of theirs, a dump that is compressed, a module or a command
that is not there. What nobody has told them they do not make up::

    tools = IllumosTools(directory)                 # a directory that any user can reach
    tools.know(core, stack=["main+0x4()", "_start+0x83()"], environment=["SMF_FMRI=svc:/system/utmp:default"])
    tools.know_vectors()                            # the stacks of tests/vectors
    environ = {"PATH": tools.path}
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.support import vectors

_PROGRAMS = ("mdb", "pargs", "savecore")
_STAND_IN = Path(__file__).with_name("illumos_stand_in.py")


class IllumosTools:
    """The programs in a directory of their own; ``have`` says which of them are installed."""

    def __init__(self, directory: Path, have: Iterable[str] = _PROGRAMS) -> None:
        self._table = directory / "known.json"
        self._bin = directory / "bin"
        self._known: dict[str, dict[str, Any]] = {}
        self._bin.mkdir()
        for name in have:
            self._install(name)
        self._write()

    def _install(self, name: str) -> None:
        program = self._bin / name
        # Any Python 3 will do. Ours may lie where the analyzer's user cannot go; env then takes the next one.
        program.write_text(f"#!/usr/bin/env python3\n{_STAND_IN.read_text()}")
        program.chmod(0o755)

    @property
    def directory(self) -> Path:
        """Where they are."""
        return self._bin

    @property
    def path(self) -> str:
        """A PATH on which they come first."""
        return f"{self._bin}:{os.environ.get('PATH', os.defpath)}"

    def know(
        self,
        dump: bytes,
        *,
        stack: Sequence[str] | None = None,
        environment: Sequence[str] | None = None,
        commands: Mapping[str, str] | None = None,
        expands_to: bytes | None = None,
    ) -> None:
        """What there is to say of a dump: to ``::stack`` and ``$c 0``, to ``pargs -e``, to other commands of mdb.

        A command that needs a module is written with it: ``v8 ::jsstack``. ``expands_to`` is what savecore makes of a
        vmdump.
        """
        said = dict(commands or {})
        if stack is not None:
            said |= dict.fromkeys(("::stack", "$c 0", "$c"), "".join(f"{frame}\n" for frame in stack))
        self._add(dump_key(dump), said, environment, expands_to)

    def know_vectors(self) -> None:
        """The stacks of the dumps of tests/vectors, for exactly these files."""
        for entry in vectors.entries():
            if "stack" in entry:
                frames = "".join(f"{frame}\n" for frame in entry["stack"])
                self._add(entry["sha256"], dict.fromkeys(("::stack", "$c 0", "$c"), frames), None, None)

    def _add(
        self, key: str, commands: dict[str, str], environment: Sequence[str] | None, expands_to: bytes | None
    ) -> None:
        made = None
        if expands_to is not None:
            made = self._table.with_name(f"{key}.expanded")
            made.write_bytes(expands_to)
            made.chmod(0o644)
        about = self._known.setdefault(key, {"commands": {}, "environment": None, "expanded": None})
        about["commands"] |= commands
        if environment is not None:
            about["environment"] = list(environment)
        if made is not None:
            about["expanded"] = str(made)
        self._write()

    def _write(self) -> None:
        self._table.write_text(json.dumps(self._known))
        self._table.chmod(0o644)


def dump_key(dump: bytes) -> str:
    """What a stand-in knows a dump by."""
    return hashlib.sha256(dump).hexdigest()
