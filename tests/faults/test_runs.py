"""Runs of the command: one at a time (F50 to F52), ended by signals (F54), with keys that do not fit (F09, F73)."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.faults.scene import IMPATIENT, MIB, Scene, within
from tests.support.chaos import HalfOpen, Proxy, Silence
from tests.support.collector import Pass
from tests.support.processes import wait_until
from tests.support.server import make_key
from tests.support.sshd import Fleet, Node, NodeSpec

BIG = 5 * MIB
_HOLDER = r"process (?P<pid>\d+), since (?P<since>\S+Z),"


@pytest.fixture
def scene(fleet: Callable[..., Fleet], tmp_path: Path) -> Scene:
    """One node with one dump."""
    made = Scene(fleet(1), tmp_path / "home")
    made.plant(made.fleet[0], 16384)
    return made


@contextmanager
def held(scene: Scene) -> Iterator[Proxy]:
    """Runs that start meanwhile go on until the proxy's connections are cut: a node of theirs says nothing."""
    with Proxy(("127.0.0.1", 1), Silence()) as silent:
        scene.reach({"silent": silent.address})
        yield silent
    scene.reach({})


def locked(scene: Scene, run: subprocess.Popen[str]) -> bool:
    """Whether this run holds the lock: who has it writes so. To try it would be to take it away from a run."""
    try:
        return re.fullmatch(rb"%d \S+Z\n" % run.pid, scene.lock.read_bytes()) is not None
    except FileNotFoundError:
        return False


# ---- one at a time ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("rounds", [2, pytest.param(50, marks=pytest.mark.soak)])
def test_F50_of_runs_that_start_together_one_goes_on(scene: Scene, rounds: int) -> None:
    with held(scene) as silent:
        for _ in range(rounds):
            together = [scene.collector.start("-T", "30") for _ in range(4)]
            assert wait_until(lambda: sum(each.poll() is None for each in together) == 1, 20)  # noqa: B023 - called at once
            (winner,) = [each for each in together if each.poll() is None]
            for each in together:
                if each is winner:
                    continue
                out, said = each.communicate()
                # The winner may be slow to write who it is.
                told = re.fullmatch(
                    rf"sdc-thoth: already running: ({_HOLDER}|another process) holds (?P<path>.*)\n", said
                )
                assert told, said
                assert (each.returncode, out, told["path"]) == (75, "", str(scene.lock))
                assert told["pid"] in (None, str(winner.pid))
            assert wait_until(lambda: locked(scene, winner), 20)  # noqa: B023 - called at once
            told = re.fullmatch(rf"sdc-thoth: already running: {_HOLDER} holds .*\n", scene.collector.run().stderr)
            assert told and told["pid"] == str(winner.pid)
            assert abs(time.time() - _seconds(told["since"])) < 60
            silent.cut()
            out, said = winner.communicate(timeout=20)
            assert winner.returncode == 1, said
            assert "=== Completed ===" in out
    scene.check_healed()


def _seconds(utc: str) -> float:
    return time.mktime(time.strptime(utc, "%Y-%m-%dT%H:%M:%SZ")) - time.timezone


def test_F51_the_lock_file_of_a_killed_run(scene: Scene) -> None:
    with held(scene):
        run = scene.collector.start("-T", "30")
        assert wait_until(lambda: locked(scene, run), 20)
        run.kill()
        run.communicate()
    left = scene.lock.read_bytes()
    assert left.startswith(f"{run.pid} ".encode())
    for content in (left, b"", b"\xff\x00garbage\n" * 1000, f"{os.getpid()} 2001-09-09T01:46:40Z\n".encode()):
        scene.lock.write_bytes(content)
        assert scene.collector.run().returncode == 0
        assert not scene.lock.exists()
    scene.check_healed()


def test_F52_what_ends_early_leaves_a_live_run_alone(scene: Scene, tmp_path: Path) -> None:
    broken = tmp_path / "broken.toml"
    broken.write_text("[ssh]\nkye = 1\n")
    with held(scene) as silent:
        run = scene.collector.start("-T", "30")
        assert wait_until(lambda: locked(scene, run), 20)
        before = scene.lock.stat(), scene.lock.read_bytes()
        for flags, code, said in (
            (["--help"], 0, ""),
            (["--version"], 0, ""),
            (["-p", "0"], 1, "-p"),
            (["--no-such-flag"], 1, "--no-such-flag"),
            (["-N", "nobody"], 1, "not in the inventory: nobody"),
            (["-c", str(broken)], 1, "broken.toml"),
            (["-l", "../lock"], 1, "--lockfile"),
            (["-n", "-N", "cn0"], 0, ""),
            ([], 75, f"already running: process {run.pid}, since "),
        ):
            done = scene.collector.run(*flags)
            assert done.returncode == code, (flags, done.stderr)
            assert said in done.stderr
            assert done.stderr.count("\n") == bool(said), done.stderr
            now = scene.lock.stat()
            assert (now.st_ino, now.st_mtime_ns, scene.lock.read_bytes()) == (
                before[0].st_ino,
                before[0].st_mtime_ns,
                before[1],
            )
            assert run.poll() is None
        silent.cut()
        run.communicate(timeout=20)
    assert run.returncode == 1
    scene.check_healed()


