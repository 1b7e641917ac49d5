from __future__ import annotations

import numpy as np
import pytest
from scipy.special import j0
from scipy.stats import kstest

from testbed.errors import SignalError
from testbed.radio.channel import (
    FLAT,
    IDEAL,
    PROFILES,
    Fading,
    Impairments,
    draw_fading,
    free_space_loss_db,
    frequency_response,
    load_profile,
    log_distance_loss_db,
    noise_power_w,
    propagate,
    receive_front_end,
    superpose,
    tap_gains,
    wiener_step_variance,
)
from tests.reference import coding_slow

RATE = 5e6
# 3GPP TR 38.901, tables 7.7.2-1…5: number of taps, last delay, strongest power and its row, and one more row.
TABLES = {
    "TDL-A": (23, 9.6586, (1, 0.3819, 0.0), (13, 2.4942, -15.2)),
    "TDL-B": (23, 4.7834, (0, 0.0, 0.0), (12, 1.1021, -4.8)),
    "TDL-C": (24, 8.6523, (5, 0.6366, 0.0), (12, 1.2285, -5.1)),
    "TDL-D": (14, 12.525, (0, 0.0, -0.2), (1, 0.0, -13.5)),
    "TDL-E": (15, 20.6519, (0, 0.0, -0.03), (1, 0.0, -22.03)),
}
each_profile = pytest.mark.parametrize("name", PROFILES)


def tone(frequency: float, count: int) -> np.ndarray:
    """(count,) e^{j2πfn}, f in cycles a sample."""
    return np.exp(2j * np.pi * frequency * np.arange(count)).astype(np.complex64)


def still(rng: np.random.Generator) -> Fading:
    """A cable of gain 1 and random phase."""
    return draw_fading(FLAT, 0.0, 0.0, rng)


def error_db(got: np.ndarray, wanted: np.ndarray) -> float:
    return float(10 * np.log10(np.mean(np.abs(got - wanted) ** 2) / np.mean(np.abs(wanted) ** 2)))


@each_profile
def test_profile_is_that_of_the_report(name: str) -> None:
    profile, (taps, last, *rows) = load_profile(name), TABLES[name]
    assert len(profile.delays) == len(profile.powers_db) == taps
    assert profile.delays.max() == last
    assert int(np.argmax(profile.powers_db)) == rows[0][0]
    for row, delay, power in rows:
        assert (profile.delays[row], profile.powers_db[row]) == (delay, power)
    assert profile.line_of_sight == (name in ("TDL-D", "TDL-E"))


@each_profile
def test_profile_has_unit_power_and_unit_delay_spread(name: str) -> None:
    profile = load_profile(name)
    assert profile.powers.sum() == pytest.approx(1.0)
    mean = profile.powers @ profile.delays
    assert np.sqrt(profile.powers @ (profile.delays - mean) ** 2) == pytest.approx(1.0, abs=0.02)


@each_profile
def test_mean_tap_powers_follow_the_profile(name: str, rng: np.random.Generator) -> None:
    profile = load_profile(name)
    gains = np.concatenate([tap_gains(draw_fading(profile, 1e-7, 10.0, rng), [0.3]) for _ in range(1500)])
    np.testing.assert_allclose(np.mean(np.abs(gains) ** 2, axis=0) / profile.powers, 1.0, atol=0.15)
    assert np.mean(np.abs(gains.sum(axis=1)) ** 2) == pytest.approx(1.0, abs=0.1)


def test_taps_are_rayleigh_and_the_line_of_sight_is_constant(rng: np.random.Generator) -> None:
    drawn = [draw_fading(load_profile("TDL-D"), 1e-7, 30.0, rng) for _ in range(1500)]
    gains = np.concatenate([tap_gains(f, [1.7]) for f in drawn])
    powers = load_profile("TDL-D").powers
    np.testing.assert_allclose(np.abs(gains[:, 0]) ** 2, powers[0], rtol=1e-9)
    for tap in (1, 5):
        assert kstest(np.abs(gains[:, tap]) / np.sqrt(powers[tap]), "rayleigh", args=(0, 1 / np.sqrt(2))).pvalue > 1e-3
        assert kstest(np.angle(gains[:, tap]), "uniform", args=(-np.pi, 2 * np.pi)).pvalue > 1e-3
    k_factor = 10 * np.log10(powers[0] / powers[1])
    assert k_factor == pytest.approx(13.3)


