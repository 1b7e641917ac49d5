"""Whether the libraries of a real Pluto are here. Where they must be (CI), their absence is a failure."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

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


@contextmanager
def genuine_server(description: Path) -> Iterator[int]:
    """Debian's `iiod` on a context description without hardware; its port."""
    need_tool("iiod")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    program = shutil.which("iiod") or shutil.which("iiod", path="/usr/sbin")
    command = [str(program), "-u", f"xml:{description}", "-p", str(port)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            deadline = time.monotonic() + 10
            while not _listening(port):
                assert time.monotonic() < deadline, "iiod does not listen"
                time.sleep(0.05)
            yield port
        finally:
            process.kill()


def _listening(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
