"""node.sh while a tenant swaps what lies in a place (F16, F17): between its look at a thing and its use of it.

A race is won by chance. So the script under test is one whose look has been too early: it saw what was there before.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from signal import SIGKILL

import pytest

from sdc_thoth import images as image_protocol
from sdc_thoth import protocol
from sdc_thoth.images import Ask
from sdc_thoth.listing import Place
from sdc_thoth.protocol import Get
from tests.sdc_thoth.shells import SHELLS, Pipe, Shell, discover, found_in, plant
from tests.support.processes import wait_until

# The lookout takes seconds in each: of all shells the first, and that of illumos.
_USUAL = ("dash", "ksh93")


_SHELLS = [name if name in _USUAL else pytest.param(name, marks=pytest.mark.soak) for name in SHELLS]


@pytest.fixture(params=_SHELLS)
def shell(request: pytest.FixtureRequest) -> Shell:
    return Shell(tuple(SHELLS[request.param]), request.param != "no-stat")


def swapped(text: bytes, look: bytes, seen: bytes) -> bytes:
    """The script with another look."""
    assert text.count(look) == 1
    return text.replace(look, seen)


def seeing_a_file(shell: Shell) -> bytes:
    """The script, which takes all that is there for a file when it reads dumps."""
    return swapped(shell.script(), b'elif [ -f "./$name" ]; then', b'elif [ -e "./$name" ]; then')


@contextmanager
def running(shell: Shell, text: bytes, request: bytes, cwd: Path) -> Iterator[subprocess.Popen[bytes]]:
    """The shell that runs this script and is asked this, in a group of its own; nothing of it is left behind."""
    outer = ["sh", "-c", protocol.command(len(text)).replace("/bin/sh", " ".join(shell.words))]
    process = subprocess.Popen(
        outer,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=cwd,
        start_new_session=True,
    )
    with process:
        assert process.stdin
        process.stdin.write(text + request)
        process.stdin.flush()
        try:
            yield process
            assert wait_until(lambda: not of_group(process.pid), 15), of_group(process.pid)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, SIGKILL)


def said_by(process: subprocess.Popen[bytes]) -> bytes:
    """All that it says until its end, which is near."""
    out, err = process.communicate(timeout=12)
    assert err == b""
    return out


def of_group(group: int) -> list[str]:
    """The processes of a group that still run."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            name, _, fields = stat.read_text().rpartition(")")
        except (FileNotFoundError, ProcessLookupError):
            continue
        state, _parent, its_group, *_ = fields.split()
        if int(its_group) == group and state != "Z":
            found.append(name)
    return found


@pytest.mark.parametrize("skim", [True, False])
def test_F16_a_fifo_in_the_place_of_a_file(
    shell: Shell, cores: Path, places: list[Place], tmp_path: Path, skim: bool
) -> None:
    """Nobody writes into it: the open does not come back, and the shell is ended."""
    for name in (b"core.1", b"core.2", b"core.3"):
        plant(cores, name, b"mine")
    found = found_in(shell, places, tmp_path)
    (cores / "core.2").unlink()
    os.mkfifo(cores / "core.2")
    request = protocol.places_request(places) + protocol.read_request(
        [Get(each) for each in found], "mark", skim=skim
    )
    with running(shell, seeing_a_file(shell), request + protocol.END, tmp_path) as process:
        assert said_by(process) == b"hung mark\0"


def test_F16_a_fifo_that_somebody_writes_into(shell: Shell, cores: Path, places: list[Place], tmp_path: Path) -> None:
    """It can be opened, and reading it would wait."""
    core = plant(cores, b"core.1", b"mine")
    (found,) = found_in(shell, places, tmp_path)
    core.unlink()
    os.mkfifo(core)
    held = os.open(core, os.O_RDWR)
    os.write(held, b"not a dump")
    try:
        for skim in (True, False):
            request = protocol.places_request(places) + protocol.read_request([Get(found)], "mark", skim=skim)
            with running(shell, seeing_a_file(shell), request, tmp_path) as process:
                reply = Pipe(said_by(process))
            assert protocol.statuses(reply, [Get(found)], "mark") == ["not a regular file"]
            assert protocol.afterwards(reply, [], "mark") == []
    finally:
        os.close(held)


def opening_slowly(text: bytes, seconds: float) -> bytes:
    """The script, to which each open takes so long."""
    return swapped(text, b'eval "command exec $1<', b'eval "sleep %g; command exec $1<' % seconds)


@pytest.mark.parametrize("opens", [(7, 0.7), pytest.param((1, 5.0), marks=pytest.mark.soak)])
def test_F16_slow_opens_are_waited_for(
    shell: Shell, cores: Path, places: list[Place], tmp_path: Path, opens: tuple[int, float]
) -> None:
    count, seconds = opens
    for number in range(count):
        plant(cores, b"core.%d" % number, b"mine")
    gets = [Get(each) for each in found_in(shell, places, tmp_path)]
    request = protocol.places_request(places) + protocol.read_request(gets, "mark")
    with running(shell, opening_slowly(shell.script(), seconds), request, tmp_path) as process:
        reply = Pipe(said_by(process))
    assert protocol.statuses(reply, gets, "mark") == ["ok"] * count
    assert reply.read_exactly(4 * count) == b"mine" * count


