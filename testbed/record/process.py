"""The process that makes the HDF5 file of a run: it follows the journal, a moment behind.

    python -m testbed.record.process FOLDER

HDF5 can crash the process that runs out of disk inside of it; here that costs a process which holds nothing. It ends
by `os._exit` after an HDF5 error, never by unwinding through the library. Whenever something comes in on standard
input it reads on in the journal; when standard input ends, because the run has ended or its controller is gone, it
writes the rest, closes the file and removes the journal. Lines on standard output: "committed N" while it writes the
rest, "closed N" at the end, "broken REASON" when it gives up.
"""

from __future__ import annotations

import errno
import os
import re
import select
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from testbed.errors import RecordError
from testbed.record.folder import RunFolder
from testbed.record.frame import Append
from testbed.record.journal import JournalReader
from testbed.record.rows import Rows, check_rows
from testbed.record.space import free_bytes, sync_folder
from testbed.record.table import shape_of

if TYPE_CHECKING:
    from testbed.record.store import Store

STDIN, STDOUT = 0, 1
SYNC_S = 1.0
SIGN_OF_LIFE_S = 0.5
NICENESS = 5
MARGIN_BYTES = 1 << 20


class Follower:
    """The HDF5 file of a run, and how far it is."""

    def __init__(self, folder: RunFolder) -> None:
        from testbed.record.store import Store

        self._folder = folder
        self._journal = JournalReader(folder.journal)
        opening = self._journal.next()
        if opening is None:
            raise RecordError("the journal is empty")
        shape = shape_of(opening.open()[0])
        self._sizes = shape.sizes()
        folder.record.unlink(missing_ok=True)
        self.store: Store = Store(folder.record, shape)
        sync_folder(folder.path)
        self._waiting: tuple[Rows, NDArray[Any]] | None = None
        self._synced, self._dirty = time.monotonic(), True

    def step(self) -> bool:
        """Write the next round of the journal; False where there is none yet, or no room for it."""
        if self._waiting is None:
            self._waiting = self._next()
        if self._waiting is None or not self._has_room(self._waiting[0]):
            return False
        rows, crc = self._waiting
        self.store.append(rows, crc)
        self._waiting, self._dirty = None, True
        return True

    @property
    def stuck(self) -> bool:
        """A round waits for room."""
        return self._waiting is not None

    def _has_room(self, rows: Rows) -> bool:
        return free_bytes(self._folder.path) >= MARGIN_BYTES + 2 * sum(array.nbytes for array in rows.values())

    def _next(self) -> tuple[Rows, NDArray[Any]] | None:
        frame = self._journal.next()
        if frame is None:
            return None
        message, arrays = frame.open()
        if not isinstance(message, Append):
            raise ValueError(f"unexpected {type(message).__name__} in the journal")
        crc = arrays.pop("crc32")
        check_rows(arrays, self._sizes)
        return arrays, crc

    def sync(self) -> float | None:
        """Push journal and timings from memory to the disk, at most once in `SYNC_S`.

        Returns:
            Seconds after which to come again; None where all is on the disk.
        """
        left = self._synced + SYNC_S - time.monotonic()
        if not self._dirty:
            return None
        if left > 0:
            return left
        self._journal.sync()
        sync_file(self._folder.timings)
        self._synced, self._dirty = time.monotonic(), False
        return None

    def close(self) -> None:
        """Finish the file; the journal goes when the record is on the disk."""
        self.store.close()
        for path in (self._folder.record, self._folder.timings):
            sync_file(path)
        self._folder.journal.unlink()


def sync_file(path: Path) -> None:
    """Push a file from memory to the disk."""
    with path.open("rb") as file:
        os.fsync(file.fileno())


def follow(follower: Follower) -> None:
    """Keep up until standard input ends, then write the rest and close."""
    while goes_on(follower.sync()):
        while follower.step():
            pass
    told = time.monotonic()
    while follower.step():
        if time.monotonic() - told >= SIGN_OF_LIFE_S:
            told = time.monotonic()
            say(f"committed {follower.store.committed}")
    if follower.stuck:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    follower.close()
    say(f"closed {follower.store.committed}")


def goes_on(timeout_s: float | None) -> bool:
    """Wait for something on standard input, or for `timeout_s`; False when standard input has ended."""
    ready, _, _ = select.select([STDIN], [], [], timeout_s)
    return not ready or bool(os.read(STDIN, 1 << 16))


def say(line: str) -> None:
    """A line to the controller, if it is still there."""
    try:
        os.write(STDOUT, f"{line}\n".encode())
    except BrokenPipeError:
        return


def main() -> None:
    """Entry point; the exit status is 0 after a clean end, else 3."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.nice(NICENESS)  # rounds come first
    follower = None
    try:
        follower = Follower(RunFolder(Path(sys.argv[1])))
        follow(follower)
    except Exception as error:  # noqa: BLE001  whatever it was, it becomes one sentence and an exit
        say(f"broken {plain_reason(error)}")
        os._exit(3)  # here, while the error still holds what HDF5 must not clean up
    os._exit(0)


def plain_reason(error: Exception) -> str:
    """What the system said, out of an exception's text; HDF5 hides it in a list of its own state."""
    said = re.search(r"error message = '([^']+)'", str(error))
    words = said.group(1) if said else getattr(error, "strerror", None) or str(error)
    return words.splitlines()[0] if words else type(error).__name__


if __name__ == "__main__":
    main()
