"""From an address to a radio. The address is the only thing that tells simulated from real."""

from __future__ import annotations

from testbed.errors import AddressError
from testbed.radio.base import Radio
from testbed.radio.sim import Ether, SimRadio

FORMS = "sim: (a radio on the simulated air)"


def open_radio(address: str, *, unit: int, ether: Ether | None = None) -> Radio:
    """The radio at `address`, to be used in a `with` block.

    Args:
        address: what the campaign or `--radio` names.
        unit: number of the node; a simulated radio of that number is opened.
        ether: the simulated air, needed by `sim:` alone.

    Raises:
        AddressError: an unknown form of address, or `sim:` without an air.
    """
    scheme = address.partition(":")[0]
    if scheme == "sim" and address.startswith("sim:"):
        if ether is None:
            raise AddressError("sim: needs a simulated air, and none was given")
        return SimRadio(ether, unit)
    raise AddressError(f"radio address {address!r} is not one of: {FORMS}")


def check_address(address: str) -> str:
    """`address`, when `open_radio` knows its form.

    Raises:
        AddressError: it does not.
    """
    if not address.startswith("sim:"):
        raise AddressError(f"radio address {address!r} is not one of: {FORMS}")
    return address
