"""Recording a run: `RunWriter` appends rounds to the journal; a process behind it makes the HDF5 file."""

from __future__ import annotations

import contextlib
import errno
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from types import TracebackType
from typing import Self

import msgspec

from testbed.errors import RecordError
from testbed.outcome import RoundRecord, Summary
from testbed.record.channel import WriterFull, WriterGone, WriterProcess
from testbed.record.digest import write_digests
from testbed.record.folder import RunFolder, Status, clear_scaffold, read_manifest, write_manifest
from testbed.record.frame import Append
from testbed.record.held import Held, begin
from testbed.record.journal import entry
from testbed.record.rows import Predictions, RecordShape, check_rows, checksums, rows_of
from testbed.record.space import FLOOR_BYTES, NoSpace, free_bytes, no_space, release, replace, require

DEADLINE_S = 30.0
MOST_DEATHS = 3


class RunWriter:
    """Records the rounds of one run.

    Each round is appended to the journal by this process; the HDF5 file is made from it by a process of its own, a
    moment behind, so that nothing waits for HDF5. Every round that `append` returned for can be read back, whatever is
    killed afterwards. That process is started anew when it dies. Leaving the block without `finish` ends the run as
    "interrupted" after Ctrl+C or on a full disk, and as "failed" after any other error.

        with RunWriter(folder, shape) as writer:
            writer.append(record)
            writer.finish(summary)

    Args:
        folder: from `create_run`.
        shape: what does not change in the run.
        deadline_s: longest wait, at the end, for a sign of life of the process.
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
        self._open: Held | None = None
        self._deaths: list[str] = []
        self._finished = False
        self._air_time_s = 0.0
        self.committed = 0

    def __enter__(self) -> Self:
        self._open = begin(self._folder, self._shape)
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
            RecordError: the record does not fit the shape, or the disk failed; says what to do.
        """
        files = self._files()
        rows = rows_of(record, self._air_time_s if time_s is None else time_s, predictions)
        check_rows(rows, self._shape.sizes())
        rows["crc32"] = checksums(self.committed, rows)
        try:
            require(self._folder.path, self._floor_bytes + 3 * sum(array.nbytes for array in rows.values()))
            line = _timing_line(self.committed, record)
            files.append(line, entry(Append(line), rows))
        except OSError as error:
            raise self._refusal(error) from error
        self.committed += 1
        self._air_time_s += record.forward.air_time_s + record.back.air_time_s
        self._tell(files)
        return self.committed

    def finish(self, summary: Summary | None, status: Status = "complete", events: Sequence[str] = ()) -> None:
        """Close the record, write the closing figures, and say how the run ended.

        Args:
            summary: closing figures, None where the run did not come so far.
            status: "complete", "interrupted" or "failed".
            events: sentences on the run as a whole.

        Raises:
            NoSpace: too little space to finish `record.h5`; all rounds are safe, and this may be called again.
            RecordError: a file could not be closed or written; the recorded rounds stay readable.
        """
        try:
            self._close_record()
        except NoSpace:
            raise
        except RecordError as error:
            self._end(summary, "failed", (*events, str(error)))
            raise
        self._end(summary, status, events)

    def _end(self, summary: Summary | None, status: Status, events: Sequence[str]) -> None:
        self._finished = True
        self._release()
        self._write_ending(summary, status, (*self._deaths, *events))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._finished:
            return
        kindly = error is None or isinstance(error, KeyboardInterrupt | NoSpace)
        status: Status = "interrupted" if kindly else "failed"
        events = () if error is None else (f"{type(error).__name__}: {error}",)
        with contextlib.suppress(RecordError):  # the error that is on its way matters more
            try:
                self.finish(None, status, events)
            except NoSpace as full:
                self._end(None, status, (*events, str(full)))

    @property
    def pid(self) -> int:
        """Process number of who makes the HDF5 file."""
        return self._files().process.pid

    def _files(self) -> Held:
        if self._open is None:
            raise RecordError(f"{self._folder.path}: this recording has ended; start a new run")
        return self._open

    def _tell(self, files: Held) -> None:
        """There is a new round; whoever should read it is there to do so."""
        if files.process.has_ended():
            self._begin_again(files, files.process.last_words())
        files.process.tell()

    def _begin_again(self, files: Held, reason: WriterGone) -> None:
        """Another process in the place of one that died, up to a few times."""
        files.process.stop()
        if not isinstance(reason, WriterFull):
            self._deaths.append(f"the writer of record.h5 ended after round {self.committed - 1}: {reason}")
        if len(self._deaths) > MOST_DEATHS:
            raise self._failure(str(reason))
        files.process = WriterProcess(self._folder, files.lock)

    def _close_record(self) -> None:
        """Have the HDF5 file finished, by another process where the first one dies of it."""
        files = self._files()
        release(self._folder.ballast)
        if len(self._deaths) > MOST_DEATHS:
            raise self._failure(self._deaths[-1])
        while True:
            try:
                self.committed = files.process.finish(self._deadline_s)
                return
            except WriterGone as error:
                if not self._folder.journal.exists():  # it had just finished
                    return
                self._begin_again(files, error)
                if isinstance(error, WriterFull):
                    raise self._full() from error

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

    def _refusal(self, error: OSError) -> RecordError:
        """The sentence for a round that the disk did not take."""
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            return self._full()
        return self._failure(error.strerror or str(error))

    def _full(self) -> NoSpace:
        return no_space(self._folder.path, free_bytes(self._folder.path), self._floor_bytes)

    def _failure(self, reason: str) -> RecordError:
        with contextlib.suppress(OSError):
            reason += f", {free_bytes(self._folder.path) / 1e6:.1f} MB free there"
        return RecordError(
            f"{self._folder.path}: the writer of the recording failed ({reason}); the first "
            f"{self.committed} rounds are safe; free some space or choose another folder with --out"
        )

    def _release(self) -> None:
        files, self._open = self._open, None
        if files is not None:
            files.close()


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
