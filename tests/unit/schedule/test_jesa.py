"""Joint selection and allocation against exhaustive search and against an integer program."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from testbed.errors import ProblemError
from testbed.schedule.exact import jesa_exact
from testbed.schedule.jesa import jesa
from testbed.schedule.problem import Decision, Problem
from testbed.schedule.status import Status
from tests.reference.schedule_joint import every_choice


def draw(
    rng: np.random.Generator, K: int, M: int, N: int, D: int, *, qos: float = 0.5, two_hops: bool = False
) -> Problem:
    """Rayleigh channels at 10 dB, softmax scores, prices of computing and sending of like size."""
    logits = rng.normal(size=(N, K))
    score = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    rate = [1e6 * np.log2(1 + 10 * rng.exponential(size=(K, K, M))) for _ in range(2)]
    return Problem(
        score=score,
        source=rng.integers(0, K, N),
        rate_bps=rate[0],
        return_rate_bps=rate[1] if two_hops else None,
        payload_bits=65536.0,
        tx_power_w=1e-2,
        compute_energy_j=rng.lognormal(size=K) * 1e-4,
        qos=qos,
        max_experts=D,
    )


def assert_feasible(problem: Problem, decision: Decision) -> None:
    reached = (problem.score * decision.selected).sum(axis=1)
    assert np.all((reached >= problem.required - 1e-9) | decision.relaxed)
    assert decision.selected.sum(axis=1).max(initial=0) <= problem.max_experts
    for held in (decision.subcarrier, decision.return_subcarrier):
        if held is not None:
            used = held[held >= 0]
            assert np.unique(used).size == used.size


@pytest.mark.parametrize("M", [4, 6])
def test_tiny_problems_equal_exhaustive_search(rng: np.random.Generator, M: int) -> None:
    for _ in range(12):
        problem = draw(rng, K=3, M=M, N=3, D=2, qos=0.45)
        found = jesa(problem)
        if found.relaxed.any():
            continue
        best = every_choice(problem)
        assert best * (1 - 1e-9) <= found.total_energy_j <= best * 1.0005
        assert found.bound_j <= best * (1 + 1e-9)


@pytest.mark.parametrize("two_hops", [False, True])
def test_a_hundred_joint_problems_come_close_to_the_integer_program(rng: np.random.Generator, two_hops: bool) -> None:
    gaps = []
    for case in range(50):
        K = 3 + case % 2
        problem = draw(rng, K, M=K * (K - 1) + case % 5, N=3 + case % 3, D=2, two_hops=two_hops)
        found, best = jesa(problem), jesa_exact(problem)
        assert_feasible(problem, found)
        assert found.bound_j <= best.total_energy_j * (1 + 1e-6)
        gaps.append(found.total_energy_j / best.total_energy_j - 1)
    assert min(gaps) > -1e-6
    assert np.mean(gaps) <= 2e-4
    assert max(gaps) <= 5e-4


def test_more_links_than_subcarriers_stays_feasible_and_close(rng: np.random.Generator) -> None:
    gaps = []
    for _ in range(12):
        problem = draw(rng, K=4, M=5, N=6, D=3, qos=0.4)
        found, best = jesa(problem), jesa_exact(problem)
        if best.status is Status.SCARCE:
            continue
        assert found.status is not Status.SCARCE
        assert_feasible(problem, found)
        gaps.append(found.total_energy_j / best.total_energy_j - 1)
    assert len(gaps) >= 6
    assert min(gaps) > -1e-6
    assert np.mean(gaps) <= 2e-3


def test_both_methods_are_monotone_and_full_is_never_worse(rng: np.random.Generator) -> None:
    for _ in range(20):
        problem = draw(rng, K=5, M=24, N=12, D=2)
        plain, full = jesa(problem, method="alternate"), jesa(problem)
        for decision in (plain, full):
            assert np.all(np.diff(decision.trace) <= 1e-12 * decision.trace[0])
            assert_feasible(problem, decision)
        assert full.total_energy_j <= jesa(problem, method="alternate", start="lb").total_energy_j * (1 + 1e-12)
        assert full.bound_j <= full.total_energy_j


@pytest.mark.parametrize(("M", "scarce"), [(20, False), (2, True)])
def test_the_order_of_tokens_and_of_nodes_does_not_change_the_energy(
    rng: np.random.Generator, M: int, scarce: bool
) -> None:
    for _ in range(10):
        problem = draw(rng, K=5, M=M, N=10, D=2)
        found = jesa(problem)
        assert (found.status is Status.SCARCE) == scarce
        energy = found.total_energy_j
        tokens, nodes = rng.permutation(10), rng.permutation(5)
        shuffled = replace(problem, score=problem.score[tokens], source=problem.source[tokens])
        assert jesa(shuffled).total_energy_j == pytest.approx(energy, rel=1e-9)
        renamed = replace(
            problem,
            score=problem.score[:, nodes],
            source=np.argsort(nodes)[problem.source],
            rate_bps=problem.rate_bps[nodes][:, nodes],
            compute_energy_j=problem.compute_energy_j[nodes],
        )
        assert jesa(renamed).total_energy_j == pytest.approx(energy, rel=1e-9)


def test_the_same_problem_gives_the_same_decision(rng: np.random.Generator) -> None:
    problem = draw(rng, K=5, M=16, N=12, D=3)
    one, other = jesa(problem), jesa(problem)
    np.testing.assert_array_equal(one.selected, other.selected)
    np.testing.assert_array_equal(one.subcarrier, other.subcarrier)


def test_a_warm_start_is_never_worse_than_what_it_starts_from(rng: np.random.Generator) -> None:
    problem = draw(rng, K=5, M=24, N=20, D=2)
    before = jesa(problem)
    assert jesa(problem, previous=before).total_energy_j <= before.total_energy_j * (1 + 1e-12)
    later = replace(problem, rate_bps=problem.rate_bps * rng.uniform(0.9, 1.1, problem.rate_bps.shape))
    assert_feasible(later, jesa(later, previous=before))


def test_when_all_best_subcarriers_differ_the_bound_is_reached(rng: np.random.Generator) -> None:
    problem = draw(rng, K=3, M=64, N=12, D=2)
    best = problem.rate_bps.argmax(axis=2)[~np.eye(3, dtype=bool)]
    rate = problem.rate_bps.copy()
    for (i, j), m in zip(np.argwhere(~np.eye(3, dtype=bool)), rng.permutation(64)[: best.size], strict=True):
        rate[i, j, m] = 1e8
    found = jesa(replace(problem, rate_bps=rate))
    assert found.status is Status.OPTIMAL
    assert found.gap == pytest.approx(0.0, abs=1e-9)


def test_dead_nodes_and_no_tokens_are_legal(rng: np.random.Generator) -> None:
    problem = draw(rng, K=4, M=16, N=8, D=2, qos=0.3)
    rate = problem.rate_bps.copy()
    rate[2], rate[:, 2] = 0.0, 0.0
    lonely = jesa(replace(problem, rate_bps=rate))
    assert not lonely.selected[problem.source != 2, 2].any()
    assert not lonely.selected[problem.source == 2][:, [0, 1, 3]].any()
    empty = jesa(replace(problem, score=np.zeros((0, 4)), source=np.zeros(0, int)))
    assert empty.total_energy_j == 0.0


def test_a_free_local_expert_costs_nothing(rng: np.random.Generator) -> None:
    problem = draw(rng, K=3, M=8, N=6, D=1, qos=0.01)
    free = jesa(replace(problem, compute_energy_j=np.zeros(3)))
    assert free.total_energy_j == 0.0
    assert np.all(free.selected[np.arange(6), problem.source])


@pytest.mark.parametrize(
    ("arguments", "message"), [({"method": "magic"}, "method = 'magic'"), ({"start": "warm"}, "start = 'warm'")]
)
def test_unknown_words_list_the_choices(rng: np.random.Generator, arguments: dict[str, str], message: str) -> None:
    with pytest.raises(ProblemError, match=message):
        jesa(draw(rng, K=3, M=8, N=2, D=1), **arguments)


def test_a_decision_of_another_fleet_is_refused(rng: np.random.Generator) -> None:
    before = jesa(draw(rng, K=4, M=16, N=4, D=2))
    with pytest.raises(ProblemError, match="Leave previous out"):
        jesa(draw(rng, K=3, M=16, N=4, D=2), previous=before)


def test_a_bound_that_meets_the_optimum_stays_below_it() -> None:
    """Three links want one of two subcarriers. At the optimal prices nothing is left to step by but rounding."""
    rate = np.zeros((4, 4, 2))
    rate[0] = 1e6 * np.array([[0.309774, 0.0], [5.167074, 1.302831], [1.805439, 0.0], [2.779463, 1.888493]])
    score = np.array([[0.135434, 0.277451, 0.302121, 0.284993], [0.060634, 0.026228, 0.889877, 0.023261]])
    problem = Problem(
        score=score / score.sum(axis=1, keepdims=True), source=np.array([0, 0]), rate_bps=rate, payload_bits=65536.0,
        tx_power_w=1e-2, compute_energy_j=np.array([0.908371, 0.270483, 1.766268, 1.020302]) * 1e-4, qos=0.6,
        max_experts=3,
    )  # fmt: skip
    found, best = jesa(problem), every_choice(problem)
    assert found.total_energy_j == pytest.approx(best, rel=1e-9)
    assert found.bound_j <= best * (1 + 1e-9)
