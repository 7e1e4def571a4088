"""Executables and symbols from debuginfod: a server that is asked little, believed less, and not waited for."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support.debuginfod_server import Served, debuginfod_server
from tests.support.fileserver import file_server
from tests.support.roots import program
from tests.support.scripted_http import Peer, Scripted
from thoth.debuginfod import Debuginfod
from thoth.dumps.binaries import build_id_of
from thoth.dumps.source import LocalFile, ReadAt

SOURCE = Path(__file__).parents[1] / "support" / "crashes.cpp"
NONE = "ab" * 20


@pytest.fixture
def served() -> Iterator[Served]:
    with debuginfod_server() as server:
        yield server


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("built") / "program"
    subprocess.run([program("g++"), "-O2", "-pthread", SOURCE, "-o", path], check=True)
    return path


def build_id(path: Path) -> str:
    with LocalFile(path) as file:
        return build_id_of(file) or ""


Open = Callable[..., Debuginfod]


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def opened(tmp_path: Path, said: list[str]) -> Iterator[Open]:
    left: list[Debuginfod] = []

    def make(urls: str, **more: Any) -> Debuginfod:
        left.append(Debuginfod(urls, tmp_path / "cache", said.append, **more))
        return left[-1]

    yield make
    for each in left:
        each.__exit__(None, None, None)


def content(file: ReadAt | None) -> bytes | None:
    return None if file is None else file.read_at(0, file.size)


# ---- what it brings --------------------------------------------------------------------------------


def test_a_file_comes_once_and_lies_where_debuginfod_find_has_it(
    served: Served, built: Path, opened: Open, said: list[str], tmp_path: Path
) -> None:
    digits = build_id(built)
    served.files[digits, "executable"] = built
    for _ in range(2):
        servers = opened(served.url)
        assert content(servers.open(b"/any/where", digits)) == built.read_bytes()
        assert content(servers.open(b"/any/where", digits)) == built.read_bytes()
    assert served.asked == [f"/buildid/{digits}/executable"]
    assert [path.name for path in (tmp_path / "cache" / digits).iterdir()] == ["executable"]
    assert said == []


def test_what_no_server_has_is_asked_for_once_in_a_run(served: Served, opened: Open, said: list[str]) -> None:
    servers = opened(f"ima:enforcing {served.url} {served.url}/")
    for _ in range(3):
        assert servers.symbols(NONE) is None
        assert servers.open(b"/x", "not hex") is None
    assert served.asked == [f"/buildid/{NONE}/debuginfo"] * 2
    assert said == []


def test_an_empty_file_in_the_cache_is_none(served: Served, opened: Open, tmp_path: Path) -> None:
    (tmp_path / "cache" / NONE).mkdir(parents=True)
    (tmp_path / "cache" / NONE / "debuginfo").touch(mode=0)
    assert opened(served.url).symbols(NONE) is None
    assert served.asked == [f"/buildid/{NONE}/debuginfo"]


# ---- what goes wrong -------------------------------------------------------------------------------


@pytest.mark.parametrize("url", ["http://example.com", "ftp://127.0.0.1", "https://u:secret@h", "x", "http://[::"])
def test_whom_nobody_may_ask(url: str, opened: Open, said: list[str]) -> None:
    assert opened(url).open(b"/x", NONE) is None
    assert said == ["DEBUGINFOD_URLS: a server has to be https://HOST, or http on this machine; passed over"]


def test_a_server_that_is_away_is_asked_once(served: Served, opened: Open, said: list[str]) -> None:
    with Scripted(lambda peer: None) as gone:
        url = gone.url
    servers = opened(f"{url} {served.url}")
    assert servers.open(b"/x", NONE) is None and servers.symbols(NONE) is None
    assert len(served.asked) == 2
    assert said == [f"debuginfod {url}: no connection: connection refused; not asked again"]


@contextmanager
def answering(answer: bytes, *, size: int | None = None, pause: float = 0.0) -> Iterator[str]:
    def send(peer: Peer) -> bool:
        peer.send(answer, size=size, pause=pause)
        return False

    with Scripted(send) as server:
        yield server.url


HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n"


@pytest.mark.parametrize(
    ("answer", "because"),
    [
        (b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n", "answers with status 500"),
        (b"HTTP/1.1 302 No\r\nLocation: http://x/\r\nContent-Length: 0\r\n\r\n", "answers with status 302"),
        (HEAD % 5 + b"hello", "another file than the one asked for"),
        (HEAD % 50 + b"hello", "the connection broke"),
        (HEAD % 5000 + bytes(5000), "larger than"),
        (b"no http\r\n\r\n", "the connection broke"),
    ],
)
def test_a_server_that_answers_badly(
    answer: bytes, because: str, opened: Open, said: list[str], tmp_path: Path
) -> None:
    with answering(answer) as url:
        servers = opened(url, largest=4096)
        assert servers.open(b"/x", NONE) is None and servers.symbols(NONE) is None
    (line,) = said
    assert because in line and line.startswith(f"debuginfod {url}: ") and line.endswith("; not asked again")
    assert [path for path in (tmp_path / "cache").rglob("*") if path.is_file()] == []


def test_a_server_that_takes_its_time(opened: Open, said: list[str]) -> None:
    with answering(HEAD % (1 << 20) + bytes(1 << 20), size=1024, pause=0.05) as url:
        assert opened(url, seconds=0.5).open(b"/x", NONE) is None
    assert len(said) == 1 and "silent for too long" in said[0]


def test_a_server_that_cannot_prove_who_it_is(opened: Open, said: list[str], tmp_path: Path) -> None:
    with file_server(tmp_path) as (url, _):
        assert opened(url).open(b"/x", NONE) is None
    assert len(said) == 1 and "its certificate is not trusted" in said[0]


def test_a_run_waits_no_more_than_its_time(served: Served, opened: Open) -> None:
    times = iter(range(0, 1000, 20))
    servers = opened(served.url, clock=lambda: float(next(times)))
    for number in range(4):
        assert servers.open(b"/x", f"{number:040x}") is None
    assert len(served.asked) == 2


def test_a_cache_that_cannot_be_written(
    served: Served, built: Path, opened: Open, said: list[str], tmp_path: Path
) -> None:
    (tmp_path / "cache").write_text("a file")
    served.files[build_id(built), "executable"] = built
    assert opened(served.url).open(b"/x", build_id(built)) is None
    assert len(said) == 1 and "Not a directory" in said[0]
