"""Stands in for the Node client's mlogin, whose other half on Manta's side is gone for good: a terminal in a task.

It says what that says, fetches the dump and the assets as the user whose environment it has, and runs the command as
a task would, in a root of its own, on the terminal that it was started from. ``mlogin [-s ASSET]... [-c COMMAND]
[--memory=MB] DUMP``; THOTH_TEST_MLOGIN_LOG names a file that gets its words as a line of JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import uuid
from pathlib import Path

from tests.support.manta_tasks import Command, Task
from thoth.cli.options import absent, configured
from thoth.library import open_thoth


def main(words: list[str]) -> int:
    """Does it; returns the exit status."""
    with Path(os.environ["THOTH_TEST_MLOGIN_LOG"]).open("a") as log:
        log.write(json.dumps(words) + "\n")
    asked = _parsed(words)
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        print(" * ERROR: stdin is not a TTY; aborting.", file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory(prefix="mlogin-", dir="/var/tmp") as place:
        print(f" * created interactive job -- {uuid.uuid4()}", flush=True)
        folder = Path(place)
        files = {path: folder / f"file-{at}" for at, path in enumerate([*asked.asset, asked.dump])}
        with open_thoth(configured(absent())) as thoth:
            for path, target in files.items():
                with thoth.store.open(path) as source:
                    target.write_bytes(source.read_at(0, source.size))
        print(" * waiting for session... - established", flush=True)
        return _run(folder, asked, files)


def _parsed(words: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="mlogin", allow_abbrev=False)
    parser.add_argument("-s", "--asset", action="append", default=[])
    parser.add_argument("-c", "--command", required=True)
    parser.add_argument("--memory", type=int, choices=(128, 256, 512, 1024, 2048, 4096, 8192))
    parser.add_argument("dump")
    return parser.parse_args(words)


def _run(folder: Path, asked: argparse.Namespace, files: dict[str, Path]) -> int:
    environment = {
        "MANTA_INPUT_OBJECT": asked.dump,
        "MANTA_INPUT_FILE": f"/manta{asked.dump}",
        "HOME": os.environ["HOME"],
        "PATH": os.environ["PATH"],
        "TERM": "dumb",
        "TMPDIR": str(folder),
        **{name: value for name, value in os.environ.items() if name.startswith("MANTA_")},
    }
    work = folder / "work"
    work.mkdir()
    assets = {path: files[path] for path in asked.asset}
    command = Command(None, asked.command, environment, assets, {asked.dump: files[asked.dump]}, [])
    return subprocess.run(Task(command, work, 60.0).lay_out(), env=environment, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
