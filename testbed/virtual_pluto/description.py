"""What a Pluto consists of, as a client sees it: devices, channels, attributes, and the XML that tells so.

An attribute names the file behind it, because several channels may share one: what is written through one channel
is read through the other.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Final
from xml.sax.saxutils import quoteattr

PHY: Final = "iio:device0"
XADC: Final = "iio:device1"
TRANSMITTER: Final = "iio:device2"
RECEIVER: Final = "iio:device3"


@dataclass(frozen=True)
class Channel:
    """A channel: `files` maps each attribute to the file behind it; `scan` is (index, format) in a buffer."""

    id: str
    output: bool
    files: Mapping[str, str]
    name: str = ""
    scan: tuple[int, str] | None = None


@dataclass(frozen=True)
class Device:
    """A device: its own attributes are files of the same name."""

    id: str
    name: str
    channels: tuple[Channel, ...]
    attributes: tuple[str, ...] = ()
    debug: tuple[str, ...] = ()
    buffer: tuple[str, ...] = ()
    by_word: dict[tuple[str, bool], Channel] = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        words = {(word, c.output): c for c in self.channels for word in (c.id, c.name) if word}
        object.__setattr__(self, "by_word", words)

    @property
    def scanned(self) -> tuple[Channel, ...]:
        """Channels that a buffer can hold, in order of their index."""
        return tuple(sorted((c for c in self.channels if c.scan), key=lambda c: c.scan or (0, "")))


@cache
def devices() -> tuple[Device, ...]:
    """The four devices of a Pluto, in the order of their numbers."""
    return (_phy(), _xadc(), _transmitter(), _receiver())


def find(word: str) -> Device | None:
    """The device of this id or name."""
    return next((device for device in devices() if word in (device.id, device.name)), None)


def _files(channel: str, own: str, shared: str = "", shared_by: str = "") -> dict[str, str]:
    """Attributes with a file of the channel's own, and those with a file of the whole direction."""
    return {name: f"{channel}_{name}" for name in own.split()} | {
        name: f"{shared_by}_{name}" for name in shared.split()
    }


def _phy() -> Device:
    synthesiser = (
        "external fastlock_load fastlock_recall fastlock_save fastlock_store frequency frequency_available powerdown"
    )
    receive = "gain_control_mode gain_control_mode_available hardwaregain hardwaregain_available rf_port_select rssi"
    receive_shared = (
        "bb_dc_offset_tracking_en filter_fir_en quadrature_tracking_en rf_bandwidth rf_bandwidth_available "
        "rf_dc_offset_tracking_en rf_port_select_available sampling_frequency sampling_frequency_available"
    )
    transmit_shared = (
        "filter_fir_en rf_bandwidth rf_bandwidth_available rf_port_select_available sampling_frequency "
        "sampling_frequency_available"
    )
    transmit = "hardwaregain hardwaregain_available rf_port_select rssi"
    channels = (
        Channel("altvoltage0", True, _files("out_altvoltage0_RX_LO", synthesiser), "RX_LO"),
        Channel("altvoltage1", True, _files("out_altvoltage1_TX_LO", synthesiser), "TX_LO"),
        Channel("voltage0", False, _files("in_voltage0", receive, receive_shared, "in_voltage")),
        Channel("voltage0", True, _files("out_voltage0", transmit, transmit_shared, "out_voltage")),
        Channel("voltage2", False, _files("in_voltage2", "offset raw scale")),
        Channel("voltage2", True, _files("out_voltage2", "raw scale")),
        Channel("voltage3", True, _files("out_voltage3", "raw scale")),
        Channel("temp0", False, _files("in_temp0", "input")),
        Channel("out", False, {"voltage_filter_fir_en": "in_out_voltage_filter_fir_en"}),
    )
    own = (
        "calib_mode calib_mode_available dcxo_tune_coarse dcxo_tune_coarse_available dcxo_tune_fine "
        "dcxo_tune_fine_available ensm_mode ensm_mode_available filter_fir_config rssi_gain_step_error "
        "rx_path_rates trx_rate_governor trx_rate_governor_available tx_path_rates xo_correction "
        "xo_correction_available"
    )
    debug = "bist_prbs bist_timing_analysis bist_tone direct_reg_access loopback"
    return Device(PHY, "ad9361-phy", channels, tuple(own.split()), tuple(debug.split()))


