"""Whole rounds in one process: what crosses the air is what the experts get, and the books balance."""

from __future__ import annotations

import time
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np
import pytest

from testbed.agents.assemble import check, passages, round_settings
from testbed.agents.conduct import conduct
from testbed.agents.fading_world import channel_fleet
from testbed.campaign import load_campaign
from testbed.errors import NodeLost
from testbed.experts.central import run_choosing
from testbed.fleet import Care
from testbed.ofdm.frame_format import MAX_SYMBOLS
from testbed.protocol import Node
from testbed.radio.channel import frequency_response
from tests.system.rounds import Run, run


@pytest.fixture(scope="module")
def good() -> Run:
    """A run over good channels."""
    return run({"channel.snr_db": 30.0})


def arrays_of(value: Any, name: str = "") -> dict[str, Any]:
    """Every leaf of a record by name, wall times apart."""
    if is_dataclass(value):
        parts = [arrays_of(getattr(value, f.name), f"{name}.{f.name}") for f in fields(value) if f.name != "seconds"]
        return {key: leaf for part in parts for key, leaf in part.items()}
    return {name: value}


def assert_same(one: Run, other: Run) -> None:
    assert len(one.records) == len(other.records)
    for mine, theirs in zip(one.records, other.records, strict=True):
        left, right = arrays_of(mine), arrays_of(theirs)
        assert left.keys() == right.keys()
        for name in left:
            np.testing.assert_array_equal(left[name], right[name], err_msg=name)


def test_one_seed_gives_equal_records_and_another_does_not(good: Run) -> None:
    assert_same(good, run({"channel.snr_db": 30.0}))
    other = run({"channel.snr_db": 30.0, "seed": 2})
    assert not np.array_equal(good.records[0].measured.h, other.records[0].measured.h)


def test_csi_comes_from_samples_and_agrees_with_the_channel(good: Run) -> None:
    grid = good.campaign.ofdm_grid()
    measured = good.records[0].measured
    assert measured.valid.sum() == 12
    for i, j in np.argwhere(measured.valid):
        truth = frequency_response(good.air.truth(i, j), 0.0, grid.frequency_hz)
        shift = np.exp(-2j * np.pi * np.outer(np.linspace(-40, 40, 1601) / grid.fft_size, grid.offsets))
        match = np.abs(shift @ (measured.h[i, j].conj() * truth)).max()
        assert match / np.linalg.norm(measured.h[i, j]) / np.linalg.norm(truth) > 0.98


def test_measured_carrier_offsets_are_the_crystals(good: Run) -> None:
    ppm = np.array(good.air.settings.clock_ppm)
    offset_hz = (ppm[:, None] - ppm[None, :]) * 1e-6 * good.campaign.radio.centre_hz
    measured = good.records[0].measured
    np.testing.assert_allclose(measured.cfo_hz[measured.valid], offset_hz[measured.valid], atol=100)


def test_measured_snr_is_what_the_link_budget_says(good: Run) -> None:
    snr_db = 10 * np.log10(good.records[0].measured.snr[good.records[0].measured.valid].mean())
    assert abs(snr_db - 30.0) < 4.0  # shadowing and fading of twelve links around the mean


def test_every_token_meets_its_quality_or_is_relaxed(good: Run) -> None:
    for record in good.records:
        reached = (record.score * record.selected).sum(axis=1)
        assert np.all((reached >= record.qos - 1e-9) | record.relaxed)
        assert record.selected.sum(axis=1).max() <= good.campaign.schedule.max_experts


def test_subcarriers_serve_one_link_each_and_only_active_ones(good: Run) -> None:
    K = good.campaign.nodes.count
    for record in good.records:
        for traffic in (record.forward, record.back):
            used = traffic.subcarrier_link[traffic.subcarrier_link >= 0]
            links = {int(link) for link in used}
            assert {i * K + j for i, j in np.argwhere(traffic.sent > 0)} <= links
            assert np.all((traffic.mcs.ravel()[list(links)]) >= 0)


