"""1 GiB into Manta by ``thoth upload``, against curl and against the Node client's mput.

As one stream and, where the server offers that, in parts. An MD5 that is compared on both sides can be had from
curl in two ways: computed first and sent as Content-MD5, as mput -m does it, or beside the transfer, by who compares
it afterwards. Parts cost both sides an MD5 more, of each part and of the whole, so a script sends parts by curl
there: as many at a time, each with its MD5. Ours computes a SHA-256 besides, always.
"""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tests.bench.table import Row, Run, run, show
from tests.support.elfwriter import illumos_core
from tests.support.node_packages import node_package
from thoth.store.keys import KeyOwner, KeyPlaces, find_signer
from thoth.store.signing import Signer

_SIZE = 1 << 30
_PART = 16 << 20
_FLIGHTS = 4
_ROUNDS = 4
_USER = "alice"

_CURL = 'curl -sSf -T "$1" -H "Content-Type: application/octet-stream"'
_FIRST = f'{_CURL} -H "Content-MD5: $(openssl dgst -md5 -binary "$1" | base64)" "$2"'
_BESIDE = f'md5sum "$1" & {_CURL} "$2" && wait'
# $1: the file, $2: its parts' URLs, a line each, $3: the commit's URL
_PARTS = f"""\
set -eu
md5sum "$1" & sha256sum "$1" &
part() {{
    local piece="$4.$2"
    dd if="$1" of="$piece" bs={_PART} skip="$2" count=1 status=none
    curl -sSf -D - -T "$piece" -H "Content-MD5: $(openssl dgst -md5 -binary "$piece" | base64)" "$3" |
        sed -n 's/^[Ee][Tt][Aa][Gg]: *\\([^\\r]*\\)\\r*$/"\\1"/p' >"$piece.etag"
    rm "$piece"
}}
export -f part
xargs -P {_FLIGHTS} -L 1 bash -c 'part "$0" "$2" "$3" "$1"' "$1" "$4/piece" <"$2"
etags=$(cd "$4" && ls piece.*.etag | sort -t. -k2n | xargs cat | paste -sd,)
curl -sSf -o /dev/null -H 'Content-Type: application/json' -d '{{"parts":['"$etags"']}}' "$3"
wait
"""


def measure() -> None:
    # /tmp may be memory.
    with tempfile.TemporaryDirectory(prefix="thoth-bench-", dir="/var/tmp") as folder:
        home = Path(folder)
        key = _make_key(home)
        core = _make_core(home / "core.big.1")
        for title, options in (("as one stream", ["--no-mpu"]), ("in parts", [])):
            with _server(home, key, *options) as url:
                _show(title, _Bench(home, core, url, key).peers(in_parts=not options))


def _show(title: str, peers: dict[str, tuple[float, Callable[[], Run]]]) -> None:
    """Ours comes first among the peers, each with what ours has to reach of its throughput."""
    rounds = [[way() for _, way in peers.values()] for _ in range(_ROUNDS)]
    ours, *others = (min(each[at].seconds for each in rounds) for at in range(len(peers)))
    rss = max(each[0].rss for each in rounds)
    _, *names = peers
    rows = []
    for name, seconds in zip(names, others, strict=True):
        goal, ratio = peers[name][0], seconds / ours
        rows.append(Row(f"throughput, against {name}", f"{ratio:.2f} x", f"{goal:.2f} x", ratio >= goal))
    rows.append(Row(f"RSS, at {_SIZE / ours / 1e6:.0f} MB/s", f"{rss:.0f} MiB", "150 MiB", rss < 150))
    show(f"1 GiB into Manta {title}: thoth upload", rows)


