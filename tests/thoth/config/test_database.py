"""RethinkDB as the index: the original's variables and its file."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.thoth.config.scene import refused
from thoth.config import load_config, survey


class TestRethink:
    def test_the_original_s_variables(self) -> None:
        environ = {"THOTH_DB_HOST": "db", "THOTH_DB_AUTHKEY": "I<3:dumps/@", "MANTA_USER": "b.c"}
        config = load_config(environ)
        assert config.db == "rethinkdb://admin:I%3C3%3Adumps%2F%40@db:28015/b_c"
        assert config.described("db") == "db:28015 (configured from THOTH_DB_HOST)"
        assert load_config({**environ, "THOTH_DB_PORT": "1", "THOTH_DB_DB": "x"}).db.endswith("@db:1/x")
        assert load_config({"THOTH_DB_HOST": "::1"}).db == "rethinkdb://[::1]:28015/thoth"

    def test_a_url_wins_over_them_and_they_over_a_file(self, toml: Path) -> None:
        assert load_config({"THOTH_DB_HOST": "db", "THOTH_DB": "sqlite:///d"}).db == "sqlite:///d"
        assert load_config({"THOTH_DB_HOST": "db"}, db="sqlite:///d").db == "sqlite:///d"
        toml.write_text('db = "sqlite:///t"')
        assert load_config({"THOTH_DB_HOST": "db"}, file=str(toml)).origins["db"] == "THOTH_DB_HOST"

    def test_a_url_may_leave_its_password_to_the_environment(self) -> None:
        environ = {"THOTH_DB": "rethinkdb://db/x", "THOTH_DB_AUTHKEY": "a@b"}
        assert load_config(environ).db == "rethinkdb://admin:a%40b@db/x"
        assert load_config({**environ, "THOTH_DB": "rethinkdb://u:p@db/x"}).db == "rethinkdb://u:p@db/x"
        assert load_config({**environ, "THOTH_DB": "sqlite:///d"}).db == "sqlite:///d"

    @pytest.mark.parametrize(
        ("told", "variables", "url"),
        [
            ("rethinkdb://h", {"PORT": "1"}, "rethinkdb://h:1"),
            ("rethinkdb://u:p%40@[::1]:2/d?tls=1", {"PORT": "1"}, "rethinkdb://u:p%40@[::1]:1/d?tls=1"),
            ("rethinkdb://h?tls=1", {"DB": "x/y"}, "rethinkdb://h/x%2Fy?tls=1"),
            ("rethinkdb://u:p@h:2/d", {"AUTHKEY": "a@b"}, "rethinkdb://u:a%40b@h:2/d"),
            ("rethinkdb://u:p@h/d", {"AUTHKEY": "none"}, "rethinkdb://h/d"),
            ("rethinkdb://h:2/d", {"AUTHKEY": "k", "DB": "x", "PORT": "1"}, "rethinkdb://admin:k@h:1/x"),
            ("sqlite:///t", {"AUTHKEY": "k", "DB": "x", "PORT": "1"}, "sqlite:///t"),
        ],
    )
    def test_each_wins_over_the_url_in_a_file(
        self, toml: Path, told: str, variables: dict[str, str], url: str
    ) -> None:
        toml.write_text(f'db = "{told}"')
        toml.chmod(0o600)
        names = {f"THOTH_DB_{name}": value for name, value in variables.items()}
        config = load_config(names, file=str(toml))
        assert config.db == url
        changed = set() if url == told else set(names)
        assert set(config.origins["db"].split(", ")) == {str(toml), *changed}
        assert (
            load_config({**names, "THOTH_DB": "rethinkdb://u:p@o:3/e"}, file=str(toml)).db == "rethinkdb://u:p@o:3/e"
        )

    @pytest.mark.parametrize("port", ["0", "65536", "x", "-1", "1.5"])
    def test_a_port_that_is_none(self, port: str) -> None:
        message = refused({"THOTH_DB_HOST": "db", "THOTH_DB_PORT": port})
        assert message == "THOTH_DB_HOST: port must be a number from 1 to 65535"
        assert refused({"THOTH_DB_PORT": port}) == "THOTH_DB_PORT: port must be a number from 1 to 65535"
        assert load_config({"THOTH_DB_PORT": port, "THOTH_DB": "sqlite:///d"}).db == "sqlite:///d"

    def test_a_configuration_s_repr_holds_no_password(self) -> None:
        environ = {"THOTH_DB_HOST": "db", "THOTH_DB_AUTHKEY": "I<3dumps"}
        assert "dumps" not in repr(load_config(environ)) + repr(survey(environ))


class TestOriginalFile:
    @pytest.fixture
    def file(self, fresh_home: Path) -> Path:
        return fresh_home / ".thoth.config.json"

    def written(self, file: Path, content: str, mode: int = 0o600) -> dict[str, str]:
        file.write_text(content)
        file.chmod(mode)
        return {"HOME": str(file.parent)}

    def test_it_names_the_database(self, file: Path) -> None:
        environ = self.written(file, '{"db": {"host": "my-thoth-server", "authKey": "I<3dumps!"}}')
        config = load_config(environ)
        assert config.db == "rethinkdb://admin:I%3C3dumps%21@my-thoth-server:28015/thoth"
        assert config.described("db") == f"my-thoth-server:28015 (configured from {file})"

    def test_what_else_it_may_say(self, file: Path) -> None:
        told = '{"db": {"host": "h", "port": 1, "db": "d", "user": "u", "password": "p", "ca": "/c a"}, "x": 1}'
        assert load_config(self.written(file, told)).db == "rethinkdb://u:p@h:1/d?tls=1&ca=%2Fc%20a"

    def test_everything_else_wins_over_it(self, file: Path) -> None:
        environ = self.written(file, '{"db": {"host": "h"}}')
        assert load_config({**environ, "THOTH_DB": "sqlite:///d"}).db == "sqlite:///d"
        assert load_config({**environ, "THOTH_DB_HOST": "e"}).db == "rethinkdb://e:28015/thoth"

    def test_each_variable_wins_over_it(self, file: Path) -> None:
        told = '{"db": {"host": "h", "port": 1, "db": "d", "user": "u", "password": "p"}}'
        environ = self.written(file, told)
        for variable, value, url in (
            ("PORT", "2", "rethinkdb://u:p@h:2/d"),
            ("DB", "e", "rethinkdb://u:p@h:1/e"),
            ("AUTHKEY", "k", "rethinkdb://u:k@h:1/d"),
            ("AUTHKEY", "none", "rethinkdb://h:1/d"),
        ):
            config = load_config({**environ, f"THOTH_DB_{variable}": value})
            assert config.db == url
            assert config.origins["db"] == f"{file}, THOTH_DB_{variable}"
        open_to_all = self.written(file, '{"db": {"host": "h"}}', 0o644)
        assert load_config({**open_to_all, "THOTH_DB_AUTHKEY": "k"}).db == "rethinkdb://admin:k@h:28015/thoth"

    def test_one_that_names_none(self, file: Path) -> None:
        assert load_config(self.written(file, '{"manta": 1}')).origins["db"] == "default"

    @pytest.mark.parametrize(
        ("content", "said"),
        [
            ("{", "not JSON"),
            ("[]", "must be an object"),
            ('{"db": "h"}', "db must be an object"),
            ('{"db": {}}', "db: names no host"),
            ('{"db": {"host": 1}}', "db: host must be a text"),
            ('{"db": {"host": "h:28015"}}', "db: host must be a name or an address alone; the port"),
            ('{"db": {"host": "rethinkdb://u:SECRET@h"}}', "db: host must be a name or an address alone; the port"),
            ('{"db": {"host": "h", "port": true}}', "db: port must be a number"),
            ('{"db": {"host": "h", "authKey": 7}}', "db: authKey must be a text"),
            ("[" * 100_000, "not JSON"),
        ],
    )
    def test_what_is_wrong_is_said(self, file: Path, content: str, said: str) -> None:
        message = refused(self.written(file, content))
        assert message.startswith(f"{file}: {said}")
        assert "\n" not in message

    @pytest.mark.parametrize("mode", [0o640, 0o604, 0o644])
    def test_F57_a_password_that_others_can_read_is_refused(self, file: Path, toml: Path, mode: int) -> None:
        environ = self.written(file, '{"db": {"host": "h", "authKey": "I<3dumps"}}', mode)
        message = refused(environ)
        assert message == f"{file}: holds a password and others may read it; run: chmod 600 {file}"
        file.unlink()
        toml.write_text('db = "rethinkdb://u:I<3dumps@h"')
        toml.chmod(mode)
        assert "chmod 600" in (message := refused({}, file=str(toml)))
        assert "dumps" not in message.replace(str(toml), "")