def test_doppler_autocorrelation_is_the_bessel_function(rng: np.random.Generator) -> None:
    doppler, lags = 40.0, np.linspace(0.0, 0.05, 26)
    profile = load_profile("TDL-B")
    total = np.zeros(len(lags), complex)
    for _ in range(400):
        gains = tap_gains(draw_fading(profile, 1e-7, doppler, rng), lags) / np.sqrt(profile.powers)
        total += (gains * gains[0].conj()).mean(axis=1) / 400
    np.testing.assert_allclose(total.real, j0(2 * np.pi * doppler * lags), atol=0.05)
    np.testing.assert_allclose(total.imag, 0.0, atol=0.05)


def test_line_of_sight_turns_at_seven_tenths_of_the_doppler(rng: np.random.Generator) -> None:
    gains = tap_gains(draw_fading(load_profile("TDL-E"), 1e-7, 100.0, rng), np.arange(1000) * 1e-3)[:, 0]
    np.testing.assert_allclose(np.diff(np.unwrap(np.angle(gains))), 2 * np.pi * 70e-3, rtol=1e-6)


def test_same_seed_same_link_and_no_doppler_stands_still(seed: int) -> None:
    one, two = (draw_fading(load_profile("TDL-C"), 3e-7, 0.0, np.random.default_rng(seed)) for _ in range(2))
    np.testing.assert_array_equal(tap_gains(one, [0.0, 9.0]), tap_gains(two, [3.0, 100.0]))


@each_profile
@pytest.mark.parametrize(("doppler", "cfo", "sfo"), [(0.0, 0.0, 0.0), (20.0, 12_345.6, 40.0), (200.0, -3e5, -25.0)])
def test_tones_come_out_as_the_formula_says(
    name: str, doppler: float, cfo: float, sfo: float, rng: np.random.Generator
) -> None:
    """Σ_k g_k(t)·x(p − τ_k·rate), turned by the carrier offset, evaluated exactly for tones."""
    fading = draw_fading(load_profile(name), 3e-7, doppler, rng)
    start, count, first = 2.25, 6000, 150.3
    time, position = start + np.arange(count) / RATE, first + np.arange(count) * (1 + sfo * 1e-6)
    gains = tap_gains(fading, time) * np.exp(2j * np.pi * cfo * time)[:, None]
    total = np.zeros(count, complex), np.zeros(count, complex)
    how = {"sample_rate_hz": RATE, "start_time_s": start, "cfo_hz": cfo, "sfo_ppm": sfo}
    how |= {"first_sample": first, "count": count}
    for frequency in (-0.43, -0.2, 0.01, 0.37, 0.43):
        sent = tone(frequency, count + 400)
        got = propagate(sent, fading, **how)
        delayed = np.exp(2j * np.pi * frequency * (position[:, None] - fading.delays_s * RATE))
        total[0][:] += got
        total[1][:] += (gains * delayed).sum(axis=1)
    assert error_db(*total) < -60.0


@pytest.mark.parametrize("name", ["TDL-A", "TDL-E"])
def test_frequency_response_is_what_propagate_does(name: str, rng: np.random.Generator) -> None:
    fading = draw_fading(load_profile(name), 2e-7, 0.0, rng)
    bins = np.fft.fftfreq(256)
    used = np.abs(bins) <= 0.42
    spectrum = np.where(used, np.exp(2j * np.pi * rng.uniform(size=256)), 0.0)
    symbol = np.fft.ifft(spectrum).astype(np.complex64) * 16
    got = propagate(symbol, fading, sample_rate_hz=RATE, periodic=True, count=512)[256:]
    measured = np.fft.fft(got)[used] / (16 * spectrum[used])
    wanted = frequency_response(fading, 0.0, bins[used] * RATE)
    assert error_db(measured, wanted) < -65.0


