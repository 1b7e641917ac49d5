"""One campaign of a sweep: run it whole, keep its figures. A cell depends on its own text alone, not on who runs it."""

from __future__ import annotations

import hashlib
import json
import time
from collections import Counter
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, ValidationError

from testbed.abstraction import AbstractFleet
from testbed.agents.assemble import check
from testbed.agents.conduct import RunTotals, conduct
from testbed.agents.fading_world import channel_fleet, fading_world
from testbed.agents.local import local_fleet
from testbed.campaign import Campaign, load_campaign
from testbed.errors import CampaignError, NodeLost
from testbed.experts.model import Model
from testbed.fleet import Fleet
from testbed.outcome import RoundRecord
from testbed.record.rows import Predictions
from testbed.sweep.answers import Answers
from testbed.sweep.misjudged import MisjudgedWorld
from testbed.tables import Table, sentence

VERSION = 4
"""Of the figures below; part of a cell's key, so that cells of another version run again."""

PREFIX = "cell."
"""Keys of a sweep that are not the campaign's."""

Figures = dict[str, object]


class CellSettings(Table):
    """What a sweep may ask beside the campaign: keys `cell.…`."""

    fidelity: Literal["channel", "waveform"] = Field("channel", description="without or with waveforms")
    lost_node: int | None = Field(None, ge=0, description="node that is gone from the second layer on")
    csi_error_db: float | None = Field(
        None, ge=-100, le=20, description="error added to channel estimates, beside the link's mean power"
    )


@dataclass(frozen=True)
class Cell:
    """A campaign to be run.

    Attributes:
        variant: name of the variant it belongs to, "" without variants.
        overrides: dotted keys that make it differ from the other cells.
        campaign: the resolved campaign as TOML; settings: the rest.
    """

    variant: str
    overrides: Mapping[str, object]
    campaign: str
    settings: CellSettings

    @property
    def key(self) -> str:
        """Digest of everything its figures depend on, the code excepted."""
        text = json.dumps([VERSION, self.campaign, self.settings.model_dump()])
        return hashlib.sha256(text.encode()).hexdigest()[:32]


def make_cell(base: Campaign | None, variant: str, overrides: Mapping[str, object]) -> Cell:
    """The cell of `overrides` on `base` (None = all defaults).

    Raises:
        CampaignError, ModelError: it cannot be run.
    """
    ours = {key.removeprefix(PREFIX): value for key, value in overrides.items() if key.startswith(PREFIX)}
    theirs = {key: value for key, value in overrides.items() if not key.startswith(PREFIX)}
    campaign = base.with_overrides(theirs) if base else load_campaign(None, theirs)
    try:
        settings = CellSettings.model_validate(ours)
    except ValidationError as error:
        raise CampaignError(f"cell: {sentence(error, CellSettings)}") from error
    if settings.lost_node is not None and settings.lost_node >= campaign.nodes.count:
        raise CampaignError(f"cell.lost_node = {settings.lost_node} is no node of 0 … {campaign.nodes.count - 1}")
    return Cell(variant, dict(overrides), campaign.text(), settings)


@dataclass
class Account:
    """Sums of a cell by layer; L layers, K nodes."""

    layers: int
    nodes: int
    energy_j: dict[str, list[float]] = field(init=False)
    predicted_j: list[float] = field(init=False)
    selected: NDArray[np.int64] = field(init=False)
    states: list[int] = field(init=False)
    endings: Counter[str] = field(default_factory=Counter)
    air_s: float = 0.0

    def __post_init__(self) -> None:
        L, K = self.layers, self.nodes
        self.energy_j = {part: [0.0] * L for part in ("computation", "forward", "return", "overhead")}
        self.predicted_j, self.states = [0.0] * L, [0] * L
        self.selected = np.zeros((L, K, K), np.int64)

    def add(self, record: RoundRecord) -> None:
        """One more round."""
        at, spent = record.layer, record.spent
        self.energy_j["computation"][at] += float(spent.computation.sum())
        self.energy_j["forward"][at] += float(spent.forward.sum())
        self.energy_j["return"][at] += float(spent.back.sum())
        self.energy_j["overhead"][at] += spent.overhead
        self.predicted_j[at] += record.predicted.total_j()
        self.endings[record.status] += 1
        np.add.at(self.selected[at], record.source, record.selected.astype(np.int64))
        own = record.selected[np.arange(record.source.size), record.source]
        self.states[at] += int(record.selected.sum() - own.sum())
        self.air_s += record.forward.air_time_s + record.back.air_time_s


