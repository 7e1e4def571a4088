"""``sdc-thoth-install`` over an installation: what people edited, what is damaged, what other runs and users left."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support import releases
from tests.support.headnode import Headnode
from tests.support.processes import send
from tests.support.releases import sha256

Small = Callable[..., Path]
SERVICES = "/opt/custom/smf"


def changed(release: Path, folder: Path, name: str, old: str, new: str) -> Path:
    """A copy of a release in which one file reads otherwise."""
    copy = folder / release.name
    shutil.copytree(release, copy)
    path, sums = copy / name, copy / "SHA256SUMS"
    before = sha256(path)
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))
    sums.write_text(sums.read_text().replace(before, sha256(path)))
    return copy


def edit(path: Path, old: str, new: str) -> str:
    """Returns what the file holds then."""
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    return path.read_text()


def update(node: Headnode, tarball: Path) -> subprocess.CompletedProcess[str]:
    return node.command("sdc-thoth-update", "--from", tarball, "--sha256", sha256(tarball))


# ---- manifests that people edited ----------------------------------------------------------------


@pytest.mark.parametrize("quote", ["'", '"'])
def test_the_daemon_stays_enabled(quote: str, updatable: Headnode, small: Small, tarball: Path) -> None:
    manifest = updatable.path(SERVICES) / "sdc-thoth.xml"
    edit(manifest, "enabled='false'", f"enabled={quote}true{quote}")
    for done in (updatable.install(small("1.0")), update(updatable, tarball)):
        assert done.returncode == 0 and "edited" not in done.stdout + done.stderr, done.stderr
        assert "<create_default_instance enabled='true'/>" in manifest.read_text()
        assert not manifest.with_suffix(".xml.old").exists()
    updatable.wipe()
    updatable.boot()
    assert updatable.state("sdc-thoth") == "online"


def test_an_update_brings_its_manifest_and_leaves_the_daemon_enabled(
    installed: Headnode, small: Small, tmp_path: Path
) -> None:
    manifest = installed.path(SERVICES) / "sdc-thoth.xml"
    edit(manifest, "enabled='false'", "enabled='true'")
    new = changed(small("2.0"), tmp_path, "smf/sdc-thoth.xml", "'300'", "'400'")
    done = update(installed, releases.tarball(new))
    assert done.returncode == 0, done.stderr
    standard = (new / "smf/sdc-thoth.xml").read_text()
    assert manifest.read_text() == standard.replace("instance enabled='false'", "instance enabled='true'")


def test_what_else_was_edited_in_a_manifest_stays(updatable: Headnode, small: Small, tarball: Path) -> None:
    manifest = updatable.path(SERVICES) / "sdc-thoth.xml"
    mine = edit(manifest, "'300'", "'500'")
    for done in (updatable.install(small("1.0")), update(updatable, tarball)):
        assert done.returncode == 0 and f"{manifest}: edited, so it stays" in done.stderr
        assert manifest.read_text() == mine


def test_f_puts_the_releases_manifest_in_its_place(installed: Headnode, small: Small) -> None:
    manifest = installed.path(SERVICES) / "sdc-thoth.xml"
    standard = manifest.read_text()
    mine = edit(manifest, "enabled='false'", "enabled='true'")
    done = installed.install(small("1.0"), "-f")
    assert done.returncode == 0, done.stderr
    assert f"{manifest}: replaced; what it was is in {manifest}.old" in done.stdout
    assert manifest.read_text() == standard
    assert manifest.with_suffix(".xml.old").read_text() == mine
    assert not manifest.with_name("thoth.xml.old").exists()  # nobody edited that one


# ---- other files that people edited ---------------------------------------------------------------


def test_each_file_that_is_replaced_is_told(installed: Headnode, small: Small, tmp_path: Path) -> None:
    fleet = tmp_path / "fleet.toml"
    for name in ("cn0", "cn1"):
        fleet.write_text(f'[[node]]\nname = "{name}"\n')
        done = installed.install(small("1.0"), "-f", "--inventory", fleet, env={"THOTH_USER": name})
        assert done.returncode == 0, done.stderr
        assert f"{installed.home}/.bashrc: replaced; what it was is in {installed.home}/.bashrc.old" in done.stdout
    kept = installed.top / "etc/fleet.toml.old"
    assert f"{installed.top}/etc/fleet.toml: replaced; what it was is in {kept}" in done.stdout
    assert "cn0" in kept.read_text() and "cn0" in (installed.home / ".bashrc.old").read_text()
    assert "cn1" in (installed.top / "etc/fleet.toml").read_text()


def test_the_environment_is_taken_back_too(installed: Headnode, small: Small) -> None:
    with installed.path(f"{SERVICES}/thoth.xml").open("a") as file:
        file.write("<!-- mine -->\n")
    before = installed.tree()
    installed.broken("svccfg", '[[ -e $root/var/once ]] || { touch "$root/var/once"; exit 1; }')
    done = installed.install(small("1.0"), "-f", env={"THOTH_USER": "somebody"})
    assert done.returncode == 1 and "svccfg does not take it" in done.stderr
    assert "could not take back" not in done.stderr
    assert installed.tree() == before


def test_a_crontab_without_a_line_stays(installed: Headnode, small: Small) -> None:
    """As the installer says to those who have the daemon collect."""
    done = installed.install(small("1.0"))
    (command,) = [line.split("; ", 1)[1] for line in done.stdout.splitlines() if "the daemon collects" in line]
    assert command.startswith("su - thoth -c '") and command.endswith("'")
    script = command.removeprefix("su - thoth -c '").removesuffix("'")
    assert installed.as_thoth(f"cd '{installed.home}' && {script}").returncode == 0
    assert installed.install(small("1.0")).returncode == 0
    assert installed.crontab == "# the daemon collects\n"


@pytest.mark.parametrize("kind", ["fifo", "directory"])
def test_what_is_no_file_is_not_waited_for(kind: str, installed: Headnode, small: Small) -> None:
    path = installed.home / "run-thoth"
    path.unlink()
    os.mkfifo(path) if kind == "fifo" else path.mkdir()
    done = installed.install(small("1.0"), "-f")
    assert done.returncode == 1 and f"{path}: no file that user thoth can read; move it away" in done.stderr


# ---- what is damaged -----------------------------------------------------------------------------


def runs(node: Headnode) -> bool:
    return node.run(node.top / "bin/thoth", "--version").stdout == "thoth 1.0\n"


@pytest.mark.parametrize("how", ["emptied", "removed", "relinked"])
def test_a_damaged_version_is_made_anew(how: str, installed: Headnode, small: Small) -> None:
    """Also by -f, whose second run would else come back to it."""
    (package,) = (installed.top / "current").glob("lib/python3*/site-packages/small_thoth.py")
    program = installed.top / "current/bin/thoth"
    first = (installed.top / "current").readlink()
    if how == "emptied":
        package.write_text("")
    elif how == "removed":
        package.unlink()
    else:
        program.unlink()
        program.symlink_to("/bin/true")
    for options, damaged in ((["-f"], False), (["-f"], True), ([], False)):
        done = installed.install(small("1.0"), *options)
        assert done.returncode == 0 and runs(installed), (options, done.stderr)
        assert ("damaged, so it is made anew" in done.stdout) is damaged
    assert (installed.top / "current").readlink() == first  # made anew


def test_a_damaged_version_in_use_is_replaced_without_f(installed: Headnode, small: Small, tmp_path: Path) -> None:
    (package,) = (installed.top / "current").glob("lib/python3*/site-packages/small_thoth.py")
    package.write_text(package.read_text() + "\n# what nobody released\n")  # its commands start
    tarball = releases.tarball(shutil.copytree(small("1.0"), tmp_path / "manta-thoth-1.0"))
    done = update(installed, tarball)
    assert done.returncode == 0 and "small_thoth.py" in done.stdout and runs(installed)
    (package,) = (installed.top / "current").glob("lib/python3*/site-packages/small_thoth.py")
    assert "nobody" not in package.read_text()
    done = update(installed, tarball)
    assert done.returncode == 0 and done.stdout == "sdc-thoth-update: 1.0 is in use\n"


def test_a_release_that_was_unpacked_for_root_alone(hn: Headnode, small: Small, tmp_path: Path) -> None:
    """With a umask of 077, or by somebody whose group may write."""
    release = shutil.copytree(small("1.0"), tmp_path / "release")
    for path in release.rglob("*"):
        path.chmod(0o770 if path.is_dir() or path.stat().st_mode & 0o100 else 0o660)
    done = hn.install(release)
    assert done.returncode == 0, done.stderr
    for name in ("sdc-thoth --version", "collector"):
        done = hn.as_thoth(f"HOME='{hn.home}' '{hn.top}/bin/'{name}")
        assert done.returncode == 0, done.stderr
    for path in (hn.top / "versions").rglob("*"):
        assert path.is_symlink() or not path.stat().st_mode & 0o022, path


# ---- other runs, other users ----------------------------------------------------------------------


def test_F18_what_thoth_leaves_running_holds_no_lock(installed: Headnode, small: Small) -> None:
    bashrc = installed.home / ".bashrc"
    with bashrc.open("a") as file:
        file.write("sleep 100 </dev/null >/dev/null 2>&1 &\necho $! >>~/pids\n")
    held = installed.root / "var/held"
    for program in ("su", "svcadm", "svccfg"):
        installed.broken(program, 'readlink /proc/$$/fd/9 >>"$root/var/held"')
    installed.svcadm("enable", "site/sdc-thoth")
    try:
        for _ in range(2):
            done = installed.install(small("1.0"), "-f")
            assert done.returncode == 0, done.stderr
    finally:
        send(signal.SIGKILL, map(int, (installed.home / "pids").read_text().split()))
    assert held.read_text() == ""


@pytest.mark.parametrize("name", ["bin", "etc", "home", "versions"])
def test_F18_only_root_has_a_hand_in_what_root_uses(name: str, installed: Headnode, small: Small) -> None:
    (installed.top / name).chmod(0o777)
    before = installed.tree()
    for command in ("sdc-thoth-install", "sdc-thoth-uninstall"):
        done = installed.run(small("1.0") / "install" / command, "--root", installed.root)
        assert done.returncode == 1 and f"{installed.top / name}: not root's alone" in done.stderr
        assert installed.tree() == before


# ---- full disks ------------------------------------------------------------------------------------


@contextmanager
def small_disk(path: Path, room: int) -> Iterator[None]:
    """What lies in the directory, on a disk of its own with room for so many bytes more."""
    about, held = path.stat(), path.with_name(f"{path.name}.held")
    subprocess.run(["cp", "-a", path, held], check=True)
    options = f"mode={about.st_mode & 0o777:o},uid={about.st_uid},gid={about.st_gid}"
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", path], check=True)
    try:
        subprocess.run(["cp", "-a", f"{held}/.", path], check=True)
        disk = os.statvfs(path)
        size = (disk.f_blocks - disk.f_bfree) * disk.f_frsize + room
        subprocess.run(["mount", "-o", f"remount,size={size}", path], check=True)
        yield
    finally:
        subprocess.run(["umount", path], check=True)
        shutil.rmtree(held)


@pytest.mark.parametrize(
    ("room", "because"),
    [(16 << 10, "cannot make"), (64 << 10, "look whether its disk has room"), (280 << 10, "No space left on device")],
)
def test_a_full_disk_is_told_and_nothing_is_left(
    room: int, because: str, installed: Headnode, small: Small, tarball: Path
) -> None:
    with small_disk(installed.path("/opt"), room):
        before = installed.tree()
        done = installed.install(small("2.0"), "-f")
        assert done.returncode == 1 and because in done.stderr and "pkgin" not in done.stderr, done.stderr
        done = update(installed, tarball)
        assert done.returncode == 1 and f"{tarball}: cannot be copied into {installed.top}" in done.stderr
        assert installed.tree() == before and runs(installed)


def test_a_full_disk_leaves_no_part_of_a_file(installed: Headnode, small: Small) -> None:
    with small_disk(installed.home, 64 << 10):
        before = installed.tree()
        done = installed.install(small("1.0"), "-f", env={"THOTH_USER": "x" * 100_000})
        assert done.returncode == 1 and f"{installed.home}/.bashrc: user thoth cannot write it" in done.stderr
        assert installed.tree() == before
