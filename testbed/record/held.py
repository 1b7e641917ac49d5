"""What a running recording holds, and how it takes hold of it."""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from testbed.errors import RecordError
from testbed.record.channel import WriterProcess
from testbed.record.digest import write_digests
from testbed.record.folder import RunFolder, hold
from testbed.record.frame import Open
from testbed.record.journal import AppendFile, entry
from testbed.record.rows import RecordShape
from testbed.record.schema import FORMAT_VERSION


@dataclass
class Held:
    """What a running recording holds: its files, the lock of its folder, the process behind it."""

    lock: int
    journal: AppendFile
    timings: AppendFile
    process: WriterProcess

    def append(self, line: bytes, parts: Sequence[bytes | memoryview]) -> None:
        """Both or none; the timing first, so that a round that was begun leaves a trace."""
        before = self.timings.size
        self.timings.append([line])
        try:
            self.journal.append(parts)
        except BaseException:
            self.timings.cut(before)
            raise

    def close(self) -> None:
        """Let go of everything; the process ends at once."""
        self.process.stop()
        self.journal.close()
        self.timings.close()
        os.close(self.lock)


def begin(folder: RunFolder, shape: RecordShape) -> Held:
    """Take the folder, and begin journal and timings.

    Raises:
        RecordError: another writer has the folder, or it cannot be written.
    """
    with contextlib.ExitStack() as undo:
        try:
            lock = hold(folder)
            undo.callback(os.close, lock)
            write_digests(folder)  # of what does not change any more, in case the run is killed
            journal = AppendFile(folder.journal, new=True)
            undo.callback(journal.close)
            timings = AppendFile(folder.timings)
            undo.callback(timings.close)
            journal.append(entry(_opening(shape), {}))
            process = WriterProcess(folder, lock)
        except OSError as error:
            raise RecordError(
                f"{folder.path}: the recording cannot begin: {error.strerror or error}; start a new run"
            ) from error
        undo.pop_all()
    return Held(lock, journal, timings, process)


def _opening(shape: RecordShape) -> Open:
    return Open(
        format_version=FORMAT_VERSION,
        nodes=shape.nodes,
        layers=shape.layers,
        frequency_hz=np.asarray(shape.frequency_hz, np.float64).tolist(),
        data_frequency_hz=np.asarray(shape.data_frequency_hz, np.float64).tolist(),
        center_hz=shape.center_hz if math.isfinite(shape.center_hz) else None,
        spacing_hz=shape.spacing_hz,
        clock=shape.clock,
        attributes=shape.described(),
    )
