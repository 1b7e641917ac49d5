"""Whole runs in this process, for the tests beside it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

from testbed.agents.assemble import air_settings, check, local_node
from testbed.agents.conduct import RunTotals, conduct
from testbed.campaign import Campaign, load_campaign
from testbed.experts.model import Model
from testbed.fleet import Care, Fleet
from testbed.outcome import RoundRecord
from testbed.protocol import Node
from testbed.radio.air import Air
from testbed.radio.open import open_radio
from testbed.record.rows import Predictions

SMALL: dict[str, object] = {"nodes.tokens": 4, "nodes.context": 8, "model.quantisation": "float16"}


@dataclass(frozen=True, eq=False)
class Run:
    """A finished run and everything that made it."""

    campaign: Campaign
    model: Model
    air: Air
    records: Sequence[RoundRecord]
    predictions: Sequence[Predictions]
    totals: RunTotals


def run(
    overrides: dict[str, object] | None = None,
    disturb: Callable[[Node], Node] = lambda node: node,
    care: Care | None = None,
) -> Run:
    """A small campaign with `overrides`; `disturb` may put something between the round and each node."""
    campaign = load_campaign(None, SMALL | (overrides or {}))
    model, air = check(campaign), Air(air_settings(campaign))
    records: list[RoundRecord] = []
    predictions: list[Predictions] = []

    def keep(record: RoundRecord, ending: Predictions | None) -> None:
        records.append(record)
        predictions.extend([ending] if ending else [])

    with ExitStack() as radios:
        nodes = []
        for k in range(campaign.nodes.count):
            radio = radios.enter_context(open_radio("sim:", unit=k, ether=air))
            nodes.append(disturb(local_node(campaign, model, k, radio)))
        fleet = Fleet(nodes, care=care)
        totals = conduct(campaign, model, fleet, on_round=keep, stopping=lambda: False, clock=time.monotonic)
    return Run(campaign, model, air, records, predictions, totals)
