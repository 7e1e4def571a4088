"""What a test of analyzers needs: a place that any user can reach, and a dump that is stored."""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tests.support.arrivals import CORE, take
from tests.support.memory_index import MemoryIndex
from tests.support.memory_store import MemoryStore
from thoth.analysis.cache import Cache
from thoth.analysis.run import Analysis, Analyzer, Dcmd, analyze
from thoth.analysis.sandbox import Limits
from thoth.library import Thoth
from thoth.model import DumpInfo, Json

NOBODY = 65534
QUICK = Limits(timeout=20)  # seconds: what goes wrong in a test ends before the test does


@contextmanager
def common_ground() -> Iterator[Path]:
    """A new directory that any user can reach: root's analyzers run as nobody, who cannot go where pytest is."""
    ground = Path(tempfile.mkdtemp(prefix="thoth-test-", dir="/var/tmp"))
    try:
        ground.chmod(0o755)
        yield ground
    finally:
        shutil.rmtree(ground)


@contextmanager
def as_user() -> Iterator[Path]:
    """This process is an ordinary user's, with a directory of his own."""
    with common_ground() as ground:
        place = ground / "own"
        place.mkdir()
        os.chown(place, NOBODY, NOBODY)
        os.setegid(NOBODY)
        os.seteuid(NOBODY)
        try:
            yield place
        finally:
            os.seteuid(0)
            os.setegid(0)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


def names(root: Path) -> list[str]:
    return sorted(str(path.relative_to(root)) for path in root.rglob("*"))


class Bench:
    """A store with dumps in it, and analyzers that are run on them."""

    def __init__(self, ground: Path, environ: Mapping[str, str]) -> None:
        self.thoth = Thoth(MemoryStore(), MemoryIndex(), "bmc")
        self.cache = Cache(ground / "cache")
        self.environ = dict(environ)

    def store(self, dump: bytes = CORE, filename: bytes = b"core.19972", **facts: Json) -> DumpInfo:
        """Take a dump in; ``facts`` go into its document."""
        info = take(self.thoth, dump, filename).info
        if facts:
            info = DumpInfo({**info.document, **facts})
            name = f"{info.document['name']}/info.json"
            self.thoth.store.put(name, info.to_json().encode())
        return info

    def run(self, info: DumpInfo, script: str | bytes, *, name: str = "test", apply: bool = True) -> Analysis:
        """Run a script as an analyzer."""
        data = script.encode() if isinstance(script, str) else script
        return self._analyze(info, Analyzer(name, data), apply=apply)

    def dcmd(self, info: DumpInfo, command: str) -> Analysis:
        """Run a command of mdb."""
        return self._analyze(info, Dcmd(command), apply=True)

    def _analyze(self, info: DumpInfo, task: Analyzer | Dcmd, *, apply: bool) -> Analysis:
        return analyze(self.thoth, info, task, cache=self.cache, environ=self.environ, limits=QUICK, apply=apply)

    def document(self, info: DumpInfo) -> Mapping[str, Json]:
        """The document as it is now in the store, once the index is sure to have the same."""
        found = self.thoth.stored_info(info.id)
        assert found is not None
        indexed = self.thoth.index.get(info.id)
        assert indexed is None or indexed == found[0] or indexed.revision == info.revision
        return found[0].document
