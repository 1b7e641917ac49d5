"""The scheduler beside the solvers a user would pick: selection, assignment, joint decisions, whole rounds.

    python benchmarks/schedule.py [--quick] [--json FILE]

One core, one run for ours and the peers, medians over repetitions taken in turn. Every answer is checked against
the peers' before it is timed; a wrong one ends the benchmark. Softmax scores (σ 1), log-normal energies, Rayleigh
channels at 10 dB, fixed seeds.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from scipy.optimize import linear_sum_assignment

from testbed.schedule.assign import _assign_by_numba, assign_many, assign_subcarriers
from testbed.schedule.candidates import candidate_lists
from testbed.schedule.exact import jesa_exact, select_exact
from testbed.schedule.jesa import jesa
from testbed.schedule.problem import Problem
from testbed.schedule.select import select_experts
from testbed.schedule.status import Status

Row = dict[str, object]


def median_s(work: Callable[[], object], repeat: int) -> float:
    """Median wall time of `work`, after one call that is not counted."""
    work()
    taken = []
    for _ in range(repeat):
        start = time.perf_counter()
        work()
        taken.append(time.perf_counter() - start)
    return statistics.median(taken)


def softmax_scores(rng: np.random.Generator, tokens: int, experts: int) -> np.ndarray:
    """(N, K) softmax of standard normal logits."""
    powers = np.exp(rng.normal(size=(tokens, experts)))
    return powers / powers.sum(axis=1, keepdims=True)


def share_of_top(score: np.ndarray, count: int, share: float) -> np.ndarray:
    """(N,) a QoS of `share` of each token's `count` best scores."""
    return share * np.sort(score, axis=1)[:, -count:].sum(axis=1)


def cp_sat(score: np.ndarray, energy: np.ndarray, need: float, limit: int) -> float:
    """One token by OR-Tools CP-SAT on integers of 1e-9 relative size."""
    from ortools.sat.python import cp_model

    model = cp_model.CpModel()
    x = [model.new_bool_var(str(j)) for j in range(len(score))]
    model.add(sum(int(np.floor(1e9 * t)) * v for t, v in zip(score, x, strict=True)) >= int(np.ceil(1e9 * need)) - 64)
    model.add(sum(x) <= limit)
    scale = 1e9 / energy.max()
    model.minimize(sum(round(scale * e) * v for e, v in zip(energy, x, strict=True)))
    solver = cp_model.CpSolver()
    solver.parameters.num_workers = 1
    solver.solve(model)
    return float(sum(e for e, v in zip(energy, x, strict=True) if solver.value(v)))


def selection(rng: np.random.Generator, experts: int, limit: int, share: float, tokens: int, peers: int) -> Row:
    """Microseconds a token, ours and the solvers'; `peers` tokens go through the solvers."""
    score, energy = softmax_scores(rng, tokens, experts), rng.lognormal(size=experts)
    need = share_of_top(score, limit, share)
    each = np.repeat(energy[None], tokens, axis=0)
    found = select_experts(score, energy, need, limit)
    np.testing.assert_allclose(select_experts(score, energy, need, limit, method="search").energy_j, found.energy_j)
    row: Row = {"K": experts, "D": limit, "qos": share}

    def per_token(**options: object) -> float:
        return 1e6 * median_s(lambda: select_experts(score, energy, need, limit, **options), 15) / tokens  # type: ignore[arg-type]

    if experts <= 12:
        row["table µs"] = per_token(method="table")
    row["search µs"] = per_token(method="search")
    row["own prices µs"] = 1e6 * median_s(lambda: select_experts(score, each, need, limit), 5) / tokens
    row["nodes max"] = int(select_experts(score, energy, need, limit, method="search").nodes.max())
    if share >= 0.9:
        few = slice(0, 64)
        slow = median_s(lambda: select_experts(score[few], energy, need[few], limit, bound="lp"), 1)
        row["plain bound µs"] = 1e6 * slow / 64
    for name, solve in solvers(limit).items():
        if peers == 0:
            continue
        start = time.perf_counter()
        answers = [solve(score[n], energy, float(need[n])) for n in range(peers)]
        row[f"{name} µs"] = 1e6 * (time.perf_counter() - start) / peers
        np.testing.assert_allclose(answers, found.energy_j[:peers], rtol=1e-5, err_msg=name)
    return row


