"""Whether the crystals of several Plutos agree: each is heard by the others' ears, one tone at a time."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping
from typing import Final

from testbed.errors import RadioError, TransmitRefused
from testbed.radio.base import RadioSettings
from testbed.radio.calibration import measure_ppm
from testbed.radio.doctor import Finding
from testbed.radio.guard import TransmitPermit, check_transmit
from testbed.radio.pluto import PlutoRadio
from testbed.radio.pluto_steps import PlutoOptions

NAME: Final = "clock offset"


def compare_clocks(
    units: Mapping[str, PlutoOptions], settings: RadioSettings, permit: TransmitPermit, limit_ppm: float
) -> Iterator[Finding]:
    """How far each unit's crystal is from the middle of them all, with the correction that a run would load.

    The first unit transmits a tone, and the others measure it as `testbed calibrate frequency` does. All are silent
    afterwards.

    Args:
        units: address → options; two at least.
        settings: of all of them.
        permit: what the first may transmit.
        limit_ppm: two crystals may differ by so much.
    """
    first, *others = units
    try:
        check_transmit(permit, settings)
    except TransmitRefused as error:
        remedy = "name bands_hz, and cabled = true or a licence, in the campaign's [radio.permit]"
        yield Finding(f"{first}: {NAME}", False, f"not measured: {error}", remedy)
        return
    ppm = {first: 0.0}
    for address in others:
        try:
            with PlutoRadio(first, permit, units[first]) as sender, PlutoRadio(address, options=units[address]) as unit:
                ppm[address] = measure_ppm(sender, unit, settings)
        except RadioError as error:
            remedy = f"check cables or antennas between {first} and {address}, and the campaign's gains"
            yield Finding(f"{address}: {NAME}", False, f"not measured: {error}", remedy)
    if len(ppm) > 1:
        yield from _judged(ppm, limit_ppm)


def _judged(ppm: Mapping[str, float], limit_ppm: float) -> Iterator[Finding]:
    middle = statistics.median(ppm.values())
    for address, value in ppm.items():
        furthest = max(abs(value - other) for other in ppm.values())
        found = f"{value - middle:+.2f} ppm from the middle of {len(ppm)} units, {furthest:.2f} ppm from the furthest"
        well = furthest <= limit_ppm
        remedy = "" if well else "run: testbed calibrate frequency; a crystal that is far off even then is broken"
        yield Finding(f"{address}: {NAME}", well, found, remedy)
