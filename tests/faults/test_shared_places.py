"""F18: where everybody may write we make no file that somebody else could have made before us."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.support.elfwriter import linux_core
from tests.support.mishaps import collector
from tests.support.roots import program
from tests.support.sshd import Node

_CALLS = (
    "open,openat,creat,rename,renameat,renameat2,link,linkat,symlink,symlinkat,mkdir,mkdirat,mknod,mknodat,truncate"
)
_SHARED = ("/tmp", "/var/tmp", "/dev/shm", "/run/lock")
_PATH = re.compile(r'"((?:[^"\\]|\\.)*)"')


def writing(trace: Path, own: Path) -> Iterator[str]:
    """The calls that write, or make a name, in a directory that everybody may write to, but for our own below it."""
    for line in trace.read_text(errors="replace").splitlines():
        if "open" in line and not re.search(r"O_WRONLY|O_RDWR|O_CREAT|O_TRUNC", line):
            continue
        shared = [path for path in _PATH.findall(line) if path.startswith(_SHARED) and not path.startswith(str(own))]
        if shared and "O_EXCL" not in line:
            yield line


def test_F18_a_whole_run_writes_nothing_there(node: Callable[..., Node], tmp_path: Path) -> None:
    only = node()
    for pid, size in enumerate((16_384, 5 << 20, 12 << 20), 1):
        only.put(f"/var/tmp/thoth/core.{pid}", linux_core(pid, size=size))
    home = collector(tmp_path / "home", [only])
    trace = tmp_path / "trace"
    strace = [str(program("strace")), "-f", "--seccomp-bpf", "-qq", "-o", str(trace), "-e", f"trace={_CALLS}"]
    environment = {**home.environment, "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [*strace, *home.command("--compress", "gzip")],
        env=environment, cwd=home.home, capture_output=True, text=True, timeout=90, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    text = trace.read_text(errors="replace")
    assert text.count("rename") >= 3 and "O_EXCL" in text  # dumps, documents and the status were seen
    assert list(writing(trace, home.home)) == []


def test_F18_the_look_finds_what_it_looks_for(tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    bad = 'openat(AT_FDCWD, "/tmp/thoth.1", O_WRONLY|O_CREAT, 0666) = 3'
    good = [
        'openat(AT_FDCWD, "/var/tmp/x", O_RDWR|O_CREAT|O_EXCL|O_NOFOLLOW, 0600) = 3',
        'openat(AT_FDCWD, "/tmp/own/x", O_WRONLY|O_CREAT, 0600) = 3',
        'openat(AT_FDCWD, "/var/tmp/thoth/core.1", O_RDONLY) = 3',
    ]
    trace.write_text("\n".join([*good, bad, 'rename("/home/x", "/tmp/y") = 0']))
    assert list(writing(trace, Path("/tmp/own"))) == [bad, 'rename("/home/x", "/tmp/y") = 0']
