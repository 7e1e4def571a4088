"""What mdb prints, as the stacks of a document."""

from __future__ import annotations

import random

import pytest

from thoth.analysis.debugger import BadReply
from thoth.analysis.mdb_stacks import answers

PRINTED = """\
libc.so.1`_lwp_kill+0xa()
main+0x2a()
0x401234()
stack pointer for thread 1: fffffd7fffdff9a0
[ fffffd7fffdff9a0 libc.so.1`__pollsys+0xa() ]
  fffffd7fffdffa20 LM2`libapp.so.1`poll()
stack pointer for thread 2 (busy): fffffd7fffdfe9a0
[ fffffd7fffdfe9a0 libc.so.1`_lwp_kill+0xa() ]
  fffffd7fffdfea20 main+0x2a()
"""


def test_a_stack_and_those_of_all_threads() -> None:
    keys = answers(PRINTED, 2)
    assert keys == {
        "stack": ["libc.so.1`_lwp_kill+0xa()", "main+0x2a()", "0x401234()"],
        "threads": [
            {
                "id": 2,
                "frames": [
                    {"trust": "mdb", "object": "libc.so.1", "symbol": "_lwp_kill"},
                    {"trust": "mdb", "symbol": "main"},
                    {"pc": "0x401234", "trust": "mdb"},
                ],
            },
            {
                "id": 1,
                "frames": [
                    {"trust": "mdb", "object": "libc.so.1", "symbol": "__pollsys"},
                    {"trust": "mdb", "object": "LM2`libapp.so.1", "symbol": "poll"},
                ],
            },
        ],
    }


def test_a_line_that_mdb_has_wrapped_and_one_of_a_module_that_is_missing() -> None:
    printed = f"libx.so.1`{'n' * 90}+0x1\n()\nmdb: invalid command '::findstack': unknown dcmd name\n"
    keys = answers(printed, 7)
    assert keys["stack"] == [f"libx.so.1`{'n' * 90}+0x1()"]
    assert [thread["id"] for thread in keys["threads"]] == [7]


def test_names_without_end_and_with_what_no_name_has() -> None:
    keys = answers(f"lib`{'n' * 5000}+0x1()\nlib`e\x1b[2Jvil+0x2()\n", 1)
    assert len(keys["stack"][0]) < 1100 and keys["stack"][1] == "lib`e?[2Jvil+0x2()"
    deep = answers("f+0x1()\n" * 5000, 1)
    assert (len(deep["stack"]), len(deep["threads"][0]["frames"]), deep["threads"][0]["cut"]) == (1024, 128, True)


@pytest.mark.parametrize(
    "printed",
    [
        "",
        "hello world\n",
        "main+0x1()\nhello\nworld\n",
        "mdb: core: not a core file\n",
        "stack pointer for thread 1: 1\n[ 1 main() ]\n",
        "main()\nstack pointer for thread 1: 1\nmain()\n",
        "main()\nstack pointer for thread 1: 1\n[ 1 hello world ]\n",
    ],
)
def test_what_is_no_stack(printed: str) -> None:
    with pytest.raises(BadReply, match="mdb: "):
        answers(printed, 1)


def test_damaged_output_is_refused_or_read() -> None:
    chance = random.Random(4)
    for _ in range(3000):
        damaged = list(PRINTED)
        for _ in range(chance.randint(1, 4)):
            at = chance.randrange(len(damaged))
            damaged[at : at + chance.randint(0, 3)] = chance.choices("`+()[] \n0x1a:", k=chance.randint(0, 3))
        try:
            keys = answers("".join(damaged), 2)
        except BadReply:
            continue
        assert keys["stack"] and all(frame["trust"] == "mdb" for t in keys["threads"] for frame in t["frames"])
