"""SNR that each modulation-and-coding scheme needs in Gaussian noise; writes the table that `testbed.ofdm.mcs` reads.

    python benchmarks/mcs_thresholds.py [--blocks 4000] [--payload 256] [--seed 20250317] [--write]

For each scheme the block error rate (CRC-32 decides) is measured in steps of 0.1 dB; the threshold is where the
straight line through log10(BLER) of the two neighbouring points crosses 1e-2. Without --write the table is
compared with the committed one instead, and the differences are printed.
"""

from __future__ import annotations

import argparse
import json
from fractions import Fraction
from math import ceil, log10
from pathlib import Path

import numpy as np

from testbed.ofdm.coding import coded_length, decode_blocks, encode_blocks
from testbed.ofdm.mcs import MCS, Mcs
from testbed.ofdm.modulation import demap, map_bits

TABLE = Path(__file__).parents[1] / "testbed" / "ofdm" / "data" / "mcs_thresholds.json"
TARGET = 1e-2
STEP_DB = 0.1
BATCH = 200
SCHEMES = [
    ("BPSK 1/2", 1, "1/2"),
    ("QPSK 1/2", 2, "1/2"),
    ("QPSK 3/4", 2, "3/4"),
    ("16-QAM 1/2", 4, "1/2"),
    ("16-QAM 3/4", 4, "3/4"),
    ("64-QAM 2/3", 6, "2/3"),
    ("64-QAM 3/4", 6, "3/4"),
    ("64-QAM 5/6", 6, "5/6"),
    ("256-QAM 3/4", 8, "3/4"),
    ("256-QAM 5/6", 8, "5/6"),
]


def lost_blocks(mcs: Mcs, snr_db: float, payload_bytes: int, blocks: int, rng: np.random.Generator) -> int:
    """How many of `blocks` blocks of random bytes do not come out as they went in."""
    coded_bits = coded_length(payload_bytes, mcs)
    noise = 10 ** (-snr_db / 10)
    payloads = rng.integers(0, 256, (blocks, payload_bytes), dtype=np.uint8)
    sent = map_bits(encode_blocks(payloads, mcs, coded_bits).ravel(), mcs.bits_per_symbol)
    thermal = rng.standard_normal((2, len(sent))) * np.sqrt(noise / 2)
    received = (sent + thermal[0] + 1j * thermal[1]).astype(np.complex64)
    llr = demap(received, noise, mcs.bits_per_symbol).reshape(blocks, coded_bits)
    decoded, ok = decode_blocks(llr, payload_bytes, mcs)
    if not np.array_equal(decoded[ok], payloads[ok]):
        raise SystemExit(f"{mcs.name} at {snr_db} dB: a wrong payload passed its CRC-32")
    return int(np.sum(~ok))


def block_error_rate(mcs: Mcs, snr_db: float, payload_bytes: int, blocks: int, seed: int) -> float:
    """Stops early once 200 blocks are lost."""
    rng = np.random.default_rng([seed, mcs.index, round(100 * snr_db) + 10_000])
    lost = tried = 0
    while tried < blocks and lost < 200:
        lost += lost_blocks(mcs, snr_db, payload_bytes, BATCH, rng)
        tried += BATCH
    return lost / tried


def threshold_db(mcs: Mcs, start_db: float, payload_bytes: int, blocks: int, seed: int) -> float:
    """Walk down to a BLER above TARGET, then up until below, and interpolate."""

    def rate(step: int) -> float:
        return max(block_error_rate(mcs, step * STEP_DB, payload_bytes, blocks, seed), 0.1 / blocks)

    step = round(start_db / STEP_DB)
    while rate(step) <= TARGET:
        step -= 3
    above = rate(step)
    while (below := rate(step + 1)) > TARGET:
        step, above = step + 1, below
    share = (log10(above) - log10(TARGET)) / (log10(above) - log10(below))
    return (step + share) * STEP_DB


def main() -> None:
    """Measure every scheme."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--blocks", type=int, default=4000)
    parser.add_argument("--payload", type=int, default=256, help="bytes of a block")
    parser.add_argument("--seed", type=int, default=20250317)
    parser.add_argument("--write", action="store_true", help=f"replace {TABLE.name}")
    args = parser.parse_args()
    known = {m.name: m.snr_threshold_db for m in MCS}
    rows = []
    for index, (name, bits, rate) in enumerate(SCHEMES):
        efficiency = bits * Fraction(rate)
        start = known.get(name, ceil(10 * log10(2 ** float(efficiency) - 1)) + 1.0)
        scheme = Mcs(index, name, bits, Fraction(rate), start)
        measured = round(threshold_db(scheme, start, args.payload, args.blocks, args.seed), 2)
        rows.append({"name": name, "bits_per_symbol": bits, "code_rate": rate, "snr_threshold_db": measured})
        print(f"{name:12s} {measured:6.2f} dB   (table {known.get(name, float('nan')):6.2f} dB)", flush=True)
    if args.write:
        how = {
            "what": "SNR per subcarrier in dB at which the block error rate is 0.01; Gaussian noise, max-log LLRs",
            "script": "benchmarks/mcs_thresholds.py",
            "payload_bytes": args.payload,
            "blocks_per_point": args.blocks,
            "step_db": STEP_DB,
            "seed": args.seed,
        }
        TABLE.write_text(json.dumps({"measured": how, "schemes": rows}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
