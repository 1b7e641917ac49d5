"""Seconds per round by phase, and how they grow with nodes, tokens and subcarriers.

    python benchmarks/round.py [--repeat 3] [--json FILE]

Runs whole campaigns on simulated radios in one process (what the work costs) and, for the demo, in one process a
node (what a user waits for). The first round of each run is left out: it pays for lazy imports. Medians.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from testbed.agents.assemble import check
from testbed.agents.conduct import conduct
from testbed.agents.local import local_fleet
from testbed.campaign import load_campaign
from testbed.outcome import RoundRecord

PHASES = ("sound", "gate", "schedule", "forward", "expert", "return", "aggregate")
CASES: dict[str, dict[str, object]] = {
    "demo (K=4, N=16, M=192)": {},
    "K=2": {"nodes.count": 2},
    "K=3": {"nodes.count": 3},
    "N=4": {"nodes.tokens": 4},
    "N=64": {"nodes.tokens": 64},
    "M=48 (small grid)": {"grid.preset": "small"},
    "M=760 (fine grid)": {"grid.preset": "fine"},
    "frames as short as free": {"schedule.fill_energy_factor": 1.0, "nodes.tokens": 4},
}


def measure(overrides: dict[str, object], passes: int) -> list[RoundRecord]:
    """All rounds of a campaign but the first."""
    campaign = load_campaign(None, {"passes": passes, "nodes.compute_energy_j": 1e-10} | overrides)
    model, records = check(campaign), []
    with local_fleet(campaign, model) as fleet:
        conduct(
            campaign,
            model,
            fleet,
            on_round=lambda record, predictions: records.append(record),
            stopping=lambda: False,
            clock=time.monotonic,
        )
    return records[1:]


def row(records: list[RoundRecord]) -> dict[str, float]:
    """Median seconds of each phase, and of the round."""
    figures = {phase: statistics.median(r.seconds.get(phase, 0.0) for r in records) for phase in PHASES}
    figures["round"] = statistics.median(sum(r.seconds.values()) for r in records)
    figures["air"] = statistics.median(r.forward.air_time_s + r.back.air_time_s for r in records)
    return figures


def demo_as_processes() -> dict[str, float]:
    """The demo as `make run` runs it: seconds in all, and the median round."""
    with tempfile.TemporaryDirectory() as out:
        start = time.monotonic()
        done = subprocess.run(
            [sys.executable, "-m", "testbed", "run", "--json", "--out", out],
            capture_output=True,
            text=True,
            check=True,
            env=os.environ | {"TESTBED_KEYS": str(Path(out) / "keys")},
        )
        whole = time.monotonic() - start
        lines = (Path(json.loads(done.stdout)["run_dir"]) / "timings.jsonl").read_text().splitlines()
    rounds = [sum(json.loads(line)["seconds"].values()) for line in lines]
    return {"whole command": whole, "round": statistics.median(rounds)}


def main() -> None:
    """Measure, print a table, and write JSON where asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeat", type=int, default=3, help="passes through the model a case")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()

    measure({}, 1)
    table = {}
    print(f"{'':26}" + "".join(f"{name:>10}" for name in (*PHASES, "round", "air")) + "  schedule share")
    for name, overrides in CASES.items():
        table[name] = row(measure(overrides, arguments.repeat))
        cells = "".join(f"{table[name][column]:10.4f}" for column in (*PHASES, "round", "air"))
        print(f"{name:26}{cells}  {table[name]['schedule'] / table[name]['round']:.2%}", flush=True)
    table["demo as processes"] = demo_as_processes()
    print("demo as processes:", ", ".join(f"{k} {v:.2f} s" for k, v in table["demo as processes"].items()))
    if arguments.json:
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        arguments.json.write_text(json.dumps(table, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
