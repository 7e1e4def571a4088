"""The Manta test server from the other side: Manta's public Node client works against it, as against the real one."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Callable, Iterator
from email.utils import formatdate
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from tests.support.http_signature import verify_text_with_http_signature, verify_with_http_signature
from tests.support.manta_client import PrivateKey, Signer
from tests.support.manta_content import empty
from tests.support.manta_entries import Entry
from tests.support.manta_server import Account, MantaServer, Options, Subuser
from tests.support.node_client import NodeClient

Serve = Callable[..., MantaServer]


@pytest.fixture(scope="module")
def server(alice: Signer) -> Iterator[MantaServer]:
    """One for all commands: each test has its own directory."""
    with MantaServer(Account("alice", (alice.public,))) as running:
        yield running


@pytest.fixture
def node(server: MantaServer, alice: Signer, tmp_path: Path) -> NodeClient:
    return NodeClient(server.url, tmp_path / "home", alice.key)


def test_directories_and_objects(node: NodeClient, server: MantaServer) -> None:
    data = bytes(range(256)) * 8000
    (node.home / "file").write_bytes(data)
    node.run("mmkdir", "-p", "~~/stor/a/b c/d")
    node.run("mput", "-f", "file", "-c", "1", "-H", "m-note: kept", "~~/stor/a/b c/d/object")
    asked = server.requests[-1]
    assert (asked.status, asked.continued, asked.headers["expect"]) == (204, True, "100-continue")
    assert node.run("mget", "-q", "~~/stor/a/b c/d/object") == data
    said = node.run("minfo", "~~/stor/a/b c/d/object").decode()
    assert "HTTP/1.1 200 OK" in said and "m-note: kept" in said and "durability-level: 1" in said
    assert node.run("mls", "~~/stor/a") == b"b c/\n"
    listed = json.loads(node.run("mls", "--fulljson", "~~/stor/a/b c/d"))
    assert (listed["name"], listed["size"], listed["type"]) == ("object", len(data), "object")
    node.run("mrm", "-r", "~~/stor/a")
    assert node.run("mls", "~~/stor") == b""


def test_streams(node: NodeClient, server: MantaServer) -> None:
    node.run("mput", "-p", "~~/stor/deep/er/stream", stdin=b"piped")
    assert server.requests[-1].headers["transfer-encoding"] == "chunked"
    assert [seen.status for seen in server.requests[-4:]] == [404, 204, 204, 204]  # put, mkdir twice, put
    assert node.run("mget", "-q", "~~/stor/deep/er/stream") == b"piped"
    node.run("mput", "~~/stor/deep/empty")
    assert node.run("mget", "-q", "~~/stor/deep/empty") == b""
    node.run("mrm", "-r", "~~/stor/deep")


def test_a_long_directory(node: NodeClient, server: MantaServer) -> None:
    """The client pages by 1024, with an inclusive marker."""
    assert node.run("mmkdir", "~~/stor/long") == b""
    names = [f"{number:04d}" for number in range(1030)]
    for name in names:
        server.service.entries.put(Entry(f"/alice/stor/long/{name}", "object", 0, content=empty()))
    assert node.run("mls", "~~/stor/long").decode().split() == names
    pages = [seen.query for seen in server.requests if seen.method == "GET" and seen.path == "/alice/stor/long"]
    assert pages == [{"limit": "1024"}, {"limit": "1024", "marker": "1023"}]


def test_headers_are_changed(node: NodeClient) -> None:
    node.run("mput", "~~/stor/changed", stdin=b"x")
    node.run("mchattr", "-H", "m-new: yes", "~~/stor/changed")
    assert "m-new: yes" in node.run("minfo", "~~/stor/changed").decode()
    node.run("mrm", "~~/stor/changed")


def test_what_goes_wrong_is_told(node: NodeClient) -> None:
    assert "ResourceNotFoundError" in node.complain("mget", "-q", "~~/stor/nothing")
    assert "SnaplinksDisabledError" in node.complain("mln", "~~/stor/nothing", "~~/stor/link")
    assert "DirectoryDoesNotExistError" in node.complain("mmkdir", "~~/stor/no/thing")
    node.environment["MANTA_USER"] = "mallory"
    assert "AccountDoesNotExistError" in node.complain("mls", "/alice/stor")


def test_signed_urls(node: NodeClient, server: MantaServer, alice: Signer) -> None:
    node.run("mput", "~~/stor/signed", stdin=b"seen")
    url = node.run("msign", "~~/stor/signed").decode().strip()
    with urllib.request.urlopen(url, timeout=10) as answer:
        assert answer.read() == b"seen"
    url = node.run("msign", "-m", "PUT", "-m", "GET", "~~/stor/signed").decode().strip()
    for method, data, expected in (("PUT", b"new", b""), ("GET", None, b"new")):
        request = urllib.request.Request(url, data, method=method)
        with urllib.request.urlopen(request, timeout=10) as answer:
            assert answer.read() == expected
    node.run("mrm", "~~/stor/signed")


def test_uploads_in_parts(node: NodeClient, server: MantaServer) -> None:
    first, second = b"1" * (5 << 20), b"2" * 1000
    (node.home / "first").write_bytes(first)
    upload = node.run("mmpu", "create", "-c", "1", "~~/stor/parts").decode().strip()
    etags = [node.run("mmpu", "upload", "-f", "first", upload, "0").decode().strip()]
    etags += [node.run("mmpu", "upload", upload, "1", stdin=second).decode().strip()]
    directory = f"/alice/uploads/{upload[: int(upload[-1], 16)]}/{upload}"
    assert node.run("mmpu", "parts", upload).decode().split() == [f"{directory}/0", f"{directory}/1"]
    assert json.loads(node.run("mmpu", "get", upload))["state"] == "created"
    assert directory in node.run("mmpu", "list").decode().split()
    node.run("mmpu", "commit", upload, *etags)
    assert node.run("mget", "-q", "~~/stor/parts") == first + second
    assert json.loads(node.run("mmpu", "get", upload))["result"] == "committed"
    other = node.run("mmpu", "create", "~~/stor/parts").decode().strip()
    node.run("mmpu", "abort", other)
    assert "already aborted" in node.complain("mmpu", "commit", other)


@pytest.mark.parametrize(
    "key",
    [ec.generate_private_key(ec.SECP256R1()), ed25519.Ed25519PrivateKey.generate()],
    ids=["ecdsa", "ed25519"],
)
def test_other_keys_and_a_subuser(serve: Serve, tmp_path: Path, alice: Signer, key: PrivateKey) -> None:
    bob = Subuser("bob", (Signer(key).public,), ("ops",))
    server = serve(Account("carol", (Signer(key).public,), (bob,)))
    node = NodeClient(server.url, tmp_path / "home", key, "carol")
    assert node.run("mls", "~~/stor") == b""
    node.environment["MANTA_SUBUSER"] = "bob"
    assert "NoMatchingRoleTagError" in node.complain("mls", "~~/stor")
    assert [seen.caller for seen in server.requests][-1] == "carol/bob"


def test_jobs_and_links_of_v1(serve: Serve, tmp_path: Path, alice: Signer) -> None:
    server = serve(options=Options(v1=True))
    node = NodeClient(server.url, tmp_path / "home", alice.key)
    node.run("mput", "~~/stor/input", stdin=b"words of wisdom")
    node.run("mln", "~~/stor/input", "~~/stor/link")
    node.run("mput", "~~/stor/asset.sh", stdin=b'#!/bin/sh\nwc -w < "$1"\n')
    asset = "/alice/stor/asset.sh"
    printed = node.run(
        "mjob", "create", "-o", "-s", asset, "-m", f"/assets{asset} $MANTA_INPUT_FILE", "-r", "cat",
        stdin=b"/alice/stor/input\n/alice/stor/link\n",
    )  # fmt: skip
    assert printed.split() == [b"3", b"3"]


# ---- what signs here, judged there --------------------------------------------------------------------


def test_our_own_signatures(alice: Signer) -> None:
    """The tests' signer is as honest: http-signature accepts it too."""
    date = formatdate(usegmt=True)
    headers = {"Date": date, "Authorization": alice.authorization({"date": date})}
    verdict = verify_with_http_signature("GET", "/alice/stor", headers, alice.public)
    assert verdict.verified and verdict.key_id == alice.key_id, verdict.refused
    assert verify_text_with_http_signature("text", alice.sign("text"), "RSA-SHA256", alice.public).verified
