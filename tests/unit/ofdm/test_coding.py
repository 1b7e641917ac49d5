from __future__ import annotations

import zlib
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from testbed.errors import FrameError
from testbed.ofdm.coding import (
    MAX_HEADER_BYTES,
    MAX_PAYLOAD_BYTES,
    coded_length,
    decode_block,
    decode_blocks,
    decode_header,
    encode_block,
    encode_blocks,
    encode_header,
)
from testbed.ofdm.mcs import MCS
from testbed.ofdm.modulation import demap, map_bits
from testbed.ofdm.rate_matching import interleaving, layout
from tests.reference import coding_slow

SIZES = (1, 2, 31, 77, 239, 256, 1000)


def certain(bits: np.ndarray) -> np.ndarray:
    """LLRs that leave no doubt about bits."""
    return np.where(bits == 1, -4.0, 4.0).astype(np.float32)


def through_noise(bits: np.ndarray, bits_per_symbol: int, snr_db: float, rng: np.random.Generator) -> np.ndarray:
    """LLRs (n, N) of coded bits (n, N) sent at this SNR per symbol."""
    noise = 10 ** (-snr_db / 10)
    symbols = map_bits(bits.ravel(), bits_per_symbol)
    received = symbols + coding_slow.gaussian_noise(rng, len(symbols), noise)
    return demap(received.astype(np.complex64), noise, bits_per_symbol).reshape(bits.shape)


@settings(deadline=None, max_examples=60)
@given(data=st.data(), size=st.integers(1, 400), mcs=st.integers(0, len(MCS) - 1), extra=st.integers(-60, 900))
def test_blocks_come_back_whatever_their_size(data: st.DataObject, size: int, mcs: int, extra: int) -> None:
    payload = data.draw(st.binary(min_size=size, max_size=size))
    coded_bits = max(coded_length(size, mcs) + extra, 8 * size + 32)
    coded = encode_block(payload, mcs, coded_bits)
    assert coded.shape == (coded_bits,)
    assert coded.dtype == np.uint8
    assert set(np.unique(coded)) <= {0, 1}
    if coded_bits >= 1.15 * (8 * size + 32):
        assert decode_block(certain(coded), size, mcs) == payload


@pytest.mark.parametrize("mcs", MCS, ids=lambda m: m.name)
def test_coded_length_meets_the_code_rate_in_whole_symbols(mcs) -> None:
    for size in SIZES:
        coded = coded_length(size, mcs)
        assert coded % mcs.bits_per_symbol == 0
        rates = [Fraction(8 * size + 32, coded - short) for short in (0, mcs.bits_per_symbol)]
        assert rates[0] <= mcs.code_rate < rates[1]
        assert coded == coded_length(size, mcs.index)


@pytest.mark.parametrize(("size", "coded_bits"), [(1, 200), (77, 1300), (256, 4160), (300, 3300), (20, 3000)])
def test_encoder_equals_the_parts_done_slowly(size: int, coded_bits: int, rng: np.random.Generator) -> None:
    """Checksum and scrambler bit by bit; what was sent, put back, satisfies the dense parity matrix."""
    payload = rng.integers(0, 256, size, dtype=np.uint8)
    plan = layout(8 * size + 32, coded_bits)
    coded = encode_block(payload, 0, coded_bits)
    message = payload.tobytes() + coding_slow.crc32(payload.tobytes()).to_bytes(4, "big")
    wanted = np.unpackbits(np.frombuffer(message, np.uint8)) ^ coding_slow.scrambling_bits(8 * size + 32)
    words = np.full(plan.codewords * plan.code.n, 2, np.uint8)
    words[plan.known] = 0
    words[plan.place] = coded
    assert (words[plan.place] == coded).all()
    info = words[plan.info]
    sent = info < 2
    np.testing.assert_array_equal(info[sent], wanted[sent])
    assert sent.all()
    if not (words == 2).any():
        H = coding_slow.parity_matrix(plan.code.n, plan.code.rate)
        assert not (words.reshape(plan.codewords, -1) @ H.T % 2).any()


