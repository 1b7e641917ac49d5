"""Several subcarriers a link: leftover subcarriers shorten the round, at a stated price in energy.

A link that carries b bits over the sum rate R of its n subcarriers takes b/R seconds and P0·n·b/R joule. More
subcarriers never lower its energy, since the best one comes first, but they shorten it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from testbed.errors import ProblemError
from testbed.schedule.arrays import Floats, Ints
from testbed.schedule.compiled import allocating, kernel
from testbed.schedule.problem import Decision, Problem
from testbed.schedule.serve import loads

ROUNDING = 1e-12
"""A step that costs nothing but the rounding of a sum stays within the budget."""

Subcarriers = Mapping[tuple[int, int], Ints]


@dataclass(frozen=True, eq=False)
class PhaseFill:
    """One phase: links are directed.

    subcarrier_link (M,)  the link that each subcarrier serves, as from·K + to; −1 = none
    energy_j        (K, K) P0·n·bits / sum rate of each link
    duration_s      (K, K) bits / sum rate of each link
    """

    subcarrier_link: Ints
    energy_j: Floats
    duration_s: Floats

    @property
    def subcarriers(self) -> Subcarriers:
        """(from, to) → rising subcarrier indices, disjoint between links; idle links are not listed."""
        served, K = self.subcarrier_link, len(self.energy_j)
        links = np.unique(served[served >= 0]).tolist()
        return {(link // K, link % K): np.flatnonzero(served == link) for link in links}

    @property
    def makespan_s(self) -> float:
        """Senders take turns, the links of one sender share its turn: the sum of each sender's longest link."""
        return float(self.duration_s.max(axis=1).sum())


@dataclass(frozen=True, eq=False)
class Fill:
    """Subcarrier sets of both phases; `back` is None when only the forward hop counts."""

    forward: PhaseFill
    back: PhaseFill | None

    @property
    def communication_j(self) -> float:
        """Energy of all links in all phases, joule."""
        return float(self.forward.energy_j.sum() + (self.back.energy_j.sum() if self.back else 0.0))

    @property
    def makespan_s(self) -> float:
        """Time on the air of all phases, second."""
        return self.forward.makespan_s + (self.back.makespan_s if self.back else 0.0)


def fill_idle(problem: Problem, decision: Decision, max_energy_factor: float = 1.2) -> Fill:
    """Give idle subcarriers to the links that hold the round up.

    Each phase spends at most max_energy_factor ≥ 1 times the communication energy of `decision` in that phase;
    1 leaves the decision as it is. Subcarriers go one by one to the sender's longest link where one more saves
    the most time, the best free one first.
    """
    if not 1.0 <= max_energy_factor < np.inf:
        raise ProblemError(f"max_energy_factor = {max_energy_factor!r}: it must be at least 1 (1 adds nothing)")
    load = loads(decision.selected, problem.source) * problem.payload_bits
    np.fill_diagonal(load, 0.0)
    forward = _fill_phase(problem.rate_bps, load, decision.subcarrier, problem.tx_power_w, max_energy_factor)
    if problem.return_rate_bps is None or decision.return_subcarrier is None:
        return Fill(forward, None)
    back = _fill_phase(
        problem.return_rate_bps, load.T, decision.return_subcarrier, problem.tx_power_w, max_energy_factor
    )
    return Fill(forward, back)


def _fill_phase(rate: Floats, bits: Floats, subcarrier: Ints, power: float, factor: float) -> PhaseFill:
    sender, receiver = np.nonzero(subcarrier >= 0)
    rates = rate[sender, receiver]
    first, served = subcarrier[sender, receiver], bits[sender, receiver]
    own = np.searchsorted(sender, np.arange(len(bits) + 1))
    owner, count, speed = _hand_out(rates, served, first, own, power, factor)
    duration, energy, link = np.zeros(bits.shape), np.zeros(bits.shape), np.full(owner.size, -1)
    duration[sender, receiver] = served / speed
    energy[sender, receiver] = power * count * served / speed
    taken = np.flatnonzero(owner >= 0)
    link[taken] = (sender * len(bits) + receiver)[owner[taken]]
    return PhaseFill(link, energy, duration)


@allocating
def _hand_out(
    rate: Floats, bits: Floats, first: Ints, own: Ints, power: float, factor: float
) -> tuple[Ints, Floats, Floats]:
    """Who holds each subcarrier (M,), −1 = none; how many each link holds (L,), and their sum rate (L,).

    Links (L, M) begin with one each; own[i]…own[i + 1] are those of sender i.
    """
    owner, best = np.full(rate.shape[1], -1), np.full(bits.size, -1)
    count, speed = np.ones(bits.size), np.empty(bits.size)
    for row in range(bits.size):
        owner[first[row]] = row
        speed[row] = rate[row, first[row]]
    spent = power * np.sum(bits / speed)
    budget = factor * spent * (1.0 + ROUNDING)
    while True:
        row, extra = _best_link(rate, bits, own, owner, count, speed, best, power, budget - spent)
        if row < 0:
            return owner, count, speed
        owner[best[row]] = row
        count[row] += 1.0
        speed[row] += rate[row, best[row]]
        spent += extra


@kernel
def _best_link(
    rate: Floats,
    bits: Floats,
    own: Ints,
    owner: Ints,
    count: Floats,
    speed: Floats,
    best: Ints,
    power: float,
    budget: float,
) -> tuple[int, float]:
    """Of the senders' longest links, the one where its best free subcarrier saves most time, and its price in joule.

    −1 = none may have one. `best` (L,) remembers the best free subcarrier of a link.
    """
    chosen, saved, price = -1, 0.0, 0.0
    for i in range(own.size - 1):
        row = _longest(own[i], own[i + 1], bits, speed)
        if row < 0:
            continue
        if best[row] < 0 or owner[best[row]] >= 0:
            best[row] = _best_free(rate, row, owner, best[row])
        if best[row] < 0:
            continue
        faster = speed[row] + rate[row, best[row]]
        saving = bits[row] / speed[row] - bits[row] / faster
        extra = power * bits[row] * ((count[row] + 1.0) / faster - count[row] / speed[row])
        if saving > saved and extra <= budget:
            chosen, saved, price = row, saving, extra
    return chosen, price


@kernel
def _longest(first: int, last: int, bits: Floats, speed: Floats) -> int:
    """Which of the links first…last − 1 takes longest, the first of equals; −1 where there is none."""
    longest, seconds = -1, 0.0
    for row in range(first, last):
        if bits[row] / speed[row] > seconds:
            longest, seconds = row, bits[row] / speed[row]
    return longest


@kernel
def _best_free(rate: Floats, row: int, owner: Ints, last: int) -> int:
    """The fastest subcarrier of a link that nobody holds, the first of equals; −1 where none carries anything.

    `last` was that before, −1 at first: it stands behind all that were as fast, and faster ones are gone.
    """
    if last >= 0:
        for m in range(last + 1, owner.size):
            if owner[m] < 0 and rate[row, m] == rate[row, last]:
                return m
    best, fastest = -1, 0.0
    for m in range(owner.size):
        if owner[m] < 0 and rate[row, m] > fastest:
            best, fastest = m, rate[row, m]
    return best
