"""From an address to a radio. The address is the only thing that tells simulated from real."""

from __future__ import annotations

from testbed.errors import AddressError
from testbed.radio.base import Radio
from testbed.radio.guard import NOTHING, TransmitPermit
from testbed.radio.pluto import PlutoRadio
from testbed.radio.pluto_steps import PlutoOptions
from testbed.radio.replay import ReplayRadio
from testbed.radio.sim import Ether, SimRadio
from testbed.radio.tape import Tape

FORMS = (
    "sim: (a radio on the simulated air), pluto:ip:HOST[:PORT], pluto:usb:BUS.DEVICE.INTERFACE, "
    "pluto:serial:SERIAL (an ADALM-PLUTO), replay:RUN (what the radios of a recorded run heard)"
)
PLUTO_KINDS = ("ip", "usb", "serial")


def open_radio(
    address: str,
    *,
    unit: int,
    ether: Ether | None = None,
    tape: Tape | None = None,
    permit: TransmitPermit = NOTHING,
    options: PlutoOptions | None = None,
) -> Radio:
    """The radio at `address`, to be used in a `with` block.

    Args:
        address: what the campaign or `--radio` names.
        unit: number of the node; a simulated radio of that number is opened.
        ether: the simulated air, needed by `sim:` alone.
        tape: what this node's radio heard, needed by `replay:` alone.
        permit: what a real radio may transmit; by default nothing. `sim:` radiates nothing and needs none.
        options: what a Pluto needs beyond its settings.

    Raises:
        AddressError: an unknown form of address, `sim:` without an air, or `replay:` without a tape.
        RadioError: the radio does not answer.
    """
    check_address(address)
    if address.startswith("pluto:"):
        return PlutoRadio(address, permit, options)
    if address.startswith("replay:"):
        if tape is None:
            raise AddressError("replay: needs a recording, and none was given")
        return ReplayRadio(address, tape)
    if ether is None:
        raise AddressError("sim: needs a simulated air, and none was given")
    return SimRadio(ether, unit)


def check_address(address: str) -> str:
    """`address`, when `open_radio` knows its form.

    Raises:
        AddressError: it does not.
    """
    scheme, colon, rest = address.partition(":")
    kind, _, place = rest.partition(":")
    known = {"sim": bool(colon), "replay": bool(rest), "pluto": kind in PLUTO_KINDS and bool(place)}
    if known.get(scheme):
        return address
    raise AddressError(f"radio address {address!r} is not one of: {FORMS}")
