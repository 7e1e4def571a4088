"""What is shown of a configuration: no secrets."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.thoth.config.scene import SECRET, refused
from thoth.config import Config, without_credentials


class TestSecrets:
    @pytest.mark.parametrize(
        ("url", "shown"),
        [
            (f"rethinkdb://admin:{SECRET}@db:28015/thoth", "rethinkdb://db:28015/thoth"),
            (f"rethinkdb://admin:{SECRET}/@x@db/thoth", "rethinkdb://db/thoth"),
            (f"rethinkdb://db/thoth?authKey={SECRET}", "rethinkdb://db/thoth"),
            ("file:///a@b/c", "file:///a@b/c"),
            ("", ""),
        ],
    )
    def test_a_url_is_shown_without_them(self, url: str, shown: str) -> None:
        assert without_credentials(url) == shown
        config = Config(store="file:///s", db=url, user="u", cache="/c", origins={"db": "THOTH_DB"})
        shown = shown.removeprefix("rethinkdb://").partition("/")[0] if "rethink" in shown else shown
        assert config.described("db") == f"{shown} (configured from THOTH_DB)"

    @pytest.mark.parametrize(
        "content",
        [
            f'db = "rethinkdb://:{SECRET}@db"\nuser = "a b"',
            f'db = ["{SECRET}"]',
            f'db = "{SECRET}',
            f'db = "x" "{SECRET}"',
            f"db = {SECRET}",
            f'db = "{SECRET}\\z"',
        ],
    )
    def test_no_error_holds_a_value(self, toml: Path, content: str) -> None:
        toml.write_text(content)
        assert SECRET not in refused({}, file=str(toml))


def test_a_default_is_described_as_one() -> None:
    config = Config(store="file:///s", db="sqlite:///d", user="u", cache="/c", origins={"store": "default"})
    assert config.described("store") == "file:///s (default)"
