"""The child processes of a run, none of which outlives it.

A child is told the end of the run by a line on its standard input, and knows that this process was killed when
that ends without one; who does not leave then is terminated, and killed after that. Children have a session of
their own, so that a Ctrl+C reaches this process alone.
"""

from __future__ import annotations

import contextlib
import select
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from testbed.errors import LinkError

LEAVE_S, TERMINATE_S = 3.0, 2.0


class Children:
    """Processes of `python -m testbed …`; leaving the `with` block ends them all.

    Args:
        logs: folder for what they say on standard error.
    """

    def __init__(self, logs: Path) -> None:
        self._logs = logs
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> Self:
        self._logs.mkdir(parents=True, exist_ok=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end()

    def start(self, name: str, arguments: Sequence[str]) -> subprocess.Popen[bytes]:
        """Start `python -m testbed arguments…`; `name` is its log file's."""
        with (self._logs / f"{name}.log").open("w", encoding="utf-8") as log:
            child = subprocess.Popen(
                [sys.executable, "-m", "testbed", *arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                bufsize=0,
                start_new_session=True,
            )
        self._running[name] = child
        return child

    def next_line(self, name: str, deadline_s: float) -> str:
        """The next line that child `name` prints.

        Raises:
            LinkError: it said nothing within `deadline_s`, or ended; the message holds the end of its log.
        """
        child = self._running[name]
        assert child.stdout is not None
        deadline, said = time.monotonic() + deadline_s, b""
        while not said.endswith(b"\n"):
            if not select.select([child.stdout], [], [], max(0.0, deadline - time.monotonic()))[0]:
                raise LinkError(f"{name} was not ready within {deadline_s:g} s: {self.last_words(name)}")
            byte = child.stdout.read(1)
            if not byte:
                break
            said += byte
        line = said.decode().strip()
        if not line:
            raise LinkError(f"{name} ended before it was ready: {self.last_words(name)}")
        return line

    def last_words(self, name: str) -> str:
        """The last line of the log of `name`."""
        text = (self._logs / f"{name}.log").read_text(encoding="utf-8", errors="replace").strip()
        return text.splitlines()[-1] if text else "it said nothing"

    def ended(self) -> list[str]:
        """Names of children that are no more."""
        return [name for name, child in self._running.items() if child.poll() is not None]

    def pids(self) -> dict[str, int]:
        """Process numbers by name."""
        return {name: child.pid for name, child in self._running.items()}

    def end(self) -> None:
        """End them all: ask, then terminate, then kill."""
        for child in self._running.values():
            _say_farewell(child)
        for act, patience_s in (("leave", LEAVE_S), ("terminate", TERMINATE_S), ("kill", None)):
            if act != "leave":
                for child in self._running.values():
                    getattr(child, act)()
            if self._wait(patience_s):
                break
        for child in self._running.values():
            if child.stdout is not None:
                child.stdout.close()
        self._running.clear()

    def _wait(self, patience_s: float | None) -> bool:
        deadline = None if patience_s is None else time.monotonic() + patience_s
        for child in self._running.values():
            try:
                child.wait(None if deadline is None else max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                return False
        return True


def _say_farewell(child: subprocess.Popen[bytes]) -> None:
    if child.stdin is not None:
        with contextlib.suppress(OSError):
            child.stdin.write(b"the run has ended\n")
        with contextlib.suppress(OSError):
            child.stdin.close()
