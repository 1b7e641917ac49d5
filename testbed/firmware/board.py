"""One board's TOML → a frozen value, and what follows from it for `config.txt` and for U-Boot.

The file is named after the board's hostname. Defaults are the factory's; unknown keys are errors. A WLAN passphrase has
no key here, so that none is committed; it is handed over when the board is written.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from ipaddress import IPv4Address, IPv4Network
from itertools import pairwise
from typing import Annotated, Final, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from testbed.errors import FirmwareError
from testbed.firmware.config_txt import ACTIONS, check_value
from testbed.firmware.uboot import check_variables
from testbed.tables import Table

NOMINAL_CLOCK_HZ: Final = 40_000_000
CLOCK_WINDOW_HZ: Final = 8_000  # what the driver's xo_correction_available spans on either side
TUNING_HZ: Final = {"ad9363a": (325e6, 3.8e9), "ad9364": (70e6, 6e9), "ad9361": (70e6, 6e9)}

Finite = Annotated[float, Field(allow_inf_nan=False)]


def _matching(pattern: str, words: str) -> Callable[[str], str]:
    def check(text: str) -> str:
        if not re.fullmatch(pattern, text, re.ASCII):
            raise ValueError(f"must be {words}")
        return text

    return check


def _private(address: IPv4Address) -> IPv4Address:
    if not address.is_private or address.is_loopback or address.is_unspecified:
        raise ValueError("must be a private address, e.g. 192.168.2.1")
    return address


def _contiguous(mask: IPv4Address) -> IPv4Address:
    inverse = ~int(mask) & 0xFFFFFFFF
    if inverse & (inverse + 1) or not 1 < inverse < 0xFFFFFFFF:
        raise ValueError("must be a netmask that leaves at least two addresses, e.g. 255.255.255.0")
    return mask


def _safe(key: str) -> Callable[[str], str]:
    def check(text: str) -> str:
        try:
            check_value(key, text)
        except FirmwareError as error:
            raise ValueError(str(error)) from error
        return text

    return check


Serial = Annotated[str, AfterValidator(_matching(r"[0-9a-f]{16,40}", "the 16 to 40 hex digits of `testbed scan`"))]
# RFC 1123, section 2.1: one label of letters, digits and hyphens, no hyphen at either end.
Hostname = Annotated[
    str,
    AfterValidator(
        _matching(
            r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?",
            "1 to 63 letters, digits and hyphens, with no hyphen at either end (RFC 1123)",
        )
    ),
]
Address = Annotated[IPv4Address, AfterValidator(_private)]
Netmask = Annotated[IPv4Address, AfterValidator(_contiguous)]
# The board puts the name into a sed expression too, where a slash ends it.
NetworkName = Annotated[
    str, AfterValidator(_safe("ssid_wlan")), AfterValidator(_matching(r"[^/]{0,32}", "up to 32 characters without /"))
]


class NetworkTable(Table):
    """The link over USB, and over Ethernet where the board has it."""

    hostname: Hostname
    address: Address = Field(description="of the board on its USB link")
    host_address: Address = Field(description="of the computer on that link")
    netmask: Netmask = IPv4Address("255.255.255.0")
    ethernet_address: Address | None = Field(None, description="unset = DHCP")
    ethernet_netmask: Netmask = IPv4Address("255.255.255.0")

    @property
    def subnet(self) -> IPv4Network:
        """The subnet of the USB link."""
        return IPv4Network(f"{self.address}/{self.netmask}", strict=False)

    @model_validator(mode="after")
    def _one_subnet(self) -> Self:
        both = {self.address, self.host_address}
        if len(both) == 1:
            raise ValueError(f"network.address and network.host_address are both {self.address}: give two addresses")
        if self.host_address not in self.subnet:
            raise ValueError(
                f"network.host_address = {self.host_address} is not in the subnet {self.subnet} of network.address"
            )
        reserved = both & {self.subnet.network_address, self.subnet.broadcast_address}
        if reserved:
            raise ValueError(f"{reserved.pop()} is the network or broadcast address of {self.subnet}: take another")
        return self


class WlanTable(Table):
    """A USB WLAN stick on the board; no name = off."""

    name: NetworkName = ""
    open: bool = Field(False, description="the network has no passphrase")
    address: Address | None = Field(None, description="unset = DHCP")


class SystemTable(Table):
    """Clock and USB."""

    xo_correction_hz: int | None = Field(None, description="measured reference clock; unset = the factory's")
    handle_suspend: bool = Field(False, description="the board reacts to USB suspend")
    usb_ethernet: Literal["rndis", "ncm", "ecm"] = "rndis"


class LimitsTable(Table):
    """What this board may transmit, by law and by what is connected to it."""

    bands_hz: Annotated[tuple[tuple[Finite, Finite], ...], Field(min_length=1)] = ((2.4e9, 2.4835e9),)
    min_attenuation_db: float = Field(10.0, ge=0, le=89.75)
    max_eirp_dbm: float = Field(20.0, ge=-100, le=36)
    full_scale_dbm: float = Field(7.0, ge=-30, le=30, description="power of a full-scale sample without attenuation")


class AntennaTable(Table):
    """What hangs on the transmit port."""

    gain_dbi: float = Field(2.0, ge=-20, le=30)


class Board(Table):
    """A whole board file."""

    serial: Serial
    role: Literal["node", "reference"] = Field("node", description="a reference's clock is the fleet's")
    revision: Literal["A", "B", "C", "D"] = "B"
    network: NetworkTable
    wlan: WlanTable = WlanTable()
    system: SystemTable = SystemTable()
    uboot: dict[str, str] = Field(default_factory=dict, description="U-Boot variables beyond config.txt")
    limits: LimitsTable = LimitsTable()
    antenna: AntennaTable = AntennaTable()

    @property
    def name(self) -> str:
        """The hostname, and the stem of the file."""
        return self.network.hostname

    @property
    def is_placeholder(self) -> bool:
        """Whether the serial still is an example's."""
        return self.serial.startswith("0" * 12)

    @property
    def tuning_hz(self) -> tuple[float, float]:
        """Lowest and highest centre frequency of the transceiver the board is set up as."""
        return TUNING_HZ[self.uboot.get("attr_val", "ad9363a")]

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        try:
            check_variables(self.uboot, self.revision)
        except FirmwareError as error:
            raise ValueError(str(error)) from error
        _check_clock(self)
        _check_bands(self)
        _check_power(self)
        return self

    def config_values(self, passphrase: str = "") -> dict[str, str]:
        """Key → value for every key of `config.txt`; all actions 0.

        Args:
            passphrase: of the WLAN, where it has one; never stored.

        Raises:
            FirmwareError: a passphrase that WPA or the board cannot take, or one without a network for it.
        """
        _check_passphrase(self.wlan, passphrase)
        network, wlan, system = self.network, self.wlan, self.system
        return {
            "hostname": network.hostname,
            "ipaddr": str(network.address),
            "ipaddr_host": str(network.host_address),
            "netmask": str(network.netmask),
            "ssid_wlan": wlan.name,
            "pwd_wlan": passphrase,
            "ipaddr_wlan": _text(wlan.address),
            "ipaddr_eth": _text(network.ethernet_address),
            "netmask_eth": str(network.ethernet_netmask),
            "xo_correction": _text(system.xo_correction_hz),
            "udc_handle_suspend": str(int(system.handle_suspend)),
            "usb_ethernet_mode": system.usb_ethernet,
        } | dict.fromkeys(ACTIONS, "0")


