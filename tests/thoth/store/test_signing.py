"""Signed requests and URLs: the worked examples of Manta's protocol, and each kind of key."""

from __future__ import annotations

import base64
import hashlib
import linecache
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_ssh_private_key

from tests.support.processes import wait_until
from tests.support.sshagent import framed
from tests.support.sshkeys import KINDS, SshKeys
from tests.thoth.store.signed import (
    DATE,
    judged_by_manta,
    presigned,
    taken_apart,
    url_judged_by_manta,
    verify,
    verify_date,
)
from thoth.errors import StoreUnavailable, UsageError
from thoth.store.publickeys import SshPublicKey, parse_public
from thoth.store.signing import (
    HttpSigner,
    KeyOwner,
    LocalKey,
    Signature,
    from_ssh,
    presigned_string,
    signing_string,
)

ALICE = KeyOwner("alice", None)
EXAMPLE = "3d:ba:35:d8:54:d0:90:10:fc:fc:53:f1:5e:9a:7c:34"  # the fingerprint in the worked examples
ALGORITHMS = {
    "rsa": "rsa-sha256",
    "p256": "ecdsa-sha256",
    "p384": "ecdsa-sha256",  # http-signature knows no SHA-384
    "p521": "ecdsa-sha512",
    "ed25519": "ed25519-sha512",
}


def local(keys: SshKeys, kind: str) -> LocalKey:
    private = load_ssh_private_key(keys[kind].file.read_bytes(), None)
    return LocalKey(private)  # type: ignore[arg-type]  # it is none of DSA's


def signer(keys: SshKeys, kind: str = "rsa", owner: KeyOwner = ALICE) -> HttpSigner:
    return HttpSigner(local(keys, kind), owner)


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


# ---- the worked examples --------------------------------------------------------------------------


def test_example_a(ssh_keys: SshKeys) -> None:
    text = signing_string([("date", DATE)])
    assert len(text) == 35
    assert sha256(text) == "84101a02e6f77acda5fa8a3f22b1a9fe24b6304d106ee3785423b620fc36ef4e"
    header = signer(ssh_keys).authorization(DATE).replace(ssh_keys["rsa"].md5, EXAMPLE)
    assert header.startswith(
        'Signature keyId="/alice/keys/3d:ba:35:d8:54:d0:90:10:fc:fc:53:f1:5e:9a:7c:34",algorithm="rsa-sha256",'
        'headers="date",signature="'
    )
    verify(ssh_keys["rsa"].public, "rsa-sha256", taken_apart(header).signature, text)


def test_example_a_of_a_subuser(ssh_keys: SshKeys) -> None:
    subuser = signer(ssh_keys, owner=KeyOwner("alice", "bob"))
    md5 = ssh_keys["rsa"].md5
    assert subuser.key_id == f"/alice/bob/keys/{md5}"
    assert taken_apart(subuser.authorization(DATE)).key_id == subuser.key_id
    assert signer(ssh_keys).key_id == f"/alice/keys/{md5}"


def test_example_b() -> None:
    text = signing_string([("date", DATE), ("(request-target)", "put /alice/stor/thoth/core%20a")])
    assert len(text) == 84
    assert sha256(text) == "8ec01819e61d6c0a5d68b0faea594fbda63862160ffcaf70c63f22eb3a45c442"


def test_example_c(ssh_keys: SshKeys) -> None:
    path = "/alice/stor/thoth/core%20a"
    url = signer(ssh_keys).signed_url("https://manta.example.com:8443", path, expires=1767225900)
    assert url.startswith(f"https://manta.example.com:8443{path}?algorithm=RSA-SHA256&expires=1767225900&keyId=%2F")
    text = presigned(url).text
    like_the_example = text.replace(ssh_keys["rsa"].md5.replace(":", "%3A"), EXAMPLE.replace(":", "%3A")).encode()
    assert len(like_the_example) == 195
    assert sha256(like_the_example) == "d378fe294f68ae1d429b844110850bf9228646ebd0a3027a3bb8cab160b194cd"
    assert url_judged_by_manta(url, ssh_keys["rsa"].public).verified


# ---- each kind of key -----------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_http_signature_verifies_every_kind(ssh_keys: SshKeys, kind: str) -> None:
    key = ssh_keys[kind]
    verdict = judged_by_manta(signer(ssh_keys, kind), key.public)
    assert verdict.verified, verdict.refused
    assert (verdict.key_id, verdict.algorithm) == (f"/alice/keys/{key.md5}", ALGORITHMS[kind])
    assert verdict.signing_string == f"date: {DATE}"


