"""The writer process: rounds come in on standard input, HDF5 goes to disk, answers go to standard output.

    python -m testbed.record.process

HDF5 can crash the process that runs out of disk inside of it; here that costs a process which holds nothing.
It ends by `os._exit` after an HDF5 error, never by unwinding through the library. When its parent is gone it
closes the file and ends.
"""

from __future__ import annotations

import os
import re
import signal
import sys
import time
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from testbed.record.folder import RunFolder, hold
from testbed.record.journal import Journal
from testbed.record.pipe import Append, Broken, Close, Done, Frame, Full, Message, Open, pack, receive, send
from testbed.record.rows import check_rows
from testbed.record.space import free_bytes
from testbed.record.store import Store
from testbed.record.table import shape_of

STDIN, STDOUT = 0, 1
SYNC_SECONDS = 1.0
Arrays = dict[str, NDArray[Any]]


class Recorder:
    """The open files of a run: timings, journal, record, written in this order."""

    def __init__(self, opening: Open) -> None:
        self.folder = RunFolder(Path(opening.path))
        self.floor = opening.floor_bytes
        self._lock = hold(self.folder)
        shape = shape_of(opening)
        self._sizes = shape.sizes()
        self._timings = os.open(self.folder.timings, os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o644)
        self.journal = Journal(self.folder.journal)
        self.journal.append(pack(opening, {}))
        self.store = Store(self.folder.record, shape)
        self._synced = time.monotonic()

    def append(self, frame: Frame, timing: bytes, arrays: Arrays) -> Message:
        """Commit one round, unless there is too little room for it."""
        rows = {name: array for name, array in arrays.items() if name != "crc32"}
        check_rows(rows, self._sizes)
        needed = self.floor + 3 * len(frame.body)
        free = free_bytes(self.folder.path)
        if free < needed:
            return Full(free, needed)
        _write_line(self._timings, timing)
        self.journal.append(frame)
        self.store.append(rows, arrays["crc32"])
        return Done(self.store.committed)

    def sync(self, now: float) -> None:
        """Push what is committed from memory to the disk, at most once in `SYNC_SECONDS`."""
        if now - self._synced >= SYNC_SECONDS:
            self.journal.sync()
            os.fsync(self._timings)
            self._synced = now

    def close(self) -> Message:
        """Finish the files; the journal goes when the record is on the disk."""
        self.store.close()
        for path in (self.folder.record, self.folder.timings):
            with path.open("rb") as file:
                os.fsync(file.fileno())
        self.journal.remove()
        return Done(self.store.committed)


def _write_line(handle: int, line: bytes) -> None:
    written = os.write(handle, line)
    if written != len(line):
        raise OSError(f"timings.jsonl took {written} of {len(line)} bytes")


def answer(message: Message) -> None:
    """Tell the controller."""
    send(STDOUT, pack(message, {}), None)


def serve(recorder: Recorder) -> None:
    """Answer frames until the last one, or until the other end is gone."""
    while (frame := receive(STDIN, None)) is not None:
        message, arrays = frame.open()
        if isinstance(message, Close):
            answer(recorder.close())
            return
        if not isinstance(message, Append):
            raise ValueError(f"unexpected {type(message).__name__}")
        answer(recorder.append(frame, message.timing, arrays))
        recorder.sync(time.monotonic())
    recorder.close()


def main() -> None:
    """Entry point; the exit status is 0 after a clean end, else 3."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    status = 3
    recorder = None
    try:
        frame = receive(STDIN, None)
        if frame is not None and isinstance(opening := frame.open()[0], Open):
            recorder = Recorder(opening)
            answer(Done(0))
            serve(recorder)
        status = 0
    except (EOFError, BrokenPipeError):
        # The controller died inside a frame: everything acknowledged is there, the rest never was.
        if recorder is not None:
            recorder.close()
    except Exception as error:  # noqa: BLE001  whatever it was, it becomes one sentence and an exit
        _last_words(error)
    sys.stdout.flush()
    os._exit(status)


def _last_words(error: Exception) -> None:
    try:
        send(STDOUT, pack(Broken(plain_reason(error)), {}), 1.0)
    except OSError:
        sys.stderr.write(plain_reason(error) + "\n")


def plain_reason(error: Exception) -> str:
    """What the system said, out of an exception's text; HDF5 hides it in a list of its own state."""
    said = re.search(r"error message = '([^']+)'", str(error))
    words = said.group(1) if said else getattr(error, "strerror", None) or str(error)
    return words.splitlines()[0] if words else type(error).__name__


if __name__ == "__main__":
    main()
