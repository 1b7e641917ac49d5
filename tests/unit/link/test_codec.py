"""Values cross as frames unchanged, and no frames whatever do more than be refused."""

from __future__ import annotations

import dataclasses
import inspect
import os

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from testbed.errors import LinkError
from testbed.link import codec, messages
from testbed.link.codec import FRAMES, pack, unpack
from testbed.link.messages import ToAgent, ToController
from testbed.protocol import Aggregated, Gated, Node, Prediction, Reception, Sent, Share, Slot, Sounding


class Box(msgspec.Struct, frozen=True):
    array: NDArray[np.generic]


class Samples(msgspec.Struct, frozen=True):
    array: NDArray[np.complex64]


def example_slot(rng: np.random.Generator) -> Slot:
    shares = tuple(Share(k, np.arange(k), rng.integers(0, 200, 9), 3) for k in range(3))
    return Slot(17, 2, "return", 1, shares, 1)


def example_messages(rng: np.random.Generator) -> list[ToAgent | ToController]:
    """One of each body, with arrays of usual sizes."""
    floats = rng.random(40, np.float32)
    h = (rng.standard_normal(40) + 1j * rng.standard_normal(40)).astype(np.complex64)
    requests = [
        messages.Welcome(0.75, 0.25, '{"seed": 1}'),
        messages.Refused("no"),
        messages.Heartbeat(),
        messages.Bye("end"),
        messages.Begin(0),
        messages.Resume(2, 3),
        messages.Sound(3),
        messages.Measure(1, 3),
        messages.Silence(),
        messages.Gate(1, True),
        messages.Send(example_slot(rng)),
        messages.Receive(example_slot(rng)),
        messages.Compute(1),
        messages.Aggregate(1, rng.random((16, 4)) < 0.5),
        messages.Predict(),
    ]
    replies = [
        messages.Hello(messages.VERSION),
        messages.Done(),
        messages.OnAir(0.01),
        messages.Measured(Sounding(0, 1, h, floats, floats, -120.5, 3.25, False)),
        messages.Measured(None),
        messages.Scores(Gated(rng.random((16, 4)))),
        messages.Transmitted(Sent(0.02, rng.random(3), 0.001)),
        messages.Heard(Reception(True, rng.random(9) < 0.5, 20.0, 0.1, h)),
        messages.Heard(Reception(False, np.zeros(0, bool), float("nan"), float("nan"), h[:0])),
        messages.Computed(12),
        messages.LayerEnded(Aggregated(rng.random(16) < 0.1, rng.random(16) < 0.1)),
        messages.Predicted(Prediction(*rng.integers(0, 256, (2, 16), np.uint8), rng.random(16, np.float32))),
        messages.Failed("RadioError", "no radio"),
    ]
    return [ToAgent(5, 1, 7, 0, body) for body in requests] + [ToController(5, 1, 7, 0, body) for body in replies]


def same(a: object, b: object) -> bool:
    """Equal in every field, arrays in dtype, shape and bits."""
    if isinstance(a, np.ndarray) and isinstance(b, np.ndarray):
        return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
    if isinstance(a, msgspec.Struct):
        return type(a) is type(b) and all(same(getattr(a, f), getattr(b, f)) for f in a.__struct_fields__)
    if dataclasses.is_dataclass(a):
        return type(a) is type(b) and all(same(getattr(a, f.name), getattr(b, f.name)) for f in dataclasses.fields(a))
    if isinstance(a, tuple) and isinstance(b, tuple):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    return a == b or (a != a and b != b)


def test_every_message_arrives_unchanged(rng: np.random.Generator) -> None:
    sent = example_messages(rng)
    assert {type(m.body) for m in sent} == {c for c in messages.__dict__.values() if is_body(c)}
    for message in sent:
        frames = [bytes(frame) for frame in pack(message)]
        assert same(unpack(frames, type(message)), message)


def is_body(thing: object) -> bool:
    bodies = (messages.Message, messages.Hello)
    return inspect.isclass(thing) and issubclass(thing, bodies) and thing is not messages.Message


def test_every_verb_of_a_node_has_its_request() -> None:
    verbs = {name for name, member in vars(Node).items() if inspect.isfunction(member) and name[0] != "_"}
    assert verbs == {request.__name__.lower() for request in messages.Request.__args__}


