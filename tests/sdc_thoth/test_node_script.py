"""node.sh in every shell that a node may have: what it finds, what it reads, and that names are only names."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from contextlib import chdir
from itertools import pairwise
from pathlib import Path

from sdc_thoth import protocol
from sdc_thoth.listing import Bad, Found, Odd, Place, System
from sdc_thoth.protocol import Get
from tests.sdc_thoth.shells import NASTY, SHELLS, Pipe, Shell, ask, discover, found_in, plant, read


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


# All have a word too many or too few, an empty one, or one that no request of ours has.
MALFORMED = (
    b"place\tcore\t-\t%b\t[a-z\t%b\t]*",
    b"place\tcore\t-\t%b\t%b\tcore.*",
    b"place\tcore\t%b%b",
    b"place\tcore\t\t-\t%b%b\tcore.*",
    b"place\tcore\t-\t%b%b\tcore.*\t",
    b"place\tcore\t-\t%b\t..%b/*",
    b"place\tcore\t-\t%b%b\t[c]ore.*",
    b"place\tcore\t-\t%b%b\t{core,x}*",
    b"place\tcore\t-\t%b%b\t@(core)*",
    b"place\tcore\t-\t%b%b\tcore\\*",
    b"place\tcore\t-\t%b%b\tcore\r",
    b"place\tcore\t-\t.%b%b\tcore.*",
    b"skim\tm\nget\tx\t\t0\tall\t=%b%b\t=core.1",
    b"skim\tm\nget\tx\t0\tall\t=%b%b\t=core.1\t=x",
    b"skim\tm\nget\tx\t00\tall\t=%b%b\t=core.1",
    b"skim\tm\nget\tx\t-1\tall\t=%b%b\t=core.1",
    b"skim\tm\nget\tx\t0\t1+1\t=%b%b\t=core.1",
    b"skim\tm\nfile\t=%b%b\t=core.1",
    b"skim\tm\tm%.0b%.0b",
    b"press\tgzip%.0b%.0b",
    b"image\tm\nfile\t=%b\t=%b\t=core.1",
    b"image\tm\nfile\t=%b%b\t=core.1\npart\t0\t08",
    b"image\tm\nend%.0b%.0b",
    b"debug\nfile\t=%b\t=%b",
    b"hash\t=%b\t=%b",
    b"end\r%.0b%.0b",
)


def test_F74_a_request_is_of_the_right_form_or_refused(
    shell: Shell, cores: Path, places: list[Place], tmp_path: Path
) -> None:
    plant(cores, b"core.1", b"mine")
    folder = os.fsencode(cores)
    for form in MALFORMED:
        request = form % (folder[:-3], folder[-3:])
        said = ask(shell, request + b"\n" + protocol.discover_request(), tmp_path, places).rest()
        assert said.endswith(b"bad\0-\0-\0a request that this version does not know\0"), (form, said)
        assert b"mine" not in said and b"found" not in said, (form, said)


def test_half_a_request_has_no_end(shell: Shell, cores: Path, places: list[Place], tmp_path: Path) -> None:
    plant(cores, b"core.1", b"mine")
    (found,) = found_in(shell, places, tmp_path)
    text = shell.script() + protocol.places_request(places)
    outer = ["sh", "-c", protocol.command(len(shell.script())).replace("/bin/sh", " ".join(shell.words))]
    for whole in (protocol.read_request([Get(found)], "mark"), protocol.hash_request([found], "/bin/true")):
        request = text + whole.removesuffix(protocol.END)
        done = subprocess.run(outer, input=request, capture_output=True, cwd=tmp_path, timeout=30, check=False)
        assert done.returncode == 1 and b"end" not in done.stdout, done


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
