"""The shell functions of an analyzer, in a real bash, and what is read of what they leave; the json command."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.arrivals import CORE, take
from tests.support.memory_index import MemoryIndex
from tests.support.memory_store import MemoryStore
from thoth.analysis.changes import CHANGES, BadChange, Changes, read_changes
from thoth.analysis.run import Analyzer, prepared
from thoth.edit import SetProperty, SetTicket, UnsetProperty, Unticket
from thoth.errors import UsageError
from thoth.library import Thoth
from thoth.model import DumpInfo

Shell = Callable[..., subprocess.CompletedProcess[bytes]]

STRICT = "set -euf -o pipefail -o noclobber; IFS=x; CDPATH=/; shopt -s nullglob; umask 077\n"


@pytest.fixture
def work(tmp_path: Path) -> Path:
    """The analyzer's directory, under a name that a shell would take apart."""
    work = tmp_path / "it's $(touch CANARY) `x`; * \\ \N{SNOWMAN}"
    work.mkdir()
    return work


@pytest.fixture
def info() -> DumpInfo:
    return take(Thoth(MemoryStore(), MemoryIndex(), "bmc"), CORE).info


@pytest.fixture
def shell(work: Path, info: DumpInfo) -> Shell:
    """``shell("thoth_set a 1")`` runs a script as an analyzer is run, but for the sandbox."""

    def shell(script: str | bytes, path: str | None = None) -> subprocess.CompletedProcess[bytes]:
        data = script.encode() if isinstance(script, str) else script
        environment = prepared(work, info, work / "core", Analyzer("test", data), os.environ)
        return subprocess.run(
            ["/bin/bash", "--noprofile", "--norc", str(work / "analyzer")],
            env={**environment, **({"PATH": path} if path else {})},
            cwd=work,
            capture_output=True,
            check=False,
        )

    return shell


@pytest.fixture
def edits(shell: Shell, work: Path) -> Callable[[str | bytes], list[object]]:
    """What a script that succeeds in silence asks for."""

    def edits(script: str | bytes) -> list[object]:
        ran = shell(script)
        assert (ran.returncode, ran.stdout, ran.stderr) == (0, b"", b"")
        return [
            (each.path, each.value) if isinstance(each, SetProperty) else each for each in read_changes(work).edits
        ]

    return edits


Edits = Callable[[str | bytes], list[object]]


class TestVariables:
    def test_what_an_analyzer_knows(self, shell: Shell, info: DumpInfo, work: Path) -> None:
        said = shell(
            'printf "%s\\n" "$THOTH_DUMP" "$MANTA_INPUT_FILE" "$THOTH_INFO" "$THOTH_TYPE" "$THOTH_NAME"'
        ).stdout.decode()
        dump = str(work / "core")
        assert said.splitlines() == [dump, dump, str(work / "info.json"), "core", info.id]

    def test_the_info_is_the_dump_s_document(self, shell: Shell, info: DumpInfo) -> None:
        assert DumpInfo.from_json(shell('cat "$THOTH_INFO"').stdout) == info