def test_captures_that_follow_each_other_fit_together(rng: np.random.Generator) -> None:
    fading = draw_fading(load_profile("TDL-A"), 1e-7, 30.0, rng)
    sent = coding_slow.gaussian_noise(rng, 4000, 1.0).astype(np.complex64)
    how = {"sample_rate_hz": RATE, "cfo_hz": 7e4, "sfo_ppm": 30.0, "periodic": True}
    whole = propagate(sent, fading, start_time_s=5.0, count=3000, **how)
    later = propagate(sent, fading, start_time_s=5.0 + 1000 / RATE, first_sample=1000 * (1 + 30e-6), count=2000, **how)
    # White samples reach beyond the band of the interpolator, in both alike; only the blocks differ.
    assert error_db(later, whole[1000:]) < -60.0


def test_carrier_offset_alone_is_a_turning_phasor(rng: np.random.Generator) -> None:
    link, sent = still(rng), tone(0.11, 20_000)
    phase = tap_gains(link, [0.0])[0, 0]
    assert abs(phase) == pytest.approx(1.0)
    got = propagate(sent, link, sample_rate_hz=1e6, start_time_s=100.0, cfo_hz=33_333.3, gain_db=-20.0)
    turn = np.exp(2j * np.pi * ((33_333.3 * 100.0) % 1.0 + 33_333.3e-6 * np.arange(20_000)))
    assert error_db(got[50:-50], (0.1 * phase * sent * turn)[50:-50]) < -75.0


def test_clock_offset_alone_stretches_time(rng: np.random.Generator) -> None:
    link, count = still(rng), 100_000
    got = propagate(tone(0.3, count + 100), link, sample_rate_hz=RATE, sfo_ppm=40.0, count=count)
    slope = np.polyfit(np.arange(50, count), np.unwrap(np.angle(got[50:] * np.conj(tone(0.3, count))[50:])), 1)[0]
    assert slope == pytest.approx(2 * np.pi * 0.3 * 40e-6, rel=1e-3)
    assert np.abs(got[50:]) == pytest.approx(1.0, abs=1e-3)


def test_delay_and_gain(rng: np.random.Generator) -> None:
    link = still(rng)
    sent = np.zeros(100, np.complex64)
    sent[20] = 1.0
    got = propagate(sent, link, sample_rate_hz=1e6, delay_s=7e-6, gain_db=6.0)
    assert int(np.argmax(np.abs(got))) == 27
    assert abs(got[27]) == pytest.approx(10 ** (6 / 20), rel=1e-3)
    assert np.abs(np.delete(got, 27)).max() < 1e-3


def test_nothing_is_heard_outside_of_what_was_sent(rng: np.random.Generator) -> None:
    got = propagate(np.ones(50, np.complex64), still(rng), sample_rate_hz=1e6, first_sample=-100, count=300)
    assert not got[:80].any()
    assert not got[170:].any()
    assert np.abs(got[112:138]) == pytest.approx(1.0, abs=0.06)


def test_block_fading_keeps_the_taps_of_the_start(rng: np.random.Generator) -> None:
    fading = draw_fading(load_profile("TDL-A"), 1e-7, 500.0, rng)
    got = propagate(tone(0.1, 20_000), fading, sample_rate_hz=1e6, start_time_s=1.0, time_varying=False)
    response = frequency_response(fading, 1.0, [0.1e6])[0]
    assert error_db(got[100:-100], (response * tone(0.1, 20_000))[100:-100]) < -65.0


def test_several_transmitters_add_up(rng: np.random.Generator) -> None:
    a, b = (coding_slow.gaussian_noise(rng, 30, 1.0).astype(np.complex64) for _ in range(2))
    got = superpose([(-10, a), (5, b), (40, a), (400, b)], 50)
    wanted = np.zeros(50, np.complex64)
    wanted[:20] += a[10:]
    wanted[5:35] += b
    wanted[40:] += a[:10]
    np.testing.assert_allclose(got, wanted)


