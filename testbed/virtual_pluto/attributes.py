"""What reading and writing each attribute of a virtual Pluto does: one rule a file.

Ranges, units and texts are those of the Linux drivers; a value that a driver would refuse is refused with its
error code.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Mapping
from functools import cache, lru_cache
from typing import Final

from testbed.virtual_pluto.description import PHY, RECEIVER, TRANSMITTER, XADC, Device, devices, find
from testbed.virtual_pluto.grammar import Attribute, Refused
from testbed.virtual_pluto.phy import phy_rules
from testbed.virtual_pluto.rules import Rule, Rules, constant, decimal, flag, memory, setting, whole_number
from testbed.virtual_pluto.unit import OVERFLOW_BIT, STATUS_REGISTER, UNDERFLOW_BIT, Unit

RAILS: Final = {
    "vccint": 1372,
    "vccaux": 2455,
    "vccbram": 1374,
    "vccpint": 1372,
    "vccpaux": 2457,
    "vccoddr": 1845,
    "vrefp": 1707,
    "vrefn": 0,
}
"""Raw readings of the supply rails, at 0.7324 mV a step."""
XADC_OFFSET: Final = -2219
XADC_SCALE: Final = 123.040771484
LOOPBACKS: Final = 2


@cache
def rules() -> Rules:
    """(device, file) → rule, for every attribute that the description names."""
    return phy_rules() | _supplies() | _tones() | _converters() | _registers() | _buffers()


def named(attribute: Attribute) -> tuple[Device, dict[str, str]]:
    """The device of an attribute, and the files of all attributes at its place by name.

    Raises:
        Refused: ENODEV for an unknown device, ENXIO for an unknown channel.
    """
    device = find(attribute.device)
    if device is None:
        raise Refused(errno.ENODEV)
    if attribute.place in ("input", "output"):
        channel = device.by_word.get((attribute.channel, attribute.place == "output"))
        if channel is None:
            raise Refused(errno.ENXIO)
        return device, dict(channel.files)
    own = {"device": device.attributes, "debug": device.debug, "buffer": device.buffer}[attribute.place]
    prefix = {"device": "", "debug": "debug/", "buffer": "buffer/"}[attribute.place]
    return device, {name: prefix + name for name in own}


@lru_cache(maxsize=1024)
def find_rule(attribute: Attribute) -> tuple[str, Rule]:
    """The file of one attribute, and its rule; ENOENT for a name that the place has not."""
    device, files = named(attribute)
    if attribute.name not in files:
        raise Refused(errno.ENOENT)
    file = files[attribute.name]
    return file, rules()[device.id, file]


def unruled() -> set[tuple[str, str]]:
    """Files that the description names and no rule covers: none."""
    files = {
        (device.id, file) for device in devices() for channel in device.channels for file in channel.files.values()
    }
    files |= {(device.id, name) for device in devices() for name in device.attributes}
    files |= {(device.id, f"debug/{name}") for device in devices() for name in device.debug}
    files |= {(device.id, f"buffer/{name}") for device in devices() for name in device.buffer}
    return files - set(rules())


def _supplies() -> Rules:
    rules = {
        "in_temp0_raw": Rule(lambda unit: str(round(unit.temperature_c * 1000 / XADC_SCALE) - XADC_OFFSET)),
        "in_temp0_offset": constant(str(XADC_OFFSET)),
        "in_temp0_scale": constant(str(XADC_SCALE)),
    }
    for k, (rail, raw) in enumerate(RAILS.items()):
        rules[f"in_voltage{k}_{rail}_raw"] = constant(str(raw))
        rules[f"in_voltage{k}_{rail}_scale"] = constant("0.732421875")
    return {(XADC, file): rule for file, rule in rules.items()}


def _tones() -> Rules:
    rules = {}
    for k, name in enumerate(("TX1_I_F1", "TX1_I_F2", "TX1_Q_F1", "TX1_Q_F2")):
        file = f"out_altvoltage{k}_{name}"
        rules[f"{file}_frequency"] = _tone(k, "frequency_hz", lambda text: whole_number(text, 0, 1 << 31))
        rules[f"{file}_phase"] = _tone(k, "phase_mdeg", lambda text: whole_number(text, 0, 360_000))
        rules[f"{file}_scale"] = _tone(k, "scale", lambda text: decimal(text, 0.0, 1.0))
        rules[f"{file}_raw"] = _tone(k, "on", flag)
    rules["out_altvoltage_sampling_frequency"] = Rule(lambda unit: str(round(unit.state.transmit_rate_hz)))
    return {(TRANSMITTER, file): rule for file, rule in rules.items()}


def _tone(k: int, field: str, parse: object) -> Rule:
    def show(unit: Unit) -> str:
        value = getattr(unit.state.tones[k], field)
        return f"{value:.6f}" if isinstance(value, float) else str(int(value))

    def store(unit: Unit, text: str) -> None:
        setattr(unit.state.tones[k], field, parse(text))  # type: ignore[operator]
        unit.settle()

    return Rule(show, store)


def _converters() -> Rules:
    rules: Rules = {}
    for device, prefix, field in ((RECEIVER, "in", "decimate_by_8"), (TRANSMITTER, "out", "interpolate_by_8")):
        rules[device, f"{prefix}_voltage_sampling_frequency"] = _divided_rate(field)
        rules[device, f"{prefix}_voltage_sampling_frequency_available"] = Rule(
            lambda unit: f"{unit.state.rate_hz} {unit.state.rate_hz // 8}"
        )
        for k in range(2):
            for name, initial in (("calibphase", "0.000000"), ("calibscale", "1.000000"), ("calibbias", "0")):
                key = (device, f"{prefix}_voltage{k}_{name}")
                if (device, name) != (TRANSMITTER, "calibbias"):
                    rules[key] = memory(key, initial, lambda text: decimal(text, -65536, 65536))
    return rules


def _divided_rate(field: str) -> Rule:
    """The rate in a buffer: all of the transceiver's, or an eighth."""

    def show(unit: Unit) -> str:
        return str(unit.state.rate_hz // 8 if getattr(unit.state, field) else unit.state.rate_hz)

    def store(unit: Unit, text: str) -> None:
        rate = whole_number(text, 0, 1 << 31)
        if rate not in (unit.state.rate_hz, unit.state.rate_hz // 8):
            raise Refused(errno.EINVAL)
        setattr(unit.state, field, rate == unit.state.rate_hz // 8)
        unit.settle()

    return Rule(show, store)


def _registers() -> Rules:
    rules: Rules = {(device, "debug/direct_reg_access"): _register(device) for device in (PHY, RECEIVER, TRANSMITTER)}
    rules[PHY, "debug/loopback"] = setting("loopback", lambda text: whole_number(text, 0, LOOPBACKS))
    for name, words, most in (("bist_prbs", 1, 2), ("bist_timing_analysis", 1, 1), ("bist_tone", 4, 0xFFFF)):
        key = (PHY, f"debug/{name}")
        rules[key] = memory(key, " ".join(["0"] * words), _numbers(words, most))
    return rules


def _numbers(words: int, most: int) -> Callable[[str], None]:
    """A check for so many numbers, none beyond `most`."""

    def check(text: str) -> None:
        if len(text.split(" ")) != words:
            raise Refused(errno.EINVAL)
        for word in text.split(" "):
            whole_number(word, 0, most)

    return check


def _register(device: str) -> Rule:
    """`direct_reg_access`: an address selects a register, an address and a value write it, reading reads it."""

    def show(unit: Unit) -> str:
        address = unit.state.register.get(device, 0)
        value = unit.state.status.get(device, 0) if address == STATUS_REGISTER else 0
        return f"0x{value:X}"

    def store(unit: Unit, text: str) -> None:
        words = [_hexadecimal(word) for word in text.split()]
        if not 1 <= len(words) <= 2:
            raise Refused(errno.EINVAL)
        unit.state.register[device] = words[0]
        if len(words) == 2 and words[0] == STATUS_REGISTER:
            left = unit.state.status.get(device, 0) & ~words[1]
            unit.state.status[device] = left | _stuck(unit, device)

    return Rule(show, store)


def _stuck(unit: Unit, device: str) -> int:
    """Bits that cannot be cleared."""
    if device == TRANSMITTER:
        return UNDERFLOW_BIT if unit.faults.stuck_underflow else 0
    return OVERFLOW_BIT if device == RECEIVER and unit.faults.stuck_overflow else 0


def _hexadecimal(word: str) -> int:
    try:
        value = int(word, 0)
    except ValueError:
        raise Refused(errno.EINVAL) from None
    if not 0 <= value < 1 << 32:
        raise Refused(errno.EINVAL)
    return value


def _buffers() -> Rules:
    rules: Rules = {}
    for device in (RECEIVER, TRANSMITTER):
        rules[device, "buffer/data_available"] = constant("0")
        rules[device, "buffer/length_align_bytes"] = constant("8")
        key = (device, "buffer/watermark")
        rules[key] = memory(key, "1", lambda text: whole_number(text, 1, 1 << 26))
    return rules


def context_attributes(unit: Unit) -> Mapping[str, str]:
    """What the context says of the whole unit."""
    who = unit.identity
    return {
        "hw_model": who.hardware,
        "hw_model_variant": "1",
        "hw_serial": who.serial,
        "fw_version": who.firmware,
        "ad9361-phy,xo_correction": str(unit.state.xo_correction),
        "ad9361-phy,model": who.model,
    }