def test_nothing_is_lost_over_good_channels_and_the_answer_is_the_models(good: Run) -> None:
    """The oracle runs the whole model in one place, forced to the experts that the run chose."""
    assert good.totals.lost == 0
    context, own = good.campaign.nodes.context, good.predictions[0]
    for k in range(good.campaign.nodes.count):
        selected = [record.selected[record.source == k] for record in good.records]

        def choose(layer: int, scores: Any, selected: Any = selected, k: int = k) -> Any:
            chosen = np.zeros(scores.shape, bool)
            chosen[:context, k] = True
            chosen[context:] = selected[layer]
            return chosen

        passage = passages(good.campaign, good.model, k)[0, :-1]
        logits = run_choosing(good.model, passage, choose, good.campaign.model.temperature)
        np.testing.assert_array_equal(logits[context:].argmax(axis=-1), own.predicted[own.node == k])


def test_books_balance(good: Run) -> None:
    settings = round_settings(good.campaign, good.model)
    for record in good.records:
        remote = record.selected.copy()
        remote[np.arange(record.source.size), record.source] = False
        first_attempts = record.forward.sent.sum() - record.forward.failed.sum() + record.forward.given_up.sum()
        assert first_attempts == remote.sum()
        assert record.back.sent.sum() >= remote.sum() - record.forward.given_up.sum()
        used = record.selected.sum(axis=0)
        np.testing.assert_allclose(record.spent.computation, used * settings.compute_energy_j)
        assert record.spent.forward[record.forward.sent == 0].sum() == 0
        assert record.bound_j <= record.predicted.total_j() * (1 + 1e-9)


def test_spent_energy_is_near_the_prediction_when_nothing_fails(good: Run) -> None:
    for record in good.records:
        if record.forward.failed.sum() == 0 and record.predicted.forward.sum() > 0:
            ratio = record.spent.forward.sum() / record.predicted.forward.sum()
            assert 0.7 < ratio < 1.6


def test_silence_everywhere_when_nothing_can_be_heard() -> None:
    deaf = run({"channel.snr_db": -25.0})
    for record in deaf.records:
        assert not record.measured.valid.any()
        assert record.forward.sent.sum() == 0
    assert deaf.totals.relaxed > 0
    assert deaf.totals.rounds == deaf.model.layers


def test_bad_channels_cost_retransmissions_and_tokens_not_the_run() -> None:
    rough = run({"channel.snr_db": 6.0, "transmission.margin_db": 0.0, "transmission.attempts": 1, "nodes.tokens": 8})
    assert rough.totals.rounds == rough.model.layers
    assert rough.totals.given_up == rough.totals.failed > 0  # one attempt: what fails is given up
    assert 0 < rough.totals.lost < rough.totals.tokens
    for record in rough.records:
        assert record.lost.sum() >= record.fallback.sum()


def test_a_single_hop_price_leaves_the_way_back_working() -> None:
    one_way = run({"schedule.hops": 1, "channel.snr_db": 30.0})
    assert one_way.totals.lost == 0
    assert sum(record.back.sent.sum() for record in one_way.records) > 0


def test_fewer_nodes_than_experts_choose_among_those_that_are_there() -> None:
    two = run({"nodes.count": 2, "nodes.compute_energy_j": 1e-10, "channel.snr_db": 30.0})
    assert two.totals.lost == 0
    for record in two.records:
        assert record.score.shape[1] == 2
        np.testing.assert_allclose(record.score.sum(axis=1), 1.0)


