"""A `Wire` in memory, and a unit to talk to."""

from __future__ import annotations

import threading

from testbed.radio.air import AirSettings
from testbed.virtual_pluto.claims import Claims
from testbed.virtual_pluto.conversation import Conversation
from testbed.virtual_pluto.serve import make_units
from testbed.virtual_pluto.unit import Unit


class MemoryWire:
    """What the client sends is there from the start; what it gets is kept."""

    def __init__(self, sent: bytes) -> None:
        self._sent = sent
        self.received = b""

    def feed(self, sent: bytes) -> None:
        """More from the client."""
        self._sent += sent

    def taken(self) -> bytes:
        """What the client got since it last looked."""
        received, self.received = self.received, b""
        return received

    def line(self, longest: int) -> bytes:
        end = self._sent.find(b"\n") + 1 or len(self._sent)
        taken, self._sent = self._sent[: min(end, longest)], self._sent[min(end, longest) :]
        return taken

    def exactly(self, count: int) -> bytes:
        if len(self._sent) < count:
            raise EOFError
        taken, self._sent = self._sent[:count], self._sent[count:]
        return taken

    def send(self, *parts: bytes | memoryview) -> None:
        self.received += b"".join(parts)


def ask(unit: Unit, sent: bytes, claims: Claims | None = None) -> bytes:
    """What a client that sends this and leaves receives."""
    wire = MemoryWire(sent)
    Conversation(unit, wire, threading.Event(), claims or Claims()).run()
    return wire.received


def air(units: int, **changes: object) -> AirSettings:
    """A cable of 50 dB between any two units; no clock errors."""
    settings = {
        "profile": "TDL-E",
        "delay_spread_s": 0.0,
        "doppler_hz": 0.0,
        "path_gain_db": tuple((-50.0,) * units for _ in range(units)),
        "clock_ppm": (0.0,) * units,
        "noise_figure_db": 6.0,
        "full_scale_dbm": 7.0,
        "reciprocal": False,
        "seed": 3,
    }
    return AirSettings(**settings | changes)  # type: ignore[arg-type]


def units(count: int, own_gain_db: float | None = None, **changes: object) -> list[Unit]:
    """Units of one air on a logical clock, tuned alike: 4 MS/s at 2.45 GHz, 40 dB and −20 dB of gain."""
    made = make_units(air(count, **changes), "logical", own_gain_db)
    for unit in made:
        unit.state.rate_hz = 4_000_000
        unit.state.receive_hz = unit.state.transmit_hz = 2_450_000_000
        unit.state.gain_mode, unit.state.receive_gain_db, unit.state.attenuation_mdb = "manual", 40, 20_000
    return made


def value(unit: Unit, where: str) -> str:
    """The value of an attribute; the error as a number in text."""
    answer = ask(unit, f"READ {where}\r\n".encode())
    size, _, rest = answer.partition(b"\n")
    return rest[: int(size) - 1].decode() if int(size) > 0 else size.decode()


def set_value(unit: Unit, where: str, text: str) -> int:
    """Write an attribute; what came back."""
    data = text.encode() + b"\0"
    return int(ask(unit, f"WRITE {where} {len(data)}\r\n".encode() + data))
