"""One connection of a client: commands in, answers out, and the buffers it opened. Bytes, but no sockets.

Every error is an answer; whatever arrives, the worst for the client is that its own connection ends.
"""

from __future__ import annotations

import errno
import os
import struct
import threading
from typing import Final, Protocol

from testbed.virtual_pluto import grammar
from testbed.virtual_pluto.attributes import context_attributes, find_rule, named, rules
from testbed.virtual_pluto.buffers import ReceiveStream, Stream, TransmitStream, open_stream
from testbed.virtual_pluto.claims import Claims
from testbed.virtual_pluto.description import RECEIVER, TRANSMITTER, context_xml, find
from testbed.virtual_pluto.grammar import Attribute, Refused
from testbed.virtual_pluto.rules import read, write
from testbed.virtual_pluto.unit import Unit

VERSION: Final = "0.25.dmoe-vp"
"""Major, minor and a tag of exactly seven characters: the client reads no more and no less."""
LARGEST_TRANSFER: Final = 1 << 30
HELP: Final = "".join(f"\t{verb.decode('ascii')}\n" for verb in grammar.SIZES)


class Wire(Protocol):
    """Both directions of a connection."""

    def line(self, longest: int) -> bytes:
        """Up to and with the next line end, or `longest` bytes of it; empty at the end."""
        ...

    def exactly(self, count: int) -> bytes:
        """So many bytes.

        Raises:
            EOFError: the client left before.
        """
        ...

    def send(self, *parts: bytes | memoryview) -> None:
        """Send all."""
        ...


class Hangup(Exception):
    """The connection ends here."""


