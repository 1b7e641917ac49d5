"""The bound of the expert search: both constraints kept, the QoS priced; compiled.

For a price λ ≥ 0 on the score, L(λ) = λ·Q + Σ of the at most D smallest negative e_j − λ t_j is a lower bound, and
its maximum over λ equals the linear relaxation with *both* constraints, since choosing at most D is integral by
itself. The plain bound of ratio order forgets the limit D and is far weaker when the QoS is tight.
"""

from __future__ import annotations

from testbed.schedule.arrays import Floats, Ints
from testbed.schedule.compiled import kernel

# Rows of the float scratch: of each candidate its score, energy and reduced energy; of the search its running sums.
SCORE, ENERGY, REDUCED, PREFIX, SUM, SPENT = range(6)
# Rows of the position scratch: candidate → expert; the best set; the cheapest set at a price; what is open and fixed.
IDENT, BEST, PICK, CORE, PATH, FIXED = range(6)

MAX_STEPS = 100
ROUNDING = 1e-13


@kernel
def undominated(
    score: Floats, n: int, energy: Floats, order: Ints, line: int, reachable: int, limit: int, f: Floats, p: Ints
) -> tuple[int, int]:
    """Candidates: the experts of token n that fewer than `limit` cheaper ones match in score.

    Returns (their number, size of BEST); BEST ends with the best scores, at most `limit`, in rising score.
    """
    count, size, lowest = 0, 0, 0.0
    for k in range(reachable):
        j = order[line, k]
        x = score[n, j]
        if x <= lowest:
            continue
        f[SCORE, count], f[ENERGY, count], p[IDENT, count] = x, energy[line, j], j
        size = _insert_score(f, p, size, limit, count)
        count += 1
        if size == limit:
            lowest = f[SCORE, p[BEST, 0]]
    return count, size


@kernel
def _insert_score(f: Floats, p: Ints, size: int, limit: int, new: int) -> int:
    """Put a candidate into BEST in rising score; when full, the lowest leaves. Returns the size."""
    x = f[SCORE, new]
    if size == limit:
        k = 0
        while k + 1 < size and f[SCORE, p[BEST, k + 1]] < x:
            p[BEST, k] = p[BEST, k + 1]
            k += 1
    else:
        k = size
        while k > 0 and f[SCORE, p[BEST, k - 1]] > x:
            p[BEST, k] = p[BEST, k - 1]
            k -= 1
        size += 1
    p[BEST, k] = new
    return size


@kernel
def total(f: Floats, row: int, p: Ints, places: int, size: int) -> float:
    """Sum of a float row over the candidates listed in a position row."""
    s = 0.0
    for k in range(size):
        s += f[row, p[places, k]]
    return s


@kernel
def _pick_lowest(f: Floats, p: Ints, count: int, limit: int, price: float) -> int:
    """Reduced energies at this price, and the at most D + 1 smallest negative ones into PICK; returns how many."""
    size, worst = 0, 0.0
    for j in range(count):
        r = f[ENERGY, j] - price * f[SCORE, j]
        f[REDUCED, j] = r
        if r < worst:
            k = min(size, limit)
            while k > 0 and f[REDUCED, p[PICK, k - 1]] > r:
                p[PICK, k] = p[PICK, k - 1]
                k -= 1
            p[PICK, k] = j
            if size <= limit:
                size += 1
            if size > limit:
                worst = f[REDUCED, p[PICK, limit]]
    return size


@kernel
def best_price(f: Floats, p: Ints, count: int, size: int, need: float, limit: int) -> tuple[float, float, int, int]:
    """Maximise L(λ) by secant steps between a set that misses the need and one that meets it.

    BEST holds a set of `size` that meets it. Returns (λ, L(λ), size of BEST, size of PICK), with the cheapest set met
    on the way in BEST, the reduced energies e − λt in REDUCED, and the D + 1 smallest negative ones in PICK.
    """
    t_low, e_low, negative = 0.0, 0.0, 0
    t_high, e_high = total(f, SCORE, p, BEST, size), total(f, ENERGY, p, BEST, size)
    for _ in range(MAX_STEPS):
        price = (e_high - e_low) / (t_high - t_low)
        negative = _pick_lowest(f, p, count, limit, price)
        picked = min(negative, limit)
        t_sum, e_sum = total(f, SCORE, p, PICK, picked), total(f, ENERGY, p, PICK, picked)
        bound = e_sum + price * (need - t_sum)
        if bound >= e_high + price * (need - t_high) - ROUNDING * e_high:
            break
        if t_sum >= need:
            t_high, e_high, size = t_sum, e_sum, picked
            for k in range(picked):
                p[BEST, k] = p[PICK, k]
        else:
            t_low, e_low = t_sum, e_sum
    return price, bound, size, negative
