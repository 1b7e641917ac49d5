"""Rules of the transceiver, `ad9361-phy`."""

from __future__ import annotations

import errno
from typing import Any, Final

from testbed.virtual_pluto.description import PHY
from testbed.virtual_pluto.fir import Fir, parse_fir
from testbed.virtual_pluto.grammar import Refused
from testbed.virtual_pluto.rates import FASTEST_SAMPLE_RATE, Chain, asked_chain, carries, clock_chain, slowest
from testbed.virtual_pluto.rules import (
    Rule,
    Rules,
    constant,
    decimal,
    flag,
    memory,
    one_of,
    setting,
    switch,
    whole_number,
)
from testbed.virtual_pluto.state import (
    ATTENUATION_STEP_MDB,
    ENSM_MODES,
    GAIN_MODES,
    MOST_ATTENUATION_MDB,
    TUNING,
    XO_NOMINAL,
    XO_SPAN,
    gain_range_db,
)
from testbed.virtual_pluto.unit import Unit

RECEIVE_PORTS: Final = "A_BALANCED B_BALANCED C_BALANCED A_N A_P B_N B_P C_N C_P TX_MONITOR1 TX_MONITOR2"
NARROWEST: Final = 200_000
WIDEST: Final = {"receive": 56_000_000, "transmit": 40_000_000}
BOOT_ATTENUATION_MDB: Final = 10_000
CALIBRATIONS: Final = ("auto", "manual", "manual_tx_quad", "tx_quad", "rf_dc_offs", "rssi_gain_step")
GAIN_STEP_ERRORS: Final = (
    "lna_error: 0 0 0 0\nmixer_error: 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0\ngain_step_calib_reg_val: 0 0 0 0 0"
)
GOVERNORS: Final = ("nominal", "highest_osr")


def phy_rules() -> Rules:
    """(device, file) → rule, for the transceiver."""
    rules = _oscillator("out_altvoltage0_RX_LO", "receive") | _oscillator("out_altvoltage1_TX_LO", "transmit")
    rules |= _gains() | _direction("in_voltage", "receive") | _direction("out_voltage", "transmit")
    rules |= _filters() | _modes() | _sensors()
    return {(PHY, file): rule for file, rule in rules.items()}


def _oscillator(file: str, side: str) -> dict[str, Rule]:
    return {
        f"{file}_frequency": Rule(
            lambda unit: str(getattr(unit.state, f"{side}_hz")), lambda unit, text: _tune(unit, side, text)
        ),
        f"{file}_frequency_available": Rule(lambda unit: "[{} 1 {}]".format(*_tuning_range(unit, side))),
        f"{file}_powerdown": setting("receiver_off" if side == "receive" else "transmitter_off", flag),
        f"{file}_external": memory((PHY, f"{file}_external"), "0", switch),
        f"{file}_fastlock_store": Rule(None, lambda unit, text: _fastlock_store(unit, side, text)),
        f"{file}_fastlock_recall": Rule(
            lambda unit: unit.state.plain.get((PHY, f"{side}_recalled"), "0"),
            lambda unit, text: _fastlock_recall(unit, side, text),
        ),
        f"{file}_fastlock_save": memory((PHY, f"{file}_fastlock_save"), "0 0", _profile),
        f"{file}_fastlock_load": Rule(None, lambda unit, text: None),
    }


def _tuning_range(unit: Unit, side: str) -> tuple[int, int]:
    return TUNING[unit.identity.model][0 if side == "receive" else 1]


def _tune(unit: Unit, side: str, text: str) -> None:
    setattr(unit.state, f"{side}_hz", whole_number(text, *_tuning_range(unit, side)))
    if side == "transmit":
        unit.retuned_transmitter()
    else:
        low, high = gain_range_db(unit.state.receive_hz)
        unit.state.receive_gain_db = min(max(unit.state.receive_gain_db, low), high)
    unit.settle()


def _profile(text: str) -> int:
    return whole_number(text.split(" ")[0], 0, 7)


def _fastlock_store(unit: Unit, side: str, text: str) -> None:
    unit.state.plain[PHY, f"{side}_profile{_profile(text)}"] = str(getattr(unit.state, f"{side}_hz"))


