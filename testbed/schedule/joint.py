"""The whole joint search in one compiled call."""

from __future__ import annotations

import numpy as np

from testbed.schedule.arrays import Bools, Floats, Ints
from testbed.schedule.bounds import Multipliers, raise_bound, start_bound
from testbed.schedule.candidates import Candidates
from testbed.schedule.climb import (
    LESS,
    alternate,
    fit,
    fit_to_equal,
    fit_to_held,
    start_at_choice,
    start_at_duals,
    start_at_held,
    sweep,
)
from testbed.schedule.compiled import allocating, kernel
from testbed.schedule.owners import search_owners
from testbed.schedule.pose import multipliers, pose
from testbed.schedule.rounds import Round, Scratch, State, assign, count_loads, empty_like

AT_LB, AT_EQUAL, AT_HELD, AT_CHOICE = 0, 1, 2, 3
"""Where a search may start: see `jesa`; at a given allocation; at a given selection."""

FEW, PLENTY = 4, 4
"""With so many subcarriers a link, a tree over owners settles so many conflicts sooner than the Lagrangian bound."""

MAX_ROUNDS = 8
STEPS = 8
CHUNKS = 6


@allocating
def decide_jointly(
    score: Floats, source: Ints, need: Floats, limit: int, compute: Floats, hops: int, there: Candidates,
    back: Candidates, full: bool, start: int, warm: bool, given: Bools, given_0: Ints, given_1: Ints, gap: float,
    effort: float, selected: Bools, held_0: Ints, held_1: Ints, frozen: Bools, trace: Floats,
) -> tuple[float, float, int, int]:  # fmt: skip
    """Everything `jesa` does, from arrays to arrays: (energy, bound, passes, energies in the trace).

    given (N, K) is the selection to start at, given_h (K²,) the allocation to start at, or, when warm, one to try as
    well. Fills selected (N, K), held_h (K²,), frozen (N,) and trace. Energy inf: no way to serve was found, and
    selected is that of the relaxation.
    """
    r, s, w = pose(score, source, need, limit, compute, hops, there, back, selected, frozen)
    bound = w.bounds.sum()
    floor, proven, spare = selected.copy(), w.bounds.copy(), empty_like(s)
    energy = _begin(r, s, w, spare, start, given, given_0, given_1)
    if energy == np.inf:
        selected[:] = floor
        return energy, bound, 0, 0
    energy, passes = alternate(r, s, w, spare, energy)
    points = passes + 1
    trace[:points] = w.trace[:points]
    if full and bound < energy * (1.0 - gap):
        trial = empty_like(s)
        if warm:
            energy = start_at_held(r, s, w, trial, spare, energy, given_0, given_1)
        w.spent[0] = 0.0
        energy, bound, rounds = _prove(r, s, w, trial, spare, floor, proven, energy, bound, gap, effort)
        passes += rounds
        trace[points] = energy
        points += 1
    held_0[:] = s.held_0
    held_1[:] = s.held_1
    return energy, bound, passes, points


@allocating
def _prove(
    r: Round, s: State, w: Scratch, trial: State, spare: State, floor: Bools, proven: Floats,
    energy: float, bound: float, gap: float, effort: float,
) -> tuple[float, float, int]:  # fmt: skip
    """Bring a state and its bound together: by the tree over owners where it is small, by Lagrange, by the tree again.

    floor (N, K) and proven (N,) are the relaxation's choice and its bounds. Returns (energy, bound, Lagrangian rounds).
    """
    rounds, subcarriers = 0, min(r.there.cost.shape[1], r.back.cost.shape[1])
    if subcarriers >= PLENTY * r.there.cost.shape[0]:
        energy, bound = search_owners(r, s, w, trial, floor, energy, bound, gap, effort, FEW)
    if bound < energy * (1.0 - gap):
        b = multipliers(r, s, floor.copy(), proven)
        energy, bound, rounds = close_in(r, s, w, trial, spare, b, energy, bound, gap, effort)
    if bound < energy * (1.0 - gap):
        energy, bound = search_owners(r, s, w, trial, floor, energy, bound, gap, effort, r.there.cost.size)
    return energy, bound, rounds


@allocating
def _begin(
    r: Round, s: State, w: Scratch, spare: State, start: int, given: Bools, given_0: Ints, given_1: Ints
) -> float:
    """Bring the state to its start; returns its energy, inf if it cannot be served."""
    if start == AT_EQUAL:
        return fit_to_equal(r, s, w)
    if start == AT_HELD:
        return fit_to_held(r, s, w, spare, given_0, given_1)
    if start == AT_CHOICE:
        s.selected[:] = given
        s.asked[:] = -np.inf
        count_loads(given, r.source, s.load)
        return assign(r, s, w)
    return fit(r, s, w, spare, r.ideal.copy())


@kernel
def close_in(
    r: Round, s: State, w: Scratch, trial: State, spare: State, b: Multipliers,
    energy: float, bound: float, gap: float, effort: float,
) -> tuple[float, float, int]:  # fmt: skip
    """Improve a state and its bound until they meet within `gap`, nothing helps, or the effort is spent.

    Returns (energy, bound, rounds).
    """
    for done in range(MAX_ROUNDS):
        before = energy
        start_bound(s, b)
        for _ in range(CHUNKS):
            for _ in range(STEPS):
                if w.spent[0] < effort and bound < energy * (1.0 - gap):
                    bound = raise_bound(r, w, b, energy, bound)
            if w.spent[0] < effort and bound < energy * (1.0 - gap):
                energy = start_at_choice(r, s, w, trial, spare, energy, b.selected)
        if w.spent[0] >= effort or bound >= energy * (1.0 - gap):
            return energy, bound, done
        energy = start_at_duals(r, s, w, trial, spare, energy)
        energy = sweep(r, s, w, trial, spare, energy, effort)
        if not energy < before * LESS:
            return energy, bound, done
    return energy, bound, MAX_ROUNDS
