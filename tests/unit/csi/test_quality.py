from dataclasses import replace

import numpy as np
import pytest

from testbed.csi import quality
from testbed.csi.sound import sound
from testbed.ofdm.frame import Header
from testbed.ofdm.grid import PRESETS
from testbed.ofdm.sounding import receive_sounding, sounding_frame
from tests.reference.ofdm_air import pass_through, rayleigh

DEMO = PRESETS["demo"]


def heard(rng, path, snr_db=20, repetitions=8, first=300):
    frame = sounding_frame(DEMO, Header(1, 0, 1), repetitions)
    return pass_through(DEMO, frame, rng, snr_db=snr_db, cfo=rng.uniform(-8, 8), taps=path, first=first)


def test_a_good_measurement_is_trusted(rng):
    judged = quality.assess(sound(DEMO, heard(rng, [1.0])))
    assert judged.trusted
    assert judged.snr_db == pytest.approx(20, abs=0.5)
    assert judged.error_db < -30


def test_each_flaw_is_named(rng):
    good = sound(DEMO, heard(rng, [1.0]))
    flaws = {
        "clipped": replace(good, clipped=True),
        "truncated": replace(good, truncated=True),
        "weak": replace(good, snr=good.snr * 1e-3),
        "inexact": replace(good, error=float(np.mean(np.abs(good.h) ** 2))),
    }
    for word, csi in flaws.items():
        (reason,) = quality.assess(csi).reasons
        assert reason.startswith(word)
    assert len(quality.assess(replace(good, clipped=True, truncated=True)).reasons) == 2


def test_the_same_channel_has_not_changed(rng):
    path = rayleigh(rng, 8)
    before, after = (sound(DEMO, heard(rng, path, first=first)) for first in (300, 419))
    assert quality.change(DEMO, before, after) < 0.01


def test_another_channel_has_changed(rng):
    before, after = (sound(DEMO, heard(rng, rayleigh(rng, 8))) for _ in range(2))
    assert quality.change(DEMO, before, after) > 0.3
    other = sound(PRESETS["small"], np.zeros(10, np.complex64))
    assert other is None


def test_motion_within_a_sounding(rng):
    still = receive_sounding(DEMO, heard(rng, rayleigh(rng, 8), repetitions=20))
    assert quality.motion(still) < 0.01
    drift = np.linspace(0, 1, 20)[:, None] * np.linspace(-1, 1, len(DEMO.used)) * np.abs(still.estimates).mean()
    moving = replace(still, estimates=(still.estimates + drift).astype(np.complex64))
    assert quality.motion(moving) > 0.03
    assert np.isnan(quality.motion(replace(still, estimates=still.estimates[:1])))
