"""Keys in an ssh-agent: a real one, and one that says what it should not."""

from __future__ import annotations

import base64
import itertools
import logging
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.serialization import load_ssh_private_key

from tests.support.sshagent import ScriptedAgent, SshAgent, framed, listing, signed
from tests.support.sshkeys import SshKeys, keygen
from tests.thoth.store.signed import (
    DATE,
    judged_by_manta,
    presigned,
    url_judged_by_manta,
    verify,
    verify_date,
)
from thoth.errors import StoreUnavailable
from thoth.store.agentkeys import KeyInAgent, agent_keys
from thoth.store.publickeys import SshPublicKey, parse_public, take_string
from thoth.store.signing import HttpSigner, KeyOwner

ALICE = KeyOwner("alice", None)
ALGORITHMS = {"rsa": "rsa-sha256", "p256": "ecdsa-sha256", "p521": "ecdsa-sha512", "ed25519": "ed25519-sha512"}


def public(keys: SshKeys, kind: str) -> SshPublicKey:
    key = parse_public(keys[kind].public.encode())
    assert key
    return key


def signer(agent: SshAgent | ScriptedAgent, keys: SshKeys, kind: str = "ed25519") -> HttpSigner:
    return HttpSigner(KeyInAgent(agent.socket, public(keys, kind)), ALICE)


def failure(call: object, *arguments: object) -> str:
    assert callable(call)
    with pytest.raises(StoreUnavailable) as caught:
        call(*arguments)
    return str(caught.value)


# ---- the real one ---------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ALGORITHMS)
def test_every_kind_in_an_agent(ssh_agent: SshAgent, ssh_keys: SshKeys, kind: str) -> None:
    ssh_agent.ssh_add(ssh_keys[kind].file)
    (listed,) = agent_keys(ssh_agent.socket)
    assert (listed.md5, listed.agent_fault) == (ssh_keys[kind].md5, "")
    made = signer(ssh_agent, ssh_keys, kind)
    for number in range(20):  # the numbers of ECDSA have any length
        verify_date(made, ssh_keys[kind].public, f"{number}")
    verdict = judged_by_manta(made, ssh_keys[kind].public)
    assert verdict.verified, verdict.refused
    assert verdict.algorithm == ALGORITHMS[kind]
    url = made.signed_url("https://h:1", "/a/stor/x", methods=["GET", "HEAD"], expires=1)
    assert url_judged_by_manta(url, ssh_keys[kind].public).verified


def test_what_is_listed(ssh_agent: SshAgent, ssh_keys: SshKeys, tmp_path: Path) -> None:
    assert agent_keys(ssh_agent.socket) == []
    key = ssh_keys["rsa"].put(tmp_path / "key")
    keygen("-s", ssh_keys["ed25519"].file, "-I", "id", "-n", "root", f"{key}.pub")
    ssh_agent.ssh_add(key)
    assert ssh_agent.ssh_add("-l").count("CERT") == 1
    ssh_agent.ssh_add(ssh_keys["p384"].file)
    assert [each.md5 for each in agent_keys(ssh_agent.socket)] == [ssh_keys["rsa"].md5, ssh_keys["p384"].md5]
    verify_date(signer(ssh_agent, ssh_keys, "rsa"), ssh_keys["rsa"].public)  # with a certificate beside it


def test_a_locked_agent_lists_nothing(ssh_keys: SshKeys) -> None:
    with SshAgent(askpass="#!/bin/sh\necho sesame\n") as agent:
        agent.ssh_add(ssh_keys["ed25519"].file)
        made = signer(agent, ssh_keys)
        agent.ssh_add("-x")
        assert agent_keys(agent.socket) == []
        assert "refuses" in failure(made.authorization, DATE)
        agent.ssh_add("-X")
        verify_date(made, ssh_keys["ed25519"].public)


def test_a_key_that_somebody_has_to_confirm(ssh_agent: SshAgent, ssh_keys: SshKeys) -> None:
    ssh_agent.ssh_add("-c", ssh_keys["ed25519"].file)  # nobody does: its askpass says no
    assert failure(signer(ssh_agent, ssh_keys).authorization, DATE) == (
        f"ssh-agent at {ssh_agent.socket}: it refuses; 'ssh-add -l' lists what it holds, and a key may have to be"
        " confirmed"
    )


def test_a_key_that_is_taken_out(ssh_agent: SshAgent, ssh_keys: SshKeys) -> None:
    ssh_agent.ssh_add(ssh_keys["ed25519"].file)
    made = signer(ssh_agent, ssh_keys)
    verify_date(made, ssh_keys["ed25519"].public)
    ssh_agent.ssh_add("-D")
    assert "it refuses; 'ssh-add -l'" in failure(made.authorization, "a later date")


def test_an_agent_that_ends_and_comes_back(ssh_agent: SshAgent, ssh_keys: SshKeys) -> None:
    ssh_agent.ssh_add(ssh_keys["ed25519"].file)
    made = signer(ssh_agent, ssh_keys)
    ssh_agent.stop()
    message = f"ssh-agent at {ssh_agent.socket}: No such file or directory"
    assert failure(made.authorization, DATE) == message
    assert failure(agent_keys, ssh_agent.socket) == message
    ssh_agent.start()
    ssh_agent.ssh_add(ssh_keys["ed25519"].file)
    verify_date(made, ssh_keys["ed25519"].public)


