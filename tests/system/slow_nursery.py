"""A nursery whose nodes are slow when told: `python -m tests.system.slow_nursery nursery`.

A node that finds its number as a file in $SLOW_NODES sleeps in `gate` for as many seconds as the file says, with
"once" after them for a single time.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

from testbed.__main__ import main
from testbed.node import LocalNode
from testbed.protocol import Gated

_gate = LocalNode.gate


def slow_gate(self: LocalNode, layer: int, own: bool = True) -> Gated:
    told = Path(os.environ["SLOW_NODES"]) / str(self.index)
    if told.exists():
        seconds, *once = told.read_text().split()
        if once:
            told.unlink()
        time.sleep(float(seconds))
    return _gate(self, layer, own)


if __name__ == "__main__":
    LocalNode.gate = slow_gate  # type: ignore[method-assign]
    main()
