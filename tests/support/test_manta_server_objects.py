"""Objects of the Manta test server, and conditional requests."""

from __future__ import annotations

import base64
import hashlib
import re
import time
from collections.abc import Callable
from email.utils import formatdate
from pathlib import Path
from threading import Thread

import pytest

from tests.support.manta_client import Client, Reply
from tests.support.manta_moods import Barrier
from tests.support.manta_server import Limits, MantaServer, Options

X = "/alice/stor/x"
UUID = re.compile("[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
MIB = 1 << 20

Serve = Callable[..., MantaServer]
Connect = Callable[..., Client]


def md5(data: bytes) -> str:
    return base64.b64encode(hashlib.md5(data, usedforsecurity=False).digest()).decode()


def refused(reply: Reply) -> tuple[int, str]:
    return reply.status, reply.code


# ---- PutObject ----------------------------------------------------------------------------------------


def test_put_and_get(client: Client) -> None:
    data = bytes(range(256)) * 40_000  # more than a buffer
    reply = client.put(X, data, Content_Type="text/plain", m_name="some value", Content_MD5=md5(data))
    assert (reply.status, reply.body) == (204, b"")
    assert UUID.fullmatch(reply.headers["etag"]) and reply.headers["computed-md5"] == md5(data)
    assert "content-length" not in reply.headers
    got = client.get(X)
    assert (got.status, got.body) == (200, data)
    expected = {
        "etag": reply.headers["etag"],
        "last-modified": reply.headers["last-modified"],
        "content-length": str(len(data)),
        "content-type": "text/plain",
        "content-md5": md5(data),
        "durability-level": "2",
        "accept-ranges": "bytes",
        "m-name": "some value",
    }
    assert expected.items() <= got.headers.items()
    head = client.head(X)
    assert (head.status, head.body) == (200, b"")
    del expected["accept-ranges"]
    assert expected.items() <= head.headers.items() and "accept-ranges" not in head.headers


def test_each_write_has_its_own_etag(client: Client) -> None:
    first, second = client.put(X, b"same"), client.put(X, b"same")
    assert first.headers["etag"] != second.headers["etag"] == client.head(X).headers["etag"]


def test_headers_of_every_answer(client: Client) -> None:
    replies = [client.put(X, b"x"), client.get(X), client.get(X + "y"), client.head(X)]
    assert len({reply.headers["x-request-id"] for reply in replies}) == 4
    for reply in replies:
        assert UUID.fullmatch(reply.headers["x-request-id"]) and UUID.fullmatch(reply.headers["x-server-name"])
        assert reply.headers["server"] == "Manta/2" and reply.headers["date"] and reply.headers["x-response-time"]


def test_the_body_of_an_error(client: Client) -> None:
    reply = client.get(X)
    assert refused(reply) == (404, "ResourceNotFound")
    assert set(reply.json()) == {"code", "message"} and reply.headers["content-type"] == "application/json"
    assert reply.headers["content-md5"] == md5(reply.body)
    head = client.head(X)
    assert (head.status, head.body) == (404, b"")


def test_chunks(client: Client) -> None:
    blocks = [b"a" * size for size in (1, 70_000, 3, 2 * MIB)]
    reply = client.request("PUT", X, blocks)
    assert reply.headers["computed-md5"] == md5(b"".join(blocks))
    assert client.get(X).body == b"".join(blocks)


def test_what_a_body_must_not_exceed(client: Client) -> None:
    headers = {"max-content-length": "5"}
    assert client.request("PUT", X, [b"12345"], headers=headers).status == 204
    assert refused(client.request("PUT", X, [b"123456"], headers=headers)) == (413, "MaxContentLengthExceeded")
    assert client.get(X).body == b"12345"
    reply = client.request("PUT", X, [b"x"], headers={"max-content-length": "-1"})
    assert refused(reply) == (400, "InvalidMaxContentLength")
    assert client.put(X, b"123456", max_content_length="5").status == 204  # only looked at where there are chunks


def test_no_length_is_an_empty_object(client: Client) -> None:
    assert client.request("PUT", X).status == 204
    got = client.get(X)
    assert (got.headers["content-length"], got.headers["content-md5"]) == ("0", md5(b""))
    assert got.headers["durability-level"] == "0"


def test_a_negative_length(client: Client) -> None:
    reply = client.request("PUT", X, headers={"Content-Length": "-1"})
    assert refused(reply) == (411, "ContentLengthRequired")


@pytest.mark.parametrize("level", ["0", "7", "many", "-1"])
def test_durability(client: Client, level: str) -> None:
    assert refused(client.put(X, b"x", Durability_Level=level)) == (400, "InvalidDurabilityLevel")
    assert refused(client.put(X, b"x", X_Durability_Level=level)) == (400, "InvalidDurabilityLevel")
    client.put(X, b"x", Durability_Level="1")
    assert client.head(X).headers["durability-level"] == "1"


def test_digests(client: Client, server: MantaServer) -> None:
    assert refused(client.put(X, b"x", Content_MD5=md5(b"y"))) == (400, "ContentMD5Mismatch")
    assert refused(client.put(X, b"x", Content_MD5="not base64")) == (400, "BadRequest")
    assert refused(client.put(X, b"x", Content_MD5="AAAA")) == (400, "BadRequest")
    assert client.get(X).status == 404
    assert not list(server.service.folder.iterdir())  # nothing is kept of what was refused


def test_small_headers_only(client: Client) -> None:
    client.put(X, b"x", m_a="a" * 3000, m_b="b" * 2000, m_c="c" * 90, Cache_Control="no-store", Other="x")
    headers = client.head(X).headers
    assert "m-a" in headers and "m-b" not in headers and headers["cache-control"] == "no-store"
    assert "other" not in headers
    assert client.put(X, b"x", Content_Disposition='attachment; filename="a"').status == 204
    assert refused(client.put(X, b"x", Content_Disposition='attachment; filename="a')) == (400, "BadRequest")


def test_where_objects_cannot_be(client: Client, serve: Serve, connect: Connect) -> None:
    assert refused(client.put("/alice/stor/a/b", b"x")) == (404, "DirectoryDoesNotExist")
    client.mkdir("/alice/stor/dir")
    assert refused(client.put("/alice/stor/dir", b"x")) == (400, "InvalidUpdate")
    assert refused(client.request("PUT", "/alice/stor/dir", [b"x"])) == (400, "OperationNotAllowedOnDirectory")
    client.put(X, b"x")
    assert refused(client.put(f"{X}/y", b"x")) == (400, "ParentNotDirectory")
    assert refused(client.put("/alice/stor", b"x", Content_Type="text/plain")) == (
        400,
        "OperationNotAllowedOnRootDirectory",
    )
    small = connect(serve(options=Options(limits=Limits(max_entries=1))))
    assert [small.put(f"/alice/stor/{name}", b"x").status for name in "abc"] == [204, 204, 409]
    assert small.put("/alice/stor/d", b"x").code == "DirectoryLimitExceeded"


def test_nobody_is_asked_to_send_what_would_be_refused(server: MantaServer, client: Client) -> None:
    for path in (X, "/alice/stor/no/x"):
        client.request("PUT", path, b"body", headers={"Expect": "100-continue"})
    asked, refused_one = server.requests
    assert (asked.status, asked.continued) == (204, True)
    assert (refused_one.status, refused_one.continued, refused_one.received) == (404, False, 0)
    client.request("PUT", X, b"", headers={"Expect": "100-continue"})
    assert (server.requests[-1].status, server.requests[-1].continued) == (204, False)


def test_a_silent_client(serve: Serve, connect: Connect) -> None:
    server = serve(options=Options(limits=Limits(data=0.2)))

    def stall() -> object:
        yield b"some"
        time.sleep(0.6)
        yield b"more"

    with pytest.raises((ConnectionError, TimeoutError)):
        connect(server).request("PUT", X, stall())  # type: ignore[arg-type]  # a generator is iterable
    assert server.requests[-1].status == 408 and server.requests[-1].code == "UploadTimeout"
    assert connect(server).get(X).status == 404


def test_headers_can_be_changed_alone(client: Client) -> None:
    etag = client.put(X, b"x", Content_Type="text/plain", m_old="1").headers["etag"]
    assert client.request("PUT", f"{X}?metadata=true", [], headers={"m-new": "2"}).status == 204
    headers = client.head(X).headers
    assert (headers["m-new"], headers["content-type"], headers["etag"]) == ("2", "text/plain", etag)
    assert "m-old" not in headers
    assert refused(client.put(f"{X}?metadata=true", b"")) == (400, "InvalidUpdate")  # it has a Content-Length
    assert refused(client.request("PUT", f"{X}y?metadata=true", [])) == (404, "ResourceNotFound")


def test_paths(client: Client) -> None:
    assert client.put("/alice//stor/a%20b%C3%A9/", b"x").status == 204
    assert client.get("/alice/stor/a%20b%c3%a9").body == b"x"
    assert client.get("/alice/stor").lines()[0]["name"] == "a bé"
    for bad in ("/alice/stor/%ff", "/alice/stor/%2", "/alice/stor/%zz"):
        assert refused(client.get(bad)) == (400, "InvalidResource")
    assert refused(client.get("/alice/nothing")) == (404, "ResourceNotFound")
    assert refused(client.get("/1alice/stor")) == (404, "ResourceNotFound")
    assert refused(client.request("POST", X)) == (405, "MethodNotAllowed")
    assert client.request("GET", "/ping", sign=False).status == 200


def test_it_is_there_after_a_restart(serve: Serve, connect: Connect, tmp_path: Path) -> None:
    first = serve(folder=tmp_path)
    etag = connect(first).put(X, b"kept").headers["etag"]
    first.close()
    second = serve(folder=tmp_path)
    reply = connect(second).get(X)
    assert (reply.body, reply.headers["etag"]) == (b"kept", etag)


def test_nothing_is_left_without_a_folder(serve: Serve, connect: Connect) -> None:
    server = serve()
    connect(server).put(X, b"gone")
    folder = server.service.folder
    assert len(list(folder.iterdir())) == 1
    connect(server).put(X, b"also gone")
    assert len(list(folder.iterdir())) == 1
    connect(server).delete(X)
    assert not list(folder.iterdir())
    server.close()
    assert not folder.exists()


# ---- GetObject ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "body", "shown"),
    [
        ("bytes=2-4", b"234", "bytes 2-4/10"),
        ("bytes=7-", b"789", "bytes 7-9/10"),
        ("bytes=-3", b"789", "bytes 7-9/10"),
        ("bytes=8-99", b"89", "bytes 8-9/10"),
        ("bytes=-99", b"0123456789", "bytes 0-9/10"),
    ],
)
def test_ranges(client: Client, asked: str, body: bytes, shown: str) -> None:
    client.put(X, b"0123456789")
    reply = client.get(X, Range=asked)
    assert (reply.status, reply.body, reply.headers["content-range"]) == (206, body, shown)
    assert reply.headers["content-length"] == str(len(body)) and "content-md5" not in reply.headers


