"""Whom the Manta test server believes."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from email.utils import formatdate
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from tests.support.manta_client import Client, Signer
from tests.support.manta_server import Account, MantaServer, Options, Role, Subuser

Serve = Callable[..., MantaServer]
Connect = Callable[..., Client]

STOR = "/alice/stor"


def date(offset: float = 0.0) -> str:
    return formatdate(time.time() + offset, usegmt=True)


# ---- the Authorization header -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "algorithm"),
    [
        (ec.generate_private_key(ec.SECP256R1()), "ecdsa-sha256"),
        (ec.generate_private_key(ec.SECP521R1()), "ecdsa-sha512"),
        (ed25519.Ed25519PrivateKey.generate(), "ed25519-sha512"),
    ],
    ids=["p256", "p521", "ed25519"],
)
def test_keys_of_each_kind(serve: Serve, connect: Connect, key: ec.EllipticCurvePrivateKey, algorithm: str) -> None:
    signer = Signer(key, "carol", algorithm)
    server = serve(Account("carol", (signer.public,)))
    assert connect(server, signer).get("/carol/stor").status == 200


@pytest.mark.parametrize("algorithm", ["rsa-sha1", "rsa-sha256", "rsa-sha512", "RSA-SHA256"])
def test_hashes_of_rsa(server: MantaServer, connect: Connect, alice: Signer, algorithm: str) -> None:
    value = replace(alice, algorithm=algorithm.lower()).authorization({"date": date()})
    value = value.replace(algorithm.lower(), algorithm)
    assert connect(server).request("GET", STOR, headers={"Authorization": value}).status == 200


def test_a_header_without_its_list_of_headers(client: Client, alice: Signer) -> None:
    now = date()
    value = alice.authorization({"date": now}, listed=False)
    assert client.request("GET", STOR, headers={"Authorization": value, "Date": now}).status == 200
    value = alice.authorization({"x-date": now}, listed=False)
    headers = {"Authorization": value, "x-date": now}
    assert client.request("GET", STOR, headers=headers).status == 200


def test_more_signed_lines(client: Client, alice: Signer) -> None:
    now = date()
    lines = {"date": now, "(request-target)": "get /alice/stor?limit=3", "host": client.host}
    headers = {"Authorization": alice.authorization(lines), "Date": now}
    assert client.request("GET", f"{STOR}?limit=3", headers=headers).status == 200
    assert client.request("GET", f"{STOR}?limit=4", headers=headers).code == "InvalidSignature"


def test_the_request_line(client: Client, alice: Signer) -> None:
    now = date()
    signature = alice.sign(f"date: {now}\nGET /alice/stor HTTP/1.1")
    value = (
        f'Signature keyId="{alice.key_id}",algorithm="rsa-sha256",headers="date request-line",signature="{signature}"'
    )
    assert client.request("GET", STOR, headers={"Authorization": value, "Date": now}).status == 200


@pytest.mark.parametrize(
    ("change", "into", "refusal"),
    [
        ("Signature ", "Signature", (400, "InvalidHeader")),
        ("Signature ", "signature ", (400, "InvalidHeader")),
        ("Signature ", "Basic ", (403, "AuthorizationSchemeNotAllowed")),
        (",algorithm", ", algorithm", (400, "InvalidHeader")),
        ('algorithm="rsa-sha256",', "", (400, "InvalidHeader")),
        ('headers="date"', "headers=date", (400, "InvalidHeader")),
        ('headers="date"', 'headers="host"', (400, "InvalidHeader")),
        ('headers="date"', 'headers="date x-absent"', (400, "InvalidHeader")),
        ("keyId", "keyid", (400, "InvalidHeader")),
        ("rsa-sha256", "rsa-sha384", (400, "InvalidHeader")),
        ("rsa-sha256", "rsa-md5", (400, "InvalidHeader")),
        ("rsa-sha256", "hmac-sha256", (401, "InvalidAlgorithm")),
        ("rsa-sha256", "ecdsa-sha256", (403, "InvalidSignature")),
        ("rsa-sha256", "rsa-sha1", (403, "InvalidSignature")),
        ("/alice/keys/", "/alice/users/", (403, "InvalidKeyId")),
        ("/alice/keys/", "/alice/users/bob/keys/", (403, "InvalidKeyId")),
        ("/alice/keys/", "/alice//keys/", (403, "InvalidKeyId")),
        ("/alice/keys/", "alice/keys/", (403, "InvalidKeyId")),
        ("/alice/keys/", "/mallory/keys/", (403, "AccountDoesNotExist")),
        ("/alice/keys/", "/alice/bob/keys/", (403, "UserDoesNotExist")),
        ("/keys/", "/keys/MD5:", (403, "KeyDoesNotExist")),
        ('signature="', 'signature="AA', (403, "InvalidSignature")),
        ('signature="', 'signature="?', (403, "InvalidSignature")),
    ],
)
def test_what_is_refused(client: Client, alice: Signer, change: str, into: str, refusal: tuple[int, str]) -> None:
    now = date()
    value = alice.authorization({"date": now})
    assert change in value
    headers = {"Date": now, "Authorization": value.replace(change, into, 1)}
    reply = client.request("GET", STOR, headers=headers)
    assert (reply.status, reply.code) == refusal


def test_another_text_is_signed(client: Client, alice: Signer) -> None:
    headers = {"Date": date(), "Authorization": alice.authorization({"date": date(-1)})}
    assert client.request("GET", STOR, headers=headers).code == "InvalidSignature"


def test_another_key(client: Client, server: MantaServer, connect: Connect) -> None:
    other = Signer(rsa.generate_private_key(65537, 2048))
    reply = connect(server, other).get(STOR)
    assert (reply.status, reply.code) == (403, "KeyDoesNotExist")
    assert reply.json()["message"].startswith(other.key_id)


@pytest.mark.parametrize(
    ("offset", "code", "text"),
    [
        (-350, "InvalidHeader", "clock skew"),
        (350, "InvalidHeader", "clock skew"),
        (-700, "RequestExpired", "too old"),
    ],
)
def test_a_clock_that_is_wrong(client: Client, offset: float, code: str, text: str) -> None:
    reply = client.get(STOR, Date=date(offset))
    assert (reply.status, reply.code) == (400, code)
    assert text in reply.json()["message"]
    if code == "InvalidHeader":
        assert reply.json()["message"].startswith("Invalid Signature Authorization header: clock skew")


@pytest.mark.parametrize("offset", [-290, 290])
def test_a_clock_that_is_good_enough(client: Client, offset: float) -> None:
    assert client.get(STOR, Date=date(offset)).status == 200


def test_the_servers_own_clock(serve: Serve, connect: Connect) -> None:
    server = serve(options=Options(now=lambda: time.time() + 400))
    assert "clock skew of" in connect(server).get(STOR).json()["message"]


def test_no_date_at_all(client: Client) -> None:
    assert client.request("GET", STOR, headers={"Date": None}).code == "InvalidHeader"
    assert client.get(STOR, Date="yesterday").code == "InvalidHeader"


def test_algorithms_of_v1(serve: Serve, connect: Connect) -> None:
    signer = Signer(ed25519.Ed25519PrivateKey.generate(), "carol", "ed25519-sha512")
    server = serve(Account("carol", (signer.public,)), options=Options(v1=True))
    reply = connect(server, signer).get("/carol/stor")
    assert (reply.status, reply.code) == (401, "InvalidAlgorithm")


def test_pem_keys_are_keys_too(serve: Serve, connect: Connect, tmp_path: Path) -> None:
    from cryptography.hazmat.primitives import serialization as s

    key = rsa.generate_private_key(65537, 2048)
    pem = key.public_key().public_bytes(s.Encoding.PEM, s.PublicFormat.SubjectPublicKeyInfo).decode()
    server = serve(Account("carol", (pem,)))
    assert connect(server, Signer(key, "carol")).get("/carol/stor").status == 200
    with pytest.raises(ValueError, match="key"):
        MantaServer(Account("carol", ("no key",)))


# ---- who may do what ----------------------------------------------------------------------------------


def test_unsigned_requests(server: MantaServer, connect: Connect) -> None:
    nobody = connect(server, None)
    reply = nobody.get(STOR)
    assert (reply.status, reply.code) == (403, "AuthorizationFailed")
    owner = connect(server)
    assert owner.put("/alice/public/x", b"seen").status == 204
    assert nobody.get("/alice/public/x").body == b"seen"
    assert nobody.get("/alice/public").status == 200
    assert nobody.put("/alice/public/x", b"mine").code == "AuthorizationFailed"
    assert nobody.delete("/alice/public/x").code == "AuthorizationFailed"
    assert nobody.get("/nobody/public/x").code == "AccountDoesNotExist"


def test_other_accounts_and_operators(serve: Serve, connect: Connect) -> None:
    carol = Signer(ed25519.Ed25519PrivateKey.generate(), "carol", "ed25519-sha512")
    root = Signer(ed25519.Ed25519PrivateKey.generate(), "root", "ed25519-sha512")
    server = serve(Account("carol", (carol.public,)), Account("root", (root.public,), operator=True))
    assert connect(server, carol).get(STOR).code == "AuthorizationFailed"
    assert connect(server, carol).put(f"{STOR}/x", b"x").code == "AuthorizationFailed"
    assert connect(server, root).put(f"{STOR}/x", b"x").status == 204
    assert connect(server).get(f"{STOR}?sort=none").code == "QueryParameterForbidden"
    assert connect(server).get(f"{STOR}?skip_owner_check=true").status == 403
    assert connect(server, root).get(f"{STOR}?sort=none").status == 200


def test_a_blocked_account(serve: Serve, connect: Connect) -> None:
    carol = Signer(ed25519.Ed25519PrivateKey.generate(), "carol", "ed25519-sha512")
    server = serve(Account("carol", (carol.public,), blocked=True))
    assert connect(server, carol).get("/carol/stor").code == "AccountBlocked"


@pytest.fixture
def bob() -> Signer:
    return Signer(ed25519.Ed25519PrivateKey.generate(), "alice/bob", "ed25519-sha512")


@pytest.fixture
def shared(alice: Signer, bob: Signer, serve: Serve) -> MantaServer:
    """Alice's account with a subuser, who has the roles ops (by default) and reader."""
    roles = (Role("ops"), Role("reader", frozenset({"getobject"})), Role("other"))
    subuser = Subuser("bob", (bob.public,), ("ops", "reader"), ("ops",))
    account = Account("alice", (alice.public,), (subuser,), roles)
    return serve(account)


