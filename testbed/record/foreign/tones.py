"""Which OFDM tones each Wi-Fi packet format fills, and the channel a number stands for.

Sources: IEEE 802.11-2020, 17.3.5.10 (non-HT), 19.3.7 (HT), 21.3.7 (VHT); IEEE 802.11ax-2021, 27.3.10 (HE).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

LEGACY, HT, VHT, HE, EHT = 1, 2, 3, 4, 5
NARROW_HZ, WIDE_HZ = 78_125.0, 312_500.0

Tones = NDArray[np.int64]


def _symmetric(*spans: tuple[int, int]) -> Tones:
    """Tones ± each span (first, last), in rising order."""
    upper = np.concatenate([np.arange(a, b + 1) for a, b in spans])
    return np.concatenate([-upper[::-1], upper])


_T20, _T40, _T80 = _symmetric((1, 28)), _symmetric((2, 58)), _symmetric((2, 122))
_T160 = _symmetric((6, 126), (130, 250))
_HE = {
    20: _symmetric((2, 122)),
    40: _symmetric((3, 244)),
    80: _symmetric((3, 500)),
    160: _symmetric((12, 509), (515, 1012)),
}
FILLED: dict[tuple[int, int], Tones] = {
    (LEGACY, 20): _symmetric((1, 26)),
    (HT, 20): _T20,
    (HT, 40): _T40,
    (VHT, 20): _T20,
    (VHT, 40): _T40,
    (VHT, 80): _T80,
    (VHT, 160): _T160,
    **{(HE, mhz): tones for mhz, tones in _HE.items()},
    **{(EHT, mhz): tones for mhz, tones in _HE.items()},
}
_VHT_PILOTS = {20: (7, 21), 40: (11, 25, 53), 80: (11, 39, 75, 103), 160: (25, 53, 89, 117, 139, 167, 203, 231)}
_HE_PILOTS = {
    20: (22, 48, 90, 116),
    40: (10, 36, 78, 104, 144, 170, 212, 238),
    80: (24, 92, 158, 226, 266, 334, 400, 468),
    160: (44, 112, 178, 246, 286, 354, 420, 488, 536, 604, 670, 738, 778, 846, 912, 980),
}


def spacing_hz(family: int) -> float:
    """Tone spacing: 78.125 kHz since 802.11ax, 312.5 kHz before."""
    return NARROW_HZ if family in (HE, EHT) else WIDE_HZ


def pilots(family: int, mhz: int) -> Tones:
    """Pilot tones of a packet format at a channel width in MHz."""
    upper = (_HE_PILOTS if family in (HE, EHT) else _VHT_PILOTS)[mhz]
    return np.array([-k for k in reversed(upper)] + list(upper))


def is_pilot(family: int, mhz: int) -> NDArray[np.bool_]:
    """For each filled tone, whether it is a pilot."""
    return np.isin(FILLED[family, mhz], pilots(family, mhz))


def channel_hz(number: int, five_ghz: bool) -> float:
    """Centre frequency of a channel number (802.11-2020, 17.3.8.4.2 and 15.4.4.3)."""
    if five_ghz:
        return 5e9 + 5e6 * number
    return 2.484e9 if number == 14 else 2.407e9 + 5e6 * number
