"""A large upload that this process gave up."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.support.processes import open_descriptors
from tests.thoth.store.large_upload import MEGABYTE, NAME, content, opened, send, store
from tests.thoth.store.leftovers import (
    LETTERS,
    SIZE,
    assert_stored,
    break_off,
    drafts,
    gone_on_with,
    killed,
    object_of,
)
from tests.thoth.store.traced import TOP


def test_what_is_given_up_is_gone_on_with(root: Path) -> None:
    break_off(root, content("abcdefghi"))
    assert not object_of(root).exists()
    assert gone_on_with(root) == 1


def test_what_is_given_up_while_it_is_compared_stays_whole(root: Path) -> None:
    break_off(root, content("abcdefghi"))
    break_off(root, content("ab"))
    assert gone_on_with(root) == 1


def test_what_is_too_little_is_not_kept(root: Path) -> None:
    break_off(root, content("abcdefgh")[:-1])
    assert drafts(root) == []


def test_what_is_there_by_now_is_not_kept(root: Path) -> None:
    upload = opened(root).begin(NAME, SIZE)
    send(upload, content("abcdefghi"))
    store(root, LETTERS)
    upload.abort()
    assert_stored(root)


def test_an_interrupt_in_the_middle_of_a_part_leaves_it_to_the_next_run(root: Path) -> None:
    """SIGINT, delivered while the store itself writes."""
    killed(root, stop=9 * MEGABYTE)
    program = (
        "import os, signal, sys; from pathlib import Path\n"
        "from tests.thoth.store.large_upload import NAME, content, opened\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "upload = opened(Path(sys.argv[1])).begin(NAME, 10 << 20)\n"
        "signal.signal(signal.SIGALRM, lambda *_: signal.raise_signal(signal.SIGINT))\n"
        "data = content('abcdefghij')\n"
        "try:\n"
        "    signal.setitimer(signal.ITIMER_REAL, 0.2)\n"
        "    while True: upload.part(data)\n"
        "except KeyboardInterrupt:\n"
        "    upload.abort()\n"
        "    print('interrupted')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(root)], cwd=TOP, text=True, capture_output=True, check=False
    )
    assert done.stdout == "interrupted\n", done.stderr
    assert gone_on_with(root) == 0


def test_F56_no_descriptor_is_left_open(root: Path) -> None:
    before = open_descriptors()
    break_off(root, content("abcdefghi"))
    break_off(root, b"")
    store(root, LETTERS)
    break_off(root, content("abcdefghi"))
    opened(root).begin(NAME, SIZE - 1).abort()
    for left in opened(root).unfinished("/alice/stor/thoth"):
        opened(root).forget(left)
    assert open_descriptors() == before
