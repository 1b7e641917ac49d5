"""Genuine clients on virtual Plutos: pyadi-iio and the tools of libiio, each in a process of its own.

Every script must also end with exit code 0: the interpreter can crash at its end over a buffer that lives.
"""

from __future__ import annotations

import os
import resource
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest

from testbed.errors import RadioError
from testbed.virtual_pluto.serve import serve, serving
from testbed.virtual_pluto.server import MOST_CONNECTIONS, Server
from tests.libiio import need_libiio, need_tool
from tests.unit.virtual_pluto.wires import air


@pytest.fixture
def servers() -> Iterator[list[Server]]:
    need_libiio()
    with serving(air(2), first_host="127.0.0.1", port=0, own_gain_db=-30.0) as servers:
        yield servers


def run_script(script: str, *arguments: str) -> str:
    """Standard output of a Python script that ends well."""
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, f"exit code {done.returncode}: {done.stderr}"
    return done.stdout


def run_tool(*command: str, data: bytes = b"") -> bytes:
    """Standard output of a tool of libiio that ends well."""
    need_tool(command[0])
    done = subprocess.run(command, input=data, capture_output=True, timeout=60, check=False)
    assert done.returncode == 0, f"{command}: exit code {done.returncode}: {done.stderr.decode()}"
    return done.stdout


ATTRIBUTES = """
import sys, adi
sdr = adi.Pluto(sys.argv[1])
for name, value in [("sample_rate", 2_000_000), ("rx_lo", 915_000_000), ("tx_lo", 2_400_000_000),
                    ("rx_rf_bandwidth", 1_000_000), ("tx_rf_bandwidth", 1_500_000),
                    ("gain_control_mode_chan0", "manual"), ("rx_hardwaregain_chan0", 33),
                    ("tx_hardwaregain_chan0", -41.25), ("loopback", 1),
                    ("rx_dec8_filter_en", True), ("tx_int8_filter_en", True), ("rx_dec8_filter_en", False),
                    ("sample_rate", 30_720_000), ("sample_rate", 600_000), ("sample_rate", 56_000_000)]:
    setattr(sdr, name, value)
    assert getattr(sdr, name) == value, (name, getattr(sdr, name))
for name, value in [("rx_lo", 10_000_000_000), ("tx_hardwaregain_chan0", 10), ("gain_control_mode_chan0", "bogus"),
                    ("sample_rate", 70_000_000), ("tx_rf_bandwidth", 1)]:
    try:
        setattr(sdr, name, value)
    except OSError as error:
        assert error.errno == 22, error
    else:
        raise AssertionError(f"{name} took {value}")
sdr.dds_single_tone(100_000, 0.5)
print(repr(sdr), sdr.filter, sdr.dds_scales, sdr.ctx.attrs["hw_serial"])
"""


def test_every_attribute_of_pyadi_iio_works(servers: list[Server]) -> None:
    told = run_script(ATTRIBUTES, servers[0].uri)
    assert "915.0" in told
    assert "virtual000000030000" in told
    assert servers[0].unit.state.attenuation_mdb == 41_250


EXCHANGE = """
import sys, adi, numpy as np
one, other = (adi.Pluto(uri) for uri in sys.argv[1:3])
for sdr in (one, other):
    sdr.sample_rate = 2_000_000
    sdr.rx_lo = sdr.tx_lo = 2_450_000_000
    sdr.gain_control_mode_chan0 = "manual"
    sdr.rx_hardwaregain_chan0 = 40
    sdr.tx_hardwaregain_chan0 = -20
    sdr.rx_buffer_size = 4096
tone = 2**14 * np.exp(2j * np.pi * 64 * np.arange(4096) / 4096)
def peak(sdr):
    spectrum = np.abs(np.fft.fft(sdr.rx())) / 4096
    spectrum[0] = 0
    return int(spectrum.argmax()), float(spectrum.max())
one.tx_cyclic_buffer = True
one.tx(tone)
heard = [peak(other) for _ in range(6)]
assert all(place == 64 for place, _ in heard), heard
assert np.ptp([level for _, level in heard]) < 1, heard
own = peak(one)
assert own[0] == 64, own
one.tx_destroy_buffer()
for _ in range(4):
    other.rx()
assert peak(other)[1] < 1
one.tx_cyclic_buffer = False
other.rx_destroy_buffer()
other.rx()
for _ in range(5):
    one.tx(tone)
blocks = [peak(other)[1] > 5 for _ in range(12)]
assert sum(blocks) == 5, blocks
print(own[1], heard[0][1])
for sdr in (one, other):
    sdr.rx_destroy_buffer()
    sdr.tx_destroy_buffer()
"""


