"""defaults < file < environment < flags, and what is said about what cannot be used."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from thoth.config import Config, Setting, environment, load_config, survey, without_credentials
from thoth.errors import UsageError

SECRET = "I<3dumps"


@pytest.fixture(autouse=True)
def fresh_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user who has configured nothing: platformdirs looks at these."""
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    for name in ("XDG_CONFIG_HOME", "XDG_DATA_HOME"):
        monkeypatch.delenv(name, raising=False)
    return home


@pytest.fixture
def toml(tmp_path: Path) -> Path:
    return tmp_path / "some thoth.toml"


def refused(environ: dict[str, str], **flags: str) -> str:
    with pytest.raises(UsageError) as caught:
        load_config(environ, **flags)
    return str(caught.value)


class TestOrder:
    def test_with_nothing_set_everything_is_below_the_data_directory(self, fresh_home: Path) -> None:
        config = load_config({})
        place = f"{fresh_home}/.local/share/thoth"
        assert config == Config(
            store=f"file://{place}/store",
            db=f"sqlite://{place}/thoth.db",
            user="thoth",
            cache="/var/tmp/thoth/cache",
            origins=dict.fromkeys(("store", "db", "user", "cache"), "default"),
        )
        assert list(fresh_home.iterdir()) == []

    def test_each_user_has_a_database_as_in_the_original(self, fresh_home: Path) -> None:
        assert load_config({"MANTA_USER": "b.c"}).db == f"sqlite://{fresh_home}/.local/share/thoth/b.c.db"

    def test_each_one_overrules_the_one_before(self, toml: Path) -> None:
        toml.write_text('store = "file:///f"\ndb = "sqlite:///f"\nuser = "f"\ncache = "/f"\n')
        environ = {"THOTH_CONFIG": str(toml), "THOTH_DB": "sqlite:///e", "THOTH_USER": "e"}
        config = load_config(environ, user="flag")
        assert (config.store, config.db, config.user, config.cache) == ("file:///f", "sqlite:///e", "flag", "/f")
        assert config.origins == {"store": str(toml), "db": "THOTH_DB", "user": "--user", "cache": str(toml)}

    def test_the_file_of_the_user_is_found(self, fresh_home: Path) -> None:
        place = fresh_home / ".config" / "thoth" / "config.toml"
        place.parent.mkdir(parents=True)
        place.write_text('user = "ops"')
        config = load_config({})
        assert (config.user, config.origins["user"]) == ("ops", str(place))

    def test_a_flag_names_another_file(self, toml: Path) -> None:
        toml.write_text('user = "flagged"')
        assert load_config({"THOTH_CONFIG": "/nowhere"}, file=str(toml)).user == "flagged"

    @pytest.mark.parametrize(
        ("environ", "user", "origin"),
        [
            ({"MANTA_USER": "bcantrill"}, "bcantrill", "MANTA_USER"),
            ({"MANTA_USER": "bcantrill", "THOTH_USER": "ops"}, "ops", "THOTH_USER"),
            ({"MANTA_USER": "bcantrill", "THOTH_USER": ""}, "bcantrill", "MANTA_USER"),
            ({"THOTH_USER": "", "MANTA_USER": ""}, "thoth", "default"),
        ],
    )
    def test_the_user(self, environ: dict[str, str], user: str, origin: str) -> None:
        config = load_config(environ)
        assert (config.user, config.origins["user"]) == (user, origin)

    def test_the_environment_is_that_of_the_process(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("THOTH_USER", "me")
        assert load_config(environment()).user == "me"

    def test_a_home_with_odd_letters_becomes_a_url_that_names_it(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("XDG_DATA_HOME", os.fsdecode(os.fsencode(tmp_path) + b"/a b?#\xff"))
        assert load_config({}).store == f"file://{tmp_path}/a%20b%3F%23%FF/thoth/store"

    def test_without_a_home_it_says_what_to_name(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(os.path, "expanduser", lambda path: path)  # as for a uid that passwd does not know
        assert "THOTH_STORE" in refused({})
        assert load_config({"THOTH_STORE": "file:///s", "THOTH_DB": "sqlite:///d"}).user == "thoth"


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


class TestSurvey:
    def test_of_a_good_one_it_is_what_is_loaded(self, toml: Path) -> None:
        toml.write_text('user = "f"')
        environ = {"THOTH_CONFIG": str(toml), "THOTH_CACHE": "/c"}
        config, found = load_config(environ), survey(environ)
        assert found.faults == {}
        assert found.file == Setting(str(toml), "THOTH_CONFIG")
        for name, setting in found.settings.items():
            assert setting == Setting(getattr(config, name), config.origins[name])
        assert set(found.settings) == {"store", "db", "user", "cache"}

    def test_all_faults_are_told_and_the_rest_is_there(self, toml: Path) -> None:
        toml.write_text("user = 7")
        environ = {"MANTA_URL": "https://m", "THOTH_DB_HOST": "db", "THOTH_CACHE": "c", "MANTA_USER": "a b"}
        found = survey(environ, file=str(toml))
        named = {"config": toml, "store": "MANTA_URL", "db": "THOTH_DB_HOST", "user": "MANTA_USER"}
        named["cache"] = "THOTH_CACHE"
        assert list(found.faults) == list(named)
        assert all(str(fault).startswith(str(named[name])) for name, fault in found.faults.items())
        assert found.settings["store"] == Setting("manta", "MANTA_URL")
        assert found.settings["db"] == Setting("rethinkdb", "THOTH_DB_HOST")
        assert found.file == Setting(str(toml), "--config")

    def test_the_file_of_the_user_need_not_be_there(self, fresh_home: Path) -> None:
        assert survey({}).file == Setting(f"{fresh_home}/.config/thoth/config.toml", "default")

    def test_without_a_home(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(os.path, "expanduser", lambda path: path)
        found = survey({"THOTH_STORE": "file:///s"})
        assert (found.file, set(found.faults), set(found.settings)) == (None, {"store"}, {"store", "user", "cache"})


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


class TestNotBuiltYet:
    def test_MANTA_URL_does_not_silently_mean_a_directory(self) -> None:
        message = refused({"MANTA_URL": "https://us-east.manta.joyent.com"})
        assert message.startswith("MANTA_URL asks for Manta")
        assert "THOTH_STORE=file:///" in message

    def test_a_store_that_is_named_wins(self, toml: Path) -> None:
        environ = {"MANTA_URL": "https://m", "THOTH_STORE": "file:///s"}
        assert load_config(environ).store == "file:///s"
        toml.write_text('store = "file:///t"')
        assert load_config({"MANTA_URL": "https://m"}, file=str(toml)).store == "file:///t"

    def test_manta_by_name(self) -> None:
        assert refused({"THOTH_STORE": "manta"}).startswith("THOTH_STORE asks for Manta")
        assert refused({}, store="manta").startswith("--store asks for Manta")

    def test_the_original_s_database_does_not_silently_mean_a_file(self) -> None:
        assert "RethinkDB" in refused({"THOTH_DB_HOST": "db"})
        assert load_config({"THOTH_DB_HOST": "db", "THOTH_DB": "sqlite:///d"}).db == "sqlite:///d"


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
