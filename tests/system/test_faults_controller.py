"""A controller that is killed: its agents are soon gone, and the run resumed ends as if nothing had happened."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from testbed.record.read import read_run, verify
from tests.system.test_command import SMALL, children_of, command, running, until_round, wait_gone

SLACK_S = 2.0
SAME = ("record.h5", "summary.json", "campaign.toml")


@pytest.mark.timeout(3600)
def test_a_killed_run_is_silent_at_once_and_resumed_bit_equal(
    tmp_path: Path, rng: np.random.Generator, request: pytest.FixtureRequest
) -> None:
    path = tmp_path / "c.toml"
    path.write_text(SMALL.format(passes=2), encoding="utf-8")
    done = command(tmp_path, "run", path, "--json", "--out", tmp_path / "unbroken")
    assert done.returncode == 0, done.stderr
    unbroken = Path(json.loads(done.stdout)["run_dir"])
    for number in rng.integers(1, 7, 50 if request.config.getoption("--long") else 1):
        out = tmp_path / f"broken-{number}"
        with running(tmp_path, "run", path, "--out", out) as process:
            until_round(process, int(number))
            children = children_of(process)
            agents = [child for name, child in children.items() if name.startswith("agent")]
            process.kill()
            process.wait()
            assert len(agents) == 4
            assert not wait_gone(agents, 1.0 + SLACK_S)
            assert not wait_gone(list(children.values()), 8)
        (run_dir,) = out.iterdir()
        kept = len(list(read_run(run_dir).rounds))
        resumed = command(tmp_path, "resume", run_dir)
        assert resumed.returncode == 0, resumed.stderr
        sys.stdout.write(f"killed in round {number}, {kept} rounds kept\n")
        for name in SAME:
            assert (run_dir / name).read_bytes() == (unbroken / name).read_bytes(), name
        assert verify(run_dir) == ()
        shutil.rmtree(out)


def test_a_run_whose_air_is_killed_ends_at_once_and_says_so(tmp_path: Path) -> None:
    """No node can do without it: nothing is left to wait for, and nobody asked for the end."""
    path = tmp_path / "c.toml"
    path.write_text(SMALL.format(passes=50), encoding="utf-8")
    with running(tmp_path, "run", path, "--out", tmp_path / "runs") as process:
        until_round(process, 2)
        children = children_of(process)
        children["air"].kill()
        _out, err = process.communicate(timeout=60)
        assert process.returncode == 1
    assert "testbed: no node is left: air was killed by signal 9" in err
    (run_dir,) = (tmp_path / "runs").iterdir()
    assert str(run_dir) in err
    run = read_run(run_dir)
    assert run.manifest.status == "failed"
    assert len(list(run.rounds)) >= 2
    assert "air was killed by signal 9" in run.manifest.events[-1]
    assert verify(run_dir) == ()
    assert not wait_gone(list(children.values()), 5)