def _text(value: object) -> str:
    return "" if value is None else str(value)


def _check_clock(board: Board) -> None:
    hz = board.system.xo_correction_hz
    if hz is None:
        return
    override = board.uboot.get("ad936x_ext_refclk_override") or board.uboot.get("ad936x_ext_refclk")
    nominal = int(override.strip("<>")) if override else NOMINAL_CLOCK_HZ
    if abs(hz - nominal) > CLOCK_WINDOW_HZ:
        raise ValueError(
            f"system.xo_correction_hz = {hz} must be the clock itself, not its error: from "
            f"{nominal - CLOCK_WINDOW_HZ} to {nominal + CLOCK_WINDOW_HZ}"
        )


def _check_bands(board: Board) -> None:
    low, high = board.tuning_hz
    for band in board.limits.bands_hz:
        if not low <= band[0] < band[1] <= high:
            raise ValueError(
                f"limits.bands_hz holds {list(band)}: give [lowest, highest] within {low:.0f} … {high:.0f} Hz, "
                "where the transceiver tunes"
            )
    for below, above in pairwise(sorted(board.limits.bands_hz)):
        if below[1] > above[0]:
            raise ValueError(f"limits.bands_hz: {list(below)} and {list(above)} overlap: join them")


def _check_power(board: Board) -> None:
    limits = board.limits
    eirp_dbm = limits.full_scale_dbm - limits.min_attenuation_db + board.antenna.gain_dbi
    if eirp_dbm > limits.max_eirp_dbm:
        raise ValueError(
            f"limits.min_attenuation_db = {limits.min_attenuation_db} with antenna.gain_dbi = {board.antenna.gain_dbi} "
            f"allows {eirp_dbm:.1f} dBm EIRP, above limits.max_eirp_dbm = {limits.max_eirp_dbm}: attenuate more"
        )


def _check_passphrase(wlan: WlanTable, passphrase: str) -> None:
    if not passphrase:
        return
    if not wlan.name or wlan.open:
        raise FirmwareError("a WLAN passphrase is given, but wlan.name is empty or wlan.open is true: set the network")
    if not 8 <= len(passphrase) <= 63 or not re.fullmatch(r"[A-Za-z0-9._:+,@%-]+", passphrase):
        raise FirmwareError(
            "the WLAN passphrase must have 8 to 63 letters, digits or . _ : + , @ % -: "
            "the board evaluates it in a root shell"
        )
