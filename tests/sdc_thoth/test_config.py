"""F57 and what the settings are when files are right."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from sdc_thoth.config import Settings, load_settings
from sdc_thoth.inventory import Node, select
from thoth import UsageError

UUID = "7b0f3a5e-54a2-5b53-9c2e-0d6a3b1f7c11"
NODE = '[[node]]\nname = "cn0"\n'


def load(tmp_path: Path, text: str | bytes, inventory: str | None = None) -> Settings:
    file = tmp_path / "fleet.toml"
    file.write_bytes(text.encode() if isinstance(text, str) else text)
    if inventory is not None:
        (tmp_path / "inventory.toml").write_text(inventory)
        inventory = str(tmp_path / "inventory.toml")
    return load_settings(config=file, inventory=inventory, directory=tmp_path / "state", home=tmp_path / "home")


def refused(tmp_path: Path, text: str | bytes) -> str:
    with pytest.raises(UsageError) as caught:
        load(tmp_path, text)
    message = str(caught.value)
    assert "\n" not in message
    return message.removeprefix(str(tmp_path / "fleet.toml"))


FULL = f"""
[ssh]
key = "/keys/id"
known_hosts = "hosts"
user = "ops"

[paths]
core = ["/cores/core.*", "/zones/*/cores/core.*"]
crash = []

[limits]
settle = 0.5
max_size = "20G"

[[node]]
name = "cn0"
address = "10.0.0.7"
port = 2222
uuid = "{UUID.upper()}"
remote_thoth = "/opt/thoth/bin/thoth"

