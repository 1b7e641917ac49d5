"""What a unit's crystal and gain are really like, measured over the air against another unit, kept in dated files.

The reference transmits a tone; the unit receives it. Where the tone appears tells the crystals' difference:

    f_heard − f_sent = (ppm_reference − ppm_unit)·1e−6·centre        (to first order)

A transceiver is told what its crystal really is (`xo_correction`), and tunes right from then on.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import date
from pathlib import Path
from typing import Final

import numpy as np

from testbed.errors import RadioError
from testbed.radio.base import Radio, RadioSettings, Samples
from testbed.units import db

STALE_DAYS: Final = 30
TONE_CYCLES: Final = 64
TONE_SAMPLES: Final = 1024
CAPTURE: Final = 1 << 16
CLEAR_DB: Final = 15.0
"""A tone must stand out of the rest of its spectrum by so much to be measured."""
SPAN_PPM: Final = 60.0


@dataclass(frozen=True)
class Calibration:
    """What was measured of one unit.

    Attributes:
        serial: of the unit; reference: of the unit it was compared with.
        measured: date, ISO 8601.
        ppm: how much faster than the reference's its crystal runs.
        xo_correction_hz: what to tell the transceiver.
        gain_slope: dB measured for each dB set, 1.0 at best.
        receive_s: seconds from asking for a capture to having it, the capture's own length apart.
    """

    serial: str
    reference: str
    measured: str
    ppm: float
    xo_correction_hz: int
    gain_slope: float
    receive_s: float


def tone(amplitude: float = 0.5) -> Samples:
    """The tone that is sent: (TONE_SAMPLES,) with TONE_CYCLES cycles, away from the receiver's own offset."""
    turns = np.arange(TONE_SAMPLES) * TONE_CYCLES / TONE_SAMPLES
    return np.asarray(amplitude * np.exp(2j * np.pi * turns), np.complex64)


def tone_frequency(samples: Samples, sample_rate_hz: float, near_hz: float, span_hz: float) -> float:
    """Frequency in Hz of the strongest tone in (n,) samples within ±span_hz of near_hz.

    The peak of a Hann-windowed spectrum, refined by the phase between the capture's halves; the error is a small
    fraction of sample_rate/n at any SNR that lets the tone be found.

    Raises:
        RadioError: no tone stands out there.
    """
    n = samples.size // 2 * 2
    power = np.abs(np.fft.fft(samples[:n] * np.hanning(n))) ** 2
    at_hz = np.fft.fftfreq(n, 1 / sample_rate_hz)
    place = np.flatnonzero(np.abs(at_hz - near_hz) <= span_hz)
    peak = int(place[power[place].argmax()])
    floor = float(np.median(power[place])) if place.size > 16 else float(np.median(power))
    if not db(power[peak] / max(floor, 1e-30)) > CLEAR_DB:
        raise RadioError(f"no tone within {span_hz:.0f} Hz of {near_hz:.0f} Hz: check cable, gains and centre_hz")
    coarse = float(at_hz[peak])
    turned = samples[:n] * np.exp(-2j * np.pi * coarse / sample_rate_hz * np.arange(n))
    halves = [complex(np.sum(half * np.hanning(n // 2))) for half in (turned[: n // 2], turned[n // 2 :])]
    return coarse + float(np.angle(halves[1] * np.conj(halves[0]))) / (2 * np.pi) * sample_rate_hz / (n // 2)


def tone_level_db(samples: Samples, sample_rate_hz: float, near_hz: float, span_hz: float) -> float:
    """Power in dB of full scale of the tone that `tone_frequency` finds in (n,) samples."""
    frequency = tone_frequency(samples, sample_rate_hz, near_hz, span_hz)
    window = np.hanning(samples.size)
    turned = samples * np.exp(-2j * np.pi * frequency / sample_rate_hz * np.arange(samples.size))
    return float(2 * db(abs(np.sum(turned * window)) / np.sum(window)))


def _expected(settings: RadioSettings) -> tuple[float, float]:
    """Where the tone is sent, and how far away it may be heard, in Hz."""
    return settings.sample_rate_hz * TONE_CYCLES / TONE_SAMPLES, SPAN_PPM * 1e-6 * settings.centre_hz


def measure_ppm(reference: Radio, unit: Radio, settings: RadioSettings) -> float:
    """How many ppm faster than the reference's the unit's crystal runs.

    Raises:
        RadioError: the unit does not hear the reference.
    """
    reference.configure(settings)
    unit.configure(settings)
    reference.transmit(tone())
    try:
        heard = unit.receive(CAPTURE)
    finally:
        reference.silence()
    sent_hz, span_hz = _expected(settings)
    offset_hz = tone_frequency(heard.samples, settings.sample_rate_hz, sent_hz, span_hz) - sent_hz
    return -1e6 * offset_hz / (settings.centre_hz + sent_hz)


def measure_gain_slope(reference: Radio, unit: Radio, settings: RadioSettings, backoffs_db: Sequence[float]) -> float:
    """Received dB for each dB of transmit gain, by least squares over the gains below the settings' own."""
    unit.configure(settings)
    levels = []
    sent_hz, span_hz = _expected(settings)
    for backoff in backoffs_db:
        reference.configure(replace(settings, transmit_gain_db=settings.transmit_gain_db - backoff))
        reference.transmit(tone())
        samples = unit.receive(CAPTURE).samples
        reference.silence()
        levels.append(tone_level_db(samples, settings.sample_rate_hz, sent_hz, span_hz))
    return float(-np.polyfit(backoffs_db, levels, 1)[0])


def measure_receive_s(unit: Radio, settings: RadioSettings, now: Callable[[], float] = time.perf_counter) -> float:
    """Median seconds of five captures, their own length apart."""
    unit.configure(settings)
    spent = []
    for _ in range(5):
        start = now()
        unit.receive(TONE_SAMPLES)
        spent.append(now() - start - TONE_SAMPLES / settings.sample_rate_hz)
    return statistics.median(spent)


def corrected_xo(xo_correction_hz: int, ppm: float) -> int:
    """What to tell a transceiver that was told xo_correction_hz and runs ppm too fast."""
    return round(xo_correction_hz * (1 + 1e-6 * ppm))


def write_calibration(folder: Path, calibration: Calibration) -> Path:
    """Keep it as SERIAL-DATE.json; the path of the file."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{calibration.serial}-{calibration.measured}.json"
    path.write_text(json.dumps(asdict(calibration), indent=2) + "\n", encoding="utf-8")
    return path


def read_calibration(folder: Path, serial: str, today: date) -> tuple[Calibration | None, str | None]:
    """The latest calibration of a unit (None if there is none), and a warning if it is missing or old.

    Raises:
        RadioError: the file is damaged.
    """
    paths = sorted(folder.glob(f"{serial}-*.json"))
    if not paths:
        return None, f"{serial} was never calibrated; run: testbed calibrate frequency"
    try:
        fields = json.loads(paths[-1].read_text(encoding="utf-8"))
        calibration = Calibration(**fields)
        age = (today - date.fromisoformat(calibration.measured)).days
    except (OSError, ValueError, TypeError) as error:
        raise RadioError(f"{paths[-1]}: no calibration ({error}); delete it and calibrate again") from error
    old = f"calibration of {serial} is {age} days old; run: testbed calibrate frequency"
    return calibration, old if age > STALE_DAYS else None