@pytest.mark.parametrize("asked", ["bytes=10-", "bytes=5-4", "bytes=-0", "bytes=a-b", "lines=1-2", "bytes=-"])
def test_ranges_that_are_none(client: Client, asked: str) -> None:
    client.put(X, b"0123456789")
    reply = client.get(X, Range=asked)
    assert (reply.status, reply.headers["content-range"]) == (416, "bytes */10")


def test_several_ranges_and_none(client: Client) -> None:
    client.put(X, b"0123456789")
    assert refused(client.get(X, Range="bytes=0-1,3-4")) == (501, "NotImplemented")
    client.put(X, b"")
    assert client.get(X, Range="bytes=0-1").status == 200


def test_what_is_accepted(client: Client) -> None:
    client.put(X, b"x", Content_Type="text/plain; charset=utf-8")
    assert [client.get(X, Accept=kind).status for kind in ("*/*", "text/*", "image/png, text/plain;q=1")] == [200] * 3
    assert refused(client.get(X, Accept="application/json")) == (406, "NotAcceptable")


def test_public_objects_for_other_origins(client: Client) -> None:
    client.put("/alice/public/x", b"x")
    assert client.head("/alice/public/x", Origin="http://a").headers["access-control-allow-origin"] == "http://a"
    client.put(X, b"x", Access_Control_Allow_Origin="http://b")
    assert "access-control-allow-origin" not in client.head(X, Origin="http://a").headers


