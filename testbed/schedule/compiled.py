"""The ways this room compiles its hot loops."""

from __future__ import annotations

from functools import partial

import numpy as np
from numba import cfunc

from testbed.compiled import kernel as compiled_with

# error_model: a free local expert has zero energy, and 0/0 must be a number, not an exception.
kernel = compiled_with(error_model="numpy")

c_function = partial(cfunc, cache=True, error_model="numpy")
"""A decorator that takes a signature and compiles at once, for callers that know addresses only."""

inlined = compiled_with(error_model="numpy", forceinline=True)
"""A kernel that is part of its caller: handing over a dozen arrays can take as long as the work on one small token."""

UNSIGNED = np.uint64
"""An index that cannot be negative: sums of signed ones are checked for it, which keeps a loop from vectorising."""