class TestSet:
    @pytest.mark.parametrize(
        ("script", "value"),
        [
            ("thoth_set p text", "text"),
            ("thoth_set p ''", ""),
            ("thoth_set p 17", 17),
            ("thoth_set p '\"17\"'", "17"),
            ("thoth_set p '{\"a\": [1, null]}'", {"a": [1, None]}),
            ("thoth_set p NaN", "NaN"),
            ("thoth_set p -n", "-n"),
            ("thoth_set p '%s\\n\\\\'", "%s\\n\\\\"),
            ("thoth_set p $'two\\nlines\\n'", "two\nlines\n"),
            ("echo text | thoth_set p", "text"),
            ("printf 'a\\n\\n' | thoth_set p", "a\n"),
            ('thoth_set p <<< \'{"category": "SMF"}\'', {"category": "SMF"}),
            ("printf 'a\\0b' | thoth_set p", "a\0b"),
            ("printf '\\xff\\xfe' | thoth_set p", "\udcff\udcfe"),
            ("thoth_set p $'\\xff'", "\udcff"),
            ("head -c 3000000 /dev/zero | tr '\\0' x | thoth_set p", "x" * 3_000_000),
        ],
    )
    def test_values(self, edits: Edits, script: str, value: object) -> None:
        assert edits(script) == [(("p",), value)]

    @pytest.mark.parametrize("script", ["thoth_set a 1", "echo 1 | thoth_set a", "thoth_ticket X", "thoth_unset a"])
    def test_under_any_options(self, edits: Edits, script: str) -> None:
        assert len(edits(STRICT + script + "\nthoth_unticket\n[ ! -e CANARY ]")) == 2

    @pytest.mark.parametrize(
        ("name", "path"),
        [
            ("triage.engineer", ("triage", "engineer")),
            ("properties.name", ("name",)),
            ("a b;$(touch CANARY)`x`'\"*", ("a b;$(touch CANARY)`x`'\"*",)),
            ("-n", ("-n",)),
            ("é", ("é",)),
            ("line\nbreak", ("line\nbreak",)),
        ],
    )
    def test_names(self, edits: Edits, work: Path, name: str, path: tuple[str, ...]) -> None:
        quoted = "'" + name.replace("'", "'\\''") + "'"
        assert edits(f"thoth_set {quoted} 1") == [(path, 1)]
        assert not (work / "CANARY").exists()

    @pytest.mark.parametrize("name", ["name", "stack.0", "properties", "ticket", "id", ""])
    def test_names_that_the_function_refuses(self, shell: Shell, work: Path, name: str) -> None:
        ran = shell(f"thoth_set '{name}' x; echo $?; thoth_unset '{name}'; echo $?")
        assert (ran.stdout, len(ran.stderr.splitlines())) == (b"1\n1\n", 2)
        assert not read_changes(work)

    @pytest.mark.parametrize("name", ["a..b", ".", "x" * 2000])
    def test_names_that_the_reader_refuses(self, shell: Shell, work: Path, name: str) -> None:
        assert shell(f"thoth_set ok 1; thoth_set '{name}' x").returncode == 0
        with pytest.raises(UsageError, match=r"not a property|at most"):
            read_changes(work)

    @pytest.mark.parametrize(
        "script",
        ["thoth_set", "thoth_set a b c", "thoth_unset", "thoth_unset a b", "thoth_ticket a b", "thoth_unticket a"],
    )
    def test_what_is_too_much_or_too_little(self, shell: Shell, work: Path, script: str) -> None:
        ran = shell(script)
        assert (ran.returncode, ran.stdout) == (1, b"")
        assert ran.stderr.startswith(script.split(maxsplit=1)[0].encode() + b": usage: ")
        assert not read_changes(work)

    @pytest.mark.parametrize("function", ["thoth_set a", "thoth_ticket", "thoth_stack"])
    def test_F38_an_empty_stdin_changes_nothing(self, shell: Shell, work: Path, function: str) -> None:
        ran = shell(f"{function} < /dev/null")
        assert (ran.returncode, ran.stdout) == (1, b"")
        assert (
            ran.stderr == function.split(maxsplit=1)[0].encode() + b": there is no value: standard input is empty\n"
        )
        assert not read_changes(work)
        assert list((work / CHANGES).iterdir()) == []


class TestOrder:
    def test_the_last_one_stays_the_last(self, edits: Edits) -> None:
        assert edits("for i in {1..30}; do thoth_set a $i; done") == [(("a",), i) for i in range(1, 31)]

    def test_all_kinds_in_their_order(self, edits: Edits) -> None:
        script = "thoth_ticket A; thoth_unset p; thoth_set p 1; thoth_unticket; echo OS-2359 | thoth_ticket"
        assert edits(script) == [
            SetTicket("A"),
            UnsetProperty(("p",)),
            (("p",), 1),
            Unticket(),
            SetTicket("OS-2359"),
        ]

    def test_subshells_pipelines_and_background_jobs(self, edits: Edits) -> None:
        script = """
            (thoth_set subshell 1)
            echo 2 | thoth_set pipe | cat
            echo x | while read -r x; do thoth_set loop "$x"; done
            y=$(thoth_set substitution 3)
            for i in {1..40}; do thoth_set "job$i" $i & done
            wait
        """
        made = dict(edits(script))  # type: ignore[arg-type]  # pairs, all of them
        assert made == {
            ("subshell",): 1,
            ("pipe",): 2,
            ("loop",): "x",
            ("substitution",): 3,
            **{(f"job{i}",): i for i in range(1, 41)},
        }

    def test_bash_scripts_that_the_analyzer_starts(self, edits: Edits) -> None:
        script = "cat > s <<'E'\n#!/bin/bash\nthoth_set a 1\nE\nchmod +x s; ./s; bash -c 'thoth_set b 2'"
        assert edits(script) == [(("a",), 1), (("b",), 2)]

    def test_another_directory(self, edits: Edits) -> None:
        assert edits("mkdir d; cd d; thoth_set a 1; cd /; thoth_set b 2") == [(("a",), 1), (("b",), 2)]

    def test_what_was_begun_only_is_no_change(self, work: Path, shell: Shell) -> None:
        shell("thoth_set a 1; : > $THOTH_CHANGES/change.abandoned; : > $THOTH_CHANGES/change.abandoned.value")
        assert len(read_changes(work).edits) == 1


