"""The Pluto driver on virtual Plutos: silent on every way out, never armed while it is tuned, honest about faults."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from testbed.errors import AddressError, RadioError, TransmitRefused
from testbed.radio import pluto
from testbed.radio.base import RadioSettings
from testbed.radio.doctor import examine_pluto
from testbed.radio.guard import TransmitPermit
from testbed.radio.pluto import PlutoRadio, make_quiet
from testbed.radio.pluto_connect import USUAL_URIS, resolve, scan
from testbed.radio.pluto_steps import PlutoOptions
from testbed.virtual_pluto.faults import Fault
from testbed.virtual_pluto.serve import FIRST_HOST, hosts, serving
from testbed.virtual_pluto.server import Server
from testbed.virtual_pluto.state import State
from testbed.virtual_pluto.unit import Unit
from tests.libiio import genuine_server, need_libiio
from tests.unit.virtual_pluto.wires import air

SETTINGS = RadioSettings(sample_rate_hz=4e6, centre_hz=2.45e9, transmit_gain_db=-20.0, receive_gain_db=40.0)
PERMIT = TransmitPermit(bands_hz=((2.4e9, 2.5e9),), cabled=True)
TONE = (0.5 * np.exp(2j * np.pi * np.arange(1000) / 10)).astype(np.complex64)


@pytest.fixture
def servers() -> Iterator[list[Server]]:
    need_libiio()
    with serving(air(2), first_host="127.0.0.1", port=0) as servers:
        yield servers
        wait_until(lambda: not any(server.connections() for server in servers))


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.01)


def opened(server: Server, permit: TransmitPermit = PERMIT, options: PlutoOptions | None = None) -> PlutoRadio:
    return PlutoRadio(f"pluto:{server.uri}", permit, options)


def is_quiet(unit: Unit) -> bool:
    state = unit.state
    tones = any(tone.on or tone.scale for tone in state.tones)
    return state.transmitter_off and state.attenuation_mdb == 89_750 and not unit.aether.on_air() and not tones


def told(server: Server) -> list[str]:
    """What the unit is told from now on."""
    lines: list[str] = []
    server.unit.witness = lines.append
    return lines


def places(lines: list[str], *words: str) -> list[int]:
    return [k for k, line in enumerate(lines) if all(word in line for word in words)]


def test_opening_silences_a_unit_that_was_left_on(servers: list[Server]) -> None:
    assert not servers[0].unit.state.transmitter_off
    with opened(servers[0]):
        assert is_quiet(servers[0].unit)


def test_silence_comes_in_its_order(servers: list[Server]) -> None:
    with opened(servers[0]) as radio:
        radio.configure(SETTINGS)
        radio.transmit(TONE)
        assert servers[0].unit.aether.on_air() == (0,)
        assert servers[0].unit.state.attenuation_mdb == 20_000
        lines = told(servers[0])
        radio.silence()
        wait_until(lambda: bool(places(lines, "CLOSE")))
        lines = lines[: places(lines, "powerdown")[0] + 1]
    order = [
        places(lines, "WRITE", "scale", " 0")[0],
        places(lines, "WRITE", "raw", " 0")[3],
        places(lines, "WRITE", "hardwaregain", "-89.75")[0],
        places(lines, "CLOSE")[0],
        places(lines, "WRITE", "powerdown", " 1")[0],
    ]
    assert order == sorted(order)
    assert is_quiet(servers[0].unit)


STAY = "print('on air', flush=True)\ntime.sleep(60)"
WAYS_OUT = {
    "end": ("", 0),
    "exit": ("sys.exit(3)", 3),
    "exception": ("raise ZeroDivisionError", 1),
    "sigterm": (STAY, 128 + signal.SIGTERM),
    "sigint": (STAY, -signal.SIGINT),
}


@pytest.mark.parametrize("way", WAYS_OUT)
@pytest.mark.parametrize("scope", ["with", "forgotten"])
def test_every_way_out_is_silent(servers: list[Server], way: str, scope: str) -> None:
    last_words, code = WAYS_OUT[way]
    body = "radio.configure(SETTINGS)\nradio.transmit(TONE)\n" + last_words
    if scope == "with":
        body = "with radio:\n" + "\n".join(f"    {line}" for line in body.splitlines())
    script = f"""