@pytest.mark.parametrize(
    ("info", "coded"), [(40, 60), (288, 576), (2080, 4160), (2080, 2500), (168, 1024), (5000, 30_000)]
)
def test_layout_sends_all_information_and_nothing_known(info: int, coded: int) -> None:
    plan = layout(info, coded)
    word, place = np.divmod(plan.place, plan.code.n)
    counts = np.bincount(plan.place, minlength=plan.codewords * plan.code.n)
    assert len(plan.place) == coded
    assert word.max() == plan.codewords - 1
    assert not counts[plan.known].any()
    used = np.unique(plan.place)
    assert len(used) <= info + plan.codewords * (plan.code.n - plan.code.k)
    per_word = [counts[w * plan.code.n : (w + 1) * plan.code.n] for w in range(plan.codewords)]
    for c in per_word:
        assert c[c > 0].max() - c[c > 0].min() <= 1
    assert np.sum(np.unique(plan.place) % plan.code.n < plan.code.k) == info
    assert place.min() >= 0


@given(length=st.integers(1, 5000))
def test_interleaver_moves_every_bit_to_its_own_place(length: int) -> None:
    np.testing.assert_array_equal(np.sort(interleaving(length)), np.arange(length))


def test_interleaver_parts_neighbours_and_spreads_each_codeword() -> None:
    at = interleaving(4160)
    for apart in range(1, 20):
        gap = np.abs(at[apart:] - at[:-apart])
        assert np.minimum(gap, 4160 - gap).min() >= 50
    plan = layout(2080, 4160)
    thirds = plan.place.reshape(20, -1) // plan.code.n
    for word in range(plan.codewords):
        assert np.sum(thirds == word, axis=1) == pytest.approx(4160 / 20 / plan.codewords, abs=8)


@pytest.mark.parametrize("size", SIZES)
def test_silence_and_constants_never_pass(size: int) -> None:
    for mcs in (0, 2, 9):
        length = coded_length(size, mcs)
        for value in (0.0, 1.0, -1.0):
            assert decode_block(np.full(length, value, np.float32), size, mcs) is None


def test_garbage_never_passes(rng: np.random.Generator) -> None:
    llr = rng.standard_normal((300, coded_length(60, 1))).astype(np.float32)
    payloads, ok = decode_blocks(llr, 60, 1)
    assert not ok.any()
    assert not payloads.any()


def test_a_valid_codeword_with_a_wrong_checksum_does_not_pass(rng: np.random.Generator) -> None:
    """The code is linear, so the sum of two codewords converges; only the checksum can tell."""
    a, b = encode_blocks(rng.integers(0, 256, (2, 50), dtype=np.uint8), 1, coded_length(50, 1))
    assert decode_block(certain(a), 50, 1) is not None
    assert decode_block(certain(a ^ b), 50, 1) is None


def test_each_row_stands_for_itself(rng: np.random.Generator) -> None:
    payloads = rng.integers(0, 256, (8, 120), dtype=np.uint8)
    llr = certain(encode_blocks(payloads, 3, coded_length(120, 3)))
    llr[[2, 5]] = 0.0
    decoded, ok = decode_blocks(llr, 120, 3)
    np.testing.assert_array_equal(ok, [True, True, False, True, True, False, True, True])
    np.testing.assert_array_equal(decoded[ok], payloads[ok])
    assert not decoded[~ok].any()
    single = encode_block(payloads[3].tobytes(), 3, coded_length(120, 3))
    assert decode_block(certain(single), 120, 3) == payloads[3].tobytes()


@pytest.mark.parametrize("mcs", MCS, ids=lambda m: m.name)
def test_one_block_in_a_hundred_is_lost_at_the_threshold(mcs, rng: np.random.Generator) -> None:
    payloads = rng.integers(0, 256, (400, 256), dtype=np.uint8)
    coded = encode_blocks(payloads, mcs, coded_length(256, mcs))
    lost = []
    for offset in (0.0, 0.5, -0.7):
        llr = through_noise(coded, mcs.bits_per_symbol, mcs.snr_threshold_db + offset, rng)
        decoded, ok = decode_blocks(llr, 256, mcs)
        np.testing.assert_array_equal(decoded[ok], payloads[ok])
        lost.append(np.mean(~ok))
    assert lost[0] <= 0.03
    assert lost[1] <= 0.005
    assert lost[2] >= 0.1


