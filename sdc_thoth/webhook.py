"""Telling somebody, by HTTP, that a node cannot be collected from any more, and that it can be again.

[webhook]
url = "https://..."    JSON is sent there by POST; whoever knows it may post, so it is a secret
after = 3              passes in a row in which a node has to fail before it is told

Each change is told once: what could not be told is told after the next pass. A webhook that fails costs a pass some
seconds, and nothing else.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Sequence, Set
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from sdc_thoth.notes import NodeNote
from sdc_thoth.toml import TomlTable
from thoth import ServiceError, UsageError, escaped

if TYPE_CHECKING:
    from sdc_thoth.journal import Journal

_SECONDS: Final = 10.0  # that the webhook may be silent
_MOST: Final = 100  # events after one pass; the rest comes after the next one
_HEADERS: Final = {"Content-Type": "application/json"}


@dataclass(frozen=True, slots=True)
class Webhook:
    """Where to tell, and from how many failures on. Nothing shows the URL."""

    url: str | None = field(default=None, repr=False)
    after: int = 3


@dataclass(frozen=True, slots=True)
class Change:
    """A node that is failing now, or reached again."""

    note: NodeNote
    failing: bool

    def to_json(self, collector: str) -> bytes:
        """The event. ``text`` says it in words, as chats want it."""
        note = self.note
        document: dict[str, Any] = {
            "version": 1,
            "event": "node-failing" if self.failing else "node-reached",
            "collector": collector,
            "node": note.node,
            "result": note.result,
            "reason": note.reason,
            "failures": note.failures,
            "failing_since": note.failing_since,
            "reached": note.reached,
            "text": f"sdc-thoth on {collector}: {self._words()}",
        }
        return json.dumps(document).encode()

    def _words(self) -> str:
        name = escaped(self.note.node)
        if not self.failing:
            return f"node {name} is collected from again"
        times = f"{self.note.failures} passes in a row"
        if not self.note.is_running:
            why = f": {escaped(self.note.reason)}" if self.note.reason else ""
            return f"node {name} could not be collected from, {times}, and is not running now{why}"
        return f"node {name} cannot be collected from, {times}: {escaped(self.note.reason or self.note.result)}"


def changes(nodes: Sequence[NodeNote], told: Set[str], after: int) -> Iterator[Change]:
    """What has to be told. ``told``: the nodes of which it is known that they fail.

    That a node does not run is no news here: the inventory says so, and one that fails has not been reached by that.
    """
    for note in nodes:
        if note.failing_since is None and note.node in told:
            yield Change(note, failing=False)
        elif note.failures >= after and note.node not in told:
            yield Change(note, failing=True)


def tell(webhook: Webhook, journal: Journal, talk: Callable[[str], None], collector: str | None = None) -> None:
    """Tell what has changed by the journal, and note there what was told. ``talk`` takes a line on what could not be.

    Raises nothing of the webhook's: the pass was what it was.
    """
    news = [] if webhook.url is None else list(changes(journal.nodes(), journal.told(), webhook.after))
    if not news:
        return
    try:
        _post(webhook.url or "", news[:_MOST], collector or os.uname().nodename, journal)
    except (ServiceError, UsageError) as error:
        talk(f"{error}; what it should be told is told after the next pass")


def _post(url: str, news: Sequence[Change], collector: str, journal: Journal) -> None:
    from thoth import Service  # noqa: PLC0415 - requests takes its time to import, and most passes tell nothing

    parts = urlsplit(url)
    service = Service("webhook", f"{parts.scheme}://{parts.netloc}")
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    try:
        for change in news:
            answer = service.post(target, _HEADERS, change.to_json(collector), idle=_SECONDS)
            if not 200 <= answer.status < 300:
                raise ServiceError(f"webhook {service.base}: answers with status {answer.status}")
            journal.tell(change.note.node, failing=change.failing)
    finally:
        service.close()


# ---- settings ----------------------------------------------------------------------------------------


def webhook_from(before: Webhook, table: TomlTable) -> Webhook:
    """The webhook with what a table says in the place of what was said before. Raises UsageError, which does not
    show the URL."""
    url = table.text("url")
    if url is not None:
        _check(url, table)
    after = table.number_in("after", 1, 1000, whole=True)
    table.done()
    return Webhook(before.url if url is None else url, before.after if after is None else int(after))


def _check(url: str, table: TomlTable) -> None:
    try:
        parts = urlsplit(url)
        fault = parts.scheme not in ("http", "https") or not parts.hostname or parts.port == 0
        fault = fault or bool(parts.username or parts.fragment) or not url.isascii() or not url.isprintable()
    except ValueError:
        fault = True
    if fault or " " in url:
        raise table.error("url", "not a URL like https://chat.example.com/hooks/..., without a user or a password")
    if table.file.is_open_to_others():
        raise table.error("url", "others may read this file, and the URL is a secret; run: chmod 600 on it")
