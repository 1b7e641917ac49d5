"""Expert selection against every subset."""

import numpy as np
import pytest

from testbed.errors import ProblemError
from testbed.schedule.select import select_experts
from testbed.schedule.status import Status
from tests.reference.schedule_select import every_subset, top_scores


def draw(rng, kind, tokens, experts):
    """Scores, energies and QoS with ties, zeros, infinities, or energy proportional to score."""
    score = rng.dirichlet(np.ones(experts), tokens)
    energy = rng.lognormal(size=(tokens, experts))
    if kind == "ties":
        score, energy = rng.integers(0, 5, score.shape) / 8, rng.integers(0, 5, energy.shape).astype(float)
    if kind == "proportional":
        energy = 3 * score
    if kind == "dead":
        energy[rng.random(energy.shape) < 0.4] = np.inf
    return score, energy, rng.choice([0, 0.1, 0.375, 0.625, 0.75, 0.9, 1.0], tokens)


@pytest.mark.parametrize("kind", ["plain", "ties", "proportional", "dead"])
def test_equals_every_subset(rng, kind):
    for _ in range(60):
        experts = int(rng.integers(1, 10))
        limit = int(rng.integers(1, experts + 2))
        score, energy, qos = draw(rng, kind, 4, experts)
        found = select_experts(score, energy, qos, limit)
        for n in range(4):
            best = every_subset(score[n], energy[n], qos[n], limit)
            assert found.relaxed[n] == (best is None)
            if best is None:
                assert set(np.flatnonzero(found.selected[n])) == set(top_scores(score[n], energy[n], limit))
            else:
                assert found.energy_j[n] == pytest.approx(best, rel=1e-12, abs=1e-15)
                assert found.selected[n].sum() <= limit
                assert score[n, found.selected[n]].sum() >= qos[n] - 2e-12
        assert found.status is Status.OPTIMAL


def test_no_tokens():
    found = select_experts(np.zeros((0, 3)), np.ones(3), 0.5, 2)
    assert found.selected.shape == (0, 3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"score": [[np.nan, 1.0]]}, r"score\[0, 0\] = nan"),
        ({"energy_j": [1.0, -1.0]}, r"energy_j\[1\]|energy_j\[0, 1\]"),
        ({"qos": [0.5, 0.5]}, "qos has shape"),
        ({"max_experts": 0}, "max_experts = 0"),
        ({"gap": 1.0}, "gap = 1.0"),
    ],
)
def test_bad_input_is_named(change, message):
    good = {"score": [[0.5, 0.5]], "energy_j": [1.0, 2.0], "qos": 0.5, "max_experts": 1}
    with pytest.raises(ProblemError, match=message):
        select_experts(**{**good, **change})
