"""Who has which buffer of a unit open: one transmitter at a time, as many receivers as like."""

from __future__ import annotations

import errno
import threading
import time
from collections.abc import Callable
from typing import Final

from testbed.virtual_pluto.grammar import Refused

CLOSE_GRACE_S: Final = 0.05
"""A CLOSE travels on another connection than the next OPEN: so long an OPEN waits for it."""


class Claims:
    """Who has which buffer of one unit open."""

    def __init__(self, sleep: Callable[[float], None] = time.sleep) -> None:
        self._owners: dict[str, list[object]] = {}
        self._lock = threading.Lock()
        self._sleep = sleep

    def take(self, device: str, owner: object, *, exclusive: bool) -> None:
        """Claim a buffer, waiting a moment for one that is being closed.

        Raises:
            Refused: EBUSY, when it stays with another.
        """
        deadline = time.monotonic() + CLOSE_GRACE_S
        while not self._try(device, owner, exclusive):
            if time.monotonic() >= deadline:
                raise Refused(errno.EBUSY)
            self._sleep(0.002)

    def give_back(self, device: str, owner: object) -> None:
        """Let it go."""
        with self._lock:
            self._owners.get(device, []).remove(owner)

    def _try(self, device: str, owner: object, exclusive: bool) -> bool:
        with self._lock:
            owners = self._owners.setdefault(device, [])
            if exclusive and owners:
                return False
            owners.append(owner)
            return True
