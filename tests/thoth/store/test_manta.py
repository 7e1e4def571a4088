from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.manta_server import Account, MantaServer, Options, Role, Subuser, Tls
from tests.support.manta_store import account, manta, private_key, signer
from tests.support.node_packages import node_package
from tests.support.scripted_http import certificate
from thoth.errors import StoreError, StoreUnavailable
from thoth.store.base import Digests
from thoth.store.manta import MantaAccess, MantaStore
from thoth.store.signing import HttpSigner, KeyOwner, LocalKey

HOME = "/alice/stor/thoth"
NAME = f"{HOME}/{'ab' * 16}/core.x"


@pytest.fixture
def server() -> Iterator[MantaServer]:
    with MantaServer(account(), account("bob")) as running:
        yield running


@pytest.fixture
def store(server: MantaServer) -> Iterator[MantaStore]:
    made = manta(server)
    yield made
    made.close()


def digests(data: bytes) -> Digests:
    return Digests(len(data), hashlib.md5(data).hexdigest(), hashlib.sha256(data).hexdigest())


def upload(store: MantaStore, name: str, data: bytes, size: int | None = None) -> str:
    incoming = store.begin(name, size)
    for start in range(0, len(data), 300_000):
        incoming.part(data[start : start + 300_000])
    return incoming.commit(digests(data)).etag


def asked(server: MantaServer, since: int = 0) -> list[str]:
    return [f"{each.method} {each.path}" for each in server.requests[since:]]


# ---- requests -----------------------------------------------------------------------------------------


def test_a_put_costs_one_request_and_its_directories_once(server: MantaServer, store: MantaStore) -> None:
    store.put(NAME, b"1")
    assert [each.split()[0] for each in asked(server)] == ["PUT", "HEAD", "HEAD", "PUT", "PUT", "PUT"]
    before = len(server.requests)
    store.put(NAME, b"2")
    assert asked(server, before) == [f"PUT {NAME}"]


def test_a_directory_never_takes_an_objects_place(server: MantaServer, store: MantaStore) -> None:
    etag = store.put(f"{HOME}/x", b"an object")
    with pytest.raises(StoreError, match=rf"{HOME}/x/y/z: {HOME}/x is an object"):
        store.put(f"{HOME}/x/y/z", b"")
    assert store.get(f"{HOME}/x") == (b"an object", etag)


def test_the_type_of_what_is_put(server: MantaServer, store: MantaStore) -> None:
    store.put(f"{HOME}/info.json", b"{}")
    upload(store, f"{HOME}/core", b"x")
    types = {each.path: each.headers["content-type"] for each in server.requests if each.status == 204}
    assert types[f"{HOME}/info.json"] == "application/json"
    assert types[f"{HOME}/core"] == "application/octet-stream"


def test_copies_and_roles_are_told(server: MantaServer) -> None:
    wanted = account()
    rich = Account("carol", wanted.keys, (Subuser("sue", wanted.keys, ("reader",)),), (Role("reader"),))
    with MantaServer(rich) as other:
        access = MantaAccess(other.url, "carol", roles=("reader",), copies=1)
        store = MantaStore(access, HttpSigner(LocalKey(private_key()), KeyOwner("carol", "sue")))
        with pytest.raises(StoreUnavailable, match=r"account carol: refuses the key /carol/sue/keys/.*MANTA_ROLE"):
            store.put("/carol/stor/x", b"x")
        store.close()
        seen = other.requests[-1]
        assert (seen.headers["role"], seen.headers["durability-level"]) == ("reader", "1")
        owner = MantaStore(MantaAccess(other.url, "carol", copies=1), signer("carol"))
        upload(owner, "/carol/stor/x", b"x" * 5_000_000, 5_000_000)
        owner.close()
        assert [each.headers.get("durability-level") for each in other.requests if each.method == "PUT"][1:] == ["1"]


def test_names_of_another_account_need_its_leave(store: MantaStore) -> None:
    with pytest.raises(StoreUnavailable, match="THOTH_USER"):
        store.put("/bob/stor/x", b"")


