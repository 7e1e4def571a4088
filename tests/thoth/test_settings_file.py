"""What the original's file, its variables and a URL say of RethinkDB: each value of its type, or one line."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from thoth.config import load_config
from thoth.errors import UsageError
from thoth.model import Json
from thoth.places import index_place
from thoth.settings_file import database_url

LONG = "9" * 5000  # digits, of which Python reads 4300
NO_UTF_8 = os.fsdecode(b"\xff\xfe")
PORT = "port must be a number from 1 to 65535"


def url(**fields: Json) -> str:
    found = database_url(json.dumps({"db": {"host": "h", **fields}}).encode(), "x.json", "bmc", {})
    assert found is not None
    return found


def refused(**fields: Json) -> str:
    with pytest.raises(UsageError) as raised:
        url(**fields)
    message = str(raised.value)
    assert "\n" not in message and len(message) < 200
    return message.removeprefix("x.json: db: ")


class TestPort:
    @pytest.mark.parametrize("port", [1234, "1234", "01234", 1234.0])
    def test_as_the_original_takes_it(self, port: Json) -> None:
        assert url(port=port) == "rethinkdb://h:1234/bmc"

    @pytest.mark.parametrize("port", [None, ""])
    def test_none(self, port: Json) -> None:
        assert url(port=port) == url() == "rethinkdb://h:28015/bmc"

    @pytest.mark.parametrize(
        "port", [0, 0.0, False, True, [], {}, [1], 65536, -1, 1.5, "x", " 1", "1\n", "\u0661", "1e3", "0", LONG]
    )
    def test_what_is_none(self, port: Json) -> None:
        assert refused(port=port) == PORT

    @pytest.mark.parametrize("port", [LONG, "1e999", "NaN", "-Infinity"])
    def test_numbers_that_are_none(self, port: str) -> None:
        with pytest.raises(UsageError, match=f"^x.json: db: {PORT}$"):
            database_url(f'{{"db": {{"host": "h", "port": {port}}}}}'.encode(), "x.json", "bmc", {})

    def test_a_variable(self) -> None:
        with pytest.raises(UsageError, match=f"^THOTH_DB_HOST: {PORT}$"):
            load_config({"THOTH_DB_HOST": "h", "THOTH_DB_PORT": LONG})


class TestTexts:
    @pytest.mark.parametrize("key", ["host", "db", "authKey", "user", "password", "ca"])
    def test_half_a_character(self, key: str) -> None:
        assert refused(**{key: "a\ud800"}) == f"{key} is not UTF-8; write it anew"

    @pytest.mark.parametrize("key", ["host", "db", "authKey", "user", "password", "ca"])
    @pytest.mark.parametrize("value", [1, 0, False, [], {}])
    def test_what_is_none(self, key: str, value: Json) -> None:
        assert refused(**{key: value}) == f"{key} must be a text"

    @pytest.mark.parametrize("key", ["host", "db", "authKey"])
    def test_a_variable(self, key: str) -> None:
        environ = {"THOTH_DB_HOST": "h", f"THOTH_DB_{key.upper()}": NO_UTF_8}
        with pytest.raises(UsageError, match=f"^THOTH_DB_HOST: {key} is not UTF-8; write it anew$"):
            load_config(environ)

    def test_the_password_of_a_url(self) -> None:
        environ = {"THOTH_DB": "rethinkdb://h/x", "THOTH_DB_AUTHKEY": NO_UTF_8}
        with pytest.raises(UsageError, match=r"^THOTH_DB_AUTHKEY is not UTF-8; write it anew$"):
            load_config(environ)
        assert load_config({**environ, "THOTH_DB": "sqlite:///d"}).db == "sqlite:///d"

    def test_no_key_is_none(self) -> None:
        """As the original, which has one of its own, has it."""
        assert url(authKey="none") == url(authKey="") == url()
        assert load_config({"THOTH_DB": "rethinkdb://h/x", "THOTH_DB_AUTHKEY": "none"}).db == "rethinkdb://h/x"
        assert url(password="none") == "rethinkdb://admin:none@h:28015/bmc"

    @pytest.mark.parametrize("where", ["u:{}@h/x", "{}:p@h/x", "h/{}", "h{}/x"])
    def test_a_url(self, where: str) -> None:
        with pytest.raises(UsageError, match=r"^--db: db 'rethinkdb://.*: not a URL such as rethinkdb://HOST:28015"):
            index_place(f"rethinkdb://{where.format(NO_UTF_8)}", "--db", "bmc")


class TestTls:
    def test_true_and_false(self) -> None:
        assert url(tls=True) == "rethinkdb://h:28015/bmc?tls=1"
        assert url(tls=False) == url(tls=None) == url()

    @pytest.mark.parametrize("tls", ["false", "true", "", 0, 1, 0.0, [], {}])
    def test_what_is_neither(self, tls: Json) -> None:
        assert refused(tls=tls) == refused(tls=tls, ca="/ca.pem") == "tls must be true or false"


class TestKeys:
    def test_those_of_the_original(self) -> None:
        told = {"port": 28015, "db": "bmc", "authKey": "none", "table": "dumps"}
        assert url(**told) == "rethinkdb://h:28015/bmc"

    @pytest.mark.parametrize("key", ["TLS", "authkey", "\ud800"])
    def test_one_that_nobody_knows(self, key: str) -> None:
        """The original refuses it, too; a misspelled ``tls`` would be a connection that everybody can read."""
        assert refused(**{key: True}).startswith(f"unknown key {key!r}; known are host, port, db, authKey, table, ")


def test_the_file_is_named(tmp_path: Path) -> None:
    file = tmp_path / ".thoth.config.json"
    file.write_text(json.dumps({"db": {"host": "h", "port": LONG}}))
    with pytest.raises(UsageError, match=f"^{file}: db: {PORT}$"):
        load_config({"HOME": str(tmp_path)})