def test_F16_an_open_that_never_comes_back_is_given_up(
    shell: Shell, cores: Path, places: list[Place], tmp_path: Path
) -> None:
    plant(cores, b"core.1", b"mine")
    gets = [Get(each) for each in found_in(shell, places, tmp_path)]
    request = protocol.places_request(places) + protocol.read_request(gets, "mark")
    text = swapped(opening_slowly(shell.script(), 9), b"[ $looks -eq 30 ]", b"[ $looks -eq 3 ]")
    with running(shell, text, request, tmp_path) as process:
        assert said_by(process) == b"hung mark\0"


def test_F16_a_fifo_in_the_place_of_a_library(shell: Shell, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "libc.so.1")
    text = swapped(shell.script(), b'[ -f "./$name" ] || return 0\n', b"")
    request = image_protocol.image_request([Ask(os.fsencode(tmp_path) + b"/libc.so.1", ((0, 1),))], "mark")
    with running(shell, text, request + protocol.END, tmp_path) as process:
        assert said_by(process) == b"hung mark\0"


def test_who_takes_long_to_read_is_waited_for(tmp_path: Path) -> None:
    """All shells at once, each with a file that does not fit into the pipe, and an asker that reads late."""
    place = Place("core", "-", f"{tmp_path}/cores", "core.*")
    (tmp_path / "cores").mkdir()
    for number in range(20):
        plant(tmp_path / "cores", b"core.%d" % number, b"x" * 300_000)
    started = []
    for words in SHELLS.values():
        shell = Shell(tuple(words), stat=True)
        gets = [Get(each) for each in found_in(shell, [place], tmp_path)]
        request = protocol.places_request([place]) + protocol.read_request(gets, "mark")
        held = running(shell, shell.script(), request, tmp_path)
        started.append((gets, held, held.__enter__()))
    time.sleep(7)
    for gets, held, process in started:
        reply = Pipe(said_by(process))
        for start in range(0, len(gets), protocol.GROUP):
            group = gets[start : start + protocol.GROUP]
            assert protocol.statuses(reply, group, "mark") == ["ok"] * len(group)
            assert reply.read_exactly(300_000 * len(group)) == b"x" * 300_000 * len(group)
            assert protocol.afterwards(reply, group, "mark") == [None] * len(group)
        protocol.ended(reply, "mark")
        held.__exit__(None, None, None)


def confined(text: bytes) -> bytes:
    """The script as it runs behind the command that confines our key."""
    return swapped(text, b"confined=${1-}\n", b"confined=answer\n")


# Where ls stands in for stat it tells no device, and nothing is held against that.
@pytest.mark.parametrize("shell", _SHELLS[: list(SHELLS).index("no-stat")], indirect=True)
@pytest.mark.parametrize("skim", [True, False])
def test_F17_a_link_at_the_open_that_is_a_file_at_each_look(shell: Shell, tmp_path: Path, skim: bool) -> None:
    """Who has the key may know the signature of what it leads to, too."""
    places = [Place("core", "-", f"{tmp_path}/zones/*/cores", "core.*")]
    for zone in ("good", "evil"):
        (tmp_path / "zones" / zone / "cores").mkdir(parents=True)
        plant(tmp_path / "zones" / zone / "cores", b"core.1", zone.encode())
    (tmp_path / "secrets").mkdir()
    secret = plant(tmp_path / "secrets", b"core.1", b"not mine")
    (foreign,) = found_in(shell, [Place("core", "-", f"{tmp_path}/secrets", "core.*")], tmp_path)
    evil, good = found_in(shell, places, tmp_path)
    (tmp_path / "zones/evil/cores/core.1").unlink()
    (tmp_path / "zones/evil/cores/core.1").symlink_to(secret)
    text = swapped(confined(shell.script()), b'elif [ -L "./$name" ]; then', b"elif false; then")
    text = swapped(text, b' && [ ! -L "./$2" ]', b"")
    gets = [Get(replace(foreign, directory=evil.directory)), Get(good)]
    request = protocol.places_request(places) + protocol.read_request(gets, "mark", skim=skim)
    with running(shell, text, request, tmp_path) as process:
        reply = Pipe(said_by(process))
    assert protocol.statuses(reply, gets, "mark") == ["not a regular file", "ok"]
    assert reply.read_exactly(4) == b"good"
    assert protocol.afterwards(reply, gets[1:], "mark") == [None]