@pytest.mark.parametrize("v1", [True, False])
def test_jobs_are_known_by_the_servers_name(v1: bool) -> None:
    with MantaServer(account(), options=Options(v1=v1)) as server:
        store = manta(server)
        assert store.has_jobs is v1
        assert asked(server) == ["HEAD /alice/stor"]
        assert store.has_jobs is v1
        store.close()
        other = manta(server)
        list(other.list(HOME))
        assert other.has_jobs is v1
        other.close()
        assert len(server.requests) == 2


def test_TLS(tmp_path: Path) -> None:
    made, key = certificate(tmp_path)
    with MantaServer(account(), tls=Tls(made, key)) as server:
        store = MantaStore(MantaAccess(server.url, "alice"), signer())
        with pytest.raises(StoreUnavailable, match="its certificate is not trusted"):
            store.stat(NAME)
        store.close()
        for access in (
            MantaAccess(server.url, "alice", tls_insecure=True),
            MantaAccess(server.url, "alice", authorities=made),
        ):
            store = MantaStore(access, signer())
            upload(store, NAME, bytes(9_000_000), 9_000_000)
            with store.open(NAME) as found:
                assert found.read_at(8_999_999, 5) == b"\0"
            store.close()


def test_many_threads_share_one_store(server: MantaServer, store: MantaStore) -> None:
    failures: list[BaseException] = []

    def work(number: int) -> None:
        try:
            data = bytes([number]) * (4_100_000 + number)
            for turn in range(3):
                upload(store, f"{HOME}/{number}/{turn}", data, len(data))
                with store.open(f"{HOME}/{number}/{turn}") as found:
                    assert found.read_at(0, len(data)) == data
                assert store.put(f"{HOME}/{number}/info", data[:9]) == store.get(f"{HOME}/{number}/info")[1]
        except BaseException as error:
            failures.append(error)
            raise

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert len(list(store.list(HOME))) == 8


# ---- listings -------------------------------------------------------------------------------------------


def test_a_long_directory_comes_page_by_page(server: MantaServer, store: MantaStore) -> None:
    wanted = [f"{number:05}%&+ é" for number in range(1500)]
    first = store.put(f"{HOME}/d/{wanted[0]}", b"")
    entry = server.service.entries.get(f"{HOME}/d/{wanted[0]}")
    assert entry is not None and entry.etag == first
    with server.service.entries.change():
        for name in wanted[1:]:
            server.service.entries.put(replace(entry, path=f"{HOME}/d/{name}"))
    before = len(server.requests)
    assert [each.name for each in store.list(f"{HOME}/d")] == wanted
    assert [each.query.get("marker") for each in server.requests[before:]] == [None, wanted[1023]]
    before = len(server.requests)
    assert [each.name for each in store.list(f"{HOME}/d", most=20)] == wanted[:20]
    assert [each.query["limit"] for each in server.requests[before:]] == ["20"]


def test_a_page_of_just_as_many_entries_as_fit(server: MantaServer, store: MantaStore) -> None:
    store.put(f"{HOME}/d/0000", b"")
    entry = server.service.entries.get(f"{HOME}/d/0000")
    assert entry is not None
    with server.service.entries.change():
        for number in range(1, 1024):
            server.service.entries.put(replace(entry, path=f"{HOME}/d/{number:04}"))
    assert len(list(store.list(f"{HOME}/d"))) == 1024


def test_dot_files_are_left_out(server: MantaServer, store: MantaStore) -> None:
    store.put(f"{HOME}/x", b"")
    entry = server.service.entries.get(f"{HOME}/x")
    assert entry is not None
    with server.service.entries.change():
        server.service.entries.put(replace(entry, path=f"{HOME}/.hidden"))
    assert [each.name for each in store.list(HOME)] == ["x"]


# ---- reading --------------------------------------------------------------------------------------------


def test_an_object_is_read_through_by_one_stream(server: MantaServer, store: MantaStore) -> None:
    data = os.urandom(5_000_000)
    upload(store, NAME, data, len(data))
    before = len(server.requests)
    with store.open(NAME) as found:
        pieces, at = [], 0
        while piece := found.read_at(at, 100_000):
            pieces.append(piece)
            at += len(piece)
    assert b"".join(pieces) == data
    ranges = [each.headers.get("range") for each in server.requests[before:]]
    assert ranges == [None, "bytes=0-99999", "bytes=100000-4999999"]
    assert {each.headers.get("if-match") for each in server.requests[before + 1 :]} == {found.etag}


