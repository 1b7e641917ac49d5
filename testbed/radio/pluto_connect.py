"""The way to a Pluto: libraries, a URI, a context, and which units answer. Nobody else imports the libraries."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from testbed.errors import AddressError, RadioError
from testbed.radio import pluto_steps as steps
from testbed.radio.pluto_attributes import Attributes
from testbed.radio.pluto_failure import explain_connecting, remedy

OLDEST_LIBRARY: Final = (0, 23)
CALL_TIMEOUT_S: Final = 1.0
"""Of one exchange; a call that has to end a buffer after a timeout takes two of them."""
USUAL_URIS: Final = ("ip:192.168.2.1", "ip:pluto.local", *(f"ip:127.0.0.{k}" for k in range(2, 10)))
"""Where units are when nobody has moved them: real ones, then the first eight of `testbed virtual-pluto`."""
FORMS: Final = "pluto:ip:HOST[:PORT], pluto:usb:BUS.DEVICE.INTERFACE, pluto:serial:SERIAL"


def libraries() -> tuple[Any, Any]:
    """pyadi-iio and pylibiio, imported.

    Raises:
        RadioError: one of them or the C library is missing or of a wrong version; it names the command that mends it.
    """
    try:
        import adi
        import iio
    except (ImportError, OSError, AttributeError) as error:
        raise RadioError(f"a Pluto needs pyadi-iio and libiio ({error}); {remedy(error)}") from error
    if not OLDEST_LIBRARY <= tuple(iio.version[:2]) < (1, 0):
        raise RadioError(f"libiio {iio.version[2]} does not fit, 0.23 … 0.26 do; run: apt-get install libiio0")
    return adi, iio


def connect(uri: str) -> Any:  # noqa: ANN401  (iio.Context carries no types)
    """The context of a Pluto at a libiio URI.

    Raises:
        RadioError: refused, unreachable, busy, unknown, or not a Pluto; each says which.
    """
    _, iio = libraries()
    try:
        context = iio.Context(uri)
    except OSError as error:
        raise RadioError(f"{uri}: {explain_connecting(error)}") from error
    names = {device.name for device in context.devices}
    if missing := {steps.PHY, steps.RECEIVER, steps.TRANSMITTER} - names:
        raise RadioError(f"{uri} is not a Pluto: it has no {', '.join(sorted(missing))}")
    context.set_timeout(round(1000 * CALL_TIMEOUT_S))
    return context


def resolve(address: str, uris: Iterable[str] = USUAL_URIS) -> str:
    """The libiio URI of an address; a serial number is looked for on USB and at `uris`.

    Raises:
        AddressError: not of the form of a Pluto's address.
        RadioError: no unit of that serial number answers.
    """
    scheme, _, rest = address.partition(":")
    kind, _, place = rest.partition(":")
    if scheme != "pluto" or kind not in ("ip", "usb", "serial") or not place:
        raise AddressError(f"radio address {address!r} is not one of: {FORMS}")
    if kind != "serial":
        return rest
    found = scan(uris)
    for one in found:
        if one.serial == place:
            return one.uri
    seen = ", ".join(one.serial for one in found) or "none at all"
    raise RadioError(f"no Pluto of serial {place} answers (seen: {seen}); run: testbed scan")


@dataclass(frozen=True)
class Found:
    """A Pluto that answered: where, who, and how it is."""

    uri: str
    serial: str
    model: str
    firmware: str
    temperature_c: float
    tuning_hz: tuple[float, float]


def scan(uris: Iterable[str] = USUAL_URIS) -> list[Found]:
    """Every Pluto on USB, announced in the network, or at one of `uris`; each serial number once.

    Raises:
        RadioError: the libraries are missing.
    """
    _, iio = libraries()
    found: dict[str, Found] = {}
    announced: dict[str, str] = {}
    with contextlib.suppress(OSError):
        announced = iio.scan_contexts()
    for uri in (*announced, *uris):
        with contextlib.suppress(RadioError):
            one = describe(uri, connect(uri))
            found.setdefault(one.serial or uri, one)
    return list(found.values())


def ask(address: str) -> Found:
    """The Pluto at an address or at a libiio URI.

    Raises:
        AddressError: neither of them.
        RadioError: it does not answer; the sentence says why.
    """
    uri = resolve(address if address.startswith("pluto:") else f"pluto:{address}")
    return describe(uri, connect(uri))


def describe(uri: str, context: Any) -> Found:  # noqa: ANN401
    """What a context says of its unit.

    Raises:
        RadioError: it does not answer.
    """
    phy = Attributes(context)
    low, _, high = phy.read(steps.phy("altvoltage0", True, "frequency_available", "")).strip("[]").split()
    celsius = float(phy.read(steps.phy("temp0", False, "input", ""))) / 1000
    about = context.attrs
    return Found(
        uri=uri,
        serial=about.get("hw_serial", ""),
        model=about.get("hw_model", "unknown"),
        firmware=about.get("fw_version", "unknown"),
        temperature_c=celsius,
        tuning_hz=(float(low), float(high)),
    )
