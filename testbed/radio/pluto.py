"""An ADALM-PLUTO, through pyadi-iio and libiio.

At the door samples are complex64 with full scale 1.0; inside they are 16-bit codes, of which the converters use
12: the upper ones on the way out, the lower ones on the way in. A capture is one block of the receiver's memory,
opened when it is asked for: no sample of it is from before, and none can be missing inside of it.

Left out: the second channel of later revisions, and captures beyond one block (16.7 million samples).
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from types import TracebackType
from typing import Any, Final, Self

import numpy as np

from testbed.errors import RadioError
from testbed.radio import pluto_steps as steps
from testbed.radio.base import Capture, RadioSettings, Samples, checked_samples
from testbed.radio.guard import NOTHING, TransmitPermit, check_transmit
from testbed.radio.pluto_attributes import Attributes, failing
from testbed.radio.pluto_connect import CALL_TIMEOUT_S, connect, libraries, resolve
from testbed.radio.pluto_steps import PlutoOptions
from testbed.radio.quiet import keep_quiet, let_go

LARGEST_BLOCK: Final = (1 << 24) - 4096
"""Samples; the kernel module gives 64 MiB."""
SLOWEST_TRANSFER: Final = 1e6
"""Samples a second over a bad USB 2 link."""
SHORT_WAIT_S: Final = 0.2
TRANSMIT_CODES: Final = 32767
RECEIVE_CODES: Final = 2048
STATUS_REGISTER: Final = 0x80000088
OVERFLOW_BIT: Final = 4


def silence_context(context: Any) -> None:  # noqa: ANN401
    """Tone generators to zero, gain to its least, oscillator off; for a unit whose buffers are gone.

    Raises:
        RadioError: it did not work.
    """
    Attributes(context).carry_out((*steps.mute_steps(), steps.power_step(off=True)))


@contextlib.contextmanager
def _patience(context: Any, seconds: float) -> Iterator[None]:  # noqa: ANN401
    """Answers may take so much longer for a while; afterwards a unit that hangs is noticed as soon as before."""
    context.set_timeout(round(1000 * (CALL_TIMEOUT_S + seconds)))
    try:
        yield
    finally:
        with contextlib.suppress(OSError):  # a broken connection is told by what was asked of it
            context.set_timeout(round(1000 * CALL_TIMEOUT_S))


def make_quiet(address: str) -> None:
    """Silence a unit whose program is gone.

    Raises:
        RadioError: it does not answer: switch it off by hand.
    """
    silence_context(connect(resolve(address)))


class PlutoRadio:
    """A Pluto behind the `Radio` verbs; silent from the moment it is opened.

    Args:
        address: as `testbed.radio.pluto_connect.resolve` takes it.
        permit: what it may transmit; by default nothing.
        options: filter, crystal correction, gain mode, tracking.

    Raises:
        RadioError: libraries are missing, or the unit does not answer or is none.
    """

    def __init__(self, address: str, permit: TransmitPermit = NOTHING, options: PlutoOptions | None = None) -> None:
        self._address = address
        self._permit = permit
        self._options = options or PlutoOptions()
        self._uri = resolve(address)
        self._settings: RadioSettings | None = None
        self._lock = threading.RLock()
        self._curfew: threading.Timer | None = None
        self._sdr: Any = None
        self._known: Attributes | None = None
        self._closed = False
        self._reconnected = False
        self._connect()
        keep_quiet(self)
        try:
            self.silence()
            self.overflow_detection = self._clears()
        except BaseException:
            self.close()
            raise

    @property
    def address(self) -> str:
        """As it was opened."""
        return self._address

    @property
    def settings(self) -> RadioSettings | None:
        """In force, None before the first `configure`."""
        return self._settings

    @property
    def serial(self) -> str:
        """Of the unit, empty where it tells none."""
        return str(self._sdr.ctx.attrs.get("hw_serial", "")) if self._sdr is not None else ""

    def xo_correction_hz(self) -> int:
        """What the transceiver takes its crystal for.

        Raises:
            RadioError: the unit failed, or was closed.
        """
        return int(self._attributes.read(steps.phy("", False, "xo_correction", "")))

    def configure(self, settings: RadioSettings) -> None:
        """Silence, tune, read back; on a mismatch it stays silent and counts as never tuned.

        Raises:
            RadioError: the unit refuses a value or does not take it.
        """
        with self._lock:
            order = steps.configure_steps(settings, self._options)
            self._settings = None
            self.silence()
            self._attributes.carry_out(order)
            self._settings, self._reconnected = settings, False

    def transmit(self, samples: Samples) -> None:
        """Repeat `samples` (n,) until silenced, or until the permit's longest airtime is over.

        Raises:
            TransmitRefused: the permit does not cover it; nothing was touched.
            RadioError: impossible samples, never tuned, or the unit failed; it was silenced then.
        """
        wave = checked_samples(samples)
        settings = self._tuned()
        check_transmit(self._permit, settings)
        times = 1 + wave.size % 2  # blocks are even
        if times * wave.size > LARGEST_BLOCK:
            raise RadioError(f"{wave.size} samples exceed the {LARGEST_BLOCK // times} of a Pluto's memory: send fewer")
        codes = np.rint(wave * np.float32(TRANSMIT_CODES))
        with self._lock, self._silent_on_failure():
            self.silence()
            self._tune_again()
            self._live.tx_cyclic_buffer = True
            with failing(f"{self._uri}: transmit"), _patience(self._live.ctx, times * wave.size / SLOWEST_TRANSFER):
                self._live.tx(np.tile(codes, times))
            self._attributes.carry_out((steps.power_step(off=False), steps.gain_step(settings.transmit_gain_db)))
            self._curfew = threading.Timer(self._permit.longest_airtime_s, self._end_airtime)
            self._curfew.daemon = True
            self._curfew.start()

    def silence(self) -> None:
        """Mute, drop the buffer, switch the oscillator off; over a second connection where the first one fails.

        Raises:
            RadioError: neither worked: the unit may be on the air.
        """
        with self._lock:
            if self._curfew is not None:
                self._curfew.cancel()
                self._curfew = None
            try:
                self._attributes.carry_out(steps.mute_steps())
                self._live.tx_destroy_buffer()
                self._attributes.carry_out((steps.power_step(off=True),))
            except RadioError:
                self._reconnected = True
                self._connect()
                silence_context(self._live.ctx)

    def _end_airtime(self) -> None:
        """Silence, over a connection of its own while a long capture keeps the radio's; on USB there is but one."""
        if not self._lock.acquire(timeout=SHORT_WAIT_S):
            with contextlib.suppress(RadioError):
                silence_context(connect(self._uri))
            self._lock.acquire()
        try:
            if self._curfew is threading.current_thread():  # else another transmission has begun since
                self.silence()
        finally:
            self._lock.release()

    def receive(self, count: int) -> Capture:
        """The next `count` samples, in one block that begins after this call.

        Raises:
            RadioError: count out of range, never tuned, or the unit failed.
        """
        if count < 1:
            raise RadioError(f"count = {count} must be at least 1")
        settings = self._tuned()
        drop = self._options.settle_samples
        if count + drop > LARGEST_BLOCK:
            raise RadioError(f"count = {count} exceeds {LARGEST_BLOCK - drop}: capture in parts")
        with self._lock:
            self._tune_again()
            started = time.monotonic()
            codes, overflow = self._block(count + drop, settings)
            gain_db = self._gain_db(settings)
        samples = np.asarray(codes[drop:] / RECEIVE_CODES, np.complex64)
        start_s = started + drop / settings.sample_rate_hz
        return Capture(samples, settings.sample_rate_hz, settings.centre_hz, gain_db, start_s, overflow)

    def digital_loopback(self, samples: Samples) -> Samples:
        """`samples` (n,) back from inside the transceiver, rotated; nothing is radiated.

        Raises:
            RadioError: never tuned, or the unit failed.
        """
        wave = checked_samples(samples)
        settings = self._tuned()
        with self._lock, self._silent_on_failure(), failing(f"{self._uri}: loopback"):
            self.silence()
            self._tune_again()
            switch = self._live.ctx.find_device(steps.PHY).debug_attrs["loopback"]
            switch.value = "1"
            try:
                self._live.tx_cyclic_buffer = True
                self._live.tx(np.rint(wave * np.float32(TRANSMIT_CODES + 1)))
                codes, _ = self._block(2 * wave.size, settings)
            finally:
                self._live.tx_destroy_buffer()
                switch.value = "0"
        return np.asarray(codes[wave.size :] / RECEIVE_CODES, np.complex64)

    def close(self) -> None:
        """Off the air and let go; never raises, and may be called again."""
        with self._lock:
            if self._closed:
                return
            with contextlib.suppress(RadioError):
                self.silence()
            self._closed = True
            self._drop()
            let_go(self)

    def __enter__(self) -> Self:
        """The radio itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Silence the radio and let it go."""
        self.close()

    @property
    def _attributes(self) -> Attributes:
        if self._known is None:
            raise RadioError(self._gone())
        return self._known

    @property
    def _live(self) -> Any:  # noqa: ANN401
        if self._sdr is None:
            raise RadioError(self._gone())
        return self._sdr

    def _gone(self) -> str:
        what = "is closed: open it again" if self._closed else "does not answer any more: check cable and power"
        return f"{self._address} {what}"

    def _connect(self) -> None:
        """Connect, or connect anew."""
        self._drop()
        if self._closed:
            raise RadioError(self._gone())
        adi, _ = libraries()
        context = connect(self._uri)
        with failing(self._uri):
            self._sdr = adi.Pluto(uri_ctx=context)
        self._known = Attributes(context)

    def _drop(self) -> None:
        """Buffers go before their context: the other way round the interpreter crashes when it ends."""
        if self._sdr is not None:
            self._sdr.rx_destroy_buffer()
            self._sdr.tx_destroy_buffer()
        self._sdr = self._known = None

    def _tune_again(self) -> None:
        """A unit that was lost and is back may have been restarted: it is what its firmware starts with."""
        settings = self._tuned()
        if not self._reconnected:
            return
        try:
            self.configure(settings)
        except RadioError:
            self._settings, self._reconnected = settings, True  # and again before the next use
            raise

    def _tuned(self) -> RadioSettings:
        if self._settings is None:
            raise RadioError(f"{self._address} was never tuned: call configure first")
        return self._settings

    @contextlib.contextmanager
    def _silent_on_failure(self) -> Iterator[None]:
        try:
            yield
        except BaseException:
            with contextlib.suppress(RadioError):
                self.silence()
            raise

    def _block(self, count: int, settings: RadioSettings) -> tuple[Any, bool]:
        """One block of `count` samples as complex codes, and whether the converter lost any."""
        seconds = count / settings.sample_rate_hz
        sdr = self._live
        receiver = sdr.ctx.find_device(steps.RECEIVER)
        with failing(f"{self._uri}: receive"), _patience(sdr.ctx, 2 * seconds):  # the unit itself gets half of it
            receiver.set_kernel_buffers_count(1)
            receiver.reg_write(STATUS_REGISTER, OVERFLOW_BIT)
            sdr.rx_buffer_size = count
            try:
                codes = sdr.rx()
            finally:
                sdr.rx_destroy_buffer()
            lost = bool(receiver.reg_read(STATUS_REGISTER) & OVERFLOW_BIT)
        return codes, lost and self.overflow_detection

    def _gain_db(self, settings: RadioSettings) -> float:
        """In force: as set, or as the unit found it."""
        if self._options.gain_mode == "manual":
            return float(steps.receive_gain_db(settings))
        return float(self._attributes.read(steps.phy("voltage0", False, "hardwaregain", "")).split()[0])

    def _clears(self) -> bool:
        """Whether the overflow bit can be cleared: where it cannot, it tells nothing."""
        receiver = self._live.ctx.find_device(steps.RECEIVER)
        with failing(f"{self._uri}: status register"):
            receiver.reg_write(STATUS_REGISTER, OVERFLOW_BIT)
            return not receiver.reg_read(STATUS_REGISTER) & OVERFLOW_BIT
