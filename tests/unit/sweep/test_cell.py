"""A cell's figures against the campaign run by hand."""

from __future__ import annotations

import json
import time

import numpy as np
import pytest

from testbed.agents.assemble import check
from testbed.agents.conduct import conduct
from testbed.agents.fading_world import channel_fleet
from testbed.campaign import Campaign
from testbed.errors import CampaignError
from testbed.outcome import RoundRecord
from testbed.sweep.cell import Cell, Figures, make_cell, run_cell

SMALL = {"nodes.tokens": 6, "nodes.context": 4, "nodes.domain_shift": 1, "passes": 2}


def figures(cell: Cell) -> Figures:
    return run_cell(cell.campaign, cell.settings)


def test_figures_are_the_sums_of_the_rounds() -> None:
    cell = make_cell(None, "", SMALL)
    campaign = Campaign.from_text(cell.campaign)
    model, records = check(campaign), list[RoundRecord]()
    totals = conduct(
        campaign,
        model,
        channel_fleet(campaign, model),
        on_round=lambda record, _: records.append(record),
        stopping=lambda: False,
        clock=time.monotonic,
    )
    got = figures(cell)
    assert sum(map(sum, got["energy_j"].values())) == pytest.approx(totals.spent_j, rel=1e-12)
    assert sum(got["predicted_j"]) == pytest.approx(totals.predicted_j, rel=1e-12)
    assert sum(got["hits"]) == sum(totals.hits)
    assert sum(got["scored"]) == 2 * 4 * 6
    assert np.sum(got["selected"]) == sum(record.selected.sum() for record in records)
    assert sum(got["states"]) * 2 <= got["sent"] + got["given_up"]
    assert got["domains"] == ["german", "python", "c", "english"]
    assert json.loads(json.dumps(got)) == got


def test_a_lost_node_ends_its_tokens_and_its_expert() -> None:
    got = figures(make_cell(None, "", {**SMALL, "cell.lost_node": 2}))
    selected = np.array(got["selected"])
    assert selected[0, 2].sum() > 0
    assert selected[1:, 2].sum() == selected[1:, :, 2].sum() == 0
    assert got["scored"][2] == 0
    assert got["scored"][0] == 12
    assert got["lost"] == 2 * 6 * 3


def test_waveforms_by_request() -> None:
    got = figures(make_cell(None, "", {**SMALL, "passes": 1, "cell.fidelity": "waveform"}))
    assert got["sent"] > 0
    with pytest.raises(CampaignError, match=r"needs cell\.fidelity"):
        figures(make_cell(None, "", {"cell.fidelity": "waveform", "cell.lost_node": 1}))
