"""Units that were calibrated against each other: a run loads what was found, and says so."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pytest

from testbed.agents.calibrated import calibrated
from testbed.agents.controller import execute, plan_run
from testbed.campaign import Campaign, load_campaign
from testbed.errors import RadioError
from testbed.radio.base import RadioSettings
from testbed.radio.calibration import Calibration
from testbed.radio.guard import TransmitPermit
from testbed.radio.pluto_calibrate import calibrate
from testbed.record.read import Run, read_run
from testbed.virtual_pluto.serve import default_air, serving
from testbed.virtual_pluto.server import Server
from tests.libiio import need_libiio
from tests.system.rounds import SMALL

TONE = RadioSettings(sample_rate_hz=4e6, centre_hz=2.45e9, transmit_gain_db=-20.0, receive_gain_db=45.0)
PERMIT = TransmitPermit(bands_hz=((2.4e9, 2.5e9),), cabled=True)
TWO: dict[str, object] = {
    "nodes.count": 2,
    "nodes.compute_energy_j": 1e-10,
    "radio.transmit_gain_db": -30.0,
    "radio.permit": {"bands_hz": [[2.4e9, 2.5e9]], "cabled": True},
}


@pytest.fixture
def servers() -> Iterator[list[Server]]:
    need_libiio()
    desk = replace(default_air(2, 1), clock_ppm=(6.0, -3.0), delay_spread_s=0.0)
    with serving(desk, first_host="127.0.0.1", port=0) as servers:
        yield servers


def campaign(servers: list[Server], folder: Path) -> Campaign:
    addresses = {"radio.addresses": [f"pluto:{server.uri}" for server in servers], "radio.calibration": str(folder)}
    return load_campaign(None, SMALL | TWO | addresses)


def test_a_run_loads_calibrations_and_the_offset_between_units_is_gone(
    servers: list[Server], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TESTBED_KEYS", str(tmp_path / "keys"))
    addresses = [f"pluto:{server.uri}" for server in servers]
    old = date.today() - timedelta(days=40)
    found, own = calibrate(addresses[0], addresses[1:], TONE, PERMIT, tmp_path / "calibration", old)
    assert found.ppm == pytest.approx(-9.0, abs=0.05)
    heard: list[str] = []
    plan = plan_run(campaign(servers, tmp_path / "calibration"), tmp_path / "runs", in_process=False)
    run = read_run(Path(execute(plan, ["test"], lambda record: None, heard.append).summary.run_dir))
    assert servers[1].unit.state.xo_correction == found.xo_correction_hz
    offsets_hz = run.rounds[0].measured.cfo_hz[run.rounds[0].measured.valid]
    assert np.abs(offsets_hz).max() < 0.05e-6 * 2.45e9  # 22 kHz without
    assert_told(run, heard, servers, own, found)


def assert_told(run: Run, heard: list[str], servers: list[Server], *found: Calibration) -> None:
    """The record says what was in force; who watches is told what is missing or old."""
    recorded = str(run.shape.attributes["calibration"])
    assert heard[: len(servers)] == list(run.manifest.events)
    for server, one, words in zip(servers, found, heard, strict=False):
        assert one.serial == server.unit.identity.serial
        assert f"{one.serial} of " in recorded
        assert f"xo {one.xo_correction_hz} Hz" in recorded
        assert f"calibration of {one.serial} is 40 days old" in words


def test_a_unit_that_was_never_calibrated_is_named(
    servers: list[Server], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TESTBED_KEYS", str(tmp_path / "keys"))
    known = calibrated(campaign(servers, tmp_path / "calibration"), date.today())
    serials = [server.unit.identity.serial for server in servers]
    assert all(f"{serial} was never calibrated" in words for serial, words in zip(serials, known.warnings, strict=True))
    assert all(f"{serial} none" in known.record for serial in serials)


def test_a_radio_that_does_not_answer_is_named_before_anything_is_recorded(
    servers: list[Server], tmp_path: Path
) -> None:
    addresses = [f"pluto:{servers[0].uri}", "pluto:ip:127.0.0.1:1"]
    chosen = campaign(servers, tmp_path).with_overrides({"radio.addresses": addresses})
    with pytest.raises(RadioError, match=r"127\.0\.0\.1:1: connection refused"):
        execute(plan_run(chosen, tmp_path / "runs", in_process=False), ["test"], lambda record: None)
    assert not (tmp_path / "runs").exists()
