"""An analyzer on a dump, in the sandbox, and the document afterwards."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from threading import Event, Timer

import pytest

from tests.support import vectors
from tests.support.analysis import QUICK, Bench
from tests.support.elfwriter import illumos_core, vmdump
from tests.support.illumos_tools import IllumosTools
from tests.support.memory_index import MemoryIndex
from tests.support.mishaps import small_disk
from thoth.analysis.cache import Cache
from thoth.analysis.run import Analysis, Analyzer, Dcmd, NoTool, analyze
from thoth.edit import SetProperty, edit_dump
from thoth.errors import CacheError, IndexFailure, NoSuchObject, StoreError, StoreUnavailable, ThothError
from thoth.library import Thoth
from thoth.model import DumpInfo

PRINTED = Path(__file__).with_name("printed")  # the analyzers of manta-thoth.txt, as they are printed there
POSTFORK = ["libc.so.1`abort+0x10e()", "utmpx_postfork+0x44()", "fork_common+0x186()"]


class FullIndex(MemoryIndex):
    def put(self, info: DumpInfo) -> bool:
        raise IndexFailure("no room")


def assert_good(analysis: Analysis) -> None:
    assert (analysis.status, analysis.reason, analysis.failed) == (0, None, False), analysis


class TestPrinted:
    """Both analyzers that manta-thoth.txt prints run unchanged."""

    def diagnose(self, bench: Bench, info: DumpInfo) -> Analysis:
        return bench.run(info, (PRINTED / "OS-2359-diagnose").read_bytes())

    def test_the_ticket_of_a_svc_startd(self, bench: Bench, tools: IllumosTools) -> None:
        core = illumos_core(pid=23308, cmd="svc.startd")
        tools.know(core, stack=POSTFORK)
        info = bench.store(core)
        done = self.diagnose(bench, info)
        assert_good(done)
        assert done.output.decode() == f"{info.id}: successfully diagnosed as OS-2359\n"
        assert done.changes == ({"ticket": "OS-2359"},)
        assert bench.document(info)["ticket"] == "OS-2359"

    @pytest.mark.parametrize(("cmd", "stack"), [("svc.configd", POSTFORK), ("svc.startd", ["main+0x4()"])])
    def test_no_ticket_for_others(self, bench: Bench, tools: IllumosTools, cmd: str, stack: list[str]) -> None:
        core = illumos_core(cmd=cmd)
        tools.know(core, stack=stack)
        info = bench.store(core)
        done = self.diagnose(bench, info)
        assert_good(done)
        assert (done.output, done.changes) == (b"", ())
        assert bench.document(info) == info.document

    def test_none_for_a_crash_dump(self, bench: Bench) -> None:
        info = bench.store(vmdump())
        assert_good(self.diagnose(bench, info))
        assert bench.document(info) == info.document

    def test_fmri(self, bench: Bench, tools: IllumosTools) -> None:
        core = illumos_core(cmd="utmpd")
        tools.know(core, environment=["PATH=/usr/bin", "SMF_FMRI=svc:/system/utmp:default", "TZ=UTC"])
        info = bench.store(core)
        done = bench.run(info, (PRINTED / "fmri").read_bytes())
        assert_good(done)
        assert done.output.decode() == f"{info.id}: svc:/system/utmp:default\n"
        assert bench.document(info)["properties"] == {"fmri": "svc:/system/utmp:default"}

    def test_no_fmri(self, bench: Bench, tools: IllumosTools) -> None:
        core = illumos_core()
        tools.know(core, environment=["PATH=/usr/bin"])
        info = bench.store(core)
        assert_good(bench.run(info, (PRINTED / "fmri").read_bytes()))
        assert bench.document(info) == info.document


class TestChanges:
    def test_all_of_them_are_one_revision(self, bench: Bench) -> None:
        info = bench.store()
        done = bench.run(info, "thoth_set a 1; thoth_set b.c x; thoth_ticket T-1; thoth_set a 2")
        assert_good(done)
        document = bench.document(info)
        assert (document["properties"], document["ticket"], document["revision"]) == (
            {"a": 2, "b": {"c": "x"}},
            "T-1",
            1,
        )
        assert done.changes[0] == {"set": "a", "value": 1}
        assert done.changes[1] == {"set": "b.c", "value": "x"}
        assert bench.thoth.index.get(info.id) == DumpInfo(document)

    def test_what_changes_nothing_is_no_revision(self, bench: Bench) -> None:
        info = bench.store()
        for _ in range(2):
            assert_good(bench.run(info, "thoth_set a 1"))
        assert bench.document(info)["revision"] == 1

    def test_a_failure_keeps_what_was_set(self, bench: Bench) -> None:
        info = bench.store()
        done = bench.run(info, "thoth_set a 1; echo oops >&2; exit 7")
        assert (done.status, done.reason, done.failed, done.output) == (7, None, True, b"oops\n")
        assert bench.document(info)["properties"] == {"a": 1}

    @pytest.mark.parametrize("end", ["kill -KILL $$", "kill -SEGV $$"])
    def test_F25_what_was_killed_sets_nothing(self, bench: Bench, end: str) -> None:
        info = bench.store()
        done = bench.run(info, f"thoth_set a 1; {end}; sleep 60")
        assert (done.status, done.failed, done.changes) == (None, True, ())
        assert done.reason is not None
        assert bench.document(info) == info.document

    def test_a_dry_run_tells_and_changes_nothing(self, bench: Bench) -> None:
        info = bench.store()
        done = bench.run(info, "thoth_set a 1", apply=False)
        assert_good(done)
        assert done.changes == ({"set": "a", "value": 1},)
        assert bench.document(info) == info.document

    @pytest.mark.parametrize("apply", [True, False])
    @pytest.mark.parametrize(
        ("script", "reason"),
        [
            ("thoth_set p..q x", "not a property"),
            ("thoth_ticket 'a b'", "is not a ticket"),
            ("thoth_set s x; thoth_set s.inner y", "is no object"),
            ("echo x > order; mkdir -p $THOTH_CHANGES; cp order $THOTH_CHANGES/", "damaged"),
        ],
    )
    def test_nothing_is_half_applied(self, bench: Bench, script: str, reason: str, apply: bool) -> None:
        info = bench.store()
        done = bench.run(info, f"thoth_set first 1; {script}", apply=apply)
        assert (done.status, done.failed, done.changes) == (0, True, ())
        assert reason in (done.reason or "")
        assert bench.document(info) == info.document

    def test_F36_set_against_analyze(self, bench: Bench) -> None:
        """A change that comes between the analyzer's look at the document and its own change is kept."""
        info = bench.store()
        real_put, before = bench.thoth.store.put, iter([True])

        def put(name: str, data: bytes, *, if_match: str | None = None) -> str:
            if next(before, False):
                edit_dump(bench.thoth, info.id, [SetProperty(("people",), "mine")])
            return real_put(name, data, if_match=if_match)

        bench.thoth.store.put = put  # type: ignore[method-assign]  # the moment is what is tested
        assert_good(bench.run(info, "thoth_set analyzer 1"))
        assert bench.document(info)["properties"] == {"people": "mine", "analyzer": 1}

    def test_a_stack_for_a_dump_without_one(self, bench: Bench) -> None:
        info = bench.store()
        for script in ("echo 'a()' | thoth_stack", "printf 'b()\\nc()' | thoth_stack"):
            assert_good(bench.run(info, script, name="mine"))
        document = bench.document(info)
        assert (document["stack"], document["stack_by"]) == (["b()", "c()"], "mine")
        assert document["signature"].endswith("b | c")

    def test_a_stack_that_thoth_found_stays(self, bench: Bench) -> None:
        info = bench.store(stack=["a()"])
        assert_good(bench.run(info, "echo 'b()' | thoth_stack"))
        assert bench.document(info)["stack"] == ["a()"]

    def test_F35_an_index_that_fails_is_told(self, bench: Bench) -> None:
        info = bench.store()
        bench.thoth = Thoth(bench.thoth.store, FullIndex(), bench.thoth.user)
        done = bench.run(info, "thoth_set a 1")
        assert done.failed
        assert done.reason == "its changes are stored, but not indexed: no room"
        assert done.changes == ({"set": "a", "value": 1},)

    def test_F31_a_store_that_refuses_everything_is_raised(
        self, bench: Bench, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        info = bench.store()

        def refuse(*_: object, **__: object) -> str:
            raise StoreUnavailable("read-only")

        monkeypatch.setattr(bench.thoth.store, "put", refuse)
        with pytest.raises(StoreUnavailable):
            bench.run(info, "thoth_set a 1")


class TestWhatItSees:
    def test_a_directory_of_its_own_that_is_gone_afterwards(self, bench: Bench, ground: Path) -> None:
        info = bench.store()
        done = bench.run(info, 'pwd; cp "$THOTH_DUMP" here && cmp here "$THOTH_DUMP" && cat $THOTH_INFO > there')
        assert_good(done)
        where = Path(done.output.decode().strip())
        assert where.is_relative_to(ground / "cache")
        assert not where.exists()
        assert [each for each in (ground / "cache").rglob("*") if each.is_file() and each.stat().st_size] == []

    def test_F25_a_dump_that_it_cannot_change(self, bench: Bench) -> None:
        info = bench.store()
        script = 'echo x >> "$THOTH_DUMP"; rm -f "$THOTH_DUMP"; echo x > "$THOTH_DUMP.new"; true'
        bench.run(info, script)
        assert bench.thoth.store.stat(info.document["dump"]).size == info.size
        assert_good(bench.run(info, '[ "$(wc -c < "$THOTH_DUMP")" -eq ' + str(info.size) + " ]"))

    def test_F25_none_of_our_secrets(self, bench: Bench) -> None:
        bench.environ["MANTA_KEY_ID"] = bench.environ["THOTH_DB_AUTHKEY"] = "canary-secret"
        done = bench.run(bench.store(), "env; cat /proc/self/environ")
        assert b"THOTH_NAME=" in done.output
        assert b"canary" not in done.output

    def test_F24_a_name_is_never_read_by_a_shell(self, bench: Bench, ground: Path) -> None:
        canary = ground / "CANARY"
        info = bench.store(filename=f"core.$(touch {canary});`touch {canary}`".encode()[:200])
        assert_good(bench.run(info, "cat $THOTH_DUMP > /dev/null", name=f"$(touch {canary})"))
        assert not canary.exists()


class TestStore:
    VMDUMP = vectors.load("vmdump/vmdump.0")

    def vmcore(self) -> bytes:
        """What savecore would make of it: the header without DF_COMPRESSED."""
        flags = int.from_bytes(self.VMDUMP[8:12], "little") & ~0x8
        return self.VMDUMP[:8] + flags.to_bytes(4, "little") + self.VMDUMP[12:] + b"expanded" * 1000

    def expanding(self, data: bytes, ground: Path, name: str = "vmcore.0") -> str:
        (ground / "made").write_bytes(data)
        return f"cp {ground}/made {name}; thoth_store {name}; thoth_set a 1"

    def test_an_expanded_dump_lies_beside_it(self, bench: Bench, ground: Path) -> None:
        info = bench.store(self.VMDUMP, b"vmdump.0")
        done = bench.run(info, self.expanding(self.vmcore(), ground))
        assert_good(done)
        document = bench.document(info)
        name = f"{document['name']}/vmcore.0"
        data, _ = bench.thoth.store.get(name)
        assert data == self.vmcore()
        assert document["expanded"]["dump"] == name
        assert document["expanded"]["size"] == len(data)
        assert document["properties"] == {"a": 1}
        assert done.changes == ({"set": "a", "value": 1}, {"store": "vmcore.0"})

    def test_the_next_analyzer_sees_the_expanded_one(self, bench: Bench, ground: Path, tools: IllumosTools) -> None:
        info = bench.store(self.VMDUMP, b"vmdump.0")
        tools.know(self.vmcore(), stack=["vpanic()"])
        bench.run(info, self.expanding(self.vmcore(), ground))
        done = bench.dcmd(DumpInfo(bench.document(info)), "::stack")
        assert (done.status, done.output) == (0, b"vpanic()\n")

    def test_another_name_takes_the_place_of_the_first(self, bench: Bench, ground: Path) -> None:
        info = bench.store(self.VMDUMP, b"vmdump.0")
        for name in ("vmcore.0", "vmcore.1"):
            assert_good(bench.run(info, self.expanding(self.vmcore(), ground, name)))
        home = str(bench.document(info)["name"])
        assert sorted(each.name for each in bench.thoth.store.list(home)) == ["info.json", "vmcore.1", "vmdump.0"]

    @pytest.mark.parametrize(
        ("data", "name", "reason"),
        [
            (b"text", "vmcore.0", "no illumos crash dump"),
            (None, "vmdump.0", "the name of the dump itself"),
            (vectors.load("vmcore-expanded/vmcore.0"), "vmcore.0", "another crash dump"),
        ],
    )
    def test_what_is_not_stored(self, bench: Bench, ground: Path, data: bytes | None, name: str, reason: str) -> None:
        info = bench.store(self.VMDUMP, b"vmdump.0")
        done = bench.run(info, self.expanding(data or self.vmcore(), ground, name))
        assert (done.failed, done.changes) == (True, ())
        assert reason in (done.reason or "")
        assert bench.document(info) == info.document
        assert bench.thoth.store.get(info.document["dump"])[0] == self.VMDUMP

    def test_F17_a_link_or_a_second_name(self, bench: Bench, ground: Path) -> None:
        info = bench.store(self.VMDUMP, b"vmdump.0")
        (ground / "made").write_bytes(self.vmcore())
        for script, reason in (
            (f"ln -s {ground}/made vmcore.0", "symbolic link"),
            (f"cp {ground}/made x; ln x vmcore.0", "another name"),
        ):
            done = bench.run(info, f"{script}; thoth_store vmcore.0")
            assert reason in (done.reason or "")
        assert bench.document(info) == info.document

    def test_a_dry_run_stores_nothing(self, bench: Bench, ground: Path) -> None:
        info = bench.store(self.VMDUMP, b"vmdump.0")
        assert_good(bench.run(info, self.expanding(self.vmcore(), ground), apply=False))
        assert [each.name for each in bench.thoth.store.list(str(info.document["name"]))] == ["info.json", "vmdump.0"]

    def test_F10_a_store_without_room(self, bench: Bench, ground: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        info = bench.store(self.VMDUMP, b"vmdump.0")

        def begin(name: str, size: int) -> object:
            raise StoreError("quota")

        monkeypatch.setattr(bench.thoth.store, "begin", begin)
        done = bench.run(info, self.expanding(self.vmcore(), ground))
        assert done.reason == "quota"
        assert bench.document(info) == info.document


def test_F10_a_cache_without_room(bench: Bench, ground: Path) -> None:
    with small_disk(ground / "disk", "1m") as disk:
        bench.cache = Cache(disk / "cache")
        info = bench.store()
        with bench.cache.borrow(bench.thoth, info, keep=True), (disk / "full").open("wb", buffering=0) as file:
            with suppress(OSError):
                while file.write(bytes(4096)):
                    pass
            with pytest.raises(CacheError, match=f"^cache {disk}/cache: No space left on device; make room, or name"):
                bench.run(info, "true")


class TestDcmd:
    def test_mdb_answers_for_the_dump(self, bench: Bench, tools: IllumosTools) -> None:
        tools.know_vectors()
        name = "illumos-core64.core.30522"
        info = bench.store(vectors.load(name))
        done = bench.dcmd(info, "::stack")
        assert_good(done)
        assert done.output.decode().splitlines() == vectors.entry(name)["stack"]

    def test_F24_it_is_one_argument(self, bench: Bench, tools: IllumosTools, ground: Path) -> None:
        core = illumos_core()
        command = f"::echo '$(touch {ground}/CANARY)'|`id`"
        tools.know(core, commands={command: "as it was given\n"})
        assert bench.dcmd(bench.store(core), command).output == b"as it was given\n"
        assert not (ground / "CANARY").exists()

    def test_what_mdb_refuses_is_a_failure(self, bench: Bench) -> None:
        done = bench.dcmd(bench.store(), "::stack")
        assert (done.status, done.failed) == (1, True)
        assert b"told nothing" in done.output

    def test_no_mdb(self, ground: Path) -> None:
        bench = Bench(ground, {"PATH": "/nonexistent"})
        with pytest.raises(NoTool, match="mdb is not installed here"):
            bench.dcmd(bench.store(), "::stack")


def test_a_purged_dump(bench: Bench) -> None:
    info = bench.store(purged=1_700_000_000)
    bench.thoth.store.delete(info.document["dump"])
    with pytest.raises(ThothError, match="purged"):
        bench.run(info, "true")


def test_a_dump_that_is_lost(bench: Bench) -> None:
    info = bench.store()
    bench.thoth.store.delete(info.document["dump"])
    with pytest.raises(NoSuchObject):
        bench.run(info, "true")


def test_it_can_be_called_off(bench: Bench) -> None:
    info, cancelled = bench.store(), Event()
    timer = Timer(0.3, cancelled.set)
    timer.start()
    done = analyze(
        bench.thoth,
        info,
        Analyzer("test", b"thoth_set a 1; sleep 60"),
        cache=bench.cache,
        environ=bench.environ,
        limits=QUICK,
        cancelled=cancelled,
    )
    timer.join()
    assert (done.status, done.changes, done.reason) == (None, (), "was interrupted")
    with pytest.raises(ThothError, match="interrupted"):
        analyze(bench.thoth, info, Dcmd("::stack"), cache=bench.cache, environ=bench.environ, cancelled=cancelled)
    assert bench.document(info) == info.document
