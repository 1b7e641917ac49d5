"""The run itself: every batch of tokens through every layer, whoever the nodes are."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from testbed.agents.assemble import passages, round_settings
from testbed.campaign import Campaign
from testbed.exchange import FrameCounter
from testbed.experts.central import run_centrally
from testbed.experts.model import Model
from testbed.fleet import Fleet
from testbed.outcome import RoundRecord, Summary
from testbed.record.rows import Predictions
from testbed.round import Clock, run_round


@dataclass
class Totals:
    """Sums over the rounds of a run so far."""

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
    hits: list[float] = field(default_factory=list)
    central_hits: list[float] = field(default_factory=list)

    def add(self, record: RoundRecord, expected: int, predictions: Predictions | None) -> None:
        """One more round, in which `expected` tokens began; those of dead nodes count as lost."""
        missing = expected - record.source.size
        self.rounds += 1
        self.tokens += expected
        self.relaxed += int(record.relaxed.sum())
        self.lost += int(record.lost.sum()) + missing
        for traffic in (record.forward, record.back):
            self.sent += int(traffic.sent.sum())
            self.failed += int(traffic.failed.sum())
            self.given_up += int(traffic.given_up.sum())
        self.predicted_j += record.predicted.total_j()
        self.spent_j += record.spent.total_j()
        self.bound_j += record.bound_j
        if predictions is not None:
            self.hits += list(predictions.predicted == predictions.target)
            self.central_hits += list(predictions.central == predictions.target)

    def summary(self, run_dir: str, seconds: float) -> Summary:
        """The closing figures."""
        return Summary(
            run_dir=run_dir,
            rounds=self.rounds,
            tokens=self.tokens,
            tokens_relaxed=self.relaxed,
            tokens_lost=self.lost,
            block_error_rate=self.failed / self.sent if self.sent else None,
            retransmissions=self.failed - self.given_up,
            energy_predicted_j=self.predicted_j,
            energy_spent_j=self.spent_j,
            bound_j=self.bound_j,
            accuracy=_mean(self.hits),
            accuracy_central=_mean(self.central_hits),
            seconds=seconds,
        )


OnRound = Callable[[RoundRecord, Predictions | None], None]
"""Told every round, and with the last round of a batch how its tokens ended."""


def conduct(
    campaign: Campaign,
    model: Model,
    fleet: Fleet,
    *,
    on_round: OnRound,
    stopping: Callable[[], bool],
    clock: Clock,
) -> Totals:
    """All batches through all layers; stops between rounds when `stopping` says so, or when no node is left.

    Args:
        campaign: the whole campaign.
        model: the whole model, for the central reference alone.
        fleet: the nodes.
        on_round: called as soon as there is something to record.
        stopping: asked between rounds.
        clock: monotonic seconds.
    """
    settings = round_settings(campaign, model)
    frames, totals = FrameCounter(), Totals()
    expected = campaign.nodes.count * campaign.nodes.tokens
    for batch in range(campaign.passes):
        fleet.begin(batch)
        plan = None
        for layer in range(model.layers):
            if stopping() or not fleet.alive():
                return totals
            record, plan = run_round(totals.rounds, layer, fleet, settings, frames, clock, plan)
            last = layer == model.layers - 1
            predictions = score_batch(campaign, model, fleet, batch) if last else None
            totals.add(record, expected, predictions)
            on_round(record, predictions)
    return totals


def score_batch(campaign: Campaign, model: Model, fleet: Fleet, batch: int) -> Predictions:
    """What the live nodes predicted, beside the same model on the same tokens in one place."""
    answers = fleet.ask(fleet.alive(), lambda node: node.predict())
    nodes = sorted(answers)
    empty = np.zeros(0, np.uint8)
    return Predictions(
        node=np.repeat(np.array(nodes, np.int64), [answers[k].predicted.size for k in nodes]),
        predicted=np.concatenate([empty, *(answers[k].predicted for k in nodes)]),
        central=np.concatenate([empty, *(central_prediction(campaign, model, k, batch) for k in nodes)]),
        target=np.concatenate([empty, *(answers[k].target for k in nodes)]),
    )


def central_prediction(campaign: Campaign, model: Model, node: int, batch: int) -> NDArray[np.uint8]:
    """(N,) next bytes that the whole model predicts with its Top-D experts, context included."""
    passage = passages(campaign, model, node)[batch, :-1]
    logits = run_centrally(
        model, passage[None], top_k=campaign.schedule.max_experts, temperature=campaign.model.temperature
    )
    return np.asarray(logits[0, campaign.nodes.context :].argmax(axis=-1), np.uint8)


def _mean(hits: list[float]) -> float | None:
    return float(np.mean(hits)) if hits else None
