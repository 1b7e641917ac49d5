"""Random scenes for the modem: grids, links, channels and offsets drawn within what it promises to bear.

The noise is set by what the scene needs: over the link's subcarriers and the frame's duration, the geometric mean
of 1 + SNR stands `margin_db` above the threshold of the scheme, and the whole band at 2 dB or more for the header.
Every impairment lies well below that noise.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from testbed.ofdm.coding import coded_length, decode_blocks, encode_blocks
from testbed.ofdm.frame import Header, Link, modulate
from testbed.ofdm.grid import PRESETS, Grid
from testbed.ofdm.mcs import MCS
from testbed.ofdm.modulation import demap, map_bits
from tests.reference.ofdm_exact import Path, Receiver, Sender, capture, response, still

FFT_SIZES = (64, 80, 96, 128, 192, 256, 384, 512, 768, 1024, 2048, 4096)
INSTANTS = 17
QUANTISATION = 4e-8
"""Noise power of a 12-bit converter."""


@dataclass
class Scene:
    """A capture and the truth about it: number 100 + i is frame i; snr (frames, INSTANTS, s) on the link."""

    grid: Grid
    link: Link
    payload: np.ndarray
    capture: np.ndarray
    senders: list
    cfo: float
    snr: np.ndarray
    may_clip: bool


def draw_grid(rng):
    """A preset or any other grid, of 64…4096 subcarriers."""
    if rng.random() < 0.3:
        return PRESETS[list(PRESETS)[rng.integers(len(PRESETS))]]
    n = int(rng.choice(FFT_SIZES))
    prefix = int(rng.integers(max(4, n // 16), n // 4 + 1))
    half = int(rng.integers(max(12, n // 8), int(0.21 * n) + 1))
    low = int(rng.integers(-int(0.44 * n), int(0.44 * n) - half - 24))
    band = (low, low + half + 24) if rng.random() < 0.25 else 2 * half
    used = half + 24 if isinstance(band, tuple) else band
    pilots = int(rng.integers(4, max(used // 8, 4) + 1))
    return Grid(n, prefix, band, pilots, float(rng.uniform(1e6, 5e6)), int(rng.choice([8, 16, 32, 64])))


def draw_paths(rng, prefix, doppler):
    """One path, two, or 3…8 Rayleigh paths with an exponential profile; delays up to 0.65 of the prefix."""
    kind, longest = rng.integers(3), 0.65 * prefix
    if kind == 0:
        return [still(0.0)]
    if kind == 1:
        second = rng.uniform(0.2, 0.9) * np.exp(2j * np.pi * rng.random())
        moving = np.array([doppler * rng.uniform(-1, 1)])
        return [still(0.0), Path(rng.uniform(0.3, longest), np.array([second]), moving)]
    delays = np.append(0.0, rng.uniform(0, longest, rng.integers(2, 8)))
    power = np.exp(-delays / (rng.uniform(0.1, 0.5) * longest))
    phases, angles = 2 * np.pi * rng.random((2, len(delays), 16))
    amplitudes = np.sqrt(power / power.sum() / 16)[:, None] * np.exp(1j * phases)
    return [Path(*one) for one in zip(delays, amplitudes, doppler * np.cos(angles), strict=True)]


def draw_link(rng, grid):
    """A link on one subcarrier, some, or all, in any order, of at most some 300 000 samples."""
    count = len(grid.data)
    many = min(int(rng.choice([1, 2, 5, count // 4, count // 2, count])), count)
    order = rng.permutation(count)[:many] if rng.random() < 0.5 else np.arange(many) + rng.integers(count - many + 1)
    mcs, blocks, size = int(rng.integers(9)), int(rng.integers(1, 12)), int(rng.integers(4, 200))
    most = 3e5 / grid.symbol_samples * many * MCS[mcs].efficiency / 8
    blocks = max(min(blocks, int(most / (size + 4))), 1)
    return Link(order, mcs, blocks, max(min(size, int(most) - 4), 4))


def draw_scene(seed, margin_db):
    """One capture with 1…3 frames of a transmitter that repeats itself under new numbers."""
    rng = np.random.default_rng(seed)
    grid = draw_grid(rng)
    links = [draw_link(rng, grid)]
    rest = np.setdiff1d(np.arange(len(grid.data)), links[0].subcarriers)
    if len(rest) and rng.random() < 0.6:
        links.append(Link(rest[: rng.integers(len(rest)) + 1], int(rng.integers(9)), 1, int(rng.integers(4, 60))))
    payloads = [rng.integers(0, 256, (one.blocks, one.block_bytes), dtype=np.uint8) for one in links]
    doppler = rng.integers(2) * rng.uniform(0, min(30.0 / grid.sample_rate_hz, 1e-3 / grid.symbol_samples))
    paths = draw_paths(rng, grid.cyclic_prefix, doppler)
    cfo = rng.uniform(-8, 8) if rng.random() < 0.9 else rng.choice([-8.0, 0.0, 8.0])
    clock, level = rng.uniform(-40e-6, 40e-6), 10 ** (rng.uniform(-34, 0) / 20)
    senders, at = [], rng.uniform(0, 3000)
    for i in range(int(rng.choice([1, 1, 2, 3]))):
        wave = modulate(grid, Header(i + 1, 1, 100 + i), links, payloads)
        turn = rng.uniform(0, 2 * np.pi)
        senders.append(Sender(wave, at, paths, level, cfo / grid.fft_size, clock, turn))
        at += len(wave) + 2 * grid.cyclic_prefix + rng.integers(2) * rng.uniform(0, 2000)
    noise, own = _noise(grid, links[0], senders, margin_db)
    receiver = _receiver(rng, grid, noise, max(float(own.max()), 1e-30))
    samples = capture(senders, receiver, int(at + rng.uniform(10, 3000)), rng)
    return Scene(grid, links[0], payloads[0], samples, senders, float(cfo), own / noise, level > 0.4)


def _noise(grid, link, senders, margin_db):
    """Noise variance on a subcarrier, and powers (frames, INSTANTS, s) of the link's subcarriers."""
    frequencies = grid.offsets / grid.fft_size
    instants = [np.linspace(one.first, one.first + len(one.samples), INSTANTS) for one in senders]
    power = grid.amplitude**2 * np.array(
        [
            [np.abs(response(one, n, frequencies)) ** 2 for n in times]
            for one, times in zip(senders, instants, strict=True)
        ]
    )
    own = power[..., grid.data[link.subcarriers]]
    short = max(0.0, 3.0 - np.log2(link.block_bytes) / 2.2)  # short codewords are weaker, see testbed.ofdm.mcs
    needed = np.log2(1 + 10 ** ((MCS[link.mcs].snr_threshold_db + short + margin_db) / 10))
    candidates = np.logspace(-16, 1, 500)
    enough = [np.min(np.mean(np.log2(1 + own / noise), axis=(1, 2))) >= needed for noise in candidates]
    header = np.min(np.mean(power[:, 0], axis=-1)) / 10**0.2
    return min(float(candidates[np.flatnonzero(enough)[-1]]), float(header)), own


