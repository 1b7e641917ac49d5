from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from scipy import stats

from testbed.record import totals as t
from tests.unit.record import factory


@pytest.fixture
def run(seed):
    shape = factory.shape()
    made = factory.rounds(seed, shape, passes=2)
    records = tuple(r for r, _ in made)
    return SimpleNamespace(
        rounds=records, shape=shape, predictions=tuple(p for _, p in made), summary=factory.summary(records)
    )


def test_totals_agree_with_the_closing_figures(run):
    sums, closing = t.totals(run.rounds), run.summary
    assert (sums.rounds, sums.tokens, sums.lost) == (closing.rounds, closing.tokens, closing.tokens_lost)
    assert sums.relaxed == closing.tokens_relaxed
    assert sums.block_error_rate == pytest.approx(closing.block_error_rate)
    assert sums.spent_j == pytest.approx(closing.energy_spent_j)
    assert sums.predicted_j == pytest.approx(closing.energy_predicted_j)


def test_tokens_that_died_with_their_node_are_known_to_the_run_alone(run):
    run.summary = replace(run.summary, tokens=999, tokens_lost=99)
    assert (t.closing(run).tokens, t.closing(run).lost) == (999, 99)
    assert t.closing(run).sent == t.totals(run.rounds).sent
    run.summary = None
    assert t.closing(run) == t.totals(run.rounds)


def test_energy_by_layer_adds_up_to_the_total(run):
    layers, predicted, spent, bound = t.energy_by_layer(run)
    assert layers == [0, 1, 2, 3]
    assert spent.sum() == pytest.approx(t.totals(run.rounds).spent_j)
    assert predicted.sum() == pytest.approx(t.totals(run.rounds).predicted_j)
    second = [r for r in run.rounds if r.layer == 1]
    assert spent[1, 2] == pytest.approx(sum(r.spent.back.sum() for r in second))
    assert bound[1] == pytest.approx(sum(r.bound_j for r in second))


def test_choices_are_shares_of_a_nodes_tokens(run):
    for layer, share in t.choices_by_layer(run).items():
        records = [r for r in run.rounds if r.layer == layer]
        for i in range(4):
            mine = np.concatenate([r.selected[r.source == i] for r in records])
            np.testing.assert_allclose(share[i], mine.mean(0))


def test_a_node_without_tokens_has_no_share(run):
    record = run.rounds[0]
    kept = record.source != 2
    cut = {name: getattr(record, name)[kept] for name in ("source", "score", "selected", "relaxed", "lost")}
    run.rounds = (replace(record, **cut),)
    share = t.choices_by_layer(run)[0]
    assert np.isnan(share[2]).all()
    assert np.isfinite(share[[0, 1, 3]]).all()


def test_gains_are_means_over_the_rounds_that_measured_the_link(run):
    first, second, *_ = run.rounds
    half = replace(second.measured, valid=second.measured.valid & (np.arange(4) != 1))
    run.rounds = (first, replace(second, measured=half))
    seen = t.gains(run)
    one, two = (np.abs(r.measured.h.astype(complex)) ** 2 for r in (first, second))
    np.testing.assert_allclose(seen["mean"][0, 1], one[0, 1])
    np.testing.assert_allclose(seen["mean"][0, 2], (one + two)[0, 2] / 2)
    np.testing.assert_allclose(seen["range"][1][0, 2], np.maximum(one, two)[0, 2])
    assert not seen["measured"].diagonal().any()
    assert seen["measured"].sum() == 12


def test_blocks_by_layer_count_each_block_once(run):
    labels, counts, rates = t.blocks_by_layer(run)
    assert labels[:2] == ["0 →", "0 ←"]
    assert counts.sum() == t.totals(run.rounds).sent
    first = [r.forward for r in run.rounds if r.layer == 0]
    assert rates[0] == pytest.approx(sum(f.failed.sum() for f in first) / sum(f.sent.sum() for f in first))


def test_accuracy_has_the_binomial_standard_error(run):
    overall, *nodes = t.accuracies(run.predictions)
    made = [p for p in run.predictions if p is not None]
    right = np.concatenate([p.predicted == p.target for p in made])
    assert overall.run == pytest.approx(right.mean())
    assert overall.run_error == pytest.approx(stats.binom.std(right.size, right.mean()) / right.size)
    assert [a.scored for a in nodes] == [32] * 4
    assert np.mean([a.central for a in nodes]) == pytest.approx(overall.central)


def test_no_accuracy_where_no_batch_was_finished(run):
    run.predictions = (None,) * len(run.rounds)
    assert t.accuracies(run.predictions) == []


def test_seconds_are_means_over_timed_rounds(run):
    timed = {"gate": 1.0}, {"gate": 2.0, "send": 1.0}, {}
    run.rounds = tuple(replace(run.rounds[0], seconds=seconds) for seconds in timed)
    assert t.seconds_by_phase(run) == {"gate": 1.5, "send": 0.5}
