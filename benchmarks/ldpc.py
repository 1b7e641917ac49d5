"""LDPC: block error rate, and decoded information bits per second of one core, beside other people's decoders.

    python benchmarks/ldpc.py [--words 2000] [--seed 20250317] [--json FILE]

Code: IEEE 802.11n, n = 1944, rate 1/2, BPSK in Gaussian noise, soft input. Speeds are medians over passes that
visit all decoders in turn, in seconds of processor time. The peer, `ldpc` (J. Roffe) from PyPI, is measured when
it can be imported; it gets the same words with one prior per bit. "random best code" is the normal
approximation of Polyanskiy, Poor and Verdú: what no code of this length beats by much.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from fractions import Fraction
from functools import partial
from itertools import product
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from scipy.stats import norm

from testbed.ofdm.ldpc import LENGTHS, RATES, Code, decode, encode, load_code

EBN0_DB = (1.0, 1.25, 1.5, 1.75, 2.0)
SPEED_AT_DB = (1.5, 2.0, 3.0)
PEER_WORDS = 20
Decoder = Callable[[NDArray[np.float32]], NDArray[np.uint8]]


def noisy(words: NDArray[np.uint8], rate: float, ebn0_db: float, rng: np.random.Generator) -> NDArray[np.float32]:
    """BPSK LLRs of words (w, n)."""
    variance = 1 / (2 * rate * 10 ** (ebn0_db / 10))
    received = (1.0 - 2.0 * words) + rng.standard_normal(words.shape) * np.sqrt(variance)
    return (2 * received / variance).astype(np.float32)


def normal_approximation(n: int, rate: float, ebn0_db: float) -> float:
    """Block error rate of the best code, to second order."""
    variance = 1 / (2 * rate * 10 ** (ebn0_db / 10))
    at = np.linspace(-9, 9, 20001)
    weight = norm.pdf(at) / norm.pdf(at).sum()
    density = 1 - np.logaddexp(0, -2 * (1 + np.sqrt(variance) * at) / variance) / np.log(2)
    capacity = density @ weight
    dispersion = density**2 @ weight - capacity**2
    return float(norm.sf((n * (capacity - rate) + 0.5 * np.log2(n)) / np.sqrt(n * dispersion)))


def parity_matrix(code: Code) -> NDArray[np.uint8]:
    """Dense H for the peer."""
    H = np.zeros((code.n - code.k, code.n), np.uint8)
    lane = np.arange(code.z)
    for (r, c), shift in np.ndenumerate(code.shifts):
        if shift >= 0:
            H[r * code.z + lane, c * code.z + (lane + shift) % code.z] = 1
    return H


def peer(code: Code) -> Decoder | None:
    """Min-sum of the `ldpc` package, or None where it is not installed."""
    here = str(Path(__file__).parent)
    searched, sys.path = sys.path, [folder for folder in sys.path if folder != here]  # this file bears its name
    try:
        from ldpc import BpDecoder
    except ImportError:
        return None
    finally:
        sys.path = searched
    H = csr_matrix(parity_matrix(code))
    how = {"bp_method": "minimum_sum", "ms_scaling_factor": 0.8, "max_iter": 50, "input_vector_type": "syndrome"}
    decoder = BpDecoder(H, error_rate=0.1, **how)

    def run(llr: NDArray[np.float32]) -> NDArray[np.uint8]:
        out = np.empty(llr.shape, np.uint8)
        for row, values in enumerate(llr):
            hard = (values < 0).astype(np.uint8)
            decoder.update_channel_probs(1 / (1 + np.exp(np.abs(values.astype(float)))))
            out[row] = hard ^ decoder.decode((H @ hard % 2).astype(np.uint8))
        return out

    return run


def seconds(task: Callable[[], object]) -> float:
    """Processor time of one call."""
    start = time.process_time()
    task()
    return time.process_time() - start


def error_rates(words: int, seed: int) -> dict[str, dict[str, float]]:
    """Block error rate of n = 1944, rate 1/2."""
    code, out = load_code(1944, Fraction(1, 2)), {}
    for ebn0_db in EBN0_DB:
        rng = np.random.default_rng([seed, round(100 * ebn0_db)])
        lost = iterations = tried = 0
        while tried < (10 * words if ebn0_db >= 2.0 else words):
            sent = encode(code, rng.integers(0, 2, (1000, code.k), dtype=np.uint8))
            decoded = decode(code, noisy(sent, 0.5, ebn0_db, rng))
            lost += int((decoded.bits != sent).any(axis=1).sum())
            iterations += int(decoded.iterations.sum())
            tried += 1000
        bound = normal_approximation(1944, 0.5, ebn0_db)
        out[str(ebn0_db)] = {"bler": lost / tried, "iterations": iterations / tried, "random_best_code": bound}
        row = f"{ebn0_db:5.2f} dB   BLER {lost / tried:.1e}   best code {bound:.1e}"
        print(f"{row}   {iterations / tried:5.1f} iterations")
    return out


def medians(runs: dict[str, Callable[[], object]], passes: int) -> dict[str, float]:
    """Median seconds of each run, the runs taken in turn."""
    times: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(passes):
        for name, task in runs.items():
            times[name].append(seconds(task))
    return {name: statistics.median(t) for name, t in times.items()}


def speeds(passes: int, seed: int) -> dict[str, dict[str, float]]:
    """Information Mb/s of this decoder and the peer, by Eb/N0."""
    code, out = load_code(1944, Fraction(1, 2)), {}
    rng, other = np.random.default_rng(seed), peer(code)
    for ebn0_db in SPEED_AT_DB:
        sent = encode(code, rng.integers(0, 2, (400, code.k), dtype=np.uint8))
        llr = noisy(sent, 0.5, ebn0_db, rng)
        runs: dict[str, Callable[[], object]] = {"testbed": partial(decode, code, llr)}
        if other is not None:
            runs["ldpc (Roffe)"] = partial(other, llr[:PEER_WORDS])
            if ebn0_db >= 2.0 and (other(llr[:PEER_WORDS]) != sent[:PEER_WORDS]).any(axis=1).mean() > 0.3:
                raise SystemExit("the peer does not decode: it is not being used as meant")
        count = {"testbed": len(llr), "ldpc (Roffe)": PEER_WORDS}
        rates = {n: count[n] * code.k / t / 1e6 for n, t in medians(runs, passes).items()}
        out[str(ebn0_db)] = rates
        print(f"{ebn0_db:5.2f} dB   " + "   ".join(f"{n} {rate:.2f} Mb/s" for n, rate in rates.items()))
    return out


def all_codes(passes: int, seed: int) -> dict[str, dict[str, float]]:
    """Encoder, and decoder 1.5 dB or so above each code's threshold, in information Mb/s."""
    rng, out = np.random.default_rng(seed), {}
    for n, rate in product(LENGTHS, RATES):
        code = load_code(n, rate)
        info = rng.integers(0, 2, (300, code.k), dtype=np.uint8)
        llr = noisy(encode(code, info), float(rate), 1.5 + 3.0 * float(rate), rng)
        times = medians({"encode": partial(encode, code, info), "decode": partial(decode, code, llr)}, passes)
        out[f"{n} {rate}"] = {name: info.size / t / 1e6 for name, t in times.items()}
        rates = "   ".join(f"{name} {speed:5.0f} Mb/s" for name, speed in out[f"{n} {rate}"].items())
        print(f"n={n:4d} rate {rate}   {rates}")
    return out


def main() -> None:
    """Measure all three."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--words", type=int, default=2000)
    parser.add_argument("--passes", type=int, default=9)
    parser.add_argument("--seed", type=int, default=20250317)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    result = {
        "block_error_rate": error_rates(args.words, args.seed),
        "speed": speeds(args.passes, args.seed),
        "all_codes": all_codes(args.passes, args.seed),
    }
    if args.json:
        args.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
