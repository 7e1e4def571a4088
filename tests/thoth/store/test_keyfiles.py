"""Private keys in files: each form that ssh-keygen writes, and what else lies in a directory of keys."""

from __future__ import annotations

import base64
import os
import subprocess
import traceback
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import dsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from tests.support.processes import process, wait_until
from tests.support.sshagent import framed
from tests.support.sshkeys import FORMS, PASSPHRASE, SshKeys, keygen
from thoth.errors import UsageError
from thoth.store.keyfiles import NeedsPassphrase, WrongPassphrase, look_through, read_key_file


@pytest.mark.parametrize("sealed", [False, True], ids=["plain", "sealed"])
@pytest.mark.parametrize(("kind", "form"), FORMS)
def test_every_form_of_every_kind(ssh_keys: SshKeys, tmp_path: Path, kind: str, form: str, sealed: bool) -> None:
    key = ssh_keys[kind]
    path = key.put(tmp_path / "key", form, PASSPHRASE if sealed else "", public=False)
    assert (b"OPENSSH" in path.read_bytes()) == (form == "openssh")
    file = read_key_file(path)
    if sealed:
        assert (file.public is None) == (form != "openssh")  # which has the public half in the clear
        with pytest.raises(NeedsPassphrase):
            file.opened()
        for wrong in ("wrong", "", PASSPHRASE + " "):
            with pytest.raises(WrongPassphrase):
                file.opened(wrong)
        opened = file.opened(PASSPHRASE)
    else:
        opened = file.opened()
        assert file.public == opened.public
    assert opened.public.md5 == key.md5
    assert file.fault == ""


@pytest.mark.parametrize("cipher", ["aes256-gcm@openssh.com", "aes256-cbc"])
def test_ciphers_of_openssh(ssh_keys: SshKeys, tmp_path: Path, cipher: str) -> None:
    path = ssh_keys["ed25519"].put(tmp_path / "key")
    keygen("-p", "-a", "1", "-Z", cipher, "-P", "", "-N", PASSPHRASE, "-f", path)
    file = read_key_file(path)
    with pytest.raises(WrongPassphrase):
        file.opened("wrong")
    assert file.opened(PASSPHRASE).public == file.public


def test_a_cipher_that_is_not_supported(ssh_keys: SshKeys, tmp_path: Path) -> None:
    path = ssh_keys["ed25519"].put(tmp_path / "key")
    keygen("-p", "-a", "1", "-Z", "chacha20-poly1305@openssh.com", "-P", "", "-N", PASSPHRASE, "-f", path)
    with pytest.raises(UsageError, match=rf"^key {path}: its kind or its cipher .*ssh-keygen -p -Z aes256-ctr"):
        read_key_file(path).opened()


def test_the_public_half_beside_a_sealed_pem(ssh_keys: SshKeys, tmp_path: Path) -> None:
    file = read_key_file(ssh_keys["rsa"].put(tmp_path / "key", "pem", PASSPHRASE))
    assert file.public
    assert file.public.md5 == ssh_keys["rsa"].md5


# ---- files that are not used ----------------------------------------------------------------------


def refused(path: Path) -> str:
    with pytest.raises(UsageError) as caught:
        read_key_file(path)
    assert str(caught.value).startswith(f"key {path}: ")
    return str(caught.value).removeprefix(f"key {path}: ")


def test_what_is_no_key(ssh_keys: SshKeys, tmp_path: Path) -> None:
    path = tmp_path / "key"
    assert refused(path) == "No such file or directory"
    for text in (b"", b"hello", b"-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n-----END OPENSSH PRIVATE KEY-----\n"):
        path.write_bytes(text)
        assert refused(path) == "not a private key in OpenSSH's format or PEM"
    whole = ssh_keys["rsa"].file.read_bytes()
    path.write_bytes(whole[:200] + b"!" + whole[300:])
    with pytest.raises(UsageError, match="not a private key"):
        read_key_file(path).opened()
    with path.open("wb") as file:
        file.truncate(128 << 10)
    assert refused(path) == "larger than a key can be (over 131071 bytes)"
    assert refused(Path(f"{tmp_path}/\0")) == "not a file name"


def test_only_regular_files_are_opened(tmp_path: Path) -> None:
    pipe, folder, link = tmp_path / "pipe", tmp_path / "folder", tmp_path / "link"
    os.mkfifo(pipe)
    folder.mkdir()
    link.symlink_to("/dev/zero")
    for path in (pipe, folder, link):
        assert refused(path) == "not a regular file"


def test_who_waits_at_a_fifo_is_not_let_go(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "id_pipe")
    writer = subprocess.Popen(["/bin/sh", "-c", 'exec >"$1"', "sh", tmp_path / "id_pipe"])
    try:
        assert wait_until(lambda: (found := process(writer.pid)) is not None and found.state == "S", 10)
        assert look_through(tmp_path).unread == (f"key {tmp_path}/id_pipe: not a regular file",)
        with pytest.raises(subprocess.TimeoutExpired):
            writer.wait(0.2)
    finally:
        writer.kill()
        writer.wait()


