"""``sdc-thoth-update``: another version beside the one in use, fetched and checked (F70)."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support import releases
from tests.support.fileserver import file_server
from tests.support.headnode import Headnode, Headnodes
from tests.support.releases import sha256

Small = Callable[..., Path]


@pytest.fixture(scope="module")
def served(tarball: Path) -> Iterator[tuple[str, dict[str, str]]]:
    """The address that serves the tarball, and an environment in which its certificate is trusted."""
    with file_server(tarball.parent) as (address, ca):
        yield address, {"CURL_CA_BUNDLE": str(ca)}


def version(node: Headnode) -> str:
    return node.run(node.top / "bin/thoth", "--version").stdout.strip()


def kept(node: Headnode) -> dict[str, object]:
    """What no update touches: all but the versions and the way to them."""
    prefix = "opt/custom/thoth/"
    gone = (f"{prefix}versions/", f"{prefix}current", "var/")
    return {name: about for name, about in node.tree().items() if not name.startswith(gone)}


def test_keeps_all_but_the_version(installed: Headnode, served: tuple[str, dict[str, str]], tarball: Path) -> None:
    """From its address, with the virtual environment made for real."""
    address, env = served
    (installed.home / "state/known_hosts").write_text("pinned")
    (installed.home / "run-thoth").write_text("mine")
    before = kept(installed)
    done = installed.command(
        "sdc-thoth-update", "--from", f"{address}/{tarball.name}", "--sha256", sha256(tarball).upper(), env=env
    )
    assert done.returncode == 0, done.stderr
    assert "2.0 is in use; before it was 1.0" in done.stdout
    assert version(installed) == "thoth 2.0"
    assert kept(installed) == before
    assert len(list((installed.top / "versions").iterdir())) == 2  # the one before stays
    again = installed.command("sdc-thoth-update", "--from", tarball, "--sha256", sha256(tarball))
    assert (again.returncode, again.stdout) == (0, "sdc-thoth-update: 2.0 is in use\n")
    assert not list(installed.top.glob(".stage.*"))


def test_F70_what_is_fetched_is_what_was_released(
    installed: Headnode, served: tuple[str, dict[str, str]], tarball: Path, tmp_path: Path
) -> None:
    address, env = served
    right, before = sha256(tarball), installed.tree()
    page = tmp_path / "a page.html"
    page.write_text("<html>not found</html>")
    for source, digest, trusted, because in (
        (f"{address}/{tarball.name}", "0" * 64, env, "it is not what was released"),
        (f"{address}/no-such.tar.gz", right, env, "cannot be fetched"),
        (f"{address}/cut/{tarball.name}", right, env, "cannot be fetched"),
        (f"{address}/plain/{tarball.name}", right, env, "cannot be fetched"),
        (f"{address}/{tarball.name}", right, {}, "cannot be fetched"),  # a certificate that nobody vouches for
        ("https://127.0.0.1:1/x.tar.gz", right, env, "cannot be fetched"),  # no network
        ("http://127.0.0.1:1/x.tar.gz", right, env, "neither a file nor an https address"),
        (page, sha256(page), env, "not a release"),
        (tmp_path / "none", right, env, "cannot be read"),
        (tarball, "abc", env, "not 64 hex digits"),
    ):
        done = installed.command("sdc-thoth-update", "--from", source, "--sha256", digest, env=trusted)
        assert done.returncode == 1 and because in done.stderr, (source, done.stderr)
        assert installed.tree() == before, source
        assert version(installed) == "thoth 1.0"


def test_without_a_sum_nothing_is_fetched(installed: Headnode, served: tuple[str, dict[str, str]]) -> None:
    done = installed.command("sdc-thoth-update", "--from", f"{served[0]}/x.tar.gz", env=served[1])
    assert done.returncode == 1 and "--sha256" in done.stderr


def test_one_that_does_not_start(installed: Headnode, small: Small) -> None:
    before = installed.tree()
    bad = releases.tarball(small("2.1", trouble="raise SystemExit('broken')"))
    done = installed.command("sdc-thoth-update", "--from", bad, "--sha256", sha256(bad))
    assert done.returncode == 1 and "its thoth does not start" in done.stderr
    assert installed.tree() == before and version(installed) == "thoth 1.0"


def test_the_daemon_runs_again_with_the_new_one(updatable: Headnode, tarball: Path) -> None:
    enable(updatable)
    done = updatable.command("sdc-thoth-update", "--from", tarball, "--sha256", sha256(tarball))
    assert done.returncode == 0, done.stderr
    assert updatable.state("sdc-thoth") == "online"
    assert [line.split("|")[0] for line in (updatable.home / "asked").read_text().splitlines()] == ["1.0", "2.0"]


@pytest.mark.parametrize("status", [1, 96])
def test_a_daemon_that_does_not_run_with_the_new_one_runs_with_the_old(
    status: int, updatable: Headnode, tarball: Path
) -> None:
    enable(updatable)
    (updatable.home / "answer-2.0").write_text(str(status))
    done = updatable.command("sdc-thoth-update", "--from", tarball, "--sha256", sha256(tarball))
    assert done.returncode == 1 and "site/sdc-thoth does not run with 2.0" in done.stderr
    assert version(updatable) == "thoth 1.0" and updatable.state("sdc-thoth") == "online"
    assert [line.split("|")[0] for line in (updatable.home / "asked").read_text().splitlines()] == [
        "1.0",
        "2.0",
        "1.0",
    ]


def enable(node: Headnode) -> None:
    done = node.run(node.root / "usr/sbin/svcadm", "enable", "svc:/site/sdc-thoth:default")
    assert done.returncode == 0 and node.state("sdc-thoth") == "online", done.stderr
    node.calm()


@pytest.mark.parametrize("every", [pytest.param(6, id="sample"), pytest.param(1, id="all", marks=pytest.mark.soak)])
def test_the_old_one_works_until_the_change(
    every: int, headnode_snapshots: Headnodes, updatable: Headnode, tarball: Path
) -> None:
    """Killed at any call: what is in use is whole, the old one or the new one, and the next run finishes."""
    for step in range(1, 30, every):
        node = headnode_snapshots.get("installed")
        headnode_snapshots.graft(node, "ready", "2.0")
        enable(node)
        node.calm(kill_at=step)
        killed = node.command("sdc-thoth-update", "--from", tarball, "--sha256", sha256(tarball))
        node.calm()
        assert version(node) in ("thoth 1.0", "thoth 2.0")
        done = node.command("sdc-thoth-update", "--from", tarball, "--sha256", sha256(tarball))
        assert done.returncode == 0 and version(node) == "thoth 2.0", done.stderr
        assert node.state("sdc-thoth") == "online"
        assert (node.home / "asked").read_text().splitlines()[-1].startswith("2.0|"), step  # it runs, too
        assert not list(node.top.glob(".stage.*"))
        if killed.returncode >= 0:
            return
    pytest.fail("no run was through")


def test_after_a_kill_the_old_one_still_comes_back(updatable: Headnode, tarball: Path) -> None:
    enable(updatable)
    updatable.broken("svcadm", "kill -KILL 0")
    assert updatable.command("sdc-thoth-update", "--from", tarball, "--sha256", sha256(tarball)).returncode < 0
    updatable.broken("svcadm", None)
    (updatable.home / "answer-2.0").write_text("1")
    done = updatable.command("sdc-thoth-update", "--from", tarball, "--sha256", sha256(tarball))
    assert done.returncode == 1 and "site/sdc-thoth does not run with 2.0" in done.stderr
    assert version(updatable) == "thoth 1.0" and updatable.state("sdc-thoth") == "online"
    (updatable.home / "answer-2.0").unlink()
    done = updatable.command("sdc-thoth-update", "--from", tarball, "--sha256", sha256(tarball))
    assert done.returncode == 0 and "2.0 is in use; before it was 1.0" in done.stdout


def test_nothing_to_update(hn: Headnode, small: Small, tarball: Path) -> None:
    before = hn.tree()
    program = small("1.0") / "install/sdc-thoth-update"
    done = hn.run(program, "--root", hn.root, "--from", tarball, "--sha256", sha256(tarball))
    assert done.returncode == 1 and "nothing is installed there" in done.stderr
    assert hn.tree() == before


def test_the_command_is_a_link(installed: Headnode) -> None:
    """Called by another link too, it finds what lies beside it."""
    link = installed.root / "var/my update"
    link.symlink_to(os.path.relpath(installed.top / "bin/sdc-thoth-update", link.parent))
    shown = subprocess.run([link, "--help"], capture_output=True, text=True, check=True).stdout
    assert shown.startswith("usage: sdc-thoth-update")
