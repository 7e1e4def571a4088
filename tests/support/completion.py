"""What bash offers by a script of completion."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

# Sources the script and asks for what bash would offer behind the words that are its arguments.
_ASK = """
source "$1"; shift
COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMP_LINE="$*"; COMP_POINT=${#COMP_LINE}
spec=$(complete -p "$1") && [[ $spec =~ -F\\ ([a-zA-Z_]+) ]] && "${BASH_REMATCH[1]}" "$1" "${!#}" "${@: -2:1}"
printf '%s\\n' "${COMPREPLY[@]}"
"""


def completed(script: Path, folder: Path, *words: str) -> set[str]:
    """What bash completes the last of the words to, the first of which is the command, in this folder."""
    commands = Path(sys.executable).parent
    ran = subprocess.run(
        ["bash", "--norc", "-c", _ASK, "bash", script, *words],
        env={**os.environ, "PATH": f"{commands}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        cwd=folder,
        check=True,
        timeout=30,
    )
    assert ran.stderr == ""
    return set(ran.stdout.split())
