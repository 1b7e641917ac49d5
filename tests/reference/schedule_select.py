"""Expert selection by looking at every subset: slow, obvious, exact."""

from __future__ import annotations

from itertools import combinations

import numpy as np

TOLERANCE = 1e-12


def every_subset(score, energy, qos, limit):
    """Least energy of one token over all sets of at most `limit` reachable experts; None if none meets the QoS."""
    reachable = [j for j in range(len(score)) if np.isfinite(energy[j])]
    best = None
    for size in range(min(limit, len(reachable)) + 1):
        for members in combinations(reachable, size):
            if sum(score[j] for j in members) >= qos - TOLERANCE:
                cost = sum(energy[j] for j in members)
                best = cost if best is None else min(best, cost)
    return best


def top_scores(score, energy, limit):
    """The `limit` best scores among reachable experts, the cheaper first among equals."""
    reachable = [j for j in range(len(score)) if np.isfinite(energy[j])]
    return sorted(reachable, key=lambda j: (-score[j], energy[j]))[:limit]
