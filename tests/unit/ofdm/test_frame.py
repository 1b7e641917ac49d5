import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import erfc

from testbed.errors import FrameError
from testbed.ofdm import frame_format as form
from testbed.ofdm.coding import coded_length
from testbed.ofdm.frame import Header, Link, demodulate, frame_samples, link_symbols, modulate
from testbed.ofdm.grid import PRESETS, Grid
from testbed.ofdm.mcs import MCS
from testbed.ofdm.sounding import sounding_frame
from tests.reference.ofdm_air import pass_through, rayleigh

DEMO = PRESETS["demo"]
HEADER = Header(source=5, kind=1, number=123456789, layer=3, tag=200)
EVERYWHERE = np.arange(192)


def payload(rng, link):
    return rng.integers(0, 256, (link.blocks, link.block_bytes)).astype(np.uint8)


def send(rng, *links, grid=DEMO, header=HEADER):
    payloads = [payload(rng, link) for link in links]
    return modulate(grid, header, links, payloads), payloads


def errors(llr, grid_link, sent):
    """Share of coded bits whose sign is wrong."""
    from testbed.ofdm.coding import encode_blocks

    coded = encode_blocks(sent, grid_link.mcs, coded_length(grid_link.block_bytes, grid_link.mcs))
    return np.mean((llr < 0) != coded)