def _xadc() -> Device:
    rails = ("vccint", "vccaux", "vccbram", "vccpint", "vccpaux", "vccoddr", "vrefp", "vrefn")
    volts = (
        Channel(f"voltage{k}", False, _files(f"in_voltage{k}_{rail}", "raw scale"), rail)
        for k, rail in enumerate(rails)
    )
    temperature = Channel("temp0", False, _files("in_temp0", "offset raw scale"))
    return Device(XADC, "xadc", (temperature, *volts))


def _transmitter() -> Device:
    tones = tuple(
        Channel(
            f"altvoltage{k}",
            True,
            _files(f"out_altvoltage{k}_{name}", "frequency phase raw scale", "sampling_frequency", "out_altvoltage"),
            name,
        )
        for k, name in enumerate(("TX1_I_F1", "TX1_I_F2", "TX1_Q_F1", "TX1_Q_F2"))
    )
    return Device(
        TRANSMITTER,
        "cf-ad9361-dds-core-lpc",
        (*_converter("out", True, "le:S16/16>>0", "calibphase calibscale"), *tones),
        debug=("direct_reg_access",),
        buffer=("data_available", "length_align_bytes", "watermark"),
    )


def _receiver() -> Device:
    return Device(
        RECEIVER,
        "cf-ad9361-lpc",
        _converter("in", False, "le:S12/16>>0", "calibbias calibphase calibscale"),
        debug=("direct_reg_access",),
        buffer=("data_available", "length_align_bytes", "watermark"),
    )


def _converter(prefix: str, output: bool, layout: str, own: str) -> tuple[Channel, ...]:
    """In-phase and quadrature channel of a converter."""
    shared = "sampling_frequency sampling_frequency_available"
    return tuple(
        Channel(
            f"voltage{k}",
            output,
            _files(f"{prefix}_voltage{k}", own, shared, f"{prefix}_voltage"),
            scan=(k, layout),
        )
        for k in range(2)
    )


DTD: Final = (
    "<!ELEMENT context (device | context-attribute)*>"
    "<!ELEMENT context-attribute EMPTY>"
    "<!ELEMENT device (channel | attribute | debug-attribute | buffer-attribute)*>"
    "<!ELEMENT channel (scan-element?, attribute*)>"
    "<!ELEMENT attribute EMPTY>"
    "<!ELEMENT scan-element EMPTY>"
    "<!ELEMENT debug-attribute EMPTY>"
    "<!ELEMENT buffer-attribute EMPTY>"
    "<!ATTLIST context name CDATA #REQUIRED description CDATA #IMPLIED>"
    "<!ATTLIST context-attribute name CDATA #REQUIRED value CDATA #REQUIRED>"
    "<!ATTLIST device id CDATA #REQUIRED name CDATA #IMPLIED>"
    "<!ATTLIST channel id CDATA #REQUIRED type (input|output) #REQUIRED name CDATA #IMPLIED>"
    "<!ATTLIST scan-element index CDATA #REQUIRED format CDATA #REQUIRED scale CDATA #IMPLIED>"
    "<!ATTLIST attribute name CDATA #REQUIRED filename CDATA #IMPLIED>"
    "<!ATTLIST debug-attribute name CDATA #REQUIRED>"
    "<!ATTLIST buffer-attribute name CDATA #REQUIRED>"
)


def context_xml(description: str, attributes: Mapping[str, str]) -> bytes:
    """The context as PRINT answers it: document type, context attributes, devices; without any value."""
    inside = [_tag("context-attribute", name=name, value=value) for name, value in attributes.items()]
    inside += [_device(device) for device in devices()]
    head = f'<?xml version="1.0" encoding="utf-8"?><!DOCTYPE context [{DTD}]>'
    return (head + _tag("context", inside, name="local", description=description)).encode("utf-8")


def _device(device: Device) -> str:
    inside = [_channel(channel) for channel in device.channels]
    inside += [_tag("attribute", name=name) for name in device.attributes]
    inside += [_tag("buffer-attribute", name=name) for name in device.buffer]
    inside += [_tag("debug-attribute", name=name) for name in device.debug]
    return _tag("device", inside, id=device.id, name=device.name)


def _channel(channel: Channel) -> str:
    inside = [_tag("scan-element", index=str(channel.scan[0]), format=channel.scan[1])] if channel.scan else []
    inside += [_tag("attribute", name=name, filename=file) for name, file in channel.files.items()]
    return _tag("channel", inside, id=channel.id, name=channel.name, type="output" if channel.output else "input")


def _tag(element: str, inside: Iterable[str] = (), /, **attributes: str) -> str:
    words = "".join(f" {name}={quoteattr(value)}" for name, value in attributes.items() if value)
    body = "".join(inside)
    return f"<{element}{words}>{body}</{element}>" if body else f"<{element}{words} />"