def test_a_subuser_needs_a_role_tag(shared: MantaServer, connect: Connect, bob: Signer) -> None:
    owner, user = connect(shared), connect(shared, bob)
    assert owner.mkdir(f"{STOR}/dir").status == 204
    assert user.put(f"{STOR}/dir/x", b"x").code == "NoMatchingRoleTag"
    assert owner.put(f"{STOR}/dir?metadata=true", Role_Tag="ops", Content_Length="").status == 400
    chunks = owner.request("PUT", f"{STOR}/dir?metadata=true", [], headers={"Role-Tag": "ops"})
    assert chunks.status == 204
    assert user.put(f"{STOR}/dir/x", b"x").status == 204
    assert user.head(f"{STOR}/dir/x").headers["role-tag"] == "ops"
    assert owner.get(f"{STOR}/dir/x").body == b"x"


def test_roles_that_are_asked_for(shared: MantaServer, connect: Connect, bob: Signer) -> None:
    owner, user = connect(shared), connect(shared, bob)
    owner.put(f"{STOR}/x", b"x", Role_Tag="reader")
    assert user.get(f"{STOR}/x").code == "NoMatchingRoleTag"
    assert user.get(f"{STOR}/x", Role="reader").body == b"x"
    assert user.get(f"{STOR}/x", Role="*").body == b"x"
    assert user.put(f"{STOR}/x", b"y", Role="reader").code == "AuthorizationFailed"
    assert user.get(f"{STOR}/x", Role="other").status == 409
    assert user.get(f"{STOR}/x", Role="ops, nonsense").code == "InvalidRole"
    assert owner.put(f"{STOR}/x", b"x", Role_Tag="nonsense").code == "InvalidRoleTag"


