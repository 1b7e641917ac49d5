"""The process that makes the HDF5 file, as seen by the controller: started, told of rounds, ended under a deadline."""

from __future__ import annotations

import contextlib
import errno
import os
import select
import subprocess
import sys
from pathlib import Path

from testbed.record.folder import RunFolder


class WriterGone(Exception):
    """The process has ended or hangs; the text says why. It never leaves this room."""


class WriterFull(WriterGone):
    """The process has ended because the disk is full."""


class WriterProcess:
    """A running `testbed.record.process`; `finish` or `stop` must be called.

    It lives in a session of its own, so that Ctrl+C at the terminal is not for it, and holds the lock of the run
    folder too, so that the folder stays locked until its file is closed.

    Args:
        folder: with a journal in it.
        lock: open file that holds the folder's lock.
    """

    def __init__(self, folder: RunFolder, lock: int) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "testbed.record.process", str(folder.path.absolute())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=_environment(),
            pass_fds=[lock],
            bufsize=0,
            start_new_session=True,
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._to, self._from = self._process.stdin, self._process.stdout
        os.set_blocking(self._to.fileno(), False)
        self._heard = b""

    @property
    def pid(self) -> int:
        """Process number."""
        return self._process.pid

    def tell(self) -> None:
        """There is a new round in the journal. Never waits: one that is far behind will read them all."""
        with contextlib.suppress(BlockingIOError, BrokenPipeError):
            os.write(self._to.fileno(), b".")

    def has_ended(self) -> bool:
        """Whether it is gone; it should not be before `finish`."""
        return self._process.poll() is not None

    def finish(self, deadline_s: float) -> int:
        """Ask for the end, and wait until the file is closed; returns how many rounds are in it.

        Raises:
            WriterFull: the disk is full.
            WriterGone: it gave up, died, or gave no sign of life for `deadline_s`.
        """
        self._to.close()
        while (line := self._line(deadline_s)) is not None:
            word, _, rest = line.partition(" ")
            if word == "closed":
                self.stop()
                return int(rest)
            if word == "broken":
                raise (WriterFull if rest == os.strerror(errno.ENOSPC) else WriterGone)(rest)
        raise WriterGone("it ended without a word")

    def last_words(self) -> WriterGone:
        """Why it ended, of one that has."""
        try:
            self.finish(0.0)
        except WriterGone as error:
            return error
        return WriterGone("it ended early")

    def stop(self) -> None:
        """End it at once; one that has said "closed" has nothing left to do."""
        with contextlib.suppress(OSError):
            self._to.close()
        self._process.kill()
        self._process.wait()
        self._from.close()

    def _line(self, deadline_s: float) -> str | None:
        """Its next line; None when it has ended."""
        poll = select.poll()
        poll.register(self._from, select.POLLIN)
        while b"\n" not in self._heard:
            if not poll.poll(1000 * deadline_s):
                raise WriterGone(f"no sign of life within {deadline_s:g} s")
            got = os.read(self._from.fileno(), 4096)
            if not got:
                return None
            self._heard += got
        line, _, self._heard = self._heard.partition(b"\n")
        return line.decode(errors="replace")


def _environment() -> dict[str, str]:
    """This environment, with the testbed importable whatever the working directory is."""
    paths = [str(Path(__file__).parents[2]), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
