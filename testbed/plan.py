"""From measured channels and gate scores to who sends what to whom, on which subcarriers.

The scheduler decides experts and one subcarrier a link; a plan adds what a real frame needs: subcarriers of
both phases, idle ones handed out to shorten frames, and the modulation and coding scheme of each link.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from testbed.ofdm.grid import Grid
from testbed.ofdm.mcs import choose_schemes, spectral_efficiency
from testbed.outcome import Energy, Measured
from testbed.protocol import Phase
from testbed.schedule.fill import PhaseFill, fill_idle
from testbed.schedule.policy import schedule
from testbed.schedule.problem import Decision, Problem
from testbed.schedule.serve import allocate, loads

Rates = NDArray[np.float64]
Links = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class RoundSettings:
    """What does not change from round to round; K nodes.

    Attributes:
        grid: OFDM grid.
        scheduler: name in the registry of `testbed.schedule`.
        z, gamma: layer l = 0…L−1 demands a score sum of z·gamma[l] (γ0^(l+1): dmoe-model.md 3.6, inferred).
        max_experts: D.
        hops: 2 prices both directions, 1 the way out alone.
        rate: "mcs" = what the frame carries at this SNR, "shannon" = B0·log2(1 + SNR).
        payload_bits: of one token, checksum included.
        tx_power_w: per subcarrier.
        compute_energy_j: (K,) of one token at each node.
        attempts: transmissions of a block before it is given up.
        margin_db: SNR kept in hand by link adaptation.
        fill_energy_factor: bound on what handing out idle subcarriers may cost; 1 = only for free.
        seed: for schedulers that draw at random.
    """

    grid: Grid
    scheduler: str
    z: float
    gamma: tuple[float, ...]
    max_experts: int
    hops: int
    rate: str
    payload_bits: int
    tx_power_w: float
    compute_energy_j: NDArray[np.float64]
    attempts: int
    margin_db: float
    fill_energy_factor: float
    seed: int

    def qos(self, layer: int) -> float:
        """z·γ(l) of layer 0…L−1."""
        return self.z * self.gamma[layer]

    @property
    def full_band_power_w(self) -> float:
        """All used subcarriers at once, as preambles and soundings do."""
        return float(self.tx_power_w * self.grid.used.size)


@dataclass(frozen=True, eq=False)
class Allocation:
    """Subcarriers and schemes of the links of one phase; K nodes, M data subcarriers.

    Attributes:
        mcs: (K, K), −1 where idle.
        subcarrier_link: (M,) link as from·K + to, −1 = none.
    """

    mcs: Links
    subcarrier_link: Links

    def subcarriers_of(self, link: Links) -> tuple[Links, Links]:
        """Of links (S,) as from·K + to: (Q,) place in `link`, rising, and (Q,) subcarrier of each pair of the two."""
        by_link, first = self._by_link
        count = self.count[link]
        place = np.repeat(np.arange(link.size), count)
        offset = np.arange(place.size) - np.repeat(np.cumsum(count) - count, count)
        return place, by_link[first[link][place] + offset]

    @cached_property
    def count(self) -> Links:
        """(K·K,) subcarriers of each link."""
        return np.diff(self._by_link[1])

    @cached_property
    def _by_link(self) -> tuple[Links, Links]:
        """(M,) subcarriers in the order of their links, and (K·K + 1,) where each link's begin in it."""
        by_link = np.argsort(self.subcarrier_link, kind="stable")
        return by_link, np.searchsorted(self.subcarrier_link[by_link], np.arange(self.mcs.size + 1))


@dataclass(frozen=True, eq=False)
class Plan:
    """A decision, and what its frames look like.

    Attributes:
        problem: what was asked; decision: what was answered.
        row: (N,) row of each token in its own node's batch.
        forward, back: allocations of the two phases.
        predicted: energy by the model.
    """

    problem: Problem
    decision: Decision
    row: NDArray[np.int64]
    forward: Allocation
    back: Allocation
    predicted: Energy

    def allocation(self, phase: Phase) -> Allocation:
        """The allocation of a phase."""
        return self.forward if phase == "forward" else self.back

    def rows_of(self, node: int) -> NDArray[np.bool_]:
        """(N_node, K) experts chosen for the tokens of `node`."""
        return np.asarray(self.decision.selected[self.problem.source == node])


