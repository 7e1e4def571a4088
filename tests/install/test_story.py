"""The real release on a headnode: installed, booted, run by cron, removed. One long story, since each part needs the
one before it, and the release takes seconds to install."""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support.cloudapi_server import CloudApiServer, cloudapi
from tests.support.elfwriter import illumos_core
from tests.support.headnode import PYTHON, SECRET, THOTH, Headnode
from tests.support.sshd import Fleet
from tests.support.sshd import Node as Machine
from thoth import __version__

UUID = "thoth-east_1-44454c4c-5400"


class Scene:
    """A release, a node with a dump, and an account."""

    def __init__(self, dist: Path, machine: Machine, account: CloudApiServer, home: Path) -> None:
        (self.tarball,) = dist.glob("*wheelhouse.tar.gz")
        lines = [line.split() for line in (dist / "SHA256SUMS").read_text().splitlines()]
        (self.sum,) = (digest for digest, name in lines if name == self.tarball.name)
        subprocess.run(["tar", "xzf", self.tarball, "-C", home], check=True)
        self.release = home / f"manta-thoth-{__version__}"
        self.machine = machine
        self.account = account
        self.fleet = home / "fleet.toml"
        self.fleet.write_text(f'[[node]]\nname = "cn0"\naddress = "{machine.address}"\nport = {machine.port}\n')
        self.options = ("--inventory", self.fleet, "--pin", "--ca", account.ca)
        self.env = {
            "HOME": str(home),
            "SDC_URL": account.url,
            "SDC_ACCOUNT": account.account,
            "SDC_KEY_ID": str(home / "id_operator"),
            "THOTH_DB_AUTHKEY": SECRET,
        }


@pytest.fixture
def scene(dist: Path, tmp_path: Path) -> Iterator[Scene]:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / "id_operator"], check=True)
    with ExitStack() as stack:
        account = stack.enter_context(cloudapi(tmp_path, "ops", (tmp_path / "id_operator.pub").read_text()))
        fleet = stack.enter_context(Fleet(1))
        machine = fleet[0]
        machine.put("/var/tmp/thoth/core.app.1", illumos_core(1, size=20 << 10))
        yield Scene(dist, machine, account, tmp_path)


def test_from_installation_to_removal(scene: Scene, hn: Headnode) -> None:
    line = install(scene, hn)
    authorize(scene, hn, line)
    boot(hn)
    by_cron(hn)
    again_and_undone(scene, hn)
    remove(scene, hn)


def install(scene: Scene, hn: Headnode) -> str:
    """Returns the line for authorized_keys."""
    done = hn.install(scene.release, "--inventory", scene.fleet, "--pin", "--ca", scene.account.ca, env=scene.env)
    assert done.returncode == 0, done.stderr
    assert f"key {UUID} is registered with account ops" in done.stdout
    assert "SHA256:" in done.stdout and "pinned" in done.stdout
    public = (hn.home / ".ssh/id_ed25519.pub").read_text().split()
    assert scene.account.keys[UUID].split() == public
    shown = hn.run(hn.top / "bin/thoth", "--version")
    assert shown.stdout == f"thoth {__version__}\n"
    assert hn.run(hn.top / "bin/sdc-thoth", "--help").stdout.startswith("usage: sdc-thoth")
    assert scene.machine.address in (hn.home / "state/known_hosts").read_text()
    told = done.stdout + done.stderr + repr(hn.calls)
    assert SECRET not in told and "PRIVATE KEY" not in told
    assert SECRET in (hn.home / ".bashrc").read_text()
    (found,) = re.findall(r"^ +(restrict,.*)$", done.stdout, re.MULTILINE)
    return str(found)


def authorize(scene: Scene, hn: Headnode, line: str) -> None:
    """As the installer says: its command on the node, its line in authorized_keys."""
    command = hn.top / "current/share/thoth/nodes/thoth-node"
    scene.machine.put("/opt/custom/thoth-node", command).chmod(0o755)
    options, public = line.split(" ", 1)
    scene.machine.authorize(public, options=options.replace("10.99.99.7", "127.0.0.0/8"))


def boot(hn: Headnode) -> None:
    hn.wipe()
    assert hn.crontab is None and hn.state("thoth") == ""
    hn.boot()
    assert hn.state("thoth") == "online" and hn.state("sdc-thoth") == "disabled"
    assert "thoth:NP:" in (hn.root / "etc/shadow").read_text()
    assert hn.crontab is not None and (hn.root / "var/tcp").exists()


