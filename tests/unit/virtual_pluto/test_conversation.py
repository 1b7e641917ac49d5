"""A client's connection: answers byte by byte, buffers that are freed, faults, and rubbish."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from testbed.virtual_pluto.claims import Claims
from testbed.virtual_pluto.conversation import VERSION
from testbed.virtual_pluto.faults import Fault
from testbed.virtual_pluto.unit import TIMEOUT_S
from tests.unit.virtual_pluto.wires import ask, units, value

RX, TX = b"iio:device3", b"iio:device2"


@pytest.mark.parametrize(
    ("sent", "answer"),
    [
        (b"VERSION\r\n", f"{VERSION}\n".encode()),
        (b"TIMEOUT 2500\r\n", b"0\n"),
        (b"NOPE\r\nVERSION\r\n", b"-22\n" + f"{VERSION}\n".encode()),
        (b"ZPRINT\r\n", b"-22\n"),
        (b"BINARY\r\n", b"-22\n"),
        (b"EXIT\r\nVERSION\r\n", b""),
        (b"READ iio:device9 x\r\n", b"-19\n"),
        (b"READ iio:device0 nomode\r\n", b"-2\n"),
        (b"READ iio:device0 INPUT voltage9 gain\r\n", b"-6\n"),
        (b"READ iio:device0 ensm_mode\r\n", b"4\nfdd\0\n"),
        (b"WRITE iio:device9 mode 3\r\nab\0VERSION\r\n", b"-19\n" + f"{VERSION}\n".encode()),
        (b"WRITE iio:device0 ensm_mode 6\r\nalert\0", b"6\n"),
        (b"WRITE iio:device0 ensm_mode 5\r\nalert", b"5\n"),
        (b"WRITE iio:device0 fw 5\r\nalert", b"-2\n"),
        (b"WRITE iio:device0 rx_path_rates 2\r\n1\0", b"-13\n"),
        (b"WRITE iio:device0 ensm_mode 6\r\nale", b""),
        (b"GETTRIG iio:device0\r\n", b"-2\n"),
        (b"GETTRIG iio:device9\r\n", b"-19\n"),
        (b"SETTRIG iio:device0 trig\r\n", b"-2\n"),
        (b"SET iio:device3 BUFFERS_COUNT 4\r\n", b"0\n"),
        (b"SET iio:device3 BUFFERS_COUNT 0\r\n", b"-22\n"),
        (b"OPEN iio:device3 16 00000003\r\nCLOSE iio:device3\r\n", b"0\n0\n"),
        (b"OPEN iio:device3 16 0000000300000003\r\n", b"-22\n"),
        (b"OPEN iio:device3 16 3\r\n", b"-22\n"),
        (b"OPEN iio:device3 16 0_000003\r\n", b"-22\n"),
        (b"OPEN iio:device0 16 00000003\r\n", b"-22\n"),
        (b"OPEN iio:device9 16 00000003\r\n", b"-19\n"),
        (b"READBUF iio:device3 64\r\n", b"-9\n"),
        (b"WRITEBUF iio:device3 64\r\n", b"-9\n"),
        (b"READBUF iio:device9 64\r\n", b"-19\n"),
        (b"CLOSE iio:device3\r\n", b"-6\n"),
        (b"CLOSE iio:device9\r\n", b"-19\n"),
    ],
)
def test_answers(sent: bytes, answer: bytes) -> None:
    assert ask(units(1)[0], sent) == answer


def test_nobodys_patience_is_cut_short_by_another_client() -> None:
    (unit,) = units(1)
    unit.set_timeout("patient", 2.5)
    assert ask(unit, b"TIMEOUT 1\r\n") == b"0\n"
    assert unit.timeout_s == 2.5
    unit.set_timeout("hasty", 0.001)
    unit.set_timeout("patient", None)
    assert unit.timeout_s == 0.001
    unit.set_timeout("hasty", None)
    assert unit.timeout_s == TIMEOUT_S


def test_print_tells_its_length() -> None:
    size, _, rest = ask(units(1)[0], b"PRINT\r\n").partition(b"\n")
    assert len(rest) == int(size) + 1
    assert rest.endswith(b"</context>\n")


def test_a_buffer_is_read_in_chunks_with_one_mask() -> None:
    answer = ask(units(1)[0], b"OPEN iio:device3 16 00000003\r\nREADBUF iio:device3 160\r\nCLOSE iio:device3\r\n")
    assert answer.startswith(b"0\n64\n00000003\n")
    rest = answer[len(b"0\n64\n00000003\n") + 64 :]
    assert rest.startswith(b"64\n")
    assert rest[3 + 64 :].startswith(b"32\n")
    assert rest[3 + 64 + 3 + 32 :] == b"0\n"


def test_what_is_written_is_on_the_air_until_the_client_leaves() -> None:
    (unit,) = units(1)
    seen = []
    unit.witness = lambda told: seen.append((told.split()[0], unit.aether.on_air()))
    data = np.full(32, 1000, "<i2").tobytes()
    opened = b"OPEN iio:device2 16 00000003 CYCLIC\r\nWRITEBUF iio:device2 64\r\n" + data
    assert ask(unit, opened + b"VERSION\r\n") == b"0\n0\n64\n" + f"{VERSION}\n".encode()
    assert seen == [("OPEN", ()), ("WRITEBUF", (0,)), ("VERSION", (0,))]
    assert unit.aether.on_air() == ()


def test_a_second_transmitter_is_busy_and_a_second_receiver_is_not() -> None:
    (unit,) = units(1)
    claims = Claims()
    owner = object()
    claims.take("iio:device2", owner, exclusive=True)
    claims.take("iio:device3", owner, exclusive=False)
    assert ask(unit, b"OPEN iio:device2 16 00000003\r\n", claims) == b"-16\n"
    assert ask(unit, b"OPEN iio:device3 16 00000003\r\n", claims) == b"0\n"
    claims.give_back("iio:device2", owner)
    assert ask(unit, b"OPEN iio:device2 16 00000003\r\n", claims) == b"0\n"


def test_faults_strike_what_they_name() -> None:
    (unit,) = units(1)
    unit.faults.protocol.append(Fault("READ .* ensm_mode$", errno=110, times=1, after=1))
    answers = [value(unit, "iio:device0 ensm_mode") for _ in range(3)]
    assert answers == ["fdd", "-110", "fdd"]
    unit.faults.protocol.append(Fault("^VERSION", disconnect=True))
    assert ask(unit, b"VERSION\r\nVERSION\r\n") == b""


def test_setting_the_rate_may_reset_the_gain() -> None:
    (unit,) = units(1)
    unit.faults.gain_reset_on_rate = True
    ask(unit, b"WRITE iio:device0 OUTPUT voltage0 sampling_frequency 8\r\n5000000\0")
    assert value(unit, "iio:device0 OUTPUT voltage0 hardwaregain") == "-10.000000 dB"


def test_a_value_may_read_back_wrong() -> None:
    (unit,) = units(1)
    unit.faults.wrong_readback["ensm_mode"] = "sleep"
    assert value(unit, "iio:device0 ensm_mode") == "sleep"


VERBS = [b"READ", b"WRITE", b"OPEN", b"CLOSE", b"READBUF", b"WRITEBUF", b"GETTRIG", b"SET", b"TIMEOUT", b"PRINT", b""]
WORDS = [
    b"iio:device0",
    RX,
    TX,
    b"ad9361-phy",
    b"INPUT",
    b"OUTPUT",
    b"voltage0",
    b"hardwaregain",
    b"16",
    b"64",
    b"-1",
    b"00000003",
    b"CYCLIC",
    b"BUFFERS_COUNT",
    b"DEBUG",
    b"direct_reg_access",
    b"\xff\0",
    b"",
]
line = st.builds(
    lambda verb, words, end: b" ".join([verb, *words]) + end,
    st.sampled_from(VERBS),
    st.lists(st.sampled_from(WORDS), max_size=5),
    st.sampled_from([b"\r\n", b"\n", b"\r\n" + bytes(64), b""]),
)


@settings(max_examples=400, deadline=None)
@given(st.lists(line, max_size=12))
def test_rubbish_never_breaks_a_unit(lines: list[bytes]) -> None:
    (unit,) = units(1)
    ask(unit, b"".join(lines))
    assert ask(unit, b"VERSION\r\n") == f"{VERSION}\n".encode()
    assert unit.aether.on_air() == ()
    assert value(unit, "iio:device0 calib_mode") == "auto"


@given(st.binary(max_size=300))
def test_random_bytes_never_break_a_unit(data: bytes) -> None:
    (unit,) = units(1)
    ask(unit, data)
    assert ask(unit, b"VERSION\r\n") == f"{VERSION}\n".encode()


def test_a_line_without_end_is_cut() -> None:
    answer = ask(units(1)[0], b"A" * 100_000 + b"\r\nVERSION\r\n")
    assert answer.endswith(f"{VERSION}\n".encode())
    assert set(answer[: -len(VERSION) - 1].split(b"\n")) == {b"-22", b""}


def test_every_attribute_of_everything_can_be_read_at_once() -> None:
    (unit,) = units(1)
    for place in (
        "iio:device0",
        "iio:device0 DEBUG",
        "iio:device3 BUFFER",
        "iio:device0 INPUT voltage0",
        "xadc INPUT temp0",
    ):
        size, _, data = ask(unit, f"READ {place} \r\n".encode()).partition(b"\n")
        assert len(data) == int(size) + 1
        assert struct.unpack(">i", data[:4])[0] > 0
