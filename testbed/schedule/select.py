"""Which experts serve each token (DES): exact, or certified when asked for a gap or stopped at a limit.

    minimise Σ_{j∈S} e_j   over sets S with Σ_{j∈S} t_j ≥ Q and |S| ≤ D, for every token by itself

Two exact ways, chosen line of prices by line of prices from measured costs: a table of all subsets when few experts
meet many tokens, and a branch and bound otherwise.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from testbed.errors import ProblemError
from testbed.schedule.arrays import Bools, Bytes, Floats, Ints
from testbed.schedule.batch import choose_all, choose_all_plain
from testbed.schedule.branch import LIMITED, RELAXED
from testbed.schedule.problem import QOS_TOLERANCE
from testbed.schedule.status import Status

NODE_LIMIT = 200_000
"""Search nodes a token may take; ordinary tokens take fewer than 200."""

METHODS = {"auto": 0, "table": 1, "search": 2}
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
    score = _matrix("score", score)
    energy, line = _energies(energy_j, row, score.shape)
    need = _needs(qos, score.shape[0]) - QOS_TOLERANCE
    limit = min(_at_least_one("max_experts", max_experts), max(score.shape[1], 1))
    node_limit = _at_least_one("node_limit", node_limit)
    if not 0.0 <= gap < 1.0:
        raise ProblemError(f"gap = {gap!r}: it must be at least 0 and below 1; 0 asks for the exact optimum")
    way = METHODS[_one_of("method", method, METHODS)]
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


def _matrix(field: str, value: ArrayLike) -> Floats:
    array = np.ascontiguousarray(value, dtype=np.float64)
    if array.ndim != 2:
        raise ProblemError(f"{field} has shape {array.shape}; it must be (N, K), a row for each token")
    return _not_negative(field, array, finite=True)


def _energies(value: ArrayLike, row: ArrayLike | None, shape: tuple[int, ...]) -> tuple[Floats, Ints]:
    tokens, experts = shape
    energy = np.asarray(value, dtype=np.float64)
    lines = 1 if energy.ndim == 1 else energy.shape[0] if energy.ndim == 2 else -1
    if energy.shape[-1:] != (experts,) or lines < 0 or (row is None and energy.ndim == 2 and lines != tokens):
        raise ProblemError(
            f"energy_j has shape {energy.shape}; for scores {shape} it must be ({experts},), ({tokens}, {experts}),"
            f" or (S, {experts}) with `row`"
        )
    _not_negative("energy_j", energy, finite=False)
    if row is not None:
        line = np.ascontiguousarray(row, dtype=np.int64)
        if line.shape != (tokens,) or (tokens and not (line.min() >= 0 and line.max() < lines)):
            raise ProblemError(f"row must be ({tokens},) indices below {lines}, the lines of energy_j")
    elif energy.ndim == 1 or (tokens and energy.strides[0] == 0):
        energy, line = energy.reshape(-1, experts)[:1], np.zeros(tokens, dtype=np.int64)
    else:
        line = np.arange(tokens)
    return np.ascontiguousarray(energy.reshape(-1, experts)), line


def _needs(value: ArrayLike, tokens: int) -> Floats:
    qos = np.asarray(value, dtype=np.float64)
    if qos.shape not in ((), (tokens,)):
        raise ProblemError(f"qos has shape {qos.shape}; it must be one number, or ({tokens},), one for each token")
    return np.broadcast_to(_not_negative("qos", qos, finite=True), (tokens,))


def _not_negative(field: str, array: Floats, *, finite: bool) -> Floats:
    if array.size and not (array.min() >= 0.0 and (not finite or array.max() < np.inf)):
        bad = ~((array >= 0.0) & (array < np.inf)) if finite else ~(array >= 0.0)
        index = tuple(int(k) for k in np.argwhere(bad)[0])
        raise ProblemError(f"{field}[{', '.join(map(str, index))}] = {array[index]}: it must be a number ≥ 0")
    return array


def _at_least_one(field: str, value: Any) -> int:  # noqa: ANN401
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, np.integer)) or value < 1:
        raise ProblemError(f"{field} = {value!r}: it must be a whole number ≥ 1")
    return int(value)


def _one_of(field: str, value: str, choices: Any) -> str:  # noqa: ANN401
    if value not in choices:
        raise ProblemError(f"{field} = {value!r}: choose one of {', '.join(choices)}")
    return value
