"""Triton's compute nodes as the inventory: where CNAPI is, what it lists, and what is made of that."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from sdc_thoth.cnapi import admin_address, headnode_urls, list_nodes, nodes_of
from sdc_thoth.config import SshSettings, load_settings
from sdc_thoth.inventory import Node
from tests.support.cnapi_server import CnapiServer, server
from tests.support.collector import Collector
from tests.support.elfwriter import illumos_core
from tests.support.sshd import Fleet
from thoth import Result, ServiceError, ThothError, UsageError


def of(number: int) -> str:
    return str(uuid.UUID(int=number))


@pytest.fixture
def cnapi() -> Iterator[CnapiServer]:
    with CnapiServer([]) as running:
        yield running


def listed(cnapi: CnapiServer, port: int = 22) -> list[Node]:
    return list(list_nodes([cnapi.url], SshSettings(None, Path("/nowhere"), "root", port)))


# ---- what is listed ----------------------------------------------------------------------------------


def test_running_servers_are_nodes_and_the_others_are_told_by_name(cnapi: CnapiServer) -> None:
    cnapi.servers = [
        server(of(1), "headnode", "10.99.99.7", headnode=True),
        server(of(2), "cn2", "10.99.99.8"),
        server(of(3), "silent", "10.99.99.9", status="unknown"),
        server(of(4), "restarting", "10.99.99.10", status="rebooting"),
        server(of(5), "unboxed", "10.99.99.11", setup=False),
        server(of(6), "lost", None),
    ]
    nodes = {node.name: node for node in listed(cnapi)}
    assert nodes["headnode"] == Node("headnode", "10.99.99.7", 22, "root", of(1))
    assert nodes["cn2"] == Node("cn2", "10.99.99.8", 22, "root", of(2))
    told = {name: node.instead for name, node in nodes.items() if node.instead}
    assert {name: (each.result, each.reason) for name, each in told.items()} == {
        "silent": (Result.NOT_RUNNING, "its status is unknown"),
        "restarting": (Result.NOT_RUNNING, "its status is rebooting"),
        "unboxed": (Result.NOT_RUNNING, "not set up"),
        "lost": (
            Result.UNREACHABLE,
            "CNAPI knows no admin address of it; on the node, 'sysinfo -u' tells it again",
        ),
    }


@pytest.mark.parametrize("count", [0, 999, 1000, 1001, 2000])
def test_all_pages_are_asked_for(cnapi: CnapiServer, count: int) -> None:
    cnapi.servers = [server(of(n), f"cn{n}", f"10.1.{n >> 8}.{n & 255}") for n in range(count)]
    assert {node.name for node in listed(cnapi)} == {f"cn{n}" for n in range(count)}
    assert len(cnapi.asked) == count // 1000 + 1


def test_a_server_that_moves_to_the_next_page_meanwhile_is_one_node(cnapi: CnapiServer) -> None:
    cnapi.servers = [server(of(n), f"cn{n}", f"10.1.{n >> 8}.{n & 255}") for n in range(1, 1001)]

    def add_one(target: str) -> None:
        if "offset=1000" in target:
            cnapi.servers.append(server(of(0), "cn0", "10.2.0.1"))

    cnapi.mood = add_one
    names = [node.name for node in listed(cnapi)]
    assert len(names) == len(set(names)) == 1000


def test_a_listing_without_end_is_refused(cnapi: CnapiServer) -> None:
    page = json.dumps([{"uuid": of(n)} for n in range(1000)]).encode()
    cnapi.mood = lambda target: (200, "application/json", page)
    with pytest.raises(ServiceError, match="lists over 20000 servers; it goes round in circles"):
        listed(cnapi)


@pytest.mark.parametrize(
    ("status", "body", "message"),
    [
        (200, b"<html>proxy</html>", "what is no JSON; is that a CNAPI"),
        (200, b'{"a": 1}', "what is no list of servers"),
        (200, b'[{"uuid": "x"}]', "what is no list of servers"),
        (200, b"[" * 100_000, "what is no JSON"),
        (500, b'{"message": "moray is\x1b[2J down"}', r'status 500: {"message": "moray is\x1b[2J down"}'),
        (404, b"", "status 404"),
    ],
)
def test_other_answers_are_errors_of_one_line(cnapi: CnapiServer, status: int, body: bytes, message: str) -> None:
    cnapi.mood = lambda target: (status, "text/html", body)
    with pytest.raises(ServiceError) as caught:
        listed(cnapi)
    assert message in str(caught.value) and str(caught.value).isprintable()


def test_names_are_unique_and_safe(cnapi: CnapiServer) -> None:
    cnapi.servers = [
        server(of(1), "same", "10.0.0.1"),
        server(of(2), "SAME", "10.0.0.2"),
        server(of(3), "$(reboot)", "10.0.0.3"),
        server(of(4), "", "10.0.0.4"),
        server(of(5), "x", "10.0.0.5") | {"hostname": None},
        server(of(6), "first", "10.0.0.6"),
        server(of(7), "second", "10.0.0.6"),
    ]
    nodes = listed(cnapi)
    assert [node.name for node in nodes] == [*(of(n) for n in range(1, 6)), "first", "second"]
    (second,) = [node for node in nodes if node.instead]
    assert second.instead and second.instead.result is Result.FAILED
    assert second.instead.reason == "CNAPI gives it 10.0.0.6, which is that of first too"


# ---- the admin address -------------------------------------------------------------------------------


def nic(address: str, *names: str) -> dict[str, Any]:
    return {"ip4addr": address, "NIC Names": list(names)}


@pytest.mark.parametrize(
    ("sysinfo", "address"),
    [
        ({"Admin IP": "10.0.0.1", "Network Interfaces": {"a": nic("10.0.0.2", "admin")}}, "10.0.0.1"),
        ({"Admin IP": "", "Network Interfaces": {"a": nic("10.0.0.2", "admin")}}, "10.0.0.2"),
        ({"Network Interfaces": {"a": nic("10.0.0.2", "external"), "b": nic("10.0.0.3", "x", "admin")}}, "10.0.0.3"),
        ({"Admin NIC Tag": "mgmt", "Network Interfaces": {"a": nic("10.0.0.2", "admin")}}, None),
        ({"Admin NIC Tag": "mgmt", "Network Interfaces": {"a": nic("10.0.0.2", "mgmt")}}, "10.0.0.2"),
        ({"Network Interfaces": {"a": nic("", "admin")}}, None),
        ({"Network Interfaces": {"a": nic("-oProxyCommand=x", "admin")}}, None),
        ({"Admin IP": "dhcp"}, None),
        ({"Admin IP": 7, "Network Interfaces": ["admin"]}, None),
        ({"Network Interfaces": {"a": None, "b": {"NIC Names": "admin"}}}, None),
        ({}, None),
        (None, None),
        ("text", None),
    ],
)
def test_admin_address(sysinfo: object, address: str | None) -> None:
    assert admin_address(sysinfo) == address


# ---- where it is -------------------------------------------------------------------------------------

SECRET = "ufds-secret-0815"


def script(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "config.sh"
    path.write_text(text)
    return path


def printing(tmp_path: Path, **values: str) -> Path:
    document = json.dumps({"ufds_admin_pw": SECRET, **values})
    return script(tmp_path, f"[ \"$*\" = -json ] || exit 3\ncat <<'END'\n{document}\nEND\n")


def test_the_headnode_knows_where_cnapi_is(tmp_path: Path) -> None:
    told = printing(tmp_path, cnapi_domain="cnapi.dc1.example.com", cnapi_admin_ips="10.99.99.22,10.99.99.23")
    assert headnode_urls(told) == ["http://cnapi.dc1.example.com", "http://10.99.99.22"]
    assert headnode_urls(printing(tmp_path, cnapi_admin_ips="10.99.99.22")) == ["http://10.99.99.22"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "there is none, so this is no headnode"),
        ('echo \'{"ufds_admin_pw": "ufds-secret-0815", "dns_domain": "a"b"}\'', "printed no JSON object"),
        ("echo '[\"ufds-secret-0815\"]'", "printed no JSON object"),
        ("echo ufds-secret-0815 >&2; exit 7", "ended with status 7"),
        ('echo \'{"ufds_admin_pw": "ufds-secret-0815"}\'', "names no cnapi_domain, as on a compute node"),
        ('echo \'{"cnapi_domain": "a b/@ufds-secret-0815"}\'', "names no cnapi_domain"),
    ],
)
def test_what_keeps_it_from_being_known_is_told_without_secrets(
    tmp_path: Path, text: str | None, message: str
) -> None:
    path = tmp_path / "none" if text is None else script(tmp_path, text)
    with pytest.raises(UsageError) as caught:
        headnode_urls(path)
    said = str(caught.value)
    assert message in said and said.startswith(str(path)) and "--cnapi URL" in said
    assert SECRET not in said and "\n" not in said


def test_options_and_configuration_name_it(tmp_path: Path, cnapi: CnapiServer) -> None:
    cnapi.servers = [server(of(1), "cn1", "10.0.0.1"), server(of(2), "cn2", "10.0.0.2")]
    file = tmp_path / "config.toml"
    file.write_text(f'[cnapi]\nurl = "{cnapi.url}"\n[ssh]\nuser = "ops"\nport = 2222\n')
    by_file = load_settings(config=file, inventory="cnapi", home=tmp_path)
    by_option = load_settings(inventory="cnapi", cnapi=cnapi.url, home=tmp_path)
    assert [node.name for node in nodes_of(by_option, None)] == ["cn1", "cn2"]
    assert nodes_of(by_file, [of(2)]) == (Node("cn2", "10.0.0.2", 2222, "ops", of(2)),)
    with pytest.raises(UsageError, match="not in the inventory: cn9"):
        nodes_of(by_file, ["cn9"])


@pytest.mark.parametrize("url", ["cnapi.dc1", "http://user:pw@cnapi", "http://cnapi/servers", "ftp://cnapi", ""])
def test_what_is_no_url_of_a_service_is_refused(tmp_path: Path, url: str) -> None:
    with pytest.raises(UsageError, match="--cnapi"):
        load_settings(inventory="cnapi", cnapi=url, home=tmp_path)
    file = tmp_path / "config.toml"
    file.write_text(f'[cnapi]\nurl = "{url}"\n')
    with pytest.raises(UsageError, match=r":2: \[cnapi\] url: not a URL"):
        load_settings(config=file, inventory="cnapi", home=tmp_path)


def test_a_url_without_the_inventory_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="add --inventory cnapi"):
        load_settings(cnapi="http://cnapi", home=tmp_path)


def test_a_cnapi_that_is_away_is_an_error_that_names_it(tmp_path: Path) -> None:
    with CnapiServer([]) as gone:
        settings = load_settings(inventory="cnapi", cnapi=gone.url, home=tmp_path)
    with pytest.raises(ThothError, match=f"CNAPI {gone.url}: no connection"):
        nodes_of(settings, None)


def test_its_address_stands_in_for_a_name_that_is_not_known(cnapi: CnapiServer) -> None:
    cnapi.servers = [server(of(1), "cn1", "10.0.0.1")]
    nodes = list_nodes(["http://cnapi.invalid", cnapi.url], SshSettings(None, Path("/nowhere")))
    assert [node.name for node in nodes] == ["cn1"]


# ---- a whole pass ------------------------------------------------------------------------------------


def reached_by_cnapi(
    tmp_path: Path, fleet: Fleet, cnapi: CnapiServer, more: Sequence[dict[str, Any]] = ()
) -> Collector:
    """A collector that knows these nodes by CNAPI alone."""
    home = tmp_path / "home"
    home.mkdir()
    fleet.write_known_hosts(home / "known_hosts")
    (port,) = {node.port for node in fleet}
    cnapi.servers = [*(server(node.uuid, node.name, node.address) for node in fleet), *more]
    collector = Collector(home, "")
    config = home / "config.toml"
    config.write_text(
        f'[ssh]\nkey = "{fleet.identity_file}"\nknown_hosts = "{home}/known_hosts"\nport = {port}\n'
        f'[cnapi]\nurl = "{cnapi.url}"\n'
    )
    collector.options = ("--inventory", "cnapi", "-c", str(config))
    return collector


def test_a_pass_over_a_data_center(fleet: Callable[..., Fleet], tmp_path: Path, cnapi: CnapiServer) -> None:
    nodes = fleet(["headnode", "cn1"], flavour="smartos")
    nodes["cn1"].put("/zones/global/cores/core.vmadmd.7", illumos_core(7))
    more = [
        server(of(1), "dark", "127.77.9.9", status="unknown"),
        server(of(2), "lost", None),
    ]
    home = reached_by_cnapi(tmp_path, nodes, cnapi, more)
    result = home.collect()
    assert {name: each["result"] for name, each in result.nodes.items()} == {
        "headnode": "reached",
        "cn1": "reached",
        "dark": "not-running",
        "lost": "unreachable",
    }
    assert set(result.results.values()) == {"stored"} and result.code == 1
    shown = home.run("-x", "-N", "lost").stdout.splitlines()
    assert "dark: not running: its status is unknown" in shown and "headnode: nothing to do" in shown
    assert home.collect("-N", f"dark,{nodes['cn1'].uuid}").code == 0
    refused = home.run("-N", "cn7")
    assert (refused.returncode, refused.stderr) == (1, "sdc-thoth: not in the inventory: cn7\n")


def test_host_keys_of_a_data_center(fleet: Callable[..., Fleet], tmp_path: Path, cnapi: CnapiServer) -> None:
    nodes = fleet(["cn1"])
    home = reached_by_cnapi(tmp_path, nodes, cnapi, [server(of(1), "dark", "127.77.9.9", status="unknown")])
    (home.home / "known_hosts").unlink()
    reason = home.collect().nodes["cn1"]["reason"]
    assert f"sdc-thoth hostkeys --inventory cnapi -c {home.home}/config.toml cn1" in reason
    done = home.command_run("hostkeys", "--inventory", "cnapi", "-c", f"{home.home}/config.toml", "--yes", "-T", "2")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith("dark: not-running: its status is unknown\n")
    assert home.collect().code == 0
