import struct

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from testbed.errors import ModelError
from testbed.experts.payload import KINDS, dequantise, payload_bytes, quantise

STATES = arrays.arrays(
    np.float32, st.tuples(st.integers(0, 4), st.integers(1, 9)), elements=st.floats(-60000, 60000, width=32)
)


@given(states=STATES)
def test_float16_is_the_ieee_half_little_endian(states):
    payload = quantise(states, "float16")
    width = states.shape[1]
    assert payload.shape == (len(states), payload_bytes(width, "float16"))
    for row, data in zip(states, payload, strict=True):
        assert data.tobytes() == struct.pack(f"<{width}e", *row.tolist())
    assert (dequantise(payload, width, "float16") == states.astype(np.float16)).all()


@given(states=STATES)
@example(states=np.array([[1e-45]], np.float32))
def test_int8_is_within_half_a_step(states):
    payload = quantise(states, "int8")
    width = states.shape[1]
    assert payload.shape == (len(states), width + 2)
    back = dequantise(payload, width, "int8")
    for row, data, again in zip(states, payload, back, strict=True):
        (scale,) = struct.unpack("<e", data[:2].tobytes())
        assert [scale * step for step in struct.unpack(f"{width}b", data[2:].tobytes())] == again.tolist()
        peak = float(np.abs(row).max())
        assert scale <= peak / 127 * (1 + 2**-9) + 2**-24
        assert np.abs(again.astype(float) - row).max() <= scale / 2 * (1 + 1e-6)


def test_zeros_stay_zero():
    zeros = np.zeros((2, 5), np.float32)
    for kind in KINDS:
        assert (dequantise(quantise(zeros, kind), 5, kind) == 0).all()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e30])
def test_what_cannot_be_sent_is_refused(kind, bad):
    states = np.ones((3, 4), np.float32)
    states[1, 2] = bad
    with pytest.raises(ModelError, match="does not fit"):
        quantise(states, kind)


def test_any_bytes_at_all_can_be_read(rng):
    for kind in KINDS:
        junk = rng.integers(0, 256, (50, payload_bytes(16, kind)), dtype=np.uint8)
        assert dequantise(junk, 16, kind).shape == (50, 16)


def test_an_unknown_kind_lists_the_known():
    for call in (
        lambda: quantise(np.zeros((1, 2), np.float32), "int4"),
        lambda: dequantise(np.zeros((1, 2), np.uint8), 2, "int4"),
        lambda: payload_bytes(2, "int4"),
    ):
        with pytest.raises(ModelError, match=r"'int4'; known are \['float16', 'int8'\]"):
            call()


@pytest.mark.parametrize("shape", [(2, 9), (10,), (1, 2, 5)])
def test_rows_of_another_length_are_refused(shape):
    with pytest.raises(ModelError, match="not uint8 of shape"):
        dequantise(np.zeros(shape, np.uint8), 5, "float16")
