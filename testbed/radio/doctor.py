"""Whether a Pluto is fit for a campaign: what was looked at, what was found, what to do about it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from testbed.errors import RadioError
from testbed.radio import pluto_steps as steps
from testbed.radio.base import RadioSettings
from testbed.radio.pluto import PlutoRadio
from testbed.radio.pluto_attributes import Attributes
from testbed.radio.pluto_connect import connect, describe, libraries, resolve

COLD_C, HOT_C = 5.0, 85.0
LOOPBACK = RadioSettings(sample_rate_hz=4e6, centre_hz=2.45e9, transmit_gain_db=-89.75, receive_gain_db=0.0)


@dataclass(frozen=True)
class Finding:
    """One line of the examination; `remedy` is empty when all is well."""

    name: str
    well: bool
    found: str
    remedy: str = ""


def examine_pluto(address: str) -> list[Finding]:
    """Libraries, connection, model, temperature, quiet transmitter, loopback, overflow bit; stops where it must.

    The unit is silent afterwards.
    """
    findings: list[Finding] = []
    try:
        findings.extend(_examine(address))
    except RadioError as error:
        what, _, remedy = str(error).partition(";")
        remedy = remedy.strip() or "check cable, power and address, or run: testbed scan"
        findings.append(Finding("answers", False, what.strip(), remedy))
    return findings


def _examine(address: str) -> Iterator[Finding]:
    _, iio = libraries()
    yield Finding("libraries", True, f"libiio {'.'.join(map(str, iio.version[:2]))}")
    uri = resolve(address)
    context = connect(uri)
    about = describe(uri, context)
    yield Finding("answers", True, f"{about.model}, serial {about.serial}, firmware {about.firmware} at {uri}")
    yield _temperature(about.temperature_c)
    yield _left_quiet(Attributes(context))
    del context
    with PlutoRadio(address) as radio:
        yield Finding(
            "overflow bit",
            radio.overflow_detection,
            "clears" if radio.overflow_detection else "stays set: lost samples cannot be detected",
            "" if radio.overflow_detection else "update the firmware, or lower the sample rate and accept it",
        )
        yield _loopback(radio)


def _temperature(celsius: float) -> Finding:
    well = COLD_C <= celsius <= HOT_C
    return Finding("temperature", well, f"{celsius:.1f} °C", "" if well else "let it cool down, check its sensor")


def _left_quiet(attributes: Attributes) -> Finding:
    """As it was found: a unit that an earlier program left on the air is worth knowing of."""
    off = attributes.read(steps.power_step(off=True)).strip() == "1"
    found = "transmitter is off" if off else "transmitter was on, as after power-up or a killed program"
    return Finding("transmitter", off, found, "" if off else "it has been silenced now; nothing else to do")


def _loopback(radio: PlutoRadio) -> Finding:
    """Samples through the transceiver's digital loopback come back as they were."""
    rng = np.random.default_rng(1)
    codes = rng.integers(-1024, 1024, (256, 2))
    sent = np.asarray((codes[:, 0] + 1j * codes[:, 1]) / 2048, np.complex64)
    radio.configure(LOOPBACK)
    back = radio.digital_loopback(sent)
    spectrum = np.fft.fft(back) * np.conj(np.fft.fft(sent))
    aligned = np.roll(back, -int(np.abs(np.fft.ifft(spectrum)).argmax()))
    error = float(np.abs(aligned - sent).max())
    well = error <= 2 / 2048
    remedy = "" if well else "power-cycle the unit; if it stays, its data interface is broken"
    return Finding("loopback", well, f"largest error {error * 2048:.1f} of 2048 codes", remedy)
