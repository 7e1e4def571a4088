"""The examples of the original's README for ``debug``, run as a user would, but for the lines about jobs."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.terminal import Terminal
from tests.thoth.cli.conftest import Run
from thoth.analysis.analyzers import fetch
from thoth.library import Thoth

pytestmark = pytest.mark.usefixtures("cache")

ANALYZER = "MANTA-1817-diagnose"


@pytest.fixture
def dump(
    run: Run, core: Callable[..., Path], child_environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> str:
    """A dump of the user bcantrill's."""
    monkeypatch.setenv("MANTA_USER", "bcantrill")
    child_environment["MANTA_USER"] = "bcantrill"
    return run("-q", "upload", core(4, cmd="java")).out.strip()


def test_debugging_an_analyzer(dump: str, spawn: Run, terminal: Callable[..., Terminal], run: Run) -> None:
    """% thoth debug 004a8bf33b2cd204903e46830a4f3b23 MANTA-1817-diagnose"""
    assert spawn("analyzer", ANALYZER, stdin=b'echo "$THOTH_NAME: $(json cmd < $THOTH_INFO)"\n').code == 0
    assert spawn("debug", dump, ANALYZER, stdin=b"exit\n").code == 0  # the dump is here: no bar is shown any more
    session = terminal("debug", dump, ANALYZER)
    shown = session.expect("bcantrill@thoth # ")
    assert shown.replace("\r", "").splitlines()[-5:] == [
        f"thoth: debugging {dump}",
        "thoth: dump info is in $THOTH_INFO",
        f'thoth: analyzer "{ANALYZER}" is in $THOTH_ANALYZER',
        'thoth: run "thoth_analyze" to run $THOTH_ANALYZER',
        "thoth: any changes to $THOTH_ANALYZER will be stored upon successful exit",
    ]
    session.write("thoth_analyze\n")
    session.expect(f"{dump}: java\r\n")
    session.write("sed -i s/json/command\\ json/ $THOTH_ANALYZER && sed -i s/command\\ // $THOTH_ANALYZER\n")
    session.write('echo "thoth_ticket MANTA-1817" >> $THOTH_ANALYZER\n')
    session.write("thoth_analyze && exit\n")
    assert session.ended() == 0
    with_ticket = run("analyze", dump, ANALYZER)
    assert (with_ticket.code, with_ticket.lines) == (0, [f"{dump}: java"])
    assert run("ls", "ticket=MANTA-1817").lines[1].startswith(dump[:16])


def test_changes_are_stored_on_successful_exit_only(dump: str, spawn: Run, stored: Thoth) -> None:
    """ "When the shell exits successfully (that is, an exit of 0), the contents ... will be written" """
    spawn("analyzer", ANALYZER, stdin=b"echo one\n")
    bcantrill = Thoth(stored.store, stored.index, "bcantrill")
    for code, kept in ((1, b"echo one\n"), (0, b"echo two\n")):
        ran = spawn("debug", dump, ANALYZER, stdin=f'echo "echo two" > $THOTH_ANALYZER; exit {code}\n'.encode())
        assert ran.code == code
        assert fetch(bcantrill, ANALYZER)[0] == kept
        for path in re.findall(r"your version is in (\S+);", ran.err):
            Path(path).unlink()


def test_debug_keeps_the_dump_in_the_cache(run: Run, dump: str, cache: Path) -> None:
    """ "It is not deleted, so running again will be much quicker; a simple rm is sufficient to clean up" """
    for _ in range(2):
        assert run("debug", "--batch", "-e", "info files", dump).code == 0
        assert [entry.name for entry in (cache / dump).iterdir() if entry.name[0] != "."] == ["core.4"]
        for each in (cache / dump).iterdir():
            each.unlink()
        (cache / dump).rmdir()
