"""What reaches a terminal: the bar of an upload, and never a control character out of a dump or a name."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.thoth.cli.conftest import Run
from thoth.cli.progress import bar_text
from thoth.edit import revise
from thoth.library import Thoth
from thoth.model import Identity

OnTerminal = Callable[..., tuple[int, bytes]]

EVIL = b"\x1b]0;pwned\x07\x9b31m\xc2\x9b31m\x7f\r\xe2\x80\xae\xff"


def assert_no_control(seen: bytes) -> None:
    """No control character of C0, DEL or C1 but the ends of lines, as a terminal driver sends them."""
    assert not re.search(rb"[\x00-\x09\x0b\x0c\x0e-\x1f\x7f]|\xc2[\x80-\x9f]", seen), seen
    assert b"\r" not in seen.replace(b"\r\n", b""), seen
    seen.decode()


class TestF23:
    @pytest.fixture
    def evil(self, run: Run, core: Callable[..., Path], stored: Thoth) -> Path:
        """A dump that is evil in its name, its text, its ticket and its properties."""
        path = core(1, b"core." + EVIL, cmd=EVIL[:15], psargs=EVIL, node=EVIL)
        name = run("-q", "upload", path).out.strip()
        text = os.fsdecode(EVIL)
        revise(
            stored,
            Identity(name),
            lambda info: info.changed(ticket=text, stack=[text], properties={text: text}),
        )
        return path

    @pytest.mark.parametrize(
        "words",
        [
            ["ls"],
            ["ls", "psargs", "node", "stack", "properties", "sources"],
            ["ls", "\x1b[31m"],
            ["ls", "--json"],
            ["info", "type=core"],
            ["info", b"no." + EVIL],
            ["info", b"cmd=" + EVIL],
            ["info", b"mtime=" + EVIL],
            ["object", b"no." + EVIL],
            ["--debug", "info", b"no." + EVIL],
            ["upload", b"no." + EVIL],
            ["ls", b"--" + EVIL],
            [EVIL],
            ["ls", b"--db", b"sqlite:///" + EVIL],
            ["ls", b"--store", b"file:" + EVIL],
            ["ls", b"--user", EVIL],
            ["ls", b"--config", b"/" + EVIL],
        ],
        ids=repr,
    )
    def test_F23_nothing_raw_reaches_the_terminal(
        self, evil: Path, on_terminal: OnTerminal, words: list[str | bytes]
    ) -> None:
        _, seen = on_terminal(*words)
        assert seen
        assert_no_control(seen)

    def test_F23_nor_for_the_file_itself(self, evil: Path, on_terminal: OnTerminal) -> None:
        for command in ("info", "object", "upload"):
            code, seen = on_terminal(command, evil)
            assert code == 0
            assert_no_control(seen)

    def test_F23_nor_in_the_bar(self, core: Callable[..., Path], on_terminal: OnTerminal) -> None:
        code, seen = on_terminal("upload", core(1, b"core." + EVIL, size=3 << 20))
        assert code == 0
        assert b"100%" in seen
        # rich moves the cursor and hides it; that is all a terminal is told to do
        assert_no_control(re.sub(rb"\x1b\[[?0-9;]*[A-Zhlm]|\r", b"", seen).replace(b"\n", b"\r\n"))
        assert b"pwned" in seen


class TestBar:
    def test_it_stays_as_the_original_s_line(self, core: Callable[..., Path], on_terminal: OnTerminal) -> None:
        code, seen = on_terminal("upload", core(24388, "core.bc.24388", size=4016046))
        assert code == 0
        assert b"thoth: core.bc.24388 [=======================>] 100%   3.83MB" in seen

    def test_quiet_silences_it(self, core: Callable[..., Path], on_terminal: OnTerminal) -> None:
        code, seen = on_terminal("-q", "upload", core(1))
        assert (code, len(seen)) == (0, 34)

    def test_there_is_none_without_a_terminal(self, spawn: Run, core: Callable[..., Path]) -> None:
        ran = spawn("upload", core(1))
        assert len(ran.said) == 2

    def test_a_dump_that_is_there_has_none(
        self, core: Callable[..., Path], on_terminal: OnTerminal, run: Run
    ) -> None:
        path = core(1)
        run("upload", path)
        assert b"%" not in on_terminal("upload", path)[1]

    @pytest.mark.parametrize(
        ("done", "size", "shown"),
        [
            (0, 100, "thoth: core.19972    [>                       ]   0%       0B"),
            (50, 100, "thoth: core.19972    [===========>            ]  50%      50B"),
            (2034237, 2034237, "thoth: core.19972    [=======================>] 100%   1.94MB"),
            (300, 100, "thoth: core.19972    [=======================>] 100%     300B"),
            (0, 0, "thoth: core.19972    [=======================>] 100%       0B"),
        ],
    )
    def test_states(self, done: int, size: int, shown: str) -> None:
        assert bar_text("core.19972", done, size) == shown

    def test_a_long_name_leaves_room(self) -> None:
        assert bar_text("x" * 300, 1, 2).startswith("thoth: " + "x" * 37 + "... [")
