"""Simulated channel: samples per second of one core, with every impairment on, beside plain numpy of the same model.

    python benchmarks/channel.py [--samples 1000000] [--seed 20250317] [--json FILE]

TDL-A, B, C and E at 300 ns delay spread, 10 Hz Doppler, carrier and clock offset, Wiener phase noise, IQ imbalance, DC,
thermal noise and 12-bit conversion at 5 MS/s. The peer applies the same taps in numpy the direct way: one
windowed-sinc filter a tap, gains for every sample; it has no clock offset. Medians of passes taken in turn, in
seconds of processor time. The accuracy is the error against the model evaluated exactly for tones.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from testbed.radio.channel import (
    Fading,
    Impairments,
    draw_fading,
    load_profile,
    propagate,
    receive_front_end,
    tap_gains,
    wiener_step_variance,
)

RATE = 5e6
LINK = {"sample_rate_hz": RATE, "start_time_s": 1.0, "cfo_hz": 12_345.0, "sfo_ppm": 20.0, "gain_db": -3.0}
FRONT_END = Impairments(wiener_step_variance(10.0, RATE), iq_gain_db=0.2, iq_phase_deg=1.0, dc=0.01 + 0.02j)
Samples = NDArray[np.complex64]


def whole_chain(sent: Samples, fading: Fading, rng: np.random.Generator) -> Samples:
    """One link and the receiver."""
    return receive_front_end(propagate(sent, fading, **LINK), FRONT_END, 1e-4, rng)[0]


def plain_numpy(sent: Samples, fading: Fading, rng: np.random.Generator) -> Samples:
    """The same, one tap and one effect at a time."""
    count = len(sent)
    time_s = 1.0 + np.arange(count) / RATE
    received = np.zeros(count, complex)
    for k, delay in enumerate(fading.delays_s * RATE):
        lags = np.arange(int(delay) - 15, int(delay) + 17)
        response = np.sinc(lags - delay) * np.kaiser(33, 7.0)[:-1]
        one = Fading(fading.delays_s[k : k + 1], fading.amplitudes[k : k + 1], fading.frequencies_hz[k : k + 1])
        late = np.concatenate([np.zeros(int(delay)), np.convolve(sent, response)[15:]])[:count]
        received += tap_gains(one, time_s)[:, 0] * late
    received *= 10 ** (-3 / 20) * np.exp(2j * np.pi * 12_345.0 * time_s)
    steps = rng.standard_normal(count) * np.sqrt(FRONT_END.phase_noise_variance)
    received *= np.exp(1j * np.cumsum(steps))
    received += (rng.standard_normal(count) + 1j * rng.standard_normal(count)) * np.sqrt(5e-5)
    skew = np.deg2rad(FRONT_END.iq_phase_deg)
    gain = 10 ** (FRONT_END.iq_gain_db / 20)
    branches = [received.real, gain * (received.imag * np.cos(skew) - received.real * np.sin(skew))]
    converted = [
        np.clip(np.rint((b + o) * 2048), -2048, 2047) / 2048 for b, o in zip(branches, (0.01, 0.02), strict=True)
    ]
    return (converted[0] + 1j * converted[1]).astype(np.complex64)


def error_db(fading: Fading, frequency: float) -> float:
    """Error of `propagate` for a tone of this frequency, in cycles a sample."""
    count, first = 20_000, 200.0
    sent = np.exp(2j * np.pi * frequency * np.arange(count + 400)).astype(np.complex64)
    got = propagate(sent, fading, first_sample=first, count=count, **LINK)
    time_s = 1.0 + np.arange(count) / RATE
    position = first + np.arange(count) * (1 + 20e-6)
    steering = np.exp(2j * np.pi * frequency * (position[:, None] - fading.delays_s * RATE))
    wanted = (tap_gains(fading, time_s) * steering).sum(axis=1)
    wanted *= 10 ** (-3 / 20) * np.exp(2j * np.pi * 12_345.0 * time_s)
    return float(10 * np.log10(np.mean(np.abs(got - wanted) ** 2) / np.mean(np.abs(wanted) ** 2)))


def medians(runs: dict[str, Callable[[], object]], passes: int) -> dict[str, float]:
    """Median processor seconds of each run, the runs taken in turn after one that is not counted."""
    times: dict[str, list[float]] = {name: [] for name in runs}
    for turn in range(passes + 1):
        for name, task in runs.items():
            start = time.process_time()
            task()
            if turn > 0:
                times[name].append(time.process_time() - start)
    return {name: statistics.median(t) for name, t in times.items()}


def main() -> None:
    """Measure speed and accuracy by profile."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=1_000_000)
    parser.add_argument("--passes", type=int, default=5)
    parser.add_argument("--seed", type=int, default=20250317)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    rng = np.random.default_rng(args.seed)
    sent = (0.1 * rng.standard_normal((args.samples, 2), dtype=np.float32)).view(np.complex64).ravel()
    few = sent[: args.samples // 50]
    result = {}
    for name in ("TDL-A", "TDL-B", "TDL-C", "TDL-E"):
        fading = draw_fading(load_profile(name), 300e-9, 10.0, rng)
        runs: dict[str, Callable[[], object]] = {
            "all impairments": partial(whole_chain, sent, fading, rng),
            "link alone": partial(propagate, sent, fading, **LINK),
            "plain numpy": partial(plain_numpy, few, fading, rng),
        }
        counts = {"plain numpy": len(few)}
        speed = {n: counts.get(n, len(sent)) / t / 1e6 for n, t in medians(runs, args.passes).items()}
        error = max(error_db(fading, f) for f in (-0.43, -0.3, 0.1, 0.4))
        result[name] = {"megasamples_per_second": speed, "worst_error_db": error}
        rates = "   ".join(f"{n} {v:.2f} MS/s" for n, v in speed.items())
        print(f"{name}   {rates}   worst error of a tone within ±0.43: {error:.0f} dB", flush=True)
    if args.json:
        args.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
