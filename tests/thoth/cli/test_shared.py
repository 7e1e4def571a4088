"""The command where a team keeps its dumps: in Manta, with an index in RethinkDB that Manta names."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519

from tests.support import vectors
from tests.support.manta_moods import Full
from tests.support.node_client import NodeClient
from tests.support.reqlite import ReqlServer
from tests.support.site import HOME, Site
from tests.support.site import site as a_site
from tests.thoth.cli.conftest import Ran, Run

CORE = Callable[..., Path]
Sites = Callable[..., Site]


@pytest.fixture
def sites(reql: ReqlServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Sites]:
    """Makes one, whose environment the test gets; takes the options of the Manta server."""

    def made(**options: Any) -> Site:
        found = undo.enter_context(a_site(reql, tmp_path / "bc", **options))
        for name, value in found.environment.items():
            monkeypatch.setenv(name, value)
        return found

    with ExitStack() as undo:
        yield made


@pytest.fixture
def site(sites: Sites) -> Site:
    made = sites()
    made.share()
    return made


def one_line(ran: Ran, *words: str) -> None:
    """A command that failed, and said why and what to do in one line."""
    assert (ran.code, ran.out) == (1, "")
    assert len(ran.said) == 1, ran.said
    assert all(word in ran.err for word in words), ran.err


class TestSetup:
    def test_the_printed_example(self, run: Run, site: Site) -> None:
        ran = run("init")
        assert ran.code == 0
        assert ran.said[1:6] == [
            site.using,
            f"thoth: created database '{site.place.database}'",
            "thoth: created table 'dumps'",
            "thoth: created table 'analyzers'",
            "thoth: created index 'time'",
        ]
        assert ran.said[0] == f"thoth: using store at {site.server.url} (configured from MANTA_URL)"
        assert not any("created" in line for line in run("init").said)

    def test_a_database_of_the_user_s_name(self, run: Run, sites: Sites) -> None:
        made = sites()
        made.configure(host=made.place.host, port=made.place.port)
        assert run("ls").said == [made.using, "thoth: no dump matches"]

    def test_it_is_all_shown(self, run: Run, site: Site) -> None:
        ran = run("config")
        assert ran.code == 0
        assert [line.split() for line in ran.lines if line.startswith("manta.url")] == [
            ["manta.url", site.server.url, "MANTA_URL", "-"]
        ]

    def test_so_is_the_database_that_manta_names(self, run: Run, site: Site) -> None:
        def shown() -> list[list[str]]:
            return [line.split() for line in run("config").lines if line.startswith("db")]

        url = f"rethinkdb://{site.place.host}:{site.place.port}/{site.place.database}"
        assert shown() == [["db", url, "Manta", "there"]]
        assert json.loads(run("config", "--json").out)["settings"]["db"] == {
            "value": url, "origin": "Manta", "there": True
        }  # fmt: skip

    def test_a_database_that_nobody_can_tell_is_not_shown(
        self, run: Run, site: Site, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        site.node.run("mput", "-q", f"{HOME}/config.json", stdin=b"{")
        ran = run("config")
        assert [line.split()[-1] for line in ran.lines if line.startswith(("db", "store"))] == ["there"]
        assert (ran.code, len(ran.said)) == (1, 1)
        assert f"{HOME}/config.json: not JSON" in ran.err
        with monkeypatch.context() as patched:
            patched.setenv("MANTA_KEY_ID", "SHA256:" + "a" * 43)
            ran = run("config")
        assert [line.split()[-1] for line in ran.lines if line.startswith(("db", "store"))] == ["-"]
        assert (ran.code, len(ran.said)) == (1, 1)
        with closed_port() as port:
            monkeypatch.setenv("MANTA_URL", f"http://127.0.0.1:{port}")
            ran = run("config")
        assert [line.split()[-1] for line in ran.lines if line.startswith(("db", "store"))] == ["-"]
        assert (ran.code, len(ran.said)) == (1, 1)
        assert "refused; check MANTA_URL" in ran.err


class TestDumps:
    def test_what_is_uploaded_is_found_by_everybody(self, run: Run, site: Site, core: CORE) -> None:
        file = core(24388, "core.bc.24388", cmd="bc")
        ran = run("upload", file)
        identity = ran.out.strip()
        assert (ran.code, ran.said) == (
            0,
            [site.using, f"thoth: creating {identity}", f"thoth: uploading core.bc.24388 to {identity}"],
        )
        assert site.node.run("mls", f"{HOME}/{identity}").split() == [b"core.bc.24388", b"info.json"]
        assert site.node.run("mget", "-q", f"{HOME}/{identity}/core.bc.24388") == file.read_bytes()
        assert (site.info(identity)["dump"], site.info(identity)["cmd"]) == (f"{HOME}/{identity}/core.bc.24388", "bc")
        listed = run("ls")
        assert listed.said == [site.using]
        assert listed.lines[1].split() == [identity[:16], "core", "2015-12-04T19:56:54", "bc", "-"]
        assert run("-q", "info", identity[:8]).out.startswith("{")

    def test_a_database_that_is_new_tells_so(self, run: Run, sites: Sites, core: CORE) -> None:
        made = sites()
        made.share()
        identity = run("-q", "upload", core(1)).out.strip()
        made.configure(host=made.place.host, port=made.place.port, db="new")
        said = "the index has no dumps and the store has: run 'thoth index'"
        assert run("ls").said[1:] == [f"thoth: {said}"]
        assert run("info", identity[:5]).said[1:] == [f"thoth: no such dump: {identity[:5]}; {said}"]
        assert run("-q", "index").code == 0
        assert run("ls").lines[1].startswith(identity[:16])
        assert run("ls", "tikcet=undefined").said[1:] == ["thoth: no dump has 'tikcet'; did you mean ticket?"]

    def test_a_name_that_has_to_be_escaped(self, run: Run, site: Site, core: CORE) -> None:
        identity = run("-q", "upload", core(1, "core.a b%;$(x)")).out.strip()
        (name,) = [
            each for each in site.node.run("mls", f"{HOME}/{identity}").decode().split() if each != "info.json"
        ]
        assert name == "core.a%20b%25%3B%24%28x%29"
        assert run("-q", "scrub").code == 0
        assert site.node.run("mget", "-q", f"{HOME}/{identity}/{name}")

    def test_changes_of_both_are_seen_by_both(self, run: Run, site: Site, core: CORE) -> None:
        identity = run("-q", "upload", core(7)).out.strip()
        assert run("-q", "ticket", identity, "OS-2359").code == 0
        document = site.info(identity)
        assert document["ticket"] == "OS-2359"
        document["properties"]["triage"] = "bmc"
        site.node.run("mput", "-q", f"{HOME}/{identity}/info.json", stdin=json.dumps(document).encode())
        assert run("-q", "load", identity).code == 0
        assert run("-q", "ls", "properties.triage=bmc", "ticket=OS-2359").lines[1].startswith(identity[:16])

    def test_what_crashes_together(self, run: Run, site: Site, tmp_path: Path) -> None:
        names = ("illumos-psargs-02.core.78727", "illumos-core32-mt.core.54113", "illumos-psargs-05.core.63992")
        for each in names:
            assert run("-q", "upload", vectors.write(each, tmp_path)).code == 0
        ranked = json.loads(run("-q", "top", "--json").out)["top"]
        together, other = "zfs: free | nomem | zfs_do_send", "zfs: nomem | zfs_do_send"
        assert [(each["signature"], each["dumps"]) for each in ranked] == [(together, 2), (other, 1)]
        first, second = (row.split()[0] for row in run("-q", "ls", f"signature={together}").lines[1:])
        assert run("-q", "similar", first).lines[1].split()[:2] == ["100", second]
        assert run("-q", "ticket", "--signature", first, "OS-1").code == 0
        assert json.loads(run("-q", "report", "ticket").out) == {"undefined": 1, "OS-1": 2}

    def test_signatures_for_what_the_original_has_stored(self, run: Run, site: Site, core: CORE) -> None:
        """Its documents have a stack and no signature: in Manta and in the database both get one."""
        identity = run("-q", "upload", core(7, cmd="bc")).out.strip()
        document = {**site.info(identity), "stack": ["libc.so.1`abort+0x1()", "a+0x1()", "b()"]}
        site.node.run("mput", "-q", f"{HOME}/{identity}/info.json", stdin=json.dumps(document).encode())
        assert run("-q", "index").code == 0
        assert json.loads(run("-q", "top", "--json").out)["unsigned"] == 1
        assert run("-q", "signature", "--recompute").code == 0
        assert "signature" not in site.info(identity)
        assert run("-q", "signature", "--recompute", "--write").code == 0
        assert site.info(identity)["signature"] == "bc: a | b"
        assert json.loads(run("-q", "report", "signature").out) == {"bc: a | b": 1}
        assert run("-q", "scrub").code == 0

    def test_what_the_original_has_stored(self, run: Run, site: Site, core: CORE) -> None:
        file = core(9)
        identity = run("object", file).out.strip()
        document = {
            "name": f"{HOME}/{identity}", "dump": f"{HOME}/{identity}/core.9", "pid": "9", "cmd": "utmpd",
            "psargs": "/usr/lib/utmpd", "platform": "joyent_20130418T192128Z", "node": "headnode", "version": "1",
            "time": 1366869350, "stack": ["libc.so.1`abort+0x10e()"], "type": "core", "properties": {},
        }  # fmt: skip
        site.node.run("mput", "-q", "-p", "-f", str(file), f"{HOME}/{identity}/core.9")
        site.node.run("mput", "-q", f"{HOME}/{identity}/info.json", stdin=json.dumps(document).encode())
        assert run("-q", "index").code == 0
        assert run("-q", "ls", "stack=*abort*").lines[1].split()[3] == "utmpd"
        assert "is there already" in run("upload", file).err
        assert run("-q", "scrub", "--repair").code == 0
        assert site.info(identity)["size"] == file.stat().st_size

    def test_an_analyzer_runs_here_on_a_manta_without_jobs(
        self, run: Run, site: Site, core: CORE, cache: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        identities = [run("-q", "upload", core(pid)).out.strip() for pid in range(3)]
        with TemporaryFile("w+") as script, monkeypatch.context() as patched:
            script.write("thoth_set seen $(json pid < $THOTH_INFO)\n")
            script.seek(0)
            patched.setattr("sys.stdin", script)
            assert run("-q", "analyzer", "pid").code == 0
        assert run("-q", "analyze", "type=core", "pid").code == 0
        assert [site.info(each)["properties"]["seen"] for each in identities] == [0, 1, 2]

    def test_purge(self, run: Run, site: Site, core: CORE) -> None:
        identity = run("-q", "upload", core(7)).out.strip()
        assert run("-q", "purge", identity, "--delete").code == 0
        assert site.node.run("mls", f"{HOME}/{identity}").split() == [b"info.json"]
        assert run("-q", "ls", "purged=undefined").lines[1:] == []


class TestWhatGoesWrong:
    def test_a_key_that_the_account_does_not_have(
        self, run: Run, site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        stranger = NodeClient(site.server.url, tmp_path / "x", ed25519.Ed25519PrivateKey.generate(), "bcantrill")
        for name in ("HOME", "MANTA_KEY_ID"):
            monkeypatch.setenv(name, stranger.environment[name])
        one_line(run("ls"), "KeyDoesNotExist", stranger.environment["MANTA_KEY_ID"], "bcantrill")

    def test_a_key_that_is_not_here(self, run: Run, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("MANTA_KEY_ID", ":".join(["aa"] * 16))
        one_line(run("ls"), "MANTA_KEY_ID", "ssh-add")

    def test_F19_a_clock_that_is_wrong(self, run: Run, sites: Sites) -> None:
        sites(now=lambda: time.time() + 400)
        one_line(run("ls"), "clock")

    def test_a_manta_that_is_not_there(self, run: Run, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
        with closed_port() as port:
            monkeypatch.setenv("MANTA_URL", f"http://127.0.0.1:{port}")
            started = time.monotonic()
            one_line(run("-q", "ls"), f"127.0.0.1:{port}", "refused")
        assert time.monotonic() - started < 30

    def test_F31_a_store_that_is_full(self, run: Run, site: Site, core: CORE) -> None:
        site.server.moods.add(Full(0), method="PUT", path="*/core.*", count=None)
        one_line(run("-q", "upload", core(1)), "NotEnoughSpace", "free some space there")
        ran = run("-q", "upload", core(1), core(2), core(3))
        assert (ran.code, len(ran.said)) == (1, 2), "a smaller one may fit"
        assert ran.said[1].startswith("thoth: no room either for ") and ran.said[1].endswith("core.2 and 1 more")

    def test_F35_a_database_that_is_down(self, run: Run, site: Site, core: CORE) -> None:
        file = core(5)
        with closed_port() as port:
            site.configure(host="127.0.0.1", port=port)
            ran = run("-q", "upload", file)
            identity = ran.out.strip()
            assert (ran.code, len(ran.said)) == (1, 1)
            assert f"stored as {identity}, not indexed" in ran.err
            assert f"127.0.0.1:{port}" in ran.err
            one_line(run("-q", "ls"), f"127.0.0.1:{port}")
            ran = run("-q", "upload", core(6), core(7), core(8))
            assert (ran.code, len(ran.lines), len(ran.said)) == (1, 3, 2)
            assert ran.said[1].endswith("core.7 and 1 more")
        assert site.info(identity)["pid"] == "5"
        site.share()
        assert run("-q", "index").code == 0
        assert run("-q", "ls").lines[1].startswith(identity[:16])

    def test_F35_a_password_that_is_wrong(self, run: Run, site: Site) -> None:
        site.configure(host=site.place.host, port=site.place.port, authKey="I<3dumps!")
        ran = run("-q", "ls")
        one_line(ran, site.place.host)
        assert "I<3" not in ran.err

    def test_a_configuration_that_cannot_be_read(self, run: Run, site: Site) -> None:
        site.node.run("mput", "-q", f"{HOME}/config.json", stdin=b"{")
        one_line(run("ls"), f"{HOME}/config.json: not JSON")


@contextmanager
def closed_port() -> Iterator[int]:
    """A port that nobody listens at, and that nobody else gets."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield held.getsockname()[1]
