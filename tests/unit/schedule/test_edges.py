"""Selection and joint decisions against the slow answers, over inputs drawn to be awkward."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from testbed.schedule.jesa import jesa
from testbed.schedule.problem import Problem
from testbed.schedule.select import Selection, select_experts
from testbed.schedule.status import Status
from tests.reference.schedule_joint import every_choice, hopeless, reachable
from tests.reference.schedule_select import every_subset, top_scores

SCORES = st.sampled_from([0.0, 0.0, 0.1, 0.125, 0.25, 0.25, 0.5])
ENERGIES = st.one_of(st.sampled_from([0.0, 1.0, 1.0, 2.0, np.inf]), st.floats(1e-3, 1e3))
SHARES = st.sampled_from([0.0, 0.2, 0.5, 0.625, 0.75, 0.95, 1.0, 1.5])


@st.composite
def selections(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, np.ndarray, int]:
    """Scores and energies with ties, zeros and infinities, or energy proportional to score; from no token on."""
    tokens, experts = draw(st.integers(0, 4)), draw(st.integers(1, 7))
    score = draw(arrays(float, (tokens, experts), elements=SCORES))
    energy = draw(arrays(float, (tokens, experts), elements=ENERGIES))
    if draw(st.booleans()):
        energy = 3.0 * score
    if draw(st.booleans()):
        energy[:, 0] = 0.0  # a free local expert
    need = draw(arrays(float, tokens, elements=SHARES))
    return score, energy, need, draw(st.integers(1, experts + 1))


def assert_exact(found: Selection, score: np.ndarray, energy: np.ndarray, need: np.ndarray, limit: int) -> None:
    for n in range(len(score)):
        best = every_subset(score[n], energy[n], need[n], limit)
        chosen = np.flatnonzero(found.selected[n])
        assert len(chosen) <= limit
        assert found.relaxed[n] == (best is None)
        if best is None:
            best_scores = [score[n, j] for j in top_scores(score[n], energy[n], limit)]
            assert sorted(score[n, chosen]) == sorted(best_scores)
        else:
            assert found.energy_j[n] == pytest.approx(best, rel=1e-12, abs=1e-15)
            assert score[n, chosen].sum() >= need[n] - 2e-12
        assert found.energy_j[n] == pytest.approx(energy[n, chosen].sum())
        assert found.bound_j[n] <= found.energy_j[n]


@settings(max_examples=150, deadline=None)
@given(selections(), st.sampled_from(["auto", "search", "table"]))
def test_selection_equals_every_subset(case: tuple[np.ndarray, np.ndarray, np.ndarray, int], method: str) -> None:
    score, energy, need, limit = case
    found = select_experts(score, energy, need, limit, method=method)
    assert found.status is Status.OPTIMAL
    assert_exact(found, score, energy, need, limit)


@settings(max_examples=60, deadline=None)
@given(selections(), st.sampled_from([1, 3, 1000]))
def test_the_plain_bound_and_limits_stay_honest(
    case: tuple[np.ndarray, np.ndarray, np.ndarray, int], nodes: int
) -> None:
    score, energy, need, limit = case
    for bound in ("both", "lp"):
        found = select_experts(score, energy, need, limit, bound=bound, node_limit=nodes, method="search")
        for n in range(len(score)):
            best = every_subset(score[n], energy[n], need[n], limit)
            if best is not None:
                assert found.bound_j[n] <= best * (1 + 1e-12) + 1e-15
                assert best <= found.energy_j[n] * (1 + 1e-12) + 1e-15
                assert score[n, found.selected[n]].sum() >= need[n] - 2e-12


@settings(max_examples=60, deadline=None)
@given(selections(), st.sampled_from([0.01, 0.1, 0.5]))
def test_a_gap_is_kept(case: tuple[np.ndarray, np.ndarray, np.ndarray, int], gap: float) -> None:
    score, energy, need, limit = case
    found = select_experts(score, energy, need, limit, gap=gap, method="search")
    exact = select_experts(score, energy, need, limit)
    assert np.all(found.energy_j * (1 - gap) <= exact.energy_j * (1 + 1e-12))
    assert np.all(found.bound_j <= exact.energy_j * (1 + 1e-12))


@settings(max_examples=60, deadline=None)
@given(selections(), st.randoms(use_true_random=False))
def test_the_order_of_experts_does_not_change_the_energy(
    case: tuple[np.ndarray, np.ndarray, np.ndarray, int], random: object
) -> None:
    score, energy, need, limit = case
    order = list(range(score.shape[1]))
    random.shuffle(order)  # type: ignore[attr-defined]
    one = select_experts(score, energy, need, limit)
    other = select_experts(score[:, order], energy[:, order], need, limit)
    np.testing.assert_array_equal(one.relaxed, other.relaxed)
    # Equal scores of a relaxed token go to the cheaper expert, so that its energy is one number too.
    np.testing.assert_allclose(one.energy_j, other.energy_j, rtol=1e-12)


@st.composite
def rounds(draw: st.DrawFn) -> Problem:
    """Tiny rounds: dead links, one-way reachability, K(K−1) > M, a return phase, free experts, equal rates."""
    K, tokens = draw(st.integers(1, 3)), draw(st.integers(0, 3))
    rate = st.sampled_from([0.0, 1e6, 1e6, 2e6, 3.7e6, 5.1e6])
    rates = [draw(arrays(float, (K, K, draw(st.integers(1, 4))), elements=rate)) for _ in range(2)]
    parts = draw(arrays(float, (tokens, K), elements=st.sampled_from([1.0, 2.0, 3.0, 5.5])))
    return Problem(
        score=parts / parts.sum(axis=1, keepdims=True),
        source=draw(arrays(np.int64, tokens, elements=st.integers(0, K - 1))),
        rate_bps=rates[0],
        return_rate_bps=rates[1] if draw(st.booleans()) else None,
        payload_bits=1e5,
        tx_power_w=1e-2,
        compute_energy_j=draw(arrays(float, K, elements=st.sampled_from([0.0, 1e-4, 3e-4, 1e-3, np.inf]))),
        qos=draw(arrays(float, tokens, elements=st.sampled_from([0.0, 0.3, 0.5, 0.7, 1.0]))),
        max_experts=draw(st.integers(1, 3)),
    )


@settings(max_examples=150, deadline=None)
@given(rounds())
def test_joint_equals_exhaustive_search(problem: Problem) -> None:
    found = jesa(problem)
    kept = hopeless(problem)
    lost = set(kept)
    reach = reachable(problem)
    assert not (found.selected & ~reach[problem.source]).any()
    best = every_choice(problem, kept)
    assert (found.status is Status.SCARCE) == (best == np.inf)
    if best < np.inf:
        assert set(np.flatnonzero(found.relaxed)) == lost
        assert all(set(np.flatnonzero(found.selected[n])) == set(kept[n]) for n in lost)
        assert best * (1 - 1e-9) <= found.total_energy_j <= best * 1.0005 + 1e-18
        assert found.bound_j <= best * (1 + 1e-9)
        met = (problem.score * found.selected).sum(axis=1) >= problem.required - 2e-12
        assert (met | found.relaxed).all()
    else:
        assert set(np.flatnonzero(found.relaxed)) >= lost
        assert np.isfinite(found.total_energy_j)


@settings(max_examples=50, deadline=None)
@given(rounds(), st.randoms(use_true_random=False))
def test_the_order_of_tokens_and_nodes_does_not_change_the_energy(problem: Problem, random: object) -> None:
    nodes, tokens = list(range(problem.nodes)), list(range(problem.tokens))
    random.shuffle(nodes)  # type: ignore[attr-defined]
    random.shuffle(tokens)  # type: ignore[attr-defined]
    back = problem.return_rate_bps
    other = replace(
        problem,
        score=problem.score[tokens][:, nodes],
        source=np.argsort(nodes)[problem.source[tokens]],
        qos=problem.required[tokens],
        rate_bps=problem.rate_bps[nodes][:, nodes],
        return_rate_bps=None if back is None else back[nodes][:, nodes],
        compute_energy_j=problem.compute_energy_j[nodes],
    )
    one, two = jesa(problem), jesa(other)
    assert (one.status is Status.SCARCE) == (two.status is Status.SCARCE)
    if one.status is not Status.SCARCE:
        assert one.total_energy_j == pytest.approx(two.total_energy_j, rel=1e-9, abs=1e-15)
