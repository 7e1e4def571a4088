"""1 GiB into Manta: the whole command against curl with the same digests, and against the Node client's mput."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.bench.table import Row, Run, run, show
from tests.support.elfwriter import illumos_core
from tests.support.node_packages import node_package
from thoth.store.keys import KeyOwner, KeyPlaces, find_signer

_SIZE = 1 << 30


def measure() -> None:
    # /tmp may be memory.
    with tempfile.TemporaryDirectory(prefix="thoth-bench-", dir="/var/tmp") as folder:
        home = Path(folder)
        key = _make_key(home)
        core = _make_core(home / "core.big.1")
        with _server(home, key) as url:
            environment = _environment(home, key, url)
            rounds = [
                (_curl(environment, core), _mput(environment, core), _upload(environment, core)) for _ in range(4)
            ]
    curl, mput, ours = (min(each[at].seconds for each in rounds) for at in range(3))
    rss = max(each[2].rss for each in rounds)
    figure = f"{curl / ours:.2f} x ({_SIZE / ours / 1e6:.0f} MB/s)"
    show(
        "1 GiB into Manta: thoth upload, with MD5 and SHA-256",
        [
            Row("throughput, against curl -T and md5sum side by side", figure, "0.90 x", curl / ours >= 0.9),
            Row("throughput, against mput of the Node client", f"{mput / ours:.2f} x", "1.00 x", mput / ours > 1),
            Row("RSS", f"{rss:.0f} MiB", "150 MiB", rss < 150),
        ],
    )


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
def _server(home: Path, key: Path) -> Iterator[str]:
    """The URL of a Manta in a process of its own, as it has one anywhere else."""
    words = ["--port", "0", "--user", "alice", "--key", f"{key}.pub", "--dir", home / "manta"]
    command = [sys.executable, "-m", "tests.support.manta_server", *words]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        yield process.stdout.readline().strip()
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)
        process.stdout.close()


def _environment(home: Path, key: Path, url: str) -> dict[str, str]:
    shown = subprocess.run(["ssh-keygen", "-lf", f"{key}.pub"], check=True, capture_output=True, text=True).stdout
    manta = {"MANTA_URL": url, "MANTA_USER": "alice", "MANTA_KEY_ID": shown.split()[1]}
    return {"HOME": str(home), "PATH": os.environ["PATH"], **manta}


def _curl(environment: dict[str, str], core: Path) -> Run:
    """The same bytes by curl, with a signed URL, and their MD5 on the side, as a script that checks it would."""
    places = KeyPlaces(Path(environment["HOME"]), None)
    signer = find_signer(KeyOwner("alice"), environment["MANTA_KEY_ID"], places=places, ask=None)
    expires = int(time.time()) + 600
    url = signer.signed_url(environment["MANTA_URL"], "/alice/stor/by-curl", methods=["PUT"], expires=expires)
    sent = f"curl -sSf -T {shlex.quote(str(core))} -H 'Content-Type: application/octet-stream' {shlex.quote(url)}"
    return run(["bash", "-c", f"md5sum {shlex.quote(str(core))} & {sent} && wait"], environment)


def _mput(environment: dict[str, str], core: Path) -> Run:
    program = node_package("manta") / "bin" / "mput"
    return run(["node", program, "-q", "-f", core, "/alice/stor/by-mput"], environment)


def _upload(environment: dict[str, str], core: Path) -> Run:
    command = Path(sys.executable).parent / "thoth"
    done = run([command, "-q", "upload", core], environment)
    thoth_home = "/alice/stor/thoth"
    identity = done.output.strip()
    mrm = node_package("manta") / "bin" / "mrm"
    run(["node", mrm, "-r", f"{thoth_home}/{identity}"], environment)  # so that the next round sends it again
    return done
