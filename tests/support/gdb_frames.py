"""Run by gdb: a line for each frame of each thread that is a frame of the stack: ``FRAME thread pc name``.

Functions that were inlined, and callers that jumped, have none.
"""

from __future__ import annotations

import gdb  # type: ignore[import-not-found]  # there is one only inside gdb

MOST = 1200  # frames of a thread

VIRTUAL = (gdb.INLINE_FRAME, gdb.TAILCALL_FRAME)


def tell(thread: gdb.InferiorThread) -> None:
    thread.switch()
    frame, told = gdb.newest_frame(), 0
    while frame is not None and told < MOST:
        if frame.type() not in VIRTUAL:
            handler = frame.type() == gdb.SIGTRAMP_FRAME
            print(
                "FRAME",
                thread.ptid[1],
                hex(frame.pc()),
                "<signal handler called>" if handler else frame.name() or "?",
            )
            told += 1
        frame = frame.older()


for each in gdb.selected_inferior().threads():
    tell(each)
