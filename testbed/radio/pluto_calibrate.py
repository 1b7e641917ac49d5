"""Calibrate Plutos against one of them, over cables or the air that the permit allows."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from datetime import date
from pathlib import Path
from typing import Final

from testbed.errors import RadioError
from testbed.radio.base import RadioSettings
from testbed.radio.calibration import (
    Calibration,
    corrected_xo,
    measure_gain_slope,
    measure_ppm,
    measure_receive_s,
    write_calibration,
)
from testbed.radio.guard import TransmitPermit
from testbed.radio.pluto import PlutoRadio

BACKOFFS_DB: Final = (0.0, 5.0, 10.0, 15.0, 20.0)


def calibrate(
    reference: str,
    addresses: Sequence[str],
    settings: RadioSettings,
    permit: TransmitPermit,
    folder: Path,
    today: date,
) -> Iterator[Calibration]:
    """Measure each unit against the reference and keep the result, one by one, the reference itself last.

    The reference is right by definition: its file says so, with the slope of its own gain as the others heard it, their
    mean, and with how long its captures take.

    Args:
        reference: address of the unit that transmits.
        addresses: of the units to calibrate.
        settings: of both sides; the tone should arrive well below full scale.
        permit: what the reference may transmit.
        folder: where the dated files go.
        today: their date.

    Raises:
        RadioError: a unit does not answer, or does not hear the reference.
    """
    slopes = []
    with PlutoRadio(reference, permit) as sender:
        for address in addresses:
            with PlutoRadio(address) as unit:
                if unit.serial == sender.serial:
                    raise RadioError(f"{address} is the reference itself: name another unit")
                calibration = _measure(sender, unit, settings, today)
            write_calibration(folder, calibration)
            slopes.append(calibration.gain_slope)
            yield calibration
        if not slopes:
            return
        own = Calibration(
            serial=sender.serial,
            reference=sender.serial,
            measured=today.isoformat(),
            ppm=0.0,
            xo_correction_hz=sender.xo_correction_hz(),
            gain_slope=statistics.mean(slopes),
            receive_s=measure_receive_s(sender, settings),
        )
        write_calibration(folder, own)
        yield own


def _measure(sender: PlutoRadio, unit: PlutoRadio, settings: RadioSettings, today: date) -> Calibration:
    """One unit against the reference that sends."""
    ppm = measure_ppm(sender, unit, settings)
    return Calibration(
        serial=unit.serial,
        reference=sender.serial,
        measured=today.isoformat(),
        ppm=ppm,
        xo_correction_hz=corrected_xo(unit.xo_correction_hz(), ppm),
        gain_slope=measure_gain_slope(sender, unit, settings, BACKOFFS_DB),
        receive_s=measure_receive_s(unit, settings),
    )
