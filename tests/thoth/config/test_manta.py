"""Manta as the store."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.thoth.config.scene import SECRET, refused
from thoth.config import Setting, load_config, survey, without_credentials
from thoth.settings import NEVER

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