def _receiver(rng, grid, noise, strongest):
    """Imperfections at least 15 dB below the noise on the strongest subcarrier, but a DC offset as strong as it."""
    wandering = min(noise / strongest * 10**-1.8 / grid.symbol_samples, 2 * np.pi * 20 / grid.sample_rate_hz)
    image = np.sqrt(min(noise / strongest * 10**-1.5, 2e-4))
    power = noise * grid.fft_size
    dc = rng.integers(2) * np.sqrt(power) * np.exp(2j * np.pi * rng.random())
    bits = 12 if power > 30 * QUANTISATION else 16 if power > 30 * QUANTISATION / 256 else None
    gain, skew = 1 + image * rng.uniform(-1, 1), image * rng.uniform(-1, 1)
    return Receiver(power, rng.integers(2) * wandering, gain, skew, dc, bits)


def known_channel_loses(scene, frame, gain_db, rng, trials=4):
    """Share of trials in which a block is lost when channel and noise are known, at an SNR `gain_db` higher."""
    link, width = scene.link, MCS[scene.link.mcs].bits_per_symbol
    coded = encode_blocks(scene.payload, link.mcs, coded_length(link.block_bytes, link.mcs))
    points = map_bits(coded.ravel(), width).reshape(link.blocks, -1)
    order = np.arange(points.size).reshape(-1, link.blocks).T
    instant = np.minimum(order * INSTANTS // points.size, INSTANTS - 1)
    snr = scene.snr[frame][instant, order % scene.snr.shape[-1]] * 10 ** (gain_db / 10)
    noise = (1 / snr).astype(np.float32)
    lost = 0
    for _ in range(trials):
        thermal = np.sqrt(noise / 2) * (rng.standard_normal(points.shape) + 1j * rng.standard_normal(points.shape))
        llr = demap((points + thermal).astype(np.complex64).ravel(), noise.ravel(), width).reshape(coded.shape)
        lost += not decode_blocks(llr, link.block_bytes, link.mcs)[1].all()
    return lost / trials
