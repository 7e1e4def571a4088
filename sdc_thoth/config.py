"""The collector's settings: defaults, then a TOML file, then an inventory file of the same shape.

    [ssh]     key, known_hosts, user, port
    [paths]   core, crash: lists of patterns, each a directory and a name; * and ? stand for parts of either
    [limits]  settle, max_size, min_free, nodes, dumps, rate, node_rate, compress: see limits.py
    [schedule] cron, every, jitter, timezone, at_start, grace: of the daemon
    [metrics] port, textfile
    [webhook] url, after
    [cnapi]   url
    [stacks]  node: "mdb" where nodes' own debugger is to be asked about the cores of illumos, too
    [[node]]  name, address, port, user, uuid, remote_thoth

A file is checked whole before anything is connected to. A key that we do not know is an error: it is a
spelling mistake, and what was meant would silently not hold.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from sdc_thoth.inventory import Node
from sdc_thoth.limits import Limits, limits_from
from sdc_thoth.schedule import Schedule, schedule_from
from sdc_thoth.toml import TomlFile, TomlTable
from sdc_thoth.webhook import Webhook, webhook_from
from thoth import UsageError

_USUAL_KEYS: Final = ("id_ed25519", "id_ecdsa", "id_rsa", "sdc.id_rsa")  # the last one is Triton's own
_TABLES: Final = ("ssh", "paths", "limits", "schedule", "metrics", "webhook", "cnapi", "stacks", "node")

_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,254}")
_ADDRESS: Final = re.compile(r"[A-Za-z0-9:][A-Za-z0-9_.:%-]{0,254}")
_UUID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")

_URL: Final = re.compile(r"https?://[A-Za-z0-9.:\[\]-]{1,255}/?")  # no user, no path: it names a service

_ENGINE: Final = re.compile("native|mdb")

CNAPI: Final = "cnapi"  # the inventory of that name is no file

Pattern = tuple[str, str]  # of a directory, of a name


@dataclass(frozen=True, slots=True)
class SshSettings:
    """What sessions are opened with. ``key`` is None when none of the usual files is there."""

    key: Path | None
    known_hosts: Path
    user: str = "root"
    port: int = 22


@dataclass(frozen=True, slots=True)
class Metrics:
    """Where the collector's metrics are to be had. The port is one of 127.0.0.1."""

    port: int | None = None
    textfile: Path | None = None  # for node_exporter


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything that files say. ``core`` and ``crash`` are empty when the usual places hold."""

    directory: Path  # for journal, status and lock
    ssh: SshSettings
    core: tuple[Pattern, ...] = ()
    crash: tuple[Pattern, ...] = ()
    limits: Limits = field(default_factory=Limits)
    schedule: Schedule = field(default_factory=Schedule)
    metrics: Metrics = Metrics()
    webhook: Webhook = field(default_factory=Webhook)
    from_cnapi: bool = False  # that is where the nodes are listed
    cnapi: str | None = None  # its URL; None: what this headnode knows
    nodes: tuple[Node, ...] = ()
    node_stack: str = "native"  # or "mdb": who is asked for stacks on a node


def load_settings(
    *,
    config: Path | None = None,
    inventory: str | None = None,
    directory: Path | None = None,
    cnapi: str | None = None,
    limits: Mapping[str, Any] | None = None,
    home: Path | None = None,
) -> Settings:
    """Put the settings together. The inventory's nodes stand in for the configuration's; its other tables add
    to them.

    ``directory`` is where journal, lock and known_hosts lie unless something else is said. ``limits`` are those of
    the command line, which go before the files'. Nothing is created. Raises UsageError with file, line where it is
    known, table and key; also when there is no node at all.
    """
    settings = _defaults(directory, home or Path.home())
    if config is not None:
        settings = _applied(settings, TomlFile.read(config))
    if inventory == CNAPI:
        settings = replace(settings, nodes=(), from_cnapi=True, cnapi=_option(cnapi) or settings.cnapi)
        return replace(settings, limits=settings.limits.with_options(limits or {}))
    if cnapi is not None:
        raise UsageError("--cnapi: says where an inventory is that is not asked for; add --inventory cnapi")
    if inventory is not None:
        settings = _applied(replace(settings, nodes=()), TomlFile.read(Path(inventory)))
        if not settings.nodes:
            raise UsageError(f"--inventory {inventory}: lists no [[node]]")
    if not settings.nodes:
        raise UsageError("no nodes: name a file with [[node]] tables by --inventory, or --inventory cnapi")
    return replace(settings, limits=settings.limits.with_options(limits or {}))


def _option(url: str | None) -> str | None:
    if url is not None and not _URL.fullmatch(url):
        raise UsageError(f"--cnapi {url[:80]!r}: not a URL like http://cnapi.dc.example.com")
    return url


def state_directory(directory: Path | None) -> Path:
    """The collector's own directory: the one that is named, or else the user's."""
    if directory is None:
        from platformdirs import user_state_path  # noqa: PLC0415 - not needed when the directory is given

        directory = user_state_path("sdc-thoth", appauthor=False)
    return directory.absolute()


def _defaults(directory: Path | None, home: Path) -> Settings:
    directory = state_directory(directory)
    usual = (home / ".ssh" / name for name in _USUAL_KEYS)
    key = next((path for path in usual if os.path.lexists(path)), None)
    return Settings(directory, SshSettings(key, directory / "known_hosts"))


def _applied(settings: Settings, file: TomlFile) -> Settings:
    """The settings with what the file says in the place of what was said before."""
    file.only(_TABLES)
    ssh = _ssh(settings.ssh, file.table("ssh"))
    paths = file.table("paths")
    core, crash = _patterns(paths, "core"), _patterns(paths, "crash")
    paths.done()
    nodes = _nodes(file.tables("node"), ssh)
    return replace(
        settings,
        ssh=ssh,
        core=settings.core if core is None else core,
        crash=settings.crash if crash is None else crash,
        limits=limits_from(settings.limits, file.table("limits")),
        schedule=schedule_from(settings.schedule, file.table("schedule")),
        metrics=_metrics(settings.metrics, file.table("metrics")),
        webhook=webhook_from(settings.webhook, file.table("webhook")),
        cnapi=_cnapi(file.table("cnapi")) or settings.cnapi,
        node_stack=_node_stack(file.table("stacks")) or settings.node_stack,
        nodes=nodes or settings.nodes,
    )


def _ssh(before: SshSettings, table: TomlTable) -> SshSettings:
    settings = SshSettings(
        key=_path(table, "key") or before.key,
        known_hosts=_path(table, "known_hosts") or before.known_hosts,
        user=table.matching("user", _NAME, "a user's name") or before.user,
        port=int(table.number_in("port", 1, 65535, whole=True) or before.port),
    )
    table.done()
    return settings


def _path(table: TomlTable, key: str) -> Path | None:
    """A path; a relative one starts at the file's own directory."""
    value = table.text(key)
    if value is None:
        return None
    if not value or "\0" in value:
        raise table.error(key, "not a path")
    try:
        # Without its "..": that is how people are shown it. Where a link makes that another place, they name that.
        return Path(os.path.normpath(table.folder / Path(value).expanduser()))
    except RuntimeError as error:
        raise table.error(key, "no such user's home directory") from error


