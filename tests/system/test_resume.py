"""A run that was killed and resumed ends as one that was never broken."""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from testbed.agents.controller import execute, plan_run
from testbed.agents.resume import resume
from testbed.campaign import Campaign
from testbed.errors import RecordError
from testbed.outcome import RoundRecord
from testbed.record.catalogue import tag
from testbed.record.folder import RunFolder, create_run
from testbed.record.read import read_run, verify
from testbed.record.writer import RunWriter
from tests.system.test_command import SMALL
from tests.unit.record.factory import NOW

BEFORE = 3
ROOT = Path(__file__).parents[2]


def silent(record: RoundRecord) -> None:
    """Nobody listens."""


IN_PROCESS = ["test", "--in-process"]


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    return whole(tmp_path_factory.mktemp("unbroken"), passes=2, in_process=True)


def whole(out: Path, passes: int, in_process: bool) -> RunFolder:
    campaign = Campaign.from_text(SMALL.format(passes=passes))
    done = execute(plan_run(campaign, out, in_process=in_process), IN_PROCESS if in_process else ["test"], silent)
    return RunFolder(Path(done.summary.run_dir))


def broken(unbroken: RunFolder, out: Path, qos: float | None = None) -> Path:
    """Its first rounds, recorded by a run that ended then; with `qos`, not as they were."""
    run = read_run(unbroken.path)
    folder = create_run(out, run.manifest.campaign, run.manifest.seed, run.campaign, run.manifest.command, NOW)
    with RunWriter(folder, run.shape) as writer:
        for record, ended in list(zip(run.rounds, run.predictions, strict=True))[:BEFORE]:
            writer.append(record if qos is None else replace(record, qos=qos), ended)
        writer.finish(None, "interrupted", ["stopped by hand"])
    return folder.path


def test_a_resumed_run_is_bit_equal_to_an_unbroken_one(unbroken: RunFolder, tmp_path: Path) -> None:
    path = broken(unbroken, tmp_path)
    tag(path, ["paper"])
    heard: list[int] = []
    done = resume(path, ["test"], lambda record: heard.append(record.number))
    assert heard == list(range(8))
    assert not done.interrupted
    assert done.summary.run_dir == str(path)
    for name in ("record.h5", "summary.json", "campaign.toml"):
        assert (path / name).read_bytes() == (unbroken.path / name).read_bytes(), name
    manifest = read_run(path).manifest
    assert (manifest.status, manifest.rounds, manifest.run_id) == ("complete", 8, path.name)
    assert manifest.started == NOW.isoformat()
    assert manifest.events[0] == "stopped by hand"
    assert manifest.events[1].startswith("resumed after 3 rounds")
    assert verify(path) == ()
    assert (path / "tags.json").read_text() == '["paper"]\n'
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_a_run_of_processes_is_resumed_by_processes(tmp_path: Path) -> None:
    run = whole(tmp_path / "a", passes=1, in_process=False)
    path = broken(run, tmp_path / "b")
    resume(path, ["test"], silent)
    assert (path / "record.h5").read_bytes() == run.record.read_bytes()
    assert (path / "logs").is_dir()


def test_a_round_that_comes_out_differently_leaves_the_run_as_it_was(unbroken: RunFolder, tmp_path: Path) -> None:
    path = broken(unbroken, tmp_path, qos=0.123)
    before = {p.name: p.read_bytes() for p in path.iterdir()}
    with pytest.raises(RecordError, match=r"round 0 comes out with another 'decision/qos'"):
        resume(path, ["test"], silent)
    assert {p.name: p.read_bytes() for p in path.iterdir()} == before
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_what_cannot_be_resumed_is_refused(unbroken: RunFolder, tmp_path: Path) -> None:
    with pytest.raises(RecordError, match="complete, there is nothing to resume"):
        resume(unbroken.path, ["test"], silent)
    path = broken(unbroken, tmp_path)
    text = (path / "campaign.toml").read_text()
    (path / "campaign.toml").write_text(text.replace('address = "sim:"', 'address = "virtual-pluto"'))
    with pytest.raises(RecordError, match="only a run on sim: radios can be resumed"):
        resume(path, ["test"], silent)
    shutil.rmtree(path)
    with pytest.raises(RecordError, match="not a run folder"):
        resume(path, ["test"], silent)


KILLS = """
import os, signal, sys, time
from pathlib import Path
import numpy as np
import psutil
from testbed.agents.controller import execute, plan_run
from testbed.agents.resume import resume
from testbed.campaign import Campaign
from testbed.record.catalogue import list_runs
from testbed.record.folder import RunFolder, create_run, is_live
from testbed.record.read import verify
from tests.system.test_command import SMALL
from tests.unit.record.factory import NOW

out, kills, rng = Path(sys.argv[1]), int(sys.argv[2]), np.random.default_rng(int(sys.argv[3]))
campaign = Campaign.from_text(SMALL.format(passes=1))

def run(out):
    return execute(plan_run(campaign, out, in_process=True), ["test", "--in-process"], lambda record: None)

run(out / "warm")
begin = time.monotonic()
unbroken = Path(run(out / "unbroken").summary.run_dir)
seconds = time.monotonic() - begin
for number in range(kills):
    folder = out / str(number)
    child = os.fork()
    if not child:
        if number == 0:  # before its first round
            create_run(folder, campaign.name, campaign.seed, campaign.text(), ["test", "--in-process"], NOW)
        else:
            run(folder)
        os._exit(0)
    time.sleep(seconds * rng.uniform(0, 1.0))
    victims = [psutil.Process(child), *psutil.Process(child).children()]
    for victim in victims[: rng.integers(1, 3)]:  # the writer process too, every other time
        victim.kill()
    os.waitpid(child, 0)
    for path in folder.iterdir() if folder.exists() else ():
        while is_live(RunFolder(path)):
            time.sleep(0.02)
        (entry,) = list_runs(folder)
        if entry.status != "complete":
            assert entry.status == "interrupted", entry
            resume(path, ["test"], lambda record: None)
        for name in ("record.h5", "summary.json", "campaign.toml"):
            assert (path / name).read_bytes() == (unbroken / name).read_bytes(), (number, name)
        assert verify(path) == ()
        print(number, entry.status, entry.rounds, flush=True)
"""


def test_runs_that_were_killed_at_random_moments_are_resumed_bit_equal(
    tmp_path: Path, request: pytest.FixtureRequest, seed: int
) -> None:
    kills = 30 if request.config.getoption("--long") else 3
    words = [sys.executable, "-c", KILLS, str(tmp_path), str(kills), str(seed)]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "interrupted" in done.stdout
