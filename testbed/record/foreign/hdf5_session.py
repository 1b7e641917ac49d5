"""Talks to the process that opens strangers' HDF5 files, and outlives it."""

from __future__ import annotations

import contextlib
import os
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from testbed.errors import RecordError

DEADLINE_S = 60.0
MOST_LINE = 1 << 22
ADVICE = "it is damaged, or holds what HDF5 cannot read"


class Session:
    """A child process, started when first needed and after each of its deaths, ended when nobody uses it."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._open: Path | None = None
        self._users = 0

    @contextlib.contextmanager
    def used(self) -> Iterator[None]:
        """While any user is inside, the process is kept."""
        self._users += 1
        try:
            yield
        finally:
            self._users -= 1
            if not self._users:
                self._end()

    def contents(self, path: Path) -> dict[str, Any]:
        """Arrays and attributes of a file.

        Raises:
            RecordError: damaged.
        """
        self._open = None
        answer, _ = self._ask(path, {"open": str(path.resolve())})
        self._open = path
        return answer

    def part(self, path: Path, name: str, part: tuple[slice, ...]) -> NDArray[Any]:
        """A part of an array.

        Raises:
            RecordError: damaged.
        """
        if self._open != path or self._process is None:
            self.contents(path)
        answer, body = self._ask(path, {"name": name, "part": [(s.start, s.stop) for s in part]})
        dtype = np.dtype(str(answer["dtype"]))
        if dtype.hasobject:
            raise RecordError(f"{path}: {name}: objects instead of numbers")
        return np.frombuffer(body, dtype).reshape(answer["shape"])

    def _ask(self, path: Path, request: dict[str, Any]) -> tuple[dict[str, Any], bytes]:
        try:
            process = self._running()
            assert process.stdin is not None
            process.stdin.write(msgspec.json.encode(request) + b"\n")
            line, rest = self._line(process)
            answer: dict[str, Any] = msgspec.json.decode(line)
            body = self._exactly(process, int(answer.get("bytes", 0)), rest)
        except (OSError, EOFError, TimeoutError, ValueError) as error:
            self._end()
            raise RecordError(f"{path}: {ADVICE} (the reading process ended: {error})") from error
        if "error" in answer:
            raise RecordError(f"{path}: {ADVICE}: {answer['error']}")
        return answer, body

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            paths = [str(Path(__file__).parents[3]), *filter(None, [os.environ.get("PYTHONPATH")])]
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "testbed.record.foreign.hdf5_child"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
                bufsize=0,
            )
            self._open = None
        return self._process

    def _read(self, process: subprocess.Popen[bytes], size: int, deadline: float) -> bytes:
        """Some bytes.

        Raises:
            TimeoutError: none came in time.
            EOFError: the process is gone.
        """
        assert process.stdout is not None
        if not select.select([process.stdout], [], [], max(0.0, deadline - time.monotonic()))[0]:
            raise TimeoutError(f"no answer for {DEADLINE_S:.0f} s")
        piece = os.read(process.stdout.fileno(), size)
        if not piece:
            raise EOFError(f"status {process.wait()}")
        return piece

    def _line(self, process: subprocess.Popen[bytes]) -> tuple[bytes, bytes]:
        """The next line, and what came behind it."""
        got, deadline = b"", time.monotonic() + DEADLINE_S
        while b"\n" not in got:
            if len(got) > MOST_LINE:
                raise ValueError("too many arrays or attributes")
            got += self._read(process, 1 << 16, deadline)
        line, _, rest = got.partition(b"\n")
        return line, rest

    def _exactly(self, process: subprocess.Popen[bytes], size: int, got: bytes) -> bytes:
        body, deadline = bytearray(got), time.monotonic() + DEADLINE_S
        while len(body) < size:
            body += self._read(process, size - len(body), deadline)
        return bytes(body)

    def _end(self) -> None:
        process, self._process, self._open = self._process, None, None
        if process is None:
            return
        for pipe in (process.stdin, process.stdout):
            with contextlib.suppress(OSError):
                if pipe is not None:
                    pipe.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(0.2)
        if process.returncode is None:
            process.kill()
            process.wait()


SESSION = Session()