def test_a_small_object_is_read_by_one_request(server: MantaServer, store: MantaStore) -> None:
    upload(store, NAME, b"0123456789" * 1000)
    before = len(server.requests)
    with store.open(NAME) as found:
        assert found.read_at(0, 64) == (b"0123456789" * 7)[:64]
        assert found.read_at(9_990, 64) == b"0123456789"
        assert found.read_at(5, 3) == b"567"
    assert asked(server, before) == [f"HEAD {NAME}", f"GET {NAME}"]


def test_who_looks_about_gets_ranges(server: MantaServer, store: MantaStore) -> None:
    data = os.urandom(3_000_000)
    upload(store, NAME, data, len(data))
    before = len(server.requests)
    with store.open(NAME) as found:
        for start, length in (
            (0, 64),
            (64, 200),
            (2_000_000, 10),
            (1_000_000, 100_000),
            (2_999_990, 64),
            (60_000, 9_000),
        ):
            assert found.read_at(start, length) == data[start : start + length]
    ranges = [(each.headers.get("range") or "").removeprefix("bytes=") for each in server.requests[before + 1 :]]
    assert ranges == ["0-65535", "2000000-2065535", "1000000-1099999", "2999990-2999999", "60000-125535"]
    assert {each.connection for each in server.requests[before + 1 :]} == {server.requests[before].connection}


def test_reading_in_any_order_gives_what_is_there(store: MantaStore) -> None:
    chance = random.Random(7)
    data = chance.randbytes(400_000)
    upload(store, NAME, data)
    with store.open(NAME) as found:
        at = 0
        for _ in range(300):
            at = chance.choice([at, at, at, chance.randrange(len(data)), max(0, at - 10)])
            length = chance.choice([0, 1, 100, 70_000, 1 << 40])
            piece = found.read_at(at, length)
            assert piece == data[at : at + length]
            at = (at + len(piece)) % len(data)


# ---- names, with the other client -------------------------------------------------------------------------


def node(server: MantaServer, home: Path, program: str, *arguments: str, data: bytes = b"") -> bytes:
    """What a program of the Node client prints, on this server, as alice."""
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "MANTA_URL": server.url,
        "MANTA_USER": "alice",
        "MANTA_KEY_ID": (home / "id").read_text(),
    }
    command = [shutil.which("node") or "node", str(node_package("manta") / "bin" / program), *arguments]
    return subprocess.run(command, env=environment, input=data, capture_output=True, check=True, timeout=60).stdout


@pytest.mark.parametrize("last", ["core.%41%2Fx%25", "a b+c&d=é#?;'~!*()", "%"])
def test_the_node_client_finds_the_same_names(tmp_path: Path, last: str) -> None:
    (tmp_path / ".ssh").mkdir(mode=0o700)
    key = tmp_path / ".ssh" / "id_rsa"
    subprocess.run(["ssh-keygen", "-q", "-t", "rsa", "-b", "2048", "-m", "PEM", "-N", "", "-f", str(key)], check=True)
    listed = subprocess.run(
        ["ssh-keygen", "-l", "-E", "md5", "-f", str(key)], check=True, capture_output=True, text=True
    )
    (tmp_path / "id").write_text(listed.stdout.split()[1].removeprefix("MD5:"))
    mine = account()
    with MantaServer(Account("alice", (*mine.keys, key.with_suffix(".pub").read_text()))) as server:
        store = manta(server)
        store.put(f"{HOME}/ours/{last}", b"from here")
        assert node(server, tmp_path, "mget", "-q", f"{HOME}/ours/{last}") == b"from here"
        node(server, tmp_path, "mput", "-q", "-p", f"{HOME}/theirs/{last}", data=b"from there")
        assert store.get(f"{HOME}/theirs/{last}")[0] == b"from there"
        assert [each.name for each in store.list(f"{HOME}/theirs")] == [last]
        told = [json.loads(line)["name"] for line in node(server, tmp_path, "mls", "-j", f"{HOME}/ours").splitlines()]
        assert told == [last]
        store.close()