def rates(settings: RoundSettings, measured: Measured, alive: NDArray[np.bool_]) -> Rates:
    """(K, K, M) bit/s of each directed link on each data subcarrier; 0 for dead nodes and unmeasured links."""
    snr = data_snr(settings, measured)
    if settings.rate == "mcs":
        bps = spectral_efficiency(snr, settings.margin_db) / settings.grid.symbol_s
    else:
        bps = settings.grid.spacing_hz * np.log2(1.0 + snr.astype(np.float64))
    usable: NDArray[np.bool_] = measured.valid & alive[:, None] & alive[None, :]
    bps = np.where(usable[:, :, None], bps, 0.0)
    bps.flags.writeable = False  # a problem keeps it without a copy
    return bps


def data_snr(settings: RoundSettings, measured: Measured) -> NDArray[np.float32]:
    """(K, K, M) measured linear SNR on the data subcarriers."""
    return np.take(measured.snr, settings.grid.data, axis=2)


def pose(settings: RoundSettings, layer: int, scores: dict[int, NDArray[np.float64]], bps: Rates) -> Problem:
    """The scheduling problem of a layer; `scores` by node, `bps` (K, K, M).

    Results come back also where only the way out is priced, so a link without a way back cannot be used.
    """
    K = bps.shape[0]
    nodes = sorted(scores)
    two_way = settings.hops == 2
    return Problem(
        score=np.concatenate([np.zeros((0, K)), *(scores[k] for k in nodes)]),
        source=np.repeat(np.array(nodes, np.int64), np.array([len(scores[k]) for k in nodes], np.int64)),
        rate_bps=bps if two_way else np.where(np.asarray(bps.any(axis=2)).T[:, :, None], bps, 0.0),
        return_rate_bps=bps if two_way else None,
        payload_bits=settings.payload_bits,
        tx_power_w=settings.tx_power_w,
        compute_energy_j=settings.compute_energy_j,
        qos=settings.qos(layer),
        max_experts=settings.max_experts,
    )


def decide(settings: RoundSettings, problem: Problem, measured: Measured, previous: Plan | None) -> Plan:
    """Asks the scheduler, and works its answer out into frames."""
    before = previous.decision if previous else None
    options = {"z": settings.z} if settings.scheduler == "homogeneous" else {}
    decision = schedule(problem, settings.scheduler, previous=before, seed=settings.seed, **options)
    two_way, both = with_way_back(problem, decision)
    fill = fill_idle(two_way, both, settings.fill_energy_factor)
    assert fill.back is not None
    snr = data_snr(settings, measured)
    return Plan(
        problem=problem,
        decision=decision,
        row=rows_within(problem.source),
        forward=phase_allocation(settings, fill.forward, snr),
        back=phase_allocation(settings, fill.back, snr),
        predicted=Energy(decision.computation_j, fill.forward.energy_j, fill.back.energy_j, 0.0),
    )


def with_way_back(problem: Problem, decision: Decision) -> tuple[Problem, Decision]:
    """A real round returns results also when only the way out was priced; those links get subcarriers here."""
    if decision.return_subcarrier is not None:
        return problem, decision
    two_way = replace(problem, return_rate_bps=problem.rate_bps)
    K = problem.nodes
    back = allocate(two_way, loads(decision.selected, problem.source))[1].subcarrier.reshape(K, K)
    return two_way, replace(decision, return_subcarrier=back)


def phase_allocation(settings: RoundSettings, fill: PhaseFill, snr: NDArray[np.float32]) -> Allocation:
    """Subcarriers, and the scheme that the measured SNR (K, K, M) of each link's set supports."""
    K = snr.shape[0]
    subcarrier = np.flatnonzero(fill.subcarrier_link >= 0)
    link = fill.subcarrier_link[subcarrier]
    links = np.flatnonzero(np.bincount(link))
    place = np.searchsorted(links, link)
    heard = snr.reshape(K * K, -1)[link, subcarrier].astype(np.float64)
    mcs = np.full(K * K, -1, np.int64)
    mcs[links] = np.maximum(choose_schemes(heard, place, links.size, settings.margin_db), 0)
    return Allocation(mcs.reshape(K, K), fill.subcarrier_link)


def rows_within(source: NDArray[np.int64]) -> NDArray[np.int64]:
    """(N,) number of each token among the tokens of its own node."""
    order = np.argsort(source, kind="stable")
    rising = source[order]
    row = np.empty(source.size, np.int64)
    row[order] = np.arange(source.size) - np.searchsorted(rising, rising)
    return row
