"""The modem beside liquid-dsp: speed of each chain, and frame errors against perfect channel knowledge.

    python benchmarks/modem.py [--frames 300] [--json FILE]

One core, both in one run and in turn, medians. Grid 256/32 with 204 used subcarriers, Gaussian noise, fixed seeds.
liquid-dsp (its Python wheel offers OFDM frames without choice of scheme or code, and no channel or soft bits) is
given the same 256/32 symbols; its payload is QPSK, uncoded.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from testbed.ofdm.coding import decode_blocks
from testbed.ofdm.frame import Header, Link, demodulate, modulate, soft_bits
from testbed.ofdm.frame_opening import open_frames
from testbed.ofdm.grid import PRESETS
from testbed.ofdm.mcs import MCS
from testbed.ofdm.sync import detect, survey

GRID = PRESETS["demo"]
QPSK_HALF, QAM64_34 = 1, 6


def median_s(work: Callable[[], object], repeat: int = 15) -> float:
    """Median time of `work`, after one call that is not counted."""
    work()
    taken = []
    for _ in range(repeat):
        start = time.perf_counter()
        work()
        taken.append(time.perf_counter() - start)
    return statistics.median(taken)


def noisy(wave: np.ndarray, snr_db: float, rng: np.random.Generator, lead: int = 500) -> np.ndarray:
    """A capture with `wave` in it, at an SNR per used subcarrier."""
    noise = GRID.amplitude**2 * GRID.fft_size * 10 ** (-snr_db / 10)
    count = wave.size + 2 * lead
    samples = np.sqrt(noise / 2) * (rng.standard_normal(count) + 1j * rng.standard_normal(count))
    samples[lead : lead + wave.size] += wave
    return samples.astype(np.complex64)


def make(rng: np.random.Generator, mcs: int, blocks: int) -> tuple[Link, np.ndarray, np.ndarray]:
    """A link over the whole band, its payload, and its frame."""
    link = Link(np.arange(GRID.data.size), mcs, blocks, 256)
    payload = rng.integers(0, 256, (blocks, 256), dtype=np.uint8)
    return link, payload, modulate(GRID, Header(1, 1, 7), [link], [payload])


def speeds(rng: np.random.Generator) -> dict[str, float]:
    """Mega-samples a second of each chain."""
    link, payload, wave = make(rng, QPSK_HALF, 128)
    capture = noisy(wave, MCS[QPSK_HALF].snr_threshold_db + 3.0, rng)
    looked = survey(capture)
    opening = next(iter(open_frames(GRID, capture, looked.mean, 0)))
    received = demodulate(GRID, capture, link)
    assert received is not None
    assert received.ok.all()
    assert (received.payloads == payload).all()

    def to_llr() -> object:
        survey(capture)
        return soft_bits(GRID, capture, next(iter(open_frames(GRID, capture, looked.mean, 0))), link)

    _, llr = soft_bits(GRID, capture, opening, link)
    dense, _, dense_wave = make(rng, QAM64_34, 128)
    dense_capture = noisy(dense_wave, MCS[QAM64_34].snr_threshold_db + 3.0, rng)
    noise = noisy(np.zeros(1 << 20, np.complex64), 0.0, rng)
    return {
        "transmit, coded QPSK 1/2": wave.size
        / median_s(lambda: modulate(GRID, Header(1, 1, 7), [link], [payload]))
        / 1e6,
        "receive, samples to LLR, QPSK": capture.size / median_s(to_llr) / 1e6,
        "receive with LDPC and CRC, QPSK 1/2 at 3 dB above threshold": capture.size
        / median_s(lambda: demodulate(GRID, capture, link))
        / 1e6,
        "receive with LDPC and CRC, 64-QAM 3/4 at 3 dB above threshold": dense_capture.size
        / median_s(lambda: demodulate(GRID, dense_capture, dense))
        / 1e6,
        "LDPC and CRC alone, Mb/s of payload": payload.size
        * 8
        / median_s(lambda: decode_blocks(llr, link.block_bytes, link.mcs))
        / 1e6,
        "sync scan over noise": noise.size / median_s(lambda: detect(GRID, noise)) / 1e6,
    }


def liquid_speeds(rng: np.random.Generator) -> dict[str, float]:
    """The peer; empty when it is not installed."""
    try:
        import liquid
    except ImportError:
        return {}
    payload = rng.integers(0, 256, 8192, dtype=np.uint8)
    header = np.arange(8, dtype=np.uint8)
    maker = liquid.ofdmflexframetx(GRID.fft_size, GRID.cyclic_prefix, 0)

    def transmit() -> np.ndarray:
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
    return {
        "liquid-dsp transmit": wave.size / median_s(transmit, 7) / 1e6,
        "liquid-dsp receive": capture.size / median_s(lambda: receiver.execute(capture), 7) / 1e6,
        "liquid-dsp frames heard": float(len(heard)),
    }


def frame_errors(rng: np.random.Generator, mcs: int, snr_db: float, frames: int) -> dict[str, float]:
    """Share of frames of five blocks in which any block is lost, channel and offset estimated from the frame."""
    link, payload, wave = make(rng, mcs, 5)
    lost = 0
    for _ in range(frames):
        turn = np.exp(2j * np.pi * (rng.uniform(-6, 6) / GRID.fft_size * np.arange(wave.size) + rng.uniform()))
        received = demodulate(GRID, noisy(wave * turn, snr_db, rng), link)
        lost += received is None or not received.ok.all() or not (received.payloads == payload).all()
    share = lost / frames
    return {"snr_db": snr_db, "frame_error_rate": share, "standard_error": float(np.sqrt(share * (1 - share) / frames))}


def main() -> None:
    """Measure, print, and write JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=300)
    parser.add_argument("--json", type=Path, default=Path("benchmarks/out/modem.json"))
    arguments = parser.parse_args()
    rng = np.random.default_rng(38_901)
    table: dict[str, object] = {"speed": speeds(rng), "liquid": liquid_speeds(rng)}
    for name, figures in table.items():
        print(name)
        for what, value in figures.items():  # type: ignore[attr-defined]
            print(f"  {what:62}{value:10.1f}")
    table["frame errors"] = {}
    for mcs, points in ((QPSK_HALF, (2.3, 2.8, 3.3)), (QAM64_34, (17.0, 17.5, 18.0))):
        rows = [frame_errors(rng, mcs, snr_db, arguments.frames) for snr_db in points]
        table["frame errors"][MCS[mcs].name] = rows  # type: ignore[index]
        for row in rows:
            rate = f"{row['frame_error_rate']:.4f} ± {row['standard_error']:.4f}"
            print(f"  {MCS[mcs].name:14}{row['snr_db']:6.1f} dB  {rate}")
    arguments.json.parent.mkdir(parents=True, exist_ok=True)
    arguments.json.write_text(json.dumps(table, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
