"""The modem beside liquid-dsp and GNU Radio: speed of each chain, and frame errors against perfect channel knowledge.

    python benchmarks/modem.py [--frames 300] [--passes 15] [--json FILE]

One core: speeds are medians, in seconds of processor time, over passes that visit all chains and the peer in turn.
Grid 256/32 with 204 used subcarriers, Gaussian noise, fixed seeds. liquid-dsp (its Python wheel offers OFDM frames
without choice of scheme or code, and no channel or soft bits) is given the same 256/32 symbols; its payload is
QPSK. GNU Radio, where the system has it, runs its own 64/16 chain without noise (benchmarks/modem_gnuradio.py).
"Perfect knowledge" is the same coded blocks in the same noise, demapped with the true channel and noise.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from testbed.ofdm.coding import coded_length, decode_blocks, encode_blocks
from testbed.ofdm.frame import Header, Link, demodulate, modulate, soft_bits
from testbed.ofdm.frame_opening import open_frames
from testbed.ofdm.frame_transmit import modulate_coded
from testbed.ofdm.grid import PRESETS
from testbed.ofdm.mcs import MCS
from testbed.ofdm.modulation import demap, map_bits
from testbed.ofdm.sync import detect, survey

GRID = PRESETS["demo"]
QPSK_HALF, QAM64_34 = 1, 6


def median_speeds(chains: dict[str, tuple[int, Callable[[], object]]], passes: int) -> dict[str, float]:
    """Millions of items a second of each chain, given how many items one call handles."""
    taken: dict[str, list[float]] = {name: [] for name in chains}
    for turn in range(passes + 1):  # the first turn compiles and fills caches
        for name, (_, work) in chains.items():
            start = time.thread_time()
            work()
            taken[name] += [time.thread_time() - start] if turn else []
    return {name: count / statistics.median(taken[name]) / 1e6 for name, (count, _) in chains.items()}


def noisy(wave: NDArray[Any], snr_db: float, rng: np.random.Generator, lead: int = 500) -> NDArray[Any]:
    """A capture with `wave` in it, at an SNR per used subcarrier."""
    noise = GRID.amplitude**2 * GRID.fft_size * 10 ** (-snr_db / 10)
    count = wave.size + 2 * lead
    samples = np.sqrt(noise / 2) * (rng.standard_normal(count) + 1j * rng.standard_normal(count))
    samples[lead : lead + wave.size] += wave
    return samples.astype(np.complex64)


def make(rng: np.random.Generator, mcs: int, blocks: int) -> tuple[Link, NDArray[Any], NDArray[Any]]:
    """A link over the whole band, its payload, and its frame."""
    link = Link(np.arange(GRID.data.size), mcs, blocks, 256)
    payload = rng.integers(0, 256, (blocks, 256), dtype=np.uint8)
    return link, payload, modulate(GRID, Header(1, 1, 7), [link], [payload])


def chains(rng: np.random.Generator) -> dict[str, tuple[int, Callable[[], object]]]:
    """What the modem does, each with the number of samples (or bits) that one call handles."""
    link, payload, wave = make(rng, QPSK_HALF, 128)
    header = Header(1, 1, 7)
    coded = encode_blocks(payload, link.mcs, coded_length(link.block_bytes, link.mcs))
    capture = noisy(wave, MCS[QPSK_HALF].snr_threshold_db + 3.0, rng)
    received = demodulate(GRID, capture, link)
    assert received is not None
    assert received.ok.all()
    assert (received.payloads == payload).all()

    def to_llr() -> NDArray[np.float32]:
        mean = survey(capture).mean
        return soft_bits(GRID, capture, next(open_frames(GRID, capture, mean)), link)[1]

    llr = to_llr()
    dense, _, dense_wave = make(rng, QAM64_34, 128)
    dense_capture = noisy(dense_wave, MCS[QAM64_34].snr_threshold_db + 3.0, rng)
    noise = noisy(np.zeros(1 << 20, np.complex64), 0.0, rng)
    return {
        "transmit, coded bits to samples, QPSK": (
            wave.size,
            lambda: modulate_coded(GRID, header, [link], [coded]),
        ),
        "transmit, bytes to samples, QPSK 1/2": (wave.size, lambda: modulate(GRID, header, [link], [payload])),
        "receive, samples to LLR, QPSK": (capture.size, to_llr),
        "receive with LDPC and CRC, QPSK 1/2, 3 dB above threshold": (
            capture.size,
            lambda: demodulate(GRID, capture, link),
        ),
        "receive with LDPC and CRC, 64-QAM 3/4, 3 dB above threshold": (
            dense_capture.size,
            lambda: demodulate(GRID, dense_capture, dense),
        ),
        "LDPC and CRC alone, bits of payload": (
            payload.size * 8,
            lambda: decode_blocks(llr, link.block_bytes, link.mcs),
        ),
        "sync scan over noise": (noise.size, lambda: detect(GRID, noise)),
    }


def liquid_chains(rng: np.random.Generator) -> dict[str, tuple[int, Callable[[], object]]]:
    """The peer; empty when it is not installed."""
    try:
        import liquid
    except ImportError:
        return {}
    payload = rng.integers(0, 256, 8192, dtype=np.uint8)
    header = np.arange(8, dtype=np.uint8)
    maker = liquid.ofdmflexframetx(GRID.fft_size, GRID.cyclic_prefix, 0)

    def transmit() -> NDArray[np.complex64]:
        maker.assemble(header, payload)
        parts = []
        while maker.assembled and len(parts) < 4096:
            parts.append(maker.generate(16 * 288))
            if not parts[-1].any():
                break
        return np.concatenate(parts)

    wave = transmit().astype(np.complex64)
    level = np.sqrt(np.mean(np.abs(wave[wave != 0]) ** 2))
    count = wave.size + 1000
    noise = 10 ** (-25 / 20) * level / np.sqrt(2) * (rng.standard_normal(count) + 1j * rng.standard_normal(count))
    capture = (np.pad(wave, 500) + noise).astype(np.complex64)
    heard: list[object] = []
    receiver = liquid.ofdmflexframerx(GRID.fft_size, GRID.cyclic_prefix, 0, lambda *frame: heard.append(frame))
    receiver.execute(capture)
    assert heard, "liquid-dsp did not hear its own frame"
    return {
        "liquid-dsp transmit": (wave.size, transmit),
        "liquid-dsp receive": (capture.size, lambda: receiver.execute(capture)),
    }


def gnuradio_speeds() -> dict[str, float]:
    """Speeds of GNU Radio's chain in a process of its own, by this interpreter or the system's; empty when absent."""
    script = Path(__file__).with_name("modem_gnuradio.py")
    for python in (sys.executable, "/usr/bin/python3"):
        try:
            done = subprocess.run([python, "-E", str(script)], capture_output=True, text=True, check=False, timeout=120)
        except (OSError, subprocess.TimeoutExpired):
            continue
        if done.returncode == 0:
            found = json.loads(done.stdout.splitlines()[-1])
            name = f"GNU Radio {found['version']}, 64/16,"
            heard = f"{name} receive ({found['delivered']:.0%} of packets)"
            return {f"{name} transmit": found["transmit"], heard: found["receive"]}
    return {}


def known_channel_fails(rng: np.random.Generator, link: Link, payload: NDArray[np.uint8], snr_db: float) -> bool:
    """Whether any block is lost when channel, offset and noise are known."""
    width, noise = MCS[link.mcs].bits_per_symbol, 10 ** (-snr_db / 10)
    coded = encode_blocks(payload, link.mcs, coded_length(link.block_bytes, link.mcs))
    points = map_bits(coded.ravel(), width)
    points = points + np.sqrt(noise / 2) * (rng.standard_normal(len(points)) + 1j * rng.standard_normal(len(points)))
    llr = demap(points.astype(np.complex64), noise, width).reshape(coded.shape)
    return not decode_blocks(llr, link.block_bytes, link.mcs)[1].all()


def frame_errors(rng: np.random.Generator, mcs: int, snr_db: float, frames: int) -> dict[str, float]:
    """Share of frames of five blocks in which any block is lost: by the receiver, and with perfect knowledge."""
    link, payload, wave = make(rng, mcs, 5)
    lost = known = 0
    for _ in range(frames):
        turn = np.exp(2j * np.pi * (rng.uniform(-8, 8) / GRID.fft_size * np.arange(wave.size) + rng.uniform()))
        received = demodulate(GRID, noisy(wave * turn, snr_db, rng), link)
        lost += received is None or not received.ok.all() or not (received.payloads == payload).all()
        known += known_channel_fails(rng, link, payload, snr_db)
    share = lost / frames
    return {
        "snr_db": snr_db,
        "frame_error_rate": share,
        "standard_error": float(np.sqrt(max(share, 1 / frames) * (1 - share) / frames)),
        "with_perfect_knowledge": known / frames,
    }


def main() -> None:
    """Measure, print, and write JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=300)
    parser.add_argument("--passes", type=int, default=15)
    parser.add_argument("--json", type=Path, default=Path("benchmarks/out/modem.json"))
    arguments = parser.parse_args()
    rng = np.random.default_rng(38_901)
    speed = median_speeds({**chains(rng), **liquid_chains(rng)}, arguments.passes)
    others = gnuradio_speeds()
    if not others:
        print("  GNU Radio is not installed for this interpreter or the system's: left out")
    speed.update(others)
    for what, value in speed.items():
        print(f"  {what:62}{value:10.1f} million a second")
    errors: dict[str, list[dict[str, float]]] = {}
    for mcs, points in ((QPSK_HALF, (1.8, 2.05, 2.3, 2.8)), (QAM64_34, (16.25, 16.5, 17.0, 17.5))):
        errors[MCS[mcs].name] = [frame_errors(rng, mcs, snr_db, arguments.frames) for snr_db in points]
        for row in errors[MCS[mcs].name]:
            rate = f"{row['frame_error_rate']:.4f} ± {row['standard_error']:.4f}"
            print(f"  {MCS[mcs].name:14}{row['snr_db']:6.2f} dB  {rate}  known {row['with_perfect_knowledge']:.4f}")
    arguments.json.parent.mkdir(parents=True, exist_ok=True)
    table = {"million a second": speed, "frame errors": errors}
    arguments.json.write_text(json.dumps(table, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