@pytest.mark.parametrize("kind", KINDS)
def test_cryptography_verifies_every_kind_with_the_public_half(ssh_keys: SshKeys, kind: str) -> None:
    header = verify_date(signer(ssh_keys, kind), ssh_keys[kind].public)
    assert header.algorithm == ALGORITHMS[kind]
    with pytest.raises(InvalidSignature):
        verify(ssh_keys[kind].public, header.algorithm, header.signature, b"date: Thu, 01 Jan 2026 00:00:01 GMT")


@pytest.mark.parametrize("kind", ["p384", "ed25519"])
def test_http_signature_verifies_signed_urls(ssh_keys: SshKeys, kind: str) -> None:
    url = signer(ssh_keys, kind).signed_url("https://h", "/a/stor/x", methods=["PUT", "GET"], expires=1)
    assert presigned(url).query["algorithm"] == ALGORITHMS[kind].upper()
    assert url_judged_by_manta(url, ssh_keys[kind].public).verified


def test_a_curve_that_ssh_does_not_use() -> None:
    with pytest.raises(ValueError, match="secp256k1 is none of SSH's"):
        LocalKey(ec.generate_private_key(ec.SECP256K1()))


# ---- signed URLs ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("methods", "first", "named"),
    [
        (["GET"], "GET", None),
        (["get"], "GET", None),
        (["PUT", "PUT"], "PUT", None),
        (["HEAD", "get"], "GET,HEAD", "GET,HEAD"),
    ],
)
def test_methods_of_a_url(ssh_keys: SshKeys, methods: list[str], first: str, named: str | None) -> None:
    url = signer(ssh_keys, "ed25519").signed_url("https://h", "/a/stor/x", methods=methods, expires=1)
    asked = presigned(url, first)
    assert asked.text.split("\n")[0] == first
    assert asked.query.get("method") == named
    verify_url(ssh_keys, url, first)


@pytest.mark.parametrize(
    ("base", "sent"),
    [
        ("https://Manta.Example.COM", "https://manta.example.com"),
        ("https://h:443/", "https://h"),
        ("http://h:80", "http://h"),
        ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
        ("https://[::1]:8443", "https://[::1]:8443"),
        ("https://user:canary@h", "https://h"),
    ],
)
def test_the_host_is_signed_as_clients_send_it(ssh_keys: SshKeys, base: str, sent: str) -> None:
    url = signer(ssh_keys, "ed25519").signed_url(base, "/a/stor/x", expires=1)
    assert url.startswith(f"{sent}/a/stor/x?")
    verify_url(ssh_keys, url)


@pytest.mark.parametrize("base", ["manta.example.com", "ftp://h", "https://", ""])
def test_a_base_that_is_none(ssh_keys: SshKeys, base: str) -> None:
    with pytest.raises(UsageError, match="needs a base such as https://HOST"):
        signer(ssh_keys, "ed25519").signed_url(base, "/x", expires=1)


def verify_url(keys: SshKeys, url: str, method: str = "GET") -> None:
    asked = presigned(url, method)
    signature = base64.b64decode(asked.query["signature"])
    verify(keys["ed25519"].public, asked.query["algorithm"].lower(), signature, asked.text.encode())


def test_what_is_signed_is_told_in_one_place() -> None:
    assert presigned_string("h:1", "/a%20b", "k=v", ["HEAD", "GET"]) == b"GET,HEAD\nh:1\n/a%20b\nk=v"


@pytest.mark.parametrize(
    ("owner", "key_id"),
    [
        (KeyOwner("alice@example.com", None), "/alice@example.com/keys/"),
        (KeyOwner("alice", "a b"), "/alice/a%20b/keys/"),
        (KeyOwner('a"\r\nx: y', None), "/a%22%0D%0Ax%3A%20y/keys/"),  # ends neither the value nor the header
        (KeyOwner("a/b", None), "/a%2Fb/keys/"),
    ],
)
def test_names_in_the_key_id(ssh_keys: SshKeys, owner: KeyOwner, key_id: str) -> None:
    named = signer(ssh_keys, "ed25519", owner)
    assert named.key_id == f"{key_id}{ssh_keys['ed25519'].md5}"
    assert taken_apart(named.authorization(DATE)).key_id == named.key_id


# ---- one signature a second -----------------------------------------------------------------------


class CountingKey:
    """A key that counts what it signs, and fails while ``broken``. ``enter`` runs before each signature."""

    def __init__(self, key: LocalKey, enter: Callable[[], object] = bool) -> None:
        self.public = key.public
        self.algorithm = key.algorithm
        self.count = 0
        self.broken = False
        self._key = key
        self._enter = enter

    def sign(self, data: bytes) -> Signature:
        self._enter()
        self.count += 1
        if self.broken:
            raise StoreUnavailable(f"broken {self.count}")
        return self._key.sign(data)