# ---- signals ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_F54_a_signal_ends_a_pass_in_order(
    fleet: Callable[..., Fleet], tmp_path: Path, number: signal.Signals, code: int
) -> None:
    scene = Scene(fleet(["cn0", "good"]), tmp_path / "home")
    scene.plant(scene.fleet["cn0"], BIG)
    scene.plant(scene.fleet["good"], 16384)
    node = scene.fleet["cn0"]
    with Proxy((node.address, node.port), HalfOpen(BIG // 2)) as proxy:
        half = proxy.at(BIG // 2)
        scene.reach({"cn0": proxy.address})
        run = scene.collector.start("--json")
        assert half.wait(20)
        assert wait_until(lambda: len(scene.collector.stored()) == 1, 20)
        with within(10):
            run.send_signal(number)
            out, said = run.communicate(timeout=20)
        assert run.returncode == code, said
        assert f"stopped by {number.name}" in said
        assert "Traceback" not in said
        assert not scene.lock.exists()
        told = {dump["node"]: (dump["result"], dump["reason"]) for dump in json.loads(out)["dumps"]}
        assert told["good"][0] == "stored"
        assert told["cn0"] == ("skipped", f"left for the next pass: stopped by {number.name}")
        assert {each["node"] for each in json.loads(out)["nodes"]} == {"cn0", "good"}
    scene.reach({})
    scene.check_healed()


def test_F54_the_second_signal_ends_it_at_once(scene: Scene) -> None:
    with held(scene):
        run = scene.collector.start("-T", "30")
        assert wait_until(lambda: locked(scene, run), 20)
        run.send_signal(signal.SIGTERM)
        # The first one waits for the node, whose time is 30 s.
        assert wait_until(lambda: run.poll() is not None or _handles_no(run.pid, signal.SIGTERM), 20)
        run.send_signal(signal.SIGTERM)
        with within(10):
            run.communicate(timeout=20)
        assert run.returncode in (-signal.SIGTERM, 143)
    scene.check_healed()


def _handles_no(pid: int, number: signal.Signals) -> bool:
    status = Path(f"/proc/{pid}/status").read_text()
    caught = re.search(r"SigCgt:\s*([0-9a-f]+)", status)
    return caught is not None and not int(caught[1], 16) >> (number - 1) & 1


# ---- our key ---------------------------------------------------------------------------------------------


def test_F09_a_node_that_refuses_our_key(fleet: Callable[..., Fleet], tmp_path: Path) -> None:
    scene = Scene(fleet(["strict", "good"]), tmp_path / "home")
    strict = scene.fleet["strict"]
    for node in scene.fleet:
        scene.plant(node, 16384)
    strict.authorize(make_key(tmp_path / "other"))
    seen = scene.collector.collect(*IMPATIENT)
    assert seen.code == 1
    assert (seen.nodes["strict"]["result"], seen.nodes["strict"]["stage"]) == ("denied", "connect")
    assert f"does not let root in with the key {scene.fleet.identity_file} (SHA256:" in seen.nodes["strict"]["reason"]
    assert "authorized_keys" in seen.nodes["strict"]["reason"]
    scene.check_good(seen, "good")
    strict.authorize(strict.login_key)
    scene.check_healed()


def test_F09_an_agent_is_not_asked(scene: Scene, tmp_path: Path) -> None:
    wrong, socket = tmp_path / "wrong", str(tmp_path / "agent")
    make_key(wrong)
    agent = subprocess.Popen(["ssh-agent", "-D", "-a", socket], stdout=subprocess.DEVNULL)
    try:
        assert wait_until(Path(socket).exists, 5)
        add = ["ssh-add", "-q", str(scene.fleet.identity_file)]
        subprocess.run(add, env={**os.environ, "SSH_AUTH_SOCK": socket}, check=True, timeout=10)
        surroundings = {**scene.collector.environment, "SSH_AUTH_SOCK": socket, "SSH_ASKPASS": "/bin/false"}
        scene.reach({}, key=wrong)
        command = scene.collector.command("--json", *IMPATIENT)
        seen = Pass.of(subprocess.run(command, env=surroundings, capture_output=True, text=True, check=False))
    finally:
        agent.kill()
        agent.wait()
    assert seen.code == 1
    assert seen.nodes["cn0"]["result"] == "denied"
    assert f"with the key {wrong} (SHA256:" in seen.nodes["cn0"]["reason"]
    scene.reach({})
    scene.check_healed()


def test_F09_a_key_file_that_cannot_be_used(scene: Scene, tmp_path: Path) -> None:
    def locked_away(path: Path) -> None:
        subprocess.run(["ssh-keygen", "-q", "-p", "-N", "secret", "-f", path], check=True, capture_output=True)

    def opened(path: Path) -> None:
        path.chmod(0o644)

    def replaced(path: Path) -> None:
        path.unlink()
        path.mkdir(0o700)

    damages: dict[str, Callable[[Path], None]] = {
        "No such file or directory": Path.unlink,
        "others may use it (mode 0644); run: chmod 600": opened,
        "has a passphrase, and nobody is there to type it": locked_away,
        "not a regular file": replaced,
    }
    for number, (reason, damage) in enumerate(damages.items()):
        key = tmp_path / f"key{number}"
        make_key(key)
        damage(key)
        scene.reach({}, key=key)
        done = scene.collector.run()
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr.startswith(f"sdc-thoth: key {key}: {reason}")
        assert done.stderr.count("\n") == 1
    assert "Connection from" not in scene.fleet[0].log  # nobody was connected to
    scene.reach({})
    scene.check_healed()


# ---- the nodes' keys -------------------------------------------------------------------------------------


def fingerprint(line: str) -> str:
    printed = subprocess.run(["ssh-keygen", "-lf", "-"], input=line, capture_output=True, text=True, check=True)
    return printed.stdout.split()[1]


def hashed(scene: Scene, node: Node) -> str:
    path = scene.home / "hashed"
    path.write_text(node.known_hosts_line())
    subprocess.run(["ssh-keygen", "-q", "-H", "-f", path], check=True, capture_output=True)
    assert path.read_text().startswith("|1|")
    return path.read_text()


def test_F73_host_keys(fleet: Callable[..., Fleet], tmp_path: Path) -> None:
    names = ["new", "changed", "typed", "revoked", "hashed", "good"]
    scene = Scene(fleet([NodeSpec(name, own_process=True) for name in names]), tmp_path / "home")
    for node in scene.fleet:
        scene.plant(node, 16384)
    other = make_key(tmp_path / "other", "ecdsa")
    before = scene.fleet["changed"].known_hosts_line()
    lines = {node.name: node.known_hosts_line() for node in scene.fleet}
    where = {name: line.split(" ", 1)[0] for name, line in lines.items()}
    lines |= {"new": "", "typed": f"{where['typed']} {other}\n", "hashed": hashed(scene, scene.fleet["hashed"])}
    lines["revoked"] += "@revoked * " + lines["revoked"].split(" ", 1)[1]
    scene.fleet["changed"].restart(new_host_key=True)
    scene.reach({}, known_hosts=lambda node: lines[node.name])
    seen = scene.collector.collect(*IMPATIENT)
    assert seen.code == 1
    scene.check_good(seen, "hashed", "good")
    run = f"sdc-thoth hostkeys --inventory {scene.collector.inventory}"
    for name, says in (
        ("new", ["host key unknown", f"{run} new"]),
        ("changed", ["HOST KEY CHANGED", fingerprint(before), f"{run} changed"]),
        ("typed", ["HOST KEY CHANGED", fingerprint(f"x {other}"), f"{run} typed"]),
        ("revoked", ["which is revoked in"]),
    ):
        told = seen.nodes[name]
        assert (told["result"], told["stage"]) == ("denied", "connect"), told
        for part in [*says, fingerprint(scene.fleet[name].known_hosts_line()), where[name]]:
            assert part in told["reason"], told
    assert len(scene.collector.stored()) == 2
    check_accepts(scene)
    scene.reach({})
    scene.check_healed()


def check_accepts(scene: Scene) -> None:
    """The command that the message names pins a new key when told to; a changed one only by a word on a terminal."""
    hostkeys = ["--inventory", str(scene.collector.inventory), "--yes"]
    for name, code in (("new", 0), ("changed", 1)):
        done = subprocess.run(
            [scene.collector.command()[0], "hostkeys", name, *hostkeys],
            env=scene.collector.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        assert done.returncode == code, done
        assert fingerprint(scene.fleet[name].known_hosts_line()) in done.stdout
    seen = scene.collector.collect("-N", "new,changed", *IMPATIENT)
    scene.check_good(seen, "new")
    assert seen.nodes["changed"]["result"] == "denied"


def test_F73_a_bad_line(scene: Scene) -> None:
    line = scene.fleet[0].known_hosts_line()
    for bad in ("nonsense", "[127.0.0.1]:22 ssh-ed25519 AAAA", "@cert-authority * ssh-ed25519 AAAA"):
        scene.known_hosts.write_text(f"# ours\n{line}{bad}\n")
        done = scene.collector.run()
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr.startswith(f"sdc-thoth: {scene.known_hosts}:3: ")
        assert done.stderr.count("\n") == 1
    scene.reach({})
    scene.check_healed()
