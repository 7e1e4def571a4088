"""The same text after ``thoth info`` and ``ls``."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from tests.thoth.cli.conftest import Core, Run, Uploaded
from thoth.edit import revise
from thoth.library import Thoth
from thoth.model import Identity

HOSTILE = [
    "a\"b'c\\d",
    "one:two,three",
    "line\nbreak\r\n",
    "\x1b[31m\x07\x7f",
    "\u2028\u202e",
    "\udcff\udcfe",
    "é北",
]


class TestNames:
    """Of C++ and Rust: as people write them where people look, and as compilers do where programs read."""

    RAW, SHOWN = "app`_ZN12_GLOBAL__N_15crashEv+0x1()", "app`(anonymous namespace)::crash()+0x1()"

    @pytest.fixture
    def name(self, run: Run, core: Core, stored: Thoth) -> str:
        name = run("-q", "upload", core(1)).out.strip()
        frames = [{"symbol": "_ZN12_GLOBAL__N_15crashEv"}]
        revise(
            stored,
            Identity(name),
            lambda info: info.changed(stack=[self.RAW], threads=[{"id": 1, "frames": frames}]),
        )
        return name

    def test_in_info(self, run: Run, on_terminal: Callable[..., tuple[int, bytes]], name: str) -> None:
        for words in (["info", name], ["info", "type=core"], ["info", name, "0" * 32]):
            for more, expected in (([], self.RAW), (["--demangle"], self.SHOWN), (["--no-demangle"], self.RAW)):
                shown = json.loads(run(*words, *more).out)
                (document,) = shown if isinstance(shown, list) else [shown]
                assert document["stack"] == [expected]
                assert ("(anonymous" in document["threads"][0]["frames"][0]["symbol"]) == (expected == self.SHOWN)
        assert self.SHOWN.encode() in on_terminal("info", name)[1]
        assert self.RAW.encode() in on_terminal("info", "--no-demangle", name)[1]

    def test_in_columns(self, run: Run, name: str) -> None:
        assert self.SHOWN in run("ls", "stack").out
        assert self.RAW in run("ls", "--json").out
        assert run("ls", "stack=*_ZN12_GLOBAL__N_15crashEv*").out.startswith("NAME")


@pytest.mark.parametrize("hostile", HOSTILE)
def test_F26_text_is_the_same_after_info_and_ls(run: Run, uploaded: Uploaded, stored: Thoth, hostile: str) -> None:
    name = uploaded(1, psargs=hostile.encode("utf-8", "surrogateescape"))
    stack = [f"libc.so.1`{hostile}+0x15()", "main+0x379()"]
    revise(stored, Identity(name), lambda info: info.changed(stack=stack, properties={hostile: hostile}))
    shown = json.loads(run("info", name).out)
    assert (shown["psargs"], shown["stack"], shown["properties"]) == (hostile, stack, {hostile: hostile})
    assert json.loads(run("ls", "--json").out) == shown
    assert len(run("ls", "psargs", "stack", "properties").lines) == 2
