"""What a pass tells, as events: one for each dump that is news, each node, and the end."""

from __future__ import annotations

from sdc_thoth.events import Log
from sdc_thoth.report import Speed, Tally, is_old_news
from thoth import Outcome, Result, text


class EventReport:
    """Takes each outcome as it comes. What failed is a warning.

    ``remarks`` are those on nodes with which nothing is wrong, by their names, as the last pass had them: one that
    has been told is told again when it is another.
    """

    def __init__(self, log: Log, remarks: dict[str, str]) -> None:
        self.tally = Tally()
        self._log = log
        self._remarks = remarks

    def take(self, outcome: Outcome) -> None:
        self.tally.count(outcome)
        tell = self._log.info if outcome.result.good else self._log.warning
        if outcome.path is None:
            # A node that was reached, or does not run, is no news: there may be hundreds in each pass.
            news = self._is_new_remark(outcome) or outcome.detail.get("left")
            tell = self._log.debug if outcome.result.good and not news else tell
            tell("node", node=outcome.node, result=outcome.result.value, stage=outcome.stage, reason=outcome.reason)
        elif not is_old_news(outcome):
            tell(
                "dump",
                node=outcome.node,
                path=text(outcome.path),
                result=outcome.result.value,
                identity=outcome.identity,
                size=outcome.size,
                sent=outcome.sent,
                stage=outcome.stage,
                limit=outcome.detail.get("limit"),
                reason=outcome.reason,
            )

    def _is_new_remark(self, outcome: Outcome) -> bool:
        node, remark = outcome.node or "?", outcome.reason if outcome.result is Result.REACHED else None
        before = self._remarks.pop(node, None)
        if remark is not None:
            self._remarks[node] = remark
        return remark not in (None, before)

    def end(self, seconds: float, speed: Speed) -> None:
        dumps = {name: amount.dumps for name, amount in self.tally.amounts.items()}
        self._log.info(
            "pass ends",
            seconds=round(seconds, 3),
            nodes=dict(self.tally.node_counts),
            dumps=dumps,
            sent=self.tally.sent,
            limited={name: amount.dumps for name, amount in self.tally.limited.items()} or None,
            rate=None if speed.rate is None else round(speed.rate),
        )