def test_more_blocks_than_a_frame_holds_take_several_frames() -> None:
    """One subcarrier a link in bad channels: a link's tokens need more symbols than one frame has."""
    campaign = load_campaign(
        None, {"nodes.tokens": 96, "nodes.context": 8, "channel.snr_db": 2.0, "schedule.fill_energy_factor": 1.0}
    )
    model, records = check(campaign), []
    conduct(
        campaign,
        model,
        channel_fleet(campaign, model),
        on_round=lambda record, predictions: records.append(record),
        stopping=lambda: False,
        clock=time.monotonic,
    )
    assert len(records) == model.layers
    longest_s = MAX_SYMBOLS * campaign.ofdm_grid().symbol_s
    assert max(record.forward.air_time_s for record in records) > longest_s


class Dying:
    """A node that is lost when it is asked for `verb` the `count`-th time."""

    def __init__(self, node: Node, verb: str, count: int) -> None:
        self._node, self._verb, self._left = node, verb, count

    def __getattr__(self, name: str) -> Any:
        if name == self._verb:
            self._left -= 1
        if self._left <= 0 and name in ("begin", "sound", "measure", "gate", "send", "receive", "compute", "aggregate"):
            raise NodeLost(f"node {self._node.index} died at {name}")
        return getattr(self._node, name)


@pytest.mark.parametrize("verb", ["begin", "sound", "measure", "gate", "send", "receive", "compute", "aggregate"])
def test_a_node_that_dies_at_any_step_is_left_out_and_the_run_goes_on(verb: str) -> None:
    def disturb(node: Node) -> Node:
        return Dying(node, verb, 1) if node.index == 1 else node  # type: ignore[return-value]

    survived = run({"channel.snr_db": 30.0, "schedule.qos": 1.0}, disturb)
    assert survived.totals.rounds == survived.model.layers
    dead = [record for record in survived.records if not record.alive[1]]
    assert dead
    assert any("node 1 dropped" in event for record in survived.records for event in record.events)
    for record in dead[1:]:
        assert not record.selected[:, 1].any()
        assert (record.source != 1).all()
        assert not record.measured.valid[1].any()
    tokens = survived.campaign.nodes.tokens
    assert survived.totals.tokens == survived.totals.rounds * tokens * survived.campaign.nodes.count
    assert survived.totals.lost >= tokens * len(dead)


class Fainting(Dying):
    """A node that is lost once, when it is asked for `verb` the `count`-th time, and comes back."""

    def __getattr__(self, name: str) -> Any:
        if name == self._verb:
            self._left -= 1
            if self._left == 0:
                raise NodeLost(f"node {self._node.index} fainted at {name}")
        return getattr(self._node, name)


STEPS = ["sound", "measure", "gate", "send", "receive", "compute", "aggregate", "predict"]


@pytest.mark.parametrize("verb", STEPS)
@pytest.mark.parametrize("count", [1, 3])
def test_a_node_that_comes_back_loses_no_token_and_counts_none_twice(good: Run, verb: str, count: int) -> None:
    def disturb(node: Node) -> Node:
        return Fainting(node, verb, count) if node.index == 1 else node  # type: ignore[return-value]

    count = 1 if verb == "predict" else count
    survived = run({"channel.snr_db": 30.0}, disturb, Care(back=lambda node: True))
    K, N, L = survived.campaign.nodes.count, survived.campaign.nodes.tokens, survived.model.layers
    ended = [(record.layer, int(k)) for record in survived.records for k in record.source]
    assert sorted(ended) == sorted((layer, k) for layer in range(L) for k in range(K) for _ in range(N))
    assert survived.totals.tokens == L * K * N
    assert survived.totals.lost == sum(int(record.lost.sum()) for record in survived.records)
    nodes = np.concatenate([p.node for p in survived.predictions])
    assert sorted(nodes) == sorted(np.repeat(np.arange(K), N))
    events = [event for record in survived.records for event in record.events]
    assert any("node 1 dropped" in event for event in events)
    assert "node 1 is back" in events
    assert len(survived.records) == L + 1  # its layer was done again, for its own tokens alone
    assert {int(k) for record in survived.records for k in record.source if record.source.size == N} == {1}
