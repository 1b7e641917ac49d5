"""The ways this room compiles its hot loops."""

from __future__ import annotations

from functools import partial

import numpy as np
from numba import cfunc

from testbed.compiled import kernel as compiled_with

# error_model: a free local expert has zero energy, and 0/0 must be a number, not an exception. Both other options are
# said each time: what is left out numba takes from whichever caller is compiled first.
kernel = compiled_with(error_model="numpy", _nrt=False, forceinline=False)
"""A loop that makes no arrays, and counts no references to those it is given: they outlive the call.

numba counts one, in an atomic operation, for every array that a function is handed or takes out of a named tuple. In
the joint search this took four fifths of the time. What a kernel calls may make arrays but must not hand them back, as
nobody would free them, and a kernel hands back numbers only (`tests/unit/schedule/test_kernels.py` looks after both).
"""

inlined = compiled_with(error_model="numpy", _nrt=False, forceinline=True)
"""A kernel that is part of its caller where the compiler would leave it apart, and time is lost (measured)."""

allocating = compiled_with(error_model="numpy", _nrt=True, forceinline=False)
"""A function that makes arrays; to be called once for many tokens or links, its inner loops are kernels."""

c_function = partial(cfunc, cache=True, error_model="numpy")
"""A decorator that takes a signature and compiles at once, for callers that know addresses only."""

UNSIGNED = np.uint64
"""An index that cannot be negative: sums of signed ones are checked for it, which keeps a loop from vectorising."""
