"""Leftover subcarriers: shorter rounds at a stated price, against a slow greedy and against the sums themselves."""

from __future__ import annotations

import numpy as np
import pytest

from testbed.errors import ProblemError
from testbed.schedule.fill import PhaseFill, fill_idle
from testbed.schedule.jesa import jesa
from testbed.schedule.problem import Problem
from tests.unit.schedule.test_jesa import draw


def carried(problem: Problem, selected: np.ndarray) -> np.ndarray:
    """(K, K) bits from source to expert."""
    bits = np.zeros((problem.nodes, problem.nodes))
    np.add.at(bits, problem.source, selected * problem.payload_bits)
    np.fill_diagonal(bits, 0.0)
    return bits


def assert_honest(phase: PhaseFill, rate: np.ndarray, bits: np.ndarray, power: float) -> None:
    """Disjoint subcarriers, and times and energies that follow from them."""
    used = np.concatenate([np.asarray(held) for held in phase.subcarriers.values()] or [np.zeros(0)])
    assert np.unique(used).size == used.size
    assert set(phase.subcarriers) == {(int(i), int(j)) for i, j in np.argwhere(bits > 0)}
    for (i, j), held in phase.subcarriers.items():
        seconds = bits[i, j] / rate[i, j, held].sum()
        assert phase.duration_s[i, j] == pytest.approx(seconds)
        assert phase.energy_j[i, j] == pytest.approx(power * len(held) * seconds)


@pytest.mark.parametrize("two_hops", [False, True])
@pytest.mark.parametrize("factor", [1.0, 1.1, 2.0, 50.0])
def test_times_and_energies_are_honest_and_within_the_factor(
    rng: np.random.Generator, two_hops: bool, factor: float
) -> None:
    for _ in range(5):
        problem = draw(rng, K=4, M=32, N=16, D=2, two_hops=two_hops)
        decision = jesa(problem)
        filled, bare = fill_idle(problem, decision, factor), fill_idle(problem, decision, 1.0)
        bits = carried(problem, decision.selected)
        assert_honest(filled.forward, problem.rate_bps, bits, problem.tx_power_w)
        if filled.back is not None and problem.return_rate_bps is not None:
            assert_honest(filled.back, problem.return_rate_bps, bits.T, problem.tx_power_w)
        assert (filled.back is None) == (not two_hops)
        assert bare.communication_j == pytest.approx(decision.communication_j.sum())
        assert filled.communication_j <= factor * bare.communication_j * (1 + 1e-9)
        assert filled.makespan_s <= bare.makespan_s * (1 + 1e-12)
        if factor >= 2.0:
            assert filled.makespan_s < bare.makespan_s


def test_each_step_takes_the_best_free_subcarrier_for_the_longest_link() -> None:
    """Two links of one sender: 8 s and 2 s. The slow one takes the free subcarriers, the better one first."""
    rate = np.zeros((3, 3, 4))
    rate[0, 1] = [1.0, 0.0, 0.5, 0.9]
    rate[0, 2] = [0.0, 4.0, 3.0, 2.0]
    problem = Problem(
        score=[[0.0, 0.5, 0.5]] * 8, source=[0] * 8, rate_bps=rate, payload_bits=1.0, tx_power_w=1.0,
        compute_energy_j=np.zeros(3), qos=1.0, max_experts=2,
    )  # fmt: skip
    filled = fill_idle(problem, jesa(problem), 1.1).forward
    assert filled.subcarriers[0, 1].tolist() == [0, 3]
    assert filled.subcarriers[0, 2].tolist() == [1]
    assert filled.makespan_s == pytest.approx(8 / 1.9)
    every = fill_idle(problem, jesa(problem), 10.0).forward
    assert every.subcarriers[0, 1].tolist() == [0, 2, 3]


def test_nothing_sent_takes_no_time(rng: np.random.Generator) -> None:
    problem = draw(rng, K=3, M=8, N=6, D=1, qos=0.0)
    filled = fill_idle(problem, jesa(problem))
    assert (filled.makespan_s, filled.communication_j, dict(filled.forward.subcarriers)) == (0.0, 0.0, {})


@pytest.mark.parametrize("factor", [0.99, np.nan, np.inf])
def test_a_factor_below_one_is_refused(rng: np.random.Generator, factor: float) -> None:
    problem = draw(rng, K=3, M=8, N=6, D=1)
    with pytest.raises(ProblemError, match="max_energy_factor = "):
        fill_idle(problem, jesa(problem), factor)
