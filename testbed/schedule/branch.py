"""Exact expert selection for one token: branch and bound on the few experts that the bound leaves open; compiled.

Candidates are numbered 0 … count−1 in rising energy. Scratch is two tables, `f` of floats and `p` of positions, with
the rows named below: rows are read by number because a view of a row costs more than the work done on it.
"""

from __future__ import annotations

import numpy as np

from testbed.schedule.arrays import Bools, Floats, Ints
from testbed.schedule.compiled import inlined, kernel
from testbed.schedule.lagrange import (
    BEST,
    CORE,
    ENERGY,
    FIXED,
    IDENT,
    PATH,
    PICK,
    PREFIX,
    REDUCED,
    ROUNDING,
    SCORE,
    SPENT,
    SUM,
    best_price,
    total,
    undominated,
)

EXACT, LIMITED, RELAXED = 0, 1, 2

LARGE_CORE = 8
"""From this many open experts on, a better incumbent saves more search than it costs."""


@kernel
def sort_reachable(energy: Floats, line: int, order: Ints) -> int:
    """All experts in rising energy, into order[line]; returns how many are reachable: those of finite energy."""
    for j in range(energy.shape[1]):
        order[line, j] = j
    return sort_again(energy, line, order)


@kernel
def sort_again(energy: Floats, line: int, order: Ints) -> int:
    """As `sort_reachable`, from the order that order[line] holds: fast when energies moved little since."""
    reachable = 0
    for at in range(energy.shape[1]):
        j, k = order[line, at], at
        e = energy[line, j]
        reachable += e < np.inf
        while k > 0 and energy[line, order[line, k - 1]] > e:
            order[line, k] = order[line, k - 1]
            k -= 1
        order[line, k] = j
    return reachable


@inlined
def choose(
    score: Floats,
    n: int,
    energy: Floats,
    line: int,
    order: Ints,
    reachable: int,
    need: float,
    limit: int,
    gap: float,
    node_limit: int,
    f: Floats,
    p: Ints,
    reach: Floats,
    selected: Bools,
) -> tuple[float, float, int, int]:
    """The cheapest experts of token n at prices energy[line], into `selected`. Returns (energy, bound, nodes, end).

    order[line, :reachable] lists the reachable experts in rising energy; need is the QoS less its tolerance.
    """
    for j in range(score.shape[1]):
        selected[n, j] = False
    if need <= 0.0:
        return 0.0, 0.0, 0, EXACT
    count, size = undominated(score, n, energy, order, line, reachable, limit, f, p)
    if total(f, SCORE, p, BEST, size) < need:
        take_best_scores(score, n, order, line, reachable, limit, selected)
        spent = marked_energy(energy, line, selected, n)
        return spent, spent, 0, RELAXED
    bound, nodes, size, limited = search(f, p, reach, count, size, need, limit, gap, node_limit)
    for k in range(size):
        selected[n, p[IDENT, p[BEST, k]]] = True
    spent = marked_energy(energy, line, selected, n)
    if bound >= spent * (1.0 - 10 * ROUNDING):
        bound = spent
    return spent, bound, nodes, LIMITED if limited else EXACT


@kernel
def search(
    f: Floats, p: Ints, reach: Floats, count: int, size: int, need: float, limit: int, gap: float, node_limit: int
) -> tuple[float, int, int, bool]:
    """The cheapest set into row BEST. Returns (bound, nodes, size of the set, whether the node limit was hit).

    Row BEST holds `size` candidates that meet the need at the call.
    """
    price, bound, size, negative = best_price(f, p, count, size, need, limit)
    energy = total(f, ENERGY, p, BEST, size)
    if bound >= energy * (1.0 - max(gap, ROUNDING)):
        return bound, 1, size, False
    fixed, kept = split(f, p, count, negative, limit, bound, energy)
    if kept > LARGE_CORE:
        energy = swap_down(f, p, need, size)
        fixed, kept = split(f, p, count, negative, limit, bound, energy)
    return _branch(f, p, reach, size, fixed, kept, need, limit, gap, node_limit, price, bound, energy)


@kernel
def swap_down(f: Floats, p: Ints, need: float, size: int) -> float:
    """Replace members of BEST by cheaper outsiders while the need stays met. Returns the energy."""
    t_sum = total(f, SCORE, p, BEST, size)
    for _ in range(size):
        gain, leaver, joiner = 0.0, -1, -1
        for k in range(size):
            member = p[BEST, k]
            spare = t_sum - f[SCORE, member] - need
            for j in range(member):
                if f[ENERGY, member] - f[ENERGY, j] <= gain:
                    break
                if spare + f[SCORE, j] >= 0.0 and not _contains(p, size, j):
                    gain, leaver, joiner = f[ENERGY, member] - f[ENERGY, j], k, j
                    break
        if leaver < 0:
            break
        t_sum += f[SCORE, joiner] - f[SCORE, p[BEST, leaver]]
        p[BEST, leaver] = joiner
    return total(f, ENERGY, p, BEST, size)


@kernel
def _contains(p: Ints, size: int, j: int) -> bool:
    for k in range(size):  # noqa: SIM110  (compiled)
        if p[BEST, k] == j:
            return True
    return False