@given(hnp.arrays(st.sampled_from(sorted(codec.DTYPES)), hnp.array_shapes(min_dims=0, max_dims=4, min_side=0)))
def test_arrays_arrive_bit_for_bit_and_fit_for_compiled_code(array: NDArray[np.generic]) -> None:
    frames = [bytes(frame) for frame in pack(Box(array))]
    got = unpack(frames, Box).array
    assert same(got, np.ascontiguousarray(array).reshape(array.shape))
    assert got.flags.c_contiguous
    assert got.flags.aligned
    assert got.flags.writeable
    assert got.dtype.isnative


@pytest.mark.parametrize("view", [lambda a: a[::-1], lambda a: a[:, ::2], np.transpose])
def test_arrays_of_any_layout_can_be_sent(view, rng: np.random.Generator) -> None:
    array = view(rng.standard_normal((8, 6)).astype(">f8"))
    got = unpack([bytes(frame) for frame in pack(Box(array))], Box).array
    assert np.array_equal(got, array)


def test_a_writable_frame_is_not_copied(rng: np.random.Generator) -> None:
    array = rng.standard_normal(1000).astype(np.complex64)
    header, frame = pack(Samples(array))
    buffer = bytearray(frame)
    got = unpack([header, memoryview(buffer)], Samples).array
    assert np.shares_memory(got, np.frombuffer(buffer, np.uint8))
    assert np.shares_memory(np.frombuffer(frame, np.uint8), array)


def test_an_unaligned_frame_is_copied(rng: np.random.Generator) -> None:
    array = rng.standard_normal(10).astype(np.complex64)
    header, frame = pack(Samples(array))
    got = unpack([header, memoryview(b"x" + bytes(frame))[1:]], Samples).array
    assert got.flags.aligned
    assert np.array_equal(got, array)


def header_of(*place: object) -> bytes:
    return msgspec.msgpack.encode({"array": place})


@pytest.mark.parametrize(
    ("frames", "says"),
    [
        ([], "0 frames"),
        ([b""], "not understood"),
        ([header_of(1, "complex64", (2,))], "missing"),
        ([header_of(0, "complex64", (2,)), bytes(16)], "missing"),
        ([header_of(-1, "complex64", (2,)), bytes(16)], "missing"),
        ([header_of(1, "complex64", (2,)), bytes(16), b""], "2 array frames, 1 referred to"),
        ([header_of(1, "complex64", (2,)), bytes(15)], "does not fit"),
        ([header_of(1, "complex64", (-1, -2)), bytes(16)], "impossible"),
        ([header_of(1, "complex64", (1, 1, 1, 1, 2)), bytes(16)], "impossible"),
        ([header_of(1, "complex64", (1 << 62, 1 << 62, 0)), bytes(16)], "does not fit"),
        ([header_of(1, "complex64", (1 << 62, 0)), b""], "not understood"),
        ([header_of(1, "float32", (4,)), bytes(16)], "expected complex64"),
        ([header_of(1, "object", (2,)), bytes(16)], "expected complex64"),
        ([header_of(1, "complex64"), bytes(16)], "not understood"),
        ([msgspec.msgpack.encode({"array": "x"})], "not understood"),
        ([b"\x91" * 100_000], "not understood"),
        ([bytes((1 << 20) + 1)], "header of"),
        ([header_of(1, "complex64", (2,))] + [bytes(16)] * FRAMES, "frames"),
    ],
)
def test_what_does_not_fit_is_refused(frames: list[bytes], says: str) -> None:
    with pytest.raises(LinkError, match=says):
        unpack(frames, Samples)


def test_two_fields_cannot_share_a_frame() -> None:
    header = msgspec.msgpack.encode({"lost": (1, "bool", (1,)), "fallback": (1, "bool", (1,))})
    with pytest.raises(LinkError, match="used twice"):
        unpack([header, b"\x01"], Aggregated)


def test_truth_values_are_0_or_1() -> None:
    with pytest.raises(LinkError, match="bool"):
        unpack([header_of(1, "bool", (2,)), b"\x00\x02"], Box)


@pytest.mark.parametrize(
    "unfit",
    [np.array([object()]), np.array(["text"]), np.zeros((1,) * 5), np.zeros(2, "m8[s]"), object(), {1, object()}],
)
def test_what_has_no_place_in_a_message_is_refused_at_the_sender(unfit: object) -> None:
    with pytest.raises(LinkError, match="cannot be sent"):
        pack(Box(unfit))


