"""Which debugger is taken for a dump, what it is told, and what is said when there is none."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.elfwriter import dumphdr, elf_vmcore, freebsd_core, illumos_core, kdump, linux_core, vmdump
from tests.thoth.analysis.test_executable import ID, OTHER, core_of, program
from thoth.analysis.debugger import (
    Debugger,
    Invocation,
    Name,
    NoDebugger,
    Subject,
    batch,
    choose,
    foreseen,
    program_of,
    session,
    subject,
)
from thoth.analysis.executable import Executable, Refused
from thoth.errors import NotADump, UsageError
from thoth.model import DumpInfo, Identity

IDENTITY = Identity("3e166b93871e7747c799008f58bd30b9")
LINUX = Subject(Path("/cache/core.7"), IDENTITY, "linux")
ILLUMOS = Subject(Path("/cache/core.7"), IDENTITY, "illumos")
VMCORE = Subject(Path("/cache/vmcore.0"), IDENTITY, "illumos", kernel=True)
KDUMP = Subject(Path("/cache/vmcore"), IDENTITY, "linux", kernel=True)
SERVER = Executable("/opt/server", verified=True)


def having(*names: str) -> Callable[[str], str | None]:
    """The programs that are installed."""
    return lambda name: f"/bin/{name}" if name in names else None


ALL = having("mdb", "gdb", "lldb", "crash")


class TestSubject:
    @pytest.mark.parametrize(
        ("data", "found", "called"),
        [
            (illumos_core(), ("illumos", False, False), "an illumos core"),
            (linux_core(), ("linux", False, False), "a Linux core"),
            (freebsd_core(), ("freebsd", False, False), "a FreeBSD core"),
            (vmdump(), ("illumos", True, True), "an illumos kernel dump"),
            (dumphdr(flags=0x3), ("illumos", True, False), "an illumos kernel dump"),
            (elf_vmcore("OSRELEASE=6.1.0"), ("linux", True, False), "a Linux kernel dump"),
            (kdump(), ("linux", True, False), "a Linux kernel dump"),
            (core_of(program()), (None, False, False), "a core"),
        ],
    )
    def test_it_is_read_out_of_the_dump(
        self, tmp_path: Path, data: bytes, found: tuple[str | None, bool, bool], called: str
    ) -> None:
        """Its system, whether it is a kernel's, and whether it is compressed."""
        (tmp_path / "dump").write_bytes(data)
        about = subject(tmp_path / "dump", IDENTITY)
        assert (about.system, about.kernel, about.compressed) == found
        assert about.called == called

    def test_where_its_program_is(self, tmp_path: Path) -> None:
        (tmp_path / "core").write_bytes(linux_core(exec="/opt/server"))
        assert subject(tmp_path / "core", IDENTITY).told == b"/opt/server"

    def test_what_is_no_dump(self, tmp_path: Path) -> None:
        (tmp_path / "text").write_text("no dump")
        with pytest.raises(NotADump):
            subject(tmp_path / "text", IDENTITY)


class TestForeseen:
    @pytest.mark.parametrize(
        ("document", "compressed"),
        [
            ({"type": "crash", "os": "illumos"}, True),
            ({"type": "crash", "os": "illumos", "expanded": {"dump": "vmcore.0"}}, False),
            ({"type": "crash", "os": "linux"}, False),
            ({"type": "crash"}, None),
            ({"type": "crash", "os": ["linux"]}, None),
            ({"type": "core", "os": "linux"}, None),
            ({}, None),
        ],
    )
    def test_what_a_document_says(self, document: dict[str, object], compressed: bool | None) -> None:
        about = foreseen(DumpInfo({"id": IDENTITY, **document}))
        assert (about and about.compressed) == compressed
        assert about is None or (about.kernel and about.system == document["os"])


