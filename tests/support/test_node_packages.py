"""The npm packages, and what http-signature says of signatures made by cryptography."""

from __future__ import annotations

import base64
import json
import re
from email.utils import formatdate
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa

from tests.support import node_packages
from tests.support.http_signature import verify_text_with_http_signature, verify_with_http_signature
from tests.support.node_packages import HERE, MissingNodePackage, node_modules, node_package

KEY_ID = "/alice/keys/3d:ba:35:d8:54:d0:90:10:fc:fc:53:f1:5e:9a:7c:34"


@pytest.fixture(scope="module")
def rsa_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, 2048)


def pem(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) -> str:
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return key.public_key().public_bytes(serialization.Encoding.PEM, form).decode()


def signed(key: rsa.RSAPrivateKey, date: str) -> dict[str, str]:
    signature = base64.b64encode(key.sign(f"date: {date}".encode(), padding.PKCS1v15(), hashes.SHA256())).decode()
    value = f'Signature keyId="{KEY_ID}",algorithm="rsa-sha256",headers="date",signature="{signature}"'
    return {"Date": date, "Authorization": value}


def test_the_packages_have_the_versions_that_are_asked_for() -> None:
    wanted = json.loads((HERE / "package.json").read_text())["dependencies"]
    for name, version in wanted.items():
        assert json.loads((node_package(name) / "package.json").read_text())["version"] == version


def test_the_lock_file_names_no_host() -> None:
    assert not re.search(r'://|"resolved"', (HERE / "package-lock.json").read_text())


def test_a_package_that_nobody_lists() -> None:
    with pytest.raises(
        MissingNodePackage, match=r"left-pad is not among the packages of .*package.json: add it there"
    ):
        node_package("left-pad")


def test_without_npm_one_line_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(node_packages, "_AT_START", {"PATH": str(tmp_path)})
    with pytest.raises(MissingNodePackage, match=r"^node and npm not installed: run tests/system-packages$"):
        node_modules(tmp_path / "new")


def test_a_failed_installation_is_named_and_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("node", "npm"):
        (tmp_path / name).write_text("#!/bin/sh\necho 'npm error network unreachable' >&2\nexit 7\n")
        (tmp_path / name).chmod(0o755)
    with monkeypatch.context() as patch:
        patch.setattr(node_packages, "_AT_START", {"PATH": str(tmp_path)})
        for _ in range(2):
            with pytest.raises(MissingNodePackage, match=r"^npm ci in .*/new failed: npm error network unreachable$"):
                node_modules(tmp_path / "new")


def test_a_signed_request(rsa_key: rsa.RSAPrivateKey) -> None:
    headers = signed(rsa_key, formatdate(usegmt=True))
    verdict = verify_with_http_signature("GET", "/alice/stor", headers, pem(rsa_key))
    assert verdict.verified, verdict.refused
    assert (verdict.key_id, verdict.algorithm) == (KEY_ID, "rsa-sha256")
    assert verdict.signing_string == f"date: {headers['Date']}"


def test_another_key(rsa_key: rsa.RSAPrivateKey) -> None:
    other = rsa.generate_private_key(65537, 2048)
    verdict = verify_with_http_signature("GET", "/", signed(rsa_key, formatdate(usegmt=True)), pem(other))
    assert (verdict.verified, verdict.refused) == (False, "")


def test_an_old_date(rsa_key: rsa.RSAPrivateKey) -> None:
    headers = signed(rsa_key, "Thu, 01 Jan 2026 00:00:00 GMT")
    verdict = verify_with_http_signature("GET", "/", headers, pem(rsa_key))
    assert not verdict.verified and "clock skew" in verdict.refused
    assert verify_with_http_signature("GET", "/", headers, pem(rsa_key), clock_skew=1e10).verified


def test_a_signed_text() -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    signature = base64.b64encode(key.sign(b"GET\nhost", ec.ECDSA(hashes.SHA256()))).decode()
    assert verify_text_with_http_signature("GET\nhost", signature, "ECDSA-SHA256", pem(key)).verified
    assert not verify_text_with_http_signature("PUT\nhost", signature, "ECDSA-SHA256", pem(key)).verified


def test_an_ed25519_key() -> None:
    key = ed25519.Ed25519PrivateKey.generate()
    openssh = key.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    signature = base64.b64encode(key.sign(b"text")).decode()
    verdict = verify_text_with_http_signature("text", signature, "ed25519-sha512", openssh.decode())
    assert verdict.verified, verdict.refused
