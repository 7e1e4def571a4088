"""Who may import whom. A new module is a new row here: adding one is a decision, not an accident.

Imports are read from the source, those inside functions and under TYPE_CHECKING too.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

import thoth
from tests.support import vectors

TOP = Path(__file__).resolve().parent.parent

# Imports point one way: errors, model <- query, dumps <- store, index <- library <- cli. A package is one
# room, but for the contract of its implementations, which is one of its own.
CONTRACTS = {"store.base", "index.base"}
ROOMS: dict[str, set[str]] = {
    "errors": set(),
    "version": set(),
    "glob": set(),
    "durable": set(),
    "patience": {"errors"},
    "naming": {"errors"},
    "model": {"errors", "naming"},
    "query": {"errors", "glob", "model"},
    "settings_file": {"errors"},
    "settings": set(),
    "sizes": set(),
    "completions": set(),
    "config": {"errors", "settings", "settings_file", "sizes"},
    "places": {"config", "errors", "index", "settings_file"},
    "render": {"errors", "model", "naming", "query"},
    "dumps": {"errors", "model", "naming"},
    "store.base": set(),
    "digest": {"store.base"},
    "exchange": set(),
    "http": {"errors", "exchange", "version"},
    "store": {"digest", "durable", "errors", "exchange", "http", "model", "patience", "store.base"},
    "index.base": {"model", "query"},
    "index": {"errors", "glob", "index.base", "model", "naming", "query"},
    "tie": {"errors", "index", "index.base", "model", "naming", "query", "store", "store.base"},
    "library": {
        "config",
        "errors",
        "index",
        "index.base",
        "model",
        "naming",
        "patience",
        "places",
        "query",
        "settings_file",
        "store",
        "store.base",
        "tie",
    },
    "spelling": {"index.base", "model", "query"},
    "signatures": {"errors", "model"},
    "stacks": {"dumps", "model", "store.base"},
    "demangled": {"model"},
    "debuginfod": {"config", "dumps", "errors", "http"},
    "objects": {"errors", "model", "store"},
    "edit": {"errors", "index", "library", "model", "pending", "query", "store", "store.base"},
    "crashes": {"errors", "library", "model", "query", "signatures"},
    "pending": {"model"},
    "resign": {"edit", "errors", "library", "model", "query", "signatures"},
    "maintain": {"errors", "library", "model", "naming", "store", "store.base"},
    "scrub": {
        "pending",
        "signatures",
        "stacks",
        "dumps",
        "edit",
        "errors",
        "ingest",
        "library",
        "maintain",
        "model",
        "naming",
        "objects",
        "store",
        "store.base",
    },
    "purge": {"edit", "errors", "library", "model", "objects", "query"},
    "logs": {"digest", "errors", "library", "store", "store.base"},
    "analysis": {
        "pending",
        "signatures",
        "config",  # which debuggers are asked for stacks
        "ingest",
        "stacks",
        "digest",
        "durable",
        "dumps",
        "edit",
        "errors",
        "library",
        "model",
        "naming",
        "objects",
        "patience",
        "query",
        "spelling",
        "store",
        "store.base",
    },
    "transit": {"digest", "dumps", "store.base"},
    "ingest": {
        "digest",  # of a file that is compared and not sent
        "pending",
        "signatures",
        "stacks",
        "transit",
        "dumps",
        "edit",
        "errors",
        "library",
        "model",
        "objects",
        "patience",
        "store",
        "store.base",
    },
    "cli": {
        "analysis",
        "completions",
        "config",
        "crashes",
        "debuginfod",
        "demangled",
        "dumps",
        "edit",
        "errors",
        "ingest",
        "library",
        "logs",
        "maintain",
        "model",
        "objects",
        "patience",  # upload says that it tries again
        "purge",
        "query",
        "render",
        "resign",
        "scrub",
        "signatures",
        "sizes",
        "spelling",
        "index.base",
        "stacks",
        "store",
        "store.base",
        "version",
    },
    "__main__": {"cli"},
}

# Each of these is wrapped by one module that translates its errors and sets its timeouts.
ONLY_IMPORTERS: dict[str, set[str]] = {
    "paramiko": {"sdc_thoth/packets.py", "sdc_thoth/session.py", "thoth/store/agentkeys.py"},
    "cryptography": {
        "sdc_thoth/packets.py",  # an exception of it that paramiko lets through
        "sdc_thoth/private_key.py",
        "thoth/store/keyfiles.py",
        "thoth/store/signing.py",
    },
    "requests": {"thoth/http.py"},
    # its language in three, and its protocol in one that translates its errors
    "rethinkdb": {
        "thoth/index/reql.py",
        "thoth/index/reql_conditions.py",
        "thoth/index/rethink_tables.py",
        "thoth/index/rethink_wire.py",
    },
    "apscheduler": {"sdc_thoth/service.py"},
    "structlog": {"sdc_thoth/events.py"},
    "prometheus_client": {"sdc_thoth/metrics.py"},
    "elftools": {"thoth/dumps/symbols.py", "thoth/dumps/unwind_cfi.py"},
    "demangle": {"thoth/demangled.py"},
    "zstandard": {"sdc_thoth/expand.py"},
    "platformdirs": {"sdc_thoth/config.py", "thoth/config.py"},
    "rich": {"thoth/cli/progress.py"},
    "shtab": {"thoth/completions.py"},
}

NAMES_OF_THE_ENVIRONMENT = {"environ", "environb", "getenv", "getenvb", "putenv", "unsetenv"}


class Import(NamedTuple):
    module: str  # with all its dots
    names: tuple[str, ...]  # of ``from module import names``; none for ``import module``
    line: int


def sources(package: str) -> Iterator[Path]:
    return (path.relative_to(TOP) for path in sorted((TOP / package).rglob("*.py")))


def room_of(path: Path) -> str:
    """The room of a module of thoth: its package, or the module itself when it lies at the top."""
    return _room(".".join(path.with_suffix("").parts))


def _room(module: str) -> str:
    below = module.removeprefix("thoth.")
    return below if below in CONTRACTS else below.split(".")[0]


def imports_of(source: str) -> Iterator[Import]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(alias.name, (), node.lineno)
        elif isinstance(node, ast.ImportFrom):
            module = "." * node.level + (node.module or "")
            yield Import(module, tuple(alias.name for alias in node.names), node.lineno)


def rooms_entered(source: str) -> Iterator[tuple[str, int]]:
    """The rooms of thoth that a module imports from, each with the line."""
    for each in imports_of(source):
        if each.module.startswith("."):
            yield each.module, each.line  # a relative import, which is in no row
        elif each.module == "thoth":
            yield from ((name, each.line) for name in each.names or ("thoth",))
        elif each.module.startswith("thoth."):
            yield _room(each.module), each.line


def forbidden_edges(path: Path, source: str) -> list[str]:
    room = room_of(path)
    allowed = ROOMS.get(room, set()) | {room}
    return [
        f"{path}:{line}: '{room}' must not import from '{entered}': imports point one way (see ROOMS)"
        for entered, line in rooms_entered(source)
        if entered not in allowed
    ]


def stray_importers(path: Path, source: str) -> list[str]:
    return [
        f"{path}:{each.line}: {package} is imported by {' and '.join(sorted(ONLY_IMPORTERS[package]))} only,"
        " which translates its errors and keeps its cost from everybody else's start-up"
        for each in imports_of(source)
        if path.as_posix() not in ONLY_IMPORTERS.get(package := each.module.split(".")[0], {path.as_posix()})
    ]


def uses_of_the_environment(path: Path, source: str) -> list[str]:
    lines = [
        node.lineno
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Attribute)
        and node.attr in NAMES_OF_THE_ENVIRONMENT
        and isinstance(node.value, ast.Name)
        and node.value.id == "os"
    ]
    lines += [
        each.line for each in imports_of(source) if each.module == "os" and NAMES_OF_THE_ENVIRONMENT & {*each.names}
    ]
    return [
        f"{path}:{line}: the environment is read by thoth/config.py only (environment()): every setting has"
        " one place where it gets its value and its origin"
        for line in lines
    ]


def private_entrances(path: Path, source: str) -> list[str]:
    """Imports of sdc_thoth that are not ``from thoth import NAME`` with a public NAME."""
    return [
        f"{path}:{each.line}: the collector uses thoth as anybody else would: 'from thoth import X',"
        " X in thoth.__all__"
        for each in imports_of(source)
        if each.module.split(".")[0] == "thoth"
        and not (each.module == "thoth" and each.names and {*each.names} <= {*thoth.__all__})
    ]


@pytest.mark.parametrize("path", [p for p in sources("thoth") if p != Path("thoth/__init__.py")], ids=str)
def test_imports_of_thoth_point_one_way(path: Path) -> None:
    assert room_of(path) in ROOMS, f"{path}: a new room; say in ROOMS what it may import"
    found = forbidden_edges(path, (TOP / path).read_text())
    assert not found, "\n".join(found)


def test_the_rooms_have_an_order() -> None:
    """No two rooms may import each other, however far round."""
    left = {room: set(allowed) for room, allowed in ROOMS.items()}
    while free := {room for room, allowed in left.items() if not allowed & left.keys()}:
        left = {room: allowed for room, allowed in left.items() if room not in free}
    assert not left, f"these import each other in a circle: {sorted(left)}"


@pytest.mark.parametrize("path", [*sources("thoth"), *sources("sdc_thoth")], ids=str)
def test_only_importers_and_the_environment(path: Path) -> None:
    source = (TOP / path).read_text()
    found = stray_importers(path, source)
    if path != Path("thoth/config.py"):
        found += uses_of_the_environment(path, source)
    assert not found, "\n".join(found)


@pytest.mark.parametrize("path", list(sources("sdc_thoth")), ids=str)
def test_the_collector_uses_public_names_only(path: Path) -> None:
    found = private_entrances(path, (TOP / path).read_text())
    assert not found, "\n".join(found)


class TestTheRulesThemselves:
    """What they are for is found, wherever it hides."""

    @pytest.mark.parametrize(
        "source",
        [
            "from thoth.cli import main",
            "def f():\n    from thoth.library import Thoth",
            "if TYPE_CHECKING:\n    import thoth.ingest",
            "from thoth import cli",
            "import thoth",
            "from ..library import Thoth",
        ],
    )
    def test_edges(self, source: str) -> None:
        assert forbidden_edges(Path("thoth/dumps/elfcore.py"), source)
        assert not forbidden_edges(Path("thoth/dumps/elfcore.py"), "from thoth.dumps.source import Range")

    @pytest.mark.parametrize("source", ["import paramiko.client", "def f():\n    from paramiko import Agent"])
    def test_importers(self, source: str) -> None:
        assert stray_importers(Path("thoth/cli/find.py"), source)
        assert not stray_importers(Path("sdc_thoth/session.py"), source)

    @pytest.mark.parametrize(
        "source", ["import os\nos.environ['X']", "import os\nos.getenv('X')", "from os import environ"]
    )
    def test_environment(self, source: str) -> None:
        assert uses_of_the_environment(Path("x.py"), source)
        assert not uses_of_the_environment(Path("x.py"), "import os\nos.fsencode('x')")

    @pytest.mark.parametrize(
        "source",
        ["import thoth", "import thoth.model", "from thoth.model import Identity", "from thoth import cli"],
    )
    def test_entrances(self, source: str) -> None:
        assert private_entrances(Path("sdc_thoth/x.py"), source)
        assert not private_entrances(Path("sdc_thoth/x.py"), "from thoth import Identity")


# ---- start-up ---------------------------------------------------------------------------------------

# On a node ``thoth object`` runs once for each batch of dumps: it must not wait for what it does not use.
NOT_FOR_OBJECT = {
    "apscheduler", "concurrent", "cryptography", "dataclasses", "difflib", "elftools", "email", "http",
    "inspect", "json", "logging", "paramiko", "pathlib", "platformdirs", "requests", "rethinkdb", "rich",
    "shutil", "socket", "sqlite3", "ssl", "structlog", "subprocess", "tempfile", "threading", "tomllib",
    "traceback", "unicodedata", "thoth.config", "thoth.digest", "thoth.dumps.describe", "thoth.index",
    "thoth.ingest", "thoth.library", "thoth.model", "thoth.query", "thoth.store",
}  # fmt: skip


def test_object_imports_nothing_that_it_does_not_need(tmp_path: Path) -> None:
    dump = vectors.write("illumos-core64.core.30522", tmp_path)
    program = (
        "import sys; from thoth.cli import main; code = main(sys.argv[1:]);"
        "print(code, *sorted(sys.modules), file=sys.stderr)"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program, "object", str(dump)],
        cwd=TOP,
        capture_output=True,
        text=True,
        check=True,
    )
    code, *modules = ran.stderr.split()
    assert (code, ran.stdout) == ("0", "33d2dfba86463a5cd10ef5b743455e69\n")
    assert "thoth.dumps.identity" in modules
    assert not NOT_FOR_OBJECT & {*modules}, (
        "imported at start-up by way of thoth.cli.keep: import it where it is used"
    )
