"""A Thoth as the configuration, and the store, say where it is."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from thoth.config import Config, Setting, load_config, survey
from thoth.errors import StoreUnavailable, UsageError
from thoth.library import open_thoth, shared_index
from thoth.store.directory import DirectoryStore
from thoth.store.names import config_name


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Config:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    return load_config({"THOTH_USER": "bc"})


def shared(config: Config, told: object) -> None:
    root = Path(config.store.removeprefix("file://"))
    store = DirectoryStore(root, create=True)
    store.put(config_name("bc"), json.dumps(told).encode() if not isinstance(told, bytes) else told)


def test_the_user_s_own_database_where_nobody_names_one(config: Config) -> None:
    with open_thoth(config) as thoth:
        assert thoth.database == f"{config.db} (default)"


def test_the_database_that_the_store_names(config: Config, tmp_path: Path) -> None:
    shared(config, {"db": {"host": "nowhere.invalid", "authKey": "I<3dumps"}})
    with open_thoth(config) as thoth:
        assert thoth.database == "nowhere.invalid:28015 (configured from the store)"
    assert list(tmp_path.glob("thoth/*.db")) == []


def test_what_variables_say_of_it_wins_over_it(config: Config) -> None:
    shared(config, {"db": {"host": "nowhere.invalid", "port": 1, "db": "d", "authKey": "I<3dumps"}})
    variables = {"THOTH_DB_PORT": "2", "THOTH_DB_DB": "x", "THOTH_DB_AUTHKEY": "k@"}
    named = load_config({"THOTH_USER": "bc", "THOTH_STORE": config.store, **variables})
    origin = f"the store, {', '.join(variables)}"
    assert shared_index(named) == Setting("rethinkdb://admin:k%40@nowhere.invalid:2/x", origin)
    with open_thoth(named) as thoth:
        assert thoth.database == f"nowhere.invalid:2 (configured from {origin})"
    assert "k%40" not in repr(named) + repr(survey(variables))
    assert "k@" not in repr(named) + repr(survey(variables))


def test_one_that_the_environment_names_wins_over_it(config: Config, tmp_path: Path) -> None:
    shared(config, {"db": {"host": "nowhere.invalid"}})
    named = load_config({"THOTH_USER": "bc", "THOTH_STORE": config.store, "THOTH_DB": f"sqlite://{tmp_path}/x.db"})
    with open_thoth(named) as thoth:
        assert thoth.database == f"sqlite://{tmp_path}/x.db (configured from THOTH_DB)"


def test_what_is_wrong_in_it_is_told_with_its_name(config: Config) -> None:
    for told, said in ((b"{", "not JSON"), ({"db": {"host": 7}}, "db: host must be a text")):
        shared(config, told)
        with pytest.raises(UsageError, match=f"/bc/stor/thoth/config.json: {said}"):
            open_thoth(config)


def test_the_user_s_own_index_can_be_asked_while_the_store_is_away(config: Config) -> None:
    database = Path(config.db.removeprefix("sqlite://"))
    database.parent.mkdir(parents=True)
    database.touch()
    with open_thoth(config) as thoth:
        assert thoth.database == f"{config.db} (default)"
        with pytest.raises(StoreUnavailable, match="no such directory"):
            thoth.check()