def _metrics(before: Metrics, table: TomlTable) -> Metrics:
    port = table.number_in("port", 1, 65535, whole=True)
    metrics = Metrics(before.port if port is None else int(port), _path(table, "textfile") or before.textfile)
    table.done()
    return metrics


def _cnapi(table: TomlTable) -> str | None:
    url = table.matching("url", _URL, "a URL like http://cnapi.dc.example.com")
    table.done()
    return url


def _node_stack(table: TomlTable) -> str | None:
    engine = table.matching("node", _ENGINE, '"native" or "mdb"')
    table.done()
    return engine


# ---- [paths] ---------------------------------------------------------------------------------------


def _patterns(table: TomlTable, key: str) -> tuple[Pattern, ...] | None:
    values = table.texts(key)
    return None if values is None else tuple(_pattern(value, key, table) for value in values)


def _pattern(value: str, key: str, table: TomlTable) -> Pattern:
    directory, slash, name = value.rpartition("/")
    parts = directory.split("/")[1:]
    if not value.startswith("/") or not slash or not name or len(value) > 1024:
        raise table.error(key, f"{value[:80]!r}: not the absolute path of files, like /cores/core.*")
    if any(part in ("", ".", "..") for part in (*parts, name)):
        raise table.error(key, f"{value[:80]!r}: holds an empty part, '.' or '..'")
    if not value.isprintable() or any(char in "[]{}()\\" for char in value):
        raise table.error(
            key, f"{value[:80]!r}: only * and ? make patterns; control characters and []{{}}()\\ cannot be used"
        )
    return directory or "/", name


# ---- [[node]] --------------------------------------------------------------------------------------


def _nodes(tables: Sequence[TomlTable], ssh: SshSettings) -> tuple[Node, ...]:
    nodes = tuple(_node(table, ssh) for table in tables)
    _refuse_twice(zip(nodes, tables, strict=True))
    return nodes


def _node(table: TomlTable, ssh: SshSettings) -> Node:
    name = table.matching("name", _NAME, "a name of letters, digits, '.', '_' and '-'")
    if name is None:
        raise table.error("name", "missing")
    address = table.matching("address", _ADDRESS, "a host name or IP address") or name
    port = table.number_in("port", 1, 65535, whole=True)
    login = table.matching("user", _NAME, "a user's name") or ssh.user
    uuid = table.text("uuid")
    if uuid is not None and not _UUID.fullmatch(uuid := uuid.lower()):
        raise table.error("uuid", f"not a UUID: {uuid[:80]!r}")
    thoth = table.text("remote_thoth")
    if thoth is not None and not (thoth.startswith("/") and thoth.isprintable()):
        raise table.error("remote_thoth", "not an absolute path")
    table.done()
    return Node(name, address, int(port or ssh.port), login, uuid, thoth)


def _refuse_twice(nodes: Iterable[tuple[Node, TomlTable]]) -> None:
    """A name or UUID has to mean one node, also where one node's UUID is another's name; an address too."""
    seen: dict[object, Node] = {}
    for node, table in nodes:
        claims: dict[object, str] = {node.name.lower(): "name", (node.address.lower(), node.port): "address"}
        if node.uuid:
            claims.setdefault(node.uuid, "uuid")
        for claim, key in claims.items():
            if other := seen.get(claim):
                raise table.error(key, f"{_claimed(claim)} is already that of node {other.name}")
            seen[claim] = node


def _claimed(claim: object) -> str:
    return f"{claim[0]} port {claim[1]}" if isinstance(claim, tuple) else str(claim)
