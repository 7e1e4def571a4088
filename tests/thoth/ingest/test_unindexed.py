"""An index that fails when a dump comes."""

from __future__ import annotations

from tests.support.arrivals import CORE, CUT, take, whole
from tests.thoth.ingest.scene import DeafIndex
from thoth.library import Thoth
from thoth.model import Result


class TestUnindexed:
    def test_F35_it_is_stored_and_the_next_run_indexes_it(self, thoth: Thoth, index: DeafIndex) -> None:
        index.deaf = True
        receipt = take(thoth, CORE)
        assert (receipt.result, receipt.sent, receipt.reason) == (
            Result.STORED_UNINDEXED,
            len(CORE),
            "index.db: disk I/O error",
        )
        again = take(thoth, CORE)
        assert (again.result, again.sent, again.info) == (Result.STORED_UNINDEXED, 0, receipt.info)
        index.deaf = False
        assert take(thoth, CORE).result is Result.PRESENT
        whole(thoth, receipt.info.id)

    def test_a_replacement(self, thoth: Thoth, index: DeafIndex) -> None:
        index.deaf = True
        take(thoth, CUT)
        assert take(thoth, CORE, b"core.renamed").result is Result.STORED_UNINDEXED
        index.deaf = False
        whole(thoth, take(thoth, CORE).info.id)
