"""Expert selection for many tokens: grouped by the prices they pay, each group in the cheaper way; compiled."""

from __future__ import annotations

import numpy as np

from testbed.schedule.arrays import Bools, Bytes, Floats, Ints
from testbed.schedule.branch import choose, sort_reachable
from testbed.schedule.compiled import allocating, kernel
from testbed.schedule.ratio import choose_plain
from testbed.schedule.subsets import LANES, MAX_EXPERTS, choose_from_table

AUTO, TABLE, SEARCH = 0, 1, 2


@allocating
def choose_all(
    score: Floats,
    energy: Floats,
    line: Ints,
    need: Floats,
    limit: int,
    gap: float,
    node_limit: int,
    way: int,
    selected: Bools,
    energies: Floats,
    bounds: Floats,
    nodes: Ints,
    ended: Bytes,
) -> None:
    """Choose the experts of every token; token n pays energy[line[n]] and needs need[n]. Fills the last five."""
    experts = score.shape[1]
    f, p = np.empty((6, experts + 1)), np.empty((6, experts + 1), dtype=np.int64)
    reach = np.empty((experts + 1, limit + 1))
    order = np.empty((energy.shape[0], experts), dtype=np.int64)
    first, members = group(line, energy.shape[0])
    for k in range(energy.shape[0]):
        if first[k] < first[k + 1]:
            tokens = members[first[k] : first[k + 1]]
            choose_line(
                score, energy, k, tokens, need, limit, gap, node_limit, way,
                order, f, p, reach, selected, energies, bounds, nodes, ended,
            )  # fmt: skip


@kernel
def choose_line(
    score: Floats,
    energy: Floats,
    k: int,
    tokens: Ints,
    need: Floats,
    limit: int,
    gap: float,
    node_limit: int,
    way: int,
    order: Ints,
    f: Floats,
    p: Ints,
    reach: Floats,
    selected: Bools,
    energies: Floats,
    bounds: Floats,
    nodes: Ints,
    ended: Bytes,
) -> None:
    """The listed tokens all pay energy[k]. Scratch: order (lines, K), f and p (6, K + 1), reach (K + 1, D + 1)."""
    reachable = sort_reachable(energy, k, order)
    if way == TABLE or (way == AUTO and table_pays(score.shape[1], limit, tokens.size)):
        choose_from_table(score, energy, k, order, reachable, tokens, need, limit, selected, energies, bounds, ended)
        return
    for n in tokens:
        energies[n], bounds[n], nodes[n], ended[n] = choose(
            score, n, energy, k, order, reachable, need[n], limit, gap, node_limit, f, p, reach, selected
        )


@allocating
def choose_all_plain(
    score: Floats,
    energy: Floats,
    line: Ints,
    need: Floats,
    limit: int,
    gap: float,
    node_limit: int,
    selected: Bools,
    energies: Floats,
    bounds: Floats,
    nodes: Ints,
    ended: Bytes,
) -> None:
    """As `choose_all`, by the plain search in ratio order."""
    order = np.empty((energy.shape[0], score.shape[1]), dtype=np.int64)
    path = np.empty((2, score.shape[1] + 1), dtype=np.int64)
    for n in range(score.shape[0]):
        reachable = sort_reachable(energy, line[n], order)
        energies[n], bounds[n], nodes[n], ended[n] = choose_plain(
            score, n, energy, line[n], order, reachable, need[n], limit, gap, node_limit, path, selected
        )


@allocating
def group(line: Ints, lines: int) -> tuple[Ints, Ints]:
    """Tokens by line: members[first[k] : first[k + 1]] are those of line k, in their order."""
    first = np.zeros(lines + 2, dtype=np.int64)
    for k in line:
        first[k + 2] += 1
    for k in range(lines):
        first[k + 2] += first[k + 1]
    members = np.empty(line.size, dtype=np.int64)
    for n in range(line.size):
        members[first[line[n] + 1]] = n
        first[line[n] + 1] += 1
    return first, members


@kernel
def table_pays(experts: int, limit: int, tokens: int) -> bool:
    """Whether building and scanning the subset table beats searching, by measured costs."""
    return experts <= MAX_EXPERTS and table_cost(experts, limit, tokens) < search_cost(experts, limit, tokens)


@kernel
def table_cost(experts: int, limit: int, tokens: int) -> float:
    """Modelled microseconds of the subset table: fitted to K = 2 … 12, D = 1 … 12, on one core at 2.6 GHz."""
    sets, ways = 1.0, 1.0
    for k in range(1, limit + 1):
        ways *= (experts - k + 1) / k
        sets += ways
    lanes = (tokens + LANES - 1) // LANES * LANES
    return 2.0 + 0.02 * sets + 0.002 * 2.0**experts + lanes * (0.012 + 0.00016 * sets)


@kernel
def search_cost(experts: int, limit: int, tokens: int) -> float:
    """Modelled microseconds of the search: fitted to K = 4 … 64, D = 2 … 8, on the same core."""
    return tokens * (0.15 + 0.018 * min(experts, 24.0) * min(limit, experts / 2))


@kernel
def line_cost(experts: int, limit: int, tokens: int) -> float:
    """Modelled microseconds to choose for that many tokens that pay the same prices."""
    search = search_cost(experts, limit, tokens)
    return min(search, table_cost(experts, limit, tokens)) if experts <= MAX_EXPERTS else search