def test_too_long_a_header_is_refused_at_the_sender() -> None:
    with pytest.raises(LinkError, match="header of"):
        pack(messages.Welcome(0.75, 0.25, "x" * (1 << 20)))


def test_numpy_numbers_pass_for_numbers() -> None:
    assert unpack(pack(messages.OnAir(np.float32(0.5))), messages.OnAir).seconds == 0.5
    assert unpack(pack(messages.Computed(np.int64(3))), messages.Computed).count == 3


def test_a_future_hello_is_still_read() -> None:
    body = {"type": "Hello", "version": 9, "colour": "blue"}
    later = {"epoch": 0, "node": 1, "incarnation": 7, "request": 0, "body": body, "more": 1}
    got = unpack([msgspec.msgpack.encode(later)], ToController)
    assert got.body == messages.Hello(9)


def mutated(frames: list[bytes], rng: np.random.Generator) -> list[bytes]:
    """`frames` with one thing wrong."""
    frames = list(frames)
    k = int(rng.integers(len(frames)))
    frame = bytearray(frames[k])
    match rng.integers(8):
        case 0 if frame:  # flip bits
            for at in rng.integers(len(frame), size=rng.integers(1, 4)):
                frame[at] ^= 1 << int(rng.integers(8))
        case 1:  # truncate
            del frame[int(rng.integers(len(frame) + 1)) :]
        case 2:  # extend
            frame += rng.bytes(int(rng.integers(1, 9)))
        case 3:  # replace a stretch
            at = int(rng.integers(len(frame) + 1))
            frame[at : at + 4] = rng.bytes(4)
        case 4:  # insert
            at = int(rng.integers(len(frame) + 1))
            frame[at:at] = rng.bytes(int(rng.integers(1, 5)))
        case 5:  # lose a frame
            del frames[k]
            return frames
        case 6:  # repeat a frame
            return frames[: k + 1] + frames[k:]
        case 7:  # noise
            frame = bytearray(rng.bytes(int(rng.integers(200))))
    frames[k] = bytes(frame)
    return frames


@pytest.mark.parametrize("count", [10_000, pytest.param(100_000, marks=pytest.mark.long)])
def test_mutated_messages_are_read_or_refused(count: int, rng: np.random.Generator) -> None:
    """Nothing but LinkError comes out; what still passes for a message is well formed."""
    originals = [(type(m), [bytes(f) for f in pack(m)]) for m in example_messages(rng)]
    refused = 0
    for n in range(count):
        kind, frames = originals[n % len(originals)]
        try:
            got = unpack(mutated(frames, rng), kind)
        except LinkError:
            refused += 1
        else:
            assert isinstance(got, kind)
            assert same(unpack([bytes(f) for f in pack(got)], kind), got)
    assert count * 0.5 < refused < count


@given(st.lists(st.binary(max_size=300), max_size=5))
def test_noise_is_refused(frames: list[bytes]) -> None:
    for kind in (ToAgent, ToController):
        with pytest.raises(LinkError):
            unpack(frames, kind)


def test_refused_messages_leave_no_memory_behind(rng: np.random.Generator) -> None:
    import gc
    import tracemalloc

    message = [bytes(f) for f in pack(example_messages(rng)[-10])]
    noise = [mutated(message, rng) for _ in range(200)]

    def all_of_them() -> None:
        for frames in noise:
            try:
                unpack(frames, ToController)
            except LinkError:
                continue

    def held() -> int:
        """Bytes that lines of the link or of this file asked for; other threads of the process do not count."""
        gc.collect()
        ours = [tracemalloc.Filter(True, pattern) for pattern in ("*/testbed/link/*", __file__)]
        return sum(trace.size for trace in tracemalloc.take_snapshot().filter_traces(ours).traces)

    all_of_them()
    tracemalloc.start()
    all_of_them()
    before = held()
    for _ in range(10):
        all_of_them()
    after = held()
    tracemalloc.stop()
    assert after - before < 20_000


def test_nothing_is_evaluated(tmp_path: os.PathLike[str]) -> None:
    """A pickle that would run code is noise like any other."""
    import pickle

    class Bomb:
        def __reduce__(self) -> tuple[object, ...]:
            return os.mkdir, (os.fspath(tmp_path) + "/ran",)

    with pytest.raises(LinkError):
        unpack([pickle.dumps(Bomb())], ToController)
    assert not os.listdir(tmp_path)
