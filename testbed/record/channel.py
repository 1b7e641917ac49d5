"""The writer process as seen by the controller: started, spoken to under a deadline, ended."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from testbed.record.pipe import Message, pack, receive, send


class WriterGone(Exception):
    """The writer process cannot be spoken to any more; the text says why. It never leaves this room."""


class WriterProcess:
    """A running `testbed.record.process`; `stop` must be called.

    It lives in a session of its own, so that Ctrl+C at the terminal is not for it.
    """

    def __init__(self, deadline_s: float) -> None:
        self._deadline_s = deadline_s
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "testbed.record.process"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=_environment(),
            bufsize=0,
            start_new_session=True,
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._to, self._from = self._process.stdin, self._process.stdout
        os.set_blocking(self._to.fileno(), False)
        self.inside_frame = False

    @property
    def pid(self) -> int:
        """Process number."""
        return self._process.pid

    def send(self, message: Message, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Hand over one frame; `inside_frame` stays set when this is interrupted.

        Raises:
            WriterGone: it takes nothing, or it is dead.
        """
        self.inside_frame = True
        try:
            send(self._to.fileno(), pack(message, arrays), self._deadline_s)
        except TimeoutError as error:
            raise WriterGone(str(error)) from error
        except BrokenPipeError:
            pass  # what it said before it died comes with the next receive
        except OSError as error:
            raise WriterGone(str(error)) from error
        self.inside_frame = False

    def receive(self) -> Message | None:
        """Its next answer; None when it has ended.

        Raises:
            WriterGone: no answer in time, or none that can be understood.
        """
        try:
            frame = receive(self._from.fileno(), self._deadline_s)
            return None if frame is None else frame.open()[0]
        except (OSError, EOFError, ValueError) as error:
            raise WriterGone(str(error)) from error

    def stop(self, kill: bool = False) -> None:
        """End it: kindly, by closing its input, or at once; waits until it is gone."""
        with contextlib.suppress(OSError):
            self._to.close()
        if kill:
            self._process.kill()
        try:
            self._process.wait(self._deadline_s)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._from.close()


def _environment() -> dict[str, str]:
    """This environment, with the testbed importable whatever the working directory is."""
    paths = [str(Path(__file__).parents[2]), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
