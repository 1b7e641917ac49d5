"""Rounds a second without waveforms on one core, and where the time goes.

    OPENBLAS_NUM_THREADS=1 python benchmarks/rounds_per_second.py [--passes 12] [--profile]

K = 8 nodes of 16 tokens, model "eight", M = 256 data subcarriers: scheduling, gate, experts and payload included. The
first pass is left out (compilation). The central reference, which a round does not need,
is left out too.
"""

from __future__ import annotations

import argparse
import cProfile
import pstats
import statistics
import time

from testbed.agents.assemble import check, round_settings
from testbed.agents.fading_world import channel_fleet
from testbed.campaign import load_campaign
from testbed.exchange import FrameCounter
from testbed.outcome import RoundRecord
from testbed.round import run_round

CAMPAIGN: dict[str, object] = {
    "model.name": "eight",
    "nodes.count": 8,
    "nodes.tokens": 16,
    "nodes.compute_energy_j": 0.4e-9,
    "nodes.domain_shift": 3,
    "grid.fft_size": 512,
    "grid.cyclic_prefix": 64,
    "grid.sample_rate_hz": 7.68e6,
    "grid.occupied": 272,
    "grid.pilot_count": 16,
}
GOAL = 300.0


def rounds(passes: int, scheduler: str) -> tuple[list[RoundRecord], list[float]]:
    """All rounds but those of the first pass, and the seconds of each, beginning of a batch included."""
    campaign = load_campaign(None, CAMPAIGN | {"passes": passes + 1, "schedule.scheduler": scheduler})
    assert campaign.ofdm_grid().data.size == 256
    model, frames = check(campaign), FrameCounter()
    settings = round_settings(campaign, model)
    records, seconds = [], []
    fleet = channel_fleet(campaign, model)
    for batch in range(passes + 1):
        start = time.perf_counter()
        fleet.begin(batch)
        plan = None
        for layer in range(model.layers):
            record, plan = run_round(len(records), layer, fleet, settings, frames, time.perf_counter, plan)
            records.append(record)
        seconds.append((time.perf_counter() - start) / model.layers)
    return records[model.layers :], seconds[1:]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--passes", type=int, default=12)
    parser.add_argument("--profile", action="store_true")
    arguments = parser.parse_args()
    rounds(1, "jesa")
    for scheduler in ("jesa", "top-2"):
        records, seconds = rounds(arguments.passes, scheduler)
        whole = statistics.median(seconds)
        phases = {name: statistics.median(r.seconds[name] for r in records) for name in records[0].seconds}
        print(f"{scheduler}: {1 / whole:.0f} rounds/s (goal {GOAL:.0f}); median {1e3 * whole:.2f} ms a round")
        for name, one in phases.items():
            print(f"    {name:10}{1e3 * one:8.2f} ms")
    if arguments.profile:
        profile = cProfile.Profile()
        profile.runcall(rounds, arguments.passes, "jesa")
        pstats.Stats(profile).sort_stats("tottime").print_stats(25)


if __name__ == "__main__":
    main()
