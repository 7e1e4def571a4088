"""Uploads in parts of the Manta test server."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable
from pathlib import Path
from threading import Thread

import pytest

from tests.support.manta_client import Client, Reply
from tests.support.manta_moods import Barrier
from tests.support.manta_server import Limits, MantaServer, Options

X = "/alice/stor/x"
UPLOADS = "/alice/uploads"
SMALL = Options(limits=Limits(min_part=4))  # bytes, so that the tests need not send megabytes

Serve = Callable[..., MantaServer]
Connect = Callable[..., Client]


def refused(reply: Reply) -> tuple[int, str]:
    return reply.status, reply.code


def md5(data: bytes) -> str:
    return base64.b64encode(hashlib.md5(data, usedforsecurity=False).digest()).decode()


@pytest.fixture
def server(serve: Serve) -> MantaServer:
    return serve(options=SMALL)


def begin(client: Client, path: str = X, **headers: object) -> str:
    """The parts directory of a new upload; header names with underscores."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    reply = client.post(UPLOADS, {"objectPath": path, "headers": named})
    assert reply.status == 201, reply.body
    return str(reply.json()["partsDirectory"])


def send(client: Client, directory: str, *parts: bytes) -> list[str]:
    """The etags of the parts."""
    replies = [client.put(f"{directory}/{number}", part) for number, part in enumerate(parts)]
    assert [reply.status for reply in replies] == [204] * len(parts)
    return [reply.headers["etag"] for reply in replies]


def commit(client: Client, directory: str, parts: object) -> Reply:
    return client.post(f"{directory}/commit", {"parts": parts})


# ---- the good way -------------------------------------------------------------------------------------


def test_an_upload(client: Client, server: MantaServer) -> None:
    reply = client.post(UPLOADS, {"objectPath": X, "headers": {"M-Name": "v", "Content-Type": "text/plain"}})
    identifier, directory = reply.json()["id"], reply.json()["partsDirectory"]
    assert re.fullmatch(rf"/alice/uploads/{identifier[: int(identifier[-1], 16)]}/{identifier}", directory)
    etags = send(client, directory, b"first", b"second", b"3")
    assert client.get(X).status == 404
    reply = commit(client, directory, etags)
    whole = b"firstsecond3"
    assert (reply.status, reply.headers["location"], reply.headers["computed-md5"]) == (201, X, md5(whole))
    got = client.get(X)
    assert (got.body, got.headers["content-md5"], got.headers["m-name"]) == (whole, md5(whole), "v")
    assert got.headers["content-type"] == "text/plain" and got.headers["content-length"] == str(len(whole))
    assert client.get(X, Range="bytes=3-7").body == whole[3:8]
    assert client.get(X, Range="bytes=5-").body == whole[5:]


def test_parts(client: Client) -> None:
    directory = begin(client)
    reply = client.put(f"{directory}/0", b"part", Content_MD5=md5(b"part"))
    assert reply.headers["computed-md5"] == md5(b"part")
    assert client.head(f"{directory}/0").headers["etag"] == reply.headers["etag"]
    again = client.put(f"{directory}/0", b"other")
    assert again.headers["etag"] != reply.headers["etag"]
    assert commit(client, directory, [reply.headers["etag"]]).status == 409
    assert commit(client, directory, [again.headers["etag"]]).status == 201
    assert client.get(X).body == b"other"


def test_an_empty_object(client: Client) -> None:
    assert commit(client, begin(client), []).headers["computed-md5"] == md5(b"")
    assert client.get(X).headers["content-length"] == "0"


def test_states(client: Client) -> None:
    directory = begin(client, content_length=4, m_a="b")
    state = client.get(f"{directory}/state").json()
    assert state.pop("creationTimeMs") > 1.7e12
    assert state == {
        "id": directory.rpartition("/")[2],
        "state": "created",
        "partsDirectory": directory,
        "targetObject": X,
        "headers": {"content-length": 4, "m-a": "b"},
        "numCopies": 2,
    }
    etags = send(client, directory, b"part")
    commit(client, directory, etags)
    done = client.get(f"{directory}/state").json()
    assert (done["state"], done["result"], done["partsMD5Summary"]) == ("done", "committed", md5(etags[0].encode()))
    assert "partsDirectory" not in done
    aborted = begin(client)
    client.post(f"{aborted}/abort")
    assert client.get(f"{aborted}/state").json()["result"] == "aborted"