def test_a_link_is_followed(ssh_keys: SshKeys, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(ssh_keys["ed25519"].file)
    assert read_key_file(tmp_path / "link").opened().public.md5 == ssh_keys["ed25519"].md5


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o620, 0o601])
def test_a_file_that_is_open_to_others(ssh_keys: SshKeys, tmp_path: Path, mode: int) -> None:
    path = ssh_keys["ed25519"].put(tmp_path / "key")
    path.chmod(mode)
    assert read_key_file(path).fault == f"key {path}: others may use it (mode {mode:04o}); run: chmod 600 {path}"


def test_a_file_of_somebody_elses_is_as_it_is(ssh_keys: SshKeys, tmp_path: Path) -> None:
    path = ssh_keys["ed25519"].put(tmp_path / "key")
    os.chown(path, 12345, -1)
    path.chmod(0o644)
    assert read_key_file(path).fault == ""


DSA_FAULT = "is a DSA key, which SSH itself has given up; use an ed25519, ECDSA or RSA key"


@pytest.mark.parametrize("form", [PrivateFormat.TraditionalOpenSSL, PrivateFormat.PKCS8], ids=["pem", "pkcs8"])
def test_a_dsa_key_in_pem(tmp_path: Path, form: PrivateFormat) -> None:
    path = tmp_path / "key"
    path.write_bytes(dsa.generate_private_key(1024).private_bytes(Encoding.PEM, form, NoEncryption()))
    assert refused(path) == DSA_FAULT


@pytest.mark.parametrize(
    ("kind", "fault"),
    [
        (b"ssh-dss", DSA_FAULT),
        (
            b"sk-ssh-ed25519@openssh.com",
            "lies on a security key, whose signatures no server of Manta can check; use another key",
        ),
    ],
)
def test_a_kind_in_openssh_form_that_cannot_be_used(tmp_path: Path, kind: bytes, fault: str) -> None:
    path = tmp_path / "key"
    clear = b"openssh-key-v1\0" + framed(b"none") * 2 + framed(b"") + b"\0\0\0\1" + framed(framed(kind))
    body = base64.b64encode(clear).decode()
    path.write_text(f"-----BEGIN OPENSSH PRIVATE KEY-----\n{body}\n-----END OPENSSH PRIVATE KEY-----\n")
    assert read_key_file(path).fault == f"key {path}: {fault}"


# ---- a directory ----------------------------------------------------------------------------------


def test_which_files_of_a_directory_are_looked_into(ssh_keys: SshKeys, tmp_path: Path) -> None:
    ed, rsa, p256 = (ssh_keys[kind] for kind in ("ed25519", "rsa", "p256"))
    ed.put(tmp_path / "work")
    rsa.put(tmp_path / "sdc.id_rsa", "pem", public=False)
    p256.put(tmp_path / "my_id_ecdsa", public=False)
    p256.put(tmp_path / "grid_ecdsa", public=False)  # not at a word's start
    p256.put(tmp_path / "other", public=False)  # not called like a key
    (tmp_path / "lone.pub").write_text(rsa.public)
    (tmp_path / "id_ed25519-cert.pub").write_text("ssh-ed25519-cert-v01@openssh.com " + "AAAA" * 5)
    (tmp_path / "rubbish.pub").write_text("rubbish")
    (tmp_path / "large.pub").write_text(rsa.public + " " * (64 << 10))
    rsa.put(tmp_path / "id_sealed", "pem", PASSPHRASE, public=False)
    os.mkfifo(tmp_path / "id_pipe")
    (tmp_path / "id_gone").symlink_to("nowhere")
    found = look_through(tmp_path)
    assert [key.path.name for key in found.keys] == ["my_id_ecdsa", "sdc.id_rsa", "work"]
    assert [path.name for path, _ in found.lone] == ["lone.pub"]
    assert found.known == 4
    sealed = tmp_path / "id_sealed"
    assert found.unread == (
        f"key {tmp_path}/id_gone: No such file or directory",
        f"key {tmp_path}/id_pipe: not a regular file",
        f"key {sealed}: has a passphrase and no {sealed}.pub; run: ssh-keygen -yf {sealed} > {sealed}.pub",
        f"key {tmp_path}/large.pub: larger than a key can be (over 65535 bytes)",
    )


def test_no_directory(tmp_path: Path) -> None:
    assert look_through(tmp_path / "none").known == 0
    (tmp_path / "file").touch()
    assert look_through(tmp_path / "file").unread == (f"{tmp_path}/file: Not a directory",)


# ---- secrets --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "form"), [("rsa", "openssh"), ("rsa", "pem"), ("ed25519", "pkcs8")])
def test_no_secret_is_shown(ssh_keys: SshKeys, tmp_path: Path, kind: str, form: str) -> None:
    plain = read_key_file(ssh_keys[kind].put(tmp_path / "plain", form))
    sealed = read_key_file(ssh_keys[kind].put(tmp_path / "sealed", form, PASSPHRASE))
    errors: list[BaseException] = []
    for passphrase in (f"{PASSPHRASE}!", f"{PASSPHRASE}\ud800"):  # the latter is not even text
        with pytest.raises(WrongPassphrase) as caught:
            sealed.opened(passphrase)
        errors.append(caught.value)
    shown = "".join("".join(traceback.format_exception(error)) for error in errors)
    shown += repr(plain) + repr(sealed) + repr(look_through(tmp_path)) + repr(plain.opened()) + repr(errors)
    assert "canary" not in shown
    for line in (*plain.data.decode().split("\n"), *sealed.data.decode().split("\n")):
        assert len(line) < 20 or "-----" in line or line not in shown
