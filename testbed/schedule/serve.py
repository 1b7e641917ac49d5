"""From a selection to a runnable decision: loads of links, their subcarriers, prices, energies."""

from __future__ import annotations

import numpy as np

from testbed.schedule.arrays import Bools, Floats, Ints
from testbed.schedule.assign import Assignment, assign_subcarriers
from testbed.schedule.compiled import kernel
from testbed.schedule.problem import Decision, Problem
from testbed.schedule.rounds import count_loads
from testbed.schedule.select import Selection, select_experts
from testbed.schedule.status import Status

OPTIMALITY = 1e-9
"""A relative gap this small counts as none: it is the rounding of the sums."""


def loads(selected: Bools, source: Ints) -> Floats:
    """(K, K) tokens that source i sends to expert j; the diagonal counts those that stay."""
    load = np.empty((selected.shape[1], selected.shape[1]))
    count_loads(selected, source, load)
    return load


def select_at(problem: Problem, price: Floats) -> Selection:
    """DES for all tokens at pair prices (K, K)."""
    return select_experts(problem.score, price, problem.qos, problem.max_experts, row=problem.source)


def allocate(problem: Problem, weight: Floats) -> tuple[Assignment, ...]:
    """Assign subcarriers in every phase to pairs (source, expert) of the given weights (K, K).

    The return phase carries the result of pair (i, j) over the directed link j→i. The diagonal needs no link.
    """
    apart = weight.copy()
    np.fill_diagonal(apart, 0.0)
    rows = (apart.ravel(), np.ascontiguousarray(apart.T).ravel())[: len(problem.phases)]
    return tuple(
        assign_subcarriers(phase.cost, row, candidates=phase) for phase, row in zip(problem.phases, rows, strict=True)
    )


def hop_prices(problem: Problem, subcarriers: tuple[Ints, ...]) -> tuple[Floats, ...]:
    """Joule per token of each directed link (from, to) on its own subcarrier, phase by phase; inf where it has none."""
    K = problem.nodes
    hops = []
    for phase, subcarrier in zip(problem.phases, subcarriers, strict=True):
        held = subcarrier.ravel()
        price = np.full(K * K, np.inf)
        served = np.flatnonzero(held >= 0)
        price[served] = phase.cost[served, held[served]]
        hops.append(price.reshape(K, K))
    return tuple(hops)


def best_hops(problem: Problem) -> tuple[Floats, ...]:
    """Joule per token of each directed link on its own best subcarrier: what it would cost were it alone."""
    K = problem.nodes
    return tuple(phase.price[:, 0].reshape(K, K) for phase in problem.phases)


def link_prices(hops: tuple[Floats, ...]) -> Floats:
    """(K, K) joule to carry one token of source i to expert j and, with two hops, its result back; 0 at home."""
    there = hops[0].copy() if len(hops) == 1 else hops[0] + hops[1].T
    np.fill_diagonal(there, 0.0)
    return there


def pair_prices(problem: Problem, hops: tuple[Floats, ...]) -> Floats:
    """(K, K) joule of one token of source i at expert j: computing, going there and, with two hops, coming back.

    Summed in this order everywhere, so that equal prices are equal numbers.
    """
    price = problem.compute_energy_j + hops[0]
    if len(hops) > 1:
        price += hops[1].T
    np.fill_diagonal(price, problem.compute_energy_j)
    return price


def decide(
    problem: Problem,
    selected: Bools,
    bound_j: float,
    relaxed: Bools,
    status: Status | None = None,
    *,
    iterations: int = 1,
    trace: tuple[float, ...] = (),
    subcarriers: tuple[Ints, ...] | None = None,
) -> Decision:
    """Price a selection on its best subcarriers, or on the given ones, phase by phase (K·K,), −1 = none.

    Without a status it is OPTIMAL when the bound proves it, else WITHIN_GAP.
    """
    K = problem.nodes
    load = loads(selected, problem.source)
    if subcarriers is None:
        subcarriers = tuple(a.subcarrier for a in allocate(problem, load))
    there, back = problem.phases[0].cost, problem.phases[-1].cost
    held = np.empty((K, K), np.int64), np.empty((K, K), np.int64)
    communication, computation = np.empty((K, K)), np.empty(K)
    _account(
        load, problem.compute_energy_j, len(subcarriers), there, back, subcarriers[0], subcarriers[-1],
        *held, communication, computation,
    )  # fmt: skip
    total = float(communication.sum() + computation.sum())
    if status is None:
        status = Status.OPTIMAL if total - bound_j <= OPTIMALITY * total else Status.WITHIN_GAP
    if total - bound_j <= OPTIMALITY * total and status is Status.OPTIMAL:
        bound_j = total
    returned = held[1] if len(subcarriers) > 1 else None
    return Decision(
        selected, held[0], returned, communication, computation, bound_j, relaxed, status, iterations, trace
    )


@kernel
def _account(
    load: Floats,
    compute: Floats,
    hops: int,
    there: Floats,
    back: Floats,
    held_0: Ints,
    held_1: Ints,
    forward: Ints,
    returned: Ints,
    communication: Floats,
    computation: Floats,
) -> None:
    """Fill subcarriers (K, K) of both phases, −1 where idle, and energies (K, K), (K,)."""
    K = compute.size
    forward[:], returned[:], communication[:], computation[:] = -1, -1, 0.0, 0.0
    for i in range(K):
        for j in range(K):
            if load[i, j] == 0.0:
                continue
            computation[j] += load[i, j] * compute[j]
            if i == j:
                continue
            row, mirror = i * K + j, j * K + i
            forward[i, j] = held_0[row]
            price = there[row, held_0[row]] if held_0[row] >= 0 else np.inf
            if hops > 1:
                returned[j, i] = held_1[mirror]
                price += back[mirror, held_1[mirror]] if held_1[mirror] >= 0 else np.inf
            communication[i, j] = load[i, j] * price
