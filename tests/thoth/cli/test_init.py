"""``thoth init``."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.thoth.cli.conftest import Core, Ran, Run
from thoth.analysis.analyzers import BUNDLED


class TestInit:
    def test_it_says_what_it_uses_and_makes(self, run: Run) -> None:
        ran = run("init")
        home = os.environ["HOME"] + "/.local/share/thoth"
        assert (ran.code, ran.out) == (0, "")
        assert ran.said == [
            f"thoth: using store at file://{home}/store (default)",
            f"thoth: using database at sqlite://{home}/thoth.db (default)",
            f"thoth: created directory {home}/store",
            f"thoth: created database '{home}/thoth.db'",
            "thoth: created table 'dumps'",
            "thoth: created table 'analyzers'",
            "thoth: created index 'time'",
            *(f"thoth: added analyzer '{name}'" for name in BUNDLED),
        ]

    def test_it_is_safe_to_repeat(self, run: Run, core: Core) -> None:
        run("init")
        run("upload", core(1))
        listed = run("ls")
        assert [line for line in run("init").said if "created" in line or "added" in line] == []
        assert run("ls") == listed
        assert run("init", "-q") == Ran(0, "", "")

    def test_places_of_one_s_own(self, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("THOTH_STORE", f"file://{tmp_path}/a%20b/store")
        said = run("init", "--db", f"sqlite:///{tmp_path}/my.db").said
        assert said[0] == f"thoth: using store at file://{tmp_path}/a%20b/store (configured from THOTH_STORE)"
        assert said[1].endswith("my.db (configured from --db)")
        assert (tmp_path / "a b" / "store").is_dir()
        assert (tmp_path / "my.db").is_file()

    def test_a_place_that_cannot_be_made(self, run: Run) -> None:
        ran = run("-q", "init", "--store", "file:///dev/null/store")
        assert (ran.code, len(ran.said)) == (1, 1)
        assert "/dev/null" in ran.err

    @pytest.mark.parametrize(
        "url", ["file:relative", "file://host/x", "/just/a/path", "s3://x", "", "rethinkdb://:pw@h"]
    )
    def test_a_url_that_names_nothing_we_know(self, run: Run, url: str) -> None:
        ran = run("-q", "init", "--store", url)
        assert ran.code == 1
        assert len(ran.said) == 1
        assert "file:///ABSOLUTE/PATH" in ran.err
        assert "pw" not in ran.err

    @pytest.mark.parametrize(
        ("setting", "url", "write"),
        [
            ("store", "/x/a b", "file:///x/a%20b"),
            ("store", "file:///~/x", "file://{home}/x"),
            ("store", "~/x", "file://{home}/x"),
            ("store", "file://~/x", "file://{home}/x"),
            ("store", "file:///%7E/x", "file://{home}/x"),
            ("db", "/x.db", "sqlite:///x.db"),
            ("db", "sqlite:///~/x.db", "sqlite://{home}/x.db"),
        ],
    )
    @pytest.mark.parametrize("given_by", ["file", "variable", "flag"])
    def test_who_gave_a_bad_url_and_what_to_write(
        self, run: Run, given_by: str, setting: str, url: str, write: str
    ) -> None:
        home, variable = Path(os.environ["HOME"]), f"THOTH_{setting.upper()}"
        config = home / "config.toml"
        config.write_text(f"{setting} = '{url}'\n")
        with pytest.MonkeyPatch.context() as patched:
            if given_by == "variable":
                patched.setenv(variable, url)
            flags = {"file": ["--config", str(config)], "variable": [], "flag": [f"--{setting}", url]}
            ran = run("-q", "init", *flags[given_by])
        origin = {"file": config, "variable": variable, "flag": f"--{setting}"}[given_by]
        assert (ran.code, ran.out, len(ran.said)) == (1, "", 1)
        assert ran.err.startswith(f"thoth: {origin}: {setting} '{url}': ")
        assert ran.err.endswith(f"; write {write.format(home=home)}\n")
        assert list(home.iterdir()) == [config]

    @pytest.mark.parametrize("url", ["file:///~nobody-of-this-name/x", "file://[x", "file:x", "file:///a%00b"])
    def test_a_bad_url_whose_meaning_nobody_knows(self, run: Run, url: str) -> None:
        ran = run("-q", "init", "--store", url)
        assert (ran.code, len(ran.said), "write" in ran.err) == (1, 1, False)
        assert ran.err.startswith(f"thoth: --store: store '{url}': ")