def test_subusers_have_no_uploads_in_parts(shared: MantaServer, connect: Connect, bob: Signer) -> None:
    reply = connect(shared, bob).post("/alice/uploads", {"objectPath": f"{STOR}/x"})
    assert (reply.status, reply.code) == (403, "AuthorizationFailed")


def test_the_subusers_key_is_not_the_accounts(shared: MantaServer, connect: Connect, alice: Signer) -> None:
    assert connect(shared, replace(alice, login="alice/bob")).get(STOR).code == "KeyDoesNotExist"


def test_tokens(server: MantaServer, connect: Connect) -> None:
    token = connect(server).post("/alice/tokens").json()["token"]
    nobody = connect(server, None)
    assert nobody.get(STOR, Authorization=f"Token {token}").status == 200
    assert nobody.get(STOR, Authorization="Token other").code == "InvalidAuthenticationToken"


# ---- signed URLs --------------------------------------------------------------------------------------


@pytest.fixture
def nobody(server: MantaServer, client: Client, connect: Connect) -> Client:
    """Someone without a key, beside an object."""
    client.put(f"{STOR}/a%20b", b"content")
    return connect(server, None)


def test_a_signed_url(nobody: Client, alice: Signer, server: MantaServer) -> None:
    reply = nobody.get(alice.signed_target(nobody.host, f"{STOR}/a%20b"))
    assert (reply.status, reply.body) == (200, b"content")
    assert server.requests[-1].caller == "alice"
    assert "signature" not in server.requests[-1].query and "keyId" in server.requests[-1].query


