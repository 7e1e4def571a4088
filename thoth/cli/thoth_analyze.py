"""What ``thoth_analyze`` runs in the shell of ``thoth debug DUMP ANALYZER``; it is started there only."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from thoth.cli.console import Console
from thoth.errors import ThothError

if TYPE_CHECKING:
    from collections.abc import Sequence

_INTERRUPTED = 130


def main(words: Sequence[str]) -> int:
    """Run the analyzer of the shell that started this; returns its exit code, or 1 when it had to be stopped."""
    console = Console()
    try:
        code = _analyze(words, console)
        console.flush()
    except KeyboardInterrupt:
        console.complain("interrupted")
        return _INTERRUPTED
    except BrokenPipeError:
        return 1
    except (ThothError, OSError) as error:
        console.failure(error)
        return 1
    finally:
        console.release()
    return code


def _analyze(words: Sequence[str], console: Console) -> int:
    from thoth.analysis.shell import analyze_again
    from thoth.cli.analyze import change_text
    from thoth.cli.debug import show_output
    from thoth.config import environment

    work, dump, name = words
    ended, changes = analyze_again(Path(work), Path(dump), name, environment())
    show_output(ended, console)
    for change in changes.described():
        console.say(f"upon successful exit: {change_text(change)}")
    if ended.reason is not None:
        console.complain(ended.reason)
    return 1 if ended.status is None else ended.status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
