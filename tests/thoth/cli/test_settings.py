"""``thoth config``."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.thoth.cli.conftest import Ran, Run

SECRET = "I<3dumps"


class TestConfig:
    def test_with_nothing_configured(self, run: Run) -> None:
        home = os.environ["HOME"]
        ran = run("config")
        assert (ran.code, ran.err) == (0, "")
        assert [line.split() for line in ran.lines] == [
            ["SETTING", "VALUE", "FROM", "STATE"],
            ["store", f"file://{home}/.local/share/thoth/store", "default", "not", "made", "yet"],
            ["db", f"sqlite://{home}/.local/share/thoth/thoth.db", "default", "not", "made", "yet"],
            ["user", "thoth", "default", "-"],
            ["cache", "/var/tmp/thoth/cache", "default", *ran.lines[4].split()[3:]],
            ["config", f"{home}/.config/thoth/config.toml", "default", "not", "there"],
        ]
        assert list(Path(home).iterdir()) == []

    def test_what_is_there_is_told_and_where_each_value_is_from(
        self, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        file = tmp_path / "thoth.toml"
        file.write_text(f'db = "sqlite://{tmp_path}/a.db"\ncache = "{tmp_path}"\n')
        monkeypatch.setenv("THOTH_USER", "ops")
        words = ("--config", file, "--store", f"file://{tmp_path}/store")
        run("init", *words)
        ran = run("config", *words)
        assert ran.code == 0
        assert [line.split()[1:] for line in ran.lines[1:]] == [
            [f"file://{tmp_path}/store", "--store", "there"],
            [f"sqlite://{tmp_path}/a.db", str(file), "there"],
            ["ops", "THOTH_USER", "-"],
            [str(tmp_path), str(file), "there"],
            [str(file), "--config", "there"],
        ]

    def test_json(self, run: Run, tmp_path: Path) -> None:
        told = json.loads(run("config", "--json", "--store", f"file://{tmp_path}").out)
        assert (told["version"], told["errors"]) == (1, [])
        assert told["settings"]["store"] == {"value": f"file://{tmp_path}", "origin": "--store", "there": True}
        assert told["settings"]["user"] == {"value": "thoth", "origin": "default", "there": None}
        assert list(told["settings"]) == ["store", "db", "user", "cache", "config"]

    def test_F71_no_secret_is_shown(self, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        file = tmp_path / "thoth.toml"
        file.write_text(f'db = "rethinkdb://admin:{SECRET}@db:28015/thoth?auth={SECRET}"\n')
        file.chmod(0o600)
        monkeypatch.setenv("THOTH_STORE", f"https://me:{SECRET}@manta/?key={SECRET}")
        for more in ([], ["--json"], ["--debug"]):
            ran = run("config", "--config", file, *more)
            assert ran.code == 1
            assert SECRET not in ran.out + ran.err
            assert "rethinkdb://db:28015/thoth" in ran.out

    @pytest.mark.parametrize("words", [[], ["--json"]])
    def test_F71_a_key_in_the_place_of_its_name_is_not_shown(
        self, run: Run, monkeypatch: pytest.MonkeyPatch, words: list[str]
    ) -> None:
        key = "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjE\n-----END OPENSSH PRIVATE KEY-----\n"
        monkeypatch.setenv("MANTA_URL", "http://127.0.0.1:1")
        monkeypatch.setenv("MANTA_USER", "bcantrill")
        for name in (key, "b3BlbnNzaC1rZXktdjE"):
            monkeypatch.setenv("MANTA_KEY_ID", name)
            ran = run("config", *words)
            assert "(not shown: neither a fingerprint nor a file)" in ran.out
            assert "b3Blbn" not in ran.out + ran.err
        monkeypatch.setenv("MANTA_KEY_ID", "SHA256:" + "a" * 43)
        assert "SHA256:aaa" in run("config", *words).out

    def test_one_that_is_half_wrong_is_shown_all_the_same(
        self, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        file = tmp_path / "thoth.toml"
        file.write_text("user = ")
        monkeypatch.setenv("THOTH_USER", "\x1b[2J")
        monkeypatch.setenv("THOTH_DB", "sqlite:/relative?x")
        words = ("config", "--config", file, "--store", f"file://{tmp_path}")
        ran = run(*words)
        assert (ran.code, len(ran.lines), len(ran.said)) == (1, 6, 3)
        assert ran.said[0].startswith(f"thoth: {file}: not TOML")
        assert ran.said[1].startswith("thoth: THOTH_USER: ")
        assert ran.said[2].startswith("thoth: THOTH_DB: ")
        assert ran.lines[1].split() == ["store", f"file://{tmp_path}", "--store", "there"]
        assert ran.lines[3].split() == ["user", "\\x1b[2J", "THOTH_USER", "-"]
        told = json.loads(run(*words, "--json").out)
        assert [f"thoth: {each}" for each in told["errors"]] == ran.said

    def test_a_file_that_is_named_and_is_not_there(self, run: Run) -> None:
        ran = run("config", "--config", "/no/such.toml")
        assert (ran.code, ran.err) == (1, "thoth: /no/such.toml: No such file or directory\n")
        assert ran.lines[5].split() == ["config", "/no/such.toml", "--config", "not", "there"]

    def test_manta_that_lacks_an_account(self, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("MANTA_URL", f"https://x:{SECRET}@manta")
        ran = run("config")
        assert (ran.code, len(ran.said)) == (1, 1)
        assert ran.err.startswith("thoth: MANTA_URL asks for Manta as the store: set MANTA_USER")
        assert ran.lines[1].split() == ["store", "manta", "MANTA_URL", "-"]
        assert ran.lines[5].split() == ["manta.url", "https://manta", "MANTA_URL", "-"]
        assert SECRET not in ran.out + ran.err


def test_the_settings_of_config_are_those_of_init(run: Run) -> None:
    """What ``init`` says it uses is what ``config`` shows."""
    told = {name: each["value"] for name, each in json.loads(run("config", "--json").out)["settings"].items()}
    ran: Ran = run("init")
    assert f"thoth: using store at {told['store']} (default)" in ran.said
    assert f"thoth: using database at {told['db']} (default)" in ran.said
    assert {each["there"] for each in json.loads(run("config", "--json").out)["settings"].values()} >= {True}
