"""The nodes of a Triton data center, as CNAPI lists them: those that are set up and running are collected from.

Source: CNAPI's documentation of ``GET /servers``, and triton-netconfig's rule for the admin address. What a server
says of itself is as hostile as anything that comes from a node: names, addresses and UUIDs are checked before use.
"""

from __future__ import annotations

import json
import re
import subprocess
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Final, Protocol

from sdc_thoth.config import Settings, SshSettings
from sdc_thoth.inventory import Node, select
from thoth import Outcome, Result, ServiceError, Unreachable, UsageError, escaped

CONFIG: Final = Path("/lib/sdc/config.sh")  # of a headnode: prints what it was set up with
_PAGE: Final = 1000  # servers; CNAPI gives no more
_PAGES: Final = 20
_LARGEST: Final = 256 << 20  # bytes of a page: a server's sysinfo has some 20 KiB
_SECONDS: Final = 60.0  # to read the headnode's configuration
_FIELDS: Final = "uuid,hostname,status,setup,sysinfo"
_HOST: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]{0,252}")
_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,254}")
_UUID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")

Server = Mapping[str, Any]


class Answer(Protocol):
    """What is used of an answer."""

    @property
    def status(self) -> int: ...
    @property
    def body(self) -> bytes: ...


class Asks(Protocol):
    """What is used of an HTTP service."""

    def ask(self, method: str, target: str, headers: Mapping[str, str], /, *, most: int) -> Answer: ...


def nodes_of(settings: Settings, names: Sequence[str] | None, exclude: bool = False) -> tuple[Node, ...]:
    """The nodes to collect from, chosen as ``select`` does, from CNAPI where that is the inventory.

    Raises UsageError, and ThothError when CNAPI cannot be asked or does not answer as it should.
    """
    if not settings.from_cnapi:
        return select(settings.nodes, names, exclude)
    urls = [settings.cnapi] if settings.cnapi else headnode_urls()
    return select(list_nodes(urls, settings.ssh), names, exclude)


def list_nodes(urls: Sequence[str], ssh: SshSettings) -> tuple[Node, ...]:
    """All servers as nodes, by the first of the URLs that can be reached. Raises ServiceError."""
    from thoth import Service  # noqa: PLC0415 - requests takes its time to import, and most fleets are in a file

    service = Service("CNAPI", urls[0])
    try:
        return _nodes_from(service, f"CNAPI {service.base}", ssh)
    except Unreachable:  # its name may be unknown while its address is not
        if not urls[1:]:
            raise
        return list_nodes(urls[1:], ssh)
    finally:
        service.close()


# ---- where it is -----------------------------------------------------------------------------------


def headnode_urls(script: Path = CONFIG) -> list[str]:
    """Where CNAPI is by the configuration of this headnode: by its name, then by its address. Raises UsageError."""
    told = _headnode_configuration(script)
    # The addresses are those of the day of the set-up: they may have become wrong, the name has not.
    hosts = [told.get("cnapi_domain"), *str(told.get("cnapi_admin_ips", "")).split(",")[:1]]
    urls = [f"http://{host}" for host in hosts if isinstance(host, str) and _HOST.fullmatch(host)]
    if not urls:
        raise UsageError(
            f"{script}: names no cnapi_domain, as on a compute node; say where CNAPI is with --cnapi URL"
        )
    return urls