def solvers(limit: int) -> dict[str, Callable[[np.ndarray, np.ndarray, float], float]]:
    """The peers, each for one token."""
    return {
        "PuLP+CBC": lambda t, e, q: select_exact(t, e, q, limit, solver="cbc")[1],
        "PuLP+HiGHS": lambda t, e, q: select_exact(t, e, q, limit)[1],
        "CP-SAT": lambda t, e, q: cp_sat(t, e, q, limit),
    }


def assignments(rng: np.random.Generator, links: int, subcarriers: int, draws: int) -> Row:
    """Medians over several draws, of times and of their ratios alike."""
    repeat = 31 if links < 100 else 11 if links < 900 else 5
    drawn = [assignment(rng, links, subcarriers, repeat) for _ in range(draws)]
    return {name: statistics.median(row[name] for row in drawn) for name in drawn[0]}  # type: ignore[type-var]


def assignment(rng: np.random.Generator, links: int, subcarriers: int, repeat: int) -> Row:
    """Microseconds of one assignment: warm (lists at hand), cold, scipy, and lapx in three ways; the best one counts.

    "by numba" is what a warm one takes where there is no C compiler, "batch" one of many weights in one call. Peers
    get costs already multiplied by weights, which takes "product" and is none of their time. lapjvs works in single
    precision, as it does unless told.
    """
    import lap

    cost = 1.0 / np.log2(1.001 + 10 * rng.exponential(size=(links, subcarriers)))
    weight = rng.integers(1, 20, links).astype(float)
    weighted = cost * weight[:, None]
    lists = candidate_lists(cost)
    many = rng.integers(1, 20, (1000 if links < 100 else 20, links)).astype(float)
    ways: dict[str, Callable[[], object]] = {
        "warm µs": lambda: assign_subcarriers(cost, weight, candidates=lists),
        "cold µs": lambda: assign_subcarriers(cost, weight),
        "by numba µs": lambda: _assign_by_numba(cost, weight, lists),
        "product µs": lambda: cost * weight[:, None],
        "scipy µs": lambda: linear_sum_assignment(weighted),
        "lapjv µs": lambda: lap.lapjv(weighted, extend_cost=True),
        "lapjvx µs": lambda: lap.lapjvx(weighted, extend_cost=True),
        "lapjvs µs": lambda: lap.lapjvs(weighted),
    }
    rows, columns = linear_sum_assignment(weighted)
    best = weighted[rows, columns].sum()
    for found in (ways["warm µs"](), ways["cold µs"]()):
        np.testing.assert_allclose(found.total, best, rtol=1e-9)  # type: ignore[attr-defined]
    row: Row = {"links": links, "M": subcarriers, **medians_in_turn(ways, repeat)}
    row["batch µs"] = 1e6 * median_s(lambda: assign_many(lists, many), 5) / len(many)
    lapx = min(row[name] for name in ("lapjv µs", "lapjvx µs", "lapjvs µs"))  # type: ignore[type-var]
    row["× scipy"], row["× lapx"] = row["scipy µs"] / row["warm µs"], lapx / row["warm µs"]  # type: ignore[operator]
    row["× product, scipy"] = (row["product µs"] + row["scipy µs"]) / row["warm µs"]  # type: ignore[operator]
    row["batch × scipy"] = row["scipy µs"] / row["batch µs"]  # type: ignore[operator]
    row["cold × best"] = min(row["scipy µs"], lapx) / row["cold µs"]  # type: ignore[operator,type-var]
    return row


