"""node.sh in every shell that a node may have: what it finds, what it reads, and that names are only names."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Sequence
from contextlib import chdir
from dataclasses import dataclass
from io import BytesIO
from itertools import pairwise
from pathlib import Path

import pytest

from sdc_thoth import images as image_protocol
from sdc_thoth import protocol
from sdc_thoth.errors import ProtocolError
from sdc_thoth.expand import expanded
from sdc_thoth.images import Ask, Told, image_request
from sdc_thoth.listing import Bad, Found, Odd, Place, System
from sdc_thoth.protocol import Get

SHELLS = {
    "dash": ["dash"],
    "bash": ["bash"],
    "bash-posix": ["bash", "--posix"],
    "busybox": ["busybox", "sh"],
    "ksh93": ["ksh93"],  # the sh of illumos
    "no-stat": ["dash"],
}

NASTY = [
    b"a b",
    b"tab\there",
    b"new\nline",
    b"ends in newline\n",
    b"'single'",
    b'"double"',
    b";touch CANARY;",
    b"$(touch CANARY)",
    b"`touch CANARY`",
    b"&touch CANARY&",
    b"|touch CANARY",
    b">CANARY",
    b"<CANARY",
    b"*",
    b"?",
    b"[a-z]",
    b"{a,b}",
    b"~",
    b"!history",
    b"#comment",
    b"%s%n%d",
    b"back\\slash\\n\\0101",
    b"-rf",
    b"--help",
    b"..",
    b"...",
    b"=word",
    b"ticket=X.k=v",
    b"\xff\xfe\n;$(touch CANARY)",
    b"\x81\x82\x83\x88",  # what dash uses for itself inside words
    b"\x1b[31mred\x1b[0m",
    b"\xe2\x80\xa8line separator",
    b"\x7f\x01\x02",
    bytes(range(1, 256)).replace(b"/", b"")[:200],
    bytes(range(1, 256)).replace(b"/", b"")[200:],
    b"x" * 250,
    b"",
]


class Pipe:
    """A reply as the parsers read it."""

    def __init__(self, data: bytes) -> None:
        self._data = BytesIO(data)

    def read_until(self, separator: bytes, limit: int) -> bytes:
        start = self._data.tell()
        found, there, _ = self._data.getvalue()[start : start + limit + 1].partition(separator)
        if not there:
            raise ProtocolError("no separator")
        self._data.seek(start + len(found) + 1)
        return found

    def recv(self) -> bytes:
        return self._data.read(1000)

    def unread(self, data: bytes) -> None:
        self._data.seek(-len(data), os.SEEK_CUR)

    def read_exactly(self, count: int) -> bytes:
        data = self._data.read(count)
        if len(data) != count:
            raise ProtocolError("ended early")
        return data


@dataclass(frozen=True, slots=True)
class Shell:
    """A shell, and whether its node has a stat; without one, ls has to do."""

    words: tuple[str, ...]
    stat: bool

    def script(self) -> bytes:
        text = protocol.script()
        if self.stat:
            return text
        without = text.replace(b"\nchoose_stat\n", b"\nstat() { return 1; }\nchoose_stat\n")
        return without.replace(b"exec stat", b"stat")


@pytest.fixture(params=SHELLS)
def shell(request: pytest.FixtureRequest) -> Shell:
    return Shell(tuple(SHELLS[request.param]), request.param != "no-stat")


def ask(shell: Shell, request: bytes, cwd: Path, places: Sequence[Place] = ()) -> Pipe:
    """Run the script as a node does: the shell takes it from stdin, then the places and the requests."""
    text = shell.script()
    request = protocol.places_request(places) + request.removesuffix(protocol.END) + protocol.END
    outer = ["sh", "-c", protocol.command(len(text)).replace("/bin/sh", " ".join(shell.words))]
    done = subprocess.run(outer, input=text + request, capture_output=True, cwd=cwd, timeout=30, check=False)
    assert done.stderr == b""
    return Pipe(done.stdout)


def discover(shell: Shell, places: Sequence[Place], cwd: Path) -> list[System | Found | Odd | Bad]:
    return list(protocol.discovered(ask(shell, protocol.discover_request(), cwd, places), places))


def found_in(shell: Shell, places: Sequence[Place], cwd: Path) -> list[Found]:
    return [item for item in discover(shell, places, cwd) if isinstance(item, Found)]


def read(
    shell: Shell, places: Sequence[Place], gets: Sequence[Get], cwd: Path, *, skim: bool = False
) -> list[bytes | str]:
    """The bytes of each part, or the status that says why there are none."""
    reply = ask(shell, protocol.read_request(gets, "mark", skim=skim), cwd, places)
    answers: list[bytes | str] = []
    for start in range(0, len(gets), protocol.GROUP):
        group = gets[start : start + protocol.GROUP]
        statuses = protocol.statuses(reply, group, "mark")
        answers += [reply.read_exactly(g.length) if s == "ok" else s for g, s in zip(group, statuses, strict=True)]
        ok = [get for get, status in zip(group, statuses, strict=True) if status == "ok"]
        assert not any(protocol.afterwards(reply, ok, "mark"))
    protocol.ended(reply, "mark")
    return answers


def test_the_script_may_come_in_pieces(shell: Shell, tmp_path: Path) -> None:
    text = shell.script()
    outer = ["sh", "-c", protocol.command(len(text)).replace("/bin/sh", " ".join(shell.words))]
    sent = text + protocol.about_request() + protocol.END
    with subprocess.Popen(outer, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=tmp_path) as process:
        assert process.stdin and process.stdout
        ends = (1, 2000, 2001, len(text) - 1, len(text), len(text) + 2, len(sent))
        for start, end in pairwise((0, *ends)):
            process.stdin.write(sent[start:end])
            process.stdin.flush()
            time.sleep(0.01)  # so that dd gets what there is
        process.stdin.close()
        told = protocol.about(Pipe(process.stdout.read()))
    assert (told.system, told.node, told.release, told.version, told.machine) == tuple(os.uname())


def test_half_a_script_is_not_run(shell: Shell, tmp_path: Path) -> None:
    text = shell.script()
    outer = ["sh", "-c", protocol.command(len(text)).replace("/bin/sh", " ".join(shell.words))]
    done = subprocess.run(outer, input=text[:-1], capture_output=True, cwd=tmp_path, timeout=30, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (1, b"", b"")


@pytest.fixture
def cores(tmp_path: Path) -> Path:
    folder = tmp_path / "zones" / "7a1" / "cores"
    folder.mkdir(parents=True)
    return folder


@pytest.fixture
def places(tmp_path: Path) -> list[Place]:
    return [Place("core", "-", f"{tmp_path}/zones/*/cores", "core.*")]


def plant(folder: Path, name: bytes, content: bytes) -> Path:
    path = os.fsencode(folder) + b"/" + name
    Path(os.fsdecode(path)).write_bytes(content)
    return Path(os.fsdecode(path))


def test_F20_hostile_names_are_found_and_read(shell: Shell, cores: Path, places: list[Place], tmp_path: Path) -> None:
    names = [b"core." + name for name in NASTY]
    for number, name in enumerate(names):
        plant(cores, name, b"%d:" % number + os.urandom(5000))
    found = found_in(shell, places, tmp_path)
    assert sorted(each.name for each in found) == sorted(names)
    whole = read(shell, places, [Get(each) for each in found], tmp_path)
    heads = read(shell, places, [Get(each, 0, 1) for each in found], tmp_path, skim=True)
    for each, body, head in zip(found, whole, heads, strict=True):
        assert body == Path(os.fsdecode(each.path)).read_bytes()
        assert head == body[:4096]
    assert not list(tmp_path.rglob("CANARY"))


def test_F20_hostile_directory_names(shell: Shell, tmp_path: Path, places: list[Place]) -> None:
    for name in (b"a b", b"$(touch CANARY)", b"\xff\xfe;x", b"-n", b"q'\"q", b"new\nline", b"*"):
        folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/zones/" + name + b"/cores"))
        folder.mkdir(parents=True)
        (folder / "core.x").write_bytes(name)
    found = found_in(shell, places, tmp_path)
    bodies = read(shell, places, [Get(each) for each in found], tmp_path)
    assert sorted(bodies) == sorted((b"a b", b"$(touch CANARY)", b"\xff\xfe;x", b"-n", b"q'\"q", b"new\nline", b"*"))
    assert not list(tmp_path.rglob("CANARY"))


def test_parts_of_files(shell: Shell, cores: Path, places: list[Place], tmp_path: Path) -> None:
    content = os.urandom(50_001)
    plant(cores, b"core.x", content)
    (found,) = found_in(shell, places, tmp_path)
    parts = [(0, None), (0, 3), (2, 5), (11, None), (12, 4), (12, None), (13, 1), (0, 100)]
    gets = [Get(found, skip, units) for skip, units in parts]
    answers = read(shell, places, gets, tmp_path)
    ends = [None if units is None else (skip + units) * 4096 for skip, units in parts]
    assert answers == [content[skip * 4096 : end] for (skip, _), end in zip(parts, ends, strict=True)]


# The times of files, in nanoseconds since 1970, and how a stat tells them that knows such.
TIMES = {
    0: "0.000000000",
    1: "0.000000001",
    1_600_000_000_123_456_789: "1600000000.123456789",
    (1 << 31) * 10**9: "2147483648.000000000",
    -(10**9): "-1.000000000",
    -1_500_000_000: "-1.500000000",
}


def test_F19_what_a_signature_says(shell: Shell, cores: Path, places: list[Place], tmp_path: Path) -> None:
    """To the digit: the journal knows a file by it."""
    expected = {}
    for number, (ns, exact) in enumerate(TIMES.items()):
        core = plant(cores, b"core.%d" % number, b"x" * number)
        os.utime(core, ns=(ns, ns))
        stat = core.stat()
        if stat.st_mtime_ns != ns:  # by a file system that has no such time
            assert ns < 0 or ns >= (1 << 31) * 10**9
            core.unlink()
            continue
        whole = shell.words[0] == "busybox"
        modified = str(ns // 10**9) if whole or (not shell.stat and ns < 0) else exact
        changed = str(stat.st_ctime_ns // 10**9) + ("" if whole else f".{stat.st_ctime_ns % 10**9:09}")
        device = stat.st_dev if shell.stat else 0
        expected[core.name.encode()] = f"{device}:{stat.st_ino}:{number}:{modified}:{changed}:1".encode()
    found = found_in(shell, places, tmp_path)
    assert {each.name: each.signature.raw for each in found} == expected
    assert read(shell, places, [Get(each) for each in found], tmp_path) == [b"x" * each.size for each in found]


def test_more_than_one_listing(shell: Shell, cores: Path, places: list[Place], tmp_path: Path) -> None:
    for number in range(450):
        plant(cores, b"core.%d" % number, b"%d" % number)
    found = found_in(shell, places, tmp_path)
    assert len({each.name for each in found}) == 450
    assert all(each.size == len(each.name) - 5 for each in found)


def test_F16_what_is_not_a_file(shell: Shell, cores: Path, places: list[Place], tmp_path: Path) -> None:
    os.mkfifo(cores / "core.fifo")
    (cores / "core.folder").mkdir()
    with socket.socket(socket.AF_UNIX) as server:
        with chdir(cores):
            server.bind("core.socket")  # the whole path may be longer than the address of a socket can be
        os.mknod(cores / "core.zero", 0o20600, os.makedev(1, 5))
        (cores / "core.link").symlink_to("/etc/passwd")
        (cores / "core.dangling").symlink_to("/nowhere")
        (cores / "core.loop").symlink_to("core.loop")
        items = discover(shell, places, tmp_path)
    kinds = {item.name: item.kind for item in items if isinstance(item, Odd)}
    assert kinds == {
        b"core.fifo": "a FIFO",
        b"core.folder": "a directory",
        b"core.socket": "a socket",
        b"core.zero": "a device",
        b"core.link": "a link",
        b"core.dangling": "a link",
        b"core.loop": "a link",
    }
    assert not any(isinstance(item, Found) for item in items)


def test_F17_links_are_not_read(shell: Shell, cores: Path, places: list[Place], tmp_path: Path) -> None:
    secret = plant(tmp_path, b"secret", b"another tenant's")
    core = plant(cores, b"core.1", b"mine")
    (found,) = found_in(shell, places, tmp_path)
    core.unlink()
    core.symlink_to(secret)
    assert read(shell, places, [Get(found)], tmp_path) == ["a link"]
    core.unlink()
    os.link(secret, core)
    (status,) = read(shell, places, [Get(found)], tmp_path)
    assert isinstance(status, str) and status.startswith("changed ")
    core.unlink()
    os.mkfifo(core)
    assert read(shell, places, [Get(found)], tmp_path) == ["not a regular file"]


def test_F17_a_directory_that_becomes_a_link(shell: Shell, cores: Path, places: list[Place], tmp_path: Path) -> None:
    plant(cores, b"core.1", b"mine")
    (found,) = found_in(shell, places, tmp_path)
    cores.rename(tmp_path / "elsewhere")
    cores.symlink_to(tmp_path / "elsewhere")
    assert read(shell, places, [Get(found)], tmp_path) == ["the path leads through a link"]
    (bad,) = [item for item in discover(shell, places, tmp_path) if isinstance(item, Bad)]
    assert bad.reason == "the path leads through a link"


def test_F74_only_what_discovery_would_list(shell: Shell, cores: Path, places: list[Place], tmp_path: Path) -> None:
    plant(cores, b"core.1", b"mine")
    (found,) = found_in(shell, places, tmp_path)
    deep = tmp_path / "zones" / "7a1" / "root" / "cores"
    deep.mkdir(parents=True)
    plant(deep, b"core.1", b"not listed")
    forged = [
        Found("core", b"/etc", b"passwd", found.signature),
        Found("core", found.directory, b"../cores/core.1", found.signature),
        Found("core", found.directory + b"/../cores", b"core.1", found.signature),
        Found("core", os.fsencode(deep), b"core.1", found.signature),
        Found("core", found.directory, b"bore.1", found.signature),
    ]
    for each in forged:
        (status,) = read(shell, places, [Get(each)], tmp_path)
        assert status in (
            "not a place where dumps are collected",
            "not a name",
            "the path leads through a link",
        )


def test_F13_F14_what_became_of_a_file(shell: Shell, cores: Path, places: list[Place], tmp_path: Path) -> None:
    for name in (b"core.gone", b"core.grown", b"core.replaced", b"core.same"):
        plant(cores, name, b"content")
    found = {each.name: each for each in found_in(shell, places, tmp_path)}
    (cores / "core.gone").unlink()
    with (cores / "core.grown").open("ab") as file:
        file.write(b" and more")
    plant(cores, b"fresh", b"content").rename(cores / "core.replaced")
    gets = [Get(found[name]) for name in (b"core.gone", b"core.grown", b"core.replaced", b"core.same")]
    gone, grown, replaced, same = read(shell, places, gets, tmp_path)
    assert gone == "gone"
    assert isinstance(grown, str) and protocol.Signature.parse(grown[8:].encode()).size == 16
    assert isinstance(replaced, str) and replaced.startswith("changed ")
    assert same == b"content"


def images(shell: Shell, asks: Sequence[Ask], cwd: Path) -> list[Told]:
    return list(image_protocol.images(ask(shell, image_request(asks, "mark"), cwd), asks, "mark"))


ELF = b"\x7fELF\2\1\1" + bytes(9) + b"\3\0>\0"


def test_parts_of_executables(shell: Shell, cores: Path, tmp_path: Path) -> None:
    data = (ELF + bytes(range(256)) * 100)[:20000]
    for name in (b"app", *NASTY):
        if name.strip(b"."):
            plant(cores, name, data)
    asks = [Ask(str(cores).encode() + b"/app", ((0, 1), (2, 2), (4, 9)))]
    asks += [Ask(str(cores).encode() + b"/" + name, ((1, 1),)) for name in NASTY if name.strip(b".")]
    first, *others = images(shell, asks, tmp_path)
    assert (first.status, first.signature and first.signature.size) == ("ok", 20000)
    assert first.parts == ((0, data[:4096]), (8192, data[8192:16384]), (16384, data[16384:]))
    assert {(told.status, told.parts) for told in others} == {("ok", ((4096, data[4096:8192]),))}
    assert not (tmp_path / "CANARY").exists()


def test_F74_executables_and_nothing_else(shell: Shell, cores: Path, tmp_path: Path) -> None:
    plant(cores, b"shadow", b"root:secret")
    plant(cores, b"empty", b"")
    plant(cores, b"core", ELF[:16] + b"\4\0" + bytes(5000))
    plant(cores, b"object", ELF[:16] + b"\1\0" + bytes(5000))
    plant(cores, b"app", ELF + bytes(5000))
    (cores / "link").symlink_to("app")
    (tmp_path / "way").symlink_to(cores)
    os.mkfifo(cores / "fifo")
    paths = {
        f"{cores}/shadow": "not an executable or library",
        f"{cores}/empty": "not an executable or library",
        f"{cores}/core": "not an executable or library",
        f"{cores}/object": "not an executable or library",
        f"{cores}/fifo": "not a regular file",
        f"{cores}": "not a regular file",
        f"{cores}/gone": "not a regular file",
        f"{cores}/none/app": "gone",
        f"{cores}/link": "a link",
        f"{tmp_path}/way/app": "the path leads through a link",
        f"{cores}/../{cores.name}/app": "the path leads through a link",
        f"{cores}/..": "not a name",
        f"{cores}/": "not a name",
        "/dev/zero": "not a regular file",
        "app": "gone",
        f"{cores}/app": "ok",
    }
    told = images(shell, [Ask(path.encode(), ((0, 1),)) for path in paths], tmp_path)
    assert {path: each.status for path, each in zip(paths, told, strict=True)} == paths


@pytest.mark.parametrize("evil", ["1;touch CANARY", "$(touch CANARY)", "all;touch CANARY", "", "1x", "9" * 17])
def test_F74_numbers_are_numbers(evil: str, shell: Shell, cores: Path, places: list[Place], tmp_path: Path) -> None:
    plant(cores, b"core.1", b"x" * 5000)
    plant(cores, b"app", ELF + bytes(5000))
    (found,) = found_in(shell, places, tmp_path)
    good = protocol.read_request([Get(found, 1, 1)], "mark")
    row = b"\t1\t1\t"
    assert row in good
    for words in (f"\t{evil}\t1\t", f"\t1\t{evil}\t"):
        reply = ask(shell, good.replace(row, words.encode()), tmp_path, places)
        assert reply.read_until(b"\0", 100) == b"bad"
    for words in (f"{evil}\t1", f"1\t{evil}"):
        request = image_request([Ask(str(cores / "app").encode(), ((1, 1),))], "mark")
        reply = ask(shell, request.replace(b"\t1\t1\n", f"\t{words}\n".encode()), tmp_path)
        assert b"bad" in [reply.read_until(b"\0", 200) for _ in range(4)]
    assert not (tmp_path / "CANARY").exists() and not (cores / "CANARY").exists()


def test_the_systems_own_places(shell: Shell, cores: Path, places: list[Place], tmp_path: Path) -> None:
    plant(cores, b"core.1", b"x")
    other = [Place("core", "SunOS", places[0].directory, "core.*")]
    assert not found_in(shell, other, tmp_path)
    same = [Place("core", os.uname().sysname, places[0].directory, "core.*")]
    assert len(found_in(shell, same, tmp_path)) == 1


def test_a_place_that_is_not_there_is_empty(shell: Shell, tmp_path: Path) -> None:
    places = [
        Place("core", "-", f"{tmp_path}/no/such", "core.*"),
        Place("core", "-", f"{tmp_path}/*/x", "core.*"),
    ]
    (system,) = discover(shell, places, tmp_path)
    assert isinstance(system, System) and system.name == os.uname().sysname


def test_about(shell: Shell, tmp_path: Path) -> None:
    about = protocol.about(ask(shell, protocol.about_request(), tmp_path))
    uname = os.uname()
    assert (about.system, about.node, about.release) == (uname.sysname, uname.nodename, uname.release)


def test_one_shell_answers_what_is_asked_after_its_answer(
    shell: Shell, cores: Path, places: list[Place], tmp_path: Path
) -> None:
    plant(cores, b"core.1", b"x" * 5000)
    text = shell.script()
    outer = ["sh", "-c", protocol.command(len(text)).replace("/bin/sh", " ".join(shell.words))]
    with subprocess.Popen(outer, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=tmp_path) as process:
        assert process.stdin and process.stdout

        def put(request: bytes) -> None:
            assert process.stdin
            process.stdin.write(request)
            process.stdin.flush()

        put(text + protocol.places_request(places) + protocol.discover_request())
        came = b""
        while not came.endswith(b"\0end\0"):
            came += os.read(process.stdout.fileno(), 1000)
        (found,) = [each for each in protocol.discovered(Pipe(came), places) if isinstance(each, Found)]
        put(protocol.read_request([Get(found)], "mark", skim=True, about=True))
        reply = Pipe(process.stdout.read())
        assert process.wait(10) == 0
    assert protocol.about(reply).system == os.uname().sysname
    assert protocol.statuses(reply, [Get(found)], "mark") == ["ok"]
    assert reply.read_exactly(5000) == b"x" * 5000


def test_every_shell_is_there() -> None:
    assert all(shutil.which(words[0]) for words in SHELLS.values())


# ---- compressed on the way -------------------------------------------------------------------------------


@pytest.mark.parametrize("program", ["gzip", "zstd"])
@pytest.mark.parametrize("start", [0, 4096, 1 << 20])
def test_a_file_comes_compressed(shell: Shell, program: str, start: int, cores: Path, places: list[Place]) -> None:
    content = os.urandom(4096) * 700 + b"end"
    (cores / "core.a b").write_bytes(content)
    (found,) = found_in(shell, places, cores)
    get = Get(found, start // 4096)
    reply = ask(shell, protocol.read_request([get], "mark", press=program), cores, places)
    assert protocol.statuses(reply, [get], "mark") == ["ok"]
    came: list[int] = []
    assert b"".join(expanded(reply, get.length, program, came.append)) == content[start:]
    assert sum(came) >= 4096
    assert protocol.afterwards(reply, [get], "mark") == [None]
    protocol.ended(reply, "mark")


@pytest.mark.parametrize("program", ["lzma", "", "gzip;touch CANARY", "$(touch CANARY)"])
def test_another_program_is_not_run(shell: Shell, program: str, cores: Path, places: list[Place]) -> None:
    (cores / "core.1").write_bytes(b"x" * 5000)
    (found,) = found_in(shell, places, cores)
    request = protocol.read_request([Get(found)], "mark", press=program or "-")
    reply = ask(shell, request, cores, places)
    assert protocol.statuses(reply, [Get(found)], "mark") == ["cannot compress"]
    assert list(cores.parent.rglob("CANARY")) == []


def test_what_has_changed_is_not_compressed(shell: Shell, cores: Path, places: list[Place]) -> None:
    (cores / "core.1").write_bytes(b"x" * 5000)
    (found,) = found_in(shell, places, cores)
    (cores / "core.1").write_bytes(b"y" * 6000)
    reply = ask(shell, protocol.read_request([Get(found)], "mark", press="gzip"), cores, places)
    (status,) = protocol.statuses(reply, [Get(found)], "mark")
    assert status.startswith("changed ")
    protocol.afterwards(reply, [], "mark")
    protocol.ended(reply, "mark")
