"""The AD936x filter file (`.ftr`): a value for what it holds, its rules, and writing and reading it.

    file   = { comment } header header { rates } taps { empty line }
    header = "TX" channels "GAIN" dB "INT" factor  |  "RX" channels "GAIN" dB "DEC" factor     in either order
    rates  = "RTX" or "RRX" and six rates, "BWTX" or "BWRX" and one bandwidth, in Hz
    taps   = lines of "tx,rx", or of one number for both

The driver is lenient where it hurts: a line between the two headers loses the transmit filter without an error, a
blank before the comma loses the receive tap, values beyond 16 bits are cut, more than 128 taps overflow its stack, and
without both rate lines the old rate stays. What is refused here is what some version of it gets wrong.

Source: `ad9361_parse_fir` and `ad9361_validate_enable_fir` of the Linux driver; UG-570, "Filter guide".
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final

from testbed.errors import FirmwareError

MAX_BYTES: Final = 4096  # of a sysfs attribute
TAP_COUNTS: Final = range(16, 129, 16)
FACTORS: Final = (1, 2, 4)
GAINS_DB: Final = {"TX": (0, -6), "RX": (0, -6, -12, 6)}
BANDWIDTH_HZ: Final = {"TX": (200_000, 40_000_000), "RX": (200_000, 56_000_000)}
BBPLL_HZ: Final = (715_000_000, 1_430_000_000)
ADC_HZ: Final = (25_000_000, 640_000_000)
DAC_HZ: Final = (25_000_000, 320_000_000)
# Ratios of neighbouring rates: PLL to converter, half-band 3 (or third-band), half-bands 2 and 1.
_STEPS: Final = ((1, 2, 4, 8, 16, 32, 64), (1, 2, 3), (1, 2), (1, 2))


@dataclass(frozen=True)
class Side:
    """The filter of one direction.

    Attributes:
        taps: 16-bit coefficients; 16, 32 … 128 of them.
        gain_db: of the stage after the filter: 0 or −6 to transmit; −12, −6, 0 or 6 to receive.
        factor: interpolation to transmit, decimation to receive: 1, 2 or 4.
        channels: 1, 2 or 3 (both).
        rates_hz: PLL, converter, after half-band 3, 2 and 1 (the rate of the filter), and samples; or none.
        bandwidth_hz: of the analogue filter, or none.
    """

    taps: tuple[int, ...]
    gain_db: int
    factor: int
    channels: int = 3
    rates_hz: tuple[int, ...] | None = None
    bandwidth_hz: int | None = None


@dataclass(frozen=True)
class Filter:
    """A transmit and a receive filter that are loaded together; FirmwareError when the device would refuse them."""

    transmit: Side
    receive: Side
    comments: tuple[str, ...] = field(default=(), compare=False)

    def __post_init__(self) -> None:
        _check_side("TX", self.transmit)
        _check_side("RX", self.receive)
        _check_pair(self.transmit, self.receive)


def render_filter(design: Filter) -> str:
    """The text of a `.ftr` file; `parse_filter` reads it back.

    Raises:
        FirmwareError: a comment that is not one line of ASCII, or more than 4096 bytes.
    """
    tx, rx = design.transmit, design.receive
    lines = [f"# {comment}" for comment in design.comments]
    lines += [
        f"TX {tx.channels} GAIN {tx.gain_db} INT {tx.factor}",
        f"RX {rx.channels} GAIN {rx.gain_db} DEC {rx.factor}",
    ]
    for kind, side in (("TX", tx), ("RX", rx)):
        lines += [f"R{kind} {' '.join(map(str, side.rates_hz))}"] if side.rates_hz else []
    for kind, side in (("TX", tx), ("RX", rx)):
        lines += [f"BW{kind} {side.bandwidth_hz}"] if side.bandwidth_hz is not None else []
    lines += [f"{a},{b}" for a, b in zip(tx.taps, rx.taps, strict=True)]
    if not all(re.fullmatch(r"[ -~]*", line) for line in lines):
        raise FirmwareError("comments of a filter must be lines of printable ASCII")
    return _checked_size("".join(f"{line}\n" for line in lines))


def parse_filter(text: str) -> Filter:
    """The filter in the text of a `.ftr` file; lines may end in LF or CR LF.

    Raises:
        FirmwareError: a line that the grammar does not know, a header missing, repeated or apart from the
            other, a number out of range, rates that do not fit, too many bytes; with the line's number.
    """
    lines = _Lines(_checked_size(text))
    comments = lines.comments()
    headers = lines.headers()
    rates, bandwidths = lines.rates()
    transmit, receive = lines.taps()
    sides = {
        kind: Side(taps, *headers[kind], rates.get(kind), bandwidths.get(kind))
        for kind, taps in (("TX", transmit), ("RX", receive))
    }
    return Filter(sides["TX"], sides["RX"], comments)


class _Lines:
    """The lines of a file, taken from the top."""

    def __init__(self, text: str) -> None:
        self.lines = [line.removesuffix("\r") for line in text.split("\n")]
        while self.lines and not self.lines[-1]:
            self.lines.pop()
        self.at = 0

    def match(self, pattern: str) -> re.Match[str] | None:
        """The next line, taken if all of it matches."""
        line = self.lines[self.at] if self.at < len(self.lines) else ""
        match = re.fullmatch(pattern, line, re.ASCII)
        self.at += match is not None
        return match

    def refuse(self, expected: str) -> FirmwareError:
        line = repr(self.lines[self.at][:60]) if self.at < len(self.lines) else "the end of the file"
        return FirmwareError(f"line {self.at + 1}: {line} where {expected} is expected")

    def comments(self) -> tuple[str, ...]:
        found = []
        while match := self.match(r"#(.*)"):
            found.append(match[1].strip())
        return tuple(found)

    def headers(self) -> dict[str, tuple[int, int, int]]:
        """(gain, factor, channels) of TX and RX."""
        found: dict[str, tuple[int, int, int]] = {}
        while len(found) < 2:
            header = self.match(r"(TX|RX)[ \t]+(\d+)[ \t]+GAIN[ \t]+(-?\d+)[ \t]+(INT|DEC)[ \t]+(\d+)[ \t]*")
            if not header or (header[1] == "TX") != (header[4] == "INT") or header[1] in found:
                self.at -= header is not None
                missing = [kind for kind in ("TX … INT", "RX … DEC") if kind[:2] not in found]
                raise self.refuse(f"the header {' or '.join(missing)} (both, one right after the other)")
            found[header[1]] = (int(header[3]), int(header[5]), int(header[2]))
        return found

    def rates(self) -> tuple[dict[str, tuple[int, ...]], dict[str, int]]:
        """Rates and bandwidths of TX and RX, where given."""
        rates: dict[str, tuple[int, ...]] = {}
        bandwidths: dict[str, int] = {}
        while line := self.match(r"(?:R(TX|RX)((?:[ \t]+\d+){6})|BW(TX|RX)[ \t]+(\d+))[ \t]*"):
            if (line[1] or line[3]) in (rates if line[1] else bandwidths):
                self.at -= 1
                raise self.refuse("a line that is not there already")
            if line[1]:
                rates[line[1]] = tuple(map(int, line[2].split()))
            else:
                bandwidths[line[3]] = int(line[4])
        return rates, bandwidths

    def taps(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        transmit, receive = [], []
        while line := self.match(r"[ \t]*(-?\d{1,9})(?:,[ \t]*(-?\d{1,9}))?[ \t]*"):
            transmit.append(int(line[1]))
            receive.append(int(line[2] or line[1]))
        if self.at < len(self.lines):
            raise self.refuse("a tap")
        return tuple(transmit), tuple(receive)


def _checked_size(text: str) -> str:
    size = len(text.encode())
    if size > MAX_BYTES:
        raise FirmwareError(f"the filter has {size} bytes; the driver reads {MAX_BYTES} at most: shorten comments")
    return text


def _check_side(kind: str, side: Side) -> None:
    _check_choice(f"number of {kind} taps", len(side.taps), TAP_COUNTS)
    _check_choice(f"{kind} GAIN", side.gain_db, GAINS_DB[kind])
    _check_choice(f"{kind} {'INT' if kind == 'TX' else 'DEC'}", side.factor, FACTORS)
    _check_choice(f"{kind} channels", side.channels, (1, 2, 3))
    wrong = [tap for tap in side.taps if not -32768 <= tap <= 32767]
    if wrong:
        raise FirmwareError(f"{kind} tap {wrong[0]} does not fit 16 bits: scale the filter down")
    if side.bandwidth_hz is not None:
        _check_range(f"BW{kind}", side.bandwidth_hz, BANDWIDTH_HZ[kind])
    if side.rates_hz is not None:
        _check_rates(kind, side, side.rates_hz)


def _check_rates(kind: str, side: Side, rates: tuple[int, ...]) -> None:
    if len(rates) != 6:
        raise FirmwareError(f"R{kind} has {len(rates)} rates; it takes 6")
    _check_range(f"R{kind} PLL", rates[0], BBPLL_HZ)
    _check_range(f"R{kind} converter", rates[1], DAC_HZ if kind == "TX" else ADC_HZ)
    steps = (*_STEPS, (side.factor,))
    for (fast, slow), allowed in zip(pairwise(rates), steps, strict=True):
        if not any(abs(fast - ratio * slow) <= ratio for ratio in allowed):
            raise FirmwareError(f"R{kind}: {fast} to {slow} is not a ratio of {' or '.join(map(str, allowed))}")


def _check_pair(transmit: Side, receive: Side) -> None:
    if len(transmit.taps) != len(receive.taps):
        raise FirmwareError(f"{len(transmit.taps)} TX taps and {len(receive.taps)} RX taps: a file holds equally many")
    if transmit.factor == 1 and len(transmit.taps) > 64:
        raise FirmwareError(f"{len(transmit.taps)} TX taps with INT 1: the device has room for 64 then")
    if (transmit.rates_hz is None) != (receive.rates_hz is None):
        raise FirmwareError("RTX and RRX count together only: give both, or none")
    if transmit.rates_hz and receive.rates_hz:
        _check_rates_together(transmit.rates_hz, receive.rates_hz, len(transmit.taps))


def _check_rates_together(tx: tuple[int, ...], rx: tuple[int, ...], taps: int) -> None:
    if tx[0] != rx[0] or tx[5] != rx[5]:
        raise FirmwareError(
            f"RTX and RRX must share PLL and sample rate; they are {tx[0]}, {tx[5]} and {rx[0]}, {rx[5]}"
        )
    if not any(abs(rx[1] - ratio * tx[1]) <= ratio for ratio in (1, 2)):
        raise FirmwareError(f"the DAC at {tx[1]} Hz must run at the rate of the ADC, {rx[1]} Hz, or half of it")
    # The filter does 16 taps a clock; the clock may be half the ADC's.
    room = 16 * min(tx[1] // tx[5], rx[1] // 2 // rx[5])
    if taps > room:
        raise FirmwareError(f"{taps} taps, but at these rates the device computes {room} a sample: use fewer taps")


def _check_choice(name: str, value: int, allowed: tuple[int, ...] | range) -> None:
    if value not in allowed:
        raise FirmwareError(f"{name} = {value} must be one of {', '.join(map(str, allowed))}")


def _check_range(name: str, value: int, limits: tuple[int, int]) -> None:
    if not limits[0] <= value <= limits[1]:
        raise FirmwareError(f"{name} = {value} must be from {limits[0]} to {limits[1]} Hz")