def test_requests_of_one_second_share_a_signature(ssh_keys: SshKeys) -> None:
    key = CountingKey(local(ssh_keys, "p256"))  # no two of its signatures are the same
    shared = HttpSigner(key, ALICE)
    with ThreadPoolExecutor(8) as threads:
        headers = {*threads.map(lambda _: shared.authorization(DATE), range(400))}
    assert (len(headers), key.count) == (1, 1)
    assert shared.authorization("another") not in headers


def test_threads_in_different_seconds_get_their_own(ssh_keys: SshKeys) -> None:
    shared = signer(ssh_keys, "ed25519")
    dates = [f"second {number % 7}" for number in range(700)]
    with ThreadPoolExecutor(8) as threads:
        headers = [*threads.map(shared.authorization, dates)]
    for date, header in zip(dates, headers, strict=True):
        verify(ssh_keys["ed25519"].public, "ed25519-sha512", taken_apart(header).signature, f"date: {date}".encode())


def test_who_waited_for_a_key_that_failed_does_not_wait_once_more(ssh_keys: SshKeys) -> None:
    failing = threading.Event()
    key = CountingKey(local(ssh_keys, "p256"), enter=lambda: failing.wait(10))
    key.broken = True
    shared = HttpSigner(key, ALICE)

    def sign() -> str:
        with pytest.raises(StoreUnavailable) as caught:
            shared.authorization(DATE)
        return str(caught.value)

    with ThreadPoolExecutor(8) as threads:
        answers = [threads.submit(sign) for _ in range(8)]
        assert wait_until(lambda: waiting_for_their_turn() == 7, 10)
        failing.set()
        assert {answer.result() for answer in answers} == {"broken 1"}
    key.broken = False
    assert taken_apart(shared.authorization(DATE))  # the next one tries for itself
    assert key.count == 2


def waiting_for_their_turn() -> int:
    """How many threads stand at the signer's lock."""
    frames = sys._current_frames().values()
    return sum(
        frame.f_code.co_name == "authorization"
        and linecache.getline(frame.f_code.co_filename, frame.f_lineno).strip() == "with self._lock:"
        for frame in frames
    )


# ---- what an agent signed -------------------------------------------------------------------------


def rsa_blob(modulus: int) -> SshPublicKey:
    def mpint(value: int) -> bytes:
        return framed(value.to_bytes(value.bit_length() // 8 + 1, "big"))

    return SshPublicKey(framed(b"ssh-rsa") + mpint(65537) + mpint(modulus))


@pytest.mark.parametrize(
    ("name", "algorithm"),
    [(b"rsa-sha2-256", "rsa-sha256"), (b"rsa-sha2-512", "rsa-sha512"), (b"ssh-rsa", "rsa-sha1")],
)
@pytest.mark.parametrize("bits", [2048, 2047, 1024])
def test_rsa_is_as_long_as_its_modulus_and_named_by_the_hash_that_was_used(
    name: bytes, algorithm: str, bits: int
) -> None:
    key = rsa_blob((1 << bits) - 1)
    made = from_ssh(framed(name) + framed(b"\1\2\3"), key)
    assert made == (algorithm, b"\1\2\3".rjust((bits + 7) // 8, b"\0"))


@pytest.mark.parametrize(
    "signature",
    [
        b"",
        b"\0\0\0",
        framed(b"rsa-sha2-256"),
        framed(b"rsa-sha2-256") + b"\0\0\0\5abcd",
        b"\xff\xff\xff\xff" + b"x" * 100,
        framed(b"ecdsa-sha2-nistp384") + framed(framed(b"\1") + framed(b"\1")),
        framed(b"\xff\xff") + framed(b"x"),
        framed(b"ecdsa-sha2-nistp256") + framed(framed(b"\1")),
    ],
)
def test_what_is_no_signature(signature: bytes) -> None:
    with pytest.raises(ValueError, match=r"cut short|a signature of another kind"):
        from_ssh(signature, rsa_blob(255))


def test_numbers_of_ecdsa_become_der(ssh_keys: SshKeys) -> None:
    public = parse_public(ssh_keys["p256"].public.encode())
    assert public
    numbers = framed(b"\0\xff\1") + framed(b"\7")
    assert from_ssh(framed(b"ecdsa-sha2-nistp256") + framed(numbers), public) == (
        "ecdsa-sha256",
        bytes.fromhex("3008 0203 00ff01 0201 07"),
    )
