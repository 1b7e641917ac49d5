"""Exact expert selection for one token: branch and bound on the few experts that its bound leaves open; compiled.

Candidates are numbered 0 … count−1 in rising energy. `best` holds the positions of the cheapest set known.
"""

from __future__ import annotations

import numpy as np

from testbed.schedule.compiled import kernel
from testbed.schedule.lagrange import best_price

EXACT, LIMITED, RELAXED = 0, 1, 2
ROUNDING = 1e-13


@kernel
def workspace(experts, limit):
    """Scratch for `choose`: five rows of floats, five of positions, and the score table of the search."""
    depth = min(experts, limit)
    return (
        np.empty((6, experts + 1)),
        np.empty((5, experts + 1), dtype=np.int64),
        np.empty((experts + 1, depth + 1)),
    )


@kernel
def choose(t, e, order, need, limit, gap, node_limit, work, chosen):
    """Cheapest experts of one token, marked in `chosen` (K,). Returns (energy, bound, nodes, how it ended).

    order lists the reachable experts in rising energy; need is the QoS less its tolerance.
    """
    floats, places, reach = work
    ct, ce = floats[0], floats[1]
    ident, best = places[0], places[1]
    chosen[:] = False
    if need <= 0.0:
        return 0.0, 0.0, 0, EXACT
    count, size = undominated(t, e, order, limit, ct, ce, ident, best)
    if total(ct, best, size) < need:
        take_best_scores(t, order, limit, chosen)
        energy = marked_energy(e, chosen)
        return energy, energy, 0, RELAXED
    bound, nodes, size, limited = _search(count, size, need, limit, gap, node_limit, work)
    for k in range(size):
        chosen[ident[best[k]]] = True
    energy = marked_energy(e, chosen)
    if bound >= energy * (1.0 - 10 * ROUNDING):
        bound = energy
    return energy, bound, nodes, LIMITED if limited else EXACT


@kernel
def undominated(t, e, order, limit, ct, ce, ident, top):
    """Keep the experts that fewer than `limit` cheaper ones match in score. Returns (count, size of `top`).

    `top` ends with the positions of the best scores, at most `limit`, in rising score.
    """
    count, size = 0, 0
    for j in order:
        x = t[j]
        if x <= 0.0 or (size == limit and x <= ct[top[0]]):
            continue
        ct[count], ce[count], ident[count] = x, e[j], j
        size = _insert_score(ct, top, size, limit, count)
        count += 1
    return count, size


@kernel
def _insert_score(t, top, size, limit, new):
    """Put a position into the list of the best scores (rising); when full, the lowest leaves. Returns the size."""
    if size == limit:
        k = 0
        while k + 1 < size and t[top[k + 1]] < t[new]:
            top[k] = top[k + 1]
            k += 1
    else:
        k = size
        while k > 0 and t[top[k - 1]] > t[new]:
            top[k] = top[k - 1]
            k -= 1
        size += 1
    top[k] = new
    return size


@kernel
def total(values, places, size):
    """Sum of values at the first `size` places."""
    s = 0.0
    for k in range(size):
        s += values[places[k]]
    return s


@kernel
def marked_energy(e, chosen):
    """Energy of the marked experts, summed in their own order."""
    s = 0.0
    for j in range(e.size):
        if chosen[j]:
            s += e[j]
    return s


@kernel
def take_best_scores(t, order, limit, chosen):
    """The `limit` best scores among the reachable experts; equal scores go to the cheaper one."""
    for _ in range(min(limit, order.size)):
        pick = -1
        for j in order:
            if not chosen[j] and (pick < 0 or t[j] > t[pick]):
                pick = j
        chosen[pick] = True


@kernel
def _search(count, size, need, limit, gap, node_limit, work):
    """Bound, fix and branch. Returns (bound, nodes, size of `best`, whether the node limit was hit)."""
    floats, places, reach = work
    ct, ce, reduced = floats[0], floats[1], floats[2]
    best, pick, core = places[1], places[2], places[3]
    price, bound, met = best_price(
        ct, ce, count, need, limit, total(ct, best, size), total(ce, best, size), reduced, pick, best
    )
    if met >= 0:
        size = met
    energy = swap_down(ct, ce, count, need, best, size)
    if bound >= energy * (1.0 - max(gap, ROUNDING)):
        return bound, 1, size, False
    fixed, kept = split(reduced, count, limit, bound, energy, pick, core)
    return _branch(count, size, fixed, kept, need, limit, gap, node_limit, price, bound, energy, work)


@kernel
def swap_down(t, e, count, need, best, size):
    """Replace members by cheaper outsiders while the need stays met. Returns the energy."""
    t_sum = total(t, best, size)
    for _ in range(size):
        gain, leaver, joiner = 0.0, -1, -1
        for k in range(size):
            member = best[k]
            for j in range(member):
                if e[member] - e[j] <= gain:
                    break
                if t_sum - t[member] + t[j] >= need and not _contains(best, size, j):
                    gain, leaver, joiner = e[member] - e[j], k, j
                    break
        if leaver < 0:
            break
        t_sum += t[joiner] - t[best[leaver]]
        best[leaver] = joiner
    return total(e, best, size)


@kernel
def _contains(places, size, j):
    for k in range(size):
        if places[k] == j:
            return True
    return False


