"""Whether this machine, and the Plutos of a campaign, are fit for a run."""

from __future__ import annotations

import contextlib
import shutil
import sys
from datetime import date
from importlib import metadata
from pathlib import Path

from testbed.agents.assemble import radio_settings, transmit_permit
from testbed.agents.calibrated import UnitCalibration, of_unit
from testbed.agents.remote import check_keys
from testbed.campaign import Campaign
from testbed.errors import RadioError, TestbedError
from testbed.ofdm.sync import MAX_CFO
from testbed.radio.doctor import Finding, examine_pluto
from testbed.radio.doctor_clocks import compare_clocks
from testbed.radio.pluto_steps import PlutoOptions

NEEDED_BYTES = 1 << 30
SAMPLING_PPM = 40.0
"""Clock offset that frames bear without loss; see docs/modem.md."""


def examine(campaign: Campaign, out: Path, addresses: list[str]) -> list[Finding]:
    """Python, keys and disk of this machine, then each radio of `addresses` and their clocks; silent afterwards."""
    radios = addresses or [a for a in campaign.radio.addresses or [] if a.startswith("pluto:")]
    findings = [_python(), _keys(campaign), _disk(out)]
    units: dict[str, PlutoOptions] = {}
    for address in radios:
        found = examine_pluto(address)
        findings += [Finding(f"{address}: {one.name}", one.well, one.found, one.remedy) for one in found]
        with contextlib.suppress(RadioError):  # who does not answer was found already
            known = of_unit(address, Path(campaign.radio.calibration), date.today())
            units[address] = known.options
            findings.append(_calibration(address, known))
    if len(units) > 1:
        settings = radio_settings(campaign)
        findings += compare_clocks(units, settings, transmit_permit(campaign), _limit_ppm(campaign))
    return findings


def _calibration(address: str, known: UnitCalibration) -> Finding:
    found, _, remedy = (known.warning or known.words).partition("; ")
    return Finding(f"{address}: calibration", known.warning is None, found, remedy)


def _limit_ppm(campaign: Campaign) -> float:
    """Between any two crystals: what the preamble can find of the carrier, and what sampling bears."""
    carrier_ppm = 1e6 * MAX_CFO * campaign.ofdm_grid().spacing_hz / campaign.radio.centre_hz
    return min(carrier_ppm, SAMPLING_PPM)


def _python() -> Finding:
    version = ".".join(map(str, sys.version_info[:3]))
    packages = ", ".join(f"{name} {metadata.version(name)}" for name in ("numpy", "numba", "pyzmq", "h5py"))
    well = sys.version_info >= (3, 11)
    return Finding("python", well, f"{version}, {packages}", "" if well else "install Python 3.11 or newer")


def _keys(campaign: Campaign) -> Finding:
    try:
        return Finding("keys", True, f"{check_keys(campaign)} holds a pair for each of {campaign.nodes.count} nodes")
    except TestbedError as error:
        return _refused("keys", error)


def _refused(name: str, error: TestbedError) -> Finding:
    """Our sentences end with the remedy, after a semicolon or a colon."""
    text = str(error)
    found, _, remedy = text.partition("; ") if "; " in text else text.rpartition(": ")
    return Finding(name, False, found or text, remedy or text)


def _disk(out: Path) -> Finding:
    there = next(folder for folder in (out, *out.absolute().parents) if folder.exists())
    free = shutil.disk_usage(there).free
    well = free >= NEEDED_BYTES
    return Finding("disk", well, f"{free / 1e9:.1f} GB free for {out}", "" if well else "free some space, or use --out")