# ---- conditional requests -----------------------------------------------------------------------------


def test_if_match(client: Client) -> None:
    etag = client.put(X, b"1").headers["etag"]
    assert refused(client.put(X, b"2", If_Match=f'"{etag}"')) == (412, "PreconditionFailed")  # quoted: never
    assert refused(client.put(X, b"2", If_Match="other")) == (412, "PreconditionFailed")
    new = client.put(X, b"2", If_Match=f"other, {etag}").headers["etag"]
    assert client.get(X, If_Match=etag).status == 412
    assert client.get(X, If_Match=new, Range="bytes=0-0").status == 206
    assert client.put(X, b"3", If_Match="*").status == 204
    assert client.put("/alice/stor/new", b"3", If_Match=etag).status == 412


def test_a_refusal_names_the_etag_that_is_there(client: Client) -> None:
    etag = client.put(X, b"1").headers["etag"]
    reply = client.put(X, b"2", If_Match="other")
    assert reply.headers["etag"] == etag and reply.headers["last-modified"]


def test_create_only(client: Client) -> None:
    assert client.put(X, b"1", If_Match='""').status == 204
    assert refused(client.put(X, b"2", If_Match='""')) == (412, "PreconditionFailed")
    assert client.get(X).body == b"1"


def test_if_none_match(client: Client) -> None:
    for path in (X, X):  # absent, then there
        assert refused(client.put(path, b"1", If_None_Match="*")) == (412, "PreconditionFailed")
        etag = client.put(X, b"0").headers["etag"]
    reply = client.get(X, If_None_Match=etag)
    assert (reply.status, reply.body, reply.headers["etag"]) == (304, b"", etag)
    assert client.head(X, If_None_Match=etag).status == 304
    assert client.get(X, If_None_Match="other").status == 200
    assert client.put(X, b"2", If_None_Match=etag).status == 412
    assert client.put(X, b"2", If_None_Match="other").status == 204


