"""The configuration file, and what is said about one that cannot be used."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.thoth.config.scene import refused
from thoth.config import load_config


class TestFile:
    def test_a_byte_order_mark_and_windows_line_ends_are_no_matter(self, toml: Path) -> None:
        toml.write_bytes(b'\xef\xbb\xbf# ours\r\nuser = "ops"\r\nstore = "file:///s"\r\n')
        config = load_config({}, file=str(toml))
        assert (config.user, config.store) == ("ops", "file:///s")

    def test_an_empty_file_says_nothing(self, toml: Path) -> None:
        toml.write_bytes(b"")
        assert load_config({}, file=str(toml)).user == "thoth"

    @pytest.mark.parametrize(
        ("content", "words"),
        [
            (b'usr = "x"\n', ["unknown key 'usr'", "store, db, user, cache"]),
            (b'"\\u001b[2J" = "x"\n', ["unknown key '\\x1b[2J'"]),
            (b"user = 7\n", ["user: must be a text in quotes, not a number"]),
            (b"db = true\n", ["db: must be a text in quotes, not true or false"]),
            (b"[store]\nx = 1\n", ["store: must be a text in quotes, not a table"]),
            (b'store = ""\n', ["store: must be a text in quotes, not an empty one"]),
            (b'user = "x"\nuser = "y"\n', ["not TOML", "line 2"]),
            (b"# fine\nuser = ops\n", ["not TOML", "line 2"]),
            (b"# \xc3\xa9\n# \xff\n", ["line 2: not UTF-8"]),
            (b"a=" + b"[" * 100_000, ["not TOML"]),
            (b"#" * ((1 << 20) + 1), ["over 1 MiB"]),
        ],
    )
    def test_what_is_wrong_is_said_with_file_and_key(self, toml: Path, content: bytes, words: list[str]) -> None:
        toml.write_bytes(content)
        message = refused({}, file=str(toml))
        assert message.startswith(f"{toml}: ")
        assert all(word in message for word in words), message
        assert "\n" not in message

    def test_a_file_that_is_named_must_be_there(self, toml: Path, tmp_path: Path) -> None:
        assert refused({"THOTH_CONFIG": str(toml)}) == f"{toml}: No such file or directory"
        assert refused({}, file=str(tmp_path)) == f"{tmp_path}: Is a directory"
        assert "not a file name" in refused({}, file="a\0b")

    def test_a_device_is_not_read_to_its_end(self) -> None:
        assert "over 1 MiB" in refused({}, file="/dev/zero")