def _headnode_configuration(script: Path) -> Mapping[str, Any]:
    """What the script prints, which holds passwords: nothing of it may get into a message."""
    if not script.exists():
        raise UsageError(f"{script}: there is none, so this is no headnode; say where CNAPI is with --cnapi URL")
    try:
        done = subprocess.run(
            ["/bin/bash", str(script), "-json"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        why = getattr(error, "strerror", None) or f"not done after {_SECONDS:g} s"
        raise UsageError(f"{script} -json: {why}; say where CNAPI is with --cnapi URL") from None
    try:
        told = json.loads(done.stdout)
    except (ValueError, RecursionError):
        told = None
    if done.returncode or not isinstance(told, dict):
        # A quote in a value of the configuration is enough for that.
        what = f"ended with status {done.returncode}" if done.returncode else "printed no JSON object"
        raise UsageError(f"{script} -json: {what}; say where CNAPI is with --cnapi URL")
    return told


# ---- what it lists ---------------------------------------------------------------------------------


def _nodes_from(service: Asks, where: str, ssh: SshSettings) -> tuple[Node, ...]:
    """All servers as nodes; ``where`` is what errors call the service. Raises ThothError."""
    servers = list(_servers(service, where))
    counts = Counter(_hostname(server).lower() for server in servers)
    addresses: dict[str, str] = {}
    nodes = []
    for server in servers:
        # Nothing keeps two servers from having the same host name: their UUIDs tell them apart.
        hostname = _hostname(server)
        name = hostname if hostname and counts[hostname.lower()] == 1 else server["uuid"]
        nodes.append(_node(server, name, ssh, addresses))
    return tuple(nodes)


def _servers(service: Asks, where: str) -> Iterator[Server]:
    """Every server once, page by page: CNAPI does not tell how many there are."""
    seen: set[str] = set()
    for page in range(_PAGES):
        target = f"/servers?extras=sysinfo&fields={_FIELDS}&limit={_PAGE}&offset={page * _PAGE}"
        answer = service.ask("GET", target, {"Accept": "application/json"}, most=_LARGEST)
        servers = _page(answer, where)
        for server in servers:
            if server["uuid"] not in seen:  # one may have been added meanwhile, and moved the others
                seen.add(server["uuid"])
                yield server
        if len(servers) < _PAGE:
            return
    raise ServiceError(f"{where}: lists over {_PAGES * _PAGE} servers; it goes round in circles")


def _page(answer: Answer, where: str) -> list[Server]:
    if answer.status != 200:
        said = escaped(answer.body[:200].decode(errors="replace"))
        raise ServiceError(f"{where}: answers GET /servers with status {answer.status}: {said}")
    try:
        servers = json.loads(answer.body)
    except (ValueError, RecursionError) as error:
        raise ServiceError(f"{where}: answers GET /servers with what is no JSON; is that a CNAPI?") from error
    if not isinstance(servers, list) or not all(map(_is_server, servers)):
        raise ServiceError(f"{where}: answers GET /servers with what is no list of servers; is that a CNAPI?")
    return servers


def _is_server(server: object) -> bool:
    uuid = server.get("uuid") if isinstance(server, dict) else None
    return isinstance(uuid, str) and _UUID.fullmatch(uuid) is not None


def _hostname(server: Server) -> str:
    """The host name where it can be a node's name, else nothing."""
    name = server.get("hostname")
    return name if isinstance(name, str) and _NAME.fullmatch(name) else ""


def _node(server: Server, name: str, ssh: SshSettings, taken: dict[str, str]) -> Node:
    """A server as a node. ``taken`` are the addresses of those before it, with their names."""
    uuid = server["uuid"]
    address = admin_address(server.get("sysinfo"))
    instead = _instead(server, name, address)
    if instead is None and address is not None and (other := taken.setdefault(address, name)) != name:
        reason = f"CNAPI gives it {address}, which is that of {other} too"
        instead = Outcome(Result.FAILED, name, stage="inventory", reason=reason)
    return Node(name, address or "", ssh.port, ssh.user, uuid=uuid, instead=instead)


def _instead(server: Server, name: str, address: str | None) -> Outcome | None:
    """What is told of a server that is not visited."""
    if server.get("setup") is not True:
        return Outcome(Result.NOT_RUNNING, name, stage="inventory", reason="not set up")
    status = server.get("status")
    if status != "running":
        return Outcome(
            Result.NOT_RUNNING, name, stage="inventory", reason=f"its status is {escaped(str(status)[:40])}"
        )
    if address is None:
        reason = "CNAPI knows no admin address of it; on the node, 'sysinfo -u' tells it again"
        return Outcome(Result.UNREACHABLE, name, stage="inventory", reason=reason)
    return None


def admin_address(sysinfo: object) -> str | None:
    """A server's address on the admin network: what its sysinfo calls so, else that of the NIC with the admin tag."""
    if not isinstance(sysinfo, dict):
        return None
    if address := _address(sysinfo.get("Admin IP")):
        return address
    tag = sysinfo.get("Admin NIC Tag") or "admin"
    interfaces = sysinfo.get("Network Interfaces")
    for interface in interfaces.values() if isinstance(interfaces, dict) else ():
        names = interface.get("NIC Names") if isinstance(interface, dict) else None
        if isinstance(names, list) and tag in names:
            return _address(interface.get("ip4addr"))
    return None


def _address(value: object) -> str | None:
    try:
        return str(ip_address(value)) if isinstance(value, str) else None
    except ValueError:
        return None
