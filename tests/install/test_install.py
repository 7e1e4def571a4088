"""``sdc-thoth-install`` into a headnode's root: what it makes, checks, refuses, takes back (F70, F18)."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.headnode import PYTHON, SECRET, THOTH, Headnode, Headnodes
from tests.support.processes import wait_until

Small = Callable[..., Path]


def refused(done: object, because: str) -> None:
    """It failed with one line on stderr, which says why."""
    assert getattr(done, "returncode") == 1  # noqa: B009 - a CompletedProcess of any kind
    *said, last = getattr(done, "stderr").splitlines()  # noqa: B009
    lines = said if last.endswith(": taking back what was done") else [*said, last]
    assert because in "\n".join(lines) and len(lines) <= 2, lines


# ---- what it makes -------------------------------------------------------------------------------


def test_makes_what_a_boot_needs(ready: Headnode, small: Small) -> None:
    done = ready.install(small("1.0"))
    assert done.returncode == 0, done.stderr
    assert ready.state("thoth") == "online"
    assert ready.state("sdc-thoth") == "disabled"
    assert (ready.root / "etc/passwd").read_text().splitlines()[1] == (
        f"thoth:x:100:1:Thoth's collector:{THOTH}/home/thoth:/usr/bin/bash"
    )
    assert "thoth:NP:" in (ready.root / "etc/shadow").read_text()
    assert ready.crontab == (ready.home / "crontab").read_text()
    assert (ready.root / "var/tcp").read_text().count("set-prop -t -p") == 3
    assert SECRET not in done.stdout + done.stderr + repr(ready.calls)


def test_the_key_is_its_own_and_the_line_for_the_nodes_is_told(ready: Headnode, small: Small) -> None:
    done = ready.install(small("1.0"))
    key = ready.home / ".ssh/id_ed25519"
    status = key.stat()
    assert (status.st_mode & 0o777, status.st_uid, status.st_gid) == (0o600, 100, 1)
    kind, public, name = key.with_suffix(".pub").read_text().split()
    assert (kind, name) == ("ssh-ed25519", "thoth-east_1-44454c4c-5400")
    line = f'restrict,from="10.99.99.7",command="/opt/custom/thoth-node" ssh-ed25519 {public} {name}'
    assert line in done.stdout


def test_only_the_users_home_is_not_roots(installed: Headnode) -> None:
    for path in installed.path("/opt").rglob("*"):
        status = path.lstat()
        if path.is_relative_to(installed.home):
            assert status.st_uid == 100 and (path.is_symlink() or not status.st_mode & 0o077), path
        else:
            assert status.st_uid == 0 and (path.is_symlink() or not status.st_mode & 0o022), path


def test_the_environment_is_what_was_set(ready: Headnode, small: Small) -> None:
    given = {"MANTA_URL": "https://manta.example", "THOTH_DB": "sqlite:///a b'c$(touch canary)", "OTHER": "no"}
    assert ready.install(small("1.0"), env={**given, "MANTA_USER": "ops"}).returncode == 0
    shown = ready.as_thoth(f'. "{ready.home}/.bashrc"; env -0').stdout.split("\0")
    told = dict(line.split("=", 1) for line in shown if "=" in line)
    assert told["MANTA_URL"] == given["MANTA_URL"] and told["THOTH_DB"] == given["THOTH_DB"]
    assert told["MANTA_USER"] == "ops" and "OTHER" not in told
    assert re.fullmatch("([0-9a-f]{2}:){15}[0-9a-f]{2}", told["MANTA_KEY_ID"])
    assert told["THOTH_UUID"] == "thoth-east_1-44454c4c-5400"
    assert told["PATH"].startswith(f"{ready.top}/bin:")


def test_the_commands_know_the_configuration(installed: Headnode) -> None:
    assert installed.run(installed.top / "bin/thoth", "--version").stdout == "thoth 1.0\n"
    home = installed.home
    for words in ((), ("hostkeys", "--yes"), ("status",)):
        done = installed.as_thoth(f"HOME='{home}' '{installed.top}/bin/sdc-thoth' {' '.join(words)}")
        assert done.returncode == 0, done.stderr
    state = f"-d|{home}/state"
    whole = f"-c|{installed.top}/etc/sdc-thoth.toml|{state}|--inventory|cnapi"
    assert (home / "asked").read_text().splitlines()[-3:] == [
        f"1.0|{whole}", f"1.0|hostkeys|{whole}|--yes", f"1.0|status|{state}",
    ]  # fmt: skip


def test_the_command_completes_for_everybody(installed: Headnode) -> None:
    program, home = installed.top / "bin/sdc-thoth", installed.home
    assert installed.as_thoth(f"HOME='{home}' '{program}' completion bash").returncode == 0
    assert installed.run(program, "completion", "zsh", env={"HOME": str(home)}).returncode == 0
    assert (home / "asked").read_text().splitlines() == ["1.0|completion|bash", "1.0|completion|zsh"]


def test_F18_root_collects_nothing_and_pins_nothing(installed: Headnode) -> None:
    """What root wrote, thoth could not read, and root would follow links that thoth has planted."""
    program = installed.top / "bin/sdc-thoth"
    for words in ((), ("-n",), ("hostkeys", "--yes"), ("--daemon",)):
        refused(installed.run(program, *words, env={"HOME": str(installed.home)}), "su - thoth -c 'sdc-thoth ...'")
    assert not (installed.home / "asked").exists()
    assert installed.run(program, "status", env={"HOME": str(installed.home)}).returncode == 0
    assert (installed.home / "asked").read_text() == f"1.0|status|-d|{installed.home}/state\n"


def test_a_fleet_file_becomes_the_inventory(ready: Headnode, small: Small, tmp_path: Path) -> None:
    fleet = tmp_path / "my fleet.toml"
    fleet.write_text('[[node]]\nname = "cn0"\n')
    ready.headnode(False)
    refused(ready.install(small("1.0")), "this is not a headnode")
    assert ready.install(small("1.0"), "--inventory", fleet).returncode == 0
    assert (ready.top / "etc/fleet.toml").read_text() == fleet.read_text()
    ready.as_thoth(f"HOME='{ready.home}' '{ready.top}/bin/sdc-thoth' -n")
    assert (ready.home / "asked").read_text().splitlines()[-1].endswith(f"--inventory|{ready.top}/etc/fleet.toml|-n")
    assert ready.install(small("1.0")).returncode == 0  # it is known by now


# ---- again ---------------------------------------------------------------------------------------


def test_a_second_run_changes_nothing(installed: Headnode, small: Small) -> None:
    (installed.home / "run-thoth").write_text("mine")
    before = installed.tree()
    done = installed.install(small("1.0"))
    assert done.returncode == 0, done.stderr
    (installed.home / "asked").unlink()
    assert installed.tree() == before


def test_what_is_missing_is_made(installed: Headnode, small: Small) -> None:
    before = installed.tree()
    (installed.home / "crontab").unlink()
    (installed.top / "bin/thoth").unlink()
    installed.path("/opt/custom/smf/thoth.xml").unlink()
    assert installed.install(small("1.0")).returncode == 0
    (installed.home / "asked").unlink()
    assert installed.tree() == before


def test_f_replaces_what_was_edited_and_keeps_keys(installed: Headnode, small: Small) -> None:
    key = (installed.home / ".ssh/id_ed25519").read_bytes()
    standard = (installed.home / "run-thoth").read_text()
    (installed.home / "run-thoth").write_text("mine")
    (installed.home / "state/known_hosts").write_text("pinned")
    old = str((installed.top / "current").readlink())
    assert installed.install(small("1.0"), "-f").returncode == 0
    assert (installed.home / "run-thoth").read_text() == standard
    assert (installed.home / "run-thoth.old").read_text() == "mine"
    assert (installed.home / ".ssh/id_ed25519").read_bytes() == key
    assert (installed.home / "state/known_hosts").read_text() == "pinned"
    assert str((installed.top / "current").readlink()) == f"{old}_"
    assert installed.run(installed.top / "bin/thoth", "--version").stdout == "thoth 1.0\n"


def test_another_version_is_replaced_on_purpose_only(updatable: Headnode, small: Small) -> None:
    before = updatable.tree()
    refused(updatable.install(small("2.0")), "1.0")
    assert updatable.tree() == before
    assert updatable.install(small("2.0"), "-f").returncode == 0
    assert updatable.run(updatable.top / "bin/thoth", "--version").stdout == "thoth 2.0\n"


# ---- what it refuses before it changes anything --------------------------------------------------


def test_refusals(hn: Headnode, small: Small, tmp_path: Path) -> None:
    release, before = small("1.0"), hn.tree()
    old = tmp_path / "python3"
    old.write_text("#!/bin/sh\nexit 1\n")
    old.chmod(0o755)
    cases: list[tuple[tuple[str | Path, ...], dict[str, str], str]] = [
        (("--python", old), {}, "not a Python of 3.11 or newer"),
        (("--python", "/no/such"), {}, "not a program"),
        (("--sha256", "0" * 64), {}, "needs --from"),
        (("--from", "x.tar.gz"), {}, "needs --sha256"),
        (("--inventory", "/no/such.toml"), {}, "cannot be read"),
        (("--frobnicate",), {}, "not an option; see sdc-thoth-install --help"),
        ((), {"SDC_URL": "https://x.example"}, "needs all three"),
        ((), {"SDC_URL": "http://x.example", "SDC_ACCOUNT": "a", "SDC_KEY_ID": "k"}, "not an https address"),
        ((), {"TRITON_URL": "https://x", "SDC_ACCOUNT": "a", "SDC_KEY_ID": "k", "SDC_USER": "u"}, "SDC_USER"),
    ]
    for options, env, because in cases:
        refused(hn.install(release, *options, env=env), because)
        assert hn.tree() == before, because


def test_without_a_python_it_says_how_to_get_one(hn: Headnode, small: Small, tmp_path: Path) -> None:
    programs = ["bash", "dirname", "readlink", "grep", "awk", "find", "rm", "uname"]
    for name in programs:
        (tmp_path / name).symlink_to(shutil.which(name) or name)
    before = hn.tree()
    done = hn.run(small("1.0") / "install/sdc-thoth-install", "--root", hn.root, env={"PATH": str(tmp_path)})
    assert done.returncode == 1 and "pkgin install python311" in done.stderr
    assert "and, if nodes have zstd, py311-zstandard; or name another Python" in done.stderr
    assert hn.tree() == before


def test_a_uid_or_name_that_is_taken(hn: Headnode, small: Small) -> None:
    passwd = hn.root / "etc/passwd"
    standard = passwd.read_text()
    for line in ("thoth:x:1001:1::/home:/bin/sh", "someone:x:100:1::/home:/bin/sh"):
        passwd.write_text(f"{standard}{line}\n")
        refused(hn.install(small("1.0")), line)
        assert not (hn.top).exists()


def test_F18_no_link_and_nobody_elses_directory_on_the_way(hn: Headnode, small: Small, tmp_path: Path) -> None:
    (hn.root / "opt").rmdir()
    (hn.root / "opt").symlink_to(tmp_path)
    refused(hn.install(small("1.0")), "a link")
    (hn.root / "opt").unlink()
    (hn.root / "opt/custom/thoth").mkdir(parents=True)
    (hn.root / "opt/custom").chmod(0o777)
    refused(hn.install(small("1.0")), "not root's alone")
    (hn.root / "opt/custom").chmod(0o755)
    os.chown(hn.top, 100, 1)
    refused(hn.install(small("1.0")), "not root's alone")
    assert list(tmp_path.iterdir()) == [] and list(hn.top.iterdir()) == []


def test_F18_root_follows_no_link_that_the_user_plants(updatable: Headnode, small: Small) -> None:
    """What thoth puts in the way in its home, an installation by root must not write through."""
    target = updatable.root / "var/canary"
    target.write_text("root's")
    for name in (".bashrc", "run-thoth", "crontab"):
        (updatable.home / name).unlink()
        (updatable.home / name).symlink_to(target)
    for name in ("log", "state"):
        (updatable.home / name).rmdir()
        (updatable.home / name).symlink_to(updatable.root / "var/broken")
    assert updatable.install(small("2.0"), "-f").returncode in (0, 1)
    assert target.read_text() == "root's" and target.stat().st_uid == 0
    assert (updatable.root / "var/broken").stat().st_uid == 0


def test_F18_nothing_goes_into_shared_directories(hn: Headnode, small: Small, tmp_path: Path) -> None:
    log = tmp_path / "opened"
    done = hn.run(
        Path(shutil.which("strace") or "strace"), "-f", "--seccomp-bpf", "-qq", "-o", log, "-s", "300",
        "-e", "trace=openat,mkdir,mkdirat,rename,renameat,renameat2,symlink,symlinkat,link,linkat",
        "-e", "status=successful",
        small("1.0") / "install/sdc-thoth-install", "--root", hn.root, "--python", PYTHON,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    changes = [line for line in log.read_text().splitlines() if "openat" not in line or "O_CREAT" in line]
    made = {path for line in changes for path in re.findall(r'"((?:/tmp|/var/tmp)/[^"]*)"', line)}
    assert len(made) > 50, "the root itself lies in a shared directory"
    assert not [path for path in made if not path.startswith(f"{hn.root}/")]


# ---- releases that are damaged -------------------------------------------------------------------


def test_F70_a_damaged_release(hn: Headnode, small: Small, tmp_path: Path) -> None:
    before = hn.tree()
    release = tmp_path / "release"

    def fresh() -> Path:
        shutil.rmtree(release, ignore_errors=True)
        shutil.copytree(small("1.0"), release)
        return release

    (fresh() / "smf/postboot").write_text("#!/bin/sh\n")
    refused(hn.install(release), "smf/postboot")
    (fresh() / "cron/run-thoth").unlink()
    refused(hn.install(release), "cron/run-thoth")
    (fresh() / "wheels/evil-1.0-py3-none-any.whl").touch()
    refused(hn.install(release), "wheels/evil")
    (fresh() / "SHA256SUMS").unlink()
    refused(hn.install(release), "not a release")
    assert hn.tree() == before


def test_a_release_that_does_not_start(hn: Headnode, small: Small) -> None:
    before = hn.tree()
    done = hn.install(small("1.1", trouble="raise SystemExit('broken')"))
    assert done.returncode == 1 and "its thoth does not start" in done.stderr
    assert hn.tree() == before


# ---- failures at each step -----------------------------------------------------------------------


CNAPI = ("--inventory", "cnapi")
STEPS = 60  # more calls than an installation makes
SAMPLE = [pytest.param(11, id="sample"), pytest.param(1, id="all", marks=pytest.mark.soak)]


def edited(node: Headnode) -> None:
    """What people may have done to an installation before they replace it."""
    (node.home / "run-thoth").write_text("mine")
    old = node.home / "run-thoth.old"
    old.write_text("an older one of mine")
    old.chmod(0o700)
    os.chown(old, 100, 1)
    (node.top / "etc/fleet.toml").write_text("[[node]]\n")
    manifest = node.path("/opt/custom/smf/thoth.xml")
    manifest.write_text(manifest.read_text().replace("'120'", "'240'"))
    assert node.run(node.root / "usr/sbin/svccfg", "import", manifest).returncode == 0  # or the next boot would do it
    (node.top / "bin/thoth").unlink()
    (node.top / "bin/thoth").symlink_to("elsewhere")


@pytest.mark.parametrize("every", SAMPLE)
def test_each_step_of_a_first_installation_is_taken_back(
    every: int, headnode_snapshots: Headnodes, ready: Headnode, small: Small
) -> None:
    node = taken_back(lambda: headnode_snapshots.get("ready"), every, small("1.0"))
    assert node.state("thoth") == "online"


@pytest.mark.parametrize("every", SAMPLE)
def test_each_step_of_a_replacement_is_taken_back(
    every: int, headnode_snapshots: Headnodes, updatable: Headnode, small: Small
) -> None:
    def edit(node: Headnode) -> None:
        headnode_snapshots.graft(node, "ready", "2.0")
        edited(node)

    release = small("2.0")
    node = taken_back(lambda: headnode_snapshots.made("edited", "installed", edit), every, release, "-f", *CNAPI)
    assert node.run(node.top / "bin/thoth", "--version").stdout == "thoth 2.0\n"
    assert not (node.top / "etc/fleet.toml").exists()


def taken_back(get: Callable[[], Headnode], every: int, release: Path, *options: str) -> Headnode:
    """The N-th call of a program of the system fails, N = 2, .. until a run is through. Returns its headnode."""
    before = {name: about for name, about in get().tree().items() if "/.stage." not in name}
    for step in range(2, STEPS, every):
        node = get()
        node.calm(fail_at=step)
        done = node.install(release, *options)
        if len(node.calls) < step:
            assert done.returncode == 0, done.stderr
            node.calm()
            return node
        if done.returncode == 0:  # no reason to stop: it only tells, or does what can be done later, or is done anew
            failed = node.calls[step - 1]
            assert failed[0] in ("sysinfo", "ipadm", "svcs") or re.search("hostkeys|crontab", failed[-1]), failed
            node.calm()
            assert node.state("thoth") == "online" and node.crontab, (step, failed)
        else:
            assert done.returncode == 1 and node.tree() == before, (step, node.calls[step - 1], done.stderr)
            assert "could not take back" not in done.stderr
    pytest.fail("no run was through")


@pytest.mark.parametrize("every", SAMPLE)
def test_a_killed_run_is_finished_by_the_next(
    every: int, headnode_snapshots: Headnodes, installed: Headnode, small: Small
) -> None:
    kinds = {name: about[:3] for name, about in installed.tree().items()}  # type: ignore[index]
    for step in range(3, STEPS, every):
        node = headnode_snapshots.get("ready")
        node.calm(kill_at=step)
        killed = node.install(small("1.0"))
        node.calm()
        done = node.install(small("1.0"))
        assert done.returncode == 0, done.stderr
        (node.home / "asked").unlink()
        left = {name: about[:3] for name, about in node.tree().items()}  # type: ignore[index]
        assert left == kinds, (step, killed.stderr)
        if killed.returncode >= 0:
            break
    else:
        pytest.fail("no run was through")


def test_one_at_a_time(ready: Headnode, small: Small) -> None:
    ready.broken("useradd", 'touch "$root/var/waiting"; while [[ -e $root/var/waiting ]]; do sleep 0.05; done')
    program = [small("1.0") / "install/sdc-thoth-install", "--root", ready.root, "--python", PYTHON]
    first = subprocess.Popen(program, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        assert wait_until((ready.root / "var/waiting").exists, 30)
        refused(ready.install(small("1.0")), "another run holds it")
    finally:
        (ready.root / "var/waiting").unlink(missing_ok=True)
        _, errors = first.communicate(timeout=60)
    assert first.returncode == 0, errors
