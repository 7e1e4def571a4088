"""The real release on a headnode: installed, booted, run by cron, as a daemon, removed. One long story, since each
part needs the one before it, and the release takes seconds to install.

    THOTH_STORY=story.txt pytest tests/install/test_story.py

writes it down: all commands with their output.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from tests.support.cloudapi_server import CloudApiServer, cloudapi
from tests.support.elfwriter import illumos_core
from tests.support.headnode import PYTHON, SECRET, THOTH, Headnode
from tests.support.processes import wait_until
from tests.support.sshd import Fleet, NodeSpec
from tests.support.sshd import Node as Machine
from tests.support.transcript import Transcript
from thoth import __version__

STORY = os.environ.get("THOTH_STORY")  # here, since no test sees it
DUMPS = "/var/tmp/thoth"
UUID = "thoth-east_1-44454c4c-5400"


class Scene:
    """A release, two nodes with a dump each, and an account."""

    def __init__(self, dist: Path, fleet: Fleet, account: CloudApiServer, home: Path) -> None:
        (self.tarball,) = dist.glob("*wheelhouse.tar.gz")
        lines = [line.split() for line in (dist / "SHA256SUMS").read_text().splitlines()]
        (self.sum,) = (digest for digest, name in lines if name == self.tarball.name)
        subprocess.run(["tar", "xzf", self.tarball, "-C", home], check=True)
        self.release = home / f"manta-thoth-{__version__}"
        self.machines: list[Machine] = list(fleet)
        self.account = account
        self.fleet = home / "fleet.toml"
        self.fleet.write_text(
            "\n".join(
                f'[[node]]\nname = "{each.name}"\naddress = "{each.address}"\nport = {each.port}\n'
                for each in self.machines
            )
        )
        self.told = Transcript({home: "$HOME"})
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
        fleet = stack.enter_context(Fleet([NodeSpec("cn0", "smartos"), NodeSpec("cn1", own_process=True)]))
        for number, machine in enumerate(fleet):
            machine.put(f"{DUMPS}/core.app.{number}", illumos_core(number, size=20 << 10))
        yield Scene(dist, fleet, account, tmp_path)


def test_from_installation_to_removal(scene: Scene, hn: Headnode) -> None:
    scene.told = Transcript({hn.root: "$ROOT", PYTHON: "python3", Path(scene.env["HOME"]): "$HOME"})
    hn.watch = scene.told.ran
    try:
        tell_story(scene, hn)
    finally:
        if STORY:
            Path(STORY).write_text(scene.told.text())


def tell_story(scene: Scene, hn: Headnode) -> None:
    scene.told.tell(f"sdc-thoth-install, from the release {scene.release.name}, into a directory as root")
    line = install(scene, hn)
    scene.told.tell("The command and the line that it tells go to both nodes. The headnode is rebooted")
    authorize(scene, hn, line)
    boot(hn)
    scene.told.tell("What cron runs: a dry run, then without --dry-run, then once more")
    by_cron(scene, hn)
    scene.told.tell("sdc-thoth-install over it changes nothing; runs that fail are taken back")
    again_and_undone(scene, hn)
    scene.told.tell("Each node has a new dump. The daemon is enabled")
    for number, machine in enumerate(scene.machines):
        machine.put(f"{DUMPS}/core.web.{number}", illumos_core(10 + number, size=20 << 10))
    as_daemon(scene, hn)
    scene.told.tell("It is enabled again, so that sdc-thoth-uninstall finds it running")
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
    pinned = (hn.home / "state/known_hosts").read_text()
    assert all(machine.address in pinned for machine in scene.machines)
    told = done.stdout + done.stderr + repr(hn.calls)
    assert SECRET not in told and "PRIVATE KEY" not in told
    assert SECRET in (hn.home / ".bashrc").read_text()
    (found,) = re.findall(r"^ +(restrict,.*)$", done.stdout, re.MULTILINE)
    return str(found)


def authorize(scene: Scene, hn: Headnode, line: str) -> None:
    """As the installer says: its command on the node, its line in authorized_keys."""
    command = hn.top / "current/share/thoth/nodes/thoth-node"
    options, public = line.split(" ", 1)
    for machine in scene.machines:
        machine.put("/opt/custom/thoth-node", command).chmod(0o755)
        machine.authorize(public, options=options.replace("10.99.99.7", "127.0.0.0/8"))


def boot(hn: Headnode) -> None:
    hn.wipe()
    assert hn.crontab is None and hn.state("thoth") == ""
    hn.boot()
    assert hn.state("thoth") == "online" and hn.state("sdc-thoth") == "disabled"
    assert "thoth:NP:" in (hn.root / "etc/shadow").read_text()
    assert hn.crontab is not None and (hn.root / "var/tcp").exists()


def cron_run(scene: Scene, hn: Headnode) -> tuple[int, str]:
    """What cron would run, as the user whose crontab it is in. Returns its status and its log."""
    assert hn.crontab is not None
    before = {*(hn.home / "log").iterdir()}
    command = hn.crontab.splitlines()[-1].split(None, 5)[5]
    assert command.startswith(THOTH)
    done = hn.as_thoth(shlex.quote(str(hn.path(command))), env={"HOME": str(hn.home), "LOGNAME": "thoth"})
    assert (done.stdout, done.stderr) == ("", "")  # cron would mail it
    (log,) = {*(hn.home / "log").iterdir()} - before
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d-\d\d-\d\dZ\.\d+\.log", log.name)
    scene.told.show(str(log), log.read_text())
    return done.returncode, log.read_text()


def by_cron(scene: Scene, hn: Headnode) -> None:
    status, log = cron_run(scene, hn)
    assert status == 0 and "would upload /var/tmp/thoth/core.app.0 from cn0" in log, log
    assert not (hn.home / ".local").exists()  # a dry run writes nothing into Thoth
    script = hn.home / "run-thoth"
    script.write_text(script.read_text().replace("options=(--dry-run)", "options=()"))
    status, log = cron_run(scene, hn)
    assert status == 0 and "uploaded" in log, log
    listed = thoth(hn, "ls")
    assert listed.count("\n") == 3 and "core" in listed
    (kept,) = thoth(hn, "logs", "--all").splitlines()[1:]
    name = kept.split()[-1]
    assert re.fullmatch(rf"{UUID}/\d{{4}}/\d\d/\d\d/\d\d/.*\.log", name)
    assert thoth(hn, "logs", name) == log
    status, log = cron_run(scene, hn)
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
    manifest = hn.path("/opt/custom/smf/thoth.xml")
    content = manifest.read_text()
    manifest.unlink()
    hn.broken("svccfg")
    done = hn.install(scene.release, *scene.options, env=scene.env)
    assert done.returncode == 1 and "svccfg does not take it" in done.stderr
    assert scene.account.asked[-1].startswith("DELETE") and UUID not in scene.account.keys
    hn.broken("svccfg", None)
    scene.account.keys[UUID] = key
    manifest.write_text(content)
    hn.boot()


# ---- as a daemon ----------------------------------------------------------------------------------


def as_daemon(scene: Scene, hn: Headnode) -> None:
    """From ``svcadm enable`` to ``svcadm disable``, with a node that goes away and comes back between them."""
    hn.svcadm("enable", "site/sdc-thoth")
    assert hn.state("sdc-thoth") == "online"
    wait_for(hn, lambda told: told["last_pass"]["nodes"] == {"reached": 2} and told["daemon"]["state"] == "waiting")
    stored = json.loads((hn.home / "state/status.json").read_bytes())["last_pass"]["dumps"]
    assert (stored["stored"]["dumps"], stored["present"]["dumps"]) == (2, 2)
    assert thoth(hn, "ls").count("\n") == 5
    assert status(hn, 0).startswith("daemon: waiting since ")

    scene.told.tell("A shorter schedule, taken by svcadm refresh")
    (daemon,) = hn.running()
    configuration = hn.top / "etc/sdc-thoth.toml"
    configuration.write_text(configuration.read_text() + '\n[schedule]\nevery = "0.5s"\n')
    scene.told.show(str(configuration), configuration.read_text())
    hn.svcadm("refresh", "site/sdc-thoth")
    wait_for(hn, lambda told: told["daemon"]["schedule"] == "every 0.5 s")

    scene.told.tell("cn1's plug is pulled")
    scene.machines[1].kill()
    pulled = time.time()
    wait_for(hn, lambda told: told["nodes"][1]["failing_since"] is not None)
    ill = status(hn, 1)
    assert "!! 1 of 2 nodes cannot be collected from\n" in ill
    found = re.search(r"^  cn1: unreachable since (\S+Z) \(\d+ s ago, \d+ .*\), last reached \S+Z: cn1 .", ill, re.M)
    assert found and abs(datetime.fromisoformat(found[1]).timestamp() - pulled) < 10, ill
    assert re.search(r"^  cn0: reached, last reached \S+Z$", ill, re.M)

    scene.told.tell("It is back")
    scene.machines[1].restart()
    wait_for(hn, lambda told: told["last_pass"]["nodes"] == {"reached": 2})
    status(hn, 0)

    scene.told.tell("The daemon is disabled")
    assert hn.running() == [daemon]  # the same one since it was enabled
    hn.svcadm("disable", "site/sdc-thoth")
    assert hn.running() == [] and hn.state("sdc-thoth") == "disabled"
    assert status(hn, 0).startswith("daemon: stopped since ")
    log = service_log(hn)
    scene.told.show("what svcs -L site/sdc-thoth names", log)
    events = [json.loads(line) for line in log.splitlines()]  # nothing but events, since it is SMF that takes the log
    names = [event["event"] for event in events]
    assert (names[0], names[-1]) == ("started", "stopped") and "the configuration was read again" in names
    assert all(machine.wait_idle() for machine in scene.machines)


def wait_for(hn: Headnode, holds: Callable[[Any], bool]) -> None:
    """Until that holds for the daemon's status file."""
    path = hn.home / "state/status.json"
    assert wait_until(lambda: holds(json.loads(path.read_bytes())), 20, 0.05), path.read_text() + service_log(hn)


def status(hn: Headnode, code: int) -> str:
    """What ``sdc-thoth status`` says to root."""
    done = hn.run(hn.top / "bin/sdc-thoth", "status")
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout


def service_log(hn: Headnode) -> str:
    return (hn.root / "var/svc/log/site-sdc-thoth:default.log").read_text()


def remove(scene: Scene, hn: Headnode) -> None:
    """Also while the daemon runs, which ends."""
    hn.svcadm("enable", "site/sdc-thoth")
    assert hn.running()
    done = hn.command("sdc-thoth-uninstall", "--keys", "remove", "--ca", scene.account.ca, env=scene.env)
    assert done.returncode == 0, done.stderr
    assert hn.running() == [] and hn.state("sdc-thoth") == hn.state("thoth") == ""
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
