"""Worker processes need Python's resource tracker, which stays until the interpreter ends: start it before any test."""

from __future__ import annotations

from multiprocessing import resource_tracker

import pytest


@pytest.fixture(scope="session", autouse=True)
def _tracker() -> None:
    resource_tracker.ensure_running()
