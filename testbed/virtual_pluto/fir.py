"""The FIR filter text of the AD936x (`filter_fir_config`), as the Linux driver reads it.

RX 3 GAIN -6 DEC 4        mask, gain in dB, decimation; TX likewise with INT; the two lines adjacent
TX 3 GAIN 0 INT 4
RTX bbpll dac t2 t1 tf txsamp, RRX …, BWTX hz, BWRX hz      optional
-15,-15                    one line a tap: transmit, receive; or one number for both
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass
from typing import Final

LARGEST_BYTES: Final = 4096
TAP_COUNTS: Final = range(16, 129, 16)

HEADERS: Final = re.compile(
    r"(?:TX ([123]) GAIN (0|-6) INT ([124])\nRX ([123]) GAIN (-12|-6|0|6) DEC ([124])\n"
    r"|RX ([123]) GAIN (-12|-6|0|6) DEC ([124])\nTX ([123]) GAIN (0|-6) INT ([124])\n)"
)
RATES: Final = re.compile(r"R([TR])X((?: \d+){6})\s*")
BANDWIDTH: Final = re.compile(r"BW([TR])X (\d+)\s*")
TAPS: Final = re.compile(r"\s*([+-]?\d+)\s*(?:,\s*([+-]?\d+)\s*)?")


@dataclass(frozen=True)
class Fir:
    """A pair of filters as loaded.

    Attributes:
        transmit, receive: taps as int16 values, equally many.
        interpolation, decimation: 1, 2 or 4.
        receive_gain_db: what the receive filter's output is scaled by.
        path_rates_hz: (transmit, receive) rates the file asks for, each from the PLL down to the samples; None when
            it leaves them alone.
        bandwidths_hz: analogue (transmit, receive) bandwidth it asks for.
    """

    transmit: tuple[int, ...]
    receive: tuple[int, ...]
    interpolation: int
    decimation: int
    receive_gain_db: int
    path_rates_hz: tuple[tuple[int, ...], tuple[int, ...]] | None = None
    bandwidths_hz: tuple[int | None, int | None] = (None, None)

    @property
    def sample_rate_hz(self) -> int | None:
        """Rate that the file asks for."""
        return self.path_rates_hz[1][-1] if self.path_rates_hz else None

    def summary(self) -> str:
        """What reading the attribute gives."""
        return f"FIR Rx: {len(self.receive)},{self.decimation} Tx: {len(self.transmit)},{self.interpolation}"


@functools.lru_cache(maxsize=64)
def parse_fir(text: str) -> Fir:
    """The filters of a configuration.

    Raises:
        ValueError: the driver would refuse it, or accept it and lose a filter.
    """
    if len(text.encode("utf-8", "replace")) > LARGEST_BYTES:
        raise ValueError(f"a filter of {len(text)} bytes exceeds {LARGEST_BYTES}")
    body = "\n".join(line.rstrip() for line in text.replace("\r\n", "\n").split("\n") if not line.startswith("#"))
    found = HEADERS.search(body)
    if not found:
        raise ValueError("TX and RX headers must both be there and adjacent")
    tx, rx = (
        (found.group(1, 2, 3), found.group(4, 5, 6))
        if found.group(1)
        else (
            found.group(10, 11, 12),
            found.group(7, 8, 9),
        )
    )
    rates, widths, pairs = _rows(body[found.end() :].split("\n") + body[: found.start()].split("\n"))
    if len(pairs) not in TAP_COUNTS or (int(tx[2]) == 1 and len(pairs) > 64):
        raise ValueError(f"{len(pairs)} taps: the driver takes 16, 32 … 128, and 64 at most without interpolation")
    return Fir(
        transmit=tuple(pair[0] for pair in pairs),
        receive=tuple(pair[1] for pair in pairs),
        interpolation=int(tx[2]),
        decimation=int(rx[2]),
        receive_gain_db=int(rx[1]),
        path_rates_hz=(rates["T"], rates["R"]) if len(rates) == 2 else None,
        bandwidths_hz=(widths.get("T"), widths.get("R")),
    )


def _rows(lines: list[str]) -> tuple[dict[str, tuple[int, ...]], dict[str, int], list[tuple[int, int]]]:
    """Rates and bandwidths by direction, pairs of taps."""
    rates: dict[str, tuple[int, ...]] = {}
    widths: dict[str, int] = {}
    pairs: list[tuple[int, int]] = []
    for line in filter(None, lines):
        if rate := RATES.fullmatch(line):
            rates[rate.group(1)] = tuple(int(word) for word in rate.group(2).split())
        elif width := BANDWIDTH.fullmatch(line):
            widths[width.group(1)] = int(width.group(2))
        elif tap := TAPS.fullmatch(line):
            first = _int16(tap.group(1))
            pairs.append((first, _int16(tap.group(2)) if tap.group(2) else first))
        else:
            raise ValueError(f"line {line!r} is neither a rate, a bandwidth nor a tap")
    return rates, widths, pairs


def _int16(text: str) -> int:
    """As the driver stores it: the low 16 bits."""
    return (int(text) + 32768) % 65536 - 32768
