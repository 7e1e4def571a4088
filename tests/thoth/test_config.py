"""defaults < file < environment < flags, and what is said about what cannot be used."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from thoth.config import Config, Setting, environment, load_config, survey, without_credentials
from thoth.errors import UsageError
from thoth.settings import NEVER

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


MANTA = {"MANTA_URL": "https://us-east.manta.joyent.com", "MANTA_USER": "bcantrill", "MANTA_KEY_ID": "SHA256:abc"}


class TestManta:
    def test_with_the_original_s_variables_the_store_is_manta(self) -> None:
        config = load_config(MANTA)
        assert (config.store, config.origins["store"], config.user) == ("manta", "MANTA_URL", "bcantrill")
        manta = config.manta
        assert (manta.url, manta.user, manta.key_id) == (MANTA["MANTA_URL"], "bcantrill", "SHA256:abc")
        assert (manta.subuser, manta.roles, manta.tls_insecure, manta.no_auth) == ("", (), False, False)
        assert config.described("store") == "https://us-east.manta.joyent.com (configured from MANTA_URL)"

    def test_a_shared_thoth_is_another_user_s(self) -> None:
        config = load_config({**MANTA, "THOTH_USER": "thoth"})
        assert (config.user, config.manta.user) == ("thoth", "bcantrill")

    def test_a_proxy_and_the_end_of_jobs_are_shown_and_no_password(self) -> None:
        proxy = f"me:{SECRET}@proxy:3128"
        found = survey({**MANTA, "THOTH_PROXY": proxy, "THOTH_NO_JOBS": "1"})
        shown = {name: without_credentials(each.value) for name, each in found.settings.items()}
        assert (shown["manta.proxy"], shown["manta.no_jobs"]) == ("http://proxy:3128", "1")
        assert found.manta.proxy == f"http://{proxy}"
        assert SECRET not in repr(found)
        assert load_config({**MANTA, "THOTH_PROXY": "socks://x"}).manta.proxy == "socks://x"

    def test_a_store_that_is_named_wins(self, toml: Path) -> None:
        assert load_config({**MANTA, "THOTH_STORE": "file:///s"}).store == "file:///s"
        toml.write_text('store = "file:///t"')
        assert load_config(MANTA, file=str(toml)).store == "file:///t"

    @pytest.mark.parametrize("lacking", ["MANTA_URL", "MANTA_USER", "MANTA_KEY_ID"])
    def test_what_is_missing_is_named(self, lacking: str) -> None:
        environ = {name: value for name, value in MANTA.items() if name != lacking}
        message = refused({**environ, "THOTH_STORE": "manta"})
        assert message.startswith(f"THOTH_STORE asks for Manta as the store: set {lacking} to ")
        assert refused(environ, store="manta").startswith("--store asks for Manta")

    @pytest.mark.parametrize(
        ("value", "insecure"), [("", False), ("0", False), ("1", True), ("true", True), ("false", True)]
    )
    def test_MANTA_TLS_INSECURE_as_node_manta_reads_it(self, value: str, insecure: bool) -> None:
        assert load_config({**MANTA, "MANTA_TLS_INSECURE": value}).manta.tls_insecure is insecure

    def test_MANTA_NO_AUTH_as_node_manta_reads_it(self) -> None:
        config = load_config({"MANTA_URL": "m", "MANTA_NO_AUTH": "true"})
        assert (config.manta.no_auth, config.manta.url) == (True, "https://m")
        assert "MANTA_USER" in refused({"MANTA_URL": "m", "MANTA_NO_AUTH": "yes"})
        assert load_config({**MANTA, "MANTA_NO_AUTH": "yes"}).manta.no_auth

    @pytest.mark.parametrize(("value", "no_jobs"), [("", False), ("0", False), ("1", True), ("yes", True)])
    def test_THOTH_NO_JOBS(self, value: str, no_jobs: bool) -> None:
        assert load_config({**MANTA, "THOTH_NO_JOBS": value}).manta.no_jobs is no_jobs

    @pytest.mark.parametrize("url", ["https://bc:I<3dumps@m", "https://m/?key=I<3dumps"])
    def test_F71_a_password_in_the_address_is_refused_and_not_shown(self, url: str) -> None:
        message = refused({**MANTA, "MANTA_URL": url})
        assert message == "MANTA_URL: Manta knows no passwords; write https://HOST alone"

    def test_roles_and_subuser(self) -> None:
        manta = load_config({**MANTA, "MANTA_SUBUSER": "bob", "MANTA_ROLE": "a, b,"}).manta
        assert (manta.subuser, manta.roles) == ("bob", ("a", "b"))

    @pytest.mark.parametrize("role", ["\u20ac", "a\nb"])
    def test_a_role_that_no_request_can_name(self, role: str) -> None:
        assert refused({**MANTA, "MANTA_ROLE": role}).startswith("MANTA_ROLE: roles are names")

    def test_a_file_can_say_it_all(self, toml: Path) -> None:
        toml.write_text(
            'store = "manta"\n[manta]\nurl = "https://m"\nuser = "bc"\nkey_id = "aa:bb"\ntls_insecure = false\n'
        )
        config = load_config({"MANTA_KEY_ID": "cc:dd"}, file=str(toml))
        assert (config.store, config.user, config.manta.key_id) == ("manta", "bc", "cc:dd")
        assert not config.manta.tls_insecure

    @pytest.mark.parametrize(
        ("written", "size"),
        [("256M", 256 << 20), ("1g", 1 << 30), ("2GiB", 2 << 30), ("5000000", 5_000_000), ("0", 0), ("none", NEVER)],
    )
    def test_from_which_size_on_dumps_go_in_parts(self, written: str, size: int, toml: Path) -> None:
        environ = {**MANTA, "THOTH_PARTS_FROM": written}
        assert load_config(environ).manta.parts_from == size
        assert survey(environ).settings["manta.parts_from"] == Setting(written, "THOTH_PARTS_FROM")
        toml.write_text(f'[manta]\nparts_from = "{written}"\n')
        found = survey(MANTA, file=str(toml))
        assert (found.manta.parts_from, found.settings["manta.parts_from"].origin) == (size, str(toml))

    def test_nobody_need_say_it_and_a_number_is_a_size(self, toml: Path) -> None:
        assert load_config({**MANTA, "THOTH_PARTS_FROM": ""}).manta.parts_from is None
        assert "manta.parts_from" not in survey(MANTA).settings
        toml.write_text("[manta]\nparts_from = 10000000\n")
        assert load_config(MANTA, file=str(toml)).manta.parts_from == 10_000_000
        assert load_config({**MANTA, "THOTH_PARTS_FROM": "1M"}, file=str(toml)).manta.parts_from == 1 << 20

    @pytest.mark.parametrize("written", ["M", "-1", "1.5G", "1  G", "never", "٣G", "9" * 16, "1M\n"])
    def test_what_is_no_size_is_refused_where_it_is_used(self, written: str) -> None:
        environ = {**MANTA, "THOTH_PARTS_FROM": written}
        message = refused(environ)
        assert message.startswith(
            "THOTH_PARTS_FROM: parts_from is the size from which on dumps go to Manta in parts:"
        )
        assert "\n" not in message
        assert survey(environ).settings["manta.parts_from"].value == written  # shown all the same
        assert load_config({**environ, "THOTH_STORE": "file:///s"}).store == "file:///s"

    @pytest.mark.parametrize(
        ("written", "words"),
        [
            ('"many"', ": parts_from is the size from which on dumps go to Manta in parts: a whole number and"),
            ("-1", ": parts_from is the size from which on"),
            ("true", ": manta.parts_from: must be a text in quotes, not true or false"),
            ("1.5", ": manta.parts_from: must be a text in quotes, not a number or date"),
            (f"0x{'f' * 5000}", ": manta.parts_from: must be a text in quotes, not a number or date"),
            ("9" * 5000, ": not TOML: "),
        ],
    )
    def test_what_is_no_size_in_the_file(self, written: str, words: str, toml: Path) -> None:
        toml.write_text(f"[manta]\nparts_from = {written}\n")
        message = refused(MANTA, file=str(toml))
        assert message.startswith(f"{toml}{words}"), message
        assert "\n" not in message

    def test_an_address_in_the_file_is_enough(self, toml: Path) -> None:
        toml.write_text('[manta]\nurl = "https://m"\nuser = "bc"\nkey_id = "aa:bb"\n')
        config = load_config({}, file=str(toml))
        assert (config.store, config.manta.url) == ("manta", "https://m")
        assert config.described("store") == f"https://m (configured from {toml})"
        assert load_config({}, file=str(toml), store="file:///s").store == "file:///s"
        toml.write_text('[manta]\nurl = "https://m"\n')
        assert refused({}, file=str(toml)).startswith(f"{toml} asks for Manta as the store: set MANTA_USER to ")

    def test_keys_are_looked_for_where_ssh_has_them(self, fresh_home: Path) -> None:
        manta = load_config({**MANTA, "HOME": str(fresh_home), "SSH_AUTH_SOCK": "/a"}).manta
        assert (manta.home, manta.agent) == (str(fresh_home), "/a")
        assert manta.unfinished == f"{fresh_home}/.local/state/thoth/uploads"


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

    @pytest.mark.parametrize("port", ["0", "65536", "x", "-1", "1.5"])
    def test_a_port_that_is_none(self, port: str) -> None:
        message = refused({"THOTH_DB_HOST": "db", "THOTH_DB_PORT": port})
        assert message == "THOTH_DB_HOST: port must be a number from 1 to 65535"

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
