"""The command grammar, against what the genuine server was seen to do."""

from __future__ import annotations

import errno

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed.virtual_pluto import grammar as g


@pytest.mark.parametrize(
    ("line", "command"),
    [
        (b"VERSION\r\n", g.Plain("VERSION")),
        (b"version \r\n", g.Plain("VERSION")),
        (b"PRINT\n", g.Plain("PRINT")),
        (b"TIMEOUT 2500\r\n", g.Timeout(2500)),
        (b"TIMEOUT x\r\n", g.Timeout(0)),
        (b"READ iio:device0 mode\r\n", g.Read(g.Attribute("iio:device0", "device", "", "mode"))),
        (b"READ iio:device0 \r\n", g.Read(g.Attribute("iio:device0", "device", "", ""))),
        (b"READ iio:device0 DEBUG\r\n", g.Read(g.Attribute("iio:device0", "debug", "", ""))),
        (b"read phy input voltage0 gain\r\n", g.Read(g.Attribute("phy", "input", "voltage0", "gain"))),
        (b"READ phy OUTPUT TX_LO \r\n", g.Read(g.Attribute("phy", "output", "TX_LO", ""))),
        (b"WRITE d BUFFER watermark 3\r\n", g.Write(g.Attribute("d", "buffer", "", "watermark"), 3)),
        (b"WRITE d mode 3x\r\n", g.Write(g.Attribute("d", "device", "", "mode"), 3)),
        (b"OPEN iio:device3 4096 00000003 CYCLIC\r\n", g.Open("iio:device3", 4096, 3, 8, True)),
        (b"open d 16 00000001\r\n", g.Open("d", 16, 1, 8, False)),
        (b"READBUF d 64\r\n", g.Transfer("READBUF", "d", 64)),
        (b"SETTRIG d\r\n", g.SetTrigger("d", "")),
        (b"SET d buffers_count 2\r\n", g.SetBuffers("d", 2)),
        (b"\r\n", None),
        (b"\0\1\xff\r\n", None),
    ],
)
def test_a_line_is_a_command(line: bytes, command: g.Command | None) -> None:
    assert g.parse(line) == command


@pytest.mark.parametrize(
    "line",
    [
        b"Version\r\n",
        b" VERSION\r\n",
        b"VERSION x\r\n",
        b"NOPE\r\n",
        b"READ\r\n",
        b"READ d INPUT\r\n",
        b"READ d Input voltage0 gain\r\n",
        b"READ d mode extra\r\n",
        b"READ IIO:DEVICE0 mode\r\n",
        b"READ d a/b\r\n",
        b"OPEN d 16\r\n",
        b"OPEN d 16 zz\r\n",
        b"OPEN d 16 00000003 BOGUS\r\n",
        b"SET d BOGUS 4\r\n",
        b"V\0\r\n",
    ],
)
def test_what_is_no_command_is_invalid(line: bytes) -> None:
    with pytest.raises(g.Refused) as refused:
        g.parse(line)
    assert refused.value.code == errno.EINVAL


@pytest.mark.parametrize("count", [b"-3", b"99999999999999999999", b"1000000000"])
def test_a_value_that_no_memory_holds_is_refused_before_it_comes(count: bytes) -> None:
    with pytest.raises(g.Refused) as refused:
        g.parse(b"WRITE d mode " + count + b"\r\n")
    assert refused.value.code == errno.ENOMEM


def code_of(line: bytes) -> int:
    """0 for a command, else the error it is refused with; any other error comes through."""
    try:
        g.parse(line)
    except g.Refused as refused:
        return refused.code
    return 0


@given(st.binary(max_size=200))
def test_any_bytes_are_a_command_or_refused(line: bytes) -> None:
    assert code_of(line) in (0, errno.EINVAL, errno.ENOMEM)


@given(st.text("READWITOPNBUF iodevc:0123456789-xX\t", max_size=60))
def test_nearly_a_command_is_a_command_or_refused(text: str) -> None:
    assert code_of(text.encode()) in (0, errno.EINVAL, errno.ENOMEM)
