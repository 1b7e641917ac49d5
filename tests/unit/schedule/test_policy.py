"""Every policy on the same problems: legal decisions, honest energies."""

from dataclasses import replace

import numpy as np
import pytest

from testbed.errors import ProblemError
from testbed.schedule.policy import NOT_RUNNABLE, POLICIES, schedule
from testbed.schedule.problem import Problem


def problem(rng, K=4, M=32, N=12, D=2, hops=1):
    score = rng.dirichlet(np.ones(K), N) if N else np.zeros((0, K))
    rates = [1e6 * np.log2(1 + 10 * rng.exponential(size=(K, K, M))) for _ in range(hops)]
    return Problem(
        score=score,
        source=rng.integers(0, K, N),
        rate_bps=rates[0],
        return_rate_bps=rates[1] if hops == 2 else None,
        payload_bits=65536.0,
        tx_power_w=1e-2,
        compute_energy_j=rng.lognormal(size=K) * 1e-4,
        qos=0.5,
        max_experts=D,
    )


@pytest.mark.parametrize("name", POLICIES)
@pytest.mark.parametrize("hops", [1, 2])
@pytest.mark.parametrize("M", [32, 12, 5])
def test_runnable_and_honest(rng, name, hops, M):
    posed = problem(rng, M=M, hops=hops)
    decision = schedule(posed, name)
    sent = np.zeros((4, 4))
    np.add.at(sent, posed.source, decision.selected.astype(float))
    np.fill_diagonal(sent, 0)
    energy = sum(posed.compute_energy_j[decision.selected[n]].sum() for n in range(posed.tokens))
    phases = [
        (posed.rate_bps, decision.subcarrier, sent),
        (posed.return_rate_bps, decision.return_subcarrier, sent.T),
    ]
    for rate, subcarrier, carried in phases[:hops]:
        assert ((subcarrier >= 0) == (carried > 0)).all()
        used = subcarrier[subcarrier >= 0]
        assert name in NOT_RUNNABLE or len(set(used)) == len(used)
        for i, j in np.argwhere(carried > 0):
            energy += carried[i, j] * posed.tx_power_w * posed.payload_bits / rate[i, j, subcarrier[i, j]]
    assert decision.total_energy_j == pytest.approx(energy, rel=1e-12)


@pytest.mark.parametrize("name", POLICIES)
def test_no_tokens_no_energy(rng, name):
    assert schedule(problem(rng, N=0), name).total_energy_j == 0.0


def test_the_channel_alone_decides_for_channel_only(rng):
    """Also beside computing energies that would swallow those of the links, and never for a node without an expert."""
    posed = replace(problem(rng), compute_energy_j=np.array([1e9, np.inf, 1e9, 1e9]))
    link = posed.phases[0].price[:, 0].reshape(4, 4)
    np.fill_diagonal(link, 0.0)
    link[:, 1] = np.inf
    best = np.argsort(link, axis=1)[posed.source, :2]
    assert (np.sort(best) == np.array([np.flatnonzero(s) for s in schedule(posed, "channel-only").selected])).all()


def test_unknown_name_lists_the_choices(rng):
    with pytest.raises(ProblemError, match=r"'best'.*jesa, jesa-alternate, des-fixed"):
        schedule(problem(rng), "best")