class TestStackAndStore:
    def test_a_stack(self, shell: Shell, work: Path) -> None:
        shell("printf ' a+0x1()\\n\\nb()\\n' | thoth_stack")
        assert read_changes(work) == Changes(stack=("a+0x1()", "b()"))

    def test_too_many_frames(self, shell: Shell, work: Path) -> None:
        shell("seq 1 10001 | thoth_stack")
        with pytest.raises(BadChange, match="10000 frames"):
            read_changes(work)

    def test_a_file(self, shell: Shell, work: Path) -> None:
        assert shell("mkdir d; cd d; echo x > 'a b'; thoth_store 'a b'").returncode == 0
        assert read_changes(work).expanded == work / "d" / "a b"

    @pytest.mark.parametrize(
        "script",
        [
            "thoth_store /etc/passwd",
            "ln -s /etc d; thoth_store d/passwd",
            "mkdir d; echo x > d/f; thoth_store d/f; mv d e; ln -s e d",
        ],
    )
    def test_a_file_that_lies_elsewhere(self, shell: Shell, work: Path, script: str) -> None:
        assert shell(script).returncode == 0
        with pytest.raises(BadChange, match="own directory"):
            read_changes(work)

    @pytest.mark.parametrize("script", ["thoth_store", "thoth_store nope", "thoth_store .", "thoth_store a b"])
    def test_no_file(self, shell: Shell, work: Path, script: str) -> None:
        assert shell(script).returncode == 1
        assert not read_changes(work)


class TestHostileChanges:
    """What a program leaves that does not use the functions."""

    def plant(self, work: Path, order: bytes, files: dict[str, bytes] | None = None) -> None:
        (work / CHANGES).mkdir()
        (work / CHANGES / "order").write_bytes(order)
        for name, data in (files or {}).items():
            (work / CHANGES / name).write_bytes(data)

    @pytest.mark.parametrize("line", [b"../info.json", b"/etc/passwd", b"change.a/b", b"order", b"", b"change.\xff"])
    def test_a_name_that_is_none_of_ours(self, work: Path, line: bytes) -> None:
        self.plant(work, line + b"\n")
        with pytest.raises(BadChange, match="damaged"):
            read_changes(work)

    @pytest.mark.parametrize("head", [b"", b"set", b"set\0stdin", b"explode\0argument\0a", b"\xff\0\xff\0\xff"])
    def test_a_head_that_says_nothing(self, work: Path, head: bytes) -> None:
        self.plant(work, b"change.a\n", {"change.a": head, "change.a.value": b"1"})
        with pytest.raises(BadChange, match="damaged"):
            read_changes(work)

    @pytest.mark.parametrize(
        "path", ["", "/", "{work}", "{work}/..", "{work}/a\0b", "{work}/a\0/b", "{work}2/a", "a"]
    )
    def test_a_file_that_lies_nowhere(self, work: Path, path: str) -> None:
        value = path.format(work=work).encode()
        self.plant(work, b"change.a\n", {"change.a": b"store\0argument\0", "change.a.value": value})
        with pytest.raises(BadChange, match="own directory"):
            read_changes(work)

    def test_a_value_that_is_missing(self, work: Path) -> None:
        self.plant(work, b"change.a\n", {"change.a": b"set\0argument\0a"})
        with pytest.raises(BadChange, match="cannot be read"):
            read_changes(work)

    @pytest.mark.parametrize("what", ["order", "change.a", "change.a.value"])
    @pytest.mark.parametrize("how", ["link", "fifo", "directory"])
    def test_F17_what_is_no_file(self, work: Path, tmp_path: Path, what: str, how: str) -> None:
        self.plant(work, b"change.a\n", {"change.a": b"set\0argument\0a", "change.a.value": b"1"})
        target = work / CHANGES / what
        target.rename(tmp_path / "moved")
        if how == "link":
            target.symlink_to(tmp_path / "moved")
        elif how == "fifo":
            os.mkfifo(target)
        else:
            target.mkdir()
        with pytest.raises(BadChange, match="cannot be read"):
            read_changes(work)

    def test_F17_a_directory_that_is_a_link(self, work: Path, tmp_path: Path) -> None:
        self.plant(work, b"")
        (work / CHANGES).rename(tmp_path / "moved")
        (work / CHANGES).symlink_to(tmp_path / "moved")
        with pytest.raises(BadChange, match="cannot be read"):
            read_changes(work)

    def test_too_many(self, work: Path) -> None:
        self.plant(work, b"change.a\n" * 10_001, {"change.a": b"unticket\0argument\0", "change.a.value": b""})
        with pytest.raises(BadChange, match="over 10000 changes"):
            read_changes(work)
        (work / CHANGES / "order").write_bytes(b"change.a\n" * 10_000)
        assert len(read_changes(work).edits) == 10_000

    def test_too_much(self, work: Path) -> None:
        self.plant(work, b"change.a\nchange.b\n", {f"change.{c}": b"set\0argument\0a" for c in "ab"})
        for size in ((32 << 20) + 1, 40 << 20):
            for c in "ab":
                with (work / CHANGES / f"change.{c}.value").open("wb") as file:
                    file.truncate(size)
            with pytest.raises(BadChange, match="over 64 MiB"):
                read_changes(work)

    def test_there_are_none(self, work: Path) -> None:
        assert not read_changes(work)


