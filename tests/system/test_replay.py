"""A recording through the scheduler again: the same when nothing changes, comparable when something does."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from testbed.agents.replay import RecordedRounds, replay
from testbed.agents.timeline import Rule
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


def again(recorded: Run, out: Path, rule: Rule | None = None, passes: int = 2, **schedule: object) -> Run:
    overrides = {f"schedule.{key}": value for key, value in schedule.items()} | {"passes": passes}
    return read_run(Path(replay(recorded.folder.path, out, ["test"], overrides, rule).replayed.run_dir))


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


def test_more_rounds_than_were_recorded_stop_or_begin_anew(recorded: Run, tmp_path: Path) -> None:
    measured = [record.measured for record in recorded.rounds]
    stopped = RecordedRounds(measured, recorded.time_s, Rule(at_end="stop"))
    assert [stopped.round(n) is measured[n] for n in range(8)] == [True] * 8
    assert stopped.round(8) is None
    looped = again(recorded, tmp_path, Rule(at_end="loop"), passes=3)
    assert (len(looped.rounds), looped.shape.attributes["replay_at_end"]) == (12, "loop")
    for n, record in enumerate(looped.rounds):
        np.testing.assert_array_equal(record.measured.snr, measured[n % 8].snr)


@pytest.mark.parametrize(("between", "share"), [("hold", 0.0), ("nearest", 0.0), ("linear", 0.25)])
def test_moments_between_two_rounds_are_filled_by_the_stated_rule(recorded: Run, between: str, share: float) -> None:
    step = float(recorded.time_s[1] - recorded.time_s[0]) * 0.25
    measured = [record.measured for record in recorded.rounds]
    found = RecordedRounds(measured, recorded.time_s, Rule(between, "stop", step)).round(1)  # type: ignore[arg-type]
    assert found is not None
    one, other = measured[0], measured[1]
    np.testing.assert_allclose(found.snr, (1 - share) * one.snr + share * other.snr, rtol=1e-4)
    expected = (1 - share) * np.abs(one.h) ** 2 + share * np.abs(other.h) ** 2
    np.testing.assert_allclose(np.abs(found.h) ** 2, expected, rtol=1e-4, atol=1e-12)
    np.testing.assert_allclose(np.angle(found.h[one.valid]), np.angle(one.h[one.valid]), atol=1e-5)