def test_commit_and_abort_may_be_repeated(client: Client) -> None:
    directory = begin(client)
    etags = send(client, directory, b"part", b"more")
    first, second = (commit(client, directory, etags) for _ in range(2))
    assert (first.status, first.headers["computed-md5"]) == (second.status, second.headers["computed-md5"])
    etag = client.head(X).headers["etag"]
    assert refused(commit(client, directory, etags[:1])) == (409, "InvalidMultipartUploadState")
    assert refused(client.post(f"{directory}/abort")) == (409, "InvalidMultipartUploadState")
    assert refused(client.put(f"{directory}/2", b"x")) == (409, "InvalidMultipartUploadState")
    assert client.head(X).headers["etag"] == etag
    aborted = begin(client)
    assert [client.post(f"{aborted}/abort").status for _ in range(2)] == [204, 204]
    assert refused(commit(client, aborted, [])) == (409, "InvalidMultipartUploadState")


def test_where_uploads_are_found(client: Client) -> None:
    directory = begin(client)
    send(client, directory, b"0000", b"1111")
    identifier = directory.rpartition("/")[2]
    for method in ("GET", "HEAD", "PUT", "POST", "DELETE"):
        reply = client.request(method, f"{UPLOADS}/{identifier}")
        assert (reply.status, reply.headers["location"]) == (301, directory)
    assert client.head(f"{UPLOADS}/{identifier}/7").headers["location"] == f"{directory}/7"
    assert client.head(f"{UPLOADS}/{'0' * 8}-0000-4000-8000-{'0' * 11}2").status == 404
    prefix = directory.split("/")[3]
    assert [line["name"] for line in client.get(UPLOADS).lines()] == [prefix]
    assert [line["name"] for line in client.get(f"{UPLOADS}/{prefix}").lines()] == [identifier]
    assert [line["name"] for line in client.get(directory).lines()] == ["0", "1"]


def test_an_upload_goes_on_after_a_restart(serve: Serve, connect: Connect, tmp_path: Path) -> None:
    first = serve(options=SMALL, folder=tmp_path)
    directory = begin(connect(first))
    etags = send(connect(first), directory, b"0000", b"1111")
    first.close()
    client = connect(serve(options=SMALL, folder=tmp_path))
    assert commit(client, directory, etags).status == 201
    assert client.get(X).body == b"00001111"
    assert client.delete(X).status == 204
    assert client.head(f"{directory}/1").status == 200  # the parts are swept later, not with the object


# ---- what is refused ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("headers", "refusal"),
    [
        ({"if-match": "x"}, (409, "MultipartUploadInvalidArgument")),
        ({"If-None-Match": "*"}, (409, "MultipartUploadInvalidArgument")),
        ({"if-modified-since": "x"}, (409, "MultipartUploadInvalidArgument")),
        ({"content-length": "5"}, (409, "MultipartUploadInvalidArgument")),
        ({"content-length": -1}, (409, "MultipartUploadInvalidArgument")),
        ({"durability-level": "2"}, (400, "InvalidDurabilityLevel")),
        ({"Durability-Level": 7}, (400, "InvalidDurabilityLevel")),
    ],
)
def test_headers_of_create(client: Client, headers: dict[str, object], refusal: tuple[int, str]) -> None:
    assert refused(client.post(UPLOADS, {"objectPath": X, "headers": headers})) == refusal


def test_bodies_of_create(client: Client) -> None:
    assert refused(client.post(UPLOADS, {})) == (409, "MultipartUploadInvalidArgument")
    assert refused(client.post(UPLOADS, {"objectPath": "stor/x"})) == (409, "MultipartUploadInvalidArgument")
    assert client.post(UPLOADS, {"objectPath": X, "headers": {"m-a": "a" * 100_001}}).status == 413
    reply = client.request("POST", UPLOADS, b"{", headers={"Content-Type": "application/json"})
    assert refused(reply) == (400, "InvalidContent")
    assert refused(client.post(UPLOADS, {"objectPath": X}, Content_MD5=md5(b""))) == (400, "BadDigest")


def test_part_numbers(client: Client, serve: Serve, connect: Connect) -> None:
    directory = begin(client)
    for number in ("800", "00", "-1", "x", "10000"):
        assert refused(client.put(f"{directory}/{number}", b"x")) == (409, "MultipartUploadInvalidArgument")
    assert client.put(f"{directory}/799", b"x").status == 204
    old = connect(serve(options=Options(v1=True)))
    directory = begin(old)
    assert old.put(f"{directory}/9999", b"x").status == 204


