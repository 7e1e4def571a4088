"""What is asked of Python by the scripts: checking and unpacking releases, before anything is installed."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support import releases

PROGRAM = releases.TOP / "install/release.py"


def run(*arguments: str | Path, stdin: str = "") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-I", "-S", str(PROGRAM), *map(str, arguments)]
    return subprocess.run(command, input=stdin, capture_output=True, text=True, check=False)


def packed(path: Path, *members: tarfile.TarInfo) -> Path:
    with tarfile.open(path, "w:gz") as tar:
        for member in members:
            member.size = 1 if member.isfile() else 0
            tar.addfile(member, io.BytesIO(b"x"))
    return path


def member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    made.type, made.linkname = kind, link
    return made


@pytest.mark.parametrize(
    "evil",
    [
        member("/etc/passwd"),
        member("top/../../up"),
        member("../up"),
        member("./top/x"),
        member("top//x"),
        member("top/link", tarfile.SYMTYPE, "/etc"),
        member("top/hard", tarfile.LNKTYPE, "top/x"),
        member("top/fifo", tarfile.FIFOTYPE),
        member("top/disk", tarfile.BLKTYPE),
    ],
    ids=lambda evil: evil.name,
)
def test_unpacks_files_inside_only(evil: tarfile.TarInfo, tmp_path: Path) -> None:
    target = tmp_path / "in" / "side"
    target.mkdir(parents=True)
    done = run("unpack", packed(tmp_path / "x.tar.gz", member("top/x"), evil), target)
    assert done.returncode == 1 and "holds what no release holds" in done.stderr
    assert {path.name for path in tmp_path.rglob("*")} <= {"in", "side", "top", "x", "x.tar.gz"}


def test_a_name_twice_and_two_directories(tmp_path: Path) -> None:
    twice = packed(tmp_path / "x.tar.gz", member("top/x"), member("top/x"))
    assert run("unpack", twice, tmp_path).returncode == 1
    two = packed(tmp_path / "y.tar.gz", member("a/x"), member("b/x"))
    assert "2 directories" in run("unpack", two, tmp_path).stderr


def test_what_make_dist_packs_comes_out_again(small: Callable[..., Path], tmp_path: Path) -> None:
    release = small("1.0")
    done = run("unpack", releases.tarball(release), tmp_path)
    unpacked = Path(done.stdout.strip())
    assert unpacked == tmp_path / "manta-thoth-1.0"

    def files(top: Path) -> dict[str, tuple[bytes, bool]]:
        return {
            str(path.relative_to(top)): (path.read_bytes(), bool(path.stat().st_mode & 0o100))
            for path in top.rglob("*")
            if path.is_file()
        }

    assert files(unpacked) == files(release)
    assert run("check", unpacked).stdout.strip() == releases.sha256(release / "SHA256SUMS")


@pytest.mark.parametrize("size", range(0, 4000, 397))
def test_F70_a_tarball_that_was_cut(size: int, small: Callable[..., Path], tmp_path: Path) -> None:
    cut = tmp_path / "cut.tar.gz"
    cut.write_bytes(releases.tarball(small("1.0")).read_bytes()[:size])
    done = run("unpack", cut, tmp_path)
    assert done.returncode == 1 and len(done.stderr.splitlines()) == 1


def test_the_lock_of_a_file_that_is_gone_is_none(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    for there in ("", "gone", "another"):
        with path.open("w") as file:
            if there:
                path.unlink()
            if there == "another":
                path.touch()
            command = [sys.executable, "-I", "-S", str(PROGRAM), "lock", str(file.fileno()), str(path)]
            done = subprocess.run(command, pass_fds=[file.fileno()], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == ((1, "another run has just ended\n") if there else (0, "")), there


def test_a_field_and_nothing_else() -> None:
    document = json.dumps({"admin_ip": "10.0.0.1", "number": 1, "evil": "a\nb"})
    assert run("field", "admin_ip", stdin=document).stdout == "10.0.0.1\n"
    for name, text in (("number", document), ("evil", document), ("none", document), ("x", "{"), ("x", "[]")):
        assert run("field", name, stdin=text).stdout == ""