def test_noise_has_the_power_asked_for_and_is_white_and_circular(rng: np.random.Generator) -> None:
    noise, clipped = receive_front_end(np.zeros(200_000, np.complex64), IDEAL, 0.02, rng)
    assert clipped == 0.0
    assert np.mean(np.abs(noise) ** 2) == pytest.approx(0.02, rel=0.02)
    assert abs(np.mean(noise**2)) < 0.02 * 0.02
    for lag in (1, 2, 7):
        assert abs(np.mean(noise[lag:] * noise[:-lag].conj())) < 0.02 * 0.02
    assert kstest(noise.real / 0.1, "norm").pvalue > 1e-3


@pytest.mark.parametrize("bits", [4, 8, 12])
def test_quantisation_noise_is_a_twelfth_of_the_step_squared(bits: int, rng: np.random.Generator) -> None:
    x = (rng.uniform(-0.8, 0.8, (50_000, 2)).astype(np.float32)).view(np.complex64).ravel()
    got, clipped = receive_front_end(x, Impairments(bits=bits), 0.0, rng)
    step = 2.0 ** (1 - bits)
    assert clipped == 0.0
    np.testing.assert_array_equal(got.view(np.float32) % step, 0.0)
    assert np.mean(np.abs(got - x) ** 2) == pytest.approx(2 * step**2 / 12, rel=0.05)


def test_sine_at_full_scale_meets_the_textbook_signal_to_noise_ratio(rng: np.random.Generator) -> None:
    """6.02·b + 1.76 dB."""
    x = tone(0.01234567, 100_000) * np.float32(0.9995)
    got, _ = receive_front_end(x, Impairments(bits=12), 0.0, rng)
    assert -error_db(got, x) == pytest.approx(6.02 * 12 + 1.76, abs=0.2)


def test_clipping_is_counted_and_bounded(rng: np.random.Generator) -> None:
    x = np.array([0.5 + 2j, -3 - 0.2j, 1.0 + 0j, -1 - 1j], np.complex64)
    got, clipped = receive_front_end(x, Impairments(bits=12), 0.0, rng)
    top = 1 - 2.0**-11
    np.testing.assert_array_equal(got, np.array([0.5 + top * 1j, -1 - 410 / 2048 * 1j, top, -1 - 1j], np.complex64))
    assert clipped == 3 / 8


def test_iq_imbalance_leaves_the_image_that_theory_says(rng: np.random.Generator) -> None:
    gain_db, skew = 0.5, 3.0
    got, _ = receive_front_end(
        tone(0.125, 8000), Impairments(iq_gain_db=gain_db, iq_phase_deg=skew, bits=None), 0.0, rng
    )
    gain = 10 ** (gain_db / 20) * np.exp(1j * np.deg2rad(skew))
    spectrum = np.fft.fft(got) / 8000
    assert abs(spectrum[1000]) == pytest.approx(abs(1 + gain.conjugate()) / 2, rel=1e-4)
    assert abs(spectrum[7000]) == pytest.approx(abs(1 - gain) / 2, rel=1e-4)


def test_dc_offset_is_added(rng: np.random.Generator) -> None:
    got, _ = receive_front_end(tone(0.25, 400), Impairments(dc=0.05 - 0.02j, bits=None), 0.0, rng)
    assert np.mean(got) == pytest.approx(0.05 - 0.02j, abs=1e-6)


def test_phase_noise_has_independent_steps_of_the_stated_variance(rng: np.random.Generator) -> None:
    variance = wiener_step_variance(100.0, 1e6)
    assert variance == pytest.approx(2 * np.pi * 1e-4)
    impairments = Impairments(phase_noise_variance=variance, bits=None)
    got, _ = receive_front_end(np.ones(100_000, np.complex64), impairments, 0.0, rng)
    assert np.abs(got) == pytest.approx(1.0, abs=1e-3)
    phase = np.unwrap(np.angle(got))
    steps = np.diff(phase)
    assert np.var(steps) == pytest.approx(variance, rel=0.03)
    assert abs(np.corrcoef(steps[1:], steps[:-1])[0, 1]) < 0.02
    assert np.mean((phase[1000:] - phase[:-1000]) ** 2) == pytest.approx(1000 * variance, rel=0.5)