@kernel
def split(f: Floats, p: Ints, count: int, negative: int, limit: int, bound: float, energy: float) -> tuple[int, int]:
    """Fix experts whose change of side would cost more than the gap; the rest is the core, in rising reduced energy.

    With r the reduced energies, letting a stranger in costs r_j − min(0, r_(D)), and leaving a member out costs
    min(0, r_(D+1)) − r_j. Returns (number fixed in, in row FIXED; number in the core, in row CORE).
    """
    last_in = f[REDUCED, p[PICK, limit - 1]] if negative >= limit else 0.0
    first_out = f[REDUCED, p[PICK, limit]] if negative > limit else 0.0
    slack = (energy - bound) + ROUNDING * energy
    fixed, kept = 0, 0
    for j in range(count):
        r = f[REDUCED, j]
        if r - last_in > slack:
            continue
        if first_out - r > slack:
            p[FIXED, fixed] = j
            fixed += 1
        else:
            k = kept
            while k > 0 and f[REDUCED, p[CORE, k - 1]] > r:
                p[CORE, k] = p[CORE, k - 1]
                k -= 1
            p[CORE, k] = j
            kept += 1
    return fixed, kept


@kernel
def _branch(
    f: Floats,
    p: Ints,
    reach: Floats,
    size: int,
    fixed: int,
    kept: int,
    need: float,
    limit: int,
    gap: float,
    node_limit: int,
    price: float,
    bound: float,
    energy: float,
) -> tuple[float, int, int, bool]:
    """Search the core depth first, joiners before leavers. Returns as `search` does."""
    f[SUM, 0], f[SPENT, 0] = total(f, SCORE, p, FIXED, fixed), total(f, ENERGY, p, FIXED, fixed)
    room = min(limit - fixed, kept)
    negative = _prefix(f, p, kept)
    _fill_reach(f, p, kept, room, reach)
    depth, taken, nodes, open_bound = 0, 0, 0, np.inf
    while True:
        nodes += 1
        t_sum, e_sum, left = f[SUM, taken], f[SPENT, taken], room - taken
        here = e_sum + price * (need - t_sum) + _prefix_gain(f, negative, depth, left)
        if nodes > node_limit:
            open_bound = min(open_bound, max(here, e_sum))
        elif t_sum >= need:
            if e_sum < energy:
                energy, size = e_sum, _remember(p, fixed, taken)
        elif (
            left > 0
            and depth < kept
            and here < energy * (1.0 - max(gap, ROUNDING))
            and t_sum + reach[depth, left] >= need
        ):
            if left > 1:
                p[PATH, taken] = depth
                taken += 1
                f[SUM, taken], f[SPENT, taken] = t_sum + f[SCORE, p[CORE, depth]], e_sum + f[ENERGY, p[CORE, depth]]
                depth += 1
                continue
            last = _cheapest_completer(f, p, depth, kept, need - t_sum)
            if last >= 0 and e_sum + f[ENERGY, p[CORE, last]] < energy:
                p[PATH, taken] = last
                energy, size = e_sum + f[ENERGY, p[CORE, last]], _remember(p, fixed, taken + 1)
        if taken == 0:
            break
        taken -= 1
        depth = p[PATH, taken] + 1
    return max(bound, min(open_bound, energy * (1.0 - gap))), nodes, size, nodes > node_limit


@kernel
def _prefix(f: Floats, p: Ints, kept: int) -> int:
    """Running sums of the negative reduced energies of the core, in row PREFIX; returns how many are negative."""
    f[PREFIX, 0] = 0.0
    for k in range(kept):
        if f[REDUCED, p[CORE, k]] >= 0.0:
            return k
        f[PREFIX, k + 1] = f[PREFIX, k] + f[REDUCED, p[CORE, k]]
    return kept


@kernel
def _prefix_gain(f: Floats, negative: int, depth: int, left: int) -> float:
    """The least that at most `left` more picks from `depth` on can add to the reduced energy."""
    if depth >= negative:
        return 0.0
    return f[PREFIX, min(depth + left, negative)] - f[PREFIX, depth]


@kernel
def _fill_reach(f: Floats, p: Ints, kept: int, room: int, reach: Floats) -> None:
    """reach[d, c]: the best score sum of at most c picks among the core from d on."""
    for c in range(room + 1):
        reach[kept, c] = 0.0
    for d in range(kept - 1, -1, -1):
        x = f[SCORE, p[CORE, d]]
        reach[d, 0] = 0.0
        for c in range(1, room + 1):
            reach[d, c] = max(reach[d + 1, c], reach[d + 1, c - 1] + x)


@kernel
def _cheapest_completer(f: Floats, p: Ints, depth: int, kept: int, missing: float) -> int:
    """The cheapest of the core from `depth` on that alone brings the missing score, or −1."""
    last, least = -1, np.inf
    for k in range(depth, kept):
        j = p[CORE, k]
        if f[SCORE, j] >= missing and f[ENERGY, j] < least:
            last, least = k, f[ENERGY, j]
    return last


@kernel
def _remember(p: Ints, fixed: int, taken: int) -> int:
    """Copy the current set into BEST; returns its size."""
    for k in range(fixed):
        p[BEST, k] = p[FIXED, k]
    for k in range(taken):
        p[BEST, fixed + k] = p[CORE, p[PATH, k]]
    return fixed + taken


@kernel
def take_best_scores(score: Floats, n: int, order: Ints, line: int, count: int, limit: int, selected: Bools) -> None:
    """The `limit` best scores among the reachable experts of token n; equal scores go to the cheaper one."""
    for _ in range(min(limit, count)):
        pick = -1
        for k in range(count):
            j = order[line, k]
            if not selected[n, j] and (pick < 0 or score[n, j] > score[n, pick]):
                pick = j
        selected[n, pick] = True


@kernel
def marked_energy(energy: Floats, line: int, selected: Bools, n: int) -> float:
    """Energy of the marked experts of token n, summed in their own order."""
    s = 0.0
    for j in range(energy.shape[1]):
        e = energy[line, j]  # read in any case, so that no branch is guessed wrong
        s += e if selected[n, j] else 0.0
    return s
