"""Captures from an independent, exact simulation, decoded through the public entry points."""

import numpy as np
import pytest

from testbed.csi.sound import sound
from testbed.ofdm.frame import Header, Link, demodulate, modulate
from testbed.ofdm.grid import PRESETS, Grid
from testbed.ofdm.sounding import sounding_frame
from tests.reference.ofdm_exact import GUARD, Receiver, Sender, capture, interpolate, response
from tests.reference.ofdm_scenes import draw_grid, draw_paths, draw_scene, known_channel_loses

DEMO = PRESETS["demo"]
SIZES = [Grid(n, n // 8, n // 4 * 3, n // 32 + 4, 4e6) for n in (64, 512, 4096)]
MARGIN_DB = 3.0
ALLOWED_LOSS_DB = 1.5


def test_interpolation_is_the_trigonometric_polynomial(rng):
    samples = rng.standard_normal(300) + 1j * rng.standard_normal(300)
    got = interpolate(samples, -20.3, 1.00004, 400)
    length = next(n for n in range(300 + 2 * GUARD, 2000) if set(np.unique(_primes(n))) <= {2, 3, 5, 7, 11})
    spectrum = np.fft.fftshift(np.fft.fft(np.pad(samples, (GUARD, length - GUARD - 300))))
    k = np.arange(length) - length // 2
    assert length % 2
    for m in (0, 20, 21, 399):
        at = -20.3 + 1.00004 * m + GUARD
        assert got[m] == pytest.approx(np.sum(spectrum * np.exp(2j * np.pi * k * at / length)) / length, abs=1e-9)


def _primes(n):
    return [p for p in range(2, n + 1) if n % p == 0 and all(p % q for q in range(2, int(p**0.5) + 1))]


def decode_scene(seed, rng):
    """Complaints about one scene."""
    scene = draw_scene(seed, MARGIN_DB)
    grid, complaints, begin, walked = scene.grid, [], 0, []
    for i, sender in enumerate(scene.senders):
        got = demodulate(grid, scene.capture, scene.link, number=100 + i)
        if got is None:
            complaints.append(f"frame {i} not heard")
            continue
        assert np.array_equal(got.payloads[got.ok], scene.payload[got.ok]), "wrong bytes passed for good"
        if not got.ok.all() and known_channel_loses(scene, i, -ALLOWED_LOSS_DB, rng) == 0:
            complaints.append(f"frame {i} lost {np.sum(~got.ok)} blocks")
        assert got.header.source == i + 1
        lobe = grid.fft_size / len(grid.used)  # samples between the zeros of a path's pulse
        if abs(got.start - sender.first) > max(2.5 * lobe + 1, 0.3 * grid.cyclic_prefix):
            complaints.append(f"frame {i} begins {got.start - sender.first} samples off")
        if abs(got.cfo_hz / grid.spacing_hz - scene.cfo) > 0.05 or got.truncated or got.clipped > scene.may_clip:
            complaints.append(f"frame {i}: {got.cfo_hz}, {got.truncated}, {got.clipped}")
    while (got := demodulate(grid, scene.capture, begin=begin)) is not None:
        walked.append(got.header.number)
        begin = got.end
    if walked != [100 + i for i in range(len(scene.senders))]:
        complaints.append(f"walked through {walked}")
    return complaints


@pytest.mark.parametrize("first", range(0, 12, 4))
def test_random_scenes_are_decoded(first, rng):
    """3 dB above threshold every block arrives, or the same block is lost with a known channel at 1.5 dB."""
    complaints = {seed: decode_scene(seed, rng) for seed in range(first, first + 4)}
    assert not {seed: words for seed, words in complaints.items() if words}


@pytest.mark.long
@pytest.mark.parametrize("first", range(1000, 1400, 20))
def test_hundreds_of_random_scenes_are_decoded(first, rng):
    complaints = {seed: decode_scene(seed, rng) for seed in range(first, first + 20)}
    assert not {seed: words for seed, words in complaints.items() if words}


def noise(grid, snr_db):
    return grid.amplitude**2 * grid.fft_size / 10 ** (snr_db / 10)


def make(grid, rng, *, mcs=1, number=5, subcarriers=None):
    link = Link(np.arange(len(grid.data)) if subcarriers is None else subcarriers, mcs, 3, 70)
    payload = rng.integers(0, 256, (3, 70), dtype=np.uint8)
    return link, payload, modulate(grid, Header(1, 1, number), [link], [payload])


def arrives(grid, heard, link, payload, number=None):
    got = demodulate(grid, heard, link, number=number)
    return got is not None and bool(got.ok.all()) and np.array_equal(got.payloads, payload)


@pytest.mark.parametrize("grid", [*PRESETS.values(), *SIZES])
def test_without_any_noise_between_true_silence(grid, rng):
    link, payload, wave = make(grid, rng, mcs=8)
    assert arrives(grid, wave, link, payload)
    assert arrives(grid, np.pad(wave, 777), link, payload)
    moved = Sender(wave, 500.37, cfo=rng.uniform(-8, 8) / grid.fft_size, clock=-2e-5, phase=2.0)
    assert arrives(grid, capture([moved], Receiver(bits=None), len(wave) + 1500, rng), link, payload)


@pytest.mark.parametrize("strong_first", [True, False])
@pytest.mark.parametrize("grid", [PRESETS["small"], DEMO])
def test_transmitters_30_db_apart_one_after_the_other(grid, strong_first, rng):
    """Each on half of the subcarriers, with an offset and a clock of its own; the weak one 7 dB above the noise."""
    halves = np.array_split(np.arange(len(grid.data)), 2)
    made = [make(grid, rng, number=i, subcarriers=half) for i, half in enumerate(halves)]
    length = len(made[0][2])
    senders = [
        Sender(
            wave, 300.3 + (length + 200) * i, amplitude=1.0 if (i == 0) == strong_first else 10**-1.5,
            cfo=rng.uniform(-8, 8) / grid.fft_size, clock=rng.uniform(-4e-5, 4e-5),
        )
        for i, (_, _, wave) in enumerate(made)
    ]  # fmt: skip
    heard = capture(senders, Receiver(noise(grid, 7) * 1e-3, bits=None), 2 * length + 1500, rng)
    for i, (link, payload, _) in enumerate(made):
        assert arrives(grid, heard, link, payload, number=i)


@pytest.mark.parametrize("grid", [PRESETS["lte"], DEMO])
def test_a_transmitter_30_db_below_on_other_subcarriers_at_the_same_time(grid, rng):
    halves = np.array_split(np.arange(len(grid.data)), 2)
    (link, payload, wave), (_, _, weak) = (make(grid, rng, mcs=3, subcarriers=half) for half in halves)
    for lag in (-200.6, 0.0, 150.2):
        offsets = rng.uniform(-8, 8, 2) / grid.fft_size
        senders = [Sender(wave, 900.3, cfo=offsets[0]), Sender(weak, 900.3 + lag, amplitude=10**-1.5, cfo=offsets[1])]
        assert arrives(grid, capture(senders, Receiver(noise(grid, 25)), len(wave) + 2000, rng), link, payload)


def test_five_frames_without_a_gap(rng):
    made = [make(DEMO, rng, number=i) for i in range(5)]
    wave = np.concatenate([one[2] for one in made])
    sender = Sender(wave, 41.7, cfo=7.9 / DEMO.fft_size, clock=-4e-5)
    heard = capture([sender], Receiver(noise(DEMO, 8)), len(wave) + 100, rng)
    for i, (link, payload, _) in enumerate(made):
        assert arrives(DEMO, heard, link, payload, number=i)


def test_a_frame_cut_anywhere_yields_true_bytes_or_none(rng):
    grid = PRESETS["small"]
    link, payload, wave = make(grid, rng)
    heard = capture([Sender(wave, 150.3, cfo=5.2 / grid.fft_size)], Receiver(noise(grid, 12)), len(wave) + 250, rng)
    seen = []
    for end in range(1, len(heard), 37):
        got = demodulate(grid, heard[:end], link)
        seen.append("none" if got is None else "cut" if got.truncated else "whole")
        assert got is None or np.array_equal(got.payloads[got.ok], payload[got.ok])
        assert got is None or not got.payloads[~got.ok].any()
    assert seen == sorted(seen, key=["none", "cut", "whole"].index)
    assert set(seen) == {"none", "cut", "whole"}


def truth(grid, sender, csi):
    """(U,) what the estimate should be: at its sample, delays counted from its timing, the clock's drift included."""
    frequencies, at = grid.offsets / grid.fft_size, csi.phase_samples
    drift = sender.clock * (at + grid.fft_size / 2 - sender.first)
    delay = np.exp(-2j * np.pi * frequencies * (sender.first - csi.timing_samples - drift))
    carrier = np.exp(1j * (2 * np.pi * sender.cfo * at + sender.phase))
    return grid.amplitude * response(sender, at, frequencies) * delay * carrier


def measure(seed, snr_db, method="lmmse"):
    """A sounding of eight symbols through a drawn channel: grid, estimate, truth, and the SNR it should find."""
    rng = np.random.default_rng([seed, 99])
    grid = draw_grid(rng) if method == "lmmse" else DEMO
    frame = sounding_frame(grid, Header(3, 0, 77), 8)
    level, cfo = 10 ** (rng.uniform(-30, -6) / 20), rng.uniform(-8, 8) / grid.fft_size
    paths = draw_paths(rng, grid.cyclic_prefix, 0.0)
    sender = Sender(frame, rng.uniform(0, 2500), paths, level, cfo, 4e-5 * rng.uniform(-1, 1), rng.uniform(0, 6))
    power = np.abs(response(sender, 0, grid.offsets / grid.fft_size)) ** 2 * grid.amplitude**2
    variance = float(np.mean(power)) / 10 ** (snr_db / 10)
    dc = np.sqrt(variance * grid.fft_size)
    receiver = Receiver(variance * grid.fft_size, dc=dc, bits=12 if variance * grid.fft_size > 1e-6 else None)
    csi = sound(grid, capture([sender], receiver, int(sender.first) + len(frame) + 300, rng), method=method)
    assert csi is not None
    return grid, csi, truth(grid, sender, csi), power / variance


@pytest.mark.parametrize("snr_db", [0, 10, 20, 30])
def test_snr_of_any_grid_and_channel_has_no_bias(snr_db):
    """The clock offset smears large symbols, which is noise to data too: up to 1024 subcarriers it does not show."""
    measured = [measure(seed, snr_db) for seed in range(24)]
    ratios = [np.mean(csi.snr) / np.mean(snr) for grid, csi, _, snr in measured if grid.fft_size <= 1024]
    assert len(ratios) > 12
    assert 10 * np.log10(np.mean(ratios)) == pytest.approx(0, abs=0.2)


@pytest.mark.parametrize("snr_db", [0, 12, 24])
def test_channel_phase_timing_and_error_are_as_stated(snr_db):
    """The estimate at its stated sample, timing and phase; the error is no more than it says and 2 % of a radian."""
    within = []
    for seed in range(16):
        grid, csi, wanted, _ = measure(seed, snr_db)
        if grid.fft_size > 1024:
            continue
        turn = np.angle(np.vdot(wanted, csi.h))
        left = np.mean(np.abs(csi.h - wanted * np.exp(1j * turn)) ** 2)
        within.append(left / csi.error)
        assert abs(turn) < 0.2
    assert np.mean(within) < 2.0


@pytest.mark.parametrize("snr_db", [5, 25])
def test_least_squares_error_is_that_of_theory(snr_db):
    """E|ĥ − h|² = σ²/8 for the eight symbols, turn and delay (1.5 degrees of freedom of 204) apart."""
    error = expected = 0.0
    for seed in range(40):
        _, csi, wanted, snr = measure(seed, snr_db, method="ls")
        turned = wanted * np.exp(1j * np.angle(np.vdot(wanted, csi.h)))
        error += np.mean(np.abs(csi.h - turned) ** 2) / np.mean(np.abs(wanted) ** 2)
        expected += 1 / (8 * np.mean(snr))
    assert error / expected == pytest.approx(1, abs=0.06)