import sys, time
from tests.system.test_virtual_pluto_driver import PERMIT, SETTINGS, TONE, PlutoRadio
radio = PlutoRadio({f"pluto:{servers[0].uri}"!r}, PERMIT)
{body}
"""
    unit = servers[0].unit
    lines = told(servers[0])
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        if way.startswith("sig"):
            assert process.stdout is not None
            process.stdout.readline()
            assert unit.aether.on_air() == (0,)
            process.send_signal(signal.SIGTERM if way == "sigterm" else signal.SIGINT)
        assert process.wait(30) == code
    assert places(lines, "WRITEBUF")
    wait_until(lambda: is_quiet(unit))


@pytest.mark.parametrize("verb", ["transmit(TONE)", "receive(1000)"])
def test_an_error_that_is_kept_does_not_crash_the_interpreter_at_its_end(servers: list[Server], verb: str) -> None:
    """Its traceback reaches the calls that failed, and so the buffer; who collects both may take the context first."""
    servers[0].unit.faults.protocol.append(Fault("WRITEBUF|READBUF", disconnect=True))
    script = f"""
import gc
from tests.system.test_virtual_pluto_driver import PERMIT, SETTINGS, TONE, PlutoRadio
with PlutoRadio({f"pluto:{servers[0].uri}"!r}, PERMIT) as radio:
    radio.configure(SETTINGS)
    try:
        radio.{verb}
    except Exception as error:
        error.again = error
del radio
gc.collect()
"""
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
    assert is_quiet(servers[0].unit)


def test_a_killed_program_is_silenced_by_who_watches_it(servers: list[Server]) -> None:
    script = f"""
