"""A crash dump's expanded form, which an analyzer made, on its way into the store."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from thoth.analysis.changes import BadChange, Sent
from thoth.digest import Digester
from thoth.dumps.crashdump import parse_dumphdr
from thoth.dumps.elfcore import HEAD
from thoth.dumps.source import LocalFile
from thoth.errors import NoSuchObject, SourceError
from thoth.library import Thoth
from thoth.model import DumpInfo, Json
from thoth.objects import dump_object
from thoth.patience import usual_tries
from thoth.store.base import Digests
from thoth.store.names import dump_name


def store_expanded(thoth: Thoth, info: DumpInfo, expanded: Path | Sent) -> Mapping[str, Json]:
    """Store the file beside its dump; returns what the document says of it then, under thoth.objects.EXPANDED.

    One that was sent is looked at. Raises BadChange for a file that is not the expanded form of this dump, and
    StoreError.
    """
    return _looked_at(thoth, info, expanded) if isinstance(expanded, Sent) else _stored(thoth, info, expanded)


def _looked_at(thoth: Thoth, info: DumpInfo, sent: Sent) -> Mapping[str, Json]:
    # All of it is read, and held against the digests, by whoever fetches it: here it would move through this machine.
    name = dump_name(thoth.user, info.id, sent.name.encode())
    _check_name(thoth, info, name)
    try:
        with thoth.store.open(name) as source:
            if source.size != sent.size:
                raise BadChange(f"thoth_store: {name} has {source.size} bytes, and {sent.size} were sent")
            _check_header(source.read_at(0, HEAD), info)
    except NoSuchObject as error:
        raise BadChange(f"thoth_store: {name} is not there, though it was to be sent") from error
    return {"dump": name, "size": sent.size, "md5": sent.md5, "sha256": sent.sha256}


def _stored(thoth: Thoth, info: DumpInfo, path: Path) -> Mapping[str, Json]:
    name = dump_name(thoth.user, info.id, os.fsencode(path.name))
    _check_name(thoth, info, name)
    try:
        with LocalFile(path) as source:
            _check(source, info)
            digests = usual_tries().run(lambda: _streamed(thoth, name, source))
    except SourceError as error:
        raise BadChange(f"thoth_store: {error}") from error
    return {"dump": name, "size": digests.size, "md5": digests.md5, "sha256": digests.sha256}


def _check_name(thoth: Thoth, info: DumpInfo, name: str) -> None:
    if name == dump_object(thoth.user, info).name:
        raise BadChange("thoth_store: the file has the name of the dump itself, which is not replaced")


def _check(source: LocalFile, info: DumpInfo) -> None:
    # A second name of a file would be a way to have us read what the analyzer itself may not.
    if source.stat.st_nlink != 1:
        raise BadChange("thoth_store: the file has another name too, so it may not be the analyzer's own")
    _check_header(source.read_at(0, HEAD), info)


def _check_header(head: bytes, info: DumpInfo) -> None:
    header = parse_dumphdr(head)
    if header is None:
        raise BadChange("thoth_store: the file is no illumos crash dump")
    told = info.document.get("uuid")
    if told and header.uuid and header.uuid.decode("ascii", "replace") != told:
        raise BadChange("thoth_store: the file is another crash dump, as its uuid says")


def _streamed(thoth: Thoth, name: str, source: LocalFile) -> Digests:
    digester = Digester()
    upload = thoth.store.begin(name, source.size)
    try:
        for block in source.stream():
            digester.feed(block)
            upload.part(block)
        digests = digester.result()
        upload.commit(digests)
    finally:
        upload.abort()
        digester.close()
    return digests