@pytest.mark.parametrize("skim", [True, False])
def test_a_confined_script_reads_what_any_does(shell: Shell, tmp_path: Path, skim: bool) -> None:
    """Files of many directories, in many groups, and those that are there no more."""
    places = [Place("core", "-", f"{tmp_path}/zones/*/cores", "core.*")]
    for zone in ("a", "b c", "d\ne"):
        (tmp_path / "zones" / zone / "cores").mkdir(parents=True)
        for number in range(9):
            plant(tmp_path / "zones" / zone / "cores", b"core.%d\n*" % number, f"{zone}{number}".encode() * 2000)
    gets = [Get(each) for each in found_in(shell, places, tmp_path)]
    gets.sort(key=lambda get: get.found.name)  # each in another directory than the one before
    gone = gets.pop(4)
    Path(os.fsdecode(gone.found.directory + b"/" + gone.found.name)).unlink()
    gets.insert(4, gone)
    request = protocol.places_request(places) + protocol.read_request(gets, "mark", skim=skim)
    said = []
    for text in (shell.script(), confined(shell.script())):
        with running(shell, text, request, tmp_path) as process:
            said.append(said_by(process))
    assert len(gets) == 27 and said[0].count(b"ok") == 26
    assert said[1] == said[0]


def test_F16_a_confined_script_and_a_fifo(shell: Shell, tmp_path: Path) -> None:
    """It is opened after other directories were entered."""
    places = [Place("core", "-", f"{tmp_path}/zones/*/cores", "core.*")]
    for zone in ("a", "b"):
        (tmp_path / "zones" / zone / "cores").mkdir(parents=True)
        plant(tmp_path / "zones" / zone / "cores", b"core.1", b"mine")
    gets = [Get(each) for each in found_in(shell, places, tmp_path)]
    (tmp_path / "zones/a/cores/core.1").unlink()
    os.mkfifo(tmp_path / "zones/a/cores/core.1")
    request = protocol.places_request(places) + protocol.read_request(gets, "mark")
    with running(shell, confined(seeing_a_file(shell)), request, tmp_path) as process:
        assert said_by(process) == b"hung mark\0"


@pytest.mark.parametrize("other", ["zones/b/cores", "zones/b/root/var/cores", "cores"])
def test_F17_a_shell_that_was_led_elsewhere(shell: Shell, tmp_path: Path, other: str) -> None:
    """The path led through a link when the shell went there, and does not when it looks where it is."""
    mine, foreign = tmp_path / "zones/a/cores", tmp_path / other
    for folder in (mine, foreign):
        folder.mkdir(parents=True)
        plant(folder, b"core.1", b"a dump")
    place = Place("core", "-", f"{tmp_path}/zones/*/cores", "core.*")
    (found,) = [each for each in found_in(shell, [place], tmp_path) if each.directory == os.fsencode(mine)]
    went = f'if ! {{ cd -P "{foreign}" && PWD=$1; }} 2>/dev/null; then'.encode()
    text = swapped(shell.script(), b'if ! cd -P "$1" 2>/dev/null; then', went)
    for request in (protocol.discover_request(), protocol.read_request([Get(found)], "mark", skim=True)):
        with running(shell, text, protocol.places_request([place]) + request + protocol.END, tmp_path) as process:
            said = said_by(process)
        assert b"a dump" not in said and b"found" not in said.split(os.fsencode(mine))[0]
        assert b"the path leads through a link" in said


def test_F17_a_directory_whose_path_is_right_is_entered(shell: Shell, tmp_path: Path) -> None:
    for name in ("a b", "c\nd", "-e", "*"):
        folder = tmp_path / "zones" / name / "cores"
        folder.mkdir(parents=True)
        plant(folder, b"core.1", b"x")
    places = [Place("core", "-", f"{tmp_path}/zones/*/cores", "core.*"), Place("core", "-", "/", "no.such*")]
    assert len([each for each in discover(shell, places, tmp_path) if hasattr(each, "signature")]) == 4


def test_F16_a_fifo_in_the_place_of_a_file_that_is_debugged(
    shell: Shell, cores: Path, places: list[Place], tmp_path: Path
) -> None:
    """The debugger waits for who writes into it; its time is short here. Another one tells at once what it knows."""
    for name in (b"core.1", b"core.2"):
        plant(cores, name, b"mine")
    found = found_in(shell, places, tmp_path)
    (cores / "core.1").unlink()
    os.mkfifo(cores / "core.1")
    text = swapped(shell.script(), b'elif [ -L "./$name" ] || [ ! -f "./$name" ]; then\nsay 1 "$no_place"\n', b"")
    text = swapped(text, b"sleep 80 &", b"sleep 3 &").replace(b"limited mdb", b"limited cat")
    text = swapped(text, b'elif ! command -v mdb >/dev/null 2>&1; then\nsay 1 "there is no mdb"\n', b"")
    text = text.replace(b'-S -e "\\$c 0$newline::walk thread | ::findstack" ', b"")
    request = protocol.places_request(places) + protocol.debug_request(found)
    with running(shell, text, request, tmp_path) as process:
        reply = Pipe(said_by(process))
    assert list(protocol.debugged(reply, 2)) == [(True, ""), (True, "mine")]


def test_no_watchdog_is_left_behind(shell: Shell, cores: Path, places: list[Place], tmp_path: Path) -> None:
    """Of a shell that is killed while it waits for requests; ``running`` sees that nothing of it is left."""
    plant(cores, b"core.1", b"mine")
    request = protocol.places_request(places) + b"skim\tmark\n"
    with running(shell, shell.script(), request, tmp_path) as process:
        assert wait_until(lambda: len(of_group(process.pid)) > 1, 10)
        process.kill()
        process.wait()