import time
from tests.system.test_virtual_pluto_driver import PERMIT, SETTINGS, TONE, PlutoRadio
radio = PlutoRadio({f"pluto:{servers[0].uri}"!r}, PERMIT)
radio.configure(SETTINGS)
radio.transmit(TONE)
print("on air", flush=True)
time.sleep(60)
"""
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.kill()
    assert not is_quiet(servers[0].unit)
    make_quiet(f"pluto:{servers[0].uri}")
    wait_until(lambda: is_quiet(servers[0].unit))


def test_it_is_never_tuned_while_it_is_armed(servers: list[Server], rng: np.random.Generator) -> None:
    unit = servers[0].unit
    unit.faults.gain_reset_on_rate = True
    offences: list[str] = []

    def watch(line: str) -> None:
        tuned = any(word in line for word in ("frequency", "fir_en", "xo_correction", "filter_fir")) and "WRITE" in line
        if tuned and not unit.state.transmitter_off:
            offences.append(line)

    with opened(servers[0], options=PlutoOptions(xo_correction_hz=40_000_100)) as radio:
        unit.witness = watch
        radio.configure(SETTINGS)
        for verb in rng.integers(0, 4, 120):
            match verb:
                case 0:
                    rate, centre = int(rng.integers(600_000, 10_000_000)), float(rng.uniform(2.41e9, 2.49e9))
                    radio.configure(RadioSettings(rate, centre, float(-rng.integers(10, 80))))
                case 1:
                    radio.transmit(TONE)
                    assert unit.state.attenuation_mdb == -1000 * radio.settings.transmit_gain_db  # type: ignore[union-attr]
                case 2:
                    radio.silence()
                case 3:
                    radio.receive(100)
    assert offences == []


def test_what_the_permit_does_not_cover_touches_nothing(servers: list[Server]) -> None:
    with opened(servers[0], replace(PERMIT, cabled=False)) as radio:
        radio.configure(SETTINGS)
        lines = told(servers[0])
        with pytest.raises(TransmitRefused, match="licence"):
            radio.transmit(TONE)
        assert lines == []


def test_a_transmission_ends_after_its_airtime(servers: list[Server]) -> None:
    with opened(servers[0], replace(PERMIT, longest_airtime_s=0.3)) as radio:
        radio.configure(SETTINGS)
        radio.transmit(TONE)
        assert servers[0].unit.aether.on_air() == (0,)
        wait_until(lambda: is_quiet(servers[0].unit))


def test_a_long_capture_does_not_prolong_the_airtime() -> None:
    need_libiio()
    permit = replace(PERMIT, longest_airtime_s=0.2)
    with serving(air(1), first_host="127.0.0.1", port=0, clock="wall") as (server,), opened(server, permit) as radio:
        radio.configure(replace(SETTINGS, sample_rate_hz=200e3))
        radio.transmit(TONE)
        capture = threading.Thread(target=radio.receive, args=(400_000,))
        capture.start()
        wait_until(lambda: server.unit.state.transmitter_off)
        assert capture.is_alive()
        capture.join()
        wait_until(lambda: is_quiet(server.unit))


@pytest.mark.parametrize(
    ("file", "lie"),
    [
        ("out_altvoltage1_TX_LO_frequency", "2400000000"),
        ("in_voltage_sampling_frequency", "3000000"),
        ("out_voltage0_hardwaregain", "-10.000000 dB"),
        ("in_voltage0_gain_control_mode", "slow_attack"),
    ],
)
def test_a_setting_that_does_not_read_back_silences_and_says_so(servers: list[Server], file: str, lie: str) -> None:
    unit = servers[0].unit
    with opened(servers[0]) as radio:
        radio.configure(SETTINGS)
        radio.transmit(TONE)
        unit.faults.wrong_readback[file] = lie
        with pytest.raises(RadioError, match="read back"):
            radio.configure(replace(SETTINGS, centre_hz=2.46e9, sample_rate_hz=5e6))
        unit.faults.wrong_readback.clear()
        assert unit.state.transmitter_off
        with pytest.raises(RadioError, match="never tuned"):
            radio.transmit(TONE)


def test_no_capture_is_older_than_its_call(servers: list[Server]) -> None:
    with opened(servers[0]) as one, opened(servers[1]) as other:
        servers[1].unit.faults.stale_blocks = 8
        for radio in (one, other):
            radio.configure(SETTINGS)
        for k in range(1, 60):
            one.transmit(np.exp(2j * np.pi * k * np.arange(500) / 500).astype(np.complex64) * np.float32(0.5))
            assert int(np.abs(np.fft.fft(other.receive(500).samples)).argmax()) == k


def test_lost_samples_are_flagged_each_time(servers: list[Server]) -> None:
    with opened(servers[0]) as radio:
        radio.configure(SETTINGS)
        assert radio.overflow_detection
        for k in range(20):
            servers[0].unit.faults.overflow_next = k % 2
            assert radio.receive(100).overflow == bool(k % 2)


def test_a_broken_connection_is_an_error_and_the_unit_is_silenced_over_another(servers: list[Server]) -> None:
    unit = servers[0].unit
    with opened(servers[0]) as radio:
        radio.configure(SETTINGS)
        radio.transmit(TONE)
        servers[0].disconnect()
        with pytest.raises(RadioError, match="connection broke"):
            radio.receive(100)
        radio.silence()
        assert is_quiet(unit)
        radio.configure(SETTINGS)
        assert radio.receive(100).samples.size == 100


def test_a_unit_that_hangs_is_given_up_in_time(servers: list[Server]) -> None:
    unit = servers[0].unit
    with opened(servers[0]) as radio:
        radio.configure(SETTINGS)
        unit.faults.protocol.append(Fault("READBUF", delay_s=6.0))
        started = time.monotonic()
        with pytest.raises(RadioError, match="receive"):
            radio.receive(100)
        assert time.monotonic() - started < 5
        assert radio.receive(100).samples.size == 100


def test_a_long_capture_does_not_make_silence_wait(servers: list[Server]) -> None:
    """Its own time-out is that of the capture, here 21 s; that of the verbs after it is not."""
    with opened(servers[0]) as radio:
        radio.configure(replace(SETTINGS, sample_rate_hz=100e3))
        assert radio.receive(1_000_000).samples.size == 1_000_000
        servers[0].unit.faults.protocol.append(Fault("WRITE iio:device2", delay_s=5.0))
        started = time.monotonic()
        radio.silence()
        assert time.monotonic() - started < 4
        assert is_quiet(servers[0].unit)


def test_the_gain_of_a_capture_is_the_one_in_force(servers: list[Server]) -> None:
    with opened(servers[0]) as radio:
        for asked in (39.6, 40.0, 40.4):  # the unit has whole dB
            radio.configure(replace(SETTINGS, receive_gain_db=asked))
            assert radio.receive(10).gain_db == servers[0].unit.state.receive_gain_db == 40


def test_the_longest_transmissions_are_taken_and_longer_ones_refused(servers: list[Server]) -> None:
    longest = pluto.LARGEST_BLOCK // 2 - 1  # of an odd number of samples: it goes twice
    with opened(servers[0]) as radio:
        radio.configure(SETTINGS)
        with pytest.raises(RadioError, match=f"{longest + 2} samples exceed"):
            radio.transmit(np.zeros(longest + 2, np.complex64))
        with pytest.raises(RadioError, match="exceed the 16773120"):
            radio.transmit(np.zeros(pluto.LARGEST_BLOCK + 2, np.complex64))
        radio.transmit(np.zeros(longest, np.complex64))


def greet(listener: socket.socket) -> None:
    """As a server of another kind does."""
    client, _ = listener.accept()
    with client:
        client.sendall(b"SSH-2.0-OpenSSH_9.2\r\n")
        client.recv(1000)


def test_every_failure_to_open_says_what_it_is(servers: list[Server]) -> None:
    port = servers[0].port
    servers[0].unit.faults.protocol.append(Fault("PRINT", disconnect=True, times=9))
    with pytest.raises(RadioError, match=f"127.0.0.1:{port}"):
        opened(servers[0])
    servers[0].unit.faults.protocol.clear()
    with pytest.raises(RadioError, match="connection refused"):
        PlutoRadio("pluto:ip:127.0.0.1:1")
    with pytest.raises(RadioError, match="no such host"):
        PlutoRadio("pluto:ip:nowhere.invalid")
    with socket.create_server(("127.0.0.1", 0)) as other:
        answering = threading.Thread(target=greet, args=(other,))
        answering.start()
        with pytest.raises(RadioError, match="no IIO server there"):
            PlutoRadio(f"pluto:ip:127.0.0.1:{other.getsockname()[1]}")
        answering.join()
    with pytest.raises(AddressError, match="pluto:usb"):
        PlutoRadio("pluto:tcp:1")


def test_scan_finds_units_and_serial_numbers_lead_to_them(servers: list[Server]) -> None:
    uris = [server.uri for server in servers]
    found = {one.uri: one for one in scan(uris)}
    assert set(uris) <= set(found)
    one = found[uris[1]]
    assert one.serial == servers[1].unit.identity.serial
    assert one.tuning_hz == (70e6, 6e9)
    assert 20 < one.temperature_c < 60
    assert resolve(f"pluto:serial:{one.serial}", uris) == uris[1]
    with pytest.raises(RadioError, match="no Pluto of serial 4711"):
        resolve("pluto:serial:4711", uris)


def test_the_command_asks_who_is_named_and_says_why_one_does_not_answer(servers: list[Server]) -> None:
    words = [sys.executable, "-m", "testbed", "scan", "--json"]
    named = [servers[0].uri, f"pluto:{servers[1].uri}"]
    done = subprocess.run([*words, *named], capture_output=True, text=True, check=True)
    assert [one["uri"] for one in json.loads(done.stdout)] == [server.uri for server in servers]
    done = subprocess.run([*words, "pluto:ip:127.0.0.1:1"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert "connection refused" in done.stderr


def test_virtual_units_are_found_where_they_are_served_by_default() -> None:
    assert {f"ip:{host}" for host in hosts(FIRST_HOST, 8)} <= set(USUAL_URIS)


def test_automatic_gain_is_told_with_the_capture(servers: list[Server]) -> None:
    with opened(servers[0]) as one, opened(servers[1], options=PlutoOptions(gain_mode="slow_attack")) as other:
        for radio in (one, other):
            radio.configure(SETTINGS)
        one.transmit(TONE)
        capture = other.receive(4000)
        assert capture.gain_db != SETTINGS.receive_gain_db
        assert 10 * np.log10(np.mean(np.abs(capture.samples) ** 2)) == pytest.approx(-12, abs=1.5)


@pytest.mark.parametrize("rate", [65_105.0, 100_000.0, 520_834.0, 2_083_333.0, 7_680_000.0, 30_720_000.0, 61_440_000.0])
def test_every_rate_of_a_pluto_can_be_set(servers: list[Server], rate: float) -> None:
    with opened(servers[0]) as radio:
        radio.configure(replace(SETTINGS, sample_rate_hz=rate))
        assert servers[0].unit.state.receive_rate_hz == pytest.approx(rate, abs=1)
        assert radio.receive(64).samples.size == 64


@pytest.mark.parametrize(
    ("sabotage", "words"),
    [
        ("sys.modules['adi'] = None", "pip install pyadi-iio==0.0.21"),
        ("import ctypes.util; ctypes.util.find_library = lambda name: None", "apt-get install libiio0"),
    ],
)
def test_missing_libraries_are_named_with_the_command_that_mends_it(sabotage: str, words: str) -> None:
    script = (
        f"import sys\n{sabotage}\nfrom testbed.radio.open import open_radio\nopen_radio('pluto:ip:127.0.0.1', unit=0)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert words in done.stderr.splitlines()[-1]
    assert "testbed.errors.RadioError" in done.stderr.splitlines()[-1]


def test_a_unit_that_was_restarted_is_tuned_again_before_it_is_used(servers: list[Server]) -> None:
    unit = servers[0].unit
    for use in (lambda radio: radio.transmit(TONE), lambda radio: radio.receive(100)):
        with opened(servers[0]) as radio:
            radio.configure(SETTINGS)
            unit.state = State()  # as its firmware starts: other frequency, rate and gain, transmitter on
            unit.settle()
            servers[0].disconnect()
            wait_until(lambda: not servers[0].connections())
            radio.silence()
            assert unit.state.receive_rate_hz != SETTINGS.sample_rate_hz
            use(radio)
            assert unit.state.receive_rate_hz == SETTINGS.sample_rate_hz
            assert unit.state.transmit_hz == SETTINGS.centre_hz
            for segment in unit.aether.segments():
                assert (segment.carrier_hz, segment.gain_db) == (SETTINGS.centre_hz, SETTINGS.transmit_gain_db)


def test_a_connection_that_breaks_in_a_transmission_does_not_leave_it_untuned(servers: list[Server]) -> None:
    unit = servers[0].unit
    with opened(servers[0]) as radio:
        radio.configure(SETTINGS)
        unit.state = State()
        servers[0].disconnect()
        radio.transmit(TONE)  # silences first, finds the connection broken, connects, tunes
        assert unit.state.transmit_hz == SETTINGS.centre_hz
        assert unit.state.attenuation_mdb == 20_000


def test_a_unit_that_never_comes_back_is_an_error_at_every_verb(servers: list[Server]) -> None:
    with opened(servers[0]) as radio:
        radio.configure(SETTINGS)
        servers[0].unit.faults.protocol.append(Fault("PRINT", disconnect=True, times=1000))
        servers[0].disconnect()
        for verb in (radio.silence, lambda: radio.receive(10), lambda: radio.transmit(TONE), radio.xo_correction_hz):
            with pytest.raises(RadioError):
                verb()
        with pytest.raises(RadioError, match=r"connection broke|check cable"):
            radio.receive(10)
        servers[0].unit.faults.protocol.clear()
    assert is_quiet(servers[0].unit)  # leaving tried once more
    with pytest.raises(RadioError, match="is closed"):
        radio.silence()


OTHER_DEVICE = """<?xml version="1.0" encoding="utf-8"?>
<!DOCTYPE context [<!ELEMENT context (device)*><!ELEMENT device (channel)*><!ELEMENT channel EMPTY>
<!ATTLIST context name CDATA #REQUIRED><!ATTLIST device id CDATA #REQUIRED name CDATA #IMPLIED>
<!ATTLIST channel id CDATA #REQUIRED type (input|output) #REQUIRED>]>
<context name="xml"><device id="iio:device0" name="thermometer"><channel id="temp0" type="input"/></device></context>
"""


def test_another_device_is_not_taken_for_a_pluto(tmp_path: Path) -> None:
    need_libiio()
    (tmp_path / "other.xml").write_text(OTHER_DEVICE, encoding="utf-8")
    with genuine_server(tmp_path / "other.xml") as port:
        with pytest.raises(RadioError, match="is not a Pluto: it has no ad9361-phy"):
            PlutoRadio(f"pluto:ip:127.0.0.1:{port}")
        (*_, finding) = examine_pluto(f"pluto:ip:127.0.0.1:{port}")
        assert not finding.well
        assert finding.remedy


def test_a_model_that_does_not_reach_a_frequency_says_so_and_stays_silent(servers: list[Server]) -> None:
    unit = servers[0].unit
    unit.identity = replace(unit.identity, model="ad9363a")
    with opened(servers[0], replace(PERMIT, bands_hz=((5e9, 6e9),))) as radio:
        with pytest.raises(RadioError, match=r"altvoltage0 frequency = 5800000000: the unit refused the value"):
            radio.configure(replace(SETTINGS, centre_hz=5.8e9))
        assert is_quiet(unit)
        with pytest.raises(RadioError, match="never tuned"):
            radio.transmit(TONE)
        radio.configure(replace(SETTINGS, centre_hz=3.5e9))