def _fastlock_recall(unit: Unit, side: str, text: str) -> None:
    stored = unit.state.plain.get((PHY, f"{side}_profile{_profile(text)}"))
    if stored is None:
        raise Refused(errno.EINVAL)
    unit.state.plain[PHY, f"{side}_recalled"] = text
    _tune(unit, side, stored)


def _gains() -> dict[str, Rule]:
    return {
        "in_voltage0_gain_control_mode": setting("gain_mode", one_of(*GAIN_MODES)),
        "in_voltage0_gain_control_mode_available": constant(" ".join(GAIN_MODES)),
        "in_voltage0_hardwaregain": Rule(lambda unit: f"{unit.gain_db():.6f} dB", _set_receive_gain),
        "in_voltage0_hardwaregain_available": Rule(
            lambda unit: "[{} 1 {}]".format(*gain_range_db(unit.state.receive_hz))
        ),
        "in_voltage0_rssi": Rule(lambda unit: f"{unit.rssi_db():.2f} dB"),
        "out_voltage0_hardwaregain": Rule(
            lambda unit: f"{-unit.state.attenuation_mdb / 1000:.6f} dB", _set_transmit_gain
        ),
        "out_voltage0_hardwaregain_available": constant("[-89.750000 0.250000 0.000000]"),
        "out_voltage0_rssi": constant("0.00 dB"),
    }


def _set_receive_gain(unit: Unit, text: str) -> None:
    if unit.state.gain_mode != "manual":
        raise Refused(errno.EOPNOTSUPP)
    unit.state.receive_gain_db = int(decimal(text, *gain_range_db(unit.state.receive_hz)))


def _set_transmit_gain(unit: Unit, text: str) -> None:
    wanted = decimal(text, -MOST_ATTENUATION_MDB / 1000, 0.0)
    unit.state.attenuation_mdb = int(-wanted * 1000) // ATTENUATION_STEP_MDB * ATTENUATION_STEP_MDB
    unit.settle()


def _direction(prefix: str, side: str) -> dict[str, Rule]:
    """Rates, bandwidth, port and tracking of one direction."""
    receive = side == "receive"
    ports = RECEIVE_PORTS if receive else "A B"
    rules = {
        f"{prefix}_sampling_frequency": Rule(lambda unit: str(unit.state.rate_hz), _set_rate),
        f"{prefix}_sampling_frequency_available": Rule(
            lambda unit: f"[{slowest(_division(unit.state.active_fir))} 1 {FASTEST_SAMPLE_RATE}]"
        ),
        f"{prefix}_rf_bandwidth": setting(
            f"{side}_bandwidth_hz", lambda text: whole_number(text, NARROWEST, WIDEST[side])
        ),
        f"{prefix}_rf_bandwidth_available": constant(f"[{NARROWEST} 1 {WIDEST[side]}]"),
        f"{prefix}_rf_port_select_available": constant(ports),
        f"{prefix}0_rf_port_select": memory(
            (PHY, f"{prefix}0_rf_port_select"), ports.split()[0], one_of(*ports.split())
        ),
    }
    if receive:
        for name in ("bb_dc_offset", "rf_dc_offset", "quadrature"):
            file = f"{prefix}_{name}_tracking_en"
            rules[file] = memory((PHY, file), "1", switch)
    return rules


def _division(fir: Fir | None) -> int:
    return min(fir.decimation, fir.interpolation) if fir else 1


def _chain(unit: Unit) -> Chain:
    return unit.state.asked_chain or clock_chain(unit.state.rate_hz, unit.state.active_fir)


def _set_rate(unit: Unit, text: str) -> None:
    rate = whole_number(text, 0, FASTEST_SAMPLE_RATE)
    try:
        chain = clock_chain(rate, unit.state.active_fir)
    except ValueError:
        raise Refused(errno.EINVAL) from None
    if unit.state.active_fir and not carries(unit.state.active_fir, chain):
        raise Refused(errno.EINVAL)
    unit.state.rate_hz, unit.state.asked_chain = rate, None
    if unit.faults.gain_reset_on_rate:
        unit.state.attenuation_mdb = BOOT_ATTENUATION_MDB
    unit.settle()


