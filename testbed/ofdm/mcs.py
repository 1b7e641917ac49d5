"""Modulation and coding schemes: what each carries, the SNR it needs, and which one a link should use.

The schemes are those of IEEE 802.11ac (VHT-MCS 0…9). Their thresholds are measured, not assumed
(`benchmarks/mcs_thresholds.py` writes data/mcs_thresholds.json): SNR per subcarrier in Gaussian noise at
which one block of 256 bytes in a hundred is lost. Blocks of 64 bytes to some kilobytes need the same to about
0.4 dB; shorter codewords are weaker: 32 bytes need 0.5 dB more, 16 bytes 1 dB, 4 bytes 2 dB.

Over a frequency-selective channel a link's effective SNR is that of the flat channel with the same mean
mutual information per coded bit (MIESM; K. Brueninghaus et al., "Link performance models for system level
simulations of broadband radio access systems", IEEE PIMRC 2005), the information being that of bit-interleaved
coded modulation (G. Caire, G. Taricco, E. Biglieri, IEEE Trans. Inf. Theory 44(3), 1998).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from importlib import resources
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from testbed.errors import FrameError, SignalError
from testbed.ofdm.mcs_kernels import effective_db, steps_reached
from testbed.ofdm.modulation import gray_levels, label_bits, level_spacing
from testbed.units import from_db

Doubles = NDArray[np.float64]


@dataclass(frozen=True)
class Mcs:
    """One scheme.

    Attributes:
        index: position in `MCS`.
        name: e.g. "16-QAM 3/4".
        bits_per_symbol: coded bits of one symbol on one subcarrier.
        code_rate: information bits per coded bit.
        snr_threshold_db: SNR per subcarrier in dB at which the block error rate is 1e-2.
    """

    index: int
    name: str
    bits_per_symbol: int
    code_rate: Fraction
    snr_threshold_db: float

    @property
    def efficiency(self) -> float:
        """Information bits per symbol and subcarrier."""
        return float(self.bits_per_symbol * self.code_rate)


def _load() -> tuple[Mcs, ...]:
    text = resources.files("testbed.ofdm").joinpath("data", "mcs_thresholds.json").read_text(encoding="utf-8")
    rows = json.loads(text)["schemes"]
    return tuple(
        Mcs(i, r["name"], r["bits_per_symbol"], Fraction(r["code_rate"]), r["snr_threshold_db"])
        for i, r in enumerate(rows)
    )


MCS: Final = _load()
"""All schemes, rising in efficiency and in threshold."""

BITS_PER_SYMBOL: Final = np.array([scheme.bits_per_symbol for scheme in MCS])
"""(schemes,) coded bits of one symbol on one subcarrier."""

_CONSTELLATIONS: Final = sorted(set(BITS_PER_SYMBOL.tolist()))
_COLUMN: Final = np.searchsorted(_CONSTELLATIONS, BITS_PER_SYMBOL)
_FIRST_DB, _LAST_DB, _STEP_DB = -40.0, 45.0, 0.25

THRESHOLD_DB: Final = np.array([scheme.snr_threshold_db for scheme in MCS])
"""(schemes,) rising SNR thresholds in dB."""

_EFFICIENCY: Final = np.array([0.0] + [scheme.efficiency for scheme in MCS])
"""(1 + schemes,) bits of one symbol where no scheme can be used, then with each."""


def find_mcs(mcs: int | Mcs) -> Mcs:
    """The scheme of an index, or the scheme itself; FrameError for an unknown index."""
    if isinstance(mcs, Mcs):
        return mcs
    if not isinstance(mcs, int | np.integer) or not 0 <= mcs < len(MCS):
        raise FrameError(f"mcs={mcs!r} is unknown; choose 0…{len(MCS) - 1}")
    return MCS[mcs]


def spectral_efficiency(snr: ArrayLike, margin_db: float = 0.0) -> Doubles:
    """Bits per symbol and subcarrier of the best scheme that each SNR supports, 0 where none does.

    Args:
        snr: any shape, linear SNR per subcarrier; NaN counts as 0.
        margin_db: how far the SNR must lie above a scheme's threshold.

    Returns:
        Array of snr's shape.
    """
    values = np.asarray(snr, np.float32)
    thresholds = from_db(THRESHOLD_DB + margin_db).astype(np.float32)
    return steps_reached(values.ravel(), thresholds, _EFFICIENCY).reshape(values.shape)


def effective_snr(snr: ArrayLike, mcs: int | Mcs) -> float:
    """Linear SNR of the flat channel that carries the scheme as well as these subcarriers do.

    Args:
        snr: (s,) linear SNR per subcarrier the block is spread over, s ≥ 1.
        mcs: the scheme, for its constellation.

    Raises:
        SignalError: no subcarrier, NaN or negative SNR.
    """
    values = _checked_snr(snr)
    return float(effective_snrs(values, np.zeros(values.size, np.int64), np.array([find_mcs(mcs).index]))[0])


def choose_mcs(snr: ArrayLike, margin_db: float) -> Mcs | None:
    """The scheme of most bits whose threshold the effective SNR of snr (s,) exceeds by margin_db, or None."""
    values = _checked_snr(snr)
    index = int(choose_schemes(values, np.zeros(values.size, np.int64), 1, margin_db)[0])
    return MCS[index] if index >= 0 else None


def choose_schemes(snr: ArrayLike, link: NDArray[np.int64], links: int, margin_db: float) -> NDArray[np.int64]:
    """The schemes of many links at once.

    Args:
        snr: (Q,) linear SNR per subcarrier, at 0 or above.
        link: (Q,) which of 0…links−1 the subcarrier serves; each has one at least.
        links: number of links.
        margin_db: how far the effective SNR must lie above a scheme's threshold.

    Returns:
        (links,) index of the scheme of most bits that each link supports, −1 where none.
    """
    enough = _effective_db(np.ascontiguousarray(snr, np.float64), link, links)[:, _COLUMN] >= THRESHOLD_DB + margin_db
    return np.where(enough.any(axis=1), len(MCS) - 1 - enough[:, ::-1].argmax(axis=1), -1)


def effective_snrs(snr: Doubles, link: NDArray[np.int64], mcs: NDArray[np.int64]) -> Doubles:
    """(links,) linear effective SNR of many links at once: snr (Q,) on subcarriers of `link` (Q,), `mcs` (links,)."""
    effective = _effective_db(snr, link, mcs.size)
    return np.asarray(from_db(effective[np.arange(mcs.size), _COLUMN[mcs]]), np.float64)


def _checked_snr(snr: ArrayLike) -> Doubles:
    values = np.ascontiguousarray(snr, dtype=float)  # one kernel for all
    if np.ndim(snr) != 1 or not values.size or not np.all(values >= 0):
        raise SignalError(f"snr of shape {values.shape} must be (s,) numbers of 0 or more, s ≥ 1")
    return values


def _effective_db(snr: Doubles, link: NDArray[np.int64], links: int) -> Doubles:
    """(links, constellations) effective SNR in dB of each link's subcarriers."""
    return effective_db(snr, link, links, _FIRST_DB, _STEP_DB, _information_table())


