"""A process under strace, from its first system call of ours to its last: killed at one, or with one that fails."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

TOP = Path(__file__).parents[3]
_CALL = re.compile(r"^(?:\d+ +)?(\w+)\((.*)$", re.MULTILINE)


@dataclass(frozen=True)
class Run:
    status: int  # as subprocess has it: negative for a signal
    said: str
    calls: list[tuple[str, str]]  # system call, the rest of its line


def traced(module: str, root: Path, words: Iterable[str], calls: Iterable[str], options: Iterable[str]) -> Run:
    """Run ``python -m module ROOT WORDS``, which says ``ready`` and waits for a line before its work."""
    assert shutil.which("strace"), "these tests need strace: install it"
    log = root.with_suffix(".strace")
    command = [sys.executable, "-m", module, str(root), *words]
    with subprocess.Popen(
        command, cwd=TOP, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as process:
        assert process.stdin
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
        strace = ["strace", "-f", "-y", "-o", str(log), "-e", f"trace={','.join(calls)}", *options]
        with subprocess.Popen([*strace, "-p", str(process.pid)], text=True, stderr=subprocess.PIPE) as tracer:
            assert tracer.stderr
            attached = tracer.stderr.readline()
            assert "attached" in attached, f"strace cannot attach here: {attached}"
            said, _ = process.communicate("\n")
            tracer.communicate()
    return Run(process.returncode, said, _CALL.findall(log.read_text()))