def cron_run(hn: Headnode) -> tuple[int, str]:
    """What cron would run, as the user whose crontab it is in. Returns its status and its log."""
    assert hn.crontab is not None
    before = {*(hn.home / "log").iterdir()}
    command = hn.crontab.splitlines()[-1].split(None, 5)[5]
    assert command.startswith(THOTH)
    done = hn.as_thoth(shlex.quote(str(hn.path(command))), env={"HOME": str(hn.home), "LOGNAME": "thoth"})
    assert (done.stdout, done.stderr) == ("", "")  # cron would mail it
    (log,) = {*(hn.home / "log").iterdir()} - before
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d-\d\d-\d\dZ\.\d+\.log", log.name)
    return done.returncode, log.read_text()


def by_cron(hn: Headnode) -> None:
    status, log = cron_run(hn)
    assert status == 0 and "would upload /var/tmp/thoth/core.app.1 from cn0" in log, log
    assert not (hn.home / ".local").exists()  # a dry run writes nothing into Thoth
    script = hn.home / "run-thoth"
    script.write_text(script.read_text().replace("options=(--dry-run)", "options=()"))
    status, log = cron_run(hn)
    assert status == 0 and "uploaded" in log, log
    listed = thoth(hn, "ls")
    assert listed.count("\n") == 2 and "core" in listed
    (kept,) = thoth(hn, "logs", "--all").splitlines()[1:]
    name = kept.split()[-1]
    assert re.fullmatch(rf"{UUID}/\d{{4}}/\d\d/\d\d/\d\d/.*\.log", name)
    assert thoth(hn, "logs", name) == log
    status, log = cron_run(hn)
    assert status == 0 and "nothing to do" in log, log


def thoth(hn: Headnode, *words: str) -> str:
    command = shlex.join([str(hn.top / "bin/thoth"), *words])
    done = hn.as_thoth(f". {shlex.quote(str(hn.home / '.bashrc'))}; {command}", env={"HOME": str(hn.home)})
    assert done.returncode == 0, done.stderr
    return done.stdout


def again_and_undone(scene: Scene, hn: Headnode) -> None:
    """A run over an installation changes nothing; what a run that fails has registered is taken back."""
    asked, before = len(scene.account.asked), hn.tree()
    assert hn.install(scene.release, *scene.options, env=scene.env).returncode == 0
    assert hn.tree() == before
    assert [line.split()[0] for line in scene.account.asked[asked:]] == ["GET"]
    scene.account.keys[UUID], key = scene.account.keys["operator"], scene.account.keys[UUID]
    done = hn.install(scene.release, *scene.options, env=scene.env)
    assert done.returncode == 1 and "another key named" in done.stderr
    del scene.account.keys[UUID]
    hn.path("/opt/custom/smf/thoth.xml").unlink()
    hn.broken("svccfg")
    done = hn.install(scene.release, *scene.options, env=scene.env)
    assert done.returncode == 1 and "svccfg does not take it" in done.stderr
    assert scene.account.asked[-1].startswith("DELETE") and UUID not in scene.account.keys
    hn.broken("svccfg", None)
    scene.account.keys[UUID] = key


def remove(scene: Scene, hn: Headnode) -> None:
    done = hn.command("sdc-thoth-uninstall", "--keys", "remove", "--ca", scene.account.ca, env=scene.env)
    assert done.returncode == 0, done.stderr
    assert list(scene.account.keys) == ["operator"]
    stored = hn.home / ".local/share/thoth/store"
    assert list(stored.rglob("info.json")) and list(stored.rglob("*.log"))
    assert [path.name for path in hn.home.iterdir()] == [".local"]


def test_what_is_neither_brought_along_nor_there_is_named(scene: Scene, hn: Headnode) -> None:
    before = hn.tree()
    modules = {"pynacl": "nacl", "bcrypt": "bcrypt", "rethinkdb": "rethinkdb", "apscheduler": "apscheduler"}
    program = "import importlib.util, sys; sys.exit(importlib.util.find_spec(sys.argv[1]) is not None)"
    lacking = [
        name for name, module in modules.items()
        if subprocess.run([PYTHON, "-I", "-c", program, module], check=False).returncode == 0
    ]  # fmt: skip
    name = lacking[0]  # this machine's own Python may have some of them
    for wheel in (scene.release / "wheels").glob(f"{name}-*"):
        wheel.unlink()
    sums = [line for line in (scene.release / "SHA256SUMS").read_text().splitlines() if f"/{name}-" not in line]
    (scene.release / "SHA256SUMS").write_text("\n".join(sums) + "\n")
    done = hn.install(scene.release, "--inventory", scene.fleet)
    assert done.returncode == 1 and name in done.stderr.lower() and "pkgin install" in done.stderr
    assert hn.tree() == before