def bit_information(snr: ArrayLike, bits_per_symbol: int) -> Doubles:
    """Mean mutual information between a coded bit and its exact LLR at each linear SNR (s,): (s,) in [0, 1].

    I = 1 − E log2(1 + exp(−(1 − 2b)·LLR)), by Gauss-Hermite quadrature over the noise of one axis.
    """
    gain = np.sqrt(np.asarray(snr, dtype=float))[:, None, None] * level_spacing(bits_per_symbol)
    levels = gray_levels(max(bits_per_symbol // 2, 1))
    is_set = label_bits(max(bits_per_symbol // 2, 1))
    nodes, weights = np.polynomial.hermite.hermgauss(48)
    received = gain * levels[:, None] + nodes
    metric = -((received[..., None] - gain[..., None] * levels) ** 2)
    total = np.logaddexp.reduce(metric, axis=-1)
    loss = np.zeros(gain.shape[0])
    for j in range(len(is_set)):
        same = is_set[j][:, None] == is_set[j]
        own = np.logaddexp.reduce(np.where(same[:, None, :], metric, -np.inf), axis=-1)
        loss += ((total - own) @ (weights / np.sqrt(np.pi))).mean(axis=1)
    return np.asarray(1.0 - loss / np.log(2.0) / len(is_set))


@cache
def _information_table() -> Doubles:
    """(G, constellations) bit information from _FIRST_DB on; it rises, and stays when it is as good as 1."""
    grid_db = np.arange(_FIRST_DB, _LAST_DB, _STEP_DB)
    columns = [bit_information(from_db(grid_db), bits) for bits in _CONSTELLATIONS]
    for information in columns:
        saturated = np.flatnonzero(np.diff(information) <= 1e-9)  # less cannot be inverted
        if saturated.size:
            information[saturated[0] + 1 :] = information[saturated[0]]
    return np.ascontiguousarray(np.stack(columns, axis=1))
