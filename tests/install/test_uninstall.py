"""``sdc-thoth-uninstall``: what goes, what stays, what is asked."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.headnode import PYTHON, Headnode, Headnodes
from tests.support.terminal import Terminal

Small = Callable[..., Path]
DUMP = ".local/share/thoth/store/thoth/stor/thoth/0123/core.1"


def with_dumps(node: Headnode) -> None:
    (node.home / DUMP).parent.mkdir(parents=True)
    (node.home / DUMP).write_text("a dump")
    (node.home / "state/known_hosts").write_text("pinned")


def left(node: Headnode) -> set[str]:
    """Files that are left below /opt."""
    return {str(path.relative_to(node.home)) for path in node.path("/opt").rglob("*") if not path.is_dir()}


KEYS = {".ssh/id_ed25519", ".ssh/id_ed25519.pub", "state/known_hosts"}


def check_removed(node: Headnode) -> None:
    assert node.crontab is None
    assert "thoth" not in (node.root / "etc/passwd").read_text()
    assert node.state("thoth") == node.state("sdc-thoth") == ""
    assert list(node.path("/opt/custom/smf").iterdir()) == []


def test_dumps_and_keys_stay(installed: Headnode) -> None:
    with_dumps(installed)
    done = installed.command("sdc-thoth-uninstall")
    assert done.returncode == 0, done.stderr
    check_removed(installed)
    assert left(installed) == {DUMP, *KEYS}
    assert "still in authorized_keys" in done.stdout


def test_keys_go_when_that_is_said(installed: Headnode) -> None:
    with_dumps(installed)
    assert installed.command("sdc-thoth-uninstall", "--keys", "remove").returncode == 0
    check_removed(installed)
    assert left(installed) == {DUMP}


def test_without_dumps_nothing_is_left(installed: Headnode) -> None:
    assert installed.command("sdc-thoth-uninstall", "--keys", "remove").returncode == 0
    assert not installed.top.exists()


@pytest.mark.parametrize("keys", ["keep", "remove"])
def test_what_f_kept_goes_too(keys: str, installed: Headnode, small: Small) -> None:
    for name in (".bashrc", ".profile", "run-thoth", "crontab"):
        with (installed.home / name).open("a") as file:
            file.write("# export THOTH_DB_AUTHKEY=secret\n")
    for name in ("thoth", "sdc-thoth"):
        with installed.path(f"/opt/custom/smf/{name}.xml").open("a") as file:
            file.write("<!-- mine -->\n")
    assert installed.install(small("1.0"), "-f").returncode == 0
    (installed.home / "asked").unlink()
    assert (installed.home / ".bashrc.old").exists() and (installed.home / "crontab.old").exists()
    for name in (".bashrc", ".profile", "run-thoth", "crontab"):
        (installed.home / f"{name}.new").touch()  # of a killed run
        (installed.home / f"{name}.old.new").touch()
    assert installed.command("sdc-thoth-uninstall", "--keys", keys).returncode == 0
    check_removed(installed)
    assert left(installed) == (KEYS - {"state/known_hosts"} if keys == "keep" else set())


def test_without_the_python_that_it_was_made_with(installed: Headnode) -> None:
    configuration = installed.top / "current/pyvenv.cfg"
    text = re.sub("(?m)^executable = .*", "executable = /no/such/python", configuration.read_text())
    configuration.write_text(text)
    done = installed.command("sdc-thoth-uninstall", env={"PATH": f"{PYTHON.parent}:/usr/bin:/bin"})
    assert done.returncode == 0, done.stderr
    check_removed(installed)


def test_a_registered_key_that_cannot_be_removed_is_told(installed: Headnode) -> None:
    (installed.top / "current/bin/python").unlink()
    env = {"SDC_URL": "https://127.0.0.1:1", "SDC_ACCOUNT": "ops", "SDC_KEY_ID": "k"}
    done = installed.command("sdc-thoth-uninstall", "--keys", "remove", env=env)
    assert done.returncode == 1 and "stays with account ops" in done.stderr
    assert (installed.home / ".ssh/id_ed25519").exists()


def test_a_crontab_that_cannot_be_removed_is_told(installed: Headnode) -> None:
    os.chown(installed.root / "etc/cron.d/crontabs/thoth", 0, 0)
    done = installed.command("sdc-thoth-uninstall")
    assert done.returncode == 1 and "user thoth's crontab cannot be removed" in done.stderr
    os.chown(installed.root / "etc/cron.d/crontabs/thoth", 100, 1)
    assert installed.command("sdc-thoth-uninstall").returncode == 0
    check_removed(installed)


def test_it_asks_about_keys(installed: Headnode) -> None:
    program = installed.top / "bin/sdc-thoth-uninstall"
    env = {"PATH": "/usr/bin:/bin", "HOME": "/nonexistent"}
    with Terminal([program, "--root", installed.root], env) as terminal:
        terminal.expect("remove the key in")
        terminal.expect("[y/N]")
        terminal.write("\n")
        assert terminal.ended() == 0
    assert left(installed) >= {".ssh/id_ed25519"}


def test_a_run_that_failed_is_finished_by_the_next(installed: Headnode) -> None:
    with_dumps(installed)
    for program in ("svccfg", "userdel"):
        installed.broken(program)
        done = installed.command("sdc-thoth-uninstall")
        assert done.returncode == 1, done.stdout
        installed.broken(program, None)
        assert (installed.top / "bin/sdc-thoth-uninstall").exists()
    assert installed.command("sdc-thoth-uninstall").returncode == 0
    check_removed(installed)
    assert left(installed) == {DUMP, *KEYS}


def test_after_a_boot_that_wiped_the_user(installed: Headnode) -> None:
    with_dumps(installed)
    installed.wipe()
    assert installed.command("sdc-thoth-uninstall").returncode == 0
    check_removed(installed)
    assert left(installed) == {DUMP, *KEYS}


def test_installed_again_it_is_the_same_collector(
    headnode_snapshots: Headnodes, installed: Headnode, small: Small
) -> None:
    key = (installed.home / ".ssh/id_ed25519").read_bytes()
    assert installed.command("sdc-thoth-uninstall").returncode == 0
    (installed.top / "versions").mkdir()
    headnode_snapshots.graft(installed, "ready", "1.0")  # to make it takes seconds
    assert installed.install(small("1.0")).returncode == 0
    assert (installed.home / ".ssh/id_ed25519").read_bytes() == key
