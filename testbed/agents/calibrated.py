"""Calibration in force: what is known of each real radio of a campaign, before its agent opens it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from pathlib import Path

from testbed.campaign import Campaign
from testbed.radio.calibration import read_calibration
from testbed.radio.pluto_connect import connect, describe, resolve
from testbed.radio.pluto_steps import PlutoOptions


@dataclass(frozen=True)
class UnitCalibration:
    """What is known of one unit: options for it, words for the record, and a sentence where that is none or old."""

    options: PlutoOptions
    words: str
    warning: str | None


@dataclass(frozen=True)
class Calibrated:
    """What the radios of a run are told beyond the campaign.

    Attributes:
        options: (K) of each node's radio.
        record: one line for the recording, empty where no radio is real.
        warnings: sentences on calibrations that are missing or old.
    """

    options: tuple[PlutoOptions, ...]
    record: str = ""
    warnings: tuple[str, ...] = ()


def calibrated(campaign: Campaign, today: date) -> Calibrated:
    """Asks each real radio for its serial number, and reads its latest calibration.

    Raises:
        RadioError: a radio does not answer, or its calibration is damaged.
    """
    K, folder = campaign.nodes.count, Path(campaign.radio.calibration)
    addresses = campaign.radio.addresses or [""] * K
    found = [of_unit(address, folder, today) if address.startswith("pluto:") else None for address in addresses]
    return Calibrated(
        options=tuple(PlutoOptions() if one is None else one.options for one in found),
        record="; ".join(one.words for one in found if one),
        warnings=tuple(one.warning for one in found if one and one.warning),
    )


def of_unit(address: str, folder: Path, today: date) -> UnitCalibration:
    """The latest calibration of the unit at an address; errors as of `calibrated`."""
    uri = resolve(address)
    serial = describe(uri, connect(uri)).serial
    known, warning = read_calibration(folder, serial, today)
    if known is None:
        return UnitCalibration(PlutoOptions(), f"{serial} none", warning)
    words = (
        f"{serial} of {known.measured} against {known.reference}: {known.ppm:+.3f} ppm, xo {known.xo_correction_hz} Hz"
    )
    return UnitCalibration(PlutoOptions(xo_correction_hz=known.xo_correction_hz), words, warning)
