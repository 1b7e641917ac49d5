"""Whether the libraries of a real Pluto are here. Where they must be (CI), their absence is a failure."""

from __future__ import annotations

import os
import shutil

import pytest

from testbed.errors import RadioError
from testbed.radio.pluto_connect import libraries


def need_libiio() -> None:
    """Return where pyadi-iio and libiio work; else skip with the command that mends it, and fail in CI."""
    try:
        libraries()
    except RadioError as error:
        if os.environ.get("CI"):
            pytest.fail(str(error))
        pytest.skip(str(error))


def need_tool(name: str) -> None:
    """Return where a tool of libiio is installed; else skip with the command that mends it, and fail in CI."""
    if shutil.which(name) or shutil.which(name, path="/usr/sbin"):
        return
    message = f"{name} is missing; run: apt-get install libiio-utils iiod"
    if os.environ.get("CI"):
        pytest.fail(message)
    pytest.skip(message)
