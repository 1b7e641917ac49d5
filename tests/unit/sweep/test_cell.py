"""A cell's figures against the campaign run by hand."""

from __future__ import annotations

import json
import time

import numpy as np
import pytest

from testbed.agents.assemble import check, passages
from testbed.agents.conduct import conduct
from testbed.agents.fading_world import channel_fleet, fading_world
from testbed.campaign import Campaign, load_campaign
from testbed.errors import CampaignError
from testbed.experts.central import run_centrally
from testbed.experts.layers import surprise
from testbed.outcome import RoundRecord
from testbed.protocol import Prediction
from testbed.sweep.answers import Answers
from testbed.sweep.cell import Cell, Figures, make_cell, run_cell
from testbed.sweep.misjudged import MisjudgedWorld

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
    assert sum(got["hits"]) == totals.hits
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


def test_questions_are_answered_as_the_whole_model_would() -> None:
    asked = {"nodes.tokens": 24, "nodes.context": 0, "nodes.question": 8, "passes": 16, "model.quantisation": "float16"}
    cell = make_cell(None, "", {**asked, "schedule.scheduler": "top-2"})
    got = figures(cell)
    campaign = Campaign.from_text(cell.campaign)
    model, right = check(campaign), []
    for node in range(4):
        passage = passages(campaign, model, node)
        nats = surprise(run_centrally(model, passage[:, :-1], top_k=2), passage[:, 1:])[:, -8:].sum(axis=1)
        right.append(int((nats.reshape(4, 4).argmin(axis=1) == 0).sum()))
    assert got["asked"] == [4] * 4
    assert np.abs(np.subtract(got["answered"], right)).sum() <= 1  # float16 on the way
    assert sum(right) > 16 / 4


def test_a_node_that_is_gone_answers_nothing() -> None:
    answers = Answers(2, 3)

    def batch(*nats: float) -> dict[int, Prediction]:
        empty = np.zeros(3, np.uint8)
        return {k: Prediction(empty, empty, np.array([9.0, 0.0, n, 0.0], np.float32)) for k, n in enumerate(nats)}

    for one in (batch(1, 1), batch(2, 0.5), batch(3, 2), batch(4, 2), batch(2, 1), batch(2), batch(3), batch(4)):
        answers.add(one)
    assert answers.figures() == {"asked": [2, 1], "answered": [1, 0]}


def test_errors_of_channel_estimates_cost_blocks_and_nothing_when_small() -> None:
    still = {**SMALL, "channel.doppler_hz": 0.0}
    none, small, large = (
        figures(make_cell(None, "", {**still, **more}))
        for more in ({}, {"cell.csi_error_db": -90.0}, {"cell.csi_error_db": 0.0})
    )
    assert small["selected"] == none["selected"]
    assert small["failed"] == none["failed"]
    assert large["failed"] / large["sent"] > 0.05 + none["failed"] / none["sent"]
    with pytest.raises(CampaignError, match="csi_error_db needs"):
        figures(make_cell(None, "", {**SMALL, "cell.csi_error_db": -10.0, "cell.fidelity": "waveform"}))


def test_misjudged_channels_err_as_much_as_asked() -> None:
    campaign = load_campaign(None, {"channel.doppler_hz": 0.0, "channel.snr_db": 60.0})
    nodes = np.arange(4)
    truth = fading_world(campaign).sound(nodes, 1e-3)
    misjudged = MisjudgedWorld(campaign, -10.0).sound(nodes, 1e-3)
    link = truth.valid
    error = np.abs(misjudged.h - truth.h)[link] ** 2
    assert error.mean() / (np.abs(truth.h)[link] ** 2).mean() == pytest.approx(0.1, rel=0.1)
    assert (misjudged.h[~link] == 0).all()
