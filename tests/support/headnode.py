"""A headnode's root in a directory: stand-ins for illumos' programs that note their calls and keep what they change.

``su`` really becomes uid 100, and ``svcadm`` really runs the methods of the services. Nothing outside of the
directory is changed. It needs root.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from shlex import quote
from typing import Self

from tests.support.analysis import common_ground
from tests.support.sandboxed import opened_up
from tests.support.smf import contract

PYTHON = Path(os.path.realpath(sys.executable))  # outside of our virtual environment
THOTH = "/opt/custom/thoth"
SECRET = "rabbit-5f0c2e"  # what Triton's configuration holds beside what we want of it
_PATIENCE = 100.0  # seconds

# Each call is noted. The N-th one fails without doing anything, or is the end of all that runs, where a test says so.
_NOTED = """\
#!/bin/bash
root={root}
me={name}
PATH=$root/usr/bin:/usr/bin:/bin:/usr/sbin:/sbin
{{ printf '%q ' "$me" "$@"; echo; }} >>"$root/var/calls"
mapfile -t calls <"$root/var/calls"
read -r kill_at <"$root/var/kill-at"
read -r fail_at <"$root/var/fail-at"
if [[ ${{#calls[@]}} -eq $kill_at ]]; then kill -KILL 0; fi
if [[ ${{#calls[@]}} -eq $fail_at ]]; then echo "$me: injected failure" >&2; exit 1; fi
[[ ! -e $root/var/broken/$me ]] || . "$root/var/broken/$me"
"""

_PROGRAMS = {
    "usr/sbin/useradd": """
        while [[ $# -gt 1 ]]; do
            case $1 in -u) uid=$2 ;; -g) group=$2 ;; -c) comment=$2 ;; -s) shell=$2 ;; -d) home=$2 ;; esac
            shift 2
        done
        grep -q "^$1:" "$root/etc/passwd" && exit 9
        awk -F: -v uid="$uid" '$3 == uid { found = 1 } END { exit !found }' "$root/etc/passwd" && exit 4
        [[ $group = other ]] || exit 6
        echo "$1:x:$uid:1:$comment:$home:$shell" >>"$root/etc/passwd"
        echo "$1:*LK*:::::::" >>"$root/etc/shadow"
    """,
    "usr/sbin/userdel": """
        grep -q "^$1:" "$root/etc/passwd" || exit 6
        sed -i "/^$1:/d" "$root/etc/passwd" "$root/etc/shadow"
    """,
    "usr/bin/passwd": """
        [[ $1 = -N ]] && grep -q "^$2:" "$root/etc/shadow" || exit 1
        sed -i "s/^$2:[^:]*:/$2:NP:/" "$root/etc/shadow"
        echo "passwd: password information changed for $2"
    """,
    "usr/bin/su": """
        [[ $2 = -c ]] || exit 1
        line=$(grep "^$1:" "$root/etc/passwd") || { echo "su: Unknown id: $1" >&2; exit 1; }
        IFS=: read -r _ _ uid gid _ <<<"$line"
        become=(setpriv --reuid "$uid" --regid "$gid" --clear-groups --inh-caps=-all /bin/bash -c "$3")
        exec unshare -m --propagation private sh -c @OPENED@ sh "${become[@]}"
    """,
    "usr/sbin/ipadm": 'echo "$@" >>"$root/var/tcp"',
    "usr/bin/bootparams": 'cat "$root/var/bootparams"',
    "usr/bin/sysinfo": 'cat "$root/var/sysinfo"',
}

# Run by the user, who may not write where calls are noted; su's call is.
_CRONTAB = """\
#!/bin/bash
root={root}
line=$(awk -F: -v uid="$(id -u)" '$3 == uid' "$root/etc/passwd")
user=${{line%%:*}}
table=$root/etc/cron.d/crontabs/$user
[[ -n $user ]] || exit 1
grep -q "^$user:[*]LK" "$root/etc/shadow" && {{ echo "crontab: $user: locked account" >&2; exit 1; }}
case ${{1-}} in
    -l) exec cat "$table" ;;
    -r) exec rm "$table" ;;
    *) content=$(cat -- "$@") || exit 1 ;;
esac
printf '%s\\n' "$content" | grep -vE '^(#.*|([0-9*,-]+ ){{5}}[^%]+)$' && {{ echo "crontab: errors" >&2; exit 1; }}
printf '%s\\n' "$content" >"$table"
"""

Watch = Callable[[list[str], subprocess.CompletedProcess[str]], None]


class Headnode:
    """One root. ``Headnodes`` makes it."""

    def __init__(self, root: Path, hold: Path | None) -> None:
        self.root = root
        self.top = self.path(THOTH)
        self.home = self.top / "home/thoth"
        self.watch: Watch = lambda command, done: None  # is shown all that is run
        if hold:
            self._make(hold)

    @classmethod
    def restored(cls, root: Path, snapshot: Path) -> Self:
        shutil.rmtree(root, ignore_errors=True)
        _copy(snapshot, root)
        return cls(root, None)

    def save(self, snapshot: Path) -> None:
        self.calm()
        _copy(self.root, snapshot)

    def _make(self, hold: Path) -> None:
        root = self.root
        for name in ("etc/cron.d/crontabs", "lib/sdc", "usr/bin", "usr/sbin", "opt", "var/broken", "var/svc/log"):
            (root / name).mkdir(parents=True)
        (root / "etc/cron.d/crontabs").chmod(0o1777)
        (root / "etc/passwd").write_text("root:x:0:0:Super-User:/root:/usr/bin/bash\n")
        (root / "etc/shadow").write_text("root:NP:6445::::::\n")
        self.headnode(True)
        (root / "var/sysinfo").write_text(json.dumps({"Datacenter Name": "east 1", "UUID": "44454c4c-5400"}))
        config = json.dumps({"admin_ip": "10.99.99.7", "rabbitmq": SECRET, "ufds_admin_pw": SECRET})
        (root / "lib/sdc/config.sh").write_text(f"echo {quote(config)}\n")
        self.calm()
        opened = quote(opened_up(hold, Path(sys.base_prefix)))
        for name, text in _PROGRAMS.items():
            self._write(name, _NOTED.format(root=quote(str(root)), name=Path(name).name) + _body(text, opened))
        self._write("usr/bin/crontab", _CRONTAB.format(root=quote(str(root))))
        smf = f"exec {quote(str(PYTHON))} -I -S {quote(str(Path(__file__).with_name('smf.py')))} {quote(str(root))}"
        for name in ("usr/sbin/svccfg", "usr/sbin/svcadm", "usr/bin/svcs"):
            noted = _NOTED.format(root=quote(str(root)), name=Path(name).name)
            self._write(name, f'{noted}{smf} "$me" "$@"\n')

    def _write(self, name: str, text: str) -> None:
        path = self.root / name
        path.write_text(text)
        path.chmod(0o755)

    def path(self, name: str) -> Path:
        """Where an absolute path of the headnode lies on this machine."""
        return self.root / name.lstrip("/")

    def headnode(self, true: bool) -> None:
        """Whether it is one."""
        (self.root / "var/bootparams").write_text(f"headnode={str(true).lower()}\nconsole=text\n")

    # ---- what goes wrong ----------------------------------------------------------------------------------------

    def calm(self, *, fail_at: int = -1, kill_at: int = -1) -> None:
        """From now on calls are counted anew; the N-th one fails, or ends all, or none does."""
        (self.root / "var/calls").write_text("")
        (self.root / "var/fail-at").write_text(f"{fail_at}\n")
        (self.root / "var/kill-at").write_text(f"{kill_at}\n")

    def broken(self, program: str, how: str | None = "echo broken >&2; exit 1") -> None:
        """From now on the program does this first; None ends that."""
        script = self.root / "var/broken" / program
        script.write_text(how) if how else script.unlink()

    @property
    def calls(self) -> list[list[str]]:
        return [shlex.split(line) for line in (self.root / "var/calls").read_text().splitlines()]

    # ---- running --------------------------------------------------------------------------------------------------

    def run(
        self, program: Path, *arguments: str | Path, env: Mapping[str, str] | None = None, cwd: Path | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run a program as root does, in a process group of its own."""
        done = subprocess.run(
            [program, *arguments],
            env={"PATH": "/usr/bin:/bin:/usr/sbin:/sbin", "HOME": "/nonexistent", **(env or {})},
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=_PATIENCE, cwd=cwd, check=False,
            process_group=0,
        )  # fmt: skip
        self.watch([str(program), *map(str, arguments)], done)
        return done

    def install(
        self, release: Path, *options: str | Path, env: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        program = release / "install/sdc-thoth-install"
        return self.run(program, "--root", self.root, "--python", PYTHON, *options, env=env)

    def command(
        self, name: str, *arguments: str | Path, env: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """One of the installed scripts."""
        return self.run(self.top / "bin" / name, "--root", self.root, *arguments, env=env)

    def as_thoth(self, script: str, env: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        return self.run(self.root / "usr/bin/su", "thoth", "-c", script, env=env)

    # ---- what a boot does -----------------------------------------------------------------------------------------

    def wipe(self) -> None:
        """What lies in memory is gone: users, crontabs, the repository of services. The pool stays."""
        (self.root / "etc/passwd").write_text("root:x:0:0:Super-User:/root:/usr/bin/bash\n")
        (self.root / "etc/shadow").write_text("root:NP:6445::::::\n")
        for table in (self.root / "etc/cron.d/crontabs").iterdir():
            table.unlink()
        (self.root / "var/smf.json").unlink(missing_ok=True)
        (self.root / "var/tcp").unlink(missing_ok=True)

    def boot(self) -> None:
        """Import what lies in /opt/custom/smf, as each boot does; this starts what is enabled."""
        for manifest in sorted(self.path("/opt/custom/smf").glob("*.xml")):
            done = self.run(self.root / "usr/sbin/svccfg", "import", manifest)
            assert done.returncode == 0, done.stderr

    def state(self, name: str) -> str:
        done = self.run(self.root / "usr/bin/svcs", "-H", "-o", "state", f"svc:/site/{name}:default")
        return done.stdout.strip()

    def svcadm(self, *words: str) -> None:
        done = self.run(self.root / "usr/sbin/svcadm", *words)
        assert done.returncode == 0, done.stderr

    def running(self) -> list[int]:
        """The processes of its services."""
        return list(contract(self.root))

    @property
    def crontab(self) -> str | None:
        table = self.root / "etc/cron.d/crontabs/thoth"
        return table.read_text() if table.exists() else None

    def tree(self) -> dict[str, object]:
        """All that there is, but for what the stand-ins note: kind, mode, owner and content by path."""
        found: dict[str, object] = {}
        for path in sorted(self.root.rglob("*")):
            name = str(path.relative_to(self.root))
            status = path.lstat()
            if name.startswith("var/") and name != "var/smf.json":
                continue
            if path.name == "smf.json" and path.read_text() == "{}":  # a repository without services is none
                continue
            content = path.readlink() if path.is_symlink() else path.read_bytes() if path.is_file() else b""
            found[name] = (stat.filemode(status.st_mode), status.st_uid, status.st_gid, content)
        return found


def _body(text: str, opened: str) -> str:
    body = "\n".join(line.strip() for line in text.strip().splitlines()) + "\n"
    return body.replace("@OPENED@", opened)


class Headnodes:
    """Headnodes that all have the same root, one after the other: what is installed holds its own path, and to
    restore it from a snapshot is quicker than to install it again."""

    def __init__(self, ground: Path) -> None:
        self._root = ground / "head node"
        self._snapshots = ground / "snapshots"
        self._snapshots.mkdir()
        self._root.mkdir()
        (ground / "hold").mkdir()
        Headnode(self._root, ground / "hold").save(self._snapshots / "new")

    def get(self, name: str) -> Headnode:
        """The headnode of that name, as it was when it was made."""
        return Headnode.restored(self._root, self._snapshots / name)

    def made(self, name: str, base: str, make: Callable[[Headnode], None]) -> Headnode:
        """The same; when there is none yet, it is made from another one and kept."""
        if not (self._snapshots / name).exists():
            node = self.get(base)
            make(node)
            node.save(self._snapshots / name)
        return self.get(name)

    def graft(self, node: Headnode, name: str, version: str) -> None:
        """Add a version that another headnode has."""
        (found,) = (self._snapshots / name / THOTH.lstrip("/") / "versions").glob(f"{version}-*")
        _copy(found, node.top / "versions")


def _copy(source: Path, target: Path) -> None:
    subprocess.run(["cp", "-a", source, target], check=True)


@contextmanager
def headnodes() -> Iterator[Headnodes]:
    """Where any user can reach them, in a path with blanks."""
    with common_ground() as ground:
        yield Headnodes(ground)