def test_eight_threads_sign_through_one_agent(ssh_agent: SshAgent, ssh_keys: SshKeys) -> None:
    for kind in ("rsa", "p256"):
        ssh_agent.ssh_add(ssh_keys[kind].file)
    made = {kind: signer(ssh_agent, ssh_keys, kind) for kind in ("rsa", "p256")}
    barrier = threading.Barrier(8)

    def sign(number: int) -> None:
        kind = ("rsa", "p256")[number % 2]
        barrier.wait()
        for turn in range(10):
            verify_date(made[kind], ssh_keys[kind].public, f"{number}/{turn}")
            url = made[kind].signed_url("https://h", f"/a/stor/{number}/{turn}", expires=turn)
            asked = presigned(url)
            signature = base64.b64decode(asked.query["signature"])
            verify(ssh_keys[kind].public, ALGORITHMS[kind], signature, asked.text.encode())

    with ThreadPoolExecutor(8) as threads:
        assert [*threads.map(sign, range(8))] == [None] * 8


# ---- one that says what it should not -------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (None, "it closed the connection"),
        (b"\0\0\0\0", "it speaks another protocol"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "it speaks another protocol"),
        (b"\xff\xff\xff\xff" + b"x" * 100, "it speaks another protocol"),
        (framed(b"\x06"), "it does not list its keys"),
        (framed(b"\x05"), "it refuses; 'ssh-add -l' lists"),
        (framed(b"\x0c\xff\xff\xff\xff"), "cut short"),
        (framed(b"\x0c\0\0\0\2" + framed(b"x") + framed(b"")), "cut short"),
    ],
)
def test_lists_that_are_none(answer: bytes | None, said: str) -> None:
    with ScriptedAgent(lambda _: answer) as agent:
        assert failure(agent_keys, agent.socket).startswith(f"ssh-agent at {agent.socket}: {said}")


def test_a_list_whose_comments_are_not_utf8_and_whose_kinds_nobody_knows(ssh_keys: SshKeys) -> None:
    known = public(ssh_keys, "rsa")
    with ScriptedAgent(lambda _: listing(b"rubbish", framed(b"ssh-new") + b"x", known.blob)) as agent:
        assert [key.kind for key in agent_keys(agent.socket)] == ["", "ssh-new", "ssh-rsa"]


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (None, "it closed the connection"),
        (framed(b"\x05"), "it refuses"),
        (framed(b"\x0e"), "cut short"),
        (signed(b"ssh-ed448", b"x"), "a signature of another kind: b'ssh-ed448'"),
        (framed(b"\x0c"), "key cannot be used for signing"),
    ],
)
def test_signatures_that_are_none(ssh_keys: SshKeys, answer: bytes | None, said: str) -> None:
    with ScriptedAgent(lambda _: answer) as agent:
        assert f"ssh-agent at {agent.socket}: {said}" in failure(signer(agent, ssh_keys).authorization, DATE)


@pytest.mark.parametrize(
    ("name", "algorithm", "hash_made"),
    [(b"rsa-sha2-512", "rsa-sha512", hashes.SHA512()), (b"ssh-rsa", "rsa-sha1", hashes.SHA1())],
)
def test_an_agent_that_uses_another_hash_than_it_was_asked_for(
    ssh_keys: SshKeys, name: bytes, algorithm: str, hash_made: hashes.HashAlgorithm
) -> None:
    private = load_ssh_private_key(ssh_keys["rsa"].file.read_bytes(), None)
    assert isinstance(private, rsa.RSAPrivateKey)
    flags: list[bytes] = []

    def sign(request: bytes) -> bytes:
        blob, at = take_string(request, 1)
        data, at = take_string(request, at)
        assert (request[:1], blob) == (b"\x0d", public(ssh_keys, "rsa").blob)
        flags.append(request[at:])
        return signed(name, private.sign(data, padding.PKCS1v15(), hash_made))

    with ScriptedAgent(sign) as agent:
        made = signer(agent, ssh_keys, "rsa")
        assert verify_date(made, ssh_keys["rsa"].public).algorithm == algorithm
        url = made.signed_url("https://h", "/a/stor/x", expires=1)
    assert presigned(url).query["algorithm"] == algorithm.upper()
    assert url_judged_by_manta(url, ssh_keys["rsa"].public).verified
    assert {*flags} == {b"\0\0\0\2"}  # SHA-256 was asked for


def test_an_agent_that_changes_its_mind(ssh_keys: SshKeys) -> None:
    names = itertools.cycle([b"rsa-sha2-512", b"ssh-rsa"])
    with ScriptedAgent(lambda _: signed(next(names), b"x")) as agent:
        made = signer(agent, ssh_keys, "rsa")
        with pytest.raises(StoreUnavailable, match=f"^key {made.key_id}: ssh-agent signs in another way each time;"):
            made.signed_url("https://h", "/a/stor/x", expires=1)


def test_an_agent_that_hangs_keeps_eight_threads_as_long_as_one(
    ssh_keys: SshKeys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("thoth.store.agentkeys._SIGNED", 0.5)
    over = threading.Event()
    with ScriptedAgent(lambda _: b"" if over.wait(10) else None) as agent, ThreadPoolExecutor(8) as threads:
        made = signer(agent, ssh_keys)
        barrier = threading.Barrier(8)

        def sign(_: int) -> str:
            barrier.wait()
            return failure(made.authorization, DATE)

        assert {*threads.map(sign, range(8))} == {f"ssh-agent at {agent.socket}: no answer within 0.5 s"}
        over.set()
        assert agent.connections == 1


@pytest.mark.parametrize("path", ["/nowhere/at/all", "", "/" + "x" * 200, "a\0b"])
def test_no_agent(path: str) -> None:
    assert failure(agent_keys, path).startswith(f"ssh-agent at {path}: ")


def test_paramiko_says_nothing_of_its_own(ssh_keys: SshKeys, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with ScriptedAgent(lambda _: listing(framed(b"ssh-new") + b"x")) as agent:
        agent_keys(agent.socket)
    assert not caplog.records
