"""Subcarrier assignment against scipy, and its duals against weak duality."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.optimize import linear_sum_assignment

from testbed.errors import ProblemError
from testbed.schedule.assign import Assignment, _assign, _assign_anew, assign_many, assign_subcarriers
from testbed.schedule.candidates import candidate_lists
from testbed.schedule.status import Status

SIZES = [(1, 1), (3, 3), (5, 8), (12, 64), (40, 40), (56, 256), (60, 700), (130, 130), (600, 610)]


def rayleigh_costs(rng: np.random.Generator, links: int, subcarriers: int) -> np.ndarray:
    return 1 / np.log2(1.001 + 10 * rng.exponential(size=(links, subcarriers)))


def assert_optimal(found: Assignment, cost: np.ndarray, weight: np.ndarray) -> None:
    """Injective, priced right, and equal to the dual value, which no assignment can undercut."""
    active = weight > 0
    held = found.subcarrier[active]
    assert np.unique(held).size == active.sum()
    assert np.all(found.subcarrier[~active] == -1)
    weighted = cost[active] * weight[active, None]
    assert found.total == pytest.approx(weighted[np.arange(len(held)), held].sum(), rel=1e-12)
    assert np.all(found.duals >= 0)
    assert (weighted + found.duals).min(axis=1, initial=np.inf).sum() - found.duals.sum() == pytest.approx(
        found.total, rel=1e-9, abs=1e-12
    )


@pytest.mark.parametrize(("links", "subcarriers"), SIZES)
@pytest.mark.parametrize("warm", [False, True])
def test_equals_scipy_and_duals_prove_it(rng: np.random.Generator, links: int, subcarriers: int, warm: bool) -> None:
    for _ in range(3 if links > 100 else 10):
        cost = rayleigh_costs(rng, links, subcarriers)
        weight = rng.integers(0, 20, links).astype(float)
        found = assign_subcarriers(cost, weight, candidates=candidate_lists(cost) if warm else None)
        weighted = cost[weight > 0] * weight[weight > 0, None]
        rows, columns = linear_sum_assignment(weighted)
        assert found.total == pytest.approx(weighted[rows, columns].sum(), rel=1e-12)
        assert_optimal(found, cost, weight)


@pytest.mark.parametrize("kind", ["whole numbers", "product", "constant", "holes"])
@pytest.mark.parametrize(("links", "subcarriers"), [(20, 20), (40, 65), (60, 300), (96, 97), (20, 900)])
@pytest.mark.parametrize("warm", [False, True])
def test_price_wars_and_ties_end_in_the_optimum(
    rng: np.random.Generator, kind: str, links: int, subcarriers: int, warm: bool
) -> None:
    """Costs on which bidding alone would not end, so that paths are searched on lists and on full rows."""
    shape = links, subcarriers
    cost = {
        "whole numbers": rng.integers(1, 10, shape).astype(float),
        "product": np.outer(rng.random(links), rng.random(subcarriers)),
        "constant": np.ones(shape),
        "holes": np.where(rng.random(shape) < 0.7, np.inf, rng.random(shape)),
    }[kind]
    weight = rng.integers(1, 4, links).astype(float)
    found = assign_subcarriers(cost, weight, candidates=candidate_lists(cost) if warm else None)
    weighted = np.where(np.isfinite(cost), cost, 1e6) * weight[:, None]
    rows, columns = linear_sum_assignment(weighted)
    assert found.total == pytest.approx(weighted[rows, columns].sum(), rel=1e-9)
    assert_optimal(found, cost, weight)


@pytest.mark.parametrize("width", [1, 2, 5])
def test_lists_that_are_too_short_change_nothing(rng: np.random.Generator, width: int) -> None:
    for _ in range(20):
        cost, weight = rayleigh_costs(rng, 20, 24), rng.integers(1, 9, 20).astype(float)
        short = assign_subcarriers(cost, weight, candidates=candidate_lists(cost, width))
        assert short.total == pytest.approx(assign_subcarriers(cost, weight).total, rel=1e-12)
        assert_optimal(short, cost, weight)


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_ties_zeros_and_unusable_subcarriers(data: st.DataObject) -> None:
    links, extra = data.draw(st.integers(1, 7)), data.draw(st.integers(0, 4))
    levels = st.sampled_from([0.0, 1.0, 1.0, 2.0, 3.0, np.inf])
    cost = data.draw(arrays(float, (links, links + extra), elements=levels))
    weight = data.draw(arrays(float, links, elements=st.sampled_from([0.0, 1.0, 2.0])))
    lists = candidate_lists(cost, data.draw(st.integers(1, 4))) if data.draw(st.booleans()) else None
    found = assign_subcarriers(cost, weight, candidates=lists)
    active = weight > 0
    weighted = np.where(np.isfinite(cost[active]), cost[active] * weight[active, None], 1e6)
    rows, columns = linear_sum_assignment(weighted)
    if (weighted[rows, columns] >= 1e6).any():
        assert found.status is Status.SCARCE
        assert len(found.unserved) == (weighted[rows, columns] >= 1e6).sum()
    else:
        assert found.status is Status.OPTIMAL
        assert found.total == pytest.approx(weighted[rows, columns].sum(), abs=1e-12)
        assert_optimal(found, cost, weight)


def test_many_weights_equal_one_by_one(rng: np.random.Generator) -> None:
    cost = rayleigh_costs(rng, 12, 20)
    lists, weights = candidate_lists(cost), rng.integers(0, 9, (8, 12)).astype(float)
    subcarriers, totals = assign_many(lists, weights)
    for weight, subcarrier, total in zip(weights, subcarriers, totals, strict=True):
        one = assign_subcarriers(cost, weight)
        assert total == pytest.approx(one.total, rel=1e-12)
        np.testing.assert_array_equal(subcarrier >= 0, weight > 0)
    assert assign_many(candidate_lists(cost[:, :3]), np.ones((1, 12)))[1] == np.inf


@pytest.mark.parametrize(("subcarriers", "width"), [(5, 3), (64, 16), (700, 16), (700, 64), (701, 33)])
def test_lists_hold_the_cheapest_in_order(rng: np.random.Generator, subcarriers: int, width: int) -> None:
    cost = rng.integers(1, 1000, (9, subcarriers)).astype(float)
    cost[rng.random(cost.shape) < 0.3] = np.inf
    cost[4], cost[5, 1:] = np.inf, np.inf
    lists = candidate_lists(cost, width)
    np.testing.assert_array_equal(lists.price, np.sort(cost, axis=1)[:, :width])
    for link in range(9):
        listed = lists.column[link][np.isfinite(lists.price[link])]
        np.testing.assert_array_equal(cost[link, listed], lists.price[link][: listed.size])
        assert np.unique(listed).size == listed.size
        assert np.all(lists.column[link][listed.size :] == -1)


def test_more_links_than_subcarriers_is_reported() -> None:
    found = assign_subcarriers(np.ones((4, 3)), np.ones(4))
    assert found.status is Status.SCARCE
    assert len(found.unserved) == 1
    assert (found.subcarrier >= 0).sum() == 3


def test_idle_and_dead_links_harm_nobody() -> None:
    cost = np.array([[1.0, 2.0], [np.inf, np.inf], [1.0, 5.0]])
    found = assign_subcarriers(cost, [1.0, 0.0, 1.0])
    assert list(found.subcarrier) == [1, -1, 0]
    assert assign_subcarriers(cost, [1.0, 1.0, 1.0]).unserved == (1,)


@pytest.mark.parametrize("columns", [2, 600])
@pytest.mark.parametrize("bad", [np.nan, -np.inf])
def test_what_is_no_cost_is_refused(columns: int, bad: float) -> None:
    cost = np.ones((3, columns))
    cost[2, 1] = bad
    with pytest.raises(ProblemError, match=r"cost\[2, 1\] = "):
        assign_subcarriers(cost, np.ones(3))


@pytest.mark.parametrize("bad", [np.nan, -1.0, np.inf])
def test_what_is_no_weight_is_refused(bad: float) -> None:
    cost = np.ones((2, 3))
    for lists in (None, candidate_lists(cost)):
        with pytest.raises(ProblemError, match=r"weight\[1\] = "):
            assign_subcarriers(cost, [1.0, bad], candidates=lists)


def test_wrong_shapes_are_refused() -> None:
    with pytest.raises(ProblemError, match="weight has shape"):
        assign_subcarriers(np.ones((2, 3)), np.ones(3))
    with pytest.raises(ProblemError, match="cost has shape"):
        assign_subcarriers(np.ones(3), np.ones(3))


def test_other_types_are_converted_and_not_compiled_for(rng: np.random.Generator) -> None:
    cost, weight = rayleigh_costs(rng, 5, 8), rng.integers(1, 9, 5).astype(float)
    plain, lists = assign_subcarriers(cost, weight), candidate_lists(cost)
    assign_subcarriers(cost, weight, candidates=lists)
    known = [kernel.signatures for kernel in (_assign, _assign_anew)]
    for others in (cost.tolist(), np.asfortranarray(cost), np.repeat(cost, 2, axis=1)[:, ::2]):
        for weights in (weight.tolist(), weight.astype(int), np.repeat(weight, 2)[::2]):
            assert assign_subcarriers(others, weights).total == plain.total
            assert assign_subcarriers(others, weights, candidates=lists).total == pytest.approx(plain.total, rel=1e-12)
    assert [kernel.signatures for kernel in (_assign, _assign_anew)] == known
