"""The same round on simulated radios and on virtual Plutos driven by the genuine pyadi-iio."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest

from testbed.agents.controller import execute, plan_run
from testbed.campaign import Campaign
from testbed.outcome import Measured, Traffic
from testbed.record.read import Run, read_run, verify
from tests.system.test_command import SMALL, command


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, Run]:
    """One campaign on `sim:`, and on virtual Plutos."""
    folder = tmp_path_factory.mktemp("radios")
    campaign = folder / "c.toml"
    campaign.write_text(SMALL.format(passes=1), encoding="utf-8")
    made = []
    for radio in ("sim:", "virtual-pluto"):
        words = ["run", campaign, "--json", "--record-iq", "--radio", radio, "--out", folder / "runs"]
        done = command(folder, *words)
        assert done.returncode == 0, done.stderr
        made.append(read_run(Path(json.loads(done.stdout)["run_dir"])))
    return made[0], made[1]


def test_the_decisions_are_the_same_within_measurement_noise(runs: tuple[Run, Run]) -> None:
    for one, other in zip(*(run.rounds for run in runs), strict=True):
        np.testing.assert_array_equal(one.source, other.source)
        assert (one.selected == other.selected).mean() >= 0.95
        assert one.predicted.total_j() == pytest.approx(other.predicted.total_j(), rel=0.1)


def test_both_measure_the_same_channels(runs: tuple[Run, Run]) -> None:
    one, other = (run.rounds[0].measured for run in runs)
    np.testing.assert_array_equal(one.valid, other.valid)
    power = [np.mean(np.abs(measured.h[measured.valid]) ** 2, axis=-1) for measured in (one, other)]
    np.testing.assert_allclose(10 * np.log10(power[0] / power[1]), 0.0, atol=1.0)
    snr = [np.mean(measured.snr[measured.valid], axis=-1) for measured in (one, other)]
    np.testing.assert_allclose(10 * np.log10(snr[0] / snr[1]), 0.0, atol=1.5)


def test_nothing_is_lost_on_either(runs: tuple[Run, Run]) -> None:
    assert [sum(int(record.lost.sum()) for record in run.rounds) for run in runs] == [0, 0]


def test_what_virtual_plutos_heard_gives_the_same_when_it_is_heard_again(runs: tuple[Run, Run], tmp_path: Path) -> None:
    run = runs[1]
    assert verify(run.folder.path) == ()
    changed = {"radio.address": f"replay:{run.folder.path}", "radio.record_iq": "no"}
    campaign = Campaign.from_text(run.campaign).with_overrides(changed)
    done = execute(plan_run(campaign, tmp_path, in_process=False), ["test"], lambda record: None)
    for one, other in zip(run.rounds, read_run(Path(done.summary.run_dir)).rounds, strict=True):
        assert same(one.measured, other.measured, Measured)
        np.testing.assert_array_equal(one.selected, other.selected)
        assert same(one.forward, other.forward, Traffic)
        assert same(one.back, other.back, Traffic)
        np.testing.assert_array_equal(one.constellation, other.constellation)


def same(one: object, other: object, kind: type) -> bool:
    """Bit-equal in every field."""
    pairs = [(np.asarray(getattr(one, f.name)), np.asarray(getattr(other, f.name))) for f in fields(kind)]
    return all(left.tobytes() == right.tobytes() for left, right in pairs)
