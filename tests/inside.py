"""As much of pyadi-iio and libiio as the Pluto driver uses, straight into a virtual Pluto: no socket, no library.

For tests that need tens of thousands of cases. Each of them also runs, with fewer cases, through the genuine libraries:
what is here stands for their speed, never for their behaviour. Commands, parsing, rules and air are the real ones.
"""

from __future__ import annotations

import threading
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from testbed.radio import pluto
from testbed.virtual_pluto.claims import Claims
from testbed.virtual_pluto.conversation import Conversation
from testbed.virtual_pluto.description import RECEIVER, TRANSMITTER, devices
from testbed.virtual_pluto.unit import Unit
from tests.unit.virtual_pluto.wires import MemoryWire

ALL_CHANNELS = "00000003"


class Line:
    """A connection."""

    def __init__(self, unit: Unit, claims: Claims) -> None:
        self._wire = MemoryWire(b"")
        self._conversation = Conversation(unit, self._wire, threading.Event(), claims)

    def ask(self, command: str, payload: bytes = b"") -> bytes:
        """What comes back for one command; OSError for an error."""
        self._wire.feed(payload)
        self._conversation._answer_line(f"{command}\r\n".encode())
        answer = self._wire.taken()
        if answer.startswith(b"-"):
            raise OSError(-int(answer), command)
        return answer

    def close(self) -> None:
        """The client is gone."""
        self._wire.feed(b"")
        self._conversation.run()


class Attribute:
    """A value behind a name."""

    def __init__(self, line: Line, where: str) -> None:
        self._line, self._where = line, where

    @property
    def value(self) -> str:
        return self._line.ask(f"READ {self._where}").partition(b"\n")[2].rstrip(b"\n").rstrip(b"\0").decode()

    @value.setter
    def value(self, text: str) -> None:
        data = text.encode() + b"\0"
        self._line.ask(f"WRITE {self._where} {len(data)}", data)


class Attributes(dict[str, Attribute]):
    """Attributes of a place, made when they are asked for."""

    def __init__(self, line: Line, place: str) -> None:
        super().__init__()
        self._line, self._place = line, place

    def __missing__(self, name: str) -> Attribute:
        return Attribute(self._line, f"{self._place} {name}")


class Device:
    """A device of a context."""

    def __init__(self, line: Line, identity: str) -> None:
        self._line, self._id = line, identity
        self.attrs = Attributes(line, identity)
        self.debug_attrs = Attributes(line, f"{identity} DEBUG")

    def find_channel(self, name: str, output: bool) -> SimpleNamespace:
        return SimpleNamespace(attrs=Attributes(self._line, f"{self._id} {'OUTPUT' if output else 'INPUT'} {name}"))

    def set_kernel_buffers_count(self, count: int) -> None:
        self._line.ask(f"SET {self._id} BUFFERS_COUNT {count}")

    def reg_write(self, register: int, value: int) -> None:
        self.debug_attrs["direct_reg_access"].value = f"0x{register:x} 0x{value:x}"

    def reg_read(self, register: int) -> int:
        self.debug_attrs["direct_reg_access"].value = f"0x{register:x}"
        return int(self.debug_attrs["direct_reg_access"].value, 0)


class Context:
    """`iio.Context` of a unit."""

    def __init__(self, unit: Unit) -> None:
        self.unit, self.claims = unit, Claims()
        self.line = Line(unit, self.claims)
        self.attrs = {"hw_serial": unit.identity.serial}
        self._devices = {device.name: Device(self.line, device.id) for device in devices()}

    def find_device(self, name: str) -> Device:
        return self._devices[name]

    def set_timeout(self, milliseconds: int) -> None:
        """Nothing takes time."""


class Sdr:
    """`adi.Pluto` on a context."""

    def __init__(self, uri_ctx: Context) -> None:
        self.ctx = uri_ctx
        self.tx_cyclic_buffer = False
        self.rx_buffer_size = 1024
        self._buffer: Line | None = None

    def tx(self, codes: np.ndarray) -> None:
        for k in range(4):
            self.ctx.find_device("cf-ad9361-dds-core-lpc").find_channel(f"altvoltage{k}", True).attrs["raw"].value = "0"
        data = np.stack([codes.real, codes.imag], axis=1).astype("<i2").tobytes()
        self._buffer = Line(self.ctx.unit, self.ctx.claims)
        self._buffer.ask(f"OPEN {TRANSMITTER} {codes.size} {ALL_CHANNELS} CYCLIC")
        self._buffer.ask(f"WRITEBUF {TRANSMITTER} {len(data)}", data)

    def tx_destroy_buffer(self) -> None:
        if self._buffer is not None:
            self._buffer.close()
        self._buffer = None

    def rx(self) -> np.ndarray:
        line, size = Line(self.ctx.unit, self.ctx.claims), 4 * self.rx_buffer_size
        line.ask(f"OPEN {RECEIVER} {self.rx_buffer_size} {ALL_CHANNELS}")
        answer = line.ask(f"READBUF {RECEIVER} {size}")
        line.close()
        codes = np.frombuffer(answer[-size:], "<i2").astype(float)
        return codes[::2] + 1j * codes[1::2]

    def rx_destroy_buffer(self) -> None:
        """It is gone with the block."""


def connect_inside(monkeypatch: pytest.MonkeyPatch, units: list[Unit]) -> None:
    """From now on `pluto:ip:K` is unit K, without the libraries."""

    def connect(uri: str) -> Any:
        return Context(units[int(uri.removeprefix("ip:"))])

    monkeypatch.setattr(pluto, "libraries", lambda: (SimpleNamespace(Pluto=Sdr), None))
    monkeypatch.setattr(pluto, "connect", connect)
