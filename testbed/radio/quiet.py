"""Radios fall silent on every way out of the program: its end, an exception, SIGTERM, SIGHUP.

Only SIGKILL and a power cut leave no way; for those the process above calls `testbed.radio.pluto.make_quiet`.
"""

from __future__ import annotations

import atexit
import signal
import sys
import threading
import weakref
from typing import NoReturn, Protocol

SIGNALS = (signal.SIGTERM, signal.SIGHUP)


class Silent(Protocol):
    """What can be silenced and let go."""

    def close(self) -> None:
        """Off the air, for good; does not raise."""
        ...


_radios: weakref.WeakSet[Silent] = weakref.WeakSet()
_ready = threading.Event()


def keep_quiet(radio: Silent) -> None:
    """From now on `radio` is closed at the latest when the program ends."""
    _radios.add(radio)
    if not _ready.is_set():
        _ready.set()
        atexit.register(close_all)
    _take_signals()


def let_go(radio: Silent) -> None:
    """`radio` is closed already."""
    _radios.discard(radio)


def close_all() -> None:
    """Close every radio that is open."""
    for radio in list(_radios):
        radio.close()


def _take_signals() -> None:
    """Turn signals that would end the program on the spot into an exit that unwinds; a handler of others stays."""
    if threading.current_thread() is not threading.main_thread():
        return
    for number in SIGNALS:
        if signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, _leave)


def _leave(number: int, frame: object) -> NoReturn:
    close_all()
    sys.exit(128 + number)