def test_several_methods(nobody: Client, alice: Signer) -> None:
    target = alice.signed_target(nobody.host, f"{STOR}/new", methods=("PUT", "GET"))
    assert nobody.put(target, b"new").status == 204
    assert nobody.get(target).body == b"new"
    assert nobody.delete(target).code == "InvalidQueryStringAuthentication"


def test_the_path_is_signed_as_it_was_sent(nobody: Client, alice: Signer) -> None:
    target = alice.signed_target(nobody.host, f"{STOR}//a%20b")
    assert nobody.get(target).body == b"content"
    assert nobody.get(target.replace("//", "/")).code == "InvalidSignature"


def test_what_is_refused_of_a_signed_url(nobody: Client, alice: Signer) -> None:
    path = f"{STOR}/a%20b"
    assert nobody.get(alice.signed_target("other:80", path)).code == "InvalidSignature"
    good = alice.signed_target(nobody.host, path)
    assert nobody.put(good, b"x").code == "InvalidSignature"  # no method parameter: the request's own is checked
    assert nobody.get(good.replace("expires", "expired")).code == "InvalidQueryStringAuthentication"
    assert nobody.get(good.replace("RSA-SHA256", "RSA-MD5")).code == "InvalidQueryStringAuthentication"
    assert nobody.get(good + "&more=1").code == "InvalidSignature"
    late = nobody.get(alice.signed_target(nobody.host, path, expires=time.time() - 10))
    assert (late.status, late.code) == (403, "InvalidQueryStringAuthentication")
    assert "expired" in late.json()["message"]


def test_an_authorization_header_goes_before_the_query(client: Client, alice: Signer) -> None:
    target = alice.signed_target(client.host, f"{STOR}/x", expires=1)
    assert client.request("GET", target).status == 404  # signed by its header; the query does not count


def test_the_role_of_a_signed_url(shared: MantaServer, connect: Connect, bob: Signer) -> None:
    connect(shared).put(f"{STOR}/x", b"x", Role_Tag="reader")
    nobody = connect(shared, None)
    assert nobody.get(bob.signed_target(nobody.host, f"{STOR}/x")).code == "NoMatchingRoleTag"
    assert nobody.get(bob.signed_target(nobody.host, f"{STOR}/x", extra={"role": "reader"})).body == b"x"


# ---- TLS ----------------------------------------------------------------------------------------------


def test_plain_http_is_refused_on_demand(serve: Serve, connect: Connect, alice: Signer) -> None:
    server = serve(options=Options(require_tls=True))
    client, nobody = connect(server), connect(server, None)
    reply = client.get(STOR)
    assert (reply.status, reply.code) == (403, "SecureTransportRequired")
    assert nobody.get("/alice/public").status == 200
    assert nobody.get(alice.signed_target(client.host, STOR)).status == 200
    assert client.put("/alice/public/x", b"x").code == "SecureTransportRequired"