def test_parts_that_are_refused(client: Client, server: MantaServer) -> None:
    directory = begin(client)
    assert refused(client.put(f"{directory}/0", b"x", Content_MD5=md5(b"y"))) == (400, "ContentMD5Mismatch")
    reply = client.put(f"{directory}/0", b"x", Durability_Level="2")
    assert refused(reply) == (409, "MultipartUploadInvalidArgument")
    assert client.head(f"{directory}/0").status == 404
    assert not list(server.service.folder.iterdir())


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        (["", "e1"], "has no etag"),
        (["e0", "wrong"], "another etag"),
        (["e0", "e1", "e2"], "there is no part 2"),
        (["e1", "e0"], "another etag"),
        ("e0", "array of etags"),
        ([None], "array of etags"),
        (["x"] * 801, "too many parts"),
    ],
)
def test_lists_that_are_wrong(client: Client, parts: list[str], said: str) -> None:
    directory = begin(client)
    known = dict(zip(("e0", "e1"), send(client, directory, b"0000", b"1111"), strict=True))
    listed = [known.get(each, each) for each in parts] if isinstance(parts, list) else parts
    reply = commit(client, directory, listed)
    assert refused(reply) == (409, "MultipartUploadInvalidArgument")
    assert said in reply.json()["message"]
    assert client.get(X).status == 404
    assert commit(client, directory, list(known.values())).status == 201  # the upload is as it was


def test_small_parts_are_noticed_at_the_end(client: Client, serve: Serve, connect: Connect) -> None:
    directory = begin(client)
    etags = send(client, directory, b"000", b"1111")
    assert "too small" in commit(client, directory, etags).json()["message"]
    real = connect(serve())
    directory = begin(real)
    etags = send(real, directory, b"0" * ((5 << 20) - 1), b"1")
    assert "too small" in commit(real, directory, etags).json()["message"]
    etags[0] = real.put(f"{directory}/0", b"0" * (5 << 20)).headers["etag"]
    assert commit(real, directory, etags).status == 201


def test_promises_are_kept(client: Client) -> None:
    directory = begin(client, content_length=5)
    assert refused(commit(client, directory, send(client, directory, b"0000")))[1] == "MultipartUploadInvalidArgument"
    directory = begin(client, content_md5=md5(b"0001"))
    etags = send(client, directory, b"0000")
    assert "content-md5" in commit(client, directory, etags).json()["message"]
    assert client.get(f"{directory}/state").json()["state"] == "finalizing"  # and there it stays
    assert refused(client.post(f"{directory}/abort")) == (409, "InvalidMultipartUploadState")
    directory = begin(client, content_length=4, content_md5=md5(b"0000"), durability_level=1)
    assert commit(client, directory, send(client, directory, b"0000")).status == 201
    assert client.head(X).headers["durability-level"] == "1"


def test_where_the_object_cannot_be(client: Client) -> None:
    client.mkdir("/alice/stor/dir")
    client.put("/alice/stor/o", b"x")
    for path, refusal in [
        ("/alice/stor/no/x", (404, "DirectoryDoesNotExist")),
        ("/alice/stor/o/x", (400, "ParentNotDirectory")),
        ("/alice/stor/dir", (400, "OperationNotAllowedOnDirectory")),
        ("/bob/stor/x", (403, "AuthorizationFailed")),
        ("/alice/stor", (400, "InvalidResource")),
    ]:
        assert refused(commit(client, begin(client, path), [])) == refusal


def test_methods_that_are_not_offered(client: Client) -> None:
    directory = begin(client)
    client.put(f"{directory}/0", b"x")
    offered = {"state": ["GET"], "commit": ["POST"], "abort": ["POST"], "0": ["PUT", "HEAD"], "": ["GET", "HEAD"]}
    for name, methods in offered.items():
        for method in {"GET", "HEAD", "PUT", "POST", "DELETE"} - set(methods):
            assert client.request(method, f"{directory}/{name}".rstrip("/")).status == 405, (method, name)
    assert client.request("PUT", UPLOADS).status == 405
    assert client.get(f"{UPLOADS}/aa/{'0' * 8}-0000-4000-8000-{'0' * 12}/state").status == 404


def test_without_uploads(serve: Serve, connect: Connect) -> None:
    client = connect(serve(options=Options(mpu=False)))
    assert refused(client.post(UPLOADS, {"objectPath": X})) == (404, "ResourceNotFound")
    assert [line["name"] for line in client.get("/alice").lines()] == ["public", "reports", "stor"]


def test_the_same_commit_twice_at_once(client: Client, server: MantaServer, connect: Connect) -> None:
    directory = begin(client)
    etags = send(client, directory, b"0000", b"1111")
    server.moods.add(Barrier(2), path="*/commit")
    replies: list[Reply] = []
    clients = [connect(server) for _ in range(2)]
    threads = [Thread(target=lambda c=c: replies.append(commit(c, directory, etags))) for c in clients]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [reply.status for reply in replies] == [201, 201]
    assert client.get(X).body == b"00001111"
