"""How this room compiles its hot loops: on first call, kept on disk, without the interpreter lock."""

from __future__ import annotations

import numpy as np
from numba import njit

# error_model: a free local expert has zero energy, and 0/0 must be a number, not an exception.
kernel = njit(cache=True, nogil=True, error_model="numpy")

UNSIGNED = np.uint64
"""An index that cannot be negative: sums of signed ones are checked for it, which keeps a loop from vectorising."""
