"""Calibration and examination of Plutos, on virtual ones."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from pathlib import Path

import numpy as np
import pytest

from testbed.agents.doctor import examine
from testbed.campaign import load_campaign
from testbed.errors import RadioError
from testbed.radio.calibration import measure_ppm, read_calibration
from testbed.radio.doctor import Finding, examine_pluto
from testbed.radio.pluto import PlutoRadio
from testbed.radio.pluto_calibrate import calibrate
from testbed.radio.pluto_steps import PlutoOptions
from testbed.virtual_pluto.faults import Fault
from testbed.virtual_pluto.serve import serving
from testbed.virtual_pluto.server import Server
from tests.libiio import need_libiio
from tests.system.test_virtual_pluto_driver import PERMIT, SETTINGS, is_quiet
from tests.unit.virtual_pluto.wires import air

TODAY = date(2026, 3, 1)


@pytest.fixture
def servers() -> Iterator[list[Server]]:
    need_libiio()
    with serving(air(3, clock_ppm=(2.0, -9.4, 6.1)), first_host="127.0.0.1", port=0) as servers:
        yield servers


def test_a_calibrated_unit_agrees_with_the_reference(servers: list[Server], tmp_path: Path) -> None:
    addresses = [f"pluto:{server.uri}" for server in servers]
    *results, own = calibrate(addresses[0], addresses[1:], SETTINGS, PERMIT, tmp_path, TODAY)
    assert [result.ppm for result in results] == pytest.approx([-11.4, 4.1], abs=0.01)
    assert [result.gain_slope for result in results] == pytest.approx([1.0, 1.0], abs=0.02)
    assert own.gain_slope == pytest.approx(np.mean([result.gain_slope for result in results]))
    assert (own.serial, own.reference, own.ppm) == (servers[0].unit.identity.serial, results[0].reference, 0.0)
    for result, address in zip(results, addresses[1:], strict=True):
        known, warning = read_calibration(tmp_path, result.serial, TODAY)
        assert warning is None
        assert known == result
        options = PlutoOptions(xo_correction_hz=result.xo_correction_hz)
        with PlutoRadio(addresses[0], PERMIT) as reference, PlutoRadio(address, options=options) as unit:
            assert abs(measure_ppm(reference, unit, SETTINGS)) < 0.03  # a step of xo_correction is 0.025 ppm
    assert all(is_quiet(server.unit) for server in servers)


def test_a_unit_is_not_calibrated_against_itself(servers: list[Server], tmp_path: Path) -> None:
    address = f"pluto:{servers[0].uri}"
    with pytest.raises(RadioError, match="reference itself"):
        list(calibrate(address, [address], SETTINGS, PERMIT, tmp_path, TODAY))


def test_a_healthy_unit_is_well(servers: list[Server]) -> None:
    findings = examine_pluto(f"pluto:{servers[0].uri}")
    assert [finding.name for finding in findings if not finding.well] == ["transmitter"]  # on, as after power-up
    assert {"libraries", "answers", "temperature", "overflow bit", "loopback"} <= {one.name for one in findings}
    assert all(finding.well for finding in examine_pluto(f"pluto:{servers[0].uri}"))
    assert is_quiet(servers[0].unit)


def test_what_ails_a_unit_is_found(servers: list[Server]) -> None:
    unit = servers[0].unit
    unit.faults.stuck_overflow = True
    unit.faults.wrong_readback["in_temp0_input"] = "97000"
    ailing = {finding.name: finding for finding in examine_pluto(f"pluto:{servers[0].uri}") if not finding.well}
    assert set(ailing) == {"overflow bit", "temperature", "transmitter"}
    assert all(finding.remedy for finding in ailing.values())
    unit.faults.protocol.append(Fault("OPEN iio:device2", errno=5, times=9))
    assert [one.name for one in examine_pluto(f"pluto:{servers[0].uri}") if not one.well][-1] == "answers"
    assert is_quiet(unit)


def test_nobody_there_is_said_with_a_remedy() -> None:
    need_libiio()
    (_, finding) = examine_pluto("pluto:ip:127.0.0.1:1")
    assert not finding.well
    assert "connection refused" in finding.found


def doctored(
    servers: list[Server], folder: Path, monkeypatch: pytest.MonkeyPatch, **radio: object
) -> dict[str, Finding]:
    """What `testbed doctor` finds, by name."""
    monkeypatch.setenv("TESTBED_KEYS", str(folder / "keys"))
    addresses = {"radio.addresses": [f"pluto:{server.uri}" for server in servers], "nodes.count": len(servers)}
    chosen = {"nodes.compute_energy_j": 1e-10, "radio.calibration": str(folder / "calibration")}
    permit = {"radio.permit": {"bands_hz": [[2.4e9, 2.5e9]], "cabled": True}, "radio.transmit_gain_db": -20.0}
    found = examine(load_campaign(None, addresses | chosen | permit | radio), folder, [])
    assert all(bool(one.remedy) != one.well for one in found), found
    assert all(is_quiet(server.unit) for server in servers)
    names = {server.uri: k for k, server in enumerate(servers)}
    return {f"{names.get(one.name[6:].partition(': ')[0], '')} {one.name.rpartition(': ')[2]}": one for one in found}


def test_doctor_compares_the_clocks_of_all_units(
    servers: list[Server], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = doctored(servers, tmp_path, monkeypatch)
    clocks = [found[f"{k} clock offset"] for k in range(3)]
    assert all(one.well for one in clocks)
    assert [one.found.split()[0] for one in clocks] == ["+0.00", "-11.40", "+4.10"]  # from the middle one, 2.0 ppm
    assert found["0 calibration"].remedy == "run: testbed calibrate frequency"
    addresses = [f"pluto:{server.uri}" for server in servers]
    for _ in calibrate(addresses[0], addresses[1:], SETTINGS, PERMIT, tmp_path / "calibration", date.today()):
        pass
    found = doctored(servers, tmp_path, monkeypatch)
    assert all(abs(float(found[f"{k} clock offset"].found.split()[0])) < 0.05 for k in range(3))
    assert all(found[f"{k} calibration"].well for k in range(3))


def test_doctor_names_the_crystal_that_is_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    need_libiio()
    with serving(air(3, clock_ppm=(0.0, 1.0, 55.0)), first_host="127.0.0.1", port=0) as servers:
        found = doctored(servers, tmp_path, monkeypatch)
    assert not found["2 clock offset"].well
    assert "55.00 ppm from the furthest" in found["2 clock offset"].found
    assert "calibrate" in found["2 clock offset"].remedy


def test_doctor_does_not_transmit_without_leave(
    servers: list[Server], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines: list[str] = []
    for server in servers:
        server.unit.witness = lines.append
    found = doctored(servers, tmp_path, monkeypatch, **{"radio.permit": {"bands_hz": [], "cabled": True}})
    assert "no transmit band is named" in found["0 clock offset"].found
    assert not any("hardwaregain" in line and "-20" in line for line in lines)