def medians_in_turn(ways: dict[str, Callable[[], object]], repeat: int) -> dict[str, object]:
    """Median microseconds of each way, in turn, each called as often as takes 2 ms; a slow way is tried twice.

    Each is called once before its time is taken, so that it finds its own arrays in the processor's cache.
    """
    taken: dict[str, list[float]] = {name: [] for name in ways}
    calls = {name: max(1, int(2e-3 / median_s(work, 3))) for name, work in ways.items()}
    for _ in range(repeat):
        for name, work in ways.items():
            if len(taken[name]) >= 2 and taken[name][-1] > 0.03:
                continue
            work()
            start = time.perf_counter()
            for _ in range(calls[name]):
                work()
            taken[name].append((time.perf_counter() - start) / calls[name])
    return {name: 1e6 * statistics.median(times) for name, times in taken.items()}


def draw_problem(
    rng: np.random.Generator, K: int, M: int, N: int, D: int, share: float = 0.8, two_hops: bool = False
) -> Problem:
    """A round: N tokens over K nodes."""
    score = softmax_scores(rng, N, K)
    rates = [1e6 * np.log2(1 + 10 * rng.exponential(size=(K, K, M))) for _ in range(2)]
    return Problem(
        score=score,
        source=np.arange(N) % K,
        rate_bps=rates[0],
        return_rate_bps=rates[1] if two_hops else None,
        payload_bits=65536.0,
        tx_power_w=1e-2,
        compute_energy_j=rng.lognormal(size=K) * 1e-4,
        qos=share_of_top(score, D, share),
        max_experts=D,
    )


def joint(rng: np.random.Generator, K: int, M: int, N: int, D: int, cases: int) -> Row:
    """Gap to the optimum of the integer program, certificate, and time of both, in `cases` that it solves in time.

    "infeasible": those of them that ours could not serve; "neither" is what both call infeasible, not counted.
    """
    gaps, certificates, ours, theirs, scarce, neither = [], [], [], [], 0, 0
    while len(gaps) < cases:
        problem = draw_problem(rng, K, M, N, D)
        start = time.perf_counter()
        best = jesa_exact(problem, time_limit_s=60.0)
        taken = time.perf_counter() - start
        if best.status is Status.SCARCE:
            assert jesa(problem).status is Status.SCARCE, "ours serves what the integer program calls infeasible"
            neither += 1
        if best.status is not Status.OPTIMAL:
            continue
        theirs.append(taken)
        ours.append(median_s(lambda problem=problem: jesa(problem), 21))  # type: ignore[misc]
        found = jesa(problem)
        scarce += found.status is Status.SCARCE
        gap = found.total_energy_j / best.total_energy_j - 1
        assert gap > -1e-6, f"better than the optimum by {-gap}: one of them is wrong"
        assert found.bound_j <= best.total_energy_j * (1 + 1e-6), "the bound is not valid"
        gaps.append(100 * gap)
        certificates.append(100 * found.gap)
    return {
        "K": K,
        "M": M,
        "N": N,
        "D": D,
        "solved": len(gaps),
        "mean gap %": float(np.mean(gaps)),
        "max gap %": float(np.max(gaps)),
        "certificate % (median)": statistics.median(certificates),
        "infeasible": scarce,
        "neither": neither,
        "ours ms": 1e3 * statistics.median(ours),
        "HiGHS ms": 1e3 * statistics.median(theirs),
        "times faster": statistics.median(theirs) / statistics.median(ours),
    }


def whole(rng: np.random.Generator, K: int, M: int, N: int, D: int, draws: int) -> Row:
    """Milliseconds of a whole decision on channels already digested, as from the second round on.

    Medians over draws, and the slowest: how long `full` searches depends on the draw. "cold" digests them too.
    """
    drawn = [_whole(draw_problem(rng, K, M, N, D)) for _ in range(draws)]
    middle = {name: statistics.median(row[name] for row in drawn) for name in drawn[0]}
    worst = {f"worst {name}": max(row[name] for row in drawn) for name in ("alternate ms", "full ms", "certificate %")}
    return {"K": K, "M": M, "N": N, "draws": draws, **middle, **worst}


