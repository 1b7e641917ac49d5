"""Steps of the joint local search, each from a state to a better one; compiled."""

from __future__ import annotations

import numpy as np

from testbed.schedule.arrays import Bools, Floats, Ints
from testbed.schedule.close import close_until_served
from testbed.schedule.compiled import allocating, kernel
from testbed.schedule.quota import MAX_NODES, open_by_quota
from testbed.schedule.rounds import (
    MAX_PASSES,
    Round,
    Scratch,
    State,
    assign,
    copy_state,
    count_loads,
    current_prices,
    dual_prices,
    reselect,
)

LESS = 1.0 - 1e-12
"""Energies count as lower when below this part of the old one, so that rounding never cycles."""

SCALES = (0.3, 0.6, 1.0, 1.6, 2.5)
"""Parts of the duals that starts charge; what a link really suffers for its neighbours lies about there."""

NEAR = 1.01
"""A move that lands within this part of the best energy is worth an alternation."""


@kernel
def choose_at(r: Round, s: State, w: Scratch, price: Floats) -> bool:
    """Choose for all free tokens at these pair prices; False if one misses its QoS."""
    met = True
    for i in range(r.compute.size):
        met = reselect(r, s, w, i, price) and met
    return met


@kernel
def fit(r: Round, s: State, w: Scratch, spare: State, price: Floats) -> float:
    """Choose at these pair prices and close pairs until all links can be served; closed pairs become inf in `price`.

    Returns the energy; inf if no way was found.
    """
    if not choose_at(r, s, w, price):
        return np.inf
    energy = assign(r, s, w)
    if energy < np.inf:
        return energy
    links = min(r.there.cost.shape[1], r.back.cost.shape[1])
    if r.compute.size <= MAX_NODES and open_by_quota(r, price, links):
        choose_at(r, s, w, price)
    return close_until_served(r, s, w, spare, price, -1)


@allocating
def fit_to_equal(r: Round, s: State, w: Scratch) -> float:
    """Choose at the prices of an assignment in which all pairs weigh the same; the energy, inf if unserved."""
    K = r.compute.size
    load, price = s.load.copy(), np.empty(r.ideal.shape)
    for i in range(K):
        for j in range(K):
            s.load[i, j] = 1.0 if i != j and r.ideal[i, j] < np.inf else 0.0
    assign(r, s, w)
    s.load[:] = load
    current_prices(r, s, price)
    return assign(r, s, w) if choose_at(r, s, w, price) else np.inf


@allocating
def fit_to_held(r: Round, s: State, w: Scratch, spare: State, held_0: Ints, held_1: Ints) -> float:
    """Choose at the prices of a given allocation. Returns the energy, inf if no way was found."""
    price = np.empty(r.ideal.shape)
    s.held_0[:] = held_0
    s.held_1[:] = held_1
    current_prices(r, s, price)
    return fit(r, s, w, spare, price)


@allocating
def alternate(r: Round, s: State, w: Scratch, spare: State, energy: float) -> tuple[float, int]:
    """Select at current prices and assign, while that lowers the energy. Returns (energy, passes).

    The energies before and after each pass are left in w.trace.
    """
    price = np.empty(r.ideal.shape)
    w.trace[0] = energy
    for done in range(MAX_PASSES):
        current_prices(r, s, price)
        copy_state(s, spare)
        lower = assign(r, s, w) if choose_at(r, s, w, price) else np.inf
        if not lower < energy * LESS:
            copy_state(spare, s)
            return energy, done
        energy = lower
        w.trace[done + 1] = energy
    return energy, MAX_PASSES


@kernel
def settle(r: Round, s: State, w: Scratch, trial: State, spare: State, energy: float, found: float) -> float:
    """Alternate from a trial of energy `found` if it is near, and move to it if it is better. Returns the energy."""
    if found < energy * NEAR:
        found, _ = alternate(r, trial, w, spare, found)
    if not found < energy * LESS:
        return energy
    copy_state(trial, s)
    return found


@allocating
def start_at_duals(r: Round, s: State, w: Scratch, trial: State, spare: State, energy: float) -> float:
    """Select anew at dual prices of several scales; keep the best."""
    price = np.empty(r.ideal.shape)
    for scale in SCALES:
        dual_prices(r, s, scale, price)
        copy_state(s, trial)
        found = fit(r, trial, w, spare, price)
        energy = settle(r, s, w, trial, spare, energy, found)
    return energy


@kernel
def start_at_held(
    r: Round, s: State, w: Scratch, trial: State, spare: State, energy: float, held_0: Ints, held_1: Ints
) -> float:
    """Start from a given allocation."""
    copy_state(s, trial)
    found = fit_to_held(r, trial, w, spare, held_0, held_1)
    return settle(r, s, w, trial, spare, energy, found)


@allocating
def start_at_choice(
    r: Round, s: State, w: Scratch, trial: State, spare: State, energy: float, selected: Bools
) -> float:
    """Start from a selection that came with a bound."""
    copy_state(s, trial)
    trial.selected[:] = selected
    trial.asked[:] = -np.inf
    count_loads(selected, r.source, trial.load)
    found = close_until_served(r, trial, w, spare, r.ideal.copy(), -1)
    return settle(r, s, w, trial, spare, energy, found)


@allocating
def sweep(r: Round, s: State, w: Scratch, trial: State, spare: State, energy: float, effort: float) -> float:
    """Try to open and to close each contested pair once, in an order that node numbers do not change."""
    K = r.compute.size
    price = np.empty(r.ideal.shape)
    for row in r.there.order:
        i, j = row // K, row % K
        if i == j or r.ideal[i, j] == np.inf or r.first[i] == r.first[i + 1]:
            continue
        for close in (False, True):
            current_prices(r, s, price)
            if w.spent[0] > effort or not worth_trying(r, s, i, j, close, price):
                continue
            price[i, j] = np.inf if close else r.ideal[i, j]
            copy_state(s, trial)
            if reselect(r, trial, w, i, price):
                found = close_until_served(r, trial, w, spare, price, row)
                energy = settle(r, s, w, trial, spare, energy, found)
    return energy


@kernel
def worth_trying(r: Round, s: State, i: int, j: int, close: bool, price: Floats) -> bool:
    """A pair is contested when it pays more than its best, or others would pay for what it holds."""
    if close and (s.load[i, j] == 0.0 or r.fixed[i, j] > 0.0):
        return False
    if price[i, j] > r.ideal[i, j] * (1.0 + 1e-12):
        return True
    if not close:
        return False
    K = r.compute.size
    wanted = s.dual_0[s.held_0[i * K + j]] > 0.0
    return wanted or (r.hops == 2 and s.dual_1[s.held_1[j * K + i]] > 0.0)
