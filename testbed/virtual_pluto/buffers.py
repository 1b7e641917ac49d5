"""Open buffers of a virtual Pluto: the kernel's queue of received blocks, and what a client pushes.

A receive queue of N blocks fills without being asked. Once it is full the converter stalls, so the blocks that
a client reads next are old, and there is a gap behind them. By the wall clock, block k starts when the one before
it ends, or when its slot is given back, whichever is later; the latter is an overflow. By the logical clock every
queue is full whenever it is looked at, and there are no gaps: a block holds what was on the air when its slot was
given back.
"""

from __future__ import annotations

import errno
import itertools
import threading
from collections import deque
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from testbed.radio.air import FRONT_END as IMPAIRMENTS
from testbed.radio.base import Samples
from testbed.units import from_db
from testbed.virtual_pluto.description import RECEIVER, TRANSMITTER
from testbed.virtual_pluto.grammar import Refused
from testbed.virtual_pluto.kernels import Words, deliver
from testbed.virtual_pluto.segments import Segment, Tuning
from testbed.virtual_pluto.unit import OVERFLOW_BIT, UNDERFLOW_BIT, Unit, digital_loopback

LARGEST_BLOCK: Final = 1 << 26
"""Bytes, as the kernel module allows by default."""
CODES: Final = 2048
Codes = NDArray[np.int16]


