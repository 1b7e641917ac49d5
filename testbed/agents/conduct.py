"""The run itself: every batch of tokens through every layer, whoever the nodes are."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from testbed.agents.assemble import passages, round_settings
from testbed.campaign import Campaign
from testbed.deciding import Decider
from testbed.exchange import FrameCounter
from testbed.experts.central import run_centrally
from testbed.experts.model import Model
from testbed.fleet import Crew
from testbed.outcome import RoundRecord, Summary
from testbed.record.rows import Predictions
from testbed.record.sums import Totals
from testbed.round import Clock, run_round


@dataclass(frozen=True)
class RunTotals(Totals):
    """Sums over the rounds of a run so far, and over its predictions.

    Attributes:
        batches: those that some node has brought to their end.
        scored: tokens that ended their last layer; hits: of these, next bytes predicted right.
        central_scored, central_hits: the same tokens in one place.
    """

    batches: int = 0
    scored: int = 0
    hits: int = 0
    central_scored: int = 0
    central_hits: int = 0

    def with_predictions(self, predictions: Predictions | None) -> RunTotals:
        """These sums and the tokens that ended their last layer in a round."""
        if predictions is None:
            return self
        right = int((predictions.predicted == predictions.target).sum())
        central = predictions.central.size
        return replace(
            self,
            scored=self.scored + predictions.target.size,
            hits=self.hits + right,
            central_scored=self.central_scored + central,
            central_hits=self.central_hits + (int((predictions.central == predictions.target).sum()) if central else 0),
        )

    def with_missing(self, tokens: int) -> RunTotals:
        """Also tokens that never ended a layer, because their node is dead."""
        return replace(self, tokens=self.tokens + tokens, lost=self.lost + tokens)

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
            accuracy=self.hits / self.scored if self.scored else None,
            accuracy_central=self.central_hits / self.central_scored if self.central_scored else None,
            seconds=seconds,
        )


OnRound = Callable[[RoundRecord, Predictions | None], None]
"""Told every round, and with the last layer of tokens how they ended."""

REJOIN_S = 6.0
"""How long a batch waits at its end for nodes that may come back."""
_LOOK_S = 0.01


def conduct(
    campaign: Campaign,
    model: Model,
    crew: Crew,
    *,
    on_round: OnRound,
    stopping: Callable[[], bool],
    clock: Clock,
    reference: bool = True,
) -> RunTotals:
    """All batches through all layers; stops between rounds when `stopping` says so, or when no node is left.

    A node that is lost comes back with its tokens where they were; the layer that is furthest behind is done
    first, by the nodes whose tokens are there, until all are together again. So every token goes through every
    layer once. Tokens of a node that does not come back within `REJOIN_S` of the others' last layer are lost.

    Args:
        campaign: the whole campaign.
        model: the whole model, for the central reference alone.
        crew: the nodes.
        on_round: called as soon as there is something to record.
        stopping: asked between rounds.
        clock: monotonic seconds.
        reference: predict the same tokens in one place too, which costs as much as the nodes' own computation.
    """
    settings = round_settings(campaign, model)
    frames, totals = FrameCounter(), RunTotals()
    decide = Decider(campaign.schedule.deadline_s, crew.note)
    for batch in range(campaign.passes):
        crew.begin(batch)
        done = [0] * len(crew)
        plan = None
        while not stopping() and (layer := _next_layer(crew, batch, done, model.layers, clock, stopping)) is not None:
            sources = [k for k in crew.alive() if done[k] == layer]
            record, plan = run_round(totals.rounds, layer, crew, settings, frames, clock, plan, sources, decide)
            last = layer == model.layers - 1
            predictions = score_batch(campaign, model, crew, batch, sources, reference) if last else None
            record = ended_only(record, crew.alive_mask())
            for k in set(sources) & set(crew.alive()):
                done[k] += 1
            totals = totals.with_round(record).with_predictions(predictions)
            on_round(record, predictions)
        ended = any(done[k] == model.layers for k in crew.alive())
        totals = replace(totals, batches=totals.batches + ended)
        for k, layers in enumerate(done):
            if left := campaign.nodes.tokens * (max(done) - layers):
                totals = totals.with_missing(left)
                tokens = campaign.nodes.tokens
                crew.note(f"{tokens} tokens of node {k} ended before layer {layers}: {crew.why_missing(k)}")
        if stopping() or not crew.alive():
            break
    return totals


def _next_layer(
    crew: Crew, batch: int, done: Sequence[int], layers: int, clock: Clock, stopping: Callable[[], bool]
) -> int | None:
    """The layer that is furthest behind among live nodes, of which some may just be back; None when all is done."""
    deadline = clock() + REJOIN_S
    while True:
        crew.take_back(batch, done)
        layer = min((done[k] for k in crew.alive()), default=layers)
        if layer < layers:
            return layer
        if stopping() or clock() >= deadline or not crew.missing():
            return None
        time.sleep(_LOOK_S)


def ended_only(record: RoundRecord, alive: NDArray[np.bool_]) -> RoundRecord:
    """The record without the tokens of nodes that died in it: their layer is done again when they are back."""
    kept = alive[record.source]
    if kept.all():
        return record
    names = ("source", "score", "selected", "relaxed", "lost", "fallback")
    return replace(record, alive=alive, **{name: getattr(record, name)[kept] for name in names})


def score_batch(
    campaign: Campaign, model: Model, crew: Crew, batch: int, sources: Sequence[int], reference: bool
) -> Predictions:
    """What the live nodes of `sources` predicted; with `reference`, beside the same model in one place."""
    answers = crew.predict(sources)
    nodes = sorted(answers)
    compared = nodes if reference else []
    empty = np.zeros(0, np.uint8)
    return Predictions(
        node=np.repeat(np.array(nodes, np.int64), [answers[k].predicted.size for k in nodes]),
        predicted=np.concatenate([empty, *(answers[k].predicted for k in nodes)]),
        central=np.concatenate([empty, *(central_prediction(campaign, model, k, batch) for k in compared)]),
        target=np.concatenate([empty, *(answers[k].target for k in nodes)]),
    )


def central_prediction(campaign: Campaign, model: Model, node: int, batch: int) -> NDArray[np.uint8]:
    """(N,) next bytes that the whole model predicts with its Top-D experts, context included."""
    passage = passages(campaign, model, node)[batch, :-1]
    logits = run_centrally(
        model, passage[None], top_k=campaign.schedule.max_experts, temperature=campaign.model.temperature
    )
    return np.asarray(logits[0, campaign.nodes.context :].argmax(axis=-1), np.uint8)
