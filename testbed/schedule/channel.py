"""What a channel costs: the energy to carry one token over each directed link on each subcarrier."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from testbed.schedule.candidates import Candidates, candidate_lists

Floats = NDArray[np.float64]


Phase = Candidates
"""One transmission phase: rows are directed links, row i·K + j is i→j; costs are joule per token."""


def digest(rate_bps: Floats, unit_j_bps: float) -> Phase:
    """Rates (K, K, M) → link costs unit/rate (K², M) in joule per token, and their candidate lists.

    unit_j_bps is P0·s0, transmit power times payload bits. Unusable subcarriers and the diagonal cost inf.
    """
    nodes = rate_bps.shape[0]
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        cost = unit_j_bps / rate_bps
    cost[np.arange(nodes), np.arange(nodes)] = np.inf
    return candidate_lists(cost.reshape(nodes * nodes, -1))


def best_prices(phase: Phase, nodes: int) -> Floats:
    """(K, K) cost of each directed link on its own best subcarrier; inf if it has none."""
    return phase.price[:, 0].reshape(nodes, nodes)
