"""The bench itself: nodes that can be reached, that differ as they should, and of which nothing is left."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import signal
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import paramiko
import pytest

from tests.support import folder
from tests.support.processes import descendants, process, rooted_in, wait_until
from tests.support.roots import FLAVOURS
from tests.support.server import CannotServe
from tests.support.sshd import Fleet, NeedsRoot, Node, NodeSpec

PACKAGES = Path(__file__).parents[1] / "system-packages"


def run(node: Node, command: str, check: bool = True) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(node.ssh(command), capture_output=True, stdin=subprocess.DEVNULL, timeout=20, check=check)


def out(node: Node, command: str) -> str:
    return run(node, command).stdout.decode().strip()


def fails(node: Node, command: str) -> str:
    ended = run(node, command, check=False)
    assert ended.returncode != 0
    return ended.stderr.decode()


def client(node: Node, known_hosts: Path) -> paramiko.SSHClient:
    connected = paramiko.SSHClient()
    connected.load_host_keys(str(known_hosts))
    connected.connect(
        node.address,
        node.port,
        "root",
        key_filename=str(node.identity_file),
        allow_agent=False,
        look_for_keys=False,
        timeout=10,
    )
    return connected


@pytest.fixture(scope="module")
def zoo() -> Iterator[Fleet]:
    """One node of each flavour, named after it."""
    with Fleet([NodeSpec(flavour, flavour) for flavour in FLAVOURS]) as fleet:
        yield fleet


# ---- what a node is -----------------------------------------------------------------------------------


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_openssh_and_paramiko_reach_each_flavour(zoo: Fleet, flavour: str, tmp_path: Path) -> None:
    node = zoo[flavour]
    node.put("/var/cores/core.x", b"a core")
    assert out(node, "cat /var/cores/core.x; ls /var/cores </dev/null; cat /proc/1/comm") == "a corecore.x\nsh"
    with client(node, zoo.write_known_hosts(tmp_path / "known_hosts")) as connected:
        _, stdout, _ = connected.exec_command("cat /var/cores/core.x; exit 3")
        assert stdout.read() == b"a core"
        assert stdout.channel.recv_exit_status() == 3
        with connected.open_sftp() as sftp:
            assert sftp.listdir("/var/cores") == ["core.x"]


def test_a_node_sees_its_own_root_and_no_other(zoo: Fleet) -> None:
    zoo["gnu"].put("/var/cores/mine", b"")
    assert out(zoo["busybox"], "ls /var/cores/mine /etc/shadow 2>&1 || true").count("No such file") == 2
    assert stat.S_IMODE(zoo["gnu"].path("/tmp").stat().st_mode) == 0o1777
    assert out(zoo["gnu"], "head -c 4 /dev/zero | od -An -tx1; echo lost >/dev/null") == "00 00 00 00"


def test_a_core_pattern_of_the_nodes_own(fleet: Callable[..., Fleet]) -> None:
    said = fleet([NodeSpec("cn0", core_pattern="/var/cores/core.%e.%p"), NodeSpec("cn1", core_pattern=None)])
    assert out(said["cn0"], "cat /proc/sys/kernel/core_pattern") == "/var/cores/core.%e.%p"
    assert (
        out(said["cn1"], "cat /proc/sys/kernel/core_pattern")
        == Path("/proc/sys/kernel/core_pattern").read_text().strip()
    )


# ---- names, keys, files -------------------------------------------------------------------------------


def test_put_takes_names_as_bytes_and_an_age(zoo: Fleet) -> None:
    name = b"/var/cores/core.\xff\n;$(x)"
    target = zoo["gnu"].put(name, b"12345", age=100.0)
    assert os.fsencode(target).endswith(name)
    assert out(zoo["gnu"], "cd /var/cores && stat -c %s core.?*x*") == "5"
    age = int(out(zoo["gnu"], "date +%s")) - int(target.stat().st_mtime)
    assert 99 <= age <= 102
    for wrong in ("relative", "/a/../b"):
        with pytest.raises(ValueError, match="not an absolute path"):
            zoo["gnu"].path(wrong)


def test_fleet_toml_is_what_the_collector_reads(zoo: Fleet, tmp_path: Path) -> None:
    import tomllib

    known_hosts = zoo.write_known_hosts(tmp_path / "known_hosts")
    told = tomllib.loads(zoo.fleet_toml(known_hosts))
    assert told["ssh"] == {"key": str(zoo.identity_file), "known_hosts": str(known_hosts)}
    assert [entry["name"] for entry in told["node"]] == list(FLAVOURS)
    node = told["node"][1]
    assert (node["address"], node["port"], node["user"], node["uuid"]) == (
        zoo[1].address,
        zoo[1].port,
        "root",
        zoo[1].uuid,
    )
    assert Path(tomllib.loads(zoo.fleet_toml())["ssh"]["known_hosts"]).read_text() == known_hosts.read_text()


def test_F73_hashed_known_hosts_and_key_types(fleet: Callable[..., Fleet], tmp_path: Path) -> None:
    made = fleet(1, host_key_types=("ecdsa", "ed25519"))
    assert [line.split()[1] for line in made[0].known_hosts_line().splitlines()] == [
        "ecdsa-sha2-nistp256",
        "ssh-ed25519",
    ]
    known_hosts = made.write_known_hosts(tmp_path / "known_hosts", hashed=True)
    assert made[0].address not in known_hosts.read_text()
    found = subprocess.run(
        ["ssh-keygen", "-F", f"[{made[0].address}]:{made[0].port}", "-f", known_hosts],
        capture_output=True,
        check=True,
    )
    assert b"ssh-ed25519" in found.stdout
    with client(made[0], known_hosts):
        pass


def test_F75_sshd_options_come_first(fleet: Callable[..., Fleet]) -> None:
    odd = fleet(1, options=("KexAlgorithms ecdh-sha2-nistp256", "LogLevel DEBUG1"))
    fails(odd[0], "true")  # the bench's own client wants another one
    assert wait_until(lambda: "no matching key exchange" in odd[0].log, 5)
    assert "debug1" in odd[0].log


def test_F09_another_key_is_refused(node: Callable[..., Node]) -> None:
    shut = node()
    shut.authorize()
    assert "Permission denied" in fails(shut, "true")
    shut.authorize(shut.login_key)
    run(shut, "true")


def test_F21_a_forced_command_answers_whatever_is_asked(node: Callable[..., Node]) -> None:
    liar = node(flavour="little")
    liar.force_command('echo "asked: $SSH_ORIGINAL_COMMAND"; echo flood >&2; exit 7')
    ended = run(liar, "discover", check=False)
    assert (ended.returncode, ended.stdout, ended.stderr) == (7, b"asked: discover\n", b"flood\n")
    liar.force_command(None)
    assert out(liar, "echo straight") == "straight"


def test_a_replaced_program_is_that_of_one_node(fleet: Callable[..., Fleet]) -> None:
    made = fleet(2)
    made[0].replace_program("stat", "#!/bin/sh\necho mine\n")
    assert out(made[0], "/usr/bin/stat /") == "mine"
    assert "mine" not in out(made[1], "/usr/bin/stat /")


# ---- processes ----------------------------------------------------------------------------------------


def session(node: Node, command: str = "echo ready; exec sleep 1000") -> subprocess.Popen[bytes]:
    started = subprocess.Popen(node.ssh(command), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
    assert started.stdout is not None and started.stdout.readline() == b"ready\n"
    return started


def ended(started: subprocess.Popen[bytes]) -> int:
    with started:
        return started.wait(10)


def test_F04_sessions_are_stopped_and_go_on(fleet: Callable[..., Fleet]) -> None:
    made = fleet(2)
    busy = session(made[0], "echo ready; while :; do echo; done")
    assert made[0].pids() and not made[1].pids() and not made[1].commands()
    made[0].stop()
    assert {found.state for pid in made[0].pids() if (found := process(pid))} == {"T"}
    assert {found.state for found in made[0].commands()} == {"T"}
    assert out(made[1], "echo alive") == "alive"
    made[0].cont()
    assert made[0].pids()
    made[0].kill()
    assert ended(busy) == 255
    assert made[0].wait_idle()


def test_F04_a_stopped_listener_answers_nobody(node: Callable[..., Node]) -> None:
    frozen = node(own_process=True)
    frozen.stop()
    with pytest.raises(subprocess.TimeoutExpired):
        subprocess.run(frozen.ssh("true"), timeout=0.3, check=False)
    frozen.cont()
    assert out(frozen, "echo awake") == "awake"


def test_F05_a_killed_node_refuses_and_comes_back(fleet: Callable[..., Fleet]) -> None:
    made = fleet([NodeSpec("cn0", own_process=True), NodeSpec("cn1")])
    busy = session(made["cn0"])
    made["cn0"].kill()
    assert ended(busy) == 255
    assert "refused" in fails(made["cn0"], "true")
    assert out(made["cn1"], "echo alive") == "alive"
    port, line = made["cn0"].port, made["cn0"].known_hosts_line()
    made["cn0"].restart()
    assert out(made["cn0"], "echo back") == "back"
    assert (made["cn0"].port, made["cn0"].known_hosts_line()) == (port, line)
    with pytest.raises(CannotServe, match="own_process"):
        made["cn1"].restart()


def test_F73_a_restart_with_another_host_key(node: Callable[..., Node], tmp_path: Path) -> None:
    changed = node(own_process=True)
    (tmp_path / "known_hosts").write_text(changed.known_hosts_line())
    changed.restart(new_host_key=True)
    with pytest.raises(paramiko.BadHostKeyException):
        client(changed, tmp_path / "known_hosts")
    assert out(changed, "echo new") == "new"


def test_F16_a_stuck_command_is_counted_and_goes_with_the_fleet(fleet: Callable[..., Fleet]) -> None:
    made = fleet(1)
    os.mkfifo(made[0].path("/var/cores/core.fifo"))
    stuck = subprocess.Popen(made[0].ssh("cat /var/cores/core.fifo"), stdin=subprocess.DEVNULL)
    assert wait_until(lambda: any(found.command == "cat" for found in made[0].commands()), 10)
    stuck.send_signal(signal.SIGKILL)
    stuck.wait()
    assert wait_until(lambda: not made[0].pids(), 10)
    assert not made[0].wait_idle(0.05)  # the session is gone, what it started is not
    pid = made[0].commands()[0].pid
    made.close()
    assert process(pid) is None


# ---- what is left -------------------------------------------------------------------------------------


@pytest.mark.parametrize("isolated", [True, False])
def test_nothing_is_left_when_a_fleet_has_ended(isolated: bool) -> None:
    with Fleet(2, isolated=isolated) as made:
        stuck = session(made[0], "trap '' TERM HUP; sleep 1000 & echo ready; sleep 1000")
        subprocess.run(["mount", "-t", "tmpfs", "none", made[1].path("/var/cores")], check=True)
        made[1].stop()
        root = made[0].root
        pids = [found.pid for found in made[0].commands()]
        assert len(pids) >= 2 and made.folder.is_relative_to(folder.base())
    assert ended(stuck) == 255
    assert {found.state for pid in pids if (found := process(pid))} <= {"Z"}  # some inits don't wait for orphans
    assert not root.exists() and not made.folder.exists()
    assert folder.mounts_below(made.folder) == []


def test_a_fleet_works_without_namespaces(fleet: Callable[..., Fleet]) -> None:
    bare = fleet([NodeSpec("cn0", "smartos", core_pattern="core.%p"), NodeSpec("cn1")], isolated=False)
    assert out(bare["cn0"], "uname") == "SunOS"
    assert out(bare["cn0"], "cat /proc/sys/kernel/core_pattern") == "core.%p"
    assert out(bare["cn1"], "echo a | xargs -0 echo").strip() == "a"


def test_a_killed_run_leaves_no_process_and_the_next_one_sweeps_its_folder() -> None:
    story = (
        "from tests.support.sshd import Fleet\nwith Fleet(1, own_process=True) as f:\n"
        "    print(f.folder, f[0]._server.listener(), flush=True)\n    input()\n"
    )
    doomed = subprocess.Popen(
        [sys.executable, "-c", story], cwd=PACKAGES.parents[1], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with doomed:
        assert doomed.stdout is not None
        place, listener = doomed.stdout.readline().split()
        doomed.kill()
    assert wait_until(lambda: process(int(listener)) is None, 10)
    left = Path(os.fsdecode(place))
    assert left.is_dir() and left in folder.sweep(left.parent)
    assert not left.exists()


def test_sweeping_leaves_the_folders_of_the_living(tmp_path: Path) -> None:
    me = process(os.getpid())
    assert me
    mine, reused, locked, other = (
        tmp_path / name
        for name in (
            f"thoth-fleet-{me.pid}-{me.start}-a",
            f"thoth-fleet-{me.pid}-{me.start - 1}-b",
            f"thoth-fleet-{me.pid}-{me.start - 2}-c",  # of a process that this one cannot see
            "thoth-fleet",
        )
    )
    for place in (mine, reused, locked, other):
        place.mkdir()
    with (locked / "in-use").open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert folder.sweep(tmp_path) == [reused]
    assert set(tmp_path.iterdir()) == {mine, locked, other}
    assert folder.sweep(tmp_path) == [locked]


def test_a_fleet_that_cannot_start_leaves_nothing() -> None:
    before = {found.pid for found in descendants(os.getpid())}
    wrong = Fleet(1, options=("NoSuchOption yes",))
    with pytest.raises(CannotServe, match="NoSuchOption"), wrong:
        pass
    assert not wrong.folder.exists()
    assert {found.pid for found in descendants(os.getpid())} == before


def test_without_root_one_line_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(NeedsRoot, match="needs root"), Fleet(1):
        pass


@pytest.mark.parametrize("count", [40, pytest.param(200, marks=pytest.mark.soak)])
def test_many_nodes(fleet: Callable[..., Fleet], count: int) -> None:
    many = fleet(count)
    assert len({(node.address, node.port) for node in many}) == len(many) == count
    last = many[count - 1]
    assert out(last, "hostname; cat /etc/hostname").split()[-1] == last.name == f"cn{count - 1}"
    assert rooted_in(last.root) == []


# ---- system-packages ----------------------------------------------------------------------------------


def test_system_packages_are_all_there() -> None:
    ended = subprocess.run([PACKAGES], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")


def test_system_packages_names_what_is_missing(tmp_path: Path) -> None:
    script = re.sub(r'PATH="\$PATH:.*"', "", PACKAGES.read_text())
    listed = re.search(r"needed=\((.*?)\)", script, re.DOTALL)
    assert listed
    needed = dict(entry.split(":") for entry in listed[1].split())
    for name in ("id", "sort", *(set(needed) - {"sshd", "ip", "curl"})):
        found = shutil.which(name)
        assert found
        (tmp_path / name).symlink_to(found)
    ended = subprocess.run(
        ["/bin/bash", "-c", script], env={"PATH": str(tmp_path)}, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 1
    assert ended.stderr == "system-packages: install these packages: curl iproute2 openssh-server\n"