class TestChoice:
    @pytest.mark.parametrize(
        ("dump", "installed", "taken"),
        [
            (LINUX, ALL, "gdb"),
            (LINUX, having("lldb"), "lldb"),
            (ILLUMOS, ALL, "mdb"),
            (ILLUMOS, having("gdb", "lldb"), "gdb"),
            (VMCORE, ALL, "mdb"),
            (KDUMP, ALL, "crash"),
            (Subject(Path("/core"), IDENTITY, "freebsd"), ALL, "lldb"),
            (Subject(Path("/core"), IDENTITY, None), ALL, "mdb"),
        ],
    )
    def test_the_first_that_reads_it(self, dump: Subject, installed: Callable[..., str | None], taken: Name) -> None:
        assert choose(dump, None, installed) == Debugger(taken, f"/bin/{taken}")

    def test_the_one_that_is_wanted(self) -> None:
        assert choose(LINUX, "lldb", ALL).name == "lldb"

    @pytest.mark.parametrize(
        ("dump", "wanted", "installed", "said"),
        [
            (LINUX, None, having("mdb", "crash"), "nothing here reads a Linux core; install gdb or lldb"),
            (ILLUMOS, None, having(), "nothing here reads an illumos core; install gdb or lldb"),
            (LINUX, "mdb", having("mdb"), "mdb cannot read a Linux core; install gdb or lldb"),
            (LINUX, "mdb", ALL, "mdb cannot read a Linux core; gdb does: leave --debugger out"),
            (LINUX, "mdb", having("mdb", "lldb"), "mdb cannot read a Linux core; lldb does: leave --debugger out"),
            (LINUX, "lldb", having("gdb"), "there is no lldb here; install it, or leave --debugger out"),
            (
                VMCORE,
                None,
                having("gdb", "lldb", "crash"),
                "nothing here reads an illumos kernel dump;"
                " mdb does, on an illumos machine, and nothing else does: run 'thoth debug' there",
            ),
            (
                VMCORE,
                "gdb",
                having("gdb"),
                "gdb cannot read an illumos kernel dump;"
                " mdb does, on an illumos machine, and nothing else does: run 'thoth debug' there",
            ),
            (
                KDUMP,
                None,
                having("gdb", "mdb"),
                "nothing here reads a Linux kernel dump; install crash, and name the kernel's vmlinux with --exec",
            ),
            (
                Subject(Path("/x"), IDENTITY, "freebsd", kernel=True),
                None,
                ALL,
                "nothing here reads a FreeBSD kernel dump; no debugger that Thoth knows does",
            ),
        ],
    )
    def test_when_there_is_none(
        self, dump: Subject, wanted: Name | None, installed: Callable[..., str | None], said: str
    ) -> None:
        with pytest.raises(NoDebugger) as error:
            choose(dump, wanted, installed)
        assert str(error.value) == said

    def test_a_vmdump_is_to_be_expanded_first(self) -> None:
        dump = Subject(Path("/cache/vmdump.0"), IDENTITY, "illumos", kernel=True, compressed=True)
        with pytest.raises(NoDebugger, match=f"'thoth analyze {IDENTITY} process-dump' expands it"):
            choose(dump, None, ALL)


