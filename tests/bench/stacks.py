"""How fast stacks are read: of an illumos core in process, and of a Linux one beside gdb.

And what they cost an upload, and a collector whose node has the executables.
"""

from __future__ import annotations

import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

from sdc_thoth.ask import Asker
from sdc_thoth.binaries import NodeBinaries
from sdc_thoth.config import SshSettings
from sdc_thoth.images import Ask, Told
from sdc_thoth.inventory import Node
from sdc_thoth.session import open_session, read_credentials
from tests.bench.table import Row, best, run, show
from tests.support import vectors
from tests.support.crash import crash
from tests.support.elfwriter import PT_LOAD, PT_NOTE, Segment, elf, lwpstatus, note, psinfo, pstatus
from tests.support.roots import program
from tests.support.sources import whole
from tests.support.sshd import Fleet
from thoth.dumps.elfcore import ElfCore
from thoth.dumps.source import LocalFile
from thoth.dumps.stack import read_stacks

_LWPS, _FRAMES, _THREADS = 64, 12, 20
_MODEL = "illumos-core64-nosymtab.core.84"  # its symbols are in its memory, as in most cores of libraries
_STACKS = 0x70000000
_PYTHON = f"""
import os, signal, threading
ready = threading.Barrier({_THREADS})
threading.stack_size(1 << 18)
def descend(depth):
    if depth:
        return descend(depth - 1)
    ready.wait()
    threading.Event().wait()
def load(): os.kill(os.getpid(), signal.SIGSEGV)
for number in range({_THREADS} - 1):
    threading.Thread(target=descend, args=(number,), daemon=True).start()
ready.wait()
load()
"""
_READ = """
import sys
from thoth.dumps.binaries import LocalBinaries
from thoth.dumps.source import LocalFile
from thoth.dumps.stack import read_stacks
with LocalFile(sys.argv[1]) as source, LocalBinaries() as binaries:
    for thread in read_stacks(source, binaries).threads:
        for frame in thread.frames:
            sys.stdout.buffer.write(frame.text + b"\\n")
"""
# With an argument more its stacks are not looked for.
_UPLOAD = """
import sys, time
from functools import partial
from thoth import *
from thoth.dumps.binaries import LocalBinaries
from thoth.stacks import stacks_in
with open_thoth(load_config(environment())) as thoth, LocalFile(sys.argv[1]) as source, LocalBinaries() as binaries:
    arrival = Arrival(identify(source), source.size, 0.0, source.name, tuple(fact_ranges(source)), "node")
    stacks = dict if len(sys.argv) > 2 else partial(stacks_in, source, binaries)
    info = receive(thoth, arrival, Reopened(source.stream), now=time.time(), stacks=stacks).info
    print(len(info.document.get("threads", ())))
"""


def measure() -> None:
    with tempfile.TemporaryDirectory(prefix="thoth-bench-") as folder:
        place = Path(folder)
        show("Stacks", [_illumos(place), _against_gdb(place), _upload(place), _over_a_session(place)])


def _illumos(folder: Path) -> Row:
    core = folder / "core.illumos"
    core.write_bytes(_many_lwps())
    seconds = best(10, lambda: _read(core))
    figure = f"{seconds * 1000:.0f} ms"
    return Row(f"stacks of {_LWPS} LWPs of {_FRAMES} frames, illumos, in process", figure, "50 ms", seconds <= 0.05)


def _read(core: Path) -> float:
    started = time.perf_counter()
    with LocalFile(core) as source:
        stacks = read_stacks(source)
    seconds = time.perf_counter() - started
    assert stacks and sum(frame.symbol is not None for t in stacks.threads for frame in t.frames) == _LWPS * _FRAMES
    return seconds


def _many_lwps() -> bytes:
    """A core with the text and data of another, and LWPs each of which has a stack of its own."""
    model = whole(vectors.load(_MODEL))
    core, stacks = ElfCore.from_source(model), read_stacks(model)
    assert core and stacks
    places = [frame.pc for thread in stacks.threads for frame in thread.frames][:_FRAMES]
    vector = next(core.description(each) for each in core.notes() if each.type == 6)
    notes = note(b"CORE", 13, psinfo(7)) + note(b"CORE", 6, vector)
    loads = [
        Segment(PT_LOAD, core.source.read_at(s.offset, s.filesz), vaddr=s.vaddr, flags=s.flags)
        for s in core.segments()
        if s.type == PT_LOAD
    ]
    statuses: list[bytes] = []
    for number, (status, stack) in enumerate(islice(_lwps(places), _LWPS)):
        notes += note(b"CORE", 10, pstatus(7, lwp=status)) if number == 0 else b""
        statuses.append(note(b"CORE", 16, status))
        loads.append(stack)
    return elf([Segment(PT_NOTE, notes + b"".join(statuses)), *sorted(loads, key=lambda each: each.vaddr)])


