"""What the rounds of a run amount to: counts and energies, added up round by round."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

from testbed.outcome import RoundRecord, Summary, Traffic


@dataclass(frozen=True)
class Totals:
    """Sums over all recorded rounds."""

    rounds: int = 0
    tokens: int = 0
    relaxed: int = 0
    lost: int = 0
    sent: int = 0
    failed: int = 0
    given_up: int = 0
    predicted_j: float = 0.0
    spent_j: float = 0.0
    bound_j: float = 0.0
    air_time_s: float = 0.0

    @property
    def block_error_rate(self) -> float:
        """Failed over sent blocks; 0 where none was sent."""
        return self.failed / self.sent if self.sent else 0.0

    def with_round(self, record: RoundRecord) -> Self:
        """These sums and one more round."""
        sent, failed, given_up = blocks_of([record.forward, record.back])
        return replace(
            self,
            rounds=self.rounds + 1,
            tokens=self.tokens + record.source.size,
            relaxed=self.relaxed + int(record.relaxed.sum()),
            lost=self.lost + int(record.lost.sum()),
            sent=self.sent + sent,
            failed=self.failed + failed,
            given_up=self.given_up + given_up,
            predicted_j=self.predicted_j + record.predicted.total_j(),
            spent_j=self.spent_j + record.spent.total_j(),
            bound_j=self.bound_j + record.bound_j,
            air_time_s=self.air_time_s + record.forward.air_time_s + record.back.air_time_s,
        )

    def as_closed(self, summary: Summary | None) -> Self:
        """With the run's own counts of tokens, where it wrote closing figures.

        Only the run knows how many tokens a dead node took with it: they are in no record.
        """
        if summary is None:
            return self
        return replace(self, tokens=summary.tokens, relaxed=summary.tokens_relaxed, lost=summary.tokens_lost)


def blocks_of(traffic: list[Traffic]) -> tuple[int, int, int]:
    """Blocks sent, failed and given up over links and phases."""
    return (
        sum(int(t.sent.sum()) for t in traffic),
        sum(int(t.failed.sum()) for t in traffic),
        sum(int(t.given_up.sum()) for t in traffic),
    )
