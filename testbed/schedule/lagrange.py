"""The bound of the expert search: both constraints kept, the QoS priced.

For a price λ ≥ 0 on the score, L(λ) = λ·Q + Σ of the at most D smallest negative e_j − λ t_j is a lower bound, and
its maximum over λ equals the linear relaxation with *both* constraints, since choosing at most D is integral by
itself. The plain bound of ratio order forgets the limit D and is far weaker when the QoS is tight.
"""

from __future__ import annotations

from testbed.schedule.compiled import kernel

MAX_STEPS = 100


@kernel
def smallest_negative(reduced, count, limit, pick):
    """Positions of the at most `limit` smallest negative entries, rising, into `pick`; returns how many."""
    size = 0
    for j in range(count):
        r = reduced[j]
        if r < 0.0 and (size < limit or r < reduced[pick[size - 1]]):
            k = size if size < limit else size - 1
            while k > 0 and reduced[pick[k - 1]] > r:
                pick[k] = pick[k - 1]
                k -= 1
            pick[k] = j
            if size < limit:
                size += 1
    return size


@kernel
def best_price(t, e, count, need, limit, t_high, e_high, reduced, pick, feasible):
    """Maximise L(λ) by secant steps between a set that misses the need and one that meets it.

    (t_high, e_high) is a set that meets it, its positions in `feasible`. Returns (λ, L(λ), size of `feasible`), with
    the cheapest set met on the way in `feasible`, and the reduced energies e − λt at the end in `reduced`.
    """
    t_low, e_low, size = 0.0, 0.0, -1
    for _ in range(MAX_STEPS):
        price = (e_high - e_low) / (t_high - t_low)
        for j in range(count):
            reduced[j] = e[j] - price * t[j]
        picked = smallest_negative(reduced, count, limit, pick)
        t_sum, e_sum = 0.0, 0.0
        for k in range(picked):
            t_sum += t[pick[k]]
            e_sum += e[pick[k]]
        bound = e_sum + price * (need - t_sum)
        if bound >= e_high + price * (need - t_high) - 1e-13 * e_high:
            break
        if t_sum >= need:
            t_high, e_high, size = t_sum, e_sum, picked
            for k in range(picked):
                feasible[k] = pick[k]
        else:
            t_low, e_low = t_sum, e_sum
    return price, bound, size
