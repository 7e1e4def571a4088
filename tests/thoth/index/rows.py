"""The dumps that the tests of the SQLite index put into it."""

from __future__ import annotations

from thoth.model import DumpInfo, Identity


def named(number: int) -> Identity:
    return Identity(f"{number:032x}")


def dump(number: int, **values: object) -> DumpInfo:
    return DumpInfo({"id": named(number), "time": number, "type": "core", "cmd": "svcs", **values})