class Conversation:
    """A client of `unit`; `stop` wakes whatever waits."""

    def __init__(self, unit: Unit, wire: Wire, stop: threading.Event, claims: Claims) -> None:
        self._unit = unit
        self._wire = wire
        self._stop = stop
        self._claims = claims
        self._streams: dict[str, Stream] = {}
        self._left: dict[str, memoryview] = {}

    def run(self) -> None:
        """Until the client leaves; its buffers are freed on every way out."""
        try:
            while line := self._wire.line(grammar.LONGEST_LINE):
                self._answer_line(line)
        except (Hangup, EOFError, OSError):
            pass
        finally:
            self._unit.set_timeout(self, None)
            for device in list(self._streams):
                self._close(device)

    def _answer_line(self, line: bytes) -> None:
        payload = b""
        try:
            command = grammar.parse(line)
            if command is None:
                return
            if isinstance(command, grammar.Write):
                payload = self._wire.exactly(command.count)
            self._suffer(line)
            answer = self._do(command, payload)
        except Refused as refused:
            self._number(-refused.code)
        else:
            if self._unit.witness:
                self._unit.witness(_told(line, payload))
            if answer is not None:
                self._number(answer)

    def _suffer(self, line: bytes) -> None:
        """The faults that were asked for."""
        fault = self._unit.faults.striking(line.decode("ascii", "replace").rstrip())
        if fault is None:
            return
        if fault.delay_s and self._stop.wait(fault.delay_s):
            raise Hangup
        if fault.disconnect:
            raise Hangup
        if fault.errno:
            raise Refused(fault.errno)

    def _do(self, command: grammar.Command, payload: bytes) -> int | None:
        """Carry it out; the number to answer, None where the answer was given already."""
        match command:
            case grammar.Plain(verb):
                self._plain(verb)
            case grammar.Timeout(ms):
                self._unit.set_timeout(self, max(ms, 0) / 1000 or float("inf"))
                return 0
            case grammar.Read(attribute):
                self._read(attribute)
            case grammar.Write(attribute, count):
                self._write(attribute, payload)
                return count
            case grammar.Open():
                self._open(command)
                return 0
            case grammar.Close(device):
                self._known(device)
                self._close(device, errno.ENXIO)
                return 0
            case grammar.Transfer("READBUF", device, count):
                self._read_buffer(device, count)
            case grammar.Transfer(_, device, count):
                self._write_buffer(device, count)
                return count
            case grammar.GetTrigger(device) | grammar.SetTrigger(device):
                self._known(device)
                raise Refused(errno.ENOENT)
            case grammar.SetBuffers(device, count):
                self._set_buffers(device, count)
                return 0
        return None

    def _plain(self, verb: str) -> None:
        if verb == "EXIT":
            raise Hangup
        if verb == "VERSION":
            self._wire.send(f"{VERSION}\n".encode("ascii"))
        elif verb == "HELP":
            self._wire.send(f"Available commands:\n\n{HELP}".encode("ascii"))
        else:
            xml = context_xml(_description(self._unit), context_attributes(self._unit))
            self._wire.send(b"%d\n" % len(xml), xml, b"\n")

    # attributes

    def _read(self, attribute: Attribute) -> None:
        if not attribute.name:
            self._read_all(attribute)
            return
        file, rule = find_rule(attribute)
        with self._unit.lock:
            value = self._unit.faults.wrong_readback.get(file) or read(self._unit, rule)
        data = value.encode("utf-8") + b"\0"
        self._wire.send(b"%d\n" % len(data), data, b"\n")

    def _read_all(self, attribute: Attribute) -> None:
        device, files = named(attribute)
        data = b""
        with self._unit.lock:
            for file in files.values():
                try:
                    value = read(self._unit, rules()[device.id, file]).encode("utf-8") + b"\0"
                except Refused as refused:
                    data += struct.pack(">i", -refused.code)
                else:
                    data += struct.pack(">i", len(value)) + value + bytes(-len(value) % 4)
        self._wire.send(b"%d\n" % len(data), data, b"\n")

    def _write(self, attribute: Attribute, payload: bytes) -> None:
        if not attribute.name:
            named(attribute)
            raise Refused(errno.EINVAL)
        _, rule = find_rule(attribute)
        text = payload.partition(b"\0")[0].decode("utf-8", "replace").removesuffix("\n")
        with self._unit.lock:
            write(self._unit, rule, text)

    # buffers

    def _known(self, word: str) -> str:
        device = find(word)
        if device is None:
            raise Refused(errno.ENODEV)
        return device.id

    def _open(self, command: grammar.Open) -> None:
        device = find(command.device)
        if device is None:
            raise Refused(errno.ENODEV)
        words = -(-max((c.scan[0] + 1 for c in device.scanned if c.scan), default=0) // 32)
        if not words or command.digits != 8 * words or device.id in self._streams:
            raise Refused(errno.EINVAL if device.id not in self._streams else errno.EBUSY)
        self._claims.take(device.id, self, exclusive=device.id == TRANSMITTER)
        try:
            self._streams[device.id] = open_stream(self._unit, device.id, command.samples, command.mask, command.cyclic)
        except Refused:
            self._claims.give_back(device.id, self)
            raise
        self._left[device.id] = memoryview(b"")

    def _close(self, word: str, missing: int = 0) -> None:
        device = self._known(word)
        stream = self._streams.pop(device, None)
        if stream is None:
            raise Refused(missing)
        self._left.pop(device, None)
        stream.close()
        self._claims.give_back(device, self)

    def _stream(self, word: str, count: int) -> tuple[str, Stream]:
        device = self._known(word)
        if device not in self._streams:
            raise Refused(errno.EBADF)
        if not 0 < count <= LARGEST_TRANSFER or count % self._streams[device].sample_bytes:
            raise Refused(errno.EINVAL)
        return device, self._streams[device]

    def _read_buffer(self, word: str, count: int) -> None:
        device, stream = self._stream(word, count)
        if not isinstance(stream, ReceiveStream):
            raise Refused(errno.EBADF)
        mask = b"%08x\n" % stream.mask
        while count > 0:
            if not self._left[device]:
                self._left[device] = memoryview(stream.next_block(self._stop))
            chunk, self._left[device] = self._left[device][:count], self._left[device][count:]
            self._wire.send(b"%d\n%s" % (len(chunk), mask), chunk)
            mask = b""
            count -= len(chunk)
        if not self._left[device]:
            stream.prepare()

    def _write_buffer(self, word: str, count: int) -> None:
        _, stream = self._stream(word, count)
        if not isinstance(stream, TransmitStream) or count > stream.samples * stream.sample_bytes:
            raise Refused(errno.EBADF if not isinstance(stream, TransmitStream) else errno.EINVAL)
        self._number(0)
        stream.push(self._wire.exactly(count), self._stop)

    def _set_buffers(self, word: str, count: int) -> None:
        device = self._known(word)
        if not 1 <= count <= 64:
            raise Refused(errno.EINVAL)
        if device not in (RECEIVER, TRANSMITTER):
            raise Refused(errno.ENOENT)
        self._unit.state.buffers[device] = count

    def _number(self, value: int) -> None:
        self._wire.send(b"%d\n" % value)


def _description(unit: Unit) -> str:
    return f"Virtual Pluto {unit.number} of the DMoE testbed, {unit.aether.clock.name} clock, {os.uname().sysname}"


def _told(line: bytes, payload: bytes) -> str:
    text = line.decode("ascii", "replace").rstrip()
    return f"{text} {payload.rstrip(bytes(1)).decode('utf-8', 'replace')}".rstrip()
