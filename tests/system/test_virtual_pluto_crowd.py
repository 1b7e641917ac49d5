"""Clients that behave badly, many at once: nothing crashes, nobody else is disturbed, nothing stays open."""

from __future__ import annotations

import contextlib
import os
import select
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest

from testbed.virtual_pluto.clock import ClockName
from testbed.virtual_pluto.serve import serving
from testbed.virtual_pluto.server import Server
from tests.libiio import need_libiio, need_tool
from tests.system.test_virtual_pluto import wait_until
from tests.unit.virtual_pluto.wires import air

BLOCKS = (64, 1024, 65_536)
LONG = pytest.mark.long


@pytest.fixture(params=["logical", pytest.param("wall", marks=LONG)])
def servers(request: pytest.FixtureRequest) -> Iterator[list[Server]]:
    need_libiio()
    clock: ClockName = request.param
    with serving(air(2), first_host="127.0.0.1", port=0, clock=clock, own_gain_db=-30.0) as servers:
        yield servers


@pytest.fixture(params=[1, pytest.param(20, marks=LONG)], ids=["short", "long"])
def length(request: pytest.FixtureRequest) -> int:
    return int(request.param)


def connected(server: Server) -> socket.socket:
    """A client of its own."""
    return socket.create_connection((server.uri.split(":")[1], server.port), timeout=20)


def assert_well(server: Server) -> None:
    """A client that comes now is served."""
    with connected(server) as client:
        client.sendall(b"READ iio:device0 ensm_mode\r\n")
        assert client.recv(64) == b"4\nfdd\0\n"


def assert_empty(server: Server) -> None:
    """Nobody is left, nothing is on the air, and both buffers can be opened."""
    wait_until(lambda: server.connections() == 0)
    wait_until(lambda: not server.unit.aether.on_air())
    with connected(server) as client:
        for device in (b"2", b"3"):
            client.sendall(b"OPEN iio:device%s 16 00000003\r\n" % device)
            assert client.recv(64) == b"0\n"
    wait_until(lambda: server.connections() == 0)


STORM = """
import sys, threading, time, iio, numpy as np
end = time.monotonic() + float(sys.argv[2])
contexts = [iio.Context(sys.argv[1]) for _ in range(8)]
wrong = []
def storm(k):
    rng, phy = np.random.default_rng(k), contexts[k].find_device("ad9361-phy")
    while time.monotonic() < end:
        for device in contexts[k].devices:
            for channel in device.channels:
                for attribute in channel.attrs.values():
                    try:
                        attribute.value
                    except OSError as error:
                        if error.errno not in (2, 13, 19):
                            wrong.append((channel.id, attribute.name, error))
        phy.find_channel("altvoltage0", True).attrs["frequency"].value = str(int(rng.integers(100, 5000)) * 1_000_000)
        phy.find_channel("voltage0").attrs["sampling_frequency"].value = str(int(rng.integers(3, 30)) * 1_000_000)
threads = [threading.Thread(target=storm, args=(k,)) for k in range(8)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
assert not wrong, wrong[:5]
"""

BUFFERS = """
import sys, time, adi, numpy as np
sdr, end, rng = adi.Pluto(sys.argv[1]), time.monotonic() + float(sys.argv[2]), np.random.default_rng(1)
while time.monotonic() < end:
    for device in (sdr._rxadc, sdr._txdac):
        device.set_kernel_buffers_count(int(rng.integers(1, 65)))
    size, sdr.tx_cyclic_buffer = int(rng.choice([16, 1000, 4096, 100_000])), bool(rng.integers(2))
    for _ in range(1 if sdr.tx_cyclic_buffer else 5):
        sdr.tx(2**14 * np.exp(2j * np.pi * np.arange(size) / 16))
    sdr.rx_buffer_size = int(rng.choice([1, 16, 777, 65_536]))
    for _ in range(3):
        assert sdr.rx().size == sdr.rx_buffer_size
    sdr.rx_destroy_buffer()
    if rng.integers(2):
        sdr.tx_lo = int(rng.integers(100, 5000)) * 1_000_000
    sdr.tx_hardwaregain_chan0 = -int(rng.integers(0, 89))
    sdr.tx_destroy_buffer()
"""


def test_storms_changing_buffers_and_cut_pipes_at_once(
    servers: list[Server], length: int, rng: np.random.Generator
) -> None:
    """Eight contexts read and write everything, one opens and changes buffers, tools beside them are cut off."""
    for tool in ("iio_readdev", "iio_writedev"):
        need_tool(tool)
    seconds = 1.5 * length
    scripts = [[sys.executable, "-c", script, servers[0].uri, str(seconds)] for script in (STORM, BUFFERS)]
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(subprocess.Popen(script, stderr=subprocess.PIPE)) for script in scripts]
        for _ in range(10 * length):
            cut_off(servers[1], rng)
            assert_well(servers[0])
        for client in clients:
            words = client.communicate(timeout=60 + seconds)[1].decode()
            assert client.returncode == 0, words
    for server in servers:
        assert_empty(server)


