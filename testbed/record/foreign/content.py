"""Named arrays in a file, whatever the container: read in parts, when asked for."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from testbed.record.foreign.scratch import Take, complex_of

MATLAB = "matlab"
MOST_SMALL = 1 << 26
_PARTS = (("_real", "_imag"), ("_re", "_im"))


@dataclass(frozen=True, eq=False)
class Lazy:
    """An array that is read when asked for.

    Attributes:
        shape: of the array.
        take: reads a part, given one slice an axis.
        dims: names of the axes; empty where the format has none.
        attributes: what is written beside it.
    """

    shape: tuple[int, ...]
    take: Take
    dims: tuple[str, ...] = ()
    attributes: Mapping[str, Any] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """How many numbers it has."""
        return int(np.prod(self.shape, dtype=np.int64))

    def all(self) -> NDArray[Any]:
        """The whole of a small array.

        Raises:
            ValueError: it is not small.
        """
        if self.size > MOST_SMALL:
            raise ValueError(f"array of shape {self.shape} where a small one is expected")
        return self.take(tuple(slice(0, n) for n in self.shape))

    def with_ones(self, axes: int) -> Lazy:
        """The same with axes of length 1 at the end, until there are so many."""
        own, more = len(self.shape), axes - len(self.shape)
        if more <= 0:
            return self
        return Lazy(
            self.shape + (1,) * more,
            lambda part: self.take(part[:own])[(..., *(None,) * more)],
            self.dims,
            self.attributes,
        )


@dataclass(frozen=True, eq=False)
class Content:
    """All arrays of a file by name, and its attributes; `used` is entered while they are read one after another."""

    path: Path
    format: str
    sha256: str
    arrays: Mapping[str, Lazy]
    attributes: Mapping[str, Any]
    used: Callable[[], contextlib.AbstractContextManager[None]] = contextlib.nullcontext


def joined(arrays: Mapping[str, Lazy], names: tuple[str, ...]) -> dict[str, Lazy]:
    """The arrays; where one of the names is missing, and there as real and imaginary part, with the two as one."""
    out = dict(arrays)
    for name in names:
        for first, second in _PARTS:
            real, imag = out.get(name + first), out.get(name + second)
            if name not in out and real and imag and (real.shape, real.dims) == (imag.shape, imag.dims):
                out[name] = Lazy(real.shape, complex_of(real.take, imag.take), real.dims, real.attributes)
    return out