def _whole(problem: Problem) -> dict[str, float]:
    before = jesa(problem)
    return {
        "alternate ms": 1e3 * median_s(lambda: jesa(problem, method="alternate", start="lb"), 9),
        "full ms": 1e3 * median_s(lambda: jesa(problem, previous=before), 9),
        "cold full ms": 1e3 * median_s(lambda: jesa(draw_again(problem)), 3),
        "certificate %": 100 * jesa(problem, previous=before).gap,
    }


def crowded(rng: np.random.Generator, K: int, M: int, N: int, D: int) -> Row:
    """Seconds to find that no choice can be served, and to serve what can be."""
    problem = draw_problem(rng, K, M, N, D)
    start = time.perf_counter()
    found = jesa(problem)
    taken = time.perf_counter() - start
    short = int(found.relaxed.sum())
    return {"K": K, "M": M, "N": N, "D": D, "seconds": taken, "status": found.status.name, "tokens short": short}


def draw_again(problem: Problem) -> Problem:
    """The same problem with nothing computed from its channel yet."""
    from dataclasses import replace

    return replace(problem, max_experts=problem.max_experts)


def show(title: str, rows: list[Row]) -> None:
    """A table."""
    print(f"\n{title}")
    names = list(dict.fromkeys(name for row in rows for name in row))
    print("  ".join(f"{name:>9}" for name in names))
    for row in rows:
        cells = ((row.get(name, ""), max(9, len(name))) for name in names)
        print("  ".join(f"{c:>{w}.4g}" if isinstance(c, float) else f"{c!s:>{w}}" for c, w in cells), flush=True)


def main() -> None:
    """Measure, print, and write JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer cases")
    parser.add_argument("--json", type=Path, default=Path("benchmarks/out/schedule.json"))
    arguments = parser.parse_args()
    rng = np.random.default_rng(20250317)
    peers, cases = (6, 4) if arguments.quick else (40, 12)

    table = {"selection": [selection(rng, 4, 2, 0.8, 1024, peers), selection(rng, 8, 4, 0.8, 1024, peers)]}
    table["selection"] += [selection(rng, 64, 8, share, 1024, 0) for share in (0.5, 0.8, 0.95)]
    show("selection, µs a token, 1024 tokens that share prices", table["selection"])

    sizes = [(6, 16), (20, 20), (12, 64), (56, 64), (72, 72), (56, 1024), (240, 240), (240, 256), (240, 4096)]
    sizes += [(992, 992), (992, 1024), (992, 4096)]
    table["assignment"] = [assignments(rng, *size, draws=1 if arguments.quick else 15) for size in sizes]
    show("assignment, µs", table["assignment"])

    joint_sizes = [(3, 8, 6, 2), (4, 16, 8, 2), (6, 36, 16, 3)] + ([] if arguments.quick else [(8, 64, 16, 4)])
    table["joint"] = [joint(rng, *size, cases=cases if size[0] < 8 else 3) for size in joint_sizes]
    show("joint, M ≥ links", table["joint"])
    table["scarce"] = [joint(rng, 4, 6, 8, 2, cases), joint(rng, 5, 12, 8, 3, cases)]
    show("joint, M < links", table["scarce"])

    rounds = [(8, 1024, 256, 40), (8, 1024, 1024, 40), (8, 1024, 4096, 40), (32, 4096, 2048, 5)]
    table["whole"] = [whole(rng, K, M, N, 4, 1 if arguments.quick else draws) for K, M, N, draws in rounds]
    show("a whole decision, ms, warm", table["whole"])
    table["crowded"] = [crowded(rng, 12, 48, 96, 2), crowded(rng, 16, 64, 512, 2), crowded(rng, 32, 256, 1024, 2)]
    show("links far beyond subcarriers", table["crowded"])
    arguments.json.parent.mkdir(parents=True, exist_ok=True)
    arguments.json.write_text(json.dumps(table, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
