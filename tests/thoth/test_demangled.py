"""Names of C++ and Rust as people write them: held against c++filt and gdb, and hostile ones."""

from __future__ import annotations

import random
import re
import subprocess
import time
from pathlib import Path

import pytest

from tests.support.backtraces import gdb_backtraces
from tests.support.crash import crash
from tests.support.roots import program
from thoth.demangled import readable, readable_document, readable_frame
from thoth.dumps.binaries import LocalBinaries
from thoth.dumps.source import LocalFile
from thoth.stacks import stacks_in

SOURCE = Path(__file__).parents[1] / "support" / "crashes.cpp"
NAMES = {
    "_ZN12_GLOBAL__N_15crashEv": "(anonymous namespace)::crash()",
    "_ZN12_GLOBAL__N_14TreeIiE4loadEi": "(anonymous namespace)::Tree<int>::load(int)",
    "_ZN4core9panicking9panic_fmt17h0123456789abcdefE": "core::panicking::panic_fmt",
    "_RNvMNtCs5l0EXMQXRMU_5crate4mainNtB2_4Load3run": "<crate::main::Load>::run",
    "_ZNSt6vectorIiSaIiEE4backEv.cold": "std::vector<int, std::allocator<int> >::back() [clone .cold]",
}
OTHERS = ["main", "_start", "_Z", "_R", "_ZN", "__Z", "_ZN9999999999999x", "_RN_", "$s4main", "?f@@YAXXZ"]
HASHES = re.compile(r"::h[0-9a-f]{16}$|\[[0-9a-f]{16}\]")  # that gdb leaves in names of Rust


@pytest.mark.parametrize("name", NAMES)
def test_names(name: str) -> None:
    assert readable(name) == NAMES[name]


@pytest.mark.parametrize("name", OTHERS)
def test_what_is_no_such_name_stays(name: str) -> None:
    assert readable(name) == name


def test_frames() -> None:
    frame = "libapp.so.1`_ZN12_GLOBAL__N_15crashEv+0x1f()"
    shown = "libapp.so.1`(anonymous namespace)::crash()+0x1f()"
    assert readable_frame(frame) == shown
    assert readable_frame("my_Zoo`main+0x1()") == "my_Zoo`main+0x1()"
    document = {
        "cmd": "_ZN12_GLOBAL__N_15crashEv",
        "stack": [frame, "0x10()"],
        "threads": [{"id": 1, "frames": [{"pc": "0x1", "object": "_Zoo", "symbol": "_ZN12_GLOBAL__N_15crashEv"}]}],
    }
    assert readable_document(document) == {
        "cmd": "_ZN12_GLOBAL__N_15crashEv",
        "stack": [shown, "0x10()"],
        "threads": [
            {"id": 1, "frames": [{"pc": "0x1", "object": "_Zoo", "symbol": "(anonymous namespace)::crash()"}]}
        ],
    }
    assert document["stack"] == [frame, "0x10()"]


def symbols_of_the_library() -> list[str]:
    listed = subprocess.run(["ldd", program("gdb")], capture_output=True, text=True, check=True).stdout
    path = next(word for word in listed.split() if "/libstdc++" in word)
    table = subprocess.run([program("nm"), "-D", path], capture_output=True, text=True, check=True).stdout
    return sorted({line.split()[-1].partition("@")[0] for line in table.splitlines() if " _Z" in line})


def test_every_name_of_a_library_is_what_cplusplus_filt_says() -> None:
    names = random.Random(1).sample(symbols_of_the_library(), 2000)
    told = subprocess.run([program("c++filt")], input="\n".join(names), capture_output=True, text=True, check=True)
    assert [readable(name) for name in names] == told.stdout.splitlines()


@pytest.mark.parametrize("how", ["null", "rust", "throw"])
def test_a_stack_is_what_gdb_shows(how: str, tmp_path: Path) -> None:
    executable = tmp_path / "program"
    subprocess.run([program("g++"), "-O2", "-pthread", SOURCE, "-o", executable], check=True)
    core = crash([str(executable), how], tmp_path / "core")
    ((_, frames),) = gdb_backtraces(executable, core, demangled=True).items()
    with LocalFile(core) as source, LocalBinaries() as binaries:
        document = readable_document(stacks_in(source, binaries))
    shown = [frame.get("symbol", "?") for frame in document["threads"][0]["frames"]]
    pairs = [(ours, HASHES.sub("", theirs)) for ours, (_, theirs) in zip(shown, frames, strict=True) if "::" in ours]
    assert len(pairs) >= 2 and all(ours == theirs for ours, theirs in pairs), pairs


# ---- hostile names ---------------------------------------------------------------------------------

DEEP = [
    "_Z" + "P" * 4000 + "i",
    "_ZN" + "1a" * 2000 + "Ev",
    "_Z1f" + "DpS_" * 300,
    "_Z1fM" + "M" * 900,
    "_ZN1aIJ" + "S_" * 500 + "EE",
    "_R" + "N" * 3000,
    "_RINvC1a1f" + "TB_B_E" * 300 + "E",
    "_Z1f" + "".join(f"St4pairIS{n or ''}_S{n or ''}_E" for n in range(36)),
    "_ZN4core17h" + "$u7b$" * 700 + "E",
    "_Z" + "9" * 4000,
]


@pytest.mark.parametrize(
    "name", [*DEEP, "_Z1f" + "i" * 100_000, "_Z1f\x1b[2J\n\x00v", "_Z3\udcff\udcfe\udcfdv"], ids=range(len(DEEP) + 3)
)
def test_whatever_the_name_is(name: str) -> None:
    started = time.process_time()
    assert len(readable(name)) <= max(len(name), 4096)
    assert len(readable_frame(f"obj`{name}+0x1()")) <= 8192 + len(name)
    assert time.process_time() - started < 1


def test_names_that_are_damaged() -> None:
    chance = random.Random(2)
    letters = "_ZNSTIEPRKLDFXJ0123456789abctsv$."
    started = time.process_time()
    for _ in range(2000):
        name = list(chance.choice([*NAMES]))
        for _ in range(chance.randint(1, 6)):
            at = chance.randrange(2, len(name))
            name[at : at + chance.randint(0, 2)] = chance.choices(letters, k=chance.randint(0, 4))
        assert isinstance(readable("".join(name)), str)
    assert time.process_time() - started < 4