def test_no_block_at_all_is_fine() -> None:
    assert encode_blocks(np.zeros((0, 50), np.uint8), 1, 900).shape == (0, 900)
    payloads, ok = decode_blocks(np.zeros((0, 900), np.float32), 50, 1)
    assert payloads.shape == (0, 50)
    assert ok.shape == (0,)


def test_chase_combining_adds_the_energy_of_both_attempts(rng: np.random.Generator) -> None:
    mcs = MCS[1]
    payloads = rng.integers(0, 256, (60, 256), dtype=np.uint8)
    coded = encode_blocks(payloads, mcs, coded_length(256, mcs))
    first, second = (through_noise(coded, 2, mcs.snr_threshold_db - 2.5, rng) for _ in range(2))
    assert decode_blocks(first, 256, mcs)[1].mean() < 0.1
    assert decode_blocks(first + second, 256, mcs)[1].mean() > 0.95


def test_repetition_is_worth_its_energy(rng: np.random.Generator) -> None:
    payloads = rng.integers(0, 256, (60, 32), dtype=np.uint8)
    coded = encode_blocks(payloads, 0, 8 * 576)
    assert decode_blocks(through_noise(coded, 1, -9.5, rng), 32, 0)[1].mean() > 0.95


@settings(deadline=None, max_examples=30)
@given(payload=st.binary(max_size=MAX_HEADER_BYTES), coded_bits=st.integers(260, 2000))
def test_headers_come_back_with_their_length(payload: bytes, coded_bits: int) -> None:
    coded = encode_header(payload, coded_bits)
    assert coded.shape == (coded_bits,)
    assert decode_header(certain(coded)) == payload


@pytest.mark.parametrize(("coded_bits", "bits_per_symbol"), [(480, 1), (800, 2)])
def test_headers_hold_at_minus_one_decibel(coded_bits: int, bits_per_symbol: int, rng: np.random.Generator) -> None:
    header = b"0123456789abcdef"
    coded = np.tile(encode_header(header, coded_bits), (300, 1))
    llr = through_noise(coded, bits_per_symbol, -1.0, rng)
    assert sum(decode_header(row) == header for row in llr) >= 297


def test_header_of_silence_or_noise_is_none(rng: np.random.Generator) -> None:
    assert decode_header(np.zeros(500, np.float32)) is None
    assert decode_header(rng.standard_normal(500).astype(np.float32)) is None
    assert decode_header(-certain(encode_header(b"upside down", 500))) is None


def test_checksum_is_the_common_one() -> None:
    assert coding_slow.crc32(b"123456789") == zlib.crc32(b"123456789") == 0xCBF43926


def test_what_cannot_be_sent_is_refused() -> None:
    for size in (0, MAX_PAYLOAD_BYTES + 1):
        with pytest.raises(FrameError, match=f"payload of {size} bytes"):
            coded_length(size, 0)
    with pytest.raises(FrameError, match="payload of 0 bytes"):
        encode_block(b"", 0, 100)
    with pytest.raises(FrameError, match="mcs=10"):
        coded_length(10, 10)
    with pytest.raises(FrameError, match="mcs=-1"):
        encode_block(b"abc", -1, 100)
    with pytest.raises(FrameError, match="coded_bits=111 cannot carry 112"):
        encode_block(b"0123456789", 0, 111)
    with pytest.raises(FrameError, match="give \\(n, B\\) uint8"):
        encode_blocks(np.zeros((2, 3), np.int64), 0, 100)
    with pytest.raises(FrameError, match="17 bytes"):
        encode_header(bytes(17), 500)


def test_what_cannot_be_decoded_is_refused() -> None:
    llr = np.ones(200, np.float32)
    with pytest.raises(FrameError, match="1 dimensions"):
        decode_blocks(llr, 4, 0)
    llr[3] = np.nan
    with pytest.raises(FrameError, match="NaN"):
        decode_block(llr, 4, 0)
    with pytest.raises(FrameError, match="NaN"):
        decode_header(llr)
    with pytest.raises(FrameError, match="coded_bits=100"):
        decode_header(np.ones(100, np.float32))
