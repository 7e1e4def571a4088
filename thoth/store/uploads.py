"""What uploads into every store raise in the same words."""

from __future__ import annotations

from thoth.errors import CorruptTransfer, StoreError
from thoth.store.base import Digests


def over(name: str) -> StoreError:
    """For who goes on with an upload that was committed or aborted."""
    return StoreError(f"{name}: this upload is over; begin another")


def require_size(name: str, digests: Digests, came: int) -> None:
    """Raises CorruptTransfer unless as many bytes came as were digested."""
    if came != digests.size:
        raise CorruptTransfer(f"{name}: {came} bytes came where {digests.size} were read; upload it again")