[[node]]
name = "cn1"
user = "dumps"
"""


def test_everything_that_a_file_can_say(tmp_path: Path) -> None:
    settings = load(tmp_path, FULL)
    assert settings.ssh.key == Path("/keys/id")
    assert settings.ssh.known_hosts == tmp_path / "hosts"  # beside the file
    assert settings.core == (("/cores", "core.*"), ("/zones/*/cores", "core.*"))
    assert settings.crash == ()
    assert (settings.limits.settle, settings.limits.max_size) == (0.5, 20 << 30)
    assert settings.nodes == (
        Node("cn0", "10.0.0.7", 2222, "ops", UUID, "/opt/thoth/bin/thoth"),
        Node("cn1", "cn1", 22, "dumps"),
    )


def test_defaults(tmp_path: Path) -> None:
    settings = load(tmp_path, NODE)
    assert settings.directory == tmp_path / "state"
    assert settings.ssh.known_hosts == tmp_path / "state" / "known_hosts"
    assert settings.ssh.key is None
    assert (settings.limits.settle, settings.limits.max_size) == (5, None)
    assert not settings.directory.exists()


@pytest.mark.parametrize(
    ("there", "taken"),
    [
        (["sdc.id_rsa", "id_rsa"], "id_rsa"),
        (["id_ecdsa", "id_rsa", "id_ed25519"], "id_ed25519"),
        (["sdc.id_rsa"], "sdc.id_rsa"),
    ],
)
def test_the_first_usual_key_that_is_there(tmp_path: Path, there: list[str], taken: str) -> None:
    folder = tmp_path / "home" / ".ssh"
    folder.mkdir(parents=True)
    for name in there:
        (folder / name).touch()
    assert load(tmp_path, NODE).ssh.key == folder / taken


def test_the_state_directory_of_the_user_is_the_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "xdg"))
    file = tmp_path / "fleet.toml"
    file.write_text(NODE)
    assert load_settings(inventory=str(file)).directory == tmp_path / "xdg" / "sdc-thoth"


def test_inventory_replaces_nodes_and_adds_to_the_other_tables(tmp_path: Path) -> None:
    inventory = '[limits]\nmax_size = 7\n[[node]]\nname = "other"\n'
    settings = load(tmp_path, FULL, inventory)
    assert [(node.name, node.user) for node in settings.nodes] == [("other", "ops")]
    assert (settings.limits.settle, settings.limits.max_size) == (0.5, 7)
    assert settings.ssh.key == Path("/keys/id")


def test_crlf_and_byte_order_mark_are_taken(tmp_path: Path) -> None:
    text = b"\xef\xbb\xbf" + FULL.replace("\n", "\r\n").encode()
    assert load(tmp_path, text) == load(tmp_path, FULL)


BAD = [
    ('[ssh]\nkye = "x"\n' + NODE, ":2: [ssh] kye: unknown; known are key, known_hosts, user, port"),
    (
        "[shh]\n" + NODE,
        ":1: shh: unknown; known are ssh, paths, limits, schedule, metrics, webhook, cnapi, stacks, node",
    ),
    ("\n[limits]\n# settle = 1\nsettle = '5'\n" + NODE, ":4: [limits] settle: expected a number, not text"),
    ("[limits]\nsettle = true\n" + NODE, ":2: [limits] settle: expected a number, not true or false"),
    ("[limits]\nsettle = -1\n" + NODE, ":2: [limits] settle: not between 0 and 1e+07: -1"),
    ("[limits]\nsettle = nan\n" + NODE, ":2: [limits] settle: not between 0 and 1e+07: nan"),
    (
        "[limits]\nmax_size = 0\n" + NODE,
        ":2: [limits] max_size: not a number of bytes above 0, or text like 20G",
    ),
    ("[limits]\nmax_size = '5 apples'\n" + NODE, ":2: [limits] max_size: not a number of bytes above 0"),
    (
        "[paths]\ncore = '/cores/core.*'\n" + NODE,
        ":2: [paths] core: expected a list of texts, [...], not text",
    ),
    ("[paths]\ncore = [1]\n" + NODE, ":2: [paths] core: expected a list of texts only"),
    ("[paths]\ncore = ['cores/core.*']\n" + NODE, ":2: [paths] core: 'cores/core.*': not the absolute path"),
    ("[paths]\ncore = ['/cores/']\n" + NODE, ":2: [paths] core: '/cores/': not the absolute path"),
    (
        "[paths]\ncrash = ['/a/../b']\n" + NODE,
        ":2: [paths] crash: '/a/../b': holds an empty part, '.' or '..'",
    ),
    ("[paths]\ncrash = ['/a//b']\n" + NODE, ":2: [paths] crash: '/a//b': holds an empty part"),
    ('[paths]\ncrash = ["/a/b\\n"]\n' + NODE, ":2: [paths] crash: '/a/b\\n': only * and ? make patterns"),
    (
        '[paths]\ncrash = ["/a/b\\u0000"]\n' + NODE,
        ":2: [paths] crash: '/a/b\\x00': only * and ? make patterns",
    ),
    ("[paths]\ncrash = ['/a/[bc]']\n" + NODE, ":2: [paths] crash: '/a/[bc]': only * and ? make patterns"),
    ("[[node]]\naddress = '10.0.0.1'\n", ":1: [[node]] name: missing"),
    (NODE + "\n[[node]]\nname = 'a b'\n", ":5: [[node]] name: not a name of letters"),
    (NODE + "port = 0\n", ":3: [[node]] port: not between 1 and 65535: 0"),
    (NODE + "port = 65536\n", ":3: [[node]] port: not between 1 and 65535: 65536"),
    (NODE + "port = 22.0\n", ":3: [[node]] port: expected a whole number, not a number"),
    (NODE + "port = '22'\n", ":3: [[node]] port: expected a whole number, not text"),
    (NODE + "address = '-oProxyCommand=x'\n", ":3: [[node]] address: not a host name or IP address"),
    (NODE + "user = 'a;b'\n", ":3: [[node]] user: not a user's name"),
    (NODE + "uuid = '12'\n", ":3: [[node]] uuid: not a UUID: '12'"),
    (NODE + "remote_thoth = 'thoth'\n", ":3: [[node]] remote_thoth: not an absolute path"),
    (NODE + "hostname = 'x'\n", ":3: [[node]] hostname: unknown"),
    (NODE + NODE + "address = 'b'\n", ":4: [[node]] name: cn0 is already that of node cn0"),
    (
        NODE + "[[node]]\nname = 'b'\naddress = 'CN0'\n",
        ":5: [[node]] address: cn0 port 22 is already that of node cn0",
    ),
    (
        f"{NODE}uuid = '{UUID}'\n[[node]]\nname = 'b'\nuuid = '{UUID.upper()}'\n",
        f":6: [[node]] uuid: {UUID} is already that of node cn0",
    ),
    (
        f"{NODE}uuid = '{UUID}'\n[[node]]\nname = '{UUID}'\n",
        f":5: [[node]] name: {UUID} is already that of node cn0",
    ),
    ("[node]\nname = 'x'\n", ":1: node: not tables: write [[node]] above each"),
    ("ssh = 5\n" + NODE, ":1: ssh: not a table: write [ssh]"),
    ("node = 5\n", ":1: node: not tables: write [[node]] above each"),
    ("[ssh\n", ": Expected ']' at the end of a table declaration (at line 1, column 5)"),
    ("[ssh]\nuser = 'x'\nuser = 'y'\n", ": Cannot overwrite a value (at line 3, column 11)"),
    (NODE.encode() + b"# \xff\n", ":3: not UTF-8 text"),
    ("", "no nodes: name a file with [[node]] tables by --inventory, or --inventory cnapi"),
]


@pytest.mark.parametrize(("text", "message"), BAD)
def test_F57_errors_name_file_line_table_and_key(tmp_path: Path, text: str | bytes, message: str) -> None:
    assert refused(tmp_path, text).startswith(message)


def test_F57_files_that_cannot_be_read(tmp_path: Path) -> None:
    for path, message in ((tmp_path / "none", "No such file or directory"), (tmp_path, "Is a directory")):
        with pytest.raises(UsageError) as caught:
            load_settings(config=path, home=tmp_path)
        assert str(caught.value) == f"{path}: {message}"


def test_F57_a_secret_is_never_echoed(tmp_path: Path) -> None:
    # Whoever puts a key where its name belongs must not find it in a log.
    secret = "-----BEGIN OPENSSH PRIVATE KEY-----\nc2VjcmV0\n"
    with pytest.raises(UsageError) as caught:
        load(tmp_path, f'[ssh]\nkey = """{secret}"""\nfoo = 1\n{NODE}')
    assert "c2VjcmV0" not in str(caught.value)


def test_F57_ten_thousand_nodes(tmp_path: Path) -> None:
    nodes = (
        f'[[node]]\nname = "cn{n}"\naddress = "10.0.{n >> 8}.{n & 255}"\nuuid = "{UUID[:-5]}{n:05x}"\n'
        for n in range(10_000)
    )
    text = "".join(nodes)
    start = time.process_time()
    settings = load(tmp_path, text)
    assert len(settings.nodes) == 10_000
    assert time.process_time() - start < 3  # 0.4 s; what grew with the square would take minutes


def test_an_inventory_without_nodes_is_not_an_empty_fleet(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"lists no \[\[node\]\]"):
        load(tmp_path, FULL, "[limits]\nsettle = 1\n")


def test_paths_are_shown_without_detours(tmp_path: Path) -> None:
    detour = '[ssh]\nknown_hosts = "../home/./hosts"\n[[node]]\nname = "cn0"\n'
    assert load(tmp_path, detour).ssh.known_hosts == tmp_path.parent / "home" / "hosts"


# ---- the choice of nodes ---------------------------------------------------------------------------

NODES = (Node("cn0", "a", uuid=UUID), Node("cn1", "b"), Node("cn2", "c"))


@pytest.mark.parametrize(
    ("names", "exclude", "chosen"),
    [
        (None, False, ["cn0", "cn1", "cn2"]),
        (["cn2", "cn1"], False, ["cn1", "cn2"]),
        ([UUID], False, ["cn0"]),
        ([UUID.upper(), "cn0"], False, ["cn0"]),
        (["cn1"], True, ["cn0", "cn2"]),
    ],
)
def test_select(names: list[str] | None, exclude: bool, chosen: list[str]) -> None:
    assert [node.name for node in select(NODES, names, exclude)] == chosen


@pytest.mark.parametrize(
    ("names", "exclude", "message"),
    [
        (["cn1", "cn9", "127.0.0.1"], False, "not in the inventory: cn9, 127.0.0.1"),
        (["cn9\x1b[2J"], False, r"not in the inventory: cn9\x1b[2J"),
        (None, True, "-x: excludes the nodes that -N names, and there is no -N"),
        (["cn0", "cn1", "cn2"], True, "-x: no node is left"),
    ],
)
def test_select_refuses(names: list[str] | None, exclude: bool, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        select(NODES, names, exclude)
    assert str(caught.value) == message


def test_node_as_messages_name_it() -> None:
    assert NODES[0].shown == "cn0 (a)"
    assert Node("x", "::1", 2222).shown == "x ([::1]:2222)"
    assert os.linesep not in Node("x\n", "y").shown
