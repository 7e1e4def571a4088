"""Which key is found where, what is asked of whom, and what is said when there is none."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import traceback
from pathlib import Path

import pytest

from tests.support.sshagent import SshAgent
from tests.support.sshkeys import FORMS, PASSPHRASE, SshKeys
from tests.thoth.store.signed import judged_by_manta, verify_date
from thoth.errors import UsageError
from thoth.store.keys import KeyOwner, KeyPlaces, Signer, find_signer

ALICE = KeyOwner("alice", None)
NO_AGENT = "there is no ssh-agent (SSH_AUTH_SOCK is not set)"


class Asked:
    """Answers each question with the next of ``answers``; EOFError once there are none."""

    def __init__(self, *answers: str) -> None:
        self._answers = [*answers]
        self.prompts: list[str] = []

    def __call__(self, prompt: str) -> str:
        self.prompts.append(prompt)
        if not self._answers:
            raise EOFError
        return self._answers.pop(0)


def find(
    key_id: str, home: Path | None, agent: SshAgent | None = None, ask: Asked | None = None, owner: KeyOwner = ALICE
) -> Signer:
    return find_signer(owner, key_id, places=KeyPlaces(home, agent.socket if agent else None), ask=ask)


def refusal(key_id: str, home: Path | None, agent: SshAgent | None = None, ask: Asked | None = None) -> str:
    with pytest.raises(UsageError) as caught:
        find(key_id, home, agent, ask)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# ---- by fingerprint -------------------------------------------------------------------------------


def test_every_form_of_a_fingerprint_and_md5_on_the_wire(ssh_keys: SshKeys, home: Path) -> None:
    key = ssh_keys["ed25519"]
    key.put(home / ".ssh" / "id_ed25519")
    ssh_keys["p256"].put(home / ".ssh" / "id_ecdsa")
    for key_id in (key.md5, f"MD5:{key.md5}", key.md5.upper(), key.sha256, f"{key.sha256}="):
        found = find(key_id, home)
        assert found.key_id == f"/alice/keys/{key.md5}"
        verify_date(found, key.public)
    assert find(key.md5, home, owner=KeyOwner("alice", "bob")).key_id == f"/alice/bob/keys/{key.md5}"


@pytest.mark.parametrize("sealed", [False, True], ids=["plain", "sealed"])
@pytest.mark.parametrize(("kind", "form"), FORMS)
def test_every_kind_and_form_signs(ssh_keys: SshKeys, home: Path, kind: str, form: str, sealed: bool) -> None:
    ssh_keys[kind].put(home / ".ssh" / "manta", form, PASSPHRASE if sealed else "")
    ask = Asked(PASSPHRASE)
    found = find(ssh_keys[kind].md5, home, ask=ask)
    verify_date(found, ssh_keys[kind].public)
    assert ask.prompts == ([f"Passphrase for {home}/.ssh/manta: "] if sealed else [])


@pytest.mark.parametrize(("kind", "form"), [("rsa", "pem"), ("ed25519", "pkcs8")])
def test_http_signature_verifies_what_a_sealed_file_signs(
    ssh_keys: SshKeys, home: Path, kind: str, form: str
) -> None:
    ssh_keys[kind].put(home / ".ssh" / "id_x", form, PASSPHRASE)
    verdict = judged_by_manta(find(ssh_keys[kind].sha256, home, ask=Asked(PASSPHRASE)), ssh_keys[kind].public)
    assert verdict.verified, verdict.refused


# ---- by file --------------------------------------------------------------------------------------


def test_a_file_by_its_path(ssh_keys: SshKeys, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    key = ssh_keys["ed25519"]
    path = key.put(home / "key", public=False)
    monkeypatch.chdir(home)
    for key_id in (str(path), "~/key", "./key", "key"):
        verify_date(find(key_id, home), key.public)
    verify_date(find(str(path), None), key.public)
    assert refusal(str(tmp_path / "none"), home) == f"key {tmp_path}/none: No such file or directory"
    assert refusal("~/none", home) == f"key {home}/none: No such file or directory"
    (home / "text").write_text("hello")
    assert refusal("text", home) == "key text: not a private key in OpenSSH's format or PEM"


def test_a_sealed_file_by_its_path(ssh_keys: SshKeys, home: Path, ssh_agent: SshAgent) -> None:
    key = ssh_keys["rsa"]
    told = key.put(home / "told", "pem", PASSPHRASE)
    untold = key.put(home / "untold", "pem", PASSPHRASE, public=False)
    for path in (told, untold):
        verify_date(find(str(path), home, ssh_agent, Asked(PASSPHRASE)), key.public)
    ssh_agent.ssh_add(key.file)
    verify_date(find(str(told), home, ssh_agent), key.public)  # by the agent: nobody is asked
    assert refusal(str(untold), home, ssh_agent) == (
        f"key {untold}: has a passphrase, and there is no terminal to ask for it; give it a public half (ssh-keygen"
        f" -yf {untold} > {untold}.pub) and load it into ssh-agent (ssh-add {untold})"
    )
    untold.chmod(0o644)
    assert "others may use it" in refusal(str(untold), home, ssh_agent, Asked(PASSPHRASE))


def test_a_public_half_by_its_path(ssh_keys: SshKeys, home: Path, ssh_agent: SshAgent) -> None:
    key = ssh_keys["ed25519"]
    path = key.put(home / "key")
    verify_date(find(f"{path}.pub", home), key.public)
    path.unlink()
    assert "only the public half is there" in refusal(f"{path}.pub", home, ssh_agent)
    ssh_agent.ssh_add(key.file)
    verify_date(find(f"{path}.pub", home, ssh_agent), key.public)


# ---- files and the agent --------------------------------------------------------------------------


def test_a_file_without_passphrase_goes_first_and_the_agent_is_not_asked(
    ssh_keys: SshKeys, home: Path, ssh_agent: SshAgent
) -> None:
    key = ssh_keys["ed25519"]
    key.put(home / ".ssh" / "key")
    ssh_agent.ssh_add(key.file)
    found = find(key.md5, home, ssh_agent)
    ssh_agent.stop()
    verify_date(found, key.public)


def test_what_the_agent_holds_needs_no_passphrase(ssh_keys: SshKeys, home: Path, ssh_agent: SshAgent) -> None:
    for kind in ("ed25519", "rsa", "p521"):
        key = ssh_keys[kind]
        key.put(home / ".ssh" / kind, "openssh", PASSPHRASE)
        ssh_agent.ssh_add(key.file)
        verify_date(find(key.md5, home, ssh_agent), key.public)
    shutil.rmtree(home / ".ssh")
    verify_date(find(key.sha256, home, ssh_agent), key.public)
    verify_date(find(key.sha256, None, ssh_agent), key.public)


def test_p384_is_signed_with_a_file_although_the_agent_holds_it(
    ssh_keys: SshKeys, home: Path, ssh_agent: SshAgent
) -> None:
    key = ssh_keys["p384"]
    ssh_agent.ssh_add(key.file)
    why = (
        "is an ECDSA P-384 key, with which ssh-agent signs SHA-384, and Manta's servers know no SHA-384; use it from"
        " a file, or use an ed25519, RSA, P-256 or P-521 key"
    )
    assert refusal(key.md5, home, ssh_agent) == f"MANTA_KEY_ID MD5:{key.md5}: {why}"
    path = key.put(home / ".ssh" / "key", "openssh", PASSPHRASE)
    assert verify_date(find(key.md5, home, ssh_agent, Asked(PASSPHRASE)), key.public).algorithm == "ecdsa-sha256"
    assert refusal(key.md5, home, ssh_agent) == (
        f"key {path}: has a passphrase, and there is no terminal to ask for it; the key {why}; 1 key in ssh-agent"
    )


def test_an_open_file_is_not_used_and_the_agent_may(ssh_keys: SshKeys, home: Path, ssh_agent: SshAgent) -> None:
    key = ssh_keys["ed25519"]
    path = key.put(home / ".ssh" / "key")
    path.chmod(0o644)
    assert refusal(key.md5, home, ssh_agent) == f"key {path}: others may use it (mode 0644); run: chmod 600 {path}"
    ssh_agent.ssh_add(key.file)
    verify_date(find(key.md5, home, ssh_agent), key.public)


# ---- passphrases ----------------------------------------------------------------------------------


def test_three_tries(ssh_keys: SshKeys, home: Path) -> None:
    key = ssh_keys["ed25519"]
    path = key.put(home / ".ssh" / "key", "openssh", PASSPHRASE)
    third = Asked("wrong", "", PASSPHRASE)
    verify_date(find(key.md5, home, ask=third), key.public)
    assert third.prompts == [f"Passphrase for {path}: "] * 3
    never = Asked("wrong", "wrong", "wrong", PASSPHRASE)
    assert refusal(key.md5, home, ask=never) == (
        f"key {path}: none of 3 passphrases opens it; try: ssh-keygen -yf {path}"
    )
    assert len(never.prompts) == 3
    assert refusal(key.md5, home, ask=Asked("wrong")) == f"key {path}: has a passphrase, and none was given"


def test_no_terminal(ssh_keys: SshKeys, home: Path, ssh_agent: SshAgent) -> None:
    key = ssh_keys["ed25519"]
    path = key.put(home / ".ssh" / "key", "openssh", PASSPHRASE)
    line = (
        f"key {path}: has a passphrase, and there is no terminal to ask for it; load it into ssh-agent (ssh-add"
        f" {path}); "
    )
    assert refusal(key.md5, home) == line + NO_AGENT
    assert refusal(key.md5, home, ssh_agent) == line + "no keys in ssh-agent"
    ssh_agent.stop()
    assert refusal(key.md5, home, ssh_agent) == (line + f"ssh-agent at {ssh_agent.socket}: No such file or directory")


def test_no_secret_in_what_is_said_or_shown(ssh_keys: SshKeys, home: Path) -> None:
    key = ssh_keys["rsa"]
    key.put(home / ".ssh" / "key", "pkcs8", PASSPHRASE)
    with pytest.raises(UsageError) as caught:
        find(key.md5, home, ask=Asked(*[f"{PASSPHRASE}!"] * 3))
    found = find(key.md5, home, ask=Asked(PASSPHRASE))
    shown = "".join(traceback.format_exception(caught.value)) + repr(caught.value) + repr(found) + repr(vars(found))
    assert "canary" not in shown
    assert "PRIVATE" not in shown


# ---- none -----------------------------------------------------------------------------------------


def test_no_such_key(ssh_keys: SshKeys, home: Path, ssh_agent: SshAgent) -> None:
    wanted = ssh_keys["rsa"]
    ssh_keys["ed25519"].put(home / ".ssh" / "id_ed25519")
    ssh_keys["p256"].put(home / ".ssh" / "id_ecdsa", "openssh", PASSPHRASE)
    md5 = (
        f"MANTA_KEY_ID MD5:{wanted.md5}: no key has this fingerprint: 2 keys in {home}/.ssh, %s; load it into"
        " ssh-agent (ssh-add FILE), or look which it is: ssh-keygen -E md5 -lf FILE"
    )
    assert refusal(wanted.md5, home) == md5 % NO_AGENT
    assert refusal(wanted.md5, home, ssh_agent) == md5 % "no keys in ssh-agent"
    ssh_agent.ssh_add(ssh_keys["p521"].file)
    assert refusal(wanted.md5, home, ssh_agent) == md5 % "1 key in ssh-agent"
    assert refusal(wanted.sha256, None) == (
        f"MANTA_KEY_ID {wanted.sha256}: no key has this fingerprint: there is no home directory, {NO_AGENT}; load it"
        " into ssh-agent (ssh-add FILE), or look which it is: ssh-keygen -E sha256 -lf FILE"
    )
    ssh_agent.stop()
    gone = f"ssh-agent at {ssh_agent.socket}: No such file or directory"
    assert refusal(wanted.md5, home, ssh_agent) == md5 % gone


def test_files_that_do_not_tell_are_named(ssh_keys: SshKeys, home: Path) -> None:
    path = ssh_keys["rsa"].put(home / ".ssh" / "sdc.id_rsa", "pem", PASSPHRASE, public=False)
    os.mkfifo(home / ".ssh" / "id_pipe")
    line = refusal(ssh_keys["rsa"].md5, home, ask=Asked(PASSPHRASE))
    assert f"no keys in {home}/.ssh, {NO_AGENT}; key {home}/.ssh/id_pipe: not a regular file; " in line
    assert f"; key {path}: has a passphrase and no {path}.pub; run: ssh-keygen -yf {path} > {path}.pub; load" in line


def test_only_the_public_half(ssh_keys: SshKeys, home: Path) -> None:
    key = ssh_keys["ed25519"]
    pub = home / ".ssh" / "sdc.id_x.pub"
    pub.write_text(key.public)
    assert refusal(key.md5, home) == (
        f"MANTA_KEY_ID MD5:{key.md5}: only the public half is there, {pub}: put the private one beside it, as"
        f" {home}/.ssh/sdc.id_x, or into ssh-agent (ssh-add FILE); {NO_AGENT}"
    )


@pytest.mark.parametrize("sealed", ["", PASSPHRASE], ids=["plain", "sealed"])
def test_a_public_half_of_another_key(ssh_keys: SshKeys, home: Path, sealed: str) -> None:
    path = ssh_keys["rsa"].put(home / ".ssh" / "key", "pem", sealed)
    (home / ".ssh" / "key.pub").write_text(ssh_keys["ed25519"].public)
    assert refusal(ssh_keys["ed25519"].md5, home, ask=Asked(PASSPHRASE)) == (
        f"key {path}: {path}.pub is not its public half; run: ssh-keygen -yf {path} > {path}.pub"
    )


@pytest.mark.parametrize(
    "key_id", ["", "id_none", "SHA1:canary", "~/canary", "b3BlbnNzaC1rZXkt/canary", "x" * 5000, "a\0b"]
)
def test_what_names_no_key(key_id: str) -> None:
    line = refusal(key_id, None)
    assert line.startswith("MANTA_KEY_ID: neither a fingerprint (16 pairs of hex digits")
    assert "canary" not in line


def test_the_setting_is_named_as_its_user_knows_it(home: Path) -> None:
    with pytest.raises(UsageError, match=r"^SDC_KEY_ID: not a whole fingerprint"):
        find_signer(ALICE, "aa:bb", places=KeyPlaces(home, None), ask=None, setting="SDC_KEY_ID")


# ---- start-up -------------------------------------------------------------------------------------


def test_a_key_in_a_file_costs_no_paramiko(ssh_keys: SshKeys, home: Path, ssh_agent: SshAgent) -> None:
    ssh_keys["rsa"].put(home / ".ssh" / "id_rsa")
    program = (
        "import sys; from pathlib import Path; from thoth.store.keys import *;"
        "key_id, home, agent = sys.argv[1:];"
        "signer = find_signer(KeyOwner('a', None), key_id, places=KeyPlaces(Path(home), agent), ask=None);"
        "print(signer.key_id, *sorted(sys.modules))"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program, ssh_keys["rsa"].md5, home, ssh_agent.socket],
        capture_output=True,
        text=True,
        check=True,
    )
    key_id, *modules = ran.stdout.split()
    assert key_id == f"/a/keys/{ssh_keys['rsa'].md5}"
    assert not {"paramiko", "requests", "socket", "logging"} & {*modules}
