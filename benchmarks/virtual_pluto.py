"""Throughput of a virtual Pluto, through the genuine libiio, client and server in processes of their own.

    python benchmarks/virtual_pluto.py [--seconds 3]

receive    logical clock: MS/s that `refill` of libiio gets, on a silent air and with another unit transmitting
transmit   logical clock: MS/s that non-cyclic blocks are taken at
duplex     wall clock: transmits and receives at a sample rate at once; the rate that was held, and losses

Peers, measured elsewhere on the same kind of machine: ADI's iio-emu 0.04 … 0.20 MS/s receive; a real Pluto over
USB 2 sustains 2 … 7 MS/s.
"""

from __future__ import annotations

import argparse
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import iio
import numpy as np

BLOCK = 1 << 17
STATUS = 0x80000088


@contextmanager
def served(clock: str) -> Iterator[list[str]]:
    """URIs of two units in a process of their own."""
    command = [sys.executable, __file__, "--serve", clock]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield [process.stdout.readline().strip() for _ in range(2)]
        finally:
            process.terminate()


def serve(clock: str) -> None:
    """The server process."""
    from testbed.virtual_pluto.serve import serve as serve_units

    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    name: Any = clock
    serve_units(2, "127.0.0.40", 0, name, 1, lambda uri: print(uri, flush=True), stop)


def tune(context: Any, rate_hz: int) -> None:
    """Rate and gain."""
    phy = context.find_device("ad9361-phy")
    phy.find_channel("voltage0").attrs["sampling_frequency"].value = str(rate_hz)
    phy.find_channel("voltage0").attrs["gain_control_mode"].value = "manual"
    phy.find_channel("voltage0").attrs["hardwaregain"].value = "30"
    phy.find_channel("altvoltage0", True).attrs["frequency"].value = "2450000000"


def buffer(context: Any, name: str, output: bool, samples: int = BLOCK, cyclic: bool = False) -> Any:
    """An open buffer of both channels."""
    device = context.find_device(name)
    for k in range(2):
        device.find_channel(f"voltage{k}", output).enabled = True
    return iio.Buffer(device, samples, cyclic)


def receive_rate(context: Any, seconds: float) -> float:
    """MS/s of refill."""
    rx = buffer(context, "cf-ad9361-lpc", False)
    for _ in range(3):
        rx.refill()
    start, blocks = time.perf_counter(), 0
    while time.perf_counter() - start < seconds:
        rx.refill()
        blocks += 1
    return blocks * BLOCK / (time.perf_counter() - start) / 1e6


def transmit_rate(context: Any, seconds: float) -> float:
    """MS/s of push."""
    tx = buffer(context, "cf-ad9361-dds-core-lpc", True)
    tx.write(bytearray(np.zeros(2 * BLOCK, "<i2").tobytes()))
    start, blocks = time.perf_counter(), 0
    while time.perf_counter() - start < seconds:
        tx.push()
        blocks += 1
    return blocks * BLOCK / (time.perf_counter() - start) / 1e6


def duplex(contexts: list[Any], rate_hz: int, seconds: float) -> tuple[float, float, int, int]:
    """MS/s received and transmitted, and the loss bits of both converters."""
    devices = [contexts[0].find_device(name) for name in ("cf-ad9361-lpc", "cf-ad9361-dds-core-lpc")]
    for device in devices:
        device.reg_write(STATUS, 7)
    tx = buffer(contexts[1], "cf-ad9361-dds-core-lpc", True)
    tx.write(bytearray(np.full(2 * BLOCK, 4000, "<i2").tobytes()))
    pushed = 0
    stop = threading.Event()

    def transmit() -> None:
        nonlocal pushed
        while not stop.is_set():
            tx.push()
            pushed += 1

    rx = buffer(contexts[0], "cf-ad9361-lpc", False)
    sender = threading.Thread(target=transmit)
    sender.start()
    start, blocks = time.perf_counter(), 0
    while time.perf_counter() - start < seconds:
        rx.refill()
        blocks += 1
    spent = time.perf_counter() - start
    stop.set()
    sender.join()
    lost = devices[0].reg_read(STATUS) & 4
    dry = contexts[1].find_device("cf-ad9361-dds-core-lpc").reg_read(STATUS) & 1
    return blocks * BLOCK / spent / 1e6, pushed * BLOCK / spent / 1e6, lost, dry


def main() -> None:
    """Measure and print."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--seconds", type=float, default=3.0)
    arguments.add_argument("--serve")
    chosen = arguments.parse_args()
    if chosen.serve:
        serve(chosen.serve)
        return
    with served("logical") as uris:
        contexts = [iio.Context(uri) for uri in uris]
        for context in contexts:
            tune(context, 4_000_000)
        print(f"logical receive, silent air        {receive_rate(contexts[0], chosen.seconds):7.1f} MS/s")
        tone = buffer(contexts[1], "cf-ad9361-dds-core-lpc", True, 4096, cyclic=True)
        tone.write(bytearray(np.full(2 * 4096, 4000, "<i2").tobytes()))
        tone.push()
        print(f"logical receive, one transmitter   {receive_rate(contexts[0], chosen.seconds):7.1f} MS/s")
        del tone
        print(f"logical transmit                   {transmit_rate(contexts[1], chosen.seconds):7.1f} MS/s")
    for rate in (2_500_000, 5_000_000, 7_500_000):
        with served("wall") as uris:
            contexts = [iio.Context(uri) for uri in uris]
            for context in contexts:
                tune(context, rate)
            received, sent, lost, dry = duplex(contexts, rate, chosen.seconds)
            losses = f"overflow {'yes' if lost else 'no'}, underflow {'yes' if dry else 'no'}"
            print(f"wall duplex at {rate / 1e6:4.1f} MS/s   received {received:5.2f}, sent {sent:5.2f} MS/s, {losses}")


if __name__ == "__main__":
    main()
