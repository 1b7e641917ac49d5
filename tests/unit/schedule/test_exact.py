"""The integer programs against exhaustive search, and the certificate against both."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from testbed.errors import ProblemError
from testbed.schedule.baselines import lower_bound
from testbed.schedule.cover import can_be_served, pairs_used
from testbed.schedule.exact import feasible_choice, jesa_exact, select_exact
from testbed.schedule.jesa import jesa
from testbed.schedule.problem import Problem
from testbed.schedule.serve import best_hops, pair_prices, select_at
from testbed.schedule.status import Status
from tests.reference.schedule_joint import every_choice
from tests.reference.schedule_select import every_subset
from tests.unit.schedule.test_jesa import draw


@pytest.mark.parametrize("solver", ["highs", "cbc"])
def test_one_token_equals_every_subset(rng: np.random.Generator, solver: str) -> None:
    for _ in range(3):
        score, energy = rng.dirichlet(np.ones(6)), rng.lognormal(size=6)
        energy[rng.integers(6)] = np.inf
        need = 0.9 * np.sort(np.where(np.isfinite(energy), score, 0.0))[-3:].sum()
        chosen, spent = select_exact(score, energy, need, 3, solver=solver)
        assert spent == pytest.approx(every_subset(score, energy, need, 3))
        assert score[chosen].sum() >= need - 1e-6


@pytest.mark.parametrize("two_hops", [False, True])
@pytest.mark.parametrize("M", [3, 7])
def test_the_joint_program_equals_exhaustive_search(rng: np.random.Generator, two_hops: bool, M: int) -> None:
    compared = 0
    for _ in range(4):
        problem = draw(rng, K=3, M=M, N=3, D=2, qos=0.45, two_hops=two_hops)
        found = jesa_exact(problem)
        if found.relaxed.any() and found.status is not Status.SCARCE:
            continue
        best = every_choice(problem)
        assert (found.status is Status.SCARCE) == (best == np.inf)
        if best < np.inf:
            assert found.total_energy_j == pytest.approx(best, rel=1e-6)
            compared += 1
    assert compared


def test_any_feasible_choice_meets_every_qos(rng: np.random.Generator) -> None:
    problem = draw(rng, K=4, M=4, N=8, D=3, qos=0.4)
    floor = select_at(problem, pair_prices(problem, best_hops(problem)))
    chosen = feasible_choice(problem, floor)
    assert chosen is not None
    assert np.all(((problem.score * chosen).sum(axis=1) >= 0.4 - 1e-9) | floor.relaxed)
    busy = {(int(i), int(j)) for i, j in zip(problem.source[np.nonzero(chosen)[0]], np.nonzero(chosen)[1], strict=True)}
    assert len({pair for pair in busy if pair[0] != pair[1]}) <= 4


@pytest.mark.parametrize("two_hops", [False, True])
def test_a_choice_is_found_where_exhaustive_search_finds_one(rng: np.random.Generator, two_hops: bool) -> None:
    """Also where many subcarriers are dead, so that few links alone do not make a choice feasible."""
    seen = {True: 0, False: 0}
    while min(seen.values()) < 4:
        problem = draw(rng, K=3, M=int(rng.integers(2, 6)), N=3, D=2, qos=0.5, two_hops=two_hops)
        alive = rng.random(problem.rate_bps.shape) > rng.choice([0.0, 0.5, 0.7])
        problem = replace(problem, rate_bps=problem.rate_bps * alive)
        floor = select_at(problem, pair_prices(problem, best_hops(problem)))
        if floor.relaxed.any():
            continue
        chosen, feasible = feasible_choice(problem, floor), bool(every_choice(problem) < np.inf)
        assert (chosen is not None) == feasible
        if chosen is not None:
            assert np.all((problem.score * chosen).sum(axis=1) >= problem.needs)
            assert can_be_served(problem, pairs_used(problem, chosen))
        seen[feasible] += 1


def test_many_nodes_over_few_subcarriers_are_found_infeasible_by_the_covers_of_their_sources() -> None:
    """One program over all sources had not ended after five minutes here."""
    rng = np.random.default_rng(5)
    problem = draw(rng, K=32, M=256, N=1024, D=2, qos=0.0)
    best = np.sort(problem.score, axis=1)[:, -2:].sum(axis=1)
    found = jesa(replace(problem, qos=0.8 * best))
    assert found.status is Status.SCARCE
    assert found.relaxed.any()
    assert len(np.unique(found.subcarrier[found.subcarrier >= 0])) == (found.subcarrier >= 0).sum() <= 256


@pytest.mark.parametrize("solver", ["highs", "cbc"])
def test_no_set_passes_that_meets_its_qos_only_within_a_tolerance(solver: str) -> None:
    score = np.array([0.4, 0.6 - 2e-8, 2e-8])
    chosen, _ = select_exact(score, np.ones(3), 1.0, 3, solver=solver)
    assert chosen.all()
    two_links = Problem(
        score=score[None], source=[0], rate_bps=np.full((3, 3, 1), 1e6), payload_bits=1e5, tx_power_w=1e-2,
        compute_energy_j=np.ones(3), qos=1.0, max_experts=3,
    )  # fmt: skip
    for found in (jesa(two_links), jesa_exact(two_links, solver=solver)):
        assert found.status is Status.SCARCE
    assert jesa_exact(replace(two_links, rate_bps=np.full((3, 3, 2), 1e6)), solver=solver).selected.all()


@pytest.mark.parametrize("scale", [1e-12, 1e12])
def test_the_unit_of_energy_does_not_matter(rng: np.random.Generator, scale: float) -> None:
    problem = draw(rng, K=4, M=9, N=6, D=2, qos=0.45)
    scaled = replace(
        problem, payload_bits=problem.payload_bits * scale, compute_energy_j=problem.compute_energy_j * scale
    )
    best, found = jesa_exact(problem), jesa_exact(scaled)
    assert found.total_energy_j == pytest.approx(scale * best.total_energy_j, rel=1e-9)
    assert found.bound_j == pytest.approx(scale * best.bound_j, rel=1e-6)
    score, energy = problem.score[0], rng.lognormal(size=4)
    spent = select_exact(score, energy * scale, 0.45, 2)[1]
    assert spent == pytest.approx(scale * select_exact(score, energy, 0.45, 2)[1], rel=1e-9)


def test_unknown_solvers_and_hopeless_tokens_are_refused() -> None:
    with pytest.raises(ProblemError, match="solver = 'simplex': choose one of highs, cbc"):
        select_exact(np.ones(2) / 2, np.ones(2), 0.5, 1, solver="simplex")
    with pytest.raises(ProblemError, match=r"qos = 0\.9"):
        select_exact(np.ones(2) / 2, np.ones(2), 0.9, 1)


@pytest.mark.parametrize("two_hops", [False, True])
def test_bounds_lie_in_order(rng: np.random.Generator, two_hops: bool) -> None:
    """LB ≤ certificate ≤ optimum ≤ decision, and the certificate closes at least half of what LB leaves open."""
    opened, closed = [], []
    for _ in range(12):
        problem = draw(rng, K=4, M=13, N=12, D=2, two_hops=two_hops)
        best, found, floor = jesa_exact(problem).total_energy_j, jesa(problem, gap=0.0), lower_bound(problem)
        assert floor.total_energy_j == pytest.approx(floor.bound_j)
        assert floor.bound_j <= found.bound_j * (1 + 1e-9)
        assert found.bound_j <= best * (1 + 1e-6)
        assert best <= found.total_energy_j * (1 + 1e-6)
        opened.append(found.total_energy_j - floor.bound_j)
        closed.append(found.total_energy_j - found.bound_j)
    assert sum(closed) <= 0.5 * sum(opened)
    assert max(closed) <= 0.01 * found.total_energy_j
