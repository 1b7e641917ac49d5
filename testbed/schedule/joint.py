"""The whole joint search in one compiled call: bound and decision close in on each other."""

from __future__ import annotations

from testbed.schedule.bounds import Multipliers, raise_bound, start_bound
from testbed.schedule.climb import LESS, start_at_choice, start_at_duals, sweep
from testbed.schedule.compiled import kernel
from testbed.schedule.rounds import Round, Scratch, State

MAX_ROUNDS = 8
STEPS = 8
CHUNKS = 6


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
