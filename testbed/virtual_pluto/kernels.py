"""Compiled receiver of a virtual Pluto: noise, imbalance, offset and converter in one pass, into 16-bit codes.

The same model as `testbed.radio.channel.receive_front_end` without phase noise, several times faster: noise is
Box–Muller on hashed counters (C. Wellons, "Prospecting for Hash Functions", lowbias32), so that any part of a
stream can be made by itself, from a key and the number of its first sample.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from testbed.compiled import kernel

Floats = NDArray[np.float32]
Words = NDArray[np.uint32]
Codes = NDArray[np.int16]

CHUNK = 512
LN2 = np.float32(0.6931471805599453)
HALF_PI = np.float32(np.pi / 2)


@kernel()
def hash_counters(first: np.uint32, key: np.uint32, other: np.uint32, words: Words) -> None:
    """Fill words (n,) with a hash of the counters first, first + 1, … under two keys."""
    for n in range(words.shape[0]):
        x = np.uint32(np.uint32(first + np.uint32(n)) ^ key)
        x = np.uint32((x ^ (x >> np.uint32(16))) * np.uint32(0x7FEB352D))
        x = np.uint32((x ^ (x >> np.uint32(15))) * np.uint32(0x846CA68B))
        x = np.uint32((x ^ (x >> np.uint32(16))) + other)
        x = np.uint32((x ^ (x >> np.uint32(16))) * np.uint32(0x7FEB352D))
        x = np.uint32((x ^ (x >> np.uint32(15))) * np.uint32(0x846CA68B))
        words[n] = x ^ (x >> np.uint32(16))


@kernel(fastmath=True)
def radii(words: Words, scratch: Words, out: Floats) -> None:
    """Replace words (n,), uniform, by Rayleigh radii √(−2·ln u), u = (word + ½)/2³²; scratch is of the same size.

    ln comes from the exponent of the float nearest to the word and a polynomial of its mantissa m in 1 … 2:
    ln m = 2·artanh(t), t = (m − 1)/(m + 1), to 1e-6.
    """
    as_float, as_word = scratch.view(np.float32), scratch
    for n in range(words.shape[0]):
        as_float[n] = np.float32(words[n]) + np.float32(0.5)
    for n in range(words.shape[0]):
        bits = as_word[n]
        out[n] = np.float32(np.int32(bits >> np.uint32(23)) - np.int32(127 + 32))
        as_word[n] = (bits & np.uint32(0x7FFFFF)) | np.uint32(0x3F800000)
    for n in range(words.shape[0]):
        m = as_float[n]
        t = (m - np.float32(1.0)) / (m + np.float32(1.0))
        s = t * t
        series = np.float32(1 / 9) * s + np.float32(1 / 7)
        series = (series * s + np.float32(1 / 5)) * s + np.float32(1 / 3)
        logarithm = out[n] * LN2 + np.float32(2.0) * t * (np.float32(1.0) + s * series)
        out[n] = np.sqrt(max(np.float32(-2.0) * logarithm, np.float32(0.0)))


@kernel(fastmath=True)
def turn(words: Words, radius: Floats, real: Floats, imag: Floats) -> None:
    """Store radius (n,) times cos and sin of the angles 2π·word/2³² less a quarter of π."""
    for n in range(words.shape[0]):
        quadrant = words[n] >> np.uint32(30)
        fraction = np.float32(words[n] & np.uint32(0x3FFFFFFF)) * np.float32(2.0**-30)
        a = (fraction - np.float32(0.5)) * HALF_PI
        q = a * a
        sine = a * (np.float32(1.0) + q * (np.float32(-1 / 6) + q * (np.float32(1 / 120) - q * np.float32(1 / 5040))))
        cosine = np.float32(1.0) + q * (
            np.float32(-0.5) + q * (np.float32(1 / 24) + q * (np.float32(-1 / 720) + q * np.float32(1 / 40320)))
        )
        swap = quadrant & np.uint32(1)
        u = sine if swap else cosine
        v = cosine if swap else sine
        negative_u = (quadrant + np.uint32(1)) & np.uint32(2)
        real[n] = radius[n] * (-u if negative_u else u)
        imag[n] = radius[n] * (-v if quadrant & np.uint32(2) else v)


@kernel()
def deliver(
    samples: Floats,
    first: int,
    keys: Words,
    sigma: np.float32,
    mix: Floats,
    offset: Floats,
    scale: np.float32,
    codes: Codes,
) -> None:
    """Codes (2n,) of a 12-bit converter for interleaved samples (2n,).

    Noise of standard deviation sigma a branch is added, I' = mix[0]·I + mix[1]·Q + offset[0] and
    Q' = mix[2]·I + mix[3]·Q + offset[1] in full scales, and scale·I', scale·Q' are rounded and clipped to
    ±scale (the upper limit one code less). keys (4,) and the number of the first sample fix the noise.
    """
    words, scratch = np.empty(CHUNK, np.uint32), np.empty(CHUNK, np.uint32)
    radius, real, imag = np.empty(CHUNK, np.float32), np.empty(CHUNK, np.float32), np.empty(CHUNK, np.float32)
    high = scale - np.float32(1.0)
    for start in range(0, codes.shape[0] // 2, CHUNK):
        count = min(CHUNK, codes.shape[0] // 2 - start)
        hash_counters(np.uint32((first + start) & 0xFFFFFFFF), keys[0], keys[1], words)
        radii(words, scratch, radius)
        hash_counters(np.uint32((first + start) & 0xFFFFFFFF), keys[2], keys[3], words)
        turn(words, radius, real, imag)
        for n in range(count):
            i = samples[2 * (start + n)] + sigma * real[n]
            q = samples[2 * (start + n) + 1] + sigma * imag[n]
            a = np.rint(scale * (mix[0] * i + mix[1] * q + offset[0]))
            b = np.rint(scale * (mix[2] * i + mix[3] * q + offset[1]))
            codes[2 * (start + n)] = np.int16(min(max(a, -scale), high))
            codes[2 * (start + n) + 1] = np.int16(min(max(b, -scale), high))
