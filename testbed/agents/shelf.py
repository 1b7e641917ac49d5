"""Tokens between layers, in files of a node's own: what a node's next process begins with."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from testbed.errors import RecordError

Floats = NDArray[np.float32]


class FileShelf:
    """Two files in `folder`, one for even and one for odd layers; implements `testbed.worker.Shelf`.

    A file is written aside and takes its place whole, so that a process may be killed at any time.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        with self._sentences():
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def keep(self, batch: int, layer: int, x: Floats) -> None:
        """The tokens (N, d) of `batch` before `layer`.

        Raises:
            RecordError: they cannot be written.
        """
        path = self._path(layer)
        aside = path.with_suffix(".part")
        with self._sentences():
            with aside.open("wb") as file:
                np.savez(file, at=np.array([batch, layer]), x=x)
            os.replace(aside, path)

    def recall(self, batch: int, layer: int) -> Floats | None:
        """What was kept, None where nothing was."""
        try:
            with np.load(self._path(layer), allow_pickle=False) as kept:
                return kept["x"] if kept["at"].tolist() == [batch, layer] else None
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
            return None

    @contextmanager
    def _sentences(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise RecordError(
                f"{self._folder}: tokens cannot be kept there ({error.strerror}); make room, or name another TMPDIR"
            ) from error

    def _path(self, layer: int) -> Path:
        return self._folder / f"tokens-{layer % 2}.npz"
