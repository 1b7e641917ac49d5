"""Slow, obvious answers for modulation and coding: tables typed from the standard, dense matrices, textbook loops."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
from scipy.special import erfc, logsumexp

import testbed.ofdm

# IEEE 802.11-2020, tables 17-10…17-15 and 21-19: input bits of one axis → level.
AXIS_TABLES = {
    1: {"0": -1, "1": 1},
    2: {"00": -3, "01": -1, "11": 1, "10": 3},
    3: {"000": -7, "001": -5, "011": -3, "010": -1, "110": 1, "111": 3, "101": 5, "100": 7},
    4: {
        "0000": -15, "0001": -13, "0011": -11, "0010": -9, "0110": -7, "0111": -5, "0101": -3, "0100": -1,
        "1100": 1, "1101": 3, "1111": 5, "1110": 7, "1010": 9, "1011": 11, "1001": 13, "1000": 15,
    },
}  # fmt: skip
# Table 17-11: normalisation factors K_MOD, squared and inverted.
ENERGY = {1: 1, 2: 2, 4: 10, 6: 42, 8: 170}


def labels(bits_per_symbol: int) -> np.ndarray:
    """(2^b, b) bits of each label."""
    return np.arange(2**bits_per_symbol)[:, None] >> np.arange(bits_per_symbol - 1, -1, -1) & 1


def points(bits_per_symbol: int) -> np.ndarray:
    """(2^b,) points by the standard's tables."""
    out = []
    for row in labels(bits_per_symbol):
        text = "".join(map(str, row))
        if bits_per_symbol == 1:
            out.append(complex(AXIS_TABLES[1][text]))
        else:
            table, half = AXIS_TABLES[bits_per_symbol // 2], bits_per_symbol // 2
            out.append(complex(table[text[:half]], table[text[half:]]))
    return np.array(out) / np.sqrt(ENERGY[bits_per_symbol])


def llr(symbols: np.ndarray, noise: np.ndarray, bits_per_symbol: int, *, exact: bool) -> np.ndarray:
    """LLRs over all points of the plane, not axis by axis: exact sum, or nearest point of each bit value."""
    metric = -(np.abs(symbols.astype(complex)[:, None] - points(bits_per_symbol)) ** 2) / noise[:, None]
    combine = (lambda m: logsumexp(m, axis=1)) if exact else (lambda m: m.max(axis=1))
    bits = labels(bits_per_symbol)
    columns = [combine(metric[:, b == 0]) - combine(metric[:, b == 1]) for b in bits.T]
    return np.stack(columns, axis=1).ravel()


def bit_error_rate(snr: float, bits_per_symbol: int) -> float:
    """Exact uncoded BER of Gray square QAM at linear SNR (K. Cho and D. Yoon, IEEE Trans. Commun. 50(7), 2002)."""
    if bits_per_symbol == 1:
        return float(erfc(np.sqrt(snr)) / 2)
    per_axis = bits_per_symbol // 2
    levels = 2**per_axis
    total = 0.0
    for k in range(1, per_axis + 1):
        for i in range(int((1 - 2.0**-k) * levels)):
            step = i * 2 ** (k - 1) / levels
            weight = (-1) ** int(step) * (2 ** (k - 1) - int(step + 0.5))
            total += weight * erfc((2 * i + 1) * np.sqrt(3 * snr / (2 * (levels**2 - 1))))
    return float(total / levels / per_axis)


def shifts(n: int, rate: Fraction) -> tuple[int, np.ndarray]:
    """Z and the (rows, 24) shifts of a code, read again from its file."""
    folder = Path(testbed.ofdm.__file__).parent / "data" / "ldpc-802.11n"
    lines = (folder / f"N{n}_R{rate.numerator}{rate.denominator}.qc").read_text().split("\n")
    columns, rows, z = map(int, lines[0].split())
    table = np.array([[int(x) for x in line.split()] for line in lines[1 : 1 + rows]])
    assert table.shape == (rows, columns)
    return z, table


def parity_matrix(n: int, rate: Fraction) -> np.ndarray:
    """Dense H (n−k, n): each shift s stands for the identity with its columns turned right by s."""
    z, table = shifts(n, rate)
    block = {s: np.roll(np.eye(z, dtype=np.uint8), s, axis=1) for s in range(z)}
    block[-1] = np.zeros((z, z), np.uint8)
    return np.block([[block[s] for s in row] for row in table])


def layered_min_sum(H: np.ndarray, z: int, llrs: np.ndarray, iterations: int, scale: float) -> tuple[np.ndarray, int]:
    """Textbook layered normalised min-sum, one check at a time; bits (n,) and iterations used (−1: none held)."""
    posterior, messages = llrs.astype(np.float64).copy(), np.zeros(H.shape)
    neighbours = [np.flatnonzero(row) for row in H]
    for iteration in range(iterations + 1):
        bits = (posterior < 0).astype(np.uint8)
        if not (H @ bits % 2).any():
            return bits, iteration
        if iteration == iterations:
            break
        for check, at in enumerate(neighbours):
            extrinsic = posterior[at] - messages[check, at]
            for i, place in enumerate(at):
                others = np.delete(extrinsic, i)
                message = scale * np.prod(np.where(others < 0, -1.0, 1.0)) * np.abs(others).min()
                messages[check, place] = message
            posterior[at] = extrinsic + messages[check, at]
    return (posterior < 0).astype(np.uint8), -1


def belief_propagation(H: np.ndarray, llrs: np.ndarray, iterations: int) -> np.ndarray:
    """Flooding sum-product by tanh; hard decisions (n,)."""
    edges, llrs = H.astype(bool), llrs.astype(np.float64)
    to_check = np.where(edges, llrs, 0.0)
    for _ in range(iterations):
        tanh = np.where(edges, np.tanh(np.clip(to_check, -30, 30) / 2), 1.0)
        tanh = np.where(edges & (np.abs(tanh) < 1e-12), 1e-12, tanh)
        product = tanh.prod(axis=1, keepdims=True)
        to_bit = np.where(edges, 2 * np.arctanh(np.clip(product / tanh, -1 + 1e-14, 1 - 1e-14)), 0.0)
        posterior = llrs + to_bit.sum(axis=0)
        if not (H @ (posterior < 0) % 2).any():
            break
        to_check = np.where(edges, posterior - to_bit, 0.0)
    return (posterior < 0).astype(np.uint8)


def scrambling_bits(count: int) -> np.ndarray:
    """1 + x^14 + x^15 of EN 300 744 with initial register 100101010000000, one shift at a time."""
    register = [1, 0, 0, 1, 0, 1, 0, 1, 0, 0, 0, 0, 0, 0, 0]
    out = []
    for _ in range(count):
        bit = register[13] ^ register[14]
        out.append(bit)
        register = [bit, *register[:14]]
    return np.array(out, dtype=np.uint8)


def crc32(data: bytes) -> int:
    """IEEE 802.3 CRC-32, one bit at a time: reflected polynomial EDB88320, ones before, inverted after."""
    register = 0xFFFFFFFF
    for byte in data:
        register ^= byte
        for _ in range(8):
            register = register >> 1 ^ (0xEDB88320 if register & 1 else 0)
    return register ^ 0xFFFFFFFF


def gaussian_noise(rng: np.random.Generator, count: int, variance: float) -> np.ndarray:
    """(count,) circular complex Gaussian, E|n|² = variance."""
    return (rng.standard_normal(count) + 1j * rng.standard_normal(count)) * np.sqrt(variance / 2)
