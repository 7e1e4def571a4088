"""Directories and links of the Manta test server."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.support.manta_client import Client, Reply
from tests.support.manta_server import MantaServer, Options

STOR = "/alice/stor"
D = f"{STOR}/d"

Serve = Callable[..., MantaServer]
Connect = Callable[..., Client]


def refused(reply: Reply) -> tuple[int, str]:
    return reply.status, reply.code


def names(reply: Reply) -> list[str]:
    assert reply.status == 200, reply.body
    return [line["name"] for line in reply.lines()]


@pytest.fixture
def five(client: Client) -> Client:
    """A directory with three objects and two directories; e was changed last, then a."""
    client.mkdir(D)
    for name in "abc":
        client.put(f"{D}/{name}", name.encode() * 3, Content_Type="text/plain")
    for name in ("d", "e"):
        client.mkdir(f"{D}/{name}")
    return client


# ---- making and removing ------------------------------------------------------------------------------


def test_top_directories(client: Client) -> None:
    root = client.get("/alice")
    assert names(root) == ["public", "reports", "stor", "uploads"] and root.headers["result-set-size"] == "4"
    assert root.lines()[0]["mtime"] == "2013-05-22T17:39:43.714Z"
    assert names(client.get("/alice?marker=reports")) == ["stor", "uploads"]  # here the marker is exclusive
    for method in ("PUT", "POST", "DELETE"):
        assert refused(client.request(method, "/alice")) == (400, "OperationNotAllowedOnRootDirectory")
    empty = client.get(STOR)
    assert (empty.status, empty.body, empty.headers["result-set-size"]) == (200, b"", "0")
    assert client.mkdir(STOR).status == 204
    assert refused(client.delete(STOR)) == (400, "OperationNotAllowedOnRootDirectory")


def test_mkdir(client: Client) -> None:
    assert refused(client.mkdir(f"{D}/a")) == (404, "DirectoryDoesNotExist")
    assert client.mkdir(D).status == 204
    changed = client.head(D).headers["last-modified"]
    assert client.mkdir(D).status == 204 and client.head(D).headers["last-modified"] == changed
    assert client.put(f"{D}/x", b"", Content_Type="application/json;type=directory").status == 204
    client.put(f"{D}/o", b"x")
    assert refused(client.mkdir(f"{D}/o/a")) == (400, "ParentNotDirectory")


def test_a_directory_takes_an_objects_place(client: Client, server: MantaServer) -> None:
    client.put(D, b"x")
    assert client.mkdir(D).status == 204
    assert client.head(D).headers["content-type"] == "application/x-json-stream; type=directory"
    assert not list(server.service.folder.iterdir())


def test_delete(five: Client) -> None:
    assert refused(five.delete(D)) == (400, "DirectoryNotEmpty")
    for name in "abcde":
        assert five.delete(f"{D}/{name}").status == 204
    assert refused(five.delete(f"{D}/a")) == (404, "ResourceNotFound")
    assert five.delete(D).status == 204
    assert refused(five.get(D)) == (404, "ResourceNotFound")


# ---- listing ------------------------------------------------------------------------------------------


def test_entries(five: Client) -> None:
    reply = five.get(D)
    assert reply.headers["result-set-size"] == "5" and reply.headers["transfer-encoding"] == "chunked"
    assert reply.headers["content-type"] == "application/x-json-stream; type=directory"
    found = reply.lines()[1]
    mtime, etag = found.pop("mtime"), found.pop("etag")
    assert mtime.endswith("Z") and len(mtime) == 24 and etag == five.head(f"{D}/b").headers["etag"]
    assert found == {
        "name": "b",
        "type": "object",
        "size": 3,
        "contentType": "text/plain",
        "contentMD5": five.head(f"{D}/b").headers["content-md5"],
        "durability": 2,
    }
    assert set(reply.lines()[3]) == {"name", "type", "mtime"} and reply.lines()[3]["type"] == "directory"
    head = five.head(D)
    assert (head.status, head.body, head.headers["result-set-size"]) == (200, b"", "5")


def test_pages(five: Client) -> None:
    assert names(five.get(f"{D}?limit=2")) == ["a", "b"]
    assert names(five.get(f"{D}?limit=2&marker=b")) == ["b", "c"]  # inclusive
    assert names(five.get(f"{D}?marker=bb")) == ["c", "d", "e"]
    assert five.get(f"{D}?limit=2").headers["result-set-size"] == "5"
    assert names(five.get(f"{D}?sort_order=reverse&marker=c")) == ["c", "b", "a"]


@pytest.mark.parametrize("limit", ["0", "1025", "-1", "many"])
def test_limits(five: Client, limit: str) -> None:
    assert refused(five.get(f"{D}?limit={limit}")) == (400, "InvalidArgumentError")


def test_the_default_limit(client: Client) -> None:
    for number in range(258):
        client.put(f"{STOR}/{number:03d}")
    reply = client.get(STOR)
    assert len(reply.lines()) == 256 and reply.headers["result-set-size"] == "258"
    assert len(client.get(f"{STOR}?limit=1024").lines()) == 258


def test_by_time(five: Client) -> None:
    newest = five.get(f"{D}?sort=mtime").lines()
    times = [line["mtime"] for line in newest]
    assert times == sorted(times, reverse=True)
    oldest = [line["mtime"] for line in five.get(f"{D}?sort=mtime&sort_order=reverse").lines()]
    assert oldest == times[::-1]
    marked = [line["mtime"] for line in five.get(f"{D}?sort=mtime&marker={times[2]}").lines()]
    assert marked == [each for each in times if each <= times[2]]
    assert refused(five.get(f"{D}?sort=mtime&marker=b")) == (400, "InvalidParameter")


def test_filters_work_in_v1_only(five: Client, serve: Serve, connect: Connect) -> None:
    assert len(names(five.get(f"{D}?dir=true"))) == 5
    old = connect(serve(options=Options(v1=True)))
    old.mkdir(D)
    old.put(f"{STOR}/o", b"x")
    assert names(old.get(f"{STOR}?dir=true")) == ["d"] and names(old.get(f"{STOR}?obj=true")) == ["o"]


# ---- links --------------------------------------------------------------------------------------------

LINK = "application/json; type=link"


def test_links_are_refused_in_v2(five: Client) -> None:
    reply = five.put(f"{D}/link", Content_Type=LINK, Location=f"{D}/a")
    assert refused(reply) == (403, "SnaplinksDisabledError")


def test_links_of_v1(serve: Serve, connect: Connect) -> None:
    server = serve(options=Options(v1=True))
    client = connect(server)
    etag = client.put(f"{STOR}/a", b"one").headers["etag"]
    assert client.put(f"{STOR}/link", Content_Type=LINK, Location=f"{STOR}/a").status == 204
    client.put(f"{STOR}/a", b"two")
    reply = client.get(f"{STOR}/link")
    assert (reply.body, reply.headers["etag"], reply.headers["server"]) == (b"one", etag, "Manta")
    client.delete(f"{STOR}/link")
    assert len(list(server.service.folder.iterdir())) == 1


def test_links_that_cannot_be(serve: Serve, connect: Connect) -> None:
    client = connect(serve(options=Options(v1=True)))
    client.mkdir(D)
    assert refused(client.put(f"{STOR}/link", Content_Type=LINK)) == (400, "LocationRequired")
    for location, refusal in [
        ("elsewhere", (400, "InvalidLink")),
        (D, (400, "LinkNotObject")),
        (f"{D}/nothing", (404, "SourceObjectNotFound")),
    ]:
        assert refused(client.put(f"{STOR}/link", Content_Type=LINK, Location=location)) == refusal
