"""Rounds a second without waveforms on one core, and where the time goes.

    OPENBLAS_NUM_THREADS=1 python benchmarks/rounds_per_second.py [--passes 25] [--profile]

K = 8 nodes of 16 tokens, model "eight", M = 256 data subcarriers: soundings, gate, scheduling, payload, experts and
aggregation included. Two settings:

    still   the paper's experiments (`measurements/paper`): channels stand still, no context is read beforehand
    moving  a campaign's defaults: at 0.3 Hz of Doppler a fifth of the blocks is sent again, and nodes read 48 bytes of
            context before the rounds of a batch, three times the work of the tokens themselves; `context` is its
            share of a round, and the rate is given without and with it

The central reference, which a round does not need, is left out, and so is the first pass (compilation). Processor time
of this process, medians over batches.
"""

from __future__ import annotations

import argparse
import cProfile
import itertools
import pstats
import statistics
import time

from testbed.agents.assemble import check, round_settings
from testbed.agents.fading_world import channel_fleet
from testbed.campaign import load_campaign
from testbed.exchange import FrameCounter
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
STILL: dict[str, object] = {"nodes.context": 0, "channel.doppler_hz": 0.0}
GOAL = 300.0


def rounds(passes: int, scheduler: str, setting: dict[str, object]) -> list[dict[str, float]]:
    """Seconds of a round by phase, its share of reading the context included, for each batch but the first."""
    campaign = load_campaign(None, CAMPAIGN | setting | {"passes": passes + 1, "schedule.scheduler": scheduler})
    assert campaign.ofdm_grid().data.size == 256
    model, frames = check(campaign), FrameCounter()
    settings = round_settings(campaign, model)
    fleet, number, batches = channel_fleet(campaign, model), itertools.count(), []
    for batch in range(passes + 1):
        begun = time.process_time()
        fleet.begin(batch)
        seconds, plan = {"context": (time.process_time() - begun) / model.layers}, None
        begun = time.process_time()
        for layer in range(model.layers):
            record, plan = run_round(next(number), layer, fleet, settings, frames, time.process_time, plan)
            for name, spent in record.seconds.items():
                seconds[name] = seconds.get(name, 0.0) + spent / model.layers
        batches.append(seconds | {"round": (time.process_time() - begun) / model.layers})
    return batches[1:]


def report(what: str, batches: list[dict[str, float]]) -> None:
    """Print the rate, and the median of each phase."""
    median = {name: statistics.median(batch[name] for batch in batches) for name in batches[0]}
    alone = median.pop("round")
    print(f"{what}: {1 / alone:.0f} rounds/s (goal {GOAL:.0f}), {1e3 * alone:.2f} ms a round;", end=" ")
    print(f"with the context read {1 / (alone + median['context']):.0f} rounds/s")
    for name, one in median.items():
        print(f"    {name:10}{1e3 * one:8.2f} ms")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--passes", type=int, default=25)
    parser.add_argument("--profile", action="store_true")
    arguments = parser.parse_args()
    for name, setting in (("still", STILL), ("moving", {})):
        for scheduler in ("jesa", "top-2"):
            report(f"{name}, {scheduler}", rounds(arguments.passes, scheduler, setting))
    if arguments.profile:
        profile = cProfile.Profile()
        profile.runcall(rounds, arguments.passes, "jesa", STILL)
        pstats.Stats(profile).sort_stats("tottime").print_stats(40)


if __name__ == "__main__":
    main()
