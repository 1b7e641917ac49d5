"""The catalogue at many runs: seconds to build its index, to list again, and to search, beside reading all manifests.

    python benchmarks/catalogue.py [--runs 10000] [--json FILE]

The runs are copies of a golden recording without its rounds, each with a seed and a name of its own. "rebuilt" lists
them with no index there, "again" with an index that is up to date, "one new" after one run was tagged; "manifests" is
the plainest other way to list them, `json.loads` of every manifest.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from testbed.record.catalogue import list_runs, search, tag

GOLDEN = Path(__file__).parents[1] / "measurements" / "golden" / "v1-four-nodes"


def make_runs(out: Path, count: int) -> None:
    """Folders of finished runs."""
    manifest, summary = (json.loads((GOLDEN / f"{name}.json").read_text()) for name in ("manifest", "summary"))
    campaign = (GOLDEN / "campaign.toml").read_bytes()
    for seed in range(count):
        folder = out / f"run-{seed:05d}"
        folder.mkdir()
        own = {"run_id": folder.name, "seed": seed, "started": f"2025-03-17T12:00:00.{seed:06d}+00:00"}
        (folder / "manifest.json").write_text(json.dumps({**manifest, **own}))
        (folder / "summary.json").write_text(json.dumps({**summary, "accuracy": seed / count}))
        (folder / "campaign.toml").write_bytes(campaign)


def timed(work: Callable[[], object], repeat: int = 1) -> float:
    """Median seconds of a call."""
    times = []
    for _ in range(repeat):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def measure(count: int, out: Path) -> dict[str, float]:
    """All ways on one folder of runs."""
    make_runs(out, count)
    result = {"runs": count, "rebuilt, s": timed(lambda: list_runs(out)), "again, s": timed(lambda: list_runs(out), 3)}
    tag(out / "run-00007", ["paper"])
    result["one new, s"] = timed(lambda: list_runs(out))
    for words in (["tag=paper"], ["accuracy>0.5", "schedule.scheduler=jesa"], ["run-0001"]):
        result[f"search {' '.join(words)}, s"] = timed(lambda words=words: search(out, words), 3)
    result["manifests, s"] = timed(lambda: [json.loads(p.read_text()) for p in out.glob("*/manifest.json")], 3)
    return result


def main() -> None:
    """Print the figures, and write them as JSON where asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=10_000)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as out:
        result = measure(arguments.runs, Path(out))
    for name, value in result.items():
        print(f"{name:50}{value:10.4g}")
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
