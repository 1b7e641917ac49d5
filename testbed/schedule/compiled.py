"""The ways this room compiles its hot loops."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import numpy as np
from numba.core.dispatcher import Dispatcher

from testbed.compiled import kernel as compiled_with

# error_model: a free local expert has zero energy, and 0/0 must be a number, not an exception.
kernel = compiled_with(error_model="numpy")

inlined = compiled_with(error_model="numpy", forceinline=True)
"""A kernel that is part of its caller: handing over a dozen arrays can take as long as the work on one small token."""

UNSIGNED = np.uint64
"""An index that cannot be negative: sums of signed ones are checked for it, which keeps a loop from vectorising."""


class sealed:  # noqa: N801 - a decorator
    """A kernel that refuses new types of arguments (TypeError) instead of compiling for them, which takes seconds.

    So its own look at the types is all the check that a caller needs. `open` compiles for what it is given.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        self._kernel: Any = kernel(function)
        self._opening = threading.Lock()
        self.call: Callable[..., Any] = _refuse

    def open(self, *arguments: object) -> Any:  # noqa: ANN401
        """Call it with types that it is to take from now on."""
        if not isinstance(self._kernel, Dispatcher):  # not compiled at all, for a debugger
            return self._kernel(*arguments)
        with self._opening:
            self._kernel.disable_compile(False)
            result = self._kernel(*arguments)
            self._kernel.disable_compile()
            self.call = self._kernel
            return result


def _refuse(*_arguments: object) -> float:
    raise TypeError("not compiled yet")
