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
from testbed.schedule.problem import Decision, Problem
from testbed.schedule.serve import loads

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Subcarriers = Mapping[tuple[int, int], Ints]


@dataclass(frozen=True, eq=False)
class PhaseFill:
    """One phase: links are directed (from, to), and those not listed are idle.

    subcarriers      (from, to) → rising subcarrier indices, disjoint between links
    energy_j  (K, K) P0·n·bits / sum rate of each link
    duration_s (K, K) bits / sum rate of each link
    """

    subcarriers: Subcarriers
    energy_j: Floats
    duration_s: Floats

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
    held = {(int(i), int(j)): [int(subcarrier[i, j])] for i, j in np.argwhere(subcarrier >= 0)}
    speed = {link: float(rate[link][ms[0]]) for link, ms in held.items()}
    busy = np.zeros(rate.shape[2], dtype=np.bool_)
    busy[[ms[0] for ms in held.values()]] = True
    ranking = {link: np.argsort(-rate[link], kind="stable") for link in held}
    budget = factor * sum(power * bits[link] / speed[link] for link in held)
    while (step := _best_step(rate, bits, held, speed, ranking, busy, power, budget)) is not None:
        link, m = step
        held[link].append(m)
        speed[link] += float(rate[link][m])
        busy[m] = True
    return _phase_fill(bits, held, speed, power)


def _best_step(rate, bits, held, speed, ranking, busy, power, budget):  # noqa: ANN001, ANN202
    """The (link, subcarrier) that saves most time among every sender's longest link; None when none may be added."""
    spent = sum(power * len(held[link]) * bits[link] / speed[link] for link in held)
    best, saved = None, 0.0
    for link in _longest(bits, speed):
        m = _best_free(ranking[link], busy)
        if m < 0 or rate[link][m] <= 0.0:
            continue
        faster = speed[link] + float(rate[link][m])
        saving = bits[link] / speed[link] - bits[link] / faster
        extra = power * bits[link] * ((len(held[link]) + 1) / faster - len(held[link]) / speed[link])
        if saving > saved and spent + extra <= budget:
            best, saved = (link, m), saving
    return best


def _longest(bits, speed):  # noqa: ANN001, ANN202
    """Of each sender, its longest link."""
    longest: dict[int, tuple[int, int]] = {}
    for link in speed:
        other = longest.get(link[0])
        if other is None or bits[link] / speed[link] > bits[other] / speed[other]:
            longest[link[0]] = link
    return longest.values()


def _best_free(ranking: Ints, busy: NDArray[np.bool_]) -> int:
    free = ranking[~busy[ranking]]
    return int(free[0]) if free.size else -1


def _phase_fill(
    bits: Floats, held: dict[tuple[int, int], list[int]], speed: dict[tuple[int, int], float], power: float
) -> PhaseFill:
    duration = np.zeros(bits.shape)
    energy = np.zeros(bits.shape)
    for link, ms in held.items():
        duration[link] = bits[link] / speed[link]
        energy[link] = power * len(ms) * duration[link]
    return PhaseFill({link: np.array(sorted(ms)) for link, ms in held.items()}, energy, duration)
