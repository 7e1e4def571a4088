"""What ``thoth upload`` tells of each file."""

from __future__ import annotations

from typing import TYPE_CHECKING

from thoth.cli.files import shown
from thoth.render import json_text, time_text

if TYPE_CHECKING:
    from thoth.cli.console import Console
    from thoth.ingest.arrival import Receipt
    from thoth.model import DumpInfo, Json


def tell(path: str, receipt: Receipt, console: Console, *, named_whole: bool) -> None:
    """Say what became of a file. ``named_whole``: whether the whole dump will be known as the same one."""
    from thoth.model import Result

    name, identity = shown(path), receipt.info.id
    purged = _purged(receipt.info)
    if receipt.result is Result.PRESENT and purged:
        console.say(f"{name} {purged}: {identity}")
    elif receipt.result is Result.PRESENT:
        console.say(f"{name} is there already: {identity}")
    elif receipt.result is Result.STORED and receipt.reason:
        console.say(f"{name} {receipt.reason}: {identity}")
    elif receipt.result is Result.REPLACED:
        console.say(f"{name} took the place of a dump that was cut short: {identity}")
    elif not (receipt.result.good or receipt.result is Result.STORED_UNINDEXED):
        console.complain(f"{name}: {receipt.result.value}: {identity}: {receipt.reason}")
    if receipt.info.complete is False and not purged:
        what = (
            "is cut short; kept until the whole one comes"
            if named_whole
            else "is cut short within its headers: it will not be known as the same dump when the whole one comes"
        )
        console.say(f"{name}: {what} (have {receipt.info.size} bytes)")


def _purged(info: DumpInfo) -> str | None:
    """That a dump was thrown away, and when; None for one that was not."""
    from thoth.purge import purged_at

    if not info.document.get("purged"):
        return None
    return f"was purged on {time_text(purged_at(info))}; not stored again"


def receipt_line(path: str, receipt: Receipt) -> str:
    """What became of a file, as JSON."""
    told: dict[str, Json] = {
        "path": path,
        "result": receipt.result.value,
        "id": receipt.info.id,
        "size": receipt.info.size,
        "complete": receipt.info.complete,
        "sent": receipt.sent,
        "reason": receipt.reason or _purged(receipt.info),
    }
    return json_text(told)


def failed_line(path: str, result: str, error: Exception) -> str:
    """Why nothing became of a file, as JSON."""
    return json_text({"path": path, "result": result, "reason": str(error)})
