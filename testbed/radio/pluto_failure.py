"""What the failures of a Pluto and of its libraries mean, and the one thing that mends each."""

from __future__ import annotations

import errno
from typing import Final

BROKEN: Final = "the connection broke: was the unit unplugged or restarted?"
UNREACHABLE: Final = "unreachable: check cable, address and route"
UNKNOWN: Final = "no such host or device: check the name, or run `testbed scan`"
MEANING: Final = {
    errno.ECONNREFUSED: "connection refused: the host is there, but no IIO server listens on it; is it a Pluto?",
    errno.EHOSTUNREACH: UNREACHABLE,
    errno.ENETUNREACH: UNREACHABLE,
    errno.ETIMEDOUT: "no answer in time: check cable and address, or restart the unit",
    errno.EBUSY: "busy: another program uses it; end that program",
    errno.ENODEV: "no such device: check the cable, or run `testbed scan`",
    errno.ENOENT: UNKNOWN,
    errno.ENXIO: UNKNOWN,
    errno.EACCES: "no permission: install the udev rule of libiio, or use the network address",
    errno.EINVAL: "the unit refused the value",
    errno.EPIPE: BROKEN,
    errno.EBADF: BROKEN,
    errno.ECONNRESET: BROKEN,
    errno.EIO: BROKEN,
}


def explain(error: OSError) -> str:
    """What an error of libiio means, and what to do about it."""
    return f"{MEANING.get(error.errno or 0, 'failed')} ({error})"


def explain_connecting(error: OSError) -> str:
    """The same for an error of opening a connection, when no value has been sent yet."""
    if error.errno == errno.EINVAL:
        return f"no IIO server there, or no such form of address: check host, port and form ({error})"
    return explain(error)


def remedy(error: Exception) -> str:
    """The one command that mends an import of pyadi-iio or pylibiio that failed."""
    if isinstance(error, ImportError):
        return "run: pip install pyadi-iio==0.0.21 pylibiio==0.25"
    if "version 1" in str(error) or "1.x" in str(error):
        return "run: pip install pylibiio==0.25"
    return "run: apt-get install libiio0"