def test_path_losses_at_known_points() -> None:
    assert free_space_loss_db(1.0, 2.4e9) == pytest.approx(40.05, abs=0.01)
    assert free_space_loss_db(1000.0, 2.4e9) == pytest.approx(100.05, abs=0.01)
    assert log_distance_loss_db(1.0, 2.4e9, 3.5) == pytest.approx(40.05, abs=0.01)
    assert log_distance_loss_db(10.0, 2.4e9, 3.5) == pytest.approx(75.05, abs=0.01)
    assert log_distance_loss_db(0.5, 2.4e9, 3.5) == pytest.approx(free_space_loss_db(0.5, 2.4e9))
    assert log_distance_loss_db(20.0, 9e8, 2.0) == pytest.approx(free_space_loss_db(20.0, 9e8))
    assert 10 * np.log10(noise_power_w(1e6) / 1e-3) == pytest.approx(-114.0, abs=0.05)
    assert noise_power_w(1e6, noise_figure_db=3.0) == pytest.approx(10**0.3 * noise_power_w(1e6))


def test_what_is_impossible_is_refused(rng: np.random.Generator) -> None:
    link, x = still(rng), np.ones(10, np.complex64)
    with pytest.raises(SignalError, match="'TDL-F' is unknown; choose one of TDL-A"):
        load_profile("TDL-F")
    with pytest.raises(SignalError, match="delay_spread_s = -1"):
        draw_fading(FLAT, -1.0, 0.0, rng)
    with pytest.raises(SignalError, match="doppler_hz = nan"):
        draw_fading(FLAT, 0.0, np.nan, rng)
    with pytest.raises(SignalError, match="sample_rate_hz = 0"):
        propagate(x, link, sample_rate_hz=0.0)
    with pytest.raises(SignalError, match="delay_s = -1"):
        propagate(x, link, sample_rate_hz=1.0, delay_s=-1.0)
    beyond = {"sfo_ppm": 2000.0, "cfo_hz": np.nan, "first_sample": np.inf, "gain_db": 1e3, "count": 0}
    for field, value in beyond.items():
        with pytest.raises(SignalError, match=f"{field} = {value} must lie in"):
            propagate(x, link, sample_rate_hz=1.0, **{field: value})
    for bad in (x[:0], x[None], x * np.complex64(complex(np.nan, 0)), np.full(10, 1e200 + 0j)):
        with pytest.raises(SignalError, match="finite numbers"):
            propagate(bad, link, sample_rate_hz=1.0)
        with pytest.raises(SignalError, match="finite numbers"):
            receive_front_end(bad, IDEAL, 0.0, rng)
    with pytest.raises(SignalError, match="noise_power = -1"):
        receive_front_end(x, IDEAL, -1.0, rng)
    for bits in (0, 17, 11.5):
        with pytest.raises(SignalError, match=f"bits = {bits}"):
            Impairments(bits=bits)  # type: ignore[arg-type]
    for field, value in (("iq_gain_db", np.nan), ("iq_phase_deg", np.inf), ("dc", complex(0, np.nan))):
        with pytest.raises(SignalError, match=field):
            Impairments(**{field: value})
    with pytest.raises(SignalError, match="phase_noise_variance"):
        Impairments(phase_noise_variance=1.0)
    with pytest.raises(SignalError, match="distance_m"):
        free_space_loss_db(0.0, 1e9)
    with pytest.raises(SignalError, match="exponent = nan"):
        log_distance_loss_db(1.0, 1e9, np.nan)
    with pytest.raises(SignalError, match="reference_m = 0"):
        log_distance_loss_db(1.0, 1e9, 2.0, reference_m=0.0)
    with pytest.raises(SignalError, match="bandwidth_hz = -1"):
        noise_power_w(-1.0)
