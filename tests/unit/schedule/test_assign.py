"""Subcarrier assignment against scipy, and its duals against weak duality."""

import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment

from testbed.errors import ProblemError
from testbed.schedule.assign import assign_subcarriers
from testbed.schedule.status import Status


@pytest.mark.parametrize(("links", "subcarriers"), [(1, 1), (3, 3), (5, 8), (12, 64), (40, 40), (56, 256)])
def test_equals_scipy_and_duals_prove_it(rng, links, subcarriers):
    for _ in range(10):
        cost = 1 / np.log2(1.001 + 10 * rng.exponential(size=(links, subcarriers)))
        weight = rng.integers(1, 20, links).astype(float)
        found = assign_subcarriers(cost, weight)
        weighted = cost * weight[:, None]
        rows, columns = linear_sum_assignment(weighted)
        assert found.total == pytest.approx(weighted[rows, columns].sum(), rel=1e-12)
        assert len(set(found.subcarrier)) == links
        assert (weighted + found.duals).min(axis=1).sum() - found.duals.sum() == pytest.approx(found.total, rel=1e-12)


def test_more_links_than_subcarriers_is_reported():
    found = assign_subcarriers(np.ones((4, 3)), np.ones(4))
    assert found.status is Status.SCARCE
    assert len(found.unserved) == 1
    assert (found.subcarrier >= 0).sum() == 3


def test_idle_and_dead_links_harm_nobody():
    cost = np.array([[1.0, 2.0], [np.inf, np.inf], [1.0, 5.0]])
    found = assign_subcarriers(cost, [1.0, 0.0, 1.0])
    assert list(found.subcarrier) == [1, -1, 0]
    assert assign_subcarriers(cost, [1.0, 1.0, 1.0]).unserved == (1,)


def test_nan_is_refused():
    with pytest.raises(ProblemError, match=r"cost\[0, 1\] = nan"):
        assign_subcarriers([[1.0, np.nan]], [1.0])