def _front_end() -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Mixing of the branches and offset of every receiver on the simulated air; the phase noise is left out."""
    gain, skew = 10 ** (IMPAIRMENTS.iq_gain_db / 20), np.deg2rad(IMPAIRMENTS.iq_phase_deg)
    mix = np.array([1.0, 0.0, -gain * np.sin(skew), gain * np.cos(skew)], np.float32)
    return mix, np.array([np.real(IMPAIRMENTS.dc), np.imag(IMPAIRMENTS.dc)], np.float32)


FRONT_END: Final = _front_end()
_readers = itertools.count()


@dataclass(frozen=True, eq=False)
class Filled:
    """A block of the queue: when and how it was captured, and what was on the air.

    `loopback` is what the unit repeats to itself: None where it listens to the air, empty where it repeats nothing.
    """

    start_s: float
    tuning: Tuning
    segments: tuple[Segment, ...]
    loopback: Samples | None


class ReceiveStream:
    """An open receive buffer of `samples` a block; bit k of `mask` includes channel k (I, Q)."""

    def __init__(self, unit: Unit, samples: int, mask: int) -> None:
        self.unit = unit
        self.samples = samples
        self.mask = mask
        self._capture = unit.next_capture()
        self._reader = next(_readers)
        self._clock = unit.aether.clock
        self._queue: deque[Filled] = deque()
        seeds = np.random.SeedSequence([unit.aether.settings.seed, 1 + unit.number, self._capture])
        self._keys: Words = seeds.generate_state(4, np.uint32).astype(np.uint32)
        self._index = 0
        self._held = False
        self._prepared: bytes | None = None
        self._end_s = self._clock.now()
        self._depth = unit.kernel_buffers(RECEIVER)
        self._freed: deque[float] = deque([self._end_s] * self._depth)
        if self._clock.name == "logical":
            for _ in range(self._depth + unit.faults.stale_blocks):
                self._fill()

    @property
    def sample_bytes(self) -> int:
        """Bytes a sample: 2 for each channel."""
        return 2 * self.mask.bit_count()

    def next_block(self, stop: threading.Event) -> bytes:
        """The oldest block of the queue, after waiting for it.

        Raises:
            Refused: ETIMEDOUT where it takes longer than the context's timeout; EBADF once stopped.
        """
        if self._clock.name == "wall":
            return self._render(self._await(stop))
        if self._held:
            self._fill()
        self._held = True
        filled = self._queue.popleft()
        prepared, self._prepared = self._prepared, None
        return self._render(filled) if prepared is None else prepared

    def prepare(self) -> None:
        """Render the next block ahead, where it is settled already and the client seems to go on reading."""
        if self._queue and self._index > 1 and self._prepared is None:
            self._prepared = self._render(self._queue[0])

    def close(self) -> None:
        """Nobody reads any more."""
        self.unit.aether.reach(self._reader, None)

    def _fill(self) -> None:
        """By the logical clock: the next block captures what is on the air now."""
        with self.unit.lock:
            tuning = self.unit.tuning()
            loopback = self.unit.looped_back()
        self._queue.append(Filled(self._end_s, tuning, self.unit.aether.segments(), loopback))
        self._end_s += self.samples / tuning.rate_hz
        self.unit.aether.reach(self._reader, self._end_s)

    def _await(self, stop: threading.Event) -> Filled:
        """By the wall clock: the next block, once it is complete."""
        if self._held:
            self._freed.append(self._clock.now())
        self._held = True
        free = self._freed.popleft()
        if free > self._end_s and self._index:
            self.unit.flag(RECEIVER, OVERFLOW_BIT)
        start = max(free, self._end_s)
        tuning = self.unit.tuning_at(start)
        self._end_s = start + self.samples / tuning.rate_hz
        limit = self._clock.now() + self.unit.timeout_s
        if not self._clock.sleep_until(min(self._end_s, limit), stop):
            raise Refused(errno.EBADF)
        if self._end_s > limit:
            raise Refused(errno.ETIMEDOUT)
        return Filled(start, tuning, self.unit.aether.segments(), self.unit.looped_back())

    def _render(self, filled: Filled) -> bytes:
        self._index += 1
        if self.unit.faults.overflow_next > 0:
            self.unit.faults.overflow_next -= 1
            self.unit.flag(RECEIVER, OVERFLOW_BIT)
        codes = self._hear(filled) if filled.loopback is None else self._loop_back(filled)
        if self.mask == 0b11:
            return bytes(codes.data)
        return bytes(codes[0 if self.mask == 0b01 else 1 :: 2])

    def _hear(self, filled: Filled) -> Codes:
        """Interleaved codes (2n,) of what comes over the air."""
        unit, aether, tuning = self.unit, self.unit.aether, filled.tuning
        gain_db = 0.0 if tuning.gain_db is None else tuning.gain_db
        heard = aether.hear(unit.number, tuning, filled.segments, filled.start_s, self.samples, self._capture, gain_db)
        if tuning.gain_db is None:
            gain_db = unit.gain_for(heard, tuning)
            heard *= np.float32(10 ** (gain_db / 20))
        sigma = np.float32(np.sqrt(aether.noise_power(tuning) * float(from_db(gain_db)) / 2))
        codes = np.empty(2 * self.samples, np.int16)
        first = (self._index * self.samples) & 0xFFFFFFFF
        deliver(heard.view(np.float32), first, self._keys, sigma, *FRONT_END, np.float32(CODES), codes)
        return codes

    def _loop_back(self, filled: Filled) -> Codes:
        """What the unit itself was given, sample for sample, whether it radiates or not."""
        total = np.zeros(self.samples, np.complex64)
        if filled.loopback is not None and filled.loopback.size:
            first = round(filled.start_s * filled.tuning.rate_hz)
            total += np.take(digital_loopback(filled.loopback), np.arange(first, first + self.samples), mode="wrap")
        for segment in filled.segments:
            if segment.unit == self.unit.number and not segment.periodic:
                at = round((filled.start_s - segment.origin_s) * segment.rate_hz) + np.arange(self.samples)
                inside = (at >= 0) & (at < segment.wave.size)
                total[inside] += digital_loopback(segment.wave)[at[inside]]
        return np.asarray(np.rint(total.view(np.float32) * CODES), np.int16)


class TransmitStream:
    """An open transmit buffer of `samples` a block, played once (or repeated, when cyclic)."""

    def __init__(self, unit: Unit, samples: int, mask: int, cyclic: bool) -> None:
        self.unit = unit
        self.samples = samples
        self.mask = mask
        self.cyclic = cyclic
        self._repeating = False
        self._clock = unit.aether.clock
        self._depth = unit.kernel_buffers(TRANSMITTER)
        self._queued: deque[tuple[int, float]] = deque()
        self._last_stop_s = 0.0
        unit.opened(1)

    @property
    def sample_bytes(self) -> int:
        """Bytes a sample: 2 for each channel."""
        return 2 * self.mask.bit_count()

    def push(self, data: bytes, stop: threading.Event) -> None:
        """Send a block; waits for room in the queue.

        Raises:
            Refused: EBUSY when a repeated block is on the air already; EBADF once stopped.
        """
        wave = samples_from_codes(data, self.mask)
        if self.cyclic:
            if self._repeating:
                raise Refused(errno.EBUSY)
            self._repeating = True
            self.unit.repeat(wave)
            return
        self._make_room(stop)
        now = self._clock.now()
        if self._last_stop_s and now > self._last_stop_s and self._clock.name == "wall":
            self.unit.flag(TRANSMITTER, UNDERFLOW_BIT)
        not_before = max(self._last_stop_s, self.unit.aether.frontier_s() if self._clock.name == "logical" else 0.0)
        serial, _, self._last_stop_s = self.unit.play(wave, not_before)
        self._queued.append((serial, self._last_stop_s))

    def close(self) -> None:
        """The client is gone: by the wall clock what is queued is lost, by the logical clock it plays out."""
        if self._repeating:
            self.unit.end_repeat()
        for serial, _ in self._queued:
            self.unit.aether.end(self.unit.number, serial)
        self.unit.opened(-1)

    def _make_room(self, stop: threading.Event) -> None:
        while len(self._queued) >= self._depth:
            _, earliest = self._queued.popleft()
            if not self._clock.sleep_until(earliest, stop):
                raise Refused(errno.EBADF)
            self._clock.advance_to(earliest)


Stream = ReceiveStream | TransmitStream


def samples_from_codes(data: bytes, mask: int) -> Samples:
    """Complex samples of full scale 1.0 from interleaved 16-bit codes, of which the upper 12 bits count."""
    codes = np.frombuffer(data[: len(data) // 2 * 2], "<i2")
    upper = np.asarray((codes >> 4) << 4, np.float32) / np.float32(32768)
    if mask == 0b11:
        return np.ascontiguousarray(upper[: upper.size // 2 * 2]).view(np.complex64)
    return np.asarray(upper * (1 if mask == 0b01 else 1j), np.complex64)


def open_stream(unit: Unit, device: str, samples: int, mask: int, cyclic: bool) -> Stream:
    """A new buffer of a converter.

    Raises:
        Refused: EINVAL for an impossible size; ENOMEM for one beyond what the kernel gives.
    """
    if samples < 1 or not 0 < mask <= 0b11:
        raise Refused(errno.EINVAL)
    if samples * 2 * mask.bit_count() > LARGEST_BLOCK:
        raise Refused(errno.ENOMEM)
    if device == RECEIVER:
        if cyclic:
            raise Refused(errno.EPERM)
        return ReceiveStream(unit, samples, mask)
    return TransmitStream(unit, samples, mask, cyclic)
