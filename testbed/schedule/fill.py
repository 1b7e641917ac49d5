"""Several subcarriers a link: leftover subcarriers shorten the round, at a stated price in energy.

A link that carries b bits over the sum rate R of its n subcarriers takes b/R seconds and P0·n·b/R joule. More
subcarriers never lower its energy, since the best one comes first, but they shorten it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from testbed.errors import ProblemError
from testbed.schedule.compiled import kernel
from testbed.schedule.problem import Decision, Problem
from testbed.schedule.serve import loads

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
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
    ranking = np.argsort(-rates, axis=1, kind="stable")
    owner = _hand_out(rates, ranking, served, first, sender, power, factor)
    taken = np.flatnonzero(owner >= 0)
    count = np.bincount(owner[taken], minlength=sender.size)
    speed = np.bincount(owner[taken], rates[owner[taken], taken], sender.size)
    duration, energy, link = np.zeros(bits.shape), np.zeros(bits.shape), np.full(owner.size, -1)
    duration[sender, receiver] = served / speed
    energy[sender, receiver] = power * count * served / speed
    link[taken] = (sender * len(bits) + receiver)[owner[taken]]
    return PhaseFill(link, energy, duration)


@kernel
def _hand_out(
    rate: Floats, ranking: Ints, bits: Floats, first: Ints, sender: Ints, power: float, factor: float
) -> Ints:
    """(M,) link that holds each subcarrier, −1 = none; links (L, M) begin with one each."""
    owner = np.full(rate.shape[1], -1)
    count = np.ones(bits.size)
    speed = np.empty(bits.size)
    for row in range(bits.size):
        owner[first[row]] = row
        speed[row] = rate[row, first[row]]
    budget = factor * _spent(bits, count, speed, power)
    place = np.zeros(bits.size, dtype=np.int64)
    while True:
        row = _best_link(rate, ranking, bits, sender, owner, count, speed, place, power, budget)
        if row < 0:
            return owner
        m = ranking[row, place[row]]
        owner[m] = row
        count[row] += 1.0
        speed[row] += rate[row, m]


@kernel
def _best_link(
    rate: Floats,
    ranking: Ints,
    bits: Floats,
    sender: Ints,
    owner: Ints,
    count: Floats,
    speed: Floats,
    place: Ints,
    power: float,
    budget: float,
) -> int:
    """Of the senders' longest links, the one where its best free subcarrier saves most time; −1 = none may have one."""
    spent = _spent(bits, count, speed, power)
    best, saved = -1, 0.0
    for row in range(bits.size):
        if not _is_longest(row, bits, sender, speed):
            continue
        m = _best_free(row, ranking, owner, place)
        if m < 0 or rate[row, m] <= 0.0:
            continue
        faster = speed[row] + rate[row, m]
        saving = bits[row] / speed[row] - bits[row] / faster
        extra = power * bits[row] * ((count[row] + 1.0) / faster - count[row] / speed[row])
        if saving > saved and spent + extra <= budget * (1.0 + ROUNDING):
            best, saved = row, saving
    return best


@kernel
def _spent(bits: Floats, count: Floats, speed: Floats, power: float) -> float:
    return power * np.sum(count * bits / speed)


@kernel
def _is_longest(row: int, bits: Floats, sender: Ints, speed: Floats) -> bool:
    """No other link of the same sender takes longer; of equal ones the first counts."""
    mine = bits[row] / speed[row]
    for other in range(bits.size):
        theirs = bits[other] / speed[other]
        if sender[other] == sender[row] and (theirs > mine or (theirs == mine and other < row)):
            return False
    return True


@kernel
def _best_free(row: int, ranking: Ints, owner: Ints, place: Ints) -> int:
    """The best subcarrier of a link that nobody holds; `place` remembers how far its ranking is used up."""
    while place[row] < ranking.shape[1] and owner[ranking[row, place[row]]] >= 0:
        place[row] += 1
    return ranking[row, place[row]] if place[row] < ranking.shape[1] else -1
