"""Equality of recorded values, field by field."""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np


def assert_same(found: Any, expected: Any, where: str = "record", skip: tuple[str, ...] = ()) -> None:
    if is_dataclass(expected):
        for f in fields(expected):
            if f.name not in skip:
                assert_same(getattr(found, f.name), getattr(expected, f.name), f"{where}.{f.name}", skip)
    elif isinstance(expected, np.ndarray):
        assert found.dtype == expected.dtype, where
        np.testing.assert_array_equal(found, expected, err_msg=where)
    else:
        assert found == expected, where
