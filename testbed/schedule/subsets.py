"""Expert selection from a table of all subsets, for few experts and many tokens that pay the same prices; compiled.

All sets of at most D reachable experts are sorted by energy once; a token takes the first that meets its need. Score
sums come from two half tables (low and high experts), for a block of LANES tokens at a time, one token a SIMD lane.
Blocks are wide and rows are passed by number, because a view of a row costs more than a row's work.
"""

from __future__ import annotations

import numpy as np

from testbed.schedule.arrays import Bools, Bytes, Floats, Ints
from testbed.schedule.branch import EXACT, RELAXED, marked_energy, take_best_scores
from testbed.schedule.compiled import allocating, kernel

LANES = 128
MAX_EXPERTS = 12
CHECK_EVERY = 16


@allocating
def build_table(energy: Floats, line: int, limit: int) -> tuple[Ints, Floats]:
    """All sets of at most `limit` reachable experts at prices energy[line], in rising energy.

    Returns (bit masks (S,), energies (S,)); S is padded to a multiple of 4 with the full set at infinite energy.
    """
    experts = energy.shape[1]
    everything = (1 << experts) - 1
    cost = np.zeros(1 << experts)
    size = np.zeros(1 << experts, dtype=np.int8)
    kept = np.empty((1 << experts) + 3, dtype=np.int64)
    kept[0] = 0
    count, high = 1, 0
    for mask in range(1, 1 << experts):
        if mask >> (high + 1):
            high += 1
        rest = mask ^ (1 << high)
        cost[mask] = cost[rest] + energy[line, high]
        size[mask] = size[rest] + 1
        if size[mask] <= limit and cost[mask] < np.inf:
            kept[count] = mask
            count += 1
    order = np.argsort(cost[kept[:count]])
    padded = (count + 3) & ~3
    masks, costs = np.full(padded, everything), np.full(padded, np.inf)
    for k in range(count):
        masks[k], costs[k] = kept[order[k]], cost[kept[order[k]]]
    return masks, costs


@allocating
def choose_from_table(
    score: Floats,
    energy: Floats,
    line: int,
    order: Ints,
    reachable: int,
    tokens: Ints,
    need: Floats,
    limit: int,
    selected: Bools,
    energies: Floats,
    bounds: Floats,
    ended: Bytes,
) -> None:
    """Serve the listed tokens, which all pay energy[line], from its table; order[line] is as in `choose`."""
    masks, costs = build_table(energy, line, limit)
    experts = score.shape[1]
    half = experts // 2
    low, high = np.zeros((1 << half, LANES)), np.zeros((1 << (experts - half), LANES))
    want, pick = np.empty(LANES), np.empty(LANES)
    for first in range(0, tokens.size, LANES):
        last = min(first + LANES, tokens.size)
        _load(score, need, tokens, first, last, half, low, high, want)
        _scan(masks, low, high, half, want, pick)
        for k in range(first, last):
            n, found = tokens[k], int(pick[k - first])
            if found < masks.size and costs[found] < np.inf:
                for j in range(experts):
                    selected[n, j] = (masks[found] >> j) & 1 == 1
                energies[n], bounds[n], ended[n] = costs[found], costs[found], EXACT
            else:
                for j in range(experts):
                    selected[n, j] = False
                take_best_scores(score, n, order, line, reachable, limit, selected)
                energies[n] = marked_energy(energy, line, selected, n)
                bounds[n], ended[n] = energies[n], RELAXED


@kernel
def _load(
    score: Floats, need: Floats, tokens: Ints, first: int, last: int, half: int, low: Floats, high: Floats, want: Floats
) -> None:
    """Half tables of score sums for a block of tokens; lanes past its end need nothing."""
    want[:] = -1.0
    for k in range(first, last):
        want[k - first] = need[tokens[k]]
        for j in range(half):
            low[1 << j, k - first] = score[tokens[k], j]
        for j in range(half, score.shape[1]):
            high[1 << (j - half), k - first] = score[tokens[k], j]
    _double(low)
    _double(high)


@kernel
def _double(table: Floats) -> None:
    """Fill every row as the sum of the row of its highest bit and the row of the rest."""
    top = 1
    for mask in range(1, table.shape[0]):
        if mask == 2 * top:
            top = mask
        elif mask != top:
            for lane in range(LANES):
                table[mask, lane] = table[mask ^ top, lane] + table[top, lane]


@kernel
def _scan(masks: Ints, low: Floats, high: Floats, half: int, want: Floats, pick: Floats) -> None:
    """The first set that meets each lane's need, as a number in `pick`; masks.size where none does."""
    none = float(masks.size)
    pick[:] = none
    for start in range(0, masks.size, CHECK_EVERY):
        for s in range(start, min(start + CHECK_EVERY, masks.size), 4):
            _try_four(s, none, masks, low, high, half, want, pick)
        waiting = 0
        for lane in range(LANES):
            waiting += 1 if pick[lane] == none else 0
        if waiting == 0:
            break


@kernel
def _try_four(
    s: int, none: float, masks: Ints, low: Floats, high: Floats, half: int, want: Floats, pick: Floats
) -> None:
    """Offer sets s … s + 3 to every lane."""
    ones = (1 << half) - 1
    a0, a1, a2, a3 = masks[s] & ones, masks[s + 1] & ones, masks[s + 2] & ones, masks[s + 3] & ones
    b0, b1, b2, b3 = masks[s] >> half, masks[s + 1] >> half, masks[s + 2] >> half, masks[s + 3] >> half
    s0, s1, s2, s3 = float(s), float(s + 1), float(s + 2), float(s + 3)
    for lane in range(LANES):
        hit = s3 if low[a3, lane] + high[b3, lane] >= want[lane] else none
        hit = s2 if low[a2, lane] + high[b2, lane] >= want[lane] else hit
        hit = s1 if low[a1, lane] + high[b1, lane] >= want[lane] else hit
        hit = s0 if low[a0, lane] + high[b0, lane] >= want[lane] else hit
        pick[lane] = hit if hit < pick[lane] else pick[lane]
