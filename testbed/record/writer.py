"""Recording a run: `RunWriter` hands rounds to the writer process and returns when they are safe."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Self

import msgspec
import numpy as np
from numpy.typing import NDArray

from testbed.errors import RecordError
from testbed.outcome import RoundRecord, Summary
from testbed.record.channel import WriterGone, WriterProcess
from testbed.record.digest import write_digests
from testbed.record.folder import RunFolder, Status, clear_scaffold, read_manifest, write_manifest
from testbed.record.pipe import Append, Broken, Close, Done, Full, Message, Open
from testbed.record.rows import Predictions, RecordShape, check_rows, checksums, rows_of
from testbed.record.schema import FORMAT_VERSION
from testbed.record.space import FLOOR_BYTES, NoSpace, free_bytes, no_space, replace

DEADLINE_S = 30.0


class RunWriter:
    """Records the rounds of one run.

    The HDF5 file is written by a process of its own, which starts when the block is entered and is given its
    first round when it is ready. Every round that `append` returned for can be read back, whatever is
    killed afterwards. Leaving the block without `finish` ends the run as "interrupted" after Ctrl+C or on a full disk,
    and as "failed" after any other error.

        with RunWriter(folder, shape) as writer:
            writer.append(record)
            writer.finish(summary)

    Args:
        folder: from `create_run`.
        shape: what does not change in the run.
        deadline_s: longest wait for the writer process.
        floor_bytes: free space below which rounds are refused.
    """

    def __init__(
        self,
        folder: RunFolder,
        shape: RecordShape,
        *,
        deadline_s: float = DEADLINE_S,
        floor_bytes: int = FLOOR_BYTES,
    ) -> None:
        self._folder = folder
        self._shape = shape
        self._deadline_s = deadline_s
        self._floor_bytes = floor_bytes
        self._process: WriterProcess | None = None
        self._ready = False
        self._finished = False
        self._air_time_s = 0.0
        self.committed = 0

    def __enter__(self) -> Self:
        self._process = WriterProcess(self._deadline_s)
        self._say(_opening(self._folder, self._shape, self._floor_bytes), {})
        return self

    def append(
        self,
        record: RoundRecord,
        predictions: Predictions | None = None,
        time_s: float | None = None,
    ) -> int:
        """Record a round; returns when it can be read back even if this process is killed.

        Args:
            record: the round.
            predictions: how the tokens ended, with the record of a pass's last layer.
            time_s: when the round began, by the clock named in the shape; the air time so far when None.

        Returns:
            Rounds recorded so far.

        Raises:
            NoSpace: too little space; nothing was written, and the same record may be appended again.
            RecordError: the record does not fit the shape, or the writer failed; says what to do.
        """
        rows = rows_of(record, self._air_time_s if time_s is None else time_s, predictions)
        check_rows(rows, self._shape.sizes())
        self._wait_ready()
        crc = {"crc32": checksums(self.committed, rows)}
        self._say(Append(_timing_line(self.committed, record)), rows | crc)
        self.committed = self._hear().committed
        self._air_time_s += record.forward.air_time_s + record.back.air_time_s
        return self.committed

    def finish(self, summary: Summary | None, status: Status = "complete", events: Sequence[str] = ()) -> None:
        """Close the record, write the closing figures, and say how the run ended.

        Args:
            summary: closing figures, None where the run did not come so far.
            status: "complete", "interrupted" or "failed".
            events: sentences on the run as a whole.

        Raises:
            RecordError: a file could not be closed or written; the recorded rounds stay readable.
        """
        self._finished = True
        try:
            self._close_record()
        except RecordError as error:
            status, events = "failed", (*events, str(error))
            raise
        finally:
            self._stop()
            self._write_ending(summary, status, tuple(events))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._finished:
            return
        kindly = error is None or isinstance(error, KeyboardInterrupt | NoSpace)
        status: Status = "interrupted" if kindly else "failed"
        events = () if error is None else (f"{type(error).__name__}: {error}",)
        with contextlib.suppress(RecordError):  # the error that is on its way matters more
            self.finish(None, status, events)

    def _wait_ready(self) -> None:
        if not self._ready:
            self._hear()
            self._ready = True

    def _close_record(self) -> None:
        """Ask for the end and wait for it; after an interrupted frame the closed pipe must do."""
        if self._process is None or self._process.inside_frame:
            return
        self._say(Close(), {})
        while (answer := self._read()) is not None:
            self.committed = self._accept(answer).committed

    def _write_ending(self, summary: Summary | None, status: Status, events: tuple[str, ...]) -> None:
        clear_scaffold(self._folder)
        manifest = read_manifest(self._folder)
        if summary is not None:
            replace(self._folder.summary, _summary_json(summary))
        ended = msgspec.structs.replace(
            manifest,
            status=status,
            finished=datetime.now(UTC).isoformat(),
            rounds=self.committed,
            seconds=None if summary is None else summary.seconds,
            events=manifest.events + events,
        )
        write_manifest(self._folder, ended)
        write_digests(self._folder)

    def _running(self) -> WriterProcess:
        if self._process is None:
            raise RecordError(f"{self._folder.path}: this recording has ended; start a new run")
        return self._process

    def _say(self, message: Message, arrays: Mapping[str, NDArray[Any]]) -> None:
        try:
            self._running().send(message, arrays)
        except WriterGone as error:
            raise self._failure(str(error)) from error

    def _read(self) -> Message | None:
        try:
            return self._running().receive()
        except WriterGone as error:
            raise self._failure(str(error)) from error

    def _hear(self) -> Done:
        answer = self._read()
        if answer is None:
            raise self._failure("it ended without a word")
        return self._accept(answer)

    def _accept(self, answer: Message) -> Done:
        match answer:
            case Done():
                return answer
            case Full(free, needed):
                raise no_space(self._folder.path, free, needed)
            case Broken(reason):
                raise self._failure(reason)
            case _:
                raise self._failure(f"it answered {type(answer).__name__}")

    def _failure(self, reason: str) -> RecordError:
        """Put the writer away; the sentence to raise."""
        self._stop(kill=True)
        with contextlib.suppress(OSError):
            reason += f", {free_bytes(self._folder.path) / 1e6:.1f} MB free there"
        return RecordError(
            f"{self._folder.path}: the writer of the recording failed ({reason}); the first "
            f"{self.committed} rounds are safe; free some space or choose another folder with --out"
        )

    def _stop(self, kill: bool = False) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.stop(kill)


def _opening(folder: RunFolder, shape: RecordShape, floor_bytes: int) -> Open:
    return Open(
        path=str(folder.path.absolute()),
        format_version=FORMAT_VERSION,
        nodes=shape.nodes,
        layers=shape.layers,
        frequency_hz=np.asarray(shape.frequency_hz, np.float64).tolist(),
        data_frequency_hz=np.asarray(shape.data_frequency_hz, np.float64).tolist(),
        center_hz=shape.center_hz if math.isfinite(shape.center_hz) else None,
        spacing_hz=shape.spacing_hz,
        clock=shape.clock,
        attributes=shape.described(),
        floor_bytes=floor_bytes,
    )


def _timing_line(row: int, record: RoundRecord) -> bytes:
    line = {
        "row": row,
        "round": record.number,
        "layer": record.layer,
        "written": time.time(),
        "seconds": dict(record.seconds),
    }
    return msgspec.json.encode(line) + b"\n"


def _summary_json(summary: Summary) -> bytes:
    """Without what differs between two runs of one seed: that is in the manifest."""
    figures = msgspec.to_builtins(summary)
    figures.pop("run_dir")
    figures.pop("seconds")
    return msgspec.json.format(msgspec.json.encode(figures), indent=2) + b"\n"
