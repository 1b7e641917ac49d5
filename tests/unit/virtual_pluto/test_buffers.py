"""Open buffers: old blocks in the queue, lost samples, blocks in a row, loopback."""

from __future__ import annotations

import errno
import threading

import numpy as np
import pytest

from testbed.virtual_pluto.aether import Aether
from testbed.virtual_pluto.buffers import ReceiveStream, TransmitStream, open_stream, samples_from_codes
from testbed.virtual_pluto.description import RECEIVER, TRANSMITTER
from testbed.virtual_pluto.grammar import Refused
from testbed.virtual_pluto.state import Identity
from testbed.virtual_pluto.unit import Unit
from tests.unit.virtual_pluto.test_aether import HandClock
from tests.unit.virtual_pluto.wires import air, units

RATE = 4_000_000
BLOCK = 1000
GO = threading.Event()


def codes(block: bytes) -> np.ndarray:
    return np.frombuffer(block, "<i2").astype(np.float32).view(np.complex64)


def amplitude(block: bytes, cycles: int) -> float:
    samples = codes(block)
    return float(np.abs(np.fft.fft(samples))[cycles] / samples.size)


def tone_bytes(cycles: int, amplitude_codes: int = 16_000, count: int = BLOCK) -> bytes:
    wave = amplitude_codes * np.exp(2j * np.pi * cycles * np.arange(count) / count)
    return np.rint(wave.astype(np.complex64).view(np.float32)).astype("<i2").tobytes()


@pytest.mark.parametrize("depth", [1, 2, 4])
def test_a_full_queue_is_read_before_what_is_on_the_air_now(depth: int) -> None:
    one, other = units(2)
    other.state.buffers[RECEIVER] = depth
    stream = ReceiveStream(other, BLOCK, 0b11)
    stream.next_block(GO)
    one.repeat(samples_from_codes(tone_bytes(100), 0b11))
    heard = [amplitude(stream.next_block(GO), 100) > 20 for _ in range(depth + 2)]
    assert heard == [False] * (depth - 1) + [True] * 3


def test_more_stale_blocks_may_be_asked_for() -> None:
    one, other = units(2)
    other.faults.stale_blocks = 3
    stream = ReceiveStream(other, BLOCK, 0b11)
    stream.next_block(GO)
    one.repeat(samples_from_codes(tone_bytes(100), 0b11))
    heard = [amplitude(stream.next_block(GO), 100) > 20 for _ in range(8)]
    assert heard == [False] * 6 + [True] * 2


def test_a_stream_goes_on_where_the_block_before_ended() -> None:
    one, other = units(2)
    one.repeat(samples_from_codes(tone_bytes(10), 0b11))
    stream = ReceiveStream(other, 317, 0b11)
    together = np.concatenate([codes(stream.next_block(GO)) for _ in range(40)])[:12_000]
    spectrum = np.abs(np.fft.fft(together))
    spectrum[0] = 0.0  # the receiver's own offset
    assert int(spectrum.argmax()) == 120
    assert np.sort(spectrum)[-2] < 0.05 * spectrum.max()


def test_rendering_ahead_changes_nothing() -> None:
    def run(ahead: bool) -> list[bytes]:
        one, other = units(2)
        one.repeat(samples_from_codes(tone_bytes(10), 0b11))
        stream = ReceiveStream(other, BLOCK, 0b11)
        blocks = []
        for _ in range(6):
            blocks.append(stream.next_block(GO))
            if ahead:
                stream.prepare()
        return blocks

    assert run(ahead=True) == run(ahead=False)


def test_one_channel_is_half_of_two() -> None:
    both, single = (ReceiveStream(units(2)[1], BLOCK, mask).next_block(GO) for mask in (0b11, 0b10))
    np.testing.assert_array_equal(np.frombuffer(both, "<i2")[1::2], np.frombuffer(single, "<i2"))


def test_strong_signals_clip_at_twelve_bits() -> None:
    one, other = units(2, path_gain_db=((0, 0.0), (0.0, 0)))
    one.repeat(samples_from_codes(tone_bytes(3, 32_000), 0b11))
    block = np.frombuffer(ReceiveStream(other, BLOCK, 0b11).next_block(GO), "<i2")
    assert (block.min(), block.max()) == (-2048, 2047)


@pytest.mark.parametrize(("path_db", "gain"), [(-50.0, 38), (-80.0, 68), (-130.0, 71)])
def test_automatic_gain_aims_below_full_scale(path_db: float, gain: float) -> None:
    one, other = units(2, path_gain_db=((0, path_db), (path_db, 0)), profile="TDL-E")
    other.state.gain_mode = "slow_attack"
    one.state.attenuation_mdb = 0
    one.repeat(samples_from_codes(np.full(2 * BLOCK, 16_384, "<i2").tobytes(), 0b11))
    block = codes(ReceiveStream(other, BLOCK, 0b11).next_block(GO)) / 2048
    assert other.gain_db() == pytest.approx(gain, abs=5)
    if gain < 71:
        assert 10 * np.log10(np.mean(np.abs(block) ** 2)) == pytest.approx(-12, abs=1)