class TestJson:
    """The paths that analyzers ask for; the answers are those of the real command."""

    DOCUMENT = (
        '{"dump": "/x/core.1", "time": 1366869350, "part": 1.0, "none": null, "yes": true, "empty": "", '
        '"stack": ["a()", "b()"], "properties": {"triage": {"engineer": "bmc", "a.b": 1}}, "raw": "\\udcff", '
        '"no items": [], "nothing": {}}'
    )

    @pytest.mark.parametrize(
        ("words", "shown"),
        [
            ("dump", "/x/core.1\n"),
            ("properties.triage.engineer", "bmc\n"),
            ("time part yes none", "1366869350\n1\ntrue\nnull\n"),
            ("nope properties.nope.nope dump.nope empty", ""),
            ("stack.length stack.1 stack[0] 'stack.-1' stack.2", "2\nb()\na()\nb()\n"),
            ("stack", '[\n  "a()",\n  "b()"\n]\n'),
            ("properties.triage", '{\n  "engineer": "bmc",\n  "a.b": 1\n}\n'),
            ("""'properties.triage["a.b"]'""", "1\n"),
            ("'no items' nothing", "[]\n{}\n"),
            ("-a dump stack", '/x/core.1 [\n  "a()",\n  "b()"\n]\n'),
            ("-a nope dump", " /x/core.1\n"),
            ("-ga dump time", "/x/core.1 1366869350\n"),
            ("-g -a dump", "/x/core.1\n"),
            ("-- dump", "/x/core.1\n"),
        ],
    )
    def test_paths(self, shell: Shell, work: Path, words: str, shown: str) -> None:
        (work / "document").write_text(self.DOCUMENT)
        ran = shell(f"cat document | json {words}", path="/usr/bin:/bin")
        assert (ran.returncode, ran.stderr.decode()) == (0, "")
        assert ran.stdout.decode() == shown
        assert shell(f"json -f document {words}".replace("-f document --", "-f document")).stdout.decode() == shown

    def test_the_whole_document(self, shell: Shell) -> None:
        assert shell('echo \'{"a":[1,{"b":2}]}\' | json').stdout == (
            b'{\n  "a": [\n    1,\n    {\n      "b": 2\n    }\n  ]\n}\n'
        )

    def test_text_that_is_not_utf_8_comes_out_as_it_was(self, shell: Shell, work: Path) -> None:
        (work / "document").write_text(self.DOCUMENT)
        assert shell("json raw < document").stdout == b"\xff\n"

    def test_items_of_an_array(self, shell: Shell) -> None:
        assert shell('echo \'[{"a":1},{"a":"x"}]\' | json -a a').stdout == b"1\nx\n"
        assert shell('printf \'{"a":1}\\n{"a":2}\' | json -ga a').stdout == b"1\n2\n"
        assert shell('printf \'[{"a":1}][{"a":2}]\' | json -ga a').stdout == b"1\n2\n"

    @pytest.mark.parametrize("words", ["-e 'this.a=1'", "-A", "-jk", "--merge", "-f"])
    def test_what_it_does_not_do_names_the_real_one(self, shell: Shell, words: str) -> None:
        ran = shell(f"echo '{{}}' | json {words}")
        assert (ran.returncode, ran.stdout) == (1, b"")
        assert b"github.com/trentm/json" in ran.stderr

    @pytest.mark.parametrize("text", ["", "{", "[" * 100_000])
    def test_what_is_not_json(self, shell: Shell, work: Path, text: str) -> None:
        (work / "document").write_text(text)
        ran = shell("json a < document")
        assert (ran.returncode, ran.stdout) == (1, b"")
        assert ran.stderr.startswith(b"json: error: input is not JSON: ")

    def test_a_json_command_that_is_installed_is_used(self, shell: Shell, tmp_path: Path) -> None:
        (tmp_path / "json").write_text("#!/bin/sh\necho the real one")
        (tmp_path / "json").chmod(0o755)
        assert shell("json x", path=f"{tmp_path}:/usr/bin:/bin").stdout == b"the real one\n"
