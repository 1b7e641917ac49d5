"""The algorithmic claims of the paper (arXiv 2503.13421), measured: figures, and a JSON file of what is in them.

    python benchmarks/paper_scheduler.py [--draws 60] [--out benchmarks/out/paper_scheduler]

The paper's text was not at hand: claims are those of its abstract and of summaries by others, set-ups are inferred.
Throughout: Rayleigh channels, softmax scores (σ 1), payload 65 536 bit, 10 mW a subcarrier of 1 MHz, computing
prices log-normal around the price of sending. Error bars are standard errors over draws; seeds are fixed.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path

import matplotlib as mpl
import numpy as np

mpl.use("Agg")
from matplotlib import pyplot as plt

from testbed.schedule.jesa import jesa
from testbed.schedule.policy import schedule
from testbed.schedule.problem import Problem
from testbed.schedule.select import select_experts

Curve = dict[str, list[float]]
SCHEMES = ("jesa", "jesa-alternate", "des-fixed", "top-1", "top-2", "homogeneous", "channel-only", "random", "lb")


def draw(
    rng: np.random.Generator,
    K: int = 4,
    M: int = 64,
    N: int = 16,
    D: int = 2,
    qos: float = 0.5,
    snr_db: float = 10.0,
    reciprocal: bool = False,
) -> Problem:
    """One round of N tokens."""
    compute_energy_j = rng.lognormal(size=K) * 1e-4
    powers = np.exp(rng.normal(size=(N, K)))
    gain = rng.exponential(size=(K, K, M))
    if reciprocal:
        upper = np.triu(np.ones((K, K), bool))[:, :, None]
        gain = np.where(upper, gain, gain.transpose(1, 0, 2))
    return Problem(
        score=powers / powers.sum(axis=1, keepdims=True),
        source=np.arange(N) % K,
        rate_bps=1e6 * np.log2(1 + 10 ** (snr_db / 10) * gain),
        payload_bits=65536.0,
        tx_power_w=1e-2,
        compute_energy_j=compute_energy_j,
        qos=qos,
        max_experts=D,
    )


def mean_and_error(values: list[float]) -> tuple[float, float]:
    """Mean and its standard error."""
    return float(np.mean(values)), float(np.std(values, ddof=1) / np.sqrt(len(values)))


def sweep(points: list[float], draws: int, value: Callable[[np.random.Generator, float], float]) -> Curve:
    """Mean and standard error of `value` over draws at each point; the same draws for every curve."""
    found = [mean_and_error([value(np.random.default_rng([7, k]), x) for k in range(draws)]) for x in points]
    return {"x": points, "mean": [m for m, _ in found], "error": [e for _, e in found]}


def visited_nodes(draws: int) -> dict[str, Curve]:
    """Search nodes a token, with the plain ratio-order bound and with both constraints in it, against all subsets."""

    def nodes(bound: str) -> Callable[[np.random.Generator, float], float]:
        def value(rng: np.random.Generator, K: float) -> float:
            k = int(K)
            score, energy = rng.dirichlet(np.ones(k), 50), rng.exponential(size=k)
            return float(select_experts(score, energy, 0.6, k, method="search", bound=bound).nodes.mean())

        return value

    points = [4.0, 8.0, 12.0, 16.0, 20.0, 24.0]
    full = {"x": points, "mean": [2.0 ** (k + 1) - 1 for k in points], "error": [0.0] * len(points)}
    return {
        "plain LP bound": sweep(points, draws, nodes("lp")),
        "both constraints": sweep(points, draws, nodes("both")),
        "full tree": full,
    }


def convergence(draws: int) -> dict[str, Curve]:
    """Energy after each pass over the final energy: how fast the alternation settles."""
    curves, problems = {}, [draw(np.random.default_rng([3, k]), K=6, M=36) for k in range(draws)]
    final = np.array([jesa(problem).total_energy_j for problem in problems])
    for method in ("alternate", "full"):
        traces = [jesa(problem, method=method).trace for problem in problems]
        length = max(map(len, traces))
        ratio = np.array([[*t, *[t[-1]] * (length - len(t))] for t in traces]) / final[:, None]
        curves[method] = {
            "x": list(range(1, length + 1)),
            "mean": ratio.mean(axis=0).tolist(),
            "error": (ratio.std(axis=0, ddof=1) / np.sqrt(draws)).tolist(),
        }
    return curves


def all_distinct(draws: int) -> dict[str, Curve]:
    """Pr(all best subcarriers differ): Monte Carlo beside M!/((M−n)!·Mⁿ); with reciprocal channels it is 0."""
    points, curves = [16.0, 64.0, 256.0, 1024.0, 4096.0], {}
    for K in (3, 4):
        n = K * (K - 1)

        def distinct(rng: np.random.Generator, M: float, K: int = K, n: int = n, mirror: bool = False) -> float:
            rate = draw(rng, K=K, M=int(M), N=1, reciprocal=mirror).rate_bps
            best = rate.argmax(axis=2)[~np.eye(K, dtype=bool)]
            return float(np.unique(best).size == n)

        curves[f"K={K}, measured"] = sweep(points, 5 * draws, distinct)
        formula = [float(np.prod(1 - np.arange(n) / M)) if n <= M else 0.0 for M in points]
        curves[f"K={K}, formula"] = {"x": points, "mean": formula, "error": [0.0] * len(points)}
    curves["K=3, reciprocal"] = sweep(points, draws, lambda rng, M: distinct(rng, M, 3, 6, True))
    return curves


def gap_to_bound(draws: int) -> dict[str, Curve]:
    """(energy − LB)/LB against M: the asymptotic claim."""

    def gap(K: int, reciprocal: bool) -> Callable[[np.random.Generator, float], float]:
        def value(rng: np.random.Generator, M: float) -> float:
            problem = draw(rng, K=K, M=int(M), reciprocal=reciprocal)
            floor = schedule(problem, "lb").total_energy_j
            return schedule(problem, "jesa").total_energy_j / floor - 1

        return value

    points = [16.0, 64.0, 256.0, 1024.0]
    return {
        "K=3": sweep(points, draws, gap(3, False)),
        "K=4": sweep(points, draws, gap(4, False)),
        "K=4, reciprocal": sweep(points, draws, gap(4, True)),
    }


def energies(draws: int, points: list[float], change: Callable[[float], dict[str, object]]) -> dict[str, Curve]:
    """Energy a token of every scheme while one parameter changes; the same draws for all schemes."""

    def energy(name: str) -> Callable[[np.random.Generator, float], float]:
        return lambda rng, x: schedule(draw(rng, **change(x)), name).total_energy_j / 16  # type: ignore[arg-type]

    return {name: sweep(points, draws, energy(name)) for name in SCHEMES}


FIGURES: dict[str, tuple[Callable[[int], dict[str, Curve]], str, str, str, str]] = {
    "visited_nodes": (visited_nodes, "experts K", "nodes a token", "linear", "log"),
    "convergence": (convergence, "pass", "energy over the final energy of full", "linear", "linear"),
    "all_distinct": (all_distinct, "subcarriers M", "Pr(all best subcarriers differ)", "log", "linear"),
    "gap_to_bound": (gap_to_bound, "subcarriers M", "energy above the lower bound", "log", "symlog"),
    "energy_over_m": (lambda n: energies(n, [16.0, 32.0, 64.0, 128.0, 256.0], lambda M: {"M": int(M)}),
                      "subcarriers M", "energy a token (J)", "log", "linear"),
    "energy_over_snr": (lambda n: energies(n, [0.0, 5.0, 10.0, 15.0, 20.0], lambda x: {"snr_db": x}),
                        "mean SNR (dB)", "energy a token (J)", "linear", "log"),
    "energy_over_k": (lambda n: energies(n, [3.0, 4.0, 6.0, 8.0], lambda K: {"K": int(K), "M": 128}),
                      "nodes K", "energy a token (J)", "linear", "linear"),
    "energy_over_qos": (lambda n: energies(n, [0.2, 0.35, 0.5, 0.65, 0.8], lambda q: {"qos": q}),
                        "demanded score sum z·γ(l)", "energy a token (J)", "linear", "linear"),
}  # fmt: skip


def picture(name: str, curves: dict[str, Curve], out: Path) -> None:
    """One figure as SVG and PNG."""
    _, x_label, y_label, x_scale, y_scale = FIGURES[name]
    figure, axes = plt.subplots(figsize=(6.4, 4.2), constrained_layout=True)
    for label, curve in curves.items():
        dashed = label in ("lb", "full tree") or "formula" in label
        line = {"marker": "o", "ms": 4, "capsize": 3, "ls": "--" if dashed else "-"}
        axes.errorbar(curve["x"], curve["mean"], curve["error"], label=label, **line)
    axes.set(xlabel=x_label, ylabel=y_label, xscale=x_scale)
    axes.set_yscale(y_scale, **({"linthresh": 1e-4} if y_scale == "symlog" else {}))
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8, ncols=2)
    for suffix in ("svg", "png"):
        figure.savefig(out / f"{name}.{suffix}", dpi=150)
    plt.close(figure)


def main() -> None:
    """Draw everything."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--draws", type=int, default=60)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/out/paper_scheduler"))
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    data = {}
    for name, (make, *_) in FIGURES.items():
        data[name] = make(arguments.draws)
        picture(name, data[name], arguments.out)
        print(name, {label: [round(v, 6) for v in curve["mean"]] for label, curve in data[name].items()}, flush=True)
    (arguments.out / "figures.json").write_text(json.dumps(data, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