def cut_off(server: Server, rng: np.random.Generator) -> None:
    """A reader whose pipe is closed or who is killed in the middle of a block, and a writer who is killed."""
    block, cyclic = int(rng.choice(BLOCKS)), bool(rng.integers(2))
    read = ["iio_readdev", "-u", server.uri, "-b", str(block), "cf-ad9361-lpc"]
    write = ["iio_writedev", "-u", server.uri, "-b", str(block), *(["-c"] if cyclic else []), "cf-ad9361-dds-core-lpc"]
    with killed(read, stdout=subprocess.PIPE) as reader, killed(write, stdin=subprocess.PIPE) as writer:
        assert reader.stdout is not None
        assert writer.stdin is not None
        blocks = 1 if cyclic else int(rng.integers(1, 4))
        with contextlib.suppress(BrokenPipeError):
            writer.stdin.write(rng.bytes(4 * block * blocks - int(rng.integers(3))))
            writer.stdin.flush()
        wanted, got = int(rng.choice([1, 1000, 100_000])), 0
        while got < wanted:
            assert select.select([reader.stdout], [], [], 20)[0], "the reader gets nothing"
            got += len(os.read(reader.stdout.fileno(), 65_536))
        if rng.integers(2):
            reader.stdout.close()  # as `| head` does
            reader.wait(10)
        time.sleep(float(rng.uniform(0, 0.03)))


@contextmanager
def killed(command: list[str], **pipes: int) -> Iterator[subprocess.Popen[bytes]]:
    """A process that is killed at the end of the block."""
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, **pipes)  # type: ignore[call-overload]
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()


SESSION = [
    b"PRINT\r\n", b"TIMEOUT 2500\r\n", b"VERSION\r\n", b"READ iio:device0 OUTPUT altvoltage0 frequency\r\n",
    b"WRITE iio:device0 INPUT voltage0 sampling_frequency 8\r\n3000000\0",
    b"WRITE iio:device0 filter_fir_config 40\r\nRX 3 GAIN -6 DEC 4\nTX 3 GAIN 0 INT 4\n-1\n\0",
    b"SET iio:device3 BUFFERS_COUNT 2\r\n", b"OPEN iio:device3 64 00000003\r\n", b"READBUF iio:device3 256\r\n",
    b"OPEN iio:device2 16 00000003 CYCLIC\r\n", b"WRITEBUF iio:device2 64\r\n" + bytes(64), b"CLOSE iio:device2\r\n",
    b"READ iio:device3 DEBUG direct_reg_access\r\n", b"READ iio:device0 INPUT voltage0 \r\n",
    b"GETTRIG iio:device3\r\n", b"CLOSE iio:device3\r\n", b"\r\nEXIT\r\n",
]  # fmt: skip


def mutated(rng: np.random.Generator) -> bytes:
    """Random bytes, or a session in which something is wrong: flipped, lost, doubled, cut, in another order."""
    if rng.random() < 0.2:
        return rng.bytes(int(rng.integers(1, 2000)))
    parts = [SESSION[k] for k in rng.permutation(len(SESSION))] if rng.random() < 0.5 else list(SESSION)
    whole = bytearray(b"".join(parts))
    for _ in range(int(rng.integers(1, 6))):
        at = int(rng.integers(len(whole)))
        match int(rng.integers(4)):
            case 0:
                whole[at] = int(rng.integers(256))
            case 1:
                del whole[at : at + int(rng.integers(1, 20))]
            case 2:
                whole[at:at] = rng.bytes(int(rng.integers(1, 20)))
            case _:
                whole[at:at] = whole[at : at + 40]
    return bytes(whole[: int(rng.integers(1, len(whole) + 1))])


def test_mutated_sessions_break_nothing_and_disturb_nobody(
    servers: list[Server], length: int, rng: np.random.Generator
) -> None:
    """10⁴ of them in the long form; beside them a client goes on reading."""
    server = servers[0]
    with connected(server) as steady:
        for _ in range(500 * length):
            with contextlib.suppress(OSError), connected(server) as rude:
                rude.sendall(mutated(rng))
                if rng.random() < 0.3:
                    rude.shutdown(socket.SHUT_WR)
                    while rude.recv(65_536):
                        pass
            steady.sendall(b"READ iio:device0 calib_mode\r\n")
            assert steady.recv(64) == b"5\nauto\0\n"
    assert_empty(server)
