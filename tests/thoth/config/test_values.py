"""The user, the cache and the debuggers: what they may be."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.thoth.config.scene import refused
from thoth.config import load_config


class TestCache:
    @pytest.mark.parametrize(
        ("environ", "cache", "origin"),
        [
            ({}, "/var/tmp/thoth/cache", "default"),
            ({"THOTH_CACHE": ""}, "/var/tmp/thoth/cache", "default"),
            ({"THOTH_CACHE": "/big/cache"}, "/big/cache", "THOTH_CACHE"),
        ],
    )
    def test_where_copies_go(self, environ: dict[str, str], cache: str, origin: str) -> None:
        config = load_config(environ)
        assert (config.cache, config.origins["cache"]) == (cache, origin)

    def test_an_ordinary_user_has_one_of_their_own(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(os, "geteuid", lambda: 1234)
        assert load_config({}).cache == "/var/tmp/thoth-1234/cache"

    @pytest.mark.parametrize("cache", ["cache", "./cache", "~/cache", "file:///cache", "/a\0b"])
    def test_it_is_a_directory_that_is_named_from_the_root(self, cache: str) -> None:
        assert refused({"THOTH_CACHE": cache}) == (
            "THOTH_CACHE: the cache is a directory by its absolute path, such as /var/tmp/thoth/cache"
        )


class TestUser:
    @pytest.mark.parametrize("user", ["a", "bcantrill", "a.b", "first.last@example.com", "x_y-z9", "9", "u" * 128])
    def test_names_that_can_be_part_of_a_path(self, user: str) -> None:
        assert load_config({"THOTH_USER": user}).user == user

    @pytest.mark.parametrize(
        "user",
        [
            "..",
            ".",
            ".hidden",
            "-x",
            "a/b",
            "/",
            "a\nb",
            "a\n",
            "a b",
            "%2e",
            "é",
            "u" * 129,
            "a\0",
            "\udcff",
        ],
    )
    def test_names_that_cannot(self, user: str) -> None:
        message = refused({"THOTH_USER": user})
        assert message.startswith("THOTH_USER: ")
        assert "\n" not in message


class TestStack:
    @pytest.mark.parametrize("written", ['"native,gdb"', '["native", "gdb"]', '"native gdb"'])
    def test_who_is_asked_for_stacks(self, written: str, toml: Path) -> None:
        toml.write_text(f"stack = {written}\n")
        assert load_config({}, file=str(toml)).stack == ("native", "gdb")
        config = load_config({"THOTH_STACK": "mdb"}, file=str(toml))
        assert (config.stack, config.origins["stack"]) == (("mdb",), "THOTH_STACK")

    @pytest.mark.parametrize("written", ['"lldb"', '["gdb", "gdb"]', "[]", "[1]", "true", '","'])
    def test_nobody_else(self, written: str, toml: Path) -> None:
        toml.write_text(f"stack = {written}\n")
        assert "stack" in refused({}, file=str(toml))

    def test_debuginfod_is_named_by_its_own_variables(self, toml: Path) -> None:
        toml.write_text('debuginfod = "https://f"\n')
        assert load_config({}, file=str(toml)).debuginfod == "https://f"
        environ = {"DEBUGINFOD_URLS": "https://a https://b", "DEBUGINFOD_CACHE_PATH": "/c"}
        config = load_config(environ, file=str(toml))
        assert (config.debuginfod, config.debuginfod_cache) == ("https://a https://b", "/c")

    def test_what_debuginfod_sends_needs_a_place(self, toml: Path, fresh_home: Path) -> None:
        config = load_config({"DEBUGINFOD_URLS": "https://a"})
        assert config.debuginfod_cache == f"{fresh_home}/.cache/debuginfod_client"
        message = refused({"DEBUGINFOD_URLS": "https://a", "DEBUGINFOD_CACHE_PATH": "c"})
        assert message.startswith("DEBUGINFOD_CACHE_PATH: ")
