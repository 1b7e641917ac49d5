"""A binary heap of columns with decrease-key, on three arrays; compiled.

heap[k] is a column, place[m] its position in the heap (−1 = not in it, −2 = settled), key[m] its distance.
"""

from __future__ import annotations

from testbed.schedule.arrays import Floats, Ints
from testbed.schedule.compiled import kernel

ABSENT, SETTLED = -1, -2


@kernel
def lower(heap: Ints, place: Ints, key: Floats, size: int, m: int, value: float) -> int:
    """Put column m at `value`, or move it down to it. Returns the new size."""
    key[m] = value
    k = place[m]
    if k == ABSENT:
        k = size
        size += 1
    while k > 0:
        parent = (k - 1) >> 1
        other = heap[parent]
        if key[other] <= value:
            break
        heap[k] = other
        place[other] = k
        k = parent
    heap[k] = m
    place[m] = k
    return size


@kernel
def settle_first(heap: Ints, place: Ints, key: Floats, size: int) -> int:
    """Take the nearest column out for good. Returns it; the size falls by one."""
    first = heap[0]
    place[first] = SETTLED
    last = heap[size - 1]
    size -= 1
    k = 0
    while True:
        child = 2 * k + 1
        if child >= size:
            break
        if child + 1 < size and key[heap[child + 1]] < key[heap[child]]:
            child += 1
        if key[heap[child]] >= key[last]:
            break
        heap[k] = heap[child]
        place[heap[k]] = k
        k = child
    if size > 0:
        heap[k] = last
        place[last] = k
    return first
