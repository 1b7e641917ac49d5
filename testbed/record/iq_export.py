"""All samples of a run as one SigMF archive: a tar file that holds a single recording."""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import msgspec

from testbed.errors import RecordError
from testbed.record.folder import RunFolder
from testbed.record.iq_read import Recording, read_recordings
from testbed.record.sigmf import DATA, META, Json, metadata, sample_bytes
from testbed.record.space import FLOOR_BYTES, require

CHUNK: Final = 1 << 20


def export_iq(folder: RunFolder, path: Path) -> Path:
    """Write the samples of all nodes, one node and direction after the other; `dmoe:node` and the label tell whose.

    Raises:
        RecordError: the run has no samples, damaged ones, or `path` cannot be written.
    """
    recordings = read_recordings(folder.iq)
    if not recordings:
        raise RecordError(
            f"{folder.path}: no samples were recorded with this run; record some: testbed run --record-iq"
        )
    part = path.with_name(f".{path.name}.part")
    require(path.parent, FLOOR_BYTES + sum(map(_bytes, recordings)))
    try:
        with tarfile.open(part, "w", format=tarfile.PAX_FORMAT) as archive:
            _fill(archive, path.stem, recordings)
        os.replace(part, path)
    except OSError as error:
        raise RecordError(f"{path}: cannot be written: {error}; choose another file with --out") from error
    finally:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
    return path


def _fill(archive: tarfile.TarFile, name: str, recordings: Sequence[Recording]) -> None:
    described = msgspec.json.format(msgspec.json.encode(joined(recordings, _sha512(recordings))), indent=1)
    _add(archive, f"{name}/{name}{META}", len(described), io.BytesIO(described))
    _add(archive, f"{name}/{name}{DATA}", sum(map(_bytes, recordings)), _Chain(recordings))


def joined(recordings: Sequence[Recording], sha512: str) -> Json:
    """One description of them all.

    Raises:
        RecordError: their rates or sample formats differ, which one recording cannot hold.
    """
    kinds = {(one.header.sample_format, one.header.sample_rate_hz) for one in recordings}
    if len(kinds) > 1:
        raise RecordError(
            f"samples of different kinds cannot be joined: {sorted(kinds)}; copy the files of iq/ instead"
        )
    captures: list[Json] = []
    annotations: list[Json] = []
    before = 0
    for one in recordings:
        own = metadata(one.header, one.entries, None)
        for part, total in ((own["captures"], captures), (own["annotations"], annotations)):
            total += [entry | {"core:sample_start": entry["core:sample_start"] + before} for entry in part]
        for about in annotations[len(annotations) - len(one.entries) :]:
            about["dmoe:direction"] = one.header.direction
        before += sum(entry.count for entry in one.entries)
    top: Json = metadata(recordings[0].header, [], sha512)["global"]
    own_only = ("dmoe:node", "dmoe:direction", "core:hw")
    top = {name: value for name, value in top.items() if name not in own_only}
    top["core:description"] = "what the nodes of a run received, and transmitted (one period each)"
    return {"global": top, "captures": captures, "annotations": annotations}


def _bytes(recording: Recording) -> int:
    return sum(entry.count for entry in recording.entries) * sample_bytes(recording.header.sample_format)


def _chunks(recording: Recording) -> Iterator[bytes]:
    left = _bytes(recording)
    with recording.data.open("rb") as file:
        while left and (chunk := file.read(min(CHUNK, left))):
            left -= len(chunk)
            yield chunk


def _sha512(recordings: Sequence[Recording]) -> str:
    total = hashlib.sha512()
    for one in recordings:
        for chunk in _chunks(one):
            total.update(chunk)
    return total.hexdigest()


class _Chain(io.RawIOBase):
    """The data of several recordings as one file."""

    def __init__(self, recordings: Sequence[Recording]) -> None:
        self._chunks = (chunk for one in recordings for chunk in _chunks(one))
        self._left = b""

    def read(self, size: int = -1) -> bytes:
        """At most `size` bytes."""
        while len(self._left) < size and (chunk := next(self._chunks, b"")):
            self._left += chunk
        taken, self._left = self._left[:size], self._left[size:]
        return taken


def _add(archive: tarfile.TarFile, name: str, size: int, content: io.IOBase) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = size
    archive.addfile(entry, content)
