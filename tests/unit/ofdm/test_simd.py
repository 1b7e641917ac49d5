from __future__ import annotations

import numpy as np
import pytest
from numba import njit

from testbed.ofdm import simd

OPERATIONS = {
    "add": (simd.add, np.add),
    "subtract": (simd.subtract, np.subtract),
    "multiply": (simd.multiply, np.multiply),
    "least": (simd.least, np.minimum),
    "greatest": (simd.greatest, np.maximum),
    "flip by sign": (njit(lambda a, b: simd.flip(a, simd.sign(b))), lambda a, b: np.where(b < 0, -a, a)),
    "magnitude": (njit(lambda a, b: simd.magnitude(simd.add(a, b))), lambda a, b: np.abs(a + b)),
    "where equal": (
        njit(lambda a, b: simd.where_equal(a, simd.least(a, b), a, b)),
        lambda a, b: np.where(a <= b, a, b),
    ),
}


@pytest.mark.parametrize("name", OPERATIONS)
def test_operations_work_lane_by_lane(name: str, rng: np.random.Generator) -> None:
    operation, wanted = OPERATIONS[name]

    @njit
    def run(a: np.ndarray, b: np.ndarray, out: np.ndarray) -> None:
        simd.store(out, 3, operation(simd.load(a, 5), simd.load(b, 2)))

    a, b = rng.standard_normal((2, 40)).astype(np.float32)
    out = np.zeros(40, np.float32)
    run(a, b, out)
    np.testing.assert_array_equal(out[3:19], wanted(a[5:21], b[2:18]))
    assert not out[:3].any()
    assert not out[19:].any()


def test_fill_and_any_negative() -> None:
    @njit
    def run(value: float, out: np.ndarray) -> bool:
        simd.store(out, 0, simd.multiply(simd.fill(np.float32(value)), simd.load(out, 0)))
        return simd.any_negative(simd.load(out, 0))

    out = np.ones(simd.LANES, np.float32)
    assert not run(2.0, out)
    np.testing.assert_array_equal(out, 2.0)
    out[11] = -1.0
    assert run(1.0, out)
