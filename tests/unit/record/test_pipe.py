from __future__ import annotations

import contextlib
import os

import numpy as np
import pytest

from testbed.record.pipe import MAX_HEADER, Append, Done, Frame, Full, pack, receive, send


@pytest.fixture
def ends():
    out, into = os.pipe()
    yield out, into
    for fd in (out, into):
        with contextlib.suppress(OSError):
            os.close(fd)


def test_frames_arrive_in_order_with_their_arrays(ends, rng):
    out, into = ends
    arrays = {
        "h": rng.standard_normal((2, 3)).astype(np.complex64),
        "none": np.zeros((0, 4), np.int64),
        "one": np.float64(2.5),
    }
    send(into, pack(Append(b"line\n"), {k: np.asarray(v) for k, v in arrays.items()}), 1.0)
    send(into, pack(Done(7), {}), 1.0)
    message, found = receive(out, 1.0).open()
    assert message == Append(b"line\n")
    for name, value in arrays.items():
        assert found[name].dtype == np.asarray(value).dtype
        np.testing.assert_array_equal(found[name], value)
    assert receive(out, 1.0).open() == (Done(7), {})


def test_a_closed_pipe_is_an_end_between_frames_and_an_error_inside(ends):
    out, into = ends
    send(into, pack(Full(1, 2), {}), 1.0)
    os.write(into, b"\x05\x00")
    os.close(into)
    assert receive(out, 1.0).open() == (Full(1, 2), {})
    with pytest.raises(EOFError, match="inside a frame"):
        receive(out, 1.0)


def test_silence_ends_at_the_deadline(ends):
    with pytest.raises(TimeoutError, match=r"0\.05 s"):
        receive(ends[0], 0.05)


def test_a_reader_that_takes_nothing_ends_the_sender_at_the_deadline(ends):
    os.set_blocking(ends[1], False)
    with pytest.raises(TimeoutError):
        send(ends[1], pack(Done(0), {"h": np.zeros(1 << 20)}), 0.05)


def test_nonsense_is_refused_before_memory_is_taken(ends):
    out, into = ends
    os.write(into, (MAX_HEADER + 1).to_bytes(4, "little") + bytes(8))
    with pytest.raises(ValueError, match="frame of"):
        receive(out, 1.0)


@pytest.mark.parametrize("content", [b"", b"\xc1", b"\x93" * 5000, b"\x92\x01\x90", b"\x81\xa1\xff\x00"])
def test_a_header_of_nonsense_is_a_value_error(content):
    with pytest.raises(ValueError, match="no frame"):
        Frame(content, b"").open()


def test_arrays_beyond_the_body_are_a_value_error():
    frame = pack(Done(1), {"h": np.zeros(4)})
    with pytest.raises(ValueError, match="buffer"):
        Frame(frame.header, frame.body[:-1]).open()
