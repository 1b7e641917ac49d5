"""Calibration and examination of Plutos, on virtual ones."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from pathlib import Path

import pytest

from testbed.errors import RadioError
from testbed.radio.calibration import measure_ppm, read_calibration
from testbed.radio.doctor import examine_pluto
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
    results = list(calibrate(addresses[0], addresses[1:], SETTINGS, PERMIT, tmp_path, TODAY))
    assert [result.ppm for result in results] == pytest.approx([-11.4, 4.1], abs=0.01)
    assert [result.gain_slope for result in results] == pytest.approx([1.0, 1.0], abs=0.02)
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
