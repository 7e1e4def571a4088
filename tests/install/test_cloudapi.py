"""The key among those of an account, against a server that verifies signatures."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support import releases
from tests.support.cloudapi_server import CloudApiServer, cloudapi

PROGRAM = releases.TOP / "install/cloudapi.py"
NAME = "thoth-east-1"
Ask = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The operator's key in a home directory, and two that are to be registered."""
    home = tmp_path_factory.mktemp("home")
    (home / ".ssh").mkdir()
    made = {"home": home}
    for name, kind in (("operator", "ed25519"), ("one", "ed25519"), ("two", "ecdsa"), ("rsa", "rsa")):
        folder = home / ".ssh" if name == "operator" else home
        made[name] = folder / f"id_{name}"
        subprocess.run(["ssh-keygen", "-q", "-t", kind, "-N", "", "-C", name, "-f", made[name]], check=True)
    return made


def public(key: Path) -> str:
    return key.with_name(f"{key.name}.pub").read_text().strip()


def sum_of(key: Path) -> str:
    """As people give a key's id."""
    done = subprocess.run(["ssh-keygen", "-E", "md5", "-lf", key], capture_output=True, text=True, check=True)
    return done.stdout.split()[1].removeprefix("MD5:")


@pytest.fixture
def server(keys: dict[str, Path], tmp_path: Path) -> Iterator[CloudApiServer]:
    with cloudapi(tmp_path, "ops", public(keys["operator"])) as made:
        yield made


@pytest.fixture
def ask(server: CloudApiServer, keys: dict[str, Path]) -> Ask:
    def ask(*words: str, stdin: str = "", ca: bool = True, **env: str) -> subprocess.CompletedProcess[str]:
        told = {"SDC_URL": server.url, "SDC_ACCOUNT": "ops", "SDC_KEY_ID": sum_of(keys["operator"])}
        return subprocess.run(
            [sys.executable, "-I", str(PROGRAM), *(["--ca", str(server.ca)] if ca else []), *words],
            input=stdin, capture_output=True, text=True, check=False, timeout=30,
            env={"HOME": str(keys["home"]), "PATH": os.defpath, **told, **env},
        )  # fmt: skip

    return ask


def test_a_key_comes_and_goes(ask: Ask, server: CloudApiServer, keys: dict[str, Path]) -> None:
    one, two = public(keys["one"]), public(keys["two"])
    assert ask("look", NAME, stdin=one).stdout == "absent\n"
    assert ask("add", NAME, stdin=one).returncode == 0
    assert server.keys[NAME].split()[:2] == one.split()[:2]
    assert ask("look", NAME, stdin=one).stdout == "present\n"
    assert ask("look", NAME, stdin=two).stdout == "other\n"
    assert ask("get", NAME).stdout.split() == one.split()[:2]
    refused = ask("add", NAME, stdin=two)
    assert refused.returncode == 1 and "409 InvalidArgument: thoth-east-1 already exists" in refused.stderr
    assert ask("remove", NAME).returncode == 0 and list(server.keys) == ["operator"]
    assert ask("remove", NAME).returncode == 0


def test_newer_names_win(ask: Ask, server: CloudApiServer) -> None:
    done = ask(
        "look", NAME, stdin="x y", SDC_URL="https://127.0.0.1:1", SDC_ACCOUNT="other", TRITON_URL=server.url,
        TRITON_ACCOUNT="ops",
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "absent\n"), done.stderr


def test_an_rsa_key_signs_too(keys: dict[str, Path], tmp_path: Path, ask: Ask) -> None:
    with cloudapi(tmp_path, "ops", public(keys["rsa"])) as other:
        done = ask("look", NAME, ca=False, SDC_URL=other.url, SDC_KEY_ID=str(keys["rsa"]), stdin="x y")
        assert done.returncode == 1  # another certificate
        command = [sys.executable, "-I", str(PROGRAM), "--ca", str(other.ca), "look", NAME]
        env = {"HOME": "/", "SDC_URL": other.url, "SDC_ACCOUNT": "ops", "SDC_KEY_ID": str(keys["rsa"])}
        done = subprocess.run(command, input="x y", capture_output=True, text=True, check=False, env=env)
    assert (done.returncode, done.stdout) == (0, "absent\n"), done.stderr


@pytest.mark.parametrize(
    ("changed", "because"),
    [
        ({"SDC_ACCOUNT": "else"}, "401 InvalidCredentials"),
        ({"SDC_URL": "https://127.0.0.1:1"}, "cannot be reached"),
        ({"SDC_URL": "http://127.0.0.1:1"}, "not an https address"),
        ({"SDC_URL": ""}, "SDC_URL: not set, nor is TRITON_URL"),
        ({"SDC_KEY_ID": ":".join(["00"] * 16)}, "SDC_KEY_ID"),
        ({"SDC_KEY_ID": "KEY"}, "401 InvalidCredentials"),
    ],
)
def test_refusals(changed: dict[str, str], because: str, ask: Ask, keys: dict[str, Path]) -> None:
    done = ask(
        "look", NAME, stdin="x y", **{name: value.replace("KEY", str(keys["one"])) for name, value in changed.items()}
    )
    assert (done.returncode, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    assert because in line


def test_a_certificate_that_nobody_vouches_for(ask: Ask, server: CloudApiServer) -> None:
    done = ask("look", NAME, stdin="x y", ca=False, SDC_TESTING="1", TRITON_TLS_INSECURE="1")
    assert done.returncode == 1 and "name that with --ca" in done.stderr
    assert server.asked == []


def test_a_server_that_is_down(ask: Ask, server: CloudApiServer) -> None:
    server.failing = "GET"
    done = ask("look", NAME, stdin="x y")
    assert done.returncode == 1 and "503 ServiceUnavailable: down for maintenance" in done.stderr