def run_cell(campaign_text: str, settings: CellSettings) -> Figures:
    """Runs a cell.

    Returns:
        Plain values for JSON: `domains` (K,) of each node's text; `hits`, `scored` (K,) next bytes; `asked`,
        `answered` (K,) questions and right answers; `energy_j` by part and layer (L,), `predicted_j` (L,), `bound_j`;
        `states` (L,) sent to other nodes; `selected` (L, K, K) tokens of node i at expert j; counts of `tokens`,
        `relaxed`, `lost`, blocks `sent`, `failed`, `given_up`, `rounds`; `endings`, rounds by the status of their
        decision; `air_s` of payload frames. Nothing in it depends on the machine or the time.

    Raises:
        CampaignError, ModelError: it cannot be run.
    """
    campaign = Campaign.from_text(campaign_text)
    model = check(campaign)
    account, kept = Account(model.layers, campaign.nodes.count), list[Predictions]()
    answers = Answers(campaign.nodes.count, campaign.nodes.question)
    with _fleet(campaign, model, settings) as fleet:

        def on_round(record: RoundRecord, predictions: Predictions | None) -> None:
            account.add(record)
            if predictions is not None:
                kept.append(predictions)
                answers.add(fleet.predict(fleet.alive()))
            if settings.lost_node is not None and record.layer == 0:
                fleet.drop(settings.lost_node, NodeLost(f"node {settings.lost_node} was taken away by the sweep"))

        totals = conduct(
            campaign,
            model,
            fleet,
            on_round=on_round,
            stopping=lambda: False,
            clock=time.monotonic,
            reference=False,
        )
    return _figures(campaign, model, account, totals, kept) | answers.figures()


def _fleet(campaign: Campaign, model: Model, settings: CellSettings) -> AbstractContextManager[Fleet | AbstractFleet]:
    if settings.fidelity == "channel":
        error_db = settings.csi_error_db
        world = fading_world(campaign) if error_db is None else MisjudgedWorld(campaign, error_db)
        return nullcontext(channel_fleet(campaign, model, world))
    for name in ("lost_node", "csi_error_db"):
        if getattr(settings, name) is not None:
            raise CampaignError(f"cell.{name} needs cell.fidelity = 'channel'")
    return local_fleet(campaign, model)


def _figures(campaign: Campaign, model: Model, account: Account, totals: RunTotals, kept: list[Predictions]) -> Figures:
    K = campaign.nodes.count
    shift = campaign.nodes.domain_shift
    node = np.concatenate([p.node for p in kept])
    hit = np.concatenate([p.predicted == p.target for p in kept])
    return {
        "domains": [model.domains[(k + shift) % len(model.domains)] for k in range(K)],
        "hits": np.bincount(node, hit, K).astype(int).tolist(),
        "scored": np.bincount(node, minlength=K).tolist(),
        "energy_j": account.energy_j,
        "predicted_j": account.predicted_j,
        "bound_j": totals.bound_j,
        "states": account.states,
        "selected": account.selected.tolist(),
        "tokens": totals.tokens,
        "relaxed": totals.relaxed,
        "lost": totals.lost,
        "sent": totals.sent,
        "failed": totals.failed,
        "given_up": totals.given_up,
        "rounds": totals.rounds,
        "endings": dict(account.endings),
        "air_s": account.air_s,
    }
