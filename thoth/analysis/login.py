"""Sessions of mlogin, the program of the Node client that puts a terminal into a task of a job: mdb on a dump where
it lies, or a shell in which an analyzer is developed, and what such a shell has left.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from thoth.analysis.changes import LARGEST_RECORD, Changes, changes_in
from thoth.analysis.job_assets import Assets
from thoth.errors import NoSuchObject, SourceError
from thoth.library import Thoth

MLOGIN: Final = "mlogin"
_MEMORY: Final = "--memory=2048"  # MB, as the original asks for
# A constant: no name of a dump becomes part of a command. mdb is not to load whatever node lies on the PATH there.
_MDB: Final = 'LIBPROC_INCORE_ELF=1 exec mdb "$MANTA_INPUT_FILE"'
_HEAD: Final = re.compile(rb"thoth-login 1 ([0-9]{1,3}) ([0-9]{1,10}) ([0-9]{1,10}) ([0-9]{1,10})\n")


@dataclass(frozen=True, slots=True)
class Left:
    """What a shell has left: its exit status, the analyzer as it is then, and what is to be changed, not yet read."""

    status: int
    script: bytes
    asked: bytes  # by the analyzer's last run
    typed: bytes

    def changes(self) -> Changes:
        """What the analyzer's last run asked for, and then what was typed. Raises UsageError for what cannot be."""
        run, typed = (changes_in(each) for each in (self.asked, self.typed))
        return run.followed_by(typed)


def debugger_words(mlogin: str, dump: str) -> tuple[str, ...]:
    """The command that has mdb on a dump, by the name of its object."""
    return (mlogin, _MEMORY, "-c", _MDB, dump)


def shell_words(mlogin: str, dump: str, assets: Assets) -> tuple[str, ...]:
    """The command that has the shell of an analyzer."""
    return (mlogin, _MEMORY, "-s", assets.script, "-s", assets.documents, "-c", assets.command, dump)


def left(thoth: Thoth, assets: Assets) -> Left:
    """What the shell has left. Raises SourceError when that is nothing, or cannot be read, and StoreError."""
    try:
        data = thoth.store.get(assets.result)[0]
    except NoSuchObject as error:
        raise SourceError("the session has left nothing behind: it was cut, or did not begin") from error
    head = _HEAD.match(data)
    if head is None:
        raise SourceError("what the session has left cannot be read")
    status, *sizes = (int(each) for each in head.groups())
    if sum(sizes) != len(data) - head.end() or max(sizes[1:]) > LARGEST_RECORD:
        raise SourceError("what the session has left is incomplete")
    script, asked = sizes[0], sizes[1]
    rest = data[head.end() :]
    return Left(status, rest[:script], rest[script : script + asked], rest[script + asked :])