def test_digital_loopback_is_exact() -> None:
    (unit,) = units(1)
    unit.state.loopback = 1
    sent = np.arange(-1000, 1000, dtype="<i2") * 16
    transmit = TransmitStream(unit, 1000, 0b11, cyclic=True)
    transmit.push(sent.tobytes(), GO)
    received = np.frombuffer(ReceiveStream(unit, 1000, 0b11).next_block(GO), "<i2")
    np.testing.assert_array_equal(received, sent // 16)


def test_a_cyclic_buffer_takes_one_block() -> None:
    (unit,) = units(1)
    transmit = TransmitStream(unit, BLOCK, 0b11, cyclic=True)
    transmit.push(tone_bytes(1), GO)
    with pytest.raises(Refused) as refused:
        transmit.push(tone_bytes(1), GO)
    assert refused.value.code == errno.EBUSY
    assert unit.aether.on_air() == (0,)
    transmit.close()
    assert unit.aether.on_air() == ()


def test_blocks_play_one_after_the_other_without_anybody_reading() -> None:
    (unit,) = units(1)
    transmit = TransmitStream(unit, BLOCK, 0b11, cyclic=False)
    for _ in range(10):
        transmit.push(tone_bytes(1), GO)
    assert unit.aether.clock.now() == pytest.approx(6 * BLOCK / RATE)
    transmit.close()
    assert unit.aether.clock.now() == pytest.approx(10 * BLOCK / RATE)
    assert unit.aether.on_air() == ()


def test_what_is_pushed_is_heard_once_by_who_reads_on() -> None:
    one, other = units(2)
    stream = ReceiveStream(other, BLOCK, 0b11)
    transmit = TransmitStream(one, BLOCK, 0b11, cyclic=False)
    for _ in range(3):
        transmit.push(tone_bytes(100), GO)
    heard = [amplitude(stream.next_block(GO), 100) > 20 for _ in range(9)]
    assert heard == [False] * 4 + [True] * 3 + [False] * 2


def by_the_wall(count: int) -> tuple[list[Unit], HandClock]:
    clock = HandClock()
    aether = Aether(air(count), clock)
    made = [Unit(k, aether, Identity(serial=str(k))) for k in range(count)]
    for unit in made:
        unit.state.rate_hz, unit.state.gain_mode, unit.state.receive_gain_db = RATE, "manual", 40
    return made, clock


def test_by_the_wall_clock_a_slow_reader_gets_old_blocks_then_a_gap_that_is_flagged() -> None:
    (unit,), clock = by_the_wall(1)
    stream = ReceiveStream(unit, BLOCK, 0b11)
    length = BLOCK / RATE
    for _ in range(4):
        stream.next_block(GO)
    assert clock.moment == pytest.approx(4 * length)
    assert unit.state.status.get(RECEIVER, 0) & 4 == 0
    clock.moment += 10 * length
    before = clock.moment
    for _ in range(3):
        stream.next_block(GO)
    assert clock.moment == before  # blocks that were waiting
    stream.next_block(GO)
    stream.next_block(GO)
    assert unit.state.status[RECEIVER] & 4
    assert clock.moment > before


def test_by_the_wall_clock_a_read_that_takes_too_long_times_out() -> None:
    (unit,), _ = by_the_wall(1)
    unit.timeout_s = 0.5
    with pytest.raises(Refused) as refused:
        ReceiveStream(unit, RATE, 0b11).next_block(GO)
    assert refused.value.code == errno.ETIMEDOUT


def test_by_the_wall_clock_pushing_waits_for_room_and_a_dry_queue_is_flagged() -> None:
    (unit,), clock = by_the_wall(1)
    length = BLOCK / RATE
    transmit = TransmitStream(unit, BLOCK, 0b11, cyclic=False)
    for _ in range(4):
        transmit.push(tone_bytes(1), GO)
    assert clock.moment == 0
    transmit.push(tone_bytes(1), GO)
    assert clock.moment == pytest.approx(length)
    assert unit.state.status.get(TRANSMITTER, 0) & 1 == 0
    clock.moment += 20 * length
    transmit.push(tone_bytes(1), GO)
    assert unit.state.status[TRANSMITTER] & 1


@pytest.mark.parametrize(
    ("device", "samples", "mask", "cyclic", "code"),
    [
        (RECEIVER, 0, 3, False, errno.EINVAL),
        (RECEIVER, -5, 3, False, errno.EINVAL),
        (RECEIVER, 16, 0, False, errno.EINVAL),
        (RECEIVER, 16, 4, False, errno.EINVAL),
        (RECEIVER, 1 << 25, 3, False, errno.ENOMEM),
        (RECEIVER, 16, 3, True, errno.EPERM),
        (TRANSMITTER, 1 << 40, 1, True, errno.ENOMEM),
    ],
)
def test_impossible_buffers_are_refused(device: str, samples: int, mask: int, cyclic: bool, code: int) -> None:
    with pytest.raises(Refused) as refused:
        open_stream(units(1)[0], device, samples, mask, cyclic)
    assert refused.value.code == code