def test_dates(client: Client) -> None:
    client.put(X, b"1")
    before, after = (formatdate(time.time() + offset, usegmt=True) for offset in (-60, 60))
    assert client.get(X, If_Modified_Since=after).status == 304
    assert client.get(X, If_Modified_Since=before).status == 200
    assert client.get(X, If_Unmodified_Since=before).status == 412
    assert client.put(X, b"2", If_Unmodified_Since=after).status == 204
    assert client.put(X, b"2", If_Modified_Since=after).status == 412


def test_conditional_deletion(client: Client) -> None:
    etag = client.put(X, b"1").headers["etag"]
    assert client.delete(X, If_Match="other").status == 412
    assert client.delete(X, If_Match=etag).status == 204


@pytest.mark.parametrize(("condition", "expected"), [({"If_Match": '""'}, [204, 409]), ({}, [204, 204])])
def test_a_race(server: MantaServer, connect: Connect, condition: dict[str, str], expected: list[int]) -> None:
    """Both pass all checks, and only one may win, if they said that it matters."""
    server.moods.add(Barrier(2), method="PUT")
    replies: list[Reply] = []
    clients = [connect(server) for _ in range(2)]
    threads = [Thread(target=lambda c=c: replies.append(c.put(X, b"mine", **condition))) for c in clients]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(reply.status for reply in replies) == expected
    assert [reply.code for reply in replies if reply.status == 409] == ["ConcurrentRequest"] * expected.count(409)
    assert len(list(server.service.folder.iterdir())) == 1