def _lwps(places: list[int]) -> Iterator[tuple[bytes, Segment]]:
    number = 0
    while True:
        number += 1
        base = _STACKS + number * 0x10000
        frames = [base + 0x8000 + 0x130 * place for place in range(len(places))]
        stack = bytearray(0x10000)
        for here, above, pc in zip(frames, [*frames[1:], 0], [*places[1:], 0], strict=True):
            struct.pack_into("<QQ", stack, here - base, above, pc)
        registers = [{17: places[0], 10: frames[0], 20: frames[0]}.get(place, 0) for place in range(28)]
        yield (
            lwpstatus(number, 6 if number == 1 else 0, registers=registers),
            Segment(PT_LOAD, bytes(stack), vaddr=base),
        )


def _python(folder: Path) -> Path:
    core = folder / "core.python"
    if not core.exists():
        script = folder / "threads.py"
        script.write_text(_PYTHON)
        crash([sys.executable, "-I", "-S", str(script)], core)
    return core


def _against_gdb(folder: Path) -> Row:
    core = _python(folder)
    executable = Path(sys.executable).resolve()
    quiet = ["/bin/sh", "-c", 'exec "$@" 2>/dev/null', "sh"]
    gdb = [*quiet, str(program("gdb")), "-nx", "-batch", "-ex", "thread apply all bt", str(executable), str(core)]
    theirs = best(3, lambda: run(gdb).seconds)
    ours = best(3, lambda: run([sys.executable, "-c", _READ, core]).seconds)
    figure = f"{ours:.2f} s against {theirs:.2f} s"
    what = f"stacks of a Python of {_THREADS} threads, as a process, against gdb"
    return Row(what, figure, "at most its time", ours <= theirs)


def _upload(folder: Path) -> Row:
    core = _python(folder)
    without = best(5, lambda: _uploaded(core, 0, "without"))
    more = best(5, lambda: _uploaded(core, _THREADS)) - without
    what = f"upload of that core ({core.stat().st_size >> 20} MiB) with its stacks, against without"
    return Row(what, f"{more * 1000:.0f} ms more than {without * 1000:.0f}", "150 ms more", more <= 0.15)


def _uploaded(core: Path, threads: int, *more: str) -> float:
    with tempfile.TemporaryDirectory(prefix="thoth-bench-") as home:
        env = {"THOTH_STORE": f"file://{home}/dumps", "THOTH_DB": f"sqlite:///{home}/index.db", "HOME": home}
        ended = run([sys.executable, "-c", _UPLOAD, core, *more], env=env)
    assert int(ended.output) == threads
    return ended.seconds


class _Counting(Asker):
    """Counts what is asked of the node for executables and libraries."""

    questions = 0
    read = 0  # bytes

    def images(self, asks: Sequence[Ask], seconds: float) -> list[Told]:
        told = super().images(asks, seconds)
        self.questions += 1
        self.read += sum(len(data) for each in told for _, data in each.parts)
        return told


def _over_a_session(folder: Path) -> Row:
    core, executable = _python(folder), Path(sys.executable).resolve()
    listed = subprocess.run(["ldd", executable], capture_output=True, text=True, check=True).stdout
    with Fleet(1, flavour="gnu") as fleet:
        node = fleet[0]
        for path in [executable, *(Path(word).resolve() for word in listed.split() if word.startswith("/"))]:
            node.put(str(path), path)
        (folder / "known_hosts").write_text(node.known_hosts_line())
        credentials = read_credentials(SshSettings(node.identity_file, folder / "known_hosts"))
        where = Node(node.name, node.address, node.port)
        with (
            open_session(where, credentials, connect_timeout=10, idle_timeout=60) as session,
            LocalFile(core) as source,
        ):
            asker = _Counting(session, ())
            started = time.perf_counter()
            stacks = read_stacks(source, NodeBinaries(asker).ration())
            seconds = time.perf_counter() - started
    assert stacks and {frame.trust for thread in stacks.threads for frame in thread.frames} == {"context", "cfi"}
    figure = f"{asker.questions} questions, {asker.read / (1 << 20):.1f} MiB, {seconds:.2f} s"
    return Row("its stacks with executables that only its node has", figure, "12 questions", asker.questions <= 12)
