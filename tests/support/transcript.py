"""What was run, and what it said, as people would have seen it at a terminal."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from subprocess import CompletedProcess

_LONGEST = 30  # lines of one command's output


class Transcript:
    """``names`` are what stands for the directories of one run, longest first: ``{root: "$ROOT"}``."""

    def __init__(self, names: Mapping[Path, str]) -> None:
        self._names = {str(path): name for path, name in names.items()}
        self._parts: list[str] = []

    def tell(self, what: str) -> None:
        """What happens now."""
        self._parts.append(f"\n## {what}\n")

    def show(self, name: str, content: str) -> None:
        """A file, or something else that nobody has to run a command for."""
        self._parts.append(f"\n-- {name}\n{_cut(content)}")

    def ran(self, command: list[str], done: CompletedProcess[str]) -> None:
        """A command, its output, and its status where it is not 0."""
        self._parts.append(f"\n# {' '.join(map(self._word, command))}\n{_cut(done.stdout)}{_cut(done.stderr)}")
        if done.returncode:
            self._parts.append(f"[status {done.returncode}]\n")

    def text(self) -> str:
        return self._short("".join(self._parts)).lstrip("\n")

    def _word(self, word: str) -> str:
        short = self._short(word)
        plain = short.replace("$", "")  # of the names, which a shell would put back
        return short if shlex.quote(plain) == plain else f'"{short}"' if "'" in short else f"'{short}'"

    def _short(self, text: str) -> str:
        for path, name in self._names.items():
            text = text.replace(shlex.quote(path), name).replace(path, name)
        return text


def _cut(output: str) -> str:
    lines = output.splitlines(keepends=True)
    more = len(lines) - _LONGEST
    text = "".join(lines[:_LONGEST]) + (f"... {more} more lines\n" if more > 0 else "")
    return text if not text or text.endswith("\n") else f"{text}\n"
