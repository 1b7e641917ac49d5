"""Transport blocks: a payload and its checksum ↔ coded bits of any wanted number.

payload → append CRC-32 → scramble → LDPC codewords → rate matching and interleaving in one table look-up.
Everything follows from (payload size, coded bits), so sender and receiver need no further agreement. CRC-32
decides whether bytes come out; a block of silence fails it because of the scrambler.

The scrambler is the 2^15 − 1 sequence 1 + x^14 + x^15 of ETSI EN 300 744 (4.3.1).
"""

from __future__ import annotations

import zlib
from functools import cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from testbed.errors import FrameError
from testbed.ofdm import ldpc
from testbed.ofdm.mcs import Mcs, find_mcs
from testbed.ofdm.rate_matching import Layout, collect, layout, spread

Bits = NDArray[np.uint8]
Floats = NDArray[np.float32]

CRC_BYTES: Final = 4
MAX_PAYLOAD_BYTES: Final = 1 << 20
MAX_HEADER_BYTES: Final = 16
_HEADER_BITS: Final = 8 * (1 + MAX_HEADER_BYTES + CRC_BYTES)


def coded_length(payload_bytes: int, mcs: int | Mcs) -> int:
    """Coded bits of one block at the scheme's code rate, a whole number of its symbols.

    The least multiple of bits_per_symbol that is not below (8·payload_bytes + 32)/code_rate. FrameError for
    an empty or oversized payload and for an unknown scheme.
    """
    scheme = find_mcs(mcs)
    coded = -(-_info_bits(payload_bytes) * scheme.code_rate.denominator // scheme.code_rate.numerator)
    return -(-coded // scheme.bits_per_symbol) * scheme.bits_per_symbol


def encode_block(payload: bytes | Bits, mcs: int | Mcs, coded_bits: int) -> Bits:
    """Coded bits (coded_bits,) uint8 of one payload; see `encode_blocks`."""
    row = np.frombuffer(payload, np.uint8) if isinstance(payload, bytes) else np.asarray(payload, np.uint8)
    return np.asarray(encode_blocks(row[None], mcs, coded_bits)[0])


def encode_blocks(payloads: Bits, mcs: int | Mcs, coded_bits: int) -> Bits:
    """Coded bits (n, coded_bits) uint8 in {0, 1} of payloads (n, B) uint8, one block a row.

    Args:
        payloads: (n, B) bytes, 1 ≤ B ≤ MAX_PAYLOAD_BYTES.
        mcs: the modulation and coding scheme; checked for its existence only, as the code follows from B and
            coded_bits.
        coded_bits: wanted length, at least 8·B + 32.

    Raises:
        FrameError: payloads are no (n, B) bytes, B out of range, coded_bits too few, unknown scheme.
    """
    find_mcs(mcs)
    if payloads.ndim != 2 or payloads.dtype != np.uint8:
        raise FrameError(f"payloads has shape {payloads.shape}, {payloads.dtype}; give (n, B) uint8")
    plan = layout(_info_bits(payloads.shape[1]), coded_bits)
    return _encode(_with_checksums(payloads), plan)


def decode_block(llr: Floats, payload_bytes: int, mcs: int | Mcs) -> bytes | None:
    """Payload of one block from llr (coded_bits,), or None where its CRC-32 fails; see `decode_blocks`."""
    payloads, ok = decode_blocks(np.asarray(llr)[None], payload_bytes, mcs)
    return payloads[0].tobytes() if ok[0] else None


def decode_blocks(llr: Floats, payload_bytes: int, mcs: int | Mcs) -> tuple[Bits, NDArray[np.bool_]]:
    """Payloads (n, B) uint8 and whether each one's CRC-32 holds (n,) bool; rows that fail are zeros.

    Args:
        llr: (n, coded_bits) log P(0)/P(1), one block a row; 0 where nothing is known. For chase combining add
            the LLRs of repeated transmissions first.
        payload_bytes: B of every block.
        mcs: the scheme the blocks were sent with.

    Raises:
        FrameError: llr is not two-dimensional or holds NaN, sizes that `encode_blocks` would refuse.
    """
    find_mcs(mcs)
    plan = layout(_info_bits(payload_bytes), _coded_bits(llr))
    return _check(_decode(llr, plan))


def encode_header(payload: bytes, coded_bits: int) -> Bits:
    """Coded bits (coded_bits,) uint8 of a short header of 0…16 bytes; length and CRC-32 travel with it.

    The code has rate 168/coded_bits whatever the payload; 492 bits and more hold at −1 dB per bit and below.
    FrameError for more than 16 bytes or fewer than 168 coded bits.
    """
    if len(payload) > MAX_HEADER_BYTES:
        raise FrameError(f"header has {len(payload)} bytes; at most {MAX_HEADER_BYTES} fit")
    padded = bytes([len(payload)]) + payload.ljust(MAX_HEADER_BYTES, b"\0")
    block = np.frombuffer(padded, np.uint8)[None]
    return np.asarray(_encode(_with_checksums(block), layout(_HEADER_BITS, coded_bits))[0])


def decode_header(llr: Floats) -> bytes | None:
    """The header's bytes from llr (coded_bits,), or None where its CRC-32 fails.

    FrameError where llr is not one-dimensional, too short for a header, or holds NaN.
    """
    rows = np.asarray(llr)[None]
    blocks, ok = _check(_decode(rows, layout(_HEADER_BITS, _coded_bits(rows))))
    length = int(blocks[0, 0])
    return blocks[0, 1 : 1 + length].tobytes() if ok[0] and length <= MAX_HEADER_BYTES else None


def _info_bits(payload_bytes: int) -> int:
    if not isinstance(payload_bytes, int | np.integer) or not 1 <= payload_bytes <= MAX_PAYLOAD_BYTES:
        raise FrameError(f"payload of {payload_bytes!r} bytes; a block takes 1…{MAX_PAYLOAD_BYTES}, split it")
    return 8 * (int(payload_bytes) + CRC_BYTES)


def _coded_bits(llr: Floats) -> int:
    if llr.ndim != 2:
        raise FrameError(f"llr has {llr.ndim} dimensions; give (blocks, coded bits)")
    if np.isnan(llr).any():
        raise FrameError("llr holds NaN; mark unknown bits with 0")
    return int(llr.shape[1])


@cache
def _scrambling(length: int) -> Bits:
    """(length,) bytes of the scrambler's sequence."""
    register, out = 0b100101010000000, np.empty(8 * length, np.uint8)
    for i in range(min(len(out), 32767)):
        bit = (register ^ register >> 1) & 1
        register = register >> 1 | bit << 14
        out[i] = bit
    return np.packbits(np.resize(out[:32767], 8 * length))


def _with_checksums(payloads: Bits) -> Bits:
    """(n, B) → (n, B+4): CRC-32 of each row appended, big-endian."""
    sums = np.array([zlib.crc32(row) for row in np.ascontiguousarray(payloads)], dtype=">u4")
    return np.hstack([payloads, sums.view(np.uint8).reshape(-1, CRC_BYTES)])


def _encode(blocks: Bits, plan: Layout) -> Bits:
    info = np.unpackbits(blocks ^ _scrambling(blocks.shape[1]), axis=1)
    words = np.zeros((len(blocks), plan.codewords * plan.code.n), np.uint8)
    words[:, plan.info] = info
    coded = ldpc.encode(plan.code, words.reshape(-1, plan.code.n)[:, : plan.code.k])
    return collect(coded.reshape(words.shape), plan)


def _decode(llr: Floats, plan: Layout) -> Bits:
    """(n, B+4) descrambled bytes, checksum still attached."""
    words = spread(np.asarray(llr, np.float32), plan)
    decoded = ldpc.decode(plan.code, words.reshape(-1, plan.code.n)).bits
    blocks = np.packbits(np.take(decoded.reshape(words.shape), plan.info, axis=1), axis=1)
    return np.asarray(blocks ^ _scrambling(blocks.shape[1]))


def _check(blocks: Bits) -> tuple[Bits, NDArray[np.bool_]]:
    payloads = np.ascontiguousarray(blocks[:, :-CRC_BYTES])
    sums = np.ascontiguousarray(blocks[:, -CRC_BYTES:]).view(">u4").ravel()
    ok = np.array([zlib.crc32(row) == s for row, s in zip(payloads, sums, strict=True)], dtype=bool)
    payloads[~ok] = 0
    return payloads, ok