@dataclass(frozen=True, slots=True)
class _Bench:
    """One server, and the ways to bring a file to it. What was brought is removed again, outside of the time."""

    home: Path
    core: Path
    url: str
    key: Path

    def peers(self, *, in_parts: bool) -> dict[str, tuple[float, Callable[[], Run]]]:
        by_curl: dict[str, tuple[float, Callable[[], Run]]] = {
            "curl -T with Content-MD5": (0.9, lambda: self.curl(_FIRST)),
            "curl -T with md5sum beside it": (0.9, lambda: self.curl(_BESIDE)),
        }
        if in_parts:
            by_curl = {"the same parts by curl": (0.9, self.curl_parts)}
        by_mput = {" ".join(["mput", *flags]): (1.0, partial(self.mput, *flags)) for flags in (["-m"], [])}
        return {"ours": (1.0, self.upload), **by_curl, **by_mput}

    @property
    def environment(self) -> dict[str, str]:
        shown = subprocess.run(["ssh-keygen", "-lf", f"{self.key}.pub"], check=True, capture_output=True, text=True)
        manta = {"MANTA_URL": self.url, "MANTA_USER": _USER, "MANTA_KEY_ID": shown.stdout.split()[1]}
        return {"HOME": str(self.home), "PATH": os.environ["PATH"], **manta}

    @property
    def signer(self) -> Signer:
        places = KeyPlaces(self.home, None)
        return find_signer(KeyOwner(_USER), self.environment["MANTA_KEY_ID"], places=places, ask=None)

    def curl(self, script: str) -> Run:
        done = self._bash(script, str(self.core), self._signed("PUT", f"/{_USER}/stor/by-curl"))
        self._remove("by-curl")
        return done

    def curl_parts(self) -> Run:
        """A script that does what ours does: its MD5 and SHA-256, parts with theirs, the commit."""
        document = {"objectPath": f"/{_USER}/stor/by-curl", "headers": {"content-length": self.core.stat().st_size}}
        create = self._signed("POST", f"/{_USER}/uploads")
        told = run(["curl", "-sSf", "-H", "Content-Type: application/json", "-d", json.dumps(document), create])
        directory = json.loads(told.output)["partsDirectory"]
        numbers = range(-(-self.core.stat().st_size // _PART))
        urls = self.home / "urls"
        urls.write_text("".join(f"{n} {shlex.quote(self._signed('PUT', f'{directory}/{n}'))}\n" for n in numbers))
        with tempfile.TemporaryDirectory(dir=self.home) as pieces:
            done = self._bash(_PARTS, str(self.core), str(urls), self._signed("POST", f"{directory}/commit"), pieces)
        self._remove("by-curl")
        return done

    def mput(self, *flags: str) -> Run:
        words = ["-q", *flags, "-f", self.core, f"/{_USER}/stor/by-mput"]
        done = run(["node", node_package("manta") / "bin" / "mput", *words], self.environment)
        self._remove("by-mput")
        return done

    def upload(self) -> Run:
        command = Path(sys.executable).parent / "thoth"
        done = run([command, "-q", "upload", self.core], self.environment)
        self._remove("thoth")
        return done

    def _bash(self, script: str, *words: str) -> Run:
        return run(["bash", "-c", script, "bash", *words], self.environment)

    def _signed(self, method: str, path: str) -> str:
        return self.signer.signed_url(self.url, path, methods=[method], expires=int(time.time()) + 600)

    def _remove(self, name: str) -> None:
        mrm = node_package("manta") / "bin" / "mrm"
        run(["node", mrm, "-r", f"/{_USER}/stor/{name}"], self.environment)


def _make_key(home: Path) -> Path:
    (home / ".ssh").mkdir(mode=0o700)
    key = home / ".ssh" / "id_rsa"
    subprocess.run(["ssh-keygen", "-q", "-t", "rsa", "-b", "2048", "-m", "PEM", "-N", "", "-f", key], check=True)
    return key


def _make_core(path: Path) -> Path:
    noise = os.urandom(1 << 20)
    with path.open("wb") as file:
        file.write(illumos_core(pid=1, size=64 << 10))
        for _ in range(_SIZE >> 20):
            file.write(noise)
    return path


@contextmanager
def _server(home: Path, key: Path, *options: str) -> Iterator[str]:
    """The URL of a Manta in a process of its own, as it has one anywhere else."""
    words = ["--port", "0", "--user", _USER, "--key", f"{key}.pub", "--dir", home / "manta", *options]
    command = [sys.executable, "-m", "tests.support.manta_server", *words]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        yield process.stdout.readline().strip()
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)
        process.stdout.close()
