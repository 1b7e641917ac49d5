"""Makes the golden recordings of the present format version: short runs on simulated radios, one of them killed.

    python measurements/golden/make.py

Recordings of earlier versions are never made again: they are there to show that they can still be read. For the
same reason a recording that exists is left alone.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import psutil

from testbed.agents.controller import execute, plan_run
from testbed.campaign import load_campaign
from testbed.outcome import RoundRecord
from testbed.record.digest import write_digests
from testbed.record.folder import Manifest, RunFolder, clear_scaffold, read_manifest, write_manifest
from testbed.record.schema import FORMAT_VERSION

HERE = Path(__file__).resolve().parent
COMMAND = ("python", "measurements/golden/make.py")
RUNS: dict[str, tuple[dict[str, object], int | None]] = {
    "four-nodes": ({"grid.preset": "lte", "nodes.tokens": 4}, None),
    "heard": (
        {
            "nodes.count": 2,
            "nodes.tokens": 2,
            "nodes.context": 8,
            "nodes.compute_energy_j": 1e-10,
            "grid.preset": "small",
            "transmission.repetitions": 2,
            "radio.record_iq": "ci16",
        },
        None,
    ),
    "killed": (
        {
            "passes": 2,
            "nodes.count": 3,
            "nodes.tokens": 3,
            "nodes.compute_energy_j": [1e-10, 2e-10, 3e-10],
            "grid.preset": "small",
            "channel.snr_db": 18.0,
            "schedule.scheduler": "des-fixed",
            "schedule.hops": 1,
        },
        5,
    ),
}
"""Name → what differs from the built-in campaign, and after how many rounds it is killed."""


def facts(value: Any, path: str = "") -> Iterator[tuple[str, object]]:  # noqa: ANN401  any field of a record
    """Path and content of each field: numbers and words as they are, arrays as type, shape and BLAKE2b sum."""
    if is_dataclass(value):
        for field in fields(value):
            if field.name != "seconds":  # wall time
                yield from facts(getattr(value, field.name), f"{path}.{field.name}".lstrip("."))
    elif isinstance(value, np.ndarray):
        yield path, f"{value.dtype} {value.shape} {blake2b(np.ascontiguousarray(value), digest_size=8).hexdigest()}"
    else:
        yield path, list(value) if isinstance(value, tuple) else value


def record(name: str, out: Path) -> None:
    """One run in `out`, and beside it `expected.json`: what was handed to the recorder."""
    settings, kill_after = RUNS[name]
    expected: list[dict[str, object]] = []

    def keep(round_record: RoundRecord) -> None:
        expected.append(dict(facts(round_record)))
        if len(expected) == kill_after:
            (out / "expected.json").write_text(json.dumps(expected, indent=1))
            for process in psutil.Process().children():
                process.kill()  # the writer, which would close its file else
            os.kill(os.getpid(), signal.SIGKILL)

    campaign = load_campaign(None, {"name": f"golden-{name}", "seed": 7, **settings})
    execute(plan_run(campaign, out, in_process=True), COMMAND, keep)
    (out / "expected.json").write_text(json.dumps(expected, indent=1))


def settle(out: Path, to: Path) -> None:
    """Move the run of `out` to `to`, without the name of the computer, the report, and what only a writer needs."""
    (path,) = (p for p in out.iterdir() if p.is_dir())
    folder = RunFolder(path)
    complete = read_manifest(folder).status == "complete"
    manifest = msgspec.json.decode(folder.manifest.read_bytes(), type=Manifest)  # "running", if it was killed
    here = {"run_id": to.name, "host": "golden", "platform": f"{platform.system()}-{platform.machine()}"}
    write_manifest(folder, msgspec.structs.replace(manifest, **here))
    clear_scaffold(folder)
    folder.report.unlink(missing_ok=True)
    if not complete:
        folder.record.unlink()  # torn by the kill; the journal has all of it
    write_digests(folder)
    shutil.move(out / "expected.json", path / "expected.json")
    shutil.move(path, to)


def main() -> None:
    """All recordings that are not there yet; each is run in a process of its own, since one of them is killed."""
    for name in RUNS:
        to = HERE / f"v{FORMAT_VERSION}-{name}"
        if to.exists():
            continue
        with tempfile.TemporaryDirectory() as out:
            done = subprocess.run([sys.executable, __file__, name, out], check=False)
            if done.returncode not in (0, -signal.SIGKILL):
                sys.exit(f"{name}: the run failed")
            settle(Path(out), to)


if __name__ == "__main__":
    if sys.argv[1:]:
        record(sys.argv[1], Path(sys.argv[2]))
    else:
        main()