class TestProgram:
    GDB, MDB, CRASH = (Debugger(name, f"/bin/{name}") for name in ("gdb", "mdb", "crash"))

    @pytest.fixture
    def dump(self, tmp_path: Path) -> Subject:
        (tmp_path / "core").write_bytes(core_of(program()))
        (tmp_path / "right").write_bytes(program())
        (tmp_path / "wrong").write_bytes(program(OTHER))
        return Subject(tmp_path / "core", IDENTITY, "linux", told=bytes(tmp_path / "right"))

    def test_it_is_looked_for(self, dump: Subject, tmp_path: Path) -> None:
        assert program_of(dump, self.GDB, None) == (Executable(str(tmp_path / "right"), verified=True), [])

    def test_the_one_that_is_named(self, dump: Subject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        (tmp_path / "link").symlink_to("right")
        assert program_of(dump, self.MDB, "link") == (Executable(str(tmp_path / "right"), verified=True), [])

    def test_a_wrong_one_that_is_named_is_an_error(self, dump: Subject, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match=f"--exec '.*wrong': not the build .* the dump's {ID.hex()}"):
            program_of(dump, self.GDB, str(tmp_path / "wrong"))
        with pytest.raises(UsageError, match="--exec '/no/such': no such file"):
            program_of(dump, self.GDB, "/no/such")

    def test_a_wrong_one_that_is_found_is_told(self, dump: Subject, tmp_path: Path) -> None:
        (tmp_path / "wrong").rename(tmp_path / "right")
        found, [refused] = program_of(dump, self.GDB, None)
        assert found is None
        assert isinstance(refused, Refused) and ID.hex() in refused.reason

    def test_mdb_looks_for_itself(self, dump: Subject) -> None:
        assert program_of(dump, self.MDB, None) == (None, [])

    def test_crash_has_to_be_given_one(self, dump: Subject, tmp_path: Path) -> None:
        kernel = Subject(dump.dump, IDENTITY, "linux", kernel=True)
        with pytest.raises(UsageError, match="name its vmlinux with --exec"):
            program_of(kernel, self.CRASH, None)
        found, _ = program_of(kernel, self.CRASH, str(tmp_path / "wrong"))
        assert found == Executable(str(tmp_path / "wrong"), verified=False)
        with pytest.raises(UsageError, match="no such file"):
            program_of(kernel, self.CRASH, "/no/vmlinux")


COMMANDS = ["first 'one'; x", "-second"]
LIBRARIES = Path("/work/libraries of it")
GDB = ["-nx", "-q", "-batch", "-iex", f"set solib-search-path {LIBRARIES}"]
LLDB = ["--no-lldbinit", "--batch", "-O", f'settings append target.exec-search-paths "{LIBRARIES}"']


class TestWords:
    @pytest.mark.parametrize(
        ("name", "dump", "executable", "words"),
        [
            ("mdb", ILLUMOS, None, ["/cache/core.7"]),
            ("mdb", ILLUMOS, SERVER, ["/opt/server", "/cache/core.7"]),
            ("gdb", LINUX, None, ["-q", "-c", "/cache/core.7"]),
            ("gdb", LINUX, SERVER, ["-q", "-c", "/cache/core.7", "/opt/server"]),
            ("lldb", LINUX, SERVER, ["--core", "/cache/core.7", "--file", "/opt/server"]),
            ("crash", KDUMP, SERVER, ["/opt/server", "/cache/vmcore"]),
        ],
    )
    def test_of_a_session(self, name: Name, dump: Subject, executable: Executable | None, words: list[str]) -> None:
        assert session(Debugger(name, "/bin/it"), dump, executable) == Invocation(("/bin/it", *words))

    @pytest.mark.parametrize(
        ("name", "words"),
        [
            ("mdb", ["-e", "first 'one'; x\n-second", "/cache/core.7"]),
            ("gdb", [*GDB, "-ex", COMMANDS[0], "-ex", COMMANDS[1], "-c", "/cache/core.7"]),
            (
                "lldb",
                [*LLDB, "-o", COMMANDS[0], "-o", COMMANDS[1], "--core", "/cache/core.7"],
            ),
        ],
    )
    def test_of_a_batch(self, name: Name, words: list[str]) -> None:
        assert batch(Debugger(name, "/bin/it"), LINUX, None, COMMANDS, LIBRARIES) == Invocation(("/bin/it", *words))

    def test_crash_reads_its_commands(self) -> None:
        asked = batch(Debugger("crash", "/bin/crash"), KDUMP, SERVER, ["bt", "log"], LIBRARIES)
        assert asked == Invocation(("/bin/crash", "-s", "/opt/server", "/cache/vmcore"), b"bt\nlog\nquit\n")
