"""A recording through the scheduler again: the same when nothing changes, comparable when something does."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from testbed.agents.replay import replay
from testbed.errors import CampaignError, RecordError
from testbed.record.read import Run, read_run
from tests.system.test_command import SMALL, command


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("recorded")
    (folder / "c.toml").write_text(SMALL.format(passes=2), encoding="utf-8")
    done = command(folder, "run", folder / "c.toml", "--json", "--in-process", "--out", folder / "runs")
    assert done.returncode == 0, done.stderr
    return read_run(Path(json.loads(done.stdout)["run_dir"]))


def again(recorded: Run, out: Path, **schedule: object) -> Run:
    overrides = {f"schedule.{key}": value for key, value in schedule.items()}
    return read_run(Path(replay(recorded.folder.path, out, ["test"], overrides).replayed.run_dir))


def test_the_same_settings_give_the_same_decisions_and_predictions(recorded: Run, tmp_path: Path) -> None:
    run = again(recorded, tmp_path)
    assert len(run.rounds) == len(recorded.rounds) == 8
    for one, other in zip(recorded.rounds, run.rounds, strict=True):
        np.testing.assert_array_equal(one.selected, other.selected)
        np.testing.assert_array_equal(one.measured.h, other.measured.h)
        np.testing.assert_array_equal(one.forward.subcarrier_link, other.forward.subcarrier_link)
        assert one.predicted.total_j() == pytest.approx(other.predicted.total_j())
        assert one.spent.forward.sum() == pytest.approx(other.spent.forward.sum())
    for before, after in zip(recorded.predictions, run.predictions, strict=True):
        if before is not None and after is not None:
            np.testing.assert_array_equal(before.predicted, after.predicted)


def test_a_replay_is_deterministic(recorded: Run, tmp_path: Path) -> None:
    one, other = (again(recorded, tmp_path / name, scheduler="random") for name in ("a", "b"))
    for left, right in zip(one.rounds, other.rounds, strict=True):
        np.testing.assert_array_equal(left.selected, right.selected)


def test_another_scheduler_runs_on_the_same_channels(recorded: Run, tmp_path: Path) -> None:
    run = again(recorded, tmp_path, scheduler="top-2")
    assert run.shape.attributes["radio"] == f"replay:{recorded.folder.path}"
    for one, other in zip(recorded.rounds, run.rounds, strict=True):
        np.testing.assert_array_equal(one.measured.snr, other.measured.snr)
        assert (other.selected.sum(axis=1) == 2).all()
        assert other.predicted.total_j() >= one.bound_j * (1 - 1e-9)


def test_a_replay_can_be_replayed(recorded: Run, tmp_path: Path) -> None:
    first = again(recorded, tmp_path / "a", qos=0.5)
    second = again(first, tmp_path / "b")
    for one, other in zip(first.rounds, second.rounds, strict=True):
        np.testing.assert_array_equal(one.selected, other.selected)


def test_what_the_recording_fixed_cannot_be_changed(recorded: Run, tmp_path: Path) -> None:
    with pytest.raises(RecordError, match="grid cannot be changed in a replay"):
        replay(recorded.folder.path, tmp_path, ["test"], {"grid.preset": "fine"})
    with pytest.raises(CampaignError, match=r"schedule\.qos = 7"):
        replay(recorded.folder.path, tmp_path, ["test"], {"schedule.qos": 7})
    with pytest.raises(RecordError, match="not a run folder"):
        replay(tmp_path, tmp_path, ["test"], {})