# Round trips ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mcs", range(len(MCS)))
def test_every_scheme_carries_its_bytes(mcs, rng):
    link = Link(np.arange(3, 190, 2), mcs, 4, 90)
    frame, (sent,) = send(rng, link)
    heard = pass_through(DEMO, frame, rng, snr_db=MCS[mcs].snr_threshold_db + 3, cfo=3.4, first=900)
    got = demodulate(DEMO, heard, link)
    assert got.ok.all()
    assert np.array_equal(got.payloads, sent)


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize("blocks", [1, 40])
def test_every_preset_on_any_phase_of_a_repeating_frame(name, blocks, rng):
    grid = PRESETS[name]
    link = Link(np.arange(len(grid.data)), 1, blocks, 60)
    frame, (sent,) = send(rng, link, grid=grid)
    assert len(frame) == frame_samples(grid, [link])
    for first in (0, 1, len(frame) // 3, len(frame) - 1):
        heard = pass_through(
            grid, frame, rng, snr_db=6, cfo=rng.uniform(-8, 8), first=first, count=2 * len(frame), repeat=True
        )
        got = demodulate(grid, heard, link)
        assert got.ok.all()
        assert np.array_equal(got.payloads, sent)
        assert got.header.source == 5


def test_header_comes_back_and_tells_the_length(rng):
    link = Link(np.arange(10), 0, 2, 30)
    frame, _ = send(rng, link)
    got = demodulate(DEMO, pass_through(DEMO, frame, rng, snr_db=3, first=50))
    assert got.header == Header(5, 1, 123456789, link_symbols(link), 3, 200)
    assert got.payloads.shape == (0, 0)
    assert np.isnan(got.evm)
    assert got.csi.header is got.header


@pytest.mark.parametrize("subcarrier", [0, 95, 96, 191])
def test_a_single_subcarrier_is_enough(subcarrier, rng):
    link = Link(np.array([subcarrier]), 3, 2, 50)
    frame, (sent,) = send(rng, link)
    got = demodulate(DEMO, pass_through(DEMO, frame, rng, snr_db=11, cfo=-7.9, first=2000), link)
    assert got.ok.all()
    assert np.array_equal(got.payloads, sent)


def test_links_share_a_frame_and_end_when_they_end(rng):
    links = [Link(np.arange(64), 6, 3, 70), Link(np.array([191, 100, 70]), 1, 5, 40), Link(np.array([65]), 0, 1, 8)]
    frame, sent = send(rng, *links)
    assert max(link_symbols(link) for link in links) == link_symbols(links[1])
    heard = pass_through(DEMO, frame, rng, snr_db=22, cfo=0.5, first=10)
    for link, bytes_sent in zip(links, sent, strict=True):
        got = demodulate(DEMO, heard, link)
        assert np.array_equal(got.payloads, bytes_sent)


def test_a_link_takes_its_numbers_in_any_form(rng):
    given = Link(np.arange(7), 3, 5, 70)
    bytes_ = payload(rng, given)
    frame = modulate(DEMO, HEADER, [given], [bytes_])
    small = Link(tuple(range(7)), np.int8(3), np.uint8(5), np.uint8(70))
    for other in (small, Link(list(range(7)), 3, 5, np.int16(70))):
        assert np.array_equal(modulate(DEMO, HEADER, [other], [bytes_]), frame)
        got = demodulate(DEMO, frame, other)
        assert got is not None
        assert np.array_equal(got.payloads, bytes_)


def test_order_of_subcarriers_belongs_to_the_link(rng):
    link = Link(np.array([5, 100, 7]), 2, 2, 30)
    frame, (sent,) = send(rng, link)
    heard = pass_through(DEMO, frame, rng, snr_db=20)
    assert np.array_equal(demodulate(DEMO, heard, link).payloads, sent)
    assert not demodulate(DEMO, heard, Link(np.array([5, 7, 100]), 2, 2, 30)).ok.any()


def test_two_links_30_db_apart(rng):
    """One link on strong subcarriers at 64-QAM, the other 30 dB below it: neither disturbs the other."""
    taps = np.array([1.0, -0.985])
    response = np.abs(np.exp(-2j * np.pi * np.outer(DEMO.offsets[DEMO.data], [0, 1]) / 256) @ taps)
    order = np.argsort(response)
    weak, strong = Link(np.sort(order[:5]), 1, 3, 40), Link(np.sort(order[-60:]), 6, 10, 100)
    ratio = np.mean(response[strong.subcarriers] ** 2) / np.mean(response[weak.subcarriers] ** 2)
    assert 10 * np.log10(ratio) > 30
    frame, (weak_sent, strong_sent) = send(rng, weak, strong)
    snr_db = 5 - 10 * np.log10(np.min(response[weak.subcarriers] ** 2))
    heard = pass_through(DEMO, frame, rng, snr_db=snr_db, cfo=4.3, taps=taps, first=444)
    assert np.array_equal(demodulate(DEMO, heard, strong).payloads, strong_sent)
    assert np.array_equal(demodulate(DEMO, heard, weak).payloads, weak_sent)


def test_equal_blocks_do_not_peak_in_time():
    link = Link(EVERYWHERE, 1, 192, 50)
    frame = modulate(DEMO, HEADER, [link], [np.zeros((192, 50), np.uint8)])
    assert np.abs(np.concatenate([frame.real, frame.imag])).max() < 1.0


# Against theory ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("mcs", "snr_db"), [(0, 4), (1, 6), (3, 12), (5, 18), (8, 25)])
def test_uncoded_bit_errors_follow_the_formula(mcs, snr_db, rng):
    """Gray-mapped square QAM: mean over the bits of an axis, by exact sums of Q over levels (K. Cho, D. Yoon 2002)."""
    bits = MCS[mcs].bits_per_symbol
    link = Link(EVERYWHERE, mcs, 60, 240)
    frame, (sent,) = send(rng, link)
    got = demodulate(DEMO, pass_through(DEMO, frame, rng, snr_db=snr_db, cfo=2.2, first=300), link)
    assert errors(got.llr, link, sent) == pytest.approx(gray_ber(bits, 10 ** (snr_db / 10)), rel=0.12)


def gray_ber(bits, snr):
    if bits == 1:
        return 0.5 * erfc(np.sqrt(snr))
    per_axis = bits // 2
    levels = 2**per_axis
    scale = np.sqrt(1.5 * snr / (levels**2 - 1))
    total = 0.0
    for k in range(1, per_axis + 1):
        for i in range(int((1 - 2.0**-k) * levels)):
            sign = (-1) ** (i * 2 ** (k - 1) // levels)
            weight = 2 ** (k - 1) - int(np.floor(i * 2 ** (k - 1) / levels + 0.5))
            total += sign * weight * erfc((2 * i + 1) * scale) / levels
    return total / per_axis


@pytest.mark.parametrize(("mcs", "snr_db"), [(1, 2.8), (6, 17.5)])
def test_frames_arrive_within_a_decibel_of_perfect_knowledge(mcs, snr_db, rng):
    """At the SNR at which one frame in a hundred may fail, five codewords a frame: at most 2 of 60."""
    link = Link(EVERYWHERE, mcs, 5, 117 if mcs == 1 else 178)
    lost = 0
    for _ in range(60):
        frame, (sent,) = send(rng, link)
        heard = pass_through(DEMO, frame, rng, snr_db=snr_db, cfo=rng.uniform(-8, 8), first=400)
        got = demodulate(DEMO, heard, link)
        lost += got is None or not got.ok.all()
        assert got is None or np.array_equal(got.payloads[got.ok], sent[got.ok])
    assert lost <= 2


@pytest.mark.parametrize("sfo_ppm", [-40, 40])
def test_40_ppm_of_clock_offset_cost_nothing(sfo_ppm, rng):
    """A long frame at the band's edge: bit errors stay those of the formula."""
    link = Link(np.array([0, 191]), 5, 24, 200)
    frame, (sent,) = send(rng, link)
    assert link_symbols(link) > 3500
    heard = pass_through(DEMO, frame, rng, snr_db=18, cfo=5.5, first=700, sfo_ppm=sfo_ppm)
    got = demodulate(DEMO, heard, link)
    assert errors(got.llr, link, sent) == pytest.approx(gray_ber(6, 10**1.8), rel=0.12)


def test_a_channel_that_turns_over_in_a_frame_is_followed(rng):
    """Two paths whose phases move apart by a whole turn during the frame."""
    link = Link(np.arange(0, 192, 48), 3, 30, 100)
    frame, (sent,) = send(rng, link)
    first, second = (pass_through(DEMO, frame, np.random.default_rng(7), taps=t) for t in ([1.0], [0, 0, 0, 0.6]))
    turning = first + second * np.exp(2j * np.pi * np.arange(len(frame)) / len(frame))
    heard = pass_through(DEMO, turning, rng, snr_db=22, cfo=-1.2, first=300)
    got = demodulate(DEMO, heard, link)
    assert got.ok.all()
    assert np.array_equal(got.payloads, sent)


def test_phase_noise_is_followed(rng):
    """A Wiener phase of 20 Hz line width: 0.2 rad² every ms."""
    link = Link(EVERYWHERE, 4, 40, 200)
    frame, _ = send(rng, link)
    phase = np.cumsum(rng.standard_normal(len(frame)) * np.sqrt(2 * np.pi * 20 / DEMO.sample_rate_hz))
    heard = pass_through(DEMO, frame * np.exp(1j * phase), rng, snr_db=17, cfo=1.2, first=300)
    got = demodulate(DEMO, heard, link)
    assert got.ok.all()


def test_dispersive_fading_at_the_edge_of_the_prefix(rng):
    link = Link(EVERYWHERE, 1, 10, 100)
    arrived = 0
    for _ in range(20):
        frame, _ = send(rng, link)
        heard = pass_through(DEMO, frame, rng, snr_db=14, cfo=rng.uniform(-8, 8), taps=rayleigh(rng, 20), first=900)
        got = demodulate(DEMO, heard, link)
        arrived += got is not None and bool(got.ok.all())
    assert arrived >= 19


def test_dc_as_strong_as_the_noise_costs_nothing(rng):
    link = Link(EVERYWHERE, 1, 10, 100)
    frame, _ = send(rng, link)
    dc = np.sqrt(DEMO.amplitude**2 * 256 / 10**0.4)
    heard = pass_through(DEMO, frame, rng, snr_db=4, cfo=3.0, first=900, dc=dc)
    assert demodulate(DEMO, heard, link).ok.all()


def test_chase_combining_delivers_what_one_attempt_cannot(rng):
    """2.5 dB below the threshold one attempt fails, three together have 4.8 dB more."""
    link = Link(EVERYWHERE, 1, 8, 100)
    frame, (sent,) = send(rng, link)
    soft = None
    delivered = []
    for _ in range(3):
        heard = pass_through(DEMO, frame, rng, snr_db=-0.5, cfo=rng.uniform(-8, 8), first=500)
        got = demodulate(DEMO, heard, link, soft=soft)
        delivered.append(got.ok.sum())
        soft = got.llr
    assert delivered[0] == 0
    assert delivered[2] == 8
    assert np.array_equal(got.payloads, sent)


def test_evm_and_snr_are_those_of_the_link(rng):
    link = Link(np.arange(20, 60), 1, 10, 100)
    frame, _ = send(rng, link)
    got = demodulate(DEMO, pass_through(DEMO, frame, rng, snr_db=25, first=100), link)
    assert got.evm == pytest.approx(10 ** (-25 / 20), rel=0.1)
    assert got.snr_db == pytest.approx(25, abs=0.7)
    assert len(got.symbols) == 10 * coded_length(100, 1) // 2


# What goes wrong --------------------------------------------------------------------------------------


def test_noise_silence_and_short_captures_are_none(rng):
    link = Link(EVERYWHERE, 1, 1, 100)
    noise = (rng.standard_normal(300_000) + 1j * rng.standard_normal(300_000)).astype(np.complex64)
    assert demodulate(DEMO, noise, link) is None
    assert demodulate(DEMO, np.zeros(50_000, np.complex64), link) is None
    assert demodulate(DEMO, noise[:100], link) is None


@pytest.mark.parametrize(
    "other",
    [
        PRESETS["small"],
        PRESETS["fine"],
        Grid(256, 32, 204, 16, 3.84e6),
        Grid(256, 16, 204, 12, 3.84e6),
        Grid(256, 32, 200, 12, 3.84e6),
        Grid(256, 32, 204, 12, 3.84e6, training_period=16),
    ],
)
def test_a_frame_of_another_grid_is_none(other, rng):
    link = Link(np.arange(20), 1, 4, 100)
    frame, _ = send(rng, link, grid=other)
    assert demodulate(DEMO, pass_through(other, frame, rng, snr_db=25, first=700), link) is None


def test_a_truncated_frame_gives_what_it_holds(rng):
    link = Link(EVERYWHERE, 1, 40, 200)
    frame, (sent,) = send(rng, link)
    cut = pass_through(DEMO, frame, rng, snr_db=20, first=100, count=100 + len(frame) - 8 * DEMO.symbol_samples)
    got = demodulate(DEMO, cut, link)
    assert got.truncated
    assert np.array_equal(got.payloads[got.ok], sent[got.ok])
    assert not got.payloads[~got.ok].any()
    header_only = demodulate(DEMO, cut[: 100 + form.samples_of(DEMO, 0) + 40], link)
    assert header_only.truncated
    assert not header_only.ok.any()
    assert not header_only.llr.any()
    assert demodulate(DEMO, cut[: 100 + form.samples_of(DEMO, 0) - 300], link) is None


def test_a_complete_copy_is_preferred_to_a_cut_one(rng):
    """A transmitter that changes its mind within a long frame."""
    link = Link(EVERYWHERE, 1, 5, 100)
    longer, _ = send(rng, Link(EVERYWHERE, 1, 60, 100), header=Header(1, 1, 1))
    frame, (sent,) = send(rng, link, header=Header(1, 1, 2))
    both = np.concatenate([longer[: len(longer) // 3], frame, frame])
    got = demodulate(DEMO, pass_through(DEMO, both, rng, snr_db=15), link)
    assert got.header.number == 2
    assert np.array_equal(got.payloads, sent)
    assert not got.truncated


def test_damage_never_yields_garbage_bytes(rng):
    link = Link(EVERYWHERE, 3, 30, 60)
    frame, (sent,) = send(rng, link)
    for snr_db in (3, 5, 6, 7, 8):
        got = demodulate(DEMO, pass_through(DEMO, frame, rng, snr_db=snr_db, first=30), link)
        assert np.array_equal(got.payloads[got.ok], sent[got.ok])
        assert not got.payloads[~got.ok].any()


def test_an_older_frame_is_told_by_its_number(rng):
    link = Link(EVERYWHERE, 1, 2, 50)
    old, _ = send(rng, link, header=Header(1, 1, 7))
    new, (sent,) = send(rng, link, header=Header(1, 1, 8))
    heard = pass_through(DEMO, np.concatenate([old, old, new, new]), rng, snr_db=15, cfo=2.0, first=100)
    first = demodulate(DEMO, heard, link)
    assert first.header.number == 7
    assert demodulate(DEMO, heard, link, begin=first.end).header.number == 7
    wanted = demodulate(DEMO, heard, link, number=8)
    assert wanted.header.number == 8
    assert np.array_equal(wanted.payloads, sent)
    assert demodulate(DEMO, heard, link, number=9) is None


def test_a_sounding_or_shorter_frame_fails_all_blocks(rng):
    link = Link(np.arange(4), 0, 3, 100)
    sounding = sounding_frame(DEMO, Header(1, 0, 1), 4)
    short, _ = send(rng, Link(EVERYWHERE, 1, 1, 20))
    for frame in (sounding, short):
        got = demodulate(DEMO, pass_through(DEMO, frame, rng, snr_db=20, first=50), link)
        assert got.ok.shape == (3,)
        assert not got.ok.any()
        assert not got.llr.any()


@pytest.mark.parametrize(
    ("subcarriers", "blocks", "block_bytes", "mcs", "words"),
    [
        ([], 1, 10, 1, "one or more"),
        ([192], 1, 10, 1, "192.*0…191"),
        ([-1], 1, 10, 1, "-1.*0…191"),
        ([3, 3], 1, 10, 1, "twice"),
        ([0.5], 1, 10, 1, "whole numbers"),
        ([1], 0, 10, 1, "blocks=0"),
        ([1], 1, 0, 1, "0 bytes"),
        ([1], 1, 1 << 30, 1, "bytes"),
        ([1], 1000, 1000, 0, "65535"),
        ([1], 1, 10, 99, "mcs=99"),
        ([1], 1, 10, 1.0, "mcs=1.0"),
        ([1], 1, 10, "QPSK", "mcs='QPSK'"),
        ([1], 1.0, 10, 1, "blocks=1.0"),
        ([1], True, 10, 1, "blocks=True"),
        ([1], 1, 10.0, 1, "10.0 bytes"),
    ],
)
def test_impossible_links_are_refused_by_both_sides(subcarriers, blocks, block_bytes, mcs, words):
    link = Link(np.array(subcarriers), mcs, blocks, block_bytes)
    with pytest.raises(FrameError, match=words):
        modulate(DEMO, HEADER, [link], [np.zeros((1, 1), np.uint8)])
    with pytest.raises(FrameError, match=words):
        demodulate(DEMO, np.zeros(9, np.complex64), link)


def test_impossible_frames_are_refused(rng):
    one, two = Link(np.arange(5), 1, 1, 10), Link(np.arange(4, 9), 1, 1, 10)
    good = payload(rng, one)
    cases = [
        ([], [], HEADER, "links is empty"),
        ([one, two], [good, good], HEADER, "subcarrier 4 serves two links"),
        ([one], [], HEADER, "0 payloads for 1 links"),
        ([one], [good[:, :9]], HEADER, r"\(1, 9\).*\(1, 10\)"),
        ([one], [good.astype(np.int64)], HEADER, "int64"),
        ([one], [good.tobytes()], HEADER, "bytes"),
        ([one], [good], Header(1, form.SOUNDING, 1), "kind=0"),
        ([one], [good], Header(256, 1, 1), "source=256"),
        ([one], [good], Header(1, 1, 1 << 32), "number=4294967296"),
        ([one], [good], Header(1, 1, -1), "number=-1"),
    ]
    for links, payloads, header, words in cases:
        with pytest.raises(FrameError, match=words):
            modulate(DEMO, header, links, payloads)


def test_unusable_captures_and_soft_bits_are_refused():
    link = Link(np.arange(5), 1, 2, 10)
    bad = np.zeros(1000, np.complex64)
    bad[3] = np.nan
    with pytest.raises(FrameError, match="NaN"):
        demodulate(DEMO, bad, link)
    with pytest.raises(FrameError, match="empty"):
        demodulate(DEMO, bad[:0], link)
    with pytest.raises(FrameError, match="float64"):
        demodulate(DEMO, np.zeros(100), link)
    with pytest.raises(FrameError, match="infinite"):
        demodulate(DEMO, np.full(1000, 1e200 + 0j), link)
    with pytest.raises(FrameError, match="full scale"):
        demodulate(DEMO, np.full(1000, 1e10, np.complex64), link)
    for begin in (-1, 1.5):
        with pytest.raises(FrameError, match="begin="):
            demodulate(DEMO, np.zeros(1000, np.complex64), link, begin=begin)
    with pytest.raises(FrameError, match=r"\(2, 7\)"):
        demodulate(DEMO, np.zeros(100, np.complex64), link, soft=np.zeros((2, 7), np.float32))


# Format -----------------------------------------------------------------------------------------------


@given(
    st.builds(
        Header,
        st.integers(0, 255),
        st.integers(0, 255),
        st.integers(0, 2**32 - 1),
        st.integers(0, form.MAX_SYMBOLS),
        st.integers(0, 255),
        st.integers(0, 255),
    )
)
def test_headers_survive_packing(header):
    assert form.unpack(form.pack(header)) == header


def test_bytes_that_are_no_header():
    assert form.unpack(b"short") is None


@given(st.integers(1, 500), st.integers(1, 64))
def test_rows_are_data_and_training_without_gap(count, period):
    data, training = form.data_rows(count, period), form.training_rows(count, period)
    assert np.array_equal(np.sort(np.concatenate([data, training])), np.arange(count + len(training)))
    assert training[-1] == count + len(training) - 1
    assert np.diff(np.concatenate([[-1], training])).max() <= period + 1
