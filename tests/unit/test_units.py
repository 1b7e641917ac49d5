"""Conversions against numbers everybody knows."""

from __future__ import annotations

import numpy as np
import pytest

from testbed.units import db, dbm_to_w, engineering, from_db


def test_decibels() -> None:
    np.testing.assert_allclose(db([1, 2, 10, 100]), [0, 3.0103, 10, 20], atol=1e-4)
    np.testing.assert_allclose(from_db([0, 3.0103, -10]), [1, 2, 0.1], rtol=1e-5)
    assert db(0.0) == -np.inf
    assert dbm_to_w(30.0) == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0 J"), (2.5, "2.5 J"), (5.38e-8, "53.8 nJ"), (-1e-3, "-1 mJ"), (7e-6, "7 µJ"), (1.234e-12, "1.23 pJ")],
)
def test_engineering(value: float, text: str) -> None:
    assert engineering(value, "J") == text