def test_cyclic_and_single_blocks_cross_the_air_between_two_units(servers: list[Server]) -> None:
    own, other = (float(word) for word in run_script(EXCHANGE, servers[0].uri, servers[1].uri).split())
    assert own == pytest.approx(2048 * 0.5 * 10 ** ((-20 - 30 + 40) / 20), rel=0.02)
    assert other == pytest.approx(2048 * 0.5 * 10 ** ((-20 - 50 + 40) / 20), rel=0.5)  # the path fades
    assert servers[0].unit.aether.on_air() == ()


def test_two_fresh_airs_give_the_same_samples() -> None:
    need_libiio()
    script = """
import sys, adi, hashlib, numpy as np
one, other = (adi.Pluto(uri) for uri in sys.argv[1:3])
one.tx_cyclic_buffer = True
one.tx(2**14 * np.exp(2j * np.pi * np.arange(512) / 16))
print(hashlib.sha256(np.concatenate([other.rx() for _ in range(6)]).tobytes()).hexdigest())
for sdr in (one, other):
    sdr.rx_destroy_buffer()
    sdr.tx_destroy_buffer()
"""
    digests = []
    for _ in range(2):
        with serving(air(2), first_host="127.0.0.1", port=0) as servers:
            digests.append(run_script(script, servers[0].uri, servers[1].uri))
    assert digests[0] == digests[1]


def test_iio_info_reads_everything(servers: list[Server]) -> None:
    told = run_tool("iio_info", "-u", servers[0].uri).decode()
    for words in ("ad9361-phy", "cf-ad9361-dds-core-lpc", "cf-ad9361-lpc", "xadc", "altvoltage1: TX_LO (output)"):
        assert words in told
    assert "Invalid argument" not in told
    assert "No trigger on this device" in told
    denied = [line for line in told.splitlines() if "ERROR" in line]
    assert {line.split("ERROR:")[1].strip() for line in denied} <= {"Permission denied (13)", "No such device (19)"}


def test_iio_attr_reads_writes_and_is_refused(servers: list[Server]) -> None:
    uri = servers[0].uri
    assert b"2300000000" in run_tool("iio_attr", "-u", uri, "-c", "ad9361-phy", "RX_LO", "frequency", "2300000000")
    assert run_tool("iio_attr", "-u", uri, "-d", "ad9361-phy", "ensm_mode") == b"fdd\n"
    beyond = ["iio_attr", "-u", uri, "-c", "ad9361-phy", "RX_LO", "frequency", "99"]
    refused = subprocess.run(beyond, capture_output=True, timeout=60, check=False)
    assert b"Invalid argument (22)" in refused.stdout + refused.stderr
    assert servers[0].unit.state.receive_hz == 2_300_000_000


@pytest.mark.parametrize(("channels", "size"), [(("voltage0", "voltage1"), 16_384), (("voltage1",), 8_192)])
def test_iio_readdev_gets_as_much_as_it_asks_for(servers: list[Server], channels: tuple[str, ...], size: int) -> None:
    data = run_tool("iio_readdev", "-u", servers[0].uri, "-b", "1024", "-s", "4096", "cf-ad9361-lpc", *channels)
    assert len(data) == size


def test_what_iio_writedev_repeats_iio_readdev_gets_back(servers: list[Server]) -> None:
    uri = servers[0].uri
    servers[0].unit.state.loopback = 1
    ramp = (np.arange(2048, dtype="<i2") - 1024) * 16
    need_tool("iio_writedev")
    command = ["iio_writedev", "-u", uri, "-b", "1024", "-c", "cf-ad9361-dds-core-lpc"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL) as writer:
        assert writer.stdin is not None
        writer.stdin.write(ramp.tobytes())
        writer.stdin.close()
        wait_until(lambda: bool(servers[0].unit.aether.on_air()))
        data = run_tool("iio_readdev", "-u", uri, "-b", "1024", "-s", "1024", "cf-ad9361-lpc", "voltage0", "voltage1")
        writer.terminate()
    np.testing.assert_array_equal(np.frombuffer(data, "<i2"), ramp // 16)
    wait_until(lambda: not servers[0].unit.aether.on_air())


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.01)


