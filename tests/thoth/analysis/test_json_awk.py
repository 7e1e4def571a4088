"""``json`` in the tasks of a job: the same as what it is on this machine, by every awk that is here."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Sequence
from importlib.resources import files

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from thoth.analysis.json_paths import Refused, parsed, printed

PROGRAM = files("thoth.analysis").joinpath("job", "json.awk").read_text()
AWKS = [name for name in ("gawk", "mawk", "original-awk") if shutil.which(name)]


def awk(name: str, words: Sequence[str], text: str) -> tuple[int, bytes, bytes]:
    environment = {"LC_ALL": "C", "PATH": "/usr/bin:/bin"}
    ran = subprocess.run(
        [name, PROGRAM, *words], input=text.encode(), capture_output=True, check=False, env=environment, timeout=20
    )
    return ran.returncode, ran.stdout, ran.stderr


def here(words: Sequence[str], text: str) -> bytes:
    options, paths = parsed(list(words))
    output = "".join(printed(text, paths, per_item="a" in options, group="g" in options))
    return output.encode("utf-8", "surrogateescape")


DOCUMENT = json.dumps(
    {
        "cmd": "svc.startd",
        "properties": {"a.b": [1, {"x": None}, "y"], "text": 'q"\\\n\t\x01\x7fé😀', "empty": {}, "none": []},
        "stack": ["main+0x4()", "_start+0x83()"],
        "numbers": [0, -5, 1.5, 1e3, -0.0, 1e-7, 123456789012345678901234567890, 2.5e300, 0.1],
        "bytes": "\udcff\udc80",
    },
    indent=4,
)
WORDS = [
    [], ["cmd"], ["cmd", "nope", "stack"], ["properties"], ["properties.text"], ['properties["a.b"][1].x'],
    ["stack[0]", "stack[-1]", "stack[2]", "stack.length", "cmd.length", "stack.0"], ["-a", "cmd", "stack.length"],
    ["-ga", "cmd"], ["-a"], ["numbers"], ["numbers[3]", "numbers[4]", "numbers[5]"], ["bytes"], ["--", "cmd"],
    ["properties.empty", "properties.none"], ["properties['a.b']"], ["-a", "numbers", "cmd"],
]  # fmt: skip


@pytest.fixture(params=AWKS)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_there_are_several() -> None:
    """The GNU one, and the one that illumos has, among them: tests/system-packages installs them."""
    assert {"gawk", "mawk", "original-awk"} <= {*AWKS}


@pytest.mark.parametrize("words", WORDS, ids=" ".join)
def test_paths(name: str, words: list[str]) -> None:
    assert awk(name, words, DOCUMENT) == (0, here(words, DOCUMENT), b"")


def test_several_values(name: str) -> None:
    for text in ('{"a": 1} {"a": 2}\n[3]', "[1, 2] [3]\n", "", "[]"):
        assert awk(name, ["-ga"], text)[1] == here(["-ga"], text), text
    assert awk(name, ["-ga", "a", "b"], '{"a": 1, "b": "x"}\n{"a": 2}')[1] == b"1 x\n2 \n"


def test_a_file(name: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("json") / "a b.json"
    path.write_text(DOCUMENT)
    assert awk(name, ["-f", str(path), "cmd"], "")[:2] == (0, b"svc.startd\n")
    missing = awk(name, ["-f", f"{path}.none", "cmd"], "")
    assert (missing[0], missing[2]) == (1, f"json: error: {path}.none: cannot be read\n".encode())


@pytest.mark.parametrize(
    "text", ["{", "nope", '{"a" 1}', "[1,]", "[1 2]", '{"a": 1} x', '"\\x"', '"a', "01", "", "1.", "{,}"]
)
def test_what_is_not_json(name: str, text: str) -> None:
    code, out, err = awk(name, ["a"], text)
    assert (code, out, err[:32]) == (1, b"", b"json: error: input is not JSON: ")
    with pytest.raises(Refused):
        here(["a"], text)


def test_what_it_does_not_know(name: str) -> None:
    code, _, err = awk(name, ["-e", "this.x=1"], DOCUMENT)
    assert code == 1
    assert err.startswith(b"json: error: -e is not known here")


TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8)
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**20), 10**20)
    | st.floats(-1e15, 1e15, allow_subnormal=False)
    | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=12,
)


@settings(max_examples=60)
@given(value=VALUES, indent=st.sampled_from([None, 2]), ascii_only=st.booleans())
def test_any_document(value: object, indent: int | None, ascii_only: bool) -> None:
    """As it is kept, or in one line."""
    text = json.dumps({"value": value}, indent=indent, ensure_ascii=ascii_only)
    for name in AWKS:
        assert awk(name, ["value"], text) == (0, here(["value"], text), b""), (name, text)


def test_a_large_document_takes_no_time(name: str) -> None:
    text = json.dumps({"stack": [f"frame+{number}()" for number in range(20_000)], "cmd": "x"}, indent=4)
    assert len(text) > 400_000
    assert awk(name, ["cmd", "stack[19999]"], text)[:2] == (0, b"x\nframe+19999()\n")