@kernel
def split(reduced, count, limit, bound, energy, fixed, core):
    """Fix experts whose change of side would cost more than the gap; the rest is the core, in rising reduced energy.

    With r the reduced energies, letting a stranger in costs r_j − min(0, r_(D)), and leaving a member out costs
    min(0, r_(D+1)) − r_j. Returns (number fixed in, listed in `fixed`; number in the core, listed in `core`).
    """
    last_in, first_out = _threshold(reduced, count, limit, core)
    inside, kept = 0, 0
    slack = (energy - bound) + ROUNDING * energy
    for j in range(count):
        r = reduced[j]
        if r < 0.0 and r < first_out and first_out - r > slack:
            fixed[inside] = j
            inside += 1
        elif r - last_in <= slack:
            k = kept
            while k > 0 and reduced[core[k - 1]] > r:
                core[k] = core[k - 1]
                k -= 1
            core[k] = j
            kept += 1
    return inside, kept


@kernel
def _threshold(reduced, count, limit, scratch):
    """The D-th and (D+1)-th smallest reduced energies, each 0 at most."""
    size = 0
    for j in range(count):
        r = reduced[j]
        if r < 0.0 and (size <= limit or r < reduced[scratch[size - 1]]):
            k = size if size <= limit else size - 1
            while k > 0 and reduced[scratch[k - 1]] > r:
                scratch[k] = scratch[k - 1]
                k -= 1
            scratch[k] = j
            if size <= limit:
                size += 1
    last_in = reduced[scratch[limit - 1]] if size >= limit else 0.0
    first_out = reduced[scratch[limit]] if size > limit else 0.0
    return last_in, first_out


@kernel
def _branch(count, size, fixed, kept, need, limit, gap, node_limit, price, bound, energy, work):
    """Search the core depth first. Returns (bound, nodes, size of `best`, whether the node limit was hit)."""
    floats, places, reach = work
    ct, ce, reduced, prefix, t_at, e_at = floats
    best, inside, core, path = places[1], places[2], places[3], places[4]
    t_at[0], e_at[0] = total(ct, inside, fixed), total(ce, inside, fixed)
    room = min(limit - fixed, kept)
    negative = _prefix(reduced, core, kept, prefix)
    fill_reach(ct, core, kept, room, reach)
    depth, taken, nodes, limited, open_bound = 0, 0, 0, False, np.inf
    while True:
        nodes += 1
        cut = energy * (1.0 - max(gap, ROUNDING))
        t_sum, e_sum = t_at[taken], e_at[taken]
        here = e_sum + price * (need - t_sum) + _prefix_gain(prefix, negative, depth, room - taken)
        if nodes > node_limit:
            limited = True
            open_bound = min(open_bound, max(here, e_sum))
        elif t_sum >= need:
            if e_sum < energy:
                energy, size = e_sum, _remember(best, inside, fixed, core, path, taken)
        elif taken < room and depth < kept and t_sum + reach[depth, room - taken] >= need and here < cut:
            if room - taken == 1:
                last = _cheapest_completer(ct, ce, core, depth, kept, need - t_sum)
                if last >= 0 and e_sum + ce[core[last]] < energy:
                    path[taken] = last
                    energy, size = (
                        e_sum + ce[core[last]],
                        _remember(best, inside, fixed, core, path, taken + 1),
                    )
            else:
                path[taken] = depth
                t_at[taken + 1], e_at[taken + 1] = t_sum + ct[core[depth]], e_sum + ce[core[depth]]
                taken += 1
                depth += 1
                continue
        if taken == 0:
            break
        taken -= 1
        depth = path[taken] + 1
    return max(bound, min(open_bound, energy * (1.0 - gap))), nodes, size, limited


@kernel
def _prefix(reduced, core, kept, prefix):
    """Running sums of the negative reduced energies of the core; returns how many are negative."""
    prefix[0] = 0.0
    for k in range(kept):
        if reduced[core[k]] >= 0.0:
            return k
        prefix[k + 1] = prefix[k] + reduced[core[k]]
    return kept


@kernel
def _prefix_gain(prefix, negative, depth, room):
    """The least that at most `room` more picks from `depth` on can add to the reduced energy."""
    if depth >= negative:
        return 0.0
    return prefix[min(depth + room, negative)] - prefix[depth]


@kernel
def fill_reach(t, core, kept, room, reach):
    """reach[d, c]: the best score sum of at most c picks among core[d:]."""
    reach[kept, : room + 1] = 0.0
    for d in range(kept - 1, -1, -1):
        x = t[core[d]]
        reach[d, 0] = 0.0
        for c in range(1, room + 1):
            reach[d, c] = max(reach[d + 1, c], reach[d + 1, c - 1] + x)


@kernel
def _cheapest_completer(t, e, core, depth, kept, missing):
    """The cheapest of core[depth:] that alone brings the missing score, or −1."""
    last = -1
    for k in range(depth, kept):
        if t[core[k]] >= missing and (last < 0 or e[core[k]] < e[core[last]]):
            last = k
    return last


@kernel
def _remember(best, inside, fixed, core, path, taken):
    """Copy the current set into `best`; returns its size."""
    for k in range(fixed):
        best[k] = inside[k]
    for k in range(taken):
        best[fixed + k] = core[path[k]]
    return fixed + taken
