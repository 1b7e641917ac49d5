"""Whether the libraries of a real Pluto are here. Where they must be (CI), their absence is a failure."""

from __future__ import annotations

import os

import pytest

from testbed.errors import RadioError
from testbed.radio.pluto import libraries


def need_libiio() -> None:
    """Return where pyadi-iio and libiio work; else skip with the command that mends it, and fail in CI."""
    try:
        libraries()
    except RadioError as error:
        if os.environ.get("CI"):
            pytest.fail(str(error))
        pytest.skip(str(error))
