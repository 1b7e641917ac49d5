from __future__ import annotations

import numpy as np
import pytest

from testbed.record.frame import Append, Frame, octets, pack


def frame(message, arrays):
    header, body = pack(message, arrays)
    return Frame(header, b"".join(body))


def test_a_frame_gives_back_its_arrays(rng):
    arrays = {
        "h": rng.standard_normal((2, 3)).astype(np.complex64),
        "none": np.zeros((0, 4), np.int64),
        "one": np.asarray(np.float64(2.5)),
        "strided": np.arange(12).reshape(3, 4)[:, ::2],
    }
    message, found = frame(Append(b"line\n"), arrays).open()
    assert message == Append(b"line\n")
    for name, value in arrays.items():
        assert (found[name].dtype, found[name].shape) == (value.dtype, value.shape)
        np.testing.assert_array_equal(found[name], value)


def test_a_contiguous_array_is_not_copied():
    array = np.zeros((3, 4), np.float32)
    octets(array)[5] = 1
    assert array.any()


@pytest.mark.parametrize("content", [b"", b"\xc1", b"\x93" * 5000, b"\x92\x01\x90", b"\x81\xa1\xff\x00"])
def test_a_header_of_nonsense_is_a_value_error(content):
    with pytest.raises(ValueError, match="no frame"):
        Frame(content, b"").open()


def test_arrays_beyond_the_body_are_a_value_error():
    whole = frame(Append(b""), {"h": np.zeros(4)})
    with pytest.raises(ValueError, match="buffer"):
        Frame(whole.header, whole.body[:-1]).open()
