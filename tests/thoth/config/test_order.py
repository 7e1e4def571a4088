"""defaults < file < environment < flags, and what ``survey`` tells of them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.thoth.config.scene import refused
from thoth.config import Config, Setting, environment, load_config, survey


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

    @pytest.mark.usefixtures("no_home")
    def test_without_a_home_it_says_what_to_name(self) -> None:
        assert "THOTH_STORE" in refused({})
        assert load_config({"THOTH_STORE": "file:///s", "THOTH_DB": "sqlite:///d"}).user == "thoth"


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
        environ["THOTH_DB_PORT"] = "0"
        found = survey(environ, file=str(toml))
        named = {"config": toml, "db": "THOTH_DB_HOST", "store": "MANTA_URL", "user": "MANTA_USER"}
        named["cache"] = "THOTH_CACHE"
        assert list(found.faults) == list(named)
        assert all(str(fault).startswith(str(named[name])) for name, fault in found.faults.items())
        assert found.settings["store"] == Setting("manta", "MANTA_URL")
        assert "db" not in found.settings or found.settings["db"].origin == "default"
        assert found.file == Setting(str(toml), "--config")

    def test_the_file_of_the_user_need_not_be_there(self, fresh_home: Path) -> None:
        assert survey({}).file == Setting(f"{fresh_home}/.config/thoth/config.toml", "default")

    @pytest.mark.usefixtures("no_home")
    def test_without_a_home(self) -> None:
        found = survey({"THOTH_STORE": "file:///s"})
        assert (found.file, set(found.faults), set(found.settings)) == (None, {"store"}, {"store", "user", "cache"})
