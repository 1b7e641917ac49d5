"""The simulated radio channel: what one transmitter's samples become at one receiver, and the receiver itself.

Pure functions on arrays. Every oscillator, tap and clock is a function of the time that the caller passes in, so
captures that follow each other fit together; what is random comes from the generator the caller passes in.

    transmitter ─► propagate: multipath × Doppler, path gain, delay, clock offset, carrier offset ─┐
    transmitter ─► propagate ─────────────────────────────────────────────────────────────────────┴► superpose
    ─► receive_front_end: phase noise, thermal noise, IQ imbalance, DC offset, clipping, quantisation

`receive_front_end` with noise_power 0 serves as a transmitter's front end as well.

Left out: antenna patterns, polarisation and correlation between links (each fades alone); large-scale
motion (delays and mean powers stand still while taps fade); amplifier compression, memory and AGC settling;
phase noise with a flicker or loop shape (it is a Wiener process, drawn per capture, so its phase does not
continue from one capture to the next); jitter of the sample clock beyond its constant offset; temperature
drift; interference from others; the analogue and decimation filters of a converter; dropped samples.
Fractional delays are exact to about −70 dB for signals within ±0.43 of the sample rate.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from testbed.errors import SignalError
from testbed.radio import channel_kernels as kernels
from testbed.radio.fading import (
    FLAT,
    PROFILES,
    Fading,
    Profile,
    draw_fading,
    frequency_response,
    load_profile,
    mix_fading,
    tap_gains,
)
from testbed.radio.front_end import IDEAL, Impairments, finite_samples, receive_front_end, wiener_step_variance

__all__ = [
    "FLAT",
    "IDEAL",
    "PROFILES",
    "Fading",
    "Impairments",
    "Profile",
    "draw_fading",
    "free_space_loss_db",
    "frequency_response",
    "load_profile",
    "log_distance_loss_db",
    "mix_fading",
    "noise_power_w",
    "propagate",
    "receive_front_end",
    "superpose",
    "tap_gains",
    "wiener_step_variance",
]

Samples = NDArray[np.complex64]
Floats = NDArray[np.float32]

SPEED_OF_LIGHT: Final = 299_792_458.0
BOLTZMANN: Final = 1.380649e-23
HALF_WIDTH: Final = 16
"""Lags of the windowed sinc to either side."""
PHASES: Final = 1024
KAISER_BETA: Final = 7.0
BLEND_ERROR: Final = 3e-4
"""Amplitude error allowed for letting the filter change linearly within a block."""
BLOCKS: Final = (32, 512)
MAX_DELAY_S: Final = 1.0
MAX_SFO_PPM: Final = 1000.0
MAX_GAIN_DB: Final = 300.0
LARGEST: Final = 1e12


def free_space_loss_db(distance_m: float, frequency_hz: float) -> float:
    """Friis: 20·log10(4π·d·f/c) in dB, for isotropic antennas; SignalError unless both are positive."""
    _positive("distance_m", distance_m)
    _positive("frequency_hz", frequency_hz)
    return float(20 * np.log10(4 * np.pi * distance_m * frequency_hz / SPEED_OF_LIGHT))


def log_distance_loss_db(distance_m: float, frequency_hz: float, exponent: float, *, reference_m: float = 1.0) -> float:
    """Free space up to reference_m, then 10·exponent·log10(d/d0) dB more (T. S. Rappaport, 4.9.1).

    SignalError unless all four are positive.
    """
    for field, value in (("distance_m", distance_m), ("exponent", exponent), ("reference_m", reference_m)):
        _positive(field, value)
    beyond = max(distance_m / reference_m, 1.0)
    near = free_space_loss_db(min(distance_m, reference_m), frequency_hz)
    return float(near + 10 * exponent * np.log10(beyond))


def noise_power_w(bandwidth_hz: float, noise_figure_db: float = 0.0, temperature_k: float = 290.0) -> float:
    """Thermal noise k·T·B·F in watt; SignalError unless bandwidth and temperature are positive."""
    _positive("bandwidth_hz", bandwidth_hz)
    _positive("temperature_k", temperature_k)
    _within("noise_figure_db", noise_figure_db, 0.0, MAX_GAIN_DB)
    return float(BOLTZMANN * temperature_k * bandwidth_hz * 10 ** (noise_figure_db / 10))


def propagate(
    samples: Samples,
    fading: Fading,
    *,
    sample_rate_hz: float,
    start_time_s: float = 0.0,
    gain_db: float = 0.0,
    cfo_hz: float = 0.0,
    sfo_ppm: float = 0.0,
    delay_s: float = 0.0,
    first_sample: float = 0.0,
    count: int | None = None,
    periodic: bool = False,
    time_varying: bool = True,
) -> Samples:
    """What one transmitter's samples are at one receiver, before noise.

    y[n] = 10^(gain_db/20)·exp(j2π·cfo·t_n)·Σ_k g_k(t_n)·x(p_n − (τ_k + delay)·sample_rate), where
    t_n = start_time + n/sample_rate, p_n = first_sample + n·(1 + sfo·1e−6), and x(p) is the band-limited
    signal through the samples.

    Args:
        samples: (n,) complex64 sent; zero outside, or repeated for ever if periodic.
        fading: the link's taps.
        sample_rate_hz: nominal rate of sender and receiver.
        start_time_s: time of the first output sample; sets taps and carrier phase.
        gain_db: path gain (a loss is negative).
        cfo_hz: sender's carrier minus the receiver's.
        sfo_ppm: how much faster the sender's sample clock runs than the receiver's.
        delay_s: propagation delay, 0 or more.
        first_sample: position in samples, not necessarily whole, of the first output sample.
        count: output samples; as many as samples if None.
        periodic: repeat samples instead of zeros outside.
        time_varying: let taps change within the output; otherwise they stay as at start_time_s (block fading).

    Returns:
        (count,) complex64.

    Raises:
        SignalError: samples are empty, not one-dimensional or not finite; a number is not finite or out of
            range (delay beyond a second, clock offset beyond 1000 ppm, gain beyond ±300 dB).
    """
    x = finite_samples(samples)
    _positive("sample_rate_hz", sample_rate_hz)
    _within("delay_s", delay_s, 0.0, MAX_DELAY_S)
    _within("sfo_ppm", sfo_ppm, -MAX_SFO_PPM, MAX_SFO_PPM)
    _within("gain_db", gain_db, -MAX_GAIN_DB, MAX_GAIN_DB)
    for field, value in (("start_time_s", start_time_s), ("cfo_hz", cfo_hz), ("first_sample", first_sample)):
        _within(field, value, -LARGEST, LARGEST)
    wanted = len(x) if count is None else count
    _within("count", wanted, 1, LARGEST)
    out = np.empty(wanted, np.complex64)
    block = _block_length(fading if time_varying else None, sample_rate_hz, sfo_ppm)
    gains = _edge_gains(fading, start_time_s, block / sample_rate_hz, len(out) // block + 2, time_varying)
    delays = (fading.delays_s + delay_s) * sample_rate_hz
    clock = (float(first_sample), sfo_ppm * 1e-6)
    padded, origin = _surround(x, delays, clock, len(out) + block, periodic)
    spin = np.exp(2j * np.pi * cfo_hz / sample_rate_hz * np.arange(block)).astype(np.complex64)
    turns = ((cfo_hz * start_time_s) % 1.0, cfo_hz / sample_rate_hz * block)
    real, imag = np.ascontiguousarray(padded.real), np.ascontiguousarray(padded.imag)
    gains *= 10 ** (gain_db / 20)
    kernels.render(real, imag, origin, gains, delays, clock, _sinc_table(), spin, turns, out)
    return out


def superpose(arrivals: Sequence[tuple[int, Samples]], count: int) -> Samples:
    """Sum (count,) of what several transmitters bring: each its samples from an index on, clipped to the range."""
    total = np.zeros(count, np.complex64)
    for start, samples in arrivals:
        first, last = max(start, 0), min(start + len(samples), count)
        if first < last:
            total[first:last] += samples[first - start : last - start]
    return total


def _positive(field: str, value: float) -> None:
    if not (np.isfinite(value) and value > 0):
        raise SignalError(f"{field} = {value} must be a positive finite number")


def _within(field: str, value: float, least: float, most: float) -> None:
    if not least <= value <= most:
        raise SignalError(f"{field} = {value} must lie in {least:g}…{most:g}")


def _block_length(fading: Fading | None, sample_rate_hz: float, sfo_ppm: float) -> int:
    """Samples within which linear change of the filter stays within BLEND_ERROR: (rate·B)²/8."""
    doppler = 0.0 if fading is None else 2 * np.pi * float(np.abs(fading.frequencies_hz).max()) / sample_rate_hz
    rate = max(doppler, np.pi * abs(sfo_ppm) * 1e-6, 1e-12)
    return int(np.clip(np.sqrt(8 * BLEND_ERROR) / rate, *BLOCKS))


def _edge_gains(
    fading: Fading, start_s: float, step_s: float, edges: int, time_varying: bool
) -> NDArray[np.complex128]:
    """Tap gains (edges, K), or (1, K) where they stand still."""
    if not time_varying or not fading.frequencies_hz.any():
        return tap_gains(fading, [start_s])
    state = fading.amplitudes * np.exp(2j * np.pi * ((fading.frequencies_hz * start_s) % 1.0))
    gains = np.empty((edges, len(fading.delays_s)), complex)
    kernels.edge_gains(state, np.exp(2j * np.pi * fading.frequencies_hz * step_s), gains)
    return gains


def _surround(
    x: Samples, delays: NDArray[np.float64], clock: tuple[float, float], count: int, periodic: bool
) -> tuple[Samples, int]:
    """Samples before, through and after what the filter reaches, and the index of position 0 in them."""
    ends = (clock[0], clock[0] + (1 + clock[1]) * count)
    low = int(np.floor(min(ends) - delays.max())) - HALF_WIDTH - 4
    high = int(np.ceil(max(ends))) + HALF_WIDTH + 4
    if periodic:
        return np.take(x, np.arange(low, high), mode="wrap"), -low
    padded = np.zeros(high - low, np.complex64)
    first, last = max(low, 0), min(high, len(x))
    if first < last:
        padded[first - low : last - low] = x[first:last]
    return padded, -low


@cache
def _sinc_table() -> Floats:
    """(PHASES+1, 2·HALF_WIDTH) Kaiser-windowed sinc at j + 1 − HALF_WIDTH − phase/PHASES."""
    at = np.arange(2 * HALF_WIDTH) + 1 - HALF_WIDTH - np.linspace(0.0, 1.0, PHASES + 1)[:, None]
    inside = np.clip(1 - (at / HALF_WIDTH) ** 2, 0.0, None)
    return np.asarray(np.sinc(at) * np.i0(KAISER_BETA * np.sqrt(inside)) / np.i0(KAISER_BETA), np.float32)