def test_a_client_that_is_killed_leaves_the_air(servers: list[Server], tmp_path: Path) -> None:
    script = """
import sys, time, adi, numpy as np
sdr = adi.Pluto(sys.argv[1])
sdr.tx_cyclic_buffer = True
sdr.tx(2**14 * np.ones(4096, complex))
time.sleep(60)
"""
    with subprocess.Popen([sys.executable, "-c", script, servers[0].uri]) as process:
        wait_until(lambda: bool(servers[0].unit.aether.on_air()))
        process.kill()
    wait_until(lambda: not servers[0].unit.aether.on_air() and servers[0].connections() == 0)


def test_rubbish_disturbs_nobody_else(servers: list[Server], rng: np.random.Generator) -> None:
    unit = servers[0]
    host, port = "127.0.0.1", unit.port
    with socket.create_connection((host, port)) as steady:
        for _ in range(100):
            with socket.create_connection((host, port)) as rude:
                rude.sendall(bytes(rng.integers(0, 256, int(rng.integers(1, 3000)), dtype=np.uint8)))
            steady.sendall(b"READ iio:device0 ensm_mode\r\n")
            assert steady.recv(64) == b"4\nfdd\0\n"
    wait_until(lambda: unit.connections() == 0)


def test_units_are_announced_once_all_listen_and_stop_when_told() -> None:
    stop, uris = threading.Event(), []
    server = threading.Thread(target=serve, args=(3, "127.0.0.60", 0, "logical", 1, uris.append, stop))
    server.start()
    wait_until(lambda: len(uris) == 3)
    addresses = [(uri.split(":")[1], int(uri.split(":")[2])) for uri in uris]
    for address in addresses:
        socket.create_connection(address).close()
    stop.set()
    server.join(10)
    assert [host for host, _ in addresses] == ["127.0.0.60", "127.0.0.61", "127.0.0.62"]
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(addresses[0])


def test_an_address_that_is_taken_or_impossible_is_said() -> None:
    with serving(air(1), first_host="127.0.0.1", port=0) as (server,):
        taken = serving(air(1), first_host="127.0.0.1", port=server.port)
        with pytest.raises(RadioError, match="choose another --first or --port"), taken:
            pass
    with pytest.raises(RadioError, match="port = 80000 must lie in 0…65535"), serving(air(1), port=80_000):
        pass
    with pytest.raises(RadioError, match="IPv4"), serving(air(1), first_host="localhost"):
        pass
    with pytest.raises(RadioError, match="units = 0"):
        serve(0, "127.0.0.1", 0, "logical", 1, str, threading.Event())
    with pytest.raises(RadioError, match="port = 65536"):
        serve(1, "127.0.0.1", 65536, "logical", 1, str, threading.Event())
    with pytest.raises(RadioError, match="seed = -1"):
        serve(1, "127.0.0.1", 0, "logical", -1, str, threading.Event())


def test_more_connections_than_a_unit_has_are_closed_and_the_others_go_on(servers: list[Server]) -> None:
    address = ("127.0.0.1", servers[0].port)
    with ExitStack() as stack:
        full = [stack.enter_context(socket.create_connection(address)) for _ in range(MOST_CONNECTIONS)]
        wait_until(lambda: servers[0].connections() == MOST_CONNECTIONS)
        with socket.create_connection(address) as extra:
            assert extra.recv(1) == b""
        full[-1].sendall(b"READ iio:device0 ensm_mode\r\n")
        assert full[-1].recv(64) == b"4\nfdd\0\n"
    wait_until(lambda: servers[0].connections() == 0)


def test_a_unit_without_a_free_descriptor_hears_who_knocks_once_it_has_one(servers: list[Server]) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with socket.socket() as first, socket.socket() as client:
        first_free = os.dup(client.fileno())
        os.close(first_free)
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (first_free, hard))
            client.settimeout(5)
            for each in (first, client):  # the first one takes the descriptor that a waiting accept has already
                each.connect(("127.0.0.1", servers[0].port))
            time.sleep(0.3)
            assert servers[0].connections() == 1
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        client.sendall(b"VERSION\r\n")
        assert client.recv(64).startswith(b"0.25.")
    wait_until(lambda: servers[0].connections() == 0)
