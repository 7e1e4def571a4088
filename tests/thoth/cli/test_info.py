"""``thoth info``."""

from __future__ import annotations

import json
from itertools import pairwise

import pytest

from tests.thoth.cli.conftest import Core, Ran, Run, Uploaded
from thoth.library import Thoth


def common_beginning(names: list[str]) -> str:
    """The first letter of two of them, which are sorted."""
    return next(name[0] for name, after in pairwise(names) if name[0] == after[0])


class TestInfo:
    def test_the_json_object_of_a_dump(self, run: Run, uploaded: Uploaded) -> None:
        name = uploaded(19972, cmd="utmpd", psargs="/usr/lib/utmpd")
        ran = run("info", name)
        assert (ran.code, ran.err) == (0, "")
        assert ran.lines[0] == "{"
        assert ran.lines[1] == f'    "name": "/thoth/stor/thoth/{name}",'
        assert ran.lines[2] == f'    "dump": "/thoth/stor/thoth/{name}/core.19972",'
        assert ran.lines[3] == '    "pid": "19972",'
        assert {"id", "size", "sha256", "complete", "uploaded"} <= json.loads(ran.out).keys()

    def test_the_beginning_of_an_identity(self, run: Run, uploaded: Uploaded) -> None:
        name = uploaded(1)
        assert run("info", name[:5]) == run("info", name)
        assert run("info", f"/thoth/stor/thoth/{name}") == run("info", name)

    def test_a_beginning_of_several_lists_them(self, run: Run, uploaded: Uploaded) -> None:
        names = sorted(uploaded(pid) for pid in range(20))
        first = common_beginning(names)
        ran = run("info", first)
        several = ", ".join([name for name in names if name.startswith(first)][:10])
        assert ran == Ran(1, "", f"thoth: {first} is the beginning of several dumps: {several}\n")

    @pytest.mark.parametrize("word", ["0" * 32, "abc", "0123456789abcdef" * 2])
    def test_no_such_dump_is_2(self, run: Run, uploaded: Uploaded, word: str) -> None:
        uploaded(1)
        assert run("info", word) == Ran(2, "", f"thoth: no such dump: {word}\n")

    @pytest.mark.parametrize("word", ["no-such-file", "/no/such/file", "a" * 33, "\x1b[2J", "XYZ"])
    def test_what_is_neither_a_dump_nor_a_file_is_2(self, run: Run, word: str) -> None:
        ran = run("info", word)
        assert (ran.code, ran.out) == (2, "")
        assert ran.err.startswith("thoth: no such dump or file: ")

    def test_a_local_dump(self, run: Run, core: Core) -> None:
        there, never_seen = core(1), core(2)
        name = run("-q", "upload", there).out.strip()
        assert json.loads(run("info", there).out)["id"] == name
        assert run("info", never_seen).code == 2

    def test_F22_a_local_dump_whatever_it_is_called(
        self, run: Run, core: Core, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        paths = [core(1, "core.ticket=X.k=v"), core(2, "abc"), core(3, "type=core")]
        run("upload", *paths)
        monkeypatch.chdir(paths[0].parent)
        for path in paths:
            document = json.loads(run("info", path.name).out)
            assert document["id"] == run("object", path).out.strip()
            assert ("ticket" in document, document["properties"]) == (False, {})

    def test_a_file_that_is_no_dump_is_1_unless_the_word_means_something_else(
        self, run: Run, core: Core, monkeypatch: pytest.MonkeyPatch, uploaded: Uploaded
    ) -> None:
        name = uploaded(1)
        place = core(1).parent
        monkeypatch.chdir(place)
        for word in ("text", name[:6], "cmd=node"):
            (place / word).write_text("no dump")
        ran = run("info", "text")
        assert (ran.code, ran.out) == (1, "")
        assert ran.err.startswith("thoth: text: neither a core nor a crash dump")
        assert json.loads(run("info", name[:6]).out)["id"] == name
        assert json.loads(run("info", "cmd=node").out)[0]["id"] == name

    def test_a_specification_is_an_array(self, run: Run, uploaded: Uploaded) -> None:
        names = [uploaded(pid, cmd=cmd) for pid, cmd in enumerate(["bc", "bc", "dc"])]
        ran = run("info", "cmd=bc")
        assert [each["id"] for each in json.loads(ran.out)] == names[:2]
        assert ran.out == json.dumps(json.loads(ran.out), indent=4) + "\n"
        assert [each["id"] for each in json.loads(run("info", f"name={names[2]}").out)] == names[2:]
        assert len(json.loads(run("info", "type=core", "limit=2").out)) == 2
        assert len(json.loads(run("info", names[0], names[2]).out)) == 2

    def test_nothing_that_matches_is_an_empty_array_and_0(self, run: Run) -> None:
        assert run("info", "cmd=nope") == Ran(0, "[]\n", "")

    def test_several_local_dumps(self, run: Run, core: Core) -> None:
        paths = [core(1), core(2)]
        run("upload", *paths)
        assert [each["pid"] for each in json.loads(run("info", *paths).out)] == ["1", "2"]
        assert run("info", "nope", paths[0]).code == 2

    def test_each_one_of_several_that_is_missing_has_its_line(self, run: Run, core: Core, uploaded: Uploaded) -> None:
        names, missing = [uploaded(1), uploaded(2)], core(3)
        local = run("object", missing).out.strip()
        ran = run("info", "0" * 32, names[1], missing, "nope", names[0][:6], names[0])
        assert (ran.code, [each["id"] for each in json.loads(ran.out)]) == (2, names)
        assert ran.said == [
            f"thoth: no such dump: {'0' * 32}",
            f"thoth: no such dump: {local}, which {missing} is",
            "thoth: no such dump or file: nope",
        ]
        assert run("info", "0" * 32, "1" * 32).out == "[]\n"

    def test_several_of_which_one_is_ambiguous_or_broken(self, run: Run, uploaded: Uploaded, stored: Thoth) -> None:
        names = sorted(uploaded(pid) for pid in range(20))
        first = common_beginning(names)
        stored.store.put(f"/thoth/stor/thoth/{names[1]}/info.json", b"no JSON")
        ran = run("info", names[0], first, names[1])
        assert (ran.code, len(ran.said), [each["id"] for each in json.loads(ran.out)]) == (1, 2, names[:1])

    def test_capitals_and_json_are_taken(self, run: Run, uploaded: Uploaded) -> None:
        name = uploaded(1)
        shown = run("info", name)
        assert run("info", name[:8].upper()) == shown
        assert run("info", name.upper(), "--json") == shown
        assert json.loads(run("info", name.upper(), "type=core").out) == [json.loads(shown.out)]

    @pytest.mark.parametrize("word", ["mtime=soon", "limit=-1", "=x", "a..b=1", "dump=zzz"])
    def test_F24_a_bad_specification_names_the_argument(self, run: Run, word: str) -> None:
        ran = run("info", word)
        assert (ran.code, ran.out, len(ran.said)) == (1, "", 1)
        assert word in ran.err

    def test_a_document_that_is_broken_is_named(self, run: Run, uploaded: Uploaded, stored: Thoth) -> None:
        name = uploaded(1)
        stored.store.put(f"/thoth/stor/thoth/{name}/info.json", b'{"id": NaN}')
        ran = run("info", name)
        assert (ran.code, ran.out) == (1, "")
        assert f"/thoth/stor/thoth/{name}/info.json: not JSON" in ran.err
        for words in (["info", name], ["set", name, "a", "1"]):
            assert run(*words).err.endswith("; move it away, and 'thoth scrub --repair' makes it anew\n")
        (found,) = run("scrub").lines
        assert found.count("'thoth scrub --repair' makes it anew") == 1