def _filters() -> dict[str, Rule]:
    return {
        "in_voltage_filter_fir_en": _enable(("fir_receive",)),
        "out_voltage_filter_fir_en": _enable(("fir_transmit",)),
        "in_out_voltage_filter_fir_en": _enable(("fir_receive", "fir_transmit")),
        "filter_fir_config": Rule(
            lambda unit: unit.state.fir.summary() if unit.state.fir else "FIR Rx: 0,0 Tx: 0,0", _load_filter
        ),
        "rx_path_rates": Rule(lambda unit: _chain(unit).receive_text()),
        "tx_path_rates": Rule(lambda unit: _chain(unit).transmit_text()),
        "trx_rate_governor": memory((PHY, "trx_rate_governor"), "nominal", one_of(*GOVERNORS)),
        "trx_rate_governor_available": constant(" ".join(GOVERNORS)),
    }


def _enable(sides: tuple[str, ...]) -> Rule:
    return Rule(
        lambda unit: str(int(all(getattr(unit.state, side) for side in sides))),
        lambda unit, text: _enable_filter(unit, sides, flag(text)),
    )


def _enable_filter(unit: Unit, sides: tuple[str, ...], on: bool) -> None:
    """Switch filters; EINVAL where the sample rate is out of reach with (or without) them."""
    state = unit.state
    before = state.fir_receive, state.fir_transmit, state.rate_hz
    asked = asked_chain(state.fir) if on and state.fir else None
    for side in sides:
        setattr(state, side, on)
    try:
        if on and not (state.fir and carries(state.fir, asked or clock_chain(_filtered_rate(unit), state.fir))):
            raise ValueError("the filters do not fit")
        state.rate_hz = _filtered_rate(unit) if on else state.rate_hz
        if asked is None:
            clock_chain(state.rate_hz, state.active_fir)
    except ValueError:
        state.fir_receive, state.fir_transmit, state.rate_hz = before
        raise Refused(errno.EINVAL) from None
    state.asked_chain = asked
    unit.settle()


def _filtered_rate(unit: Unit) -> int:
    """The rate that the filter's file asks for, else the one in force."""
    fir = unit.state.fir
    return fir.sample_rate_hz if fir and fir.sample_rate_hz else unit.state.rate_hz


def _load_filter(unit: Unit, text: str) -> None:
    try:
        fir = parse_fir(text)
    except ValueError:
        raise Refused(errno.EINVAL) from None
    unit.state.fir = fir
    transmit, receive = fir.bandwidths_hz
    unit.state.transmit_bandwidth_hz = transmit or unit.state.transmit_bandwidth_hz
    unit.state.receive_bandwidth_hz = receive or unit.state.receive_bandwidth_hz


def _modes() -> dict[str, Rule]:
    low, high = XO_NOMINAL - XO_SPAN, XO_NOMINAL + XO_SPAN
    return {
        "ensm_mode": setting("ensm", one_of(*ENSM_MODES)),
        "ensm_mode_available": constant(" ".join(ENSM_MODES)),
        "calib_mode": memory((PHY, "calib_mode"), "auto", _calibration),
        "calib_mode_available": constant(" ".join(CALIBRATIONS)),
        "xo_correction": setting("xo_correction", lambda text: whole_number(text, low, high)),
        "xo_correction_available": constant(f"[{low} 1 {high}]"),
        "dcxo_tune_coarse": Rule(_absent, lambda unit, text: _absent(unit)),
        "dcxo_tune_coarse_available": Rule(_absent),
        "dcxo_tune_fine": Rule(_absent, lambda unit, text: _absent(unit)),
        "dcxo_tune_fine_available": Rule(_absent),
    }


def _calibration(text: str) -> str:
    return one_of(*CALIBRATIONS)(text.split(" ")[0])


def _absent(unit: Unit) -> Any:  # noqa: ANN401
    """A Pluto has no tunable crystal."""
    raise Refused(errno.ENODEV)


def _sensors() -> dict[str, Rule]:
    constants = {
        "in_voltage2_offset": "57",
        "in_voltage2_raw": "350",
        "in_voltage2_scale": "0.305250",
        "out_voltage2_scale": "1.000000",
        "out_voltage3_scale": "1.000000",
        "rssi_gain_step_error": GAIN_STEP_ERRORS,
    }
    rules = {file: constant(text) for file, text in constants.items()}
    for file in ("out_voltage2_raw", "out_voltage3_raw"):
        rules[file] = memory((PHY, file), "306", lambda text: whole_number(text, 0, 1023))
    rules["in_temp0_input"] = Rule(lambda unit: str(round(1000 * unit.temperature_c)))
    return rules
