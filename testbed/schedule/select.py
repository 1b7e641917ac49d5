"""Which experts serve each token (DES): exact, or certified when asked for a gap or stopped at a limit.

    minimise Σ_{j∈S} e_j   over sets S with Σ_{j∈S} t_j ≥ Q and |S| ≤ D, for every token by itself

Two exact ways, chosen line of prices by line of prices from measured costs: a table of all subsets when few experts
meet many tokens, and a branch and bound otherwise.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from testbed.errors import ProblemError
from testbed.schedule.arrays import (
    Bools,
    Bytes,
    Floats,
    Ints,
    named,
    place_of,
    real_numbers,
    relative_gap,
    whole_number,
)
from testbed.schedule.batch import AUTO, SEARCH, TABLE, choose_all, choose_all_plain
from testbed.schedule.branch import LIMITED, RELAXED
from testbed.schedule.problem import QOS_TOLERANCE
from testbed.schedule.status import Status
from testbed.schedule.subsets import MAX_EXPERTS

NODE_LIMIT = 200_000
"""Search nodes a token may take; ordinary tokens take fewer than 200."""

UNLIMITED = 2**62

METHODS = {"auto": AUTO, "table": TABLE, "search": SEARCH}
BOUNDS = ("both", "lp")


@dataclass(frozen=True, eq=False)
class Selection:
    """The experts of every token.

    selected (N, K) bool  experts of each token; every set meets its QoS unless the token is relaxed
    energy_j (N,)         energy of each token's set
    bound_j  (N,)         a lower bound on it; equal to it where proven optimal
    relaxed  (N,) bool    tokens whose QoS no D reachable experts can meet; they got their Top-D reachable
    nodes    (N,)         search nodes; 0 where the subset table answered
    status                OPTIMAL, WITHIN_GAP, or NODE_LIMIT if any token hit it
    """

    selected: Bools
    energy_j: Floats
    bound_j: Floats
    relaxed: Bools
    nodes: Ints
    status: Status


def select_experts(
    score: ArrayLike,
    energy_j: ArrayLike,
    qos: ArrayLike,
    max_experts: int,
    *,
    gap: float = 0.0,
    node_limit: int = NODE_LIMIT,
    row: ArrayLike | None = None,
    method: str = "auto",
    bound: str = "both",
) -> Selection:
    """Cheapest experts that bring each token its score sum.

    score (N, K) ≥ 0; energy_j (K,) shared by all tokens, (N, K), or (S, K) with `row` (N,) naming each token's line,
    ≥ 0, inf = unreachable; qos () or (N,), where 0 needs no expert; max_experts D ≥ 1. gap > 0 allows a certified
    relative excess over the optimum; a token that reaches node_limit keeps its best set and the bound proven so far.
    Equal scores of a relaxed token go to the cheaper expert. method: "auto", "table" (all subsets; K ≤ 12) or
    "search". bound: "both" keeps QoS and D, "lp" is the plain ratio-order bound that drops D, for comparison.
    """
    price = real_numbers("energy_j", energy_j)
    score = _scores(score, price)
    energy, line = _energies(price, row, score.shape)
    need = _needs(qos, score.shape[0]) - QOS_TOLERANCE
    limit = min(whole_number("max_experts", max_experts), score.shape[1])
    node_limit = min(whole_number("node_limit", node_limit), UNLIMITED)
    gap = relative_gap(gap)
    way = METHODS[_one_of("method", method, METHODS)]
    if way == TABLE and score.shape[1] > MAX_EXPERTS:
        raise ProblemError(f"method = 'table' with K = {score.shape[1]} experts: it takes at most {MAX_EXPERTS}")
    selected = np.zeros(score.shape, dtype=np.bool_)
    energies, bounds = np.zeros(len(score)), np.zeros(len(score))
    nodes, ended = np.zeros(len(score), dtype=np.int64), np.zeros(len(score), dtype=np.int8)
    if _one_of("bound", bound, BOUNDS) == "lp":
        choose_all_plain(score, energy, line, need, limit, gap, node_limit, selected, energies, bounds, nodes, ended)
    else:
        choose_all(score, energy, line, need, limit, gap, node_limit, way, selected, energies, bounds, nodes, ended)
    return Selection(selected, energies, bounds, ended == RELAXED, nodes, _status(energies, bounds, ended))


def _status(energy: Floats, bound: Floats, ended: Bytes) -> Status:
    if (ended == LIMITED).any():
        return Status.NODE_LIMIT
    return Status.WITHIN_GAP if (bound < energy).any() else Status.OPTIMAL


def _scores(value: ArrayLike, energy: Floats) -> Floats:
    score = real_numbers("score", value)
    if score.size == 0 and score.ndim == 1:
        score = score.reshape(0, energy.shape[-1] if energy.ndim else 0)
    if score.ndim != 2 or score.shape[1] < 1:
        raise ProblemError(f"score has shape {score.shape}; it must be (N, K), a row for each token, K ≥ 1 experts")
    return _not_negative("score", score, finite=True)


def _energies(energy: Floats, row: ArrayLike | None, shape: tuple[int, ...]) -> tuple[Floats, Ints]:
    tokens, experts = shape
    lines = 1 if energy.ndim == 1 else energy.shape[0] if energy.ndim == 2 else -1
    if energy.shape[-1:] != (experts,) or lines < 0 or (row is None and energy.ndim == 2 and lines != tokens):
        raise ProblemError(
            f"energy_j has shape {energy.shape}; for scores {shape} it must be ({experts},), ({tokens}, {experts}),"
            f" or (S, {experts}) with `row`"
        )
    _not_negative("energy_j", energy, finite=False)
    if row is not None:
        return energy.reshape(-1, experts), _lines(row, tokens, lines)
    if energy.ndim == 1:
        return energy.reshape(1, experts), np.zeros(tokens, dtype=np.int64)
    return energy, np.arange(tokens)


def _lines(row: ArrayLike, tokens: int, lines: int) -> Ints:
    named_lines = real_numbers("row", row)
    line = named_lines.astype(np.int64)
    if line.shape != (tokens,):
        raise ProblemError(f"row has shape {line.shape}; it must be ({tokens},), the line of energy_j of each token")
    bad = (line != named_lines) | (line < 0) | (line >= lines)
    if bad.any():
        raise ProblemError(f"{named('row', named_lines, place_of(bad))}: energy_j has the lines 0 … {lines - 1}")
    return line


def _needs(value: ArrayLike, tokens: int) -> Floats:
    qos = real_numbers("qos", value)
    if qos.shape not in ((), (tokens,)):
        raise ProblemError(f"qos has shape {qos.shape}; it must be one number, or ({tokens},), one for each token")
    need: Floats = np.empty(tokens)
    need[:] = _not_negative("qos", qos, finite=True)
    return need


def _not_negative(field: str, array: Floats, *, finite: bool) -> Floats:
    if array.size and not (array.min() >= 0.0 and (not finite or array.max() < np.inf)):
        bad = ~((array >= 0.0) & (array < np.inf)) if finite else ~(array >= 0.0)
        legal = "a finite number ≥ 0" if finite else "a number ≥ 0; inf says unreachable"
        raise ProblemError(f"{named(field, array, place_of(bad))}: it must be {legal}")
    return array


def _one_of(field: str, value: str, choices: Iterable[str]) -> str:
    if not isinstance(value, str) or value not in choices:
        raise ProblemError(f"{field} = {value!r}: choose one of {', '.join(choices)}")
    return value
