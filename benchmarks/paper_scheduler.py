"""The algorithmic claims of the paper (arXiv 2503.13421), measured: figures, and a JSON file of what is in them.

    python benchmarks/paper_scheduler.py [--seeds 48] [--only visited_nodes …] [--out benchmarks/out/paper_scheduler]

The paper's text was not at hand: claims are those of its abstract and of summaries by others, set-ups are inferred.
Every scheme and every value of M, SNR, z, γ0 and D sees the same tokens, prices and fading, so differences are paired.
Error bars are 95 % intervals: Student's t over seeds for means, Wilson's for shares. A claim of ours that does not
hold (a bound above the energy it bounds, say) ends the run.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from curves import Figure, Panels, known, means, picture, shares
from numpy.typing import NDArray
from scipy import stats

from testbed.schedule.jesa import jesa
from testbed.schedule.policy import schedule
from testbed.schedule.problem import Decision, Problem
from testbed.schedule.select import select_experts

Floats = NDArray[np.float64]

NEGLIGIBLE = 1e-9
"""Relative difference of energies that rounding explains."""


@dataclass(frozen=True)
class Setting:
    """One inference: K nodes, M subcarriers, at most D experts a token, layer l held to the score sum z·γ0^l."""

    K: int = 4
    M: int = 64
    D: int = 2
    snr_db: float = 10.0
    z: float = 0.6
    gamma0: float = 0.8
    layers: int = 8
    tokens_a_node: int = 4
    reciprocal: bool = False


BASE = Setting()
COMMON = (
    "Assumed, as the paper's text is not known: i.i.d. Rayleigh gains, new in every layer, i→j and j→i independent;"
    " 1 MHz and 10 mW a subcarrier; forward hop only; 65 536 bit a token; gate = softmax of normal numbers (σ = 1);"
    " computing prices log-normal (median 0.1 mJ, σ = 1), about the price of sending; 4 tokens a node."
)
LAYERED = (
    " Layer l of 8 demands z·γ0^l of JESA, LB and DES, and z of H in every layer; tokens that no D experts can satisfy"
    " get their Top-D. The fixed allocation gives each link a random subcarrier (rare deep fades rule its mean). Rules"
    " that ignore energy get optimally assigned subcarriers; channel-only and random take D"
    " experts. Unless on the axis: K = {K}, M = {M}, D = {D}, {snr_db:.0f} dB, z = {z}, γ0 = {gamma0}."
).format(**asdict(BASE))


def draw(setting: Setting, seed: int, layer: int = 1) -> Problem:
    """The round of one layer. The first M subcarriers of a larger band are those of a smaller one."""
    K, N = setting.K, setting.K * setting.tokens_a_node
    compute_energy_j = 1e-4 * np.random.default_rng([1, seed]).lognormal(size=K)
    powers = np.exp(np.random.default_rng([2, seed, layer]).normal(size=(N, K)))
    gain = np.random.default_rng([3, seed, layer]).exponential(size=(setting.M, K, K)).transpose(1, 2, 0)
    if setting.reciprocal:
        gain = np.where(np.triu(np.ones((K, K), bool))[:, :, None], gain, gain.transpose(1, 0, 2))
    return Problem(
        score=powers / powers.sum(axis=1, keepdims=True),
        source=np.arange(N) % K,
        rate_bps=np.ascontiguousarray(1e6 * np.log2(1 + 10 ** (setting.snr_db / 10) * gain)),
        payload_bits=65536.0,
        tx_power_w=1e-2,
        compute_energy_j=compute_energy_j,
        qos=setting.z * setting.gamma0**layer,
        max_experts=setting.D,
    )


def require(holds: bool, claim: str) -> None:
    """End the run when a claim of ours is false."""
    if not holds:
        raise SystemExit(f"wrong: {claim}")


# --- Energy of every scheme ------------------------------------------------------------------------------------------

SCHEMES = {
    "JESA(γ0, D)": "jesa",
    "LB(γ0, D): bound": "lb",
    "H(z, D)": "homogeneous",
    "Top-1": "top-1",
    "Top-2": "top-2",
    "DES, fixed allocation": "des-fixed",
    "channel-only": "channel-only",
    "best single expert": "best-single",
    "random": "random",
    "Top-D": "top-k",
}
ENERGY, MET, RATIO = "energy a token and layer (mJ)", "tokens whose demand is met (%)", "energy over JESA's, same draws"


def served(problem: Problem, decision: Decision) -> Floats:
    """(2,) energy a token in mJ, and % of tokens whose score sum meets the demand."""
    met = (decision.selected * problem.score).sum(axis=1) >= problem.needs
    return np.array([1e3 * decision.total_energy_j / problem.tokens, 100.0 * met.mean()])


def inference(setting: Setting, seed: int) -> Floats:
    """(schemes, 2) energy and met demand, means over the layers."""
    total = np.zeros((len(SCHEMES), 2))
    for layer in range(1, setting.layers + 1):
        problem = draw(setting, seed, layer)
        for row, name in enumerate(SCHEMES.values()):
            options = {"z": setting.z} if name == "homogeneous" else {}
            chance = seed * setting.layers + layer
            total[row] += served(problem, schedule(problem, name, seed=chance, **options)) / setting.layers
    return total


def energies(axis: str, points: Sequence[float], seeds: int) -> Panels:
    """Every scheme while one field of the setting changes."""
    settings = [replace(BASE, **{axis: x}) for x in points]
    found = np.array([[inference(setting, seed) for seed in range(seeds)] for setting in settings])
    energy, met = found[..., 0], found[..., 1]
    floor = list(SCHEMES).index("LB(γ0, D): bound")
    require(bool((energy[..., 0] >= energy[..., floor] * (1 - NEGLIGIBLE)).all()), "LB is not above JESA")
    panels: Panels = {ENERGY: {}, RATIO: {}, MET: {}}
    for row, label in enumerate(SCHEMES):
        if label != "Top-D" or axis == "D":
            panels[ENERGY][label] = means(points, energy[..., row])
            panels[MET][label] = means(points, met[..., row])
            panels[RATIO][label] = means(points, energy[..., row] / energy[..., 0])
    return panels


# --- Nodes of the search tree ----------------------------------------------------------------------------------------


NODES = "search nodes a token"


def tree_search(score: Floats, energy: Floats, need: float, breadth_first: bool = False) -> tuple[float, int]:
    """Least energy and visited nodes of include/exclude branching in ratio order, LP bound (inferred), D = K."""
    order = np.argsort(energy / score)
    t, e = score[order].tolist(), energy[order].tolist()
    best, visited, queue = np.inf, 0, deque([(0, 0.0, 0.0)])
    while queue:
        depth, t_sum, e_sum = queue.popleft() if breadth_first else queue.pop()
        visited += 1
        if t_sum >= need:
            best = min(best, e_sum)
        elif fractional(t, e, depth, need - t_sum) + e_sum < best:
            queue += [(depth + 1, t_sum, e_sum), (depth + 1, t_sum + t[depth], e_sum + e[depth])]
    return best, visited


def fractional(t: list[float], e: list[float], depth: int, need: float) -> float:
    """LP bound on covering `need` with the experts from `depth` on; inf if they cannot."""
    total = 0.0
    for k in range(depth, len(t)):
        if t[k] >= need:
            return total + e[k] * need / t[k]
        total, need = total + e[k], need - t[k]
    return np.inf


def tokens_to_select(K: int, seed: int, count: int) -> tuple[Floats, Floats]:
    """Flat Dirichlet scores (count, K) and exponential energies (K,)."""
    rng = np.random.default_rng([4, K, seed])
    return rng.dirichlet(np.ones(K), count), rng.exponential(size=K)


def nodes_of_tree(K: int, seed: int, breadth_first: bool) -> float:
    """Nodes a token; its answer must be that of `select_experts`."""
    score, energy = tokens_to_select(K, seed, 10)
    found = [tree_search(line, energy, 0.6, breadth_first) for line in score]
    ours = select_experts(score, energy, 0.6, K).energy_j
    require(np.allclose([best for best, _ in found], ours, rtol=NEGLIGIBLE), "both searches find the same energy")
    return float(np.mean([visited for _, visited in found]))


def nodes_of_kernel(K: int, seed: int, bound: str, hard: bool = False) -> float:
    """Nodes a token of the compiled search; hard = energy proportional to score."""
    score, energy = tokens_to_select(K, seed, 4 if hard else 50)
    price = score if hard else energy
    return float(select_experts(score, price, 0.6, K, method="search", bound=bound, node_limit=2**22).nodes.mean())


def visited_nodes(seeds: int) -> Panels:
    """Search nodes a token against all nodes of the tree."""
    every, few = [4, 8, 12, 16, 20, 24], [4, 8, 12, 16]
    ways: dict[str, tuple[list[int], Callable[[int, int], float]]] = {
        "LP bound, tree of sets": (every, lambda K, s: nodes_of_kernel(K, s, "lp")),
        "bound of this testbed, tree of sets": (every, lambda K, s: nodes_of_kernel(K, s, "both")),
        "LP bound, include/exclude tree: depth first": (every, lambda K, s: nodes_of_tree(K, s, False)),
        "LP bound, include/exclude tree: breadth first": (few, lambda K, s: nodes_of_tree(K, s, True)),
        "LP bound, tree of sets: hard input": (few, lambda K, s: nodes_of_kernel(K, s, "lp", True)),
    }
    curves = {
        label: means(points, [[value(K, s) for s in range(seeds)] for K in points])
        for label, (points, value) in ways.items()
    }
    return {NODES: {**curves, "full tree, 2^(K+1) − 1": known(every, [2.0 ** (K + 1) - 1 for K in every])}}


# --- Convergence -----------------------------------------------------------------------------------------------------

ABOVE, SETTLED = "energy above the best known (%)", "rounds settled (%)"
WAYS = {
    "alternation, equal start": {"method": "alternate"},
    "alternation, LB start": {"method": "alternate", "start": "lb"},
    "full": {"method": "full"},
}


def convergence(seeds: int) -> Panels:
    """Energy after each pass over the best known, and after how many passes it stays."""
    panels: Panels = {ABOVE: {}, SETTLED: {}}
    for K, M in ((4, 16), (8, 64)):
        rounds = [draw(replace(BASE, K=K, M=M), seed) for seed in range(4 * seeds)]
        traces = {way: [jesa(one, **options).trace for one in rounds] for way, options in WAYS.items()}  # type: ignore[arg-type]
        best = np.min([[trace[-1] for trace in found] for found in traces.values()], axis=0)
        length = max(len(trace) for found in traces.values() for trace in found)
        passes = list(range(1, length + 1))
        for way, found in traces.items():
            energy = np.array([[*trace, *[trace[-1]] * (length - len(trace))] for trace in found])
            require(bool((np.diff(energy) <= NEGLIGIBLE * energy[:, :-1]).all()), "the energy never rises")
            label = f"K = {K}, M = {M}: {way}"
            panels[ABOVE][label] = means(passes, 100 * (energy / best[:, None] - 1).T)
            panels[SETTLED][label] = shares(passes, (energy <= energy[:, -1:] * (1 + NEGLIGIBLE)).T, 100)
    return panels


# --- Asymptotic optimality -------------------------------------------------------------------------------------------

BANDS = {3: [16, 64, 256, 1024, 4096], 4: [16, 64, 256, 1024, 4096], 8: [64, 256, 1024, 4096]}
DIFFER, MEETS = "Pr(all best subcarriers differ)", "share of rounds where JESA meets LB"
GAP, BEATEN = "energy above LB (%)", "rounds where the alternation ends below full (%)"
BEATEN_BY = "energy of full above that of the alternation, at most (%)"


@cache
def rounds_at(K: int, M: int, reciprocal: bool, trials: int) -> Floats:
    """(trials, 3) whether all best subcarriers differ, and how far above LB full and alternation end."""
    found = np.empty((trials, 3))
    for trial in range(trials):
        problem = draw(replace(BASE, K=K, M=M, reciprocal=reciprocal), trial)
        best = problem.rate_bps.argmax(axis=2)[~np.eye(K, dtype=bool)]
        floor = schedule(problem, "lb").total_energy_j
        full, plain = jesa(problem), jesa(problem, method="alternate")
        require(plain.total_energy_j >= full.bound_j * (1 - NEGLIGIBLE), "no decision is below the bound of full")
        found[trial] = (
            np.unique(best).size == best.size,
            full.total_energy_j / floor - 1,
            plain.total_energy_j / floor - 1,
        )
    require(bool((found[found[:, 0] > 0, 1] < NEGLIGIBLE).all()), "JESA meets LB where all best subcarriers differ")
    require(not (reciprocal and found[:, 0].any()), "with reciprocal channels i→j and j→i share their best subcarrier")
    return found


def distinct_probability(K: int, M: int) -> float:
    """M!/((M−n)!·Mⁿ) for n = K(K−1) independent links."""
    return float(np.prod(1 - np.arange(K * (K - 1)) / M))


def all_distinct(seeds: int) -> Panels:
    """Monte Carlo beside the formula, independent and reciprocal, and how often JESA is as good as LB."""
    panels: Panels = {DIFFER: {}, MEETS: {}}
    for K, points in BANDS.items():
        formula = [distinct_probability(K, M) for M in points]
        for kind in ("independent", "reciprocal"):
            found = [rounds_at(K, M, kind == "reciprocal", 10 * seeds) for M in points]
            panels[DIFFER][f"K = {K}: {kind}"] = shares(points, [one[:, 0] for one in found])
            panels[MEETS][f"K = {K}: {kind}"] = shares(points, [one[:, 1] < NEGLIGIBLE for one in found])
            for one, p in zip(found, formula, strict=True):
                chance = stats.binomtest(int(one[:, 0].sum()), len(one), p).pvalue
                require(kind == "reciprocal" or chance > 1e-4, f"Monte Carlo agrees with the formula at K = {K}")
        panels[DIFFER][f"K = {K}: formula"] = known(points, formula)
    return panels


def gap_to_bound(seeds: int) -> Panels:
    """Energy above LB against M: the asymptotic claim; and the rounds where the alternation beats full."""
    panels: Panels = {GAP: {}, BEATEN: {}, BEATEN_BY: {}}
    for K, points in BANDS.items():
        for kind in ("", ", reciprocal"):
            found = [rounds_at(K, M, bool(kind), 10 * seeds)[:, 1:].T for M in points]
            full, plain = f"K = {K}: JESA, full{kind}", f"K = {K}: plain alternation{kind}"
            panels[GAP][full] = means(points, [100 * np.maximum(one[0], 0) for one in found])
            if not kind:
                panels[GAP][plain] = means(points, [100 * np.maximum(one[1], 0) for one in found])
            excess = [(1 + one[0]) / (1 + one[1]) - 1 for one in found]
            panels[BEATEN][plain] = shares(points, [one > NEGLIGIBLE for one in excess], 100)
            panels[BEATEN_BY][plain] = known(points, [100 * max(0.0, float(one.max())) for one in excess])
    return panels


# --- Figures ---------------------------------------------------------------------------------------------------------


def energy_figure(axis: str, points: Sequence[float], x_label: str, x_scale: str = "linear", note: str = "") -> Figure:
    """Energy and met demand of every scheme against one field of the setting."""
    return Figure(
        lambda seeds: energies(axis, points, seeds),
        x_label,
        x_scale,
        {ENERGY: "log", RATIO: "log", MET: "linear"},
        COMMON + LAYERED + note + " Bars: 95 % over {seeds} seeds.",
        {MET: (-3, 103)},
    )


ONE_ROUND = f" One layer: demand z·γ0 = {BASE.z * BASE.gamma0:.2f}, D = 2, 10 dB."
FIGURES = {
    "visited_nodes": Figure(
        visited_nodes, "experts K", "linear", {NODES: "log"},
        "Assumed, as the paper's text is not known: D = K, demand 0.6, flat Dirichlet scores, exponential energies;"
        " experts in the order energy/score, include branch first. A tree of sets has one node for each set of included"
        " experts (2^K in all); an include/exclude tree has up to 2^(K+1) − 1, the count claimed. Hard input: each"
        " expert's energy proportional to its score (subset sum). Bars: 95 % over {seeds} seeds.",
    ),
    "convergence": Figure(
        convergence, "pass (selection, then assignment)", "linear", {ABOVE: "symlog", SETTLED: "linear"},
        COMMON + ONE_ROUND + " The alternation starts from equal weights on all links (inferred) or from LB, and prices"
        " idle links at their best free subcarrier (inferred). The last pass of full stands for its whole search."
        " Bars: 95 % over 4 × {seeds} rounds.",
        {ABOVE: (0, 1), SETTLED: (-3, 103)},
    ),
    "all_distinct": Figure(
        all_distinct, "subcarriers M", "log", {DIFFER: "linear", MEETS: "linear"},
        COMMON + ONE_ROUND + " Formula (inferred): M!/((M − n)!·Mⁿ), n = K(K − 1) links. Reciprocal: gain of i→j = gain"
        " of j→i, so the probability is 0 for every M. JESA can meet LB more often, as idle links cannot collide."
        " Bars: 95 % over 10 × {seeds} rounds.",
        {DIFFER: (-0.03, 1.03), MEETS: (-0.03, 1.03)},
    ),
    "gap_to_bound": Figure(
        gap_to_bound, "subcarriers M", "log", {GAP: "symlog"},
        COMMON + ONE_ROUND + " LB (inferred): every link on its own best subcarrier, shared or not. Plain alternation:"
        " from equal weights (inferred). Reciprocal: gain of i→j = gain of j→i. Bars: 95 % over 10 × {seeds} rounds.",
        {GAP: (0, 10)},
    ),
    "energy_over_m": energy_figure("M", [12, 16, 32, 64, 128, 256, 512], "subcarriers M", "log"),
    "energy_over_k": energy_figure("K", [3, 4, 5, 6, 8], "nodes K (one expert each)",
                                   note=" Prices and fading are drawn anew for each K."),
    "energy_over_snr": energy_figure("snr_db", [-5, 0, 5, 10, 15, 20, 25], "mean SNR (dB)"),
    "energy_over_gamma0": energy_figure("gamma0", [0.5, 0.6, 0.7, 0.8, 0.9, 1.0], "importance factor γ0"),
    "energy_over_z": energy_figure("z", [0.2, 0.35, 0.5, 0.65, 0.8, 0.95], "demanded score sum z"),
    "energy_over_d": energy_figure("D", [1, 2, 3, 4], "most experts a token D"),
}  # fmt: skip


def main() -> None:
    """Measure and draw everything, or what `--only` names."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=48, help="inferences a point, at least 2")
    parser.add_argument("--only", nargs="+", choices=FIGURES, default=list(FIGURES))
    parser.add_argument("--out", type=Path, default=Path("benchmarks/out/paper_scheduler"))
    arguments = parser.parse_args()
    if arguments.seeds < 2:
        parser.error(f"--seeds {arguments.seeds}: error bars need at least 2")
    arguments.out.mkdir(parents=True, exist_ok=True)
    data: dict[str, Any] = {"seeds": arguments.seeds, "base": asdict(BASE), "figures": {}}
    for name in arguments.only:
        began, spec = time.perf_counter(), FIGURES[name]
        panels, caption = spec.make(arguments.seeds), spec.caption.format(seeds=arguments.seeds)
        picture(spec, panels, caption, arguments.out / name)
        data["figures"][name] = {"x": spec.x_label, "caption": caption, "panels": panels}
        print(f"\n{name} ({time.perf_counter() - began:.1f} s)")
        for panel, curves in panels.items():
            for label, curve in curves.items():
                print(f"  {panel} | {label}:", " ".join(f"{value:.4g}" for value in curve["mean"]))
    (arguments.out / "figures.json").write_text(json.dumps(data, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
