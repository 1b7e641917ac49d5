"""Byte by byte against the genuine server of libiio: grammar and error paths.

The genuine server runs on a context without hardware: it refuses to read or write any value with −38. Every
answer of it that is not such a refusal must be ours as well; where we differ on purpose, it is listed here with
its reason.
"""

from __future__ import annotations

import contextlib
import re
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import pytest

from testbed.virtual_pluto.attributes import context_attributes
from testbed.virtual_pluto.conversation import VERSION
from testbed.virtual_pluto.description import context_xml
from testbed.virtual_pluto.serve import serving
from tests.libiio import genuine_server, need_tool
from tests.unit.virtual_pluto.wires import air, units

NOT_IMPLEMENTED = b"-38\n"
PATIENCE_S = 10.0
VALUE = b"ab\0"

LINES = [
    "VERSION", "version", "Version", " VERSION", "VERSION ", "VERSION\t", "VERSION x", "VERSION\tx", "NOPE", "ZPRINT",
    "BINARY", "exit", "EXIT x", "PRINT x", "HELP x", "123", "A" * 5000,
    "READ", "READ iio:device9 x", "READ iio:device9 INPUT a b", "READ iio:device0 INPUT voltage9 gain",
    "READ iio:device0 INPUT", "READ iio:device0 INPUT ", "READ iio:device0 input",
    "READ iio:device0 Input voltage0 gain",
    "READ iio:device0 INPUT altvoltage0 frequency", "READ iio:device0 ensm_mode extra stuff", "Read iio:device0 mode",
    "READ IIO:DEVICE0 mode", "READ iio:device0 a/b", "READ a$b mode", "READ iio:device0 BUFFER watermark x",
    "WRITE", "WRITE iio:device0", "WRITE iio:device0 mode 3 4", "WRITE iio:device0 ensm_mode -3",
    "WRITE iio:device0 ensm_mode 99999999999999999999",
    "GETTRIG", "GETTRIG iio:device9", "SETTRIG", "SETTRIG iio:device9 trig", "SETTRIG iio:device0 trig",
    "SETTRIG iio:device0 a b",
    "SET", "SET iio:device3", "SET iio:device3 BUFFERS_COUNT", "SET iio:device3 BUFFERS_COUNT 0",
    "SET iio:device3 BUFFERS_COUNT x", "SET iio:device9 BUFFERS_COUNT 4", "SET iio:device3 BOGUS 4",
    "OPEN", "OPEN iio:device3 16", "OPEN iio:device3 16 00000000", "OPEN iio:device3 16 0000000300000003",
    "OPEN iio:device3 16 3", "OPEN iio:device3 16 zz", "OPEN iio:device3 16 0000000g", "OPEN iio:device3 16 00000004",
    "OPEN iio:device3 0 00000003", "OPEN iio:device3 x 00000003", "OPEN iio:device3 16 00000003 BOGUS",
    "OPEN iio:device3 16 00000003 CYCLIC x", "OPEN iio:device9 16 00000003", "OPEN iio:device0 16 00000003",
    "READBUF iio:device3 64", "READBUF iio:device9 64", "READBUF iio:device3 -64", "READBUF iio:device3",
    "READBUF iio:device3 x", "READBUF iio:device3 64 64", "WRITEBUF iio:device3 64", "WRITEBUF iio:device9 64",
    "CLOSE", "CLOSE iio:device3", "close iio:device3", "CLOSE iio:device9", "CLOSE iio:device3 x",
    "TIMEOUT", "TIMEOUT 1 2",
]  # fmt: skip
SESSIONS = [f"{line}\r\n".encode() for line in LINES] + [
    b"VERSION\n",
    b"\r\n\r\nVERSION\r\n",
    b"VERSION\r\r\n",
    b"VERSION\rVERSION\r\n",
    b"NOPE\r\nVERSION\r\n",
    b"\0\1\xff\xfe\r\nVERSION\r\n",
    b"V\0\r\nVERSION\r\n",
    b"READ iio:device0 m\0ode\r\nVERSION\r\n",
    b"READ iio:device0 in\xffput\r\n",
    b"\r\nEXIT\r\nVERSION\r\n",
    b"WRITE iio:device9 INPUT a b 3\r\n" + VALUE + b"VERSION\r\n",
    b"WRITE iio:device0 INPUT voltage9 gain 3\r\n" + VALUE + b"VERSION\r\n",
    b"WRITE iio:device0 ensm_mode -3\r\nVERSION\r\n",
]
ON_PURPOSE = {
    b"WRITE iio:device9 ensm_mode 3\r\n" + VALUE + b"VERSION\r\n": "the genuine server leaves the value in the stream",
    b"OPEN iio:device3 -4 00000003\r\n": "the genuine server takes it for a huge number and asks the kernel",
    b"SET iio:device3 BUFFERS_COUNT -1\r\n": "likewise",
}


def exchange(port: int, sent: bytes) -> bytes:
    """All that comes back for this and a farewell, as clients say it."""
    received = b""
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.settimeout(PATIENCE_S)
        connection.sendall(sent + b"\r\nEXIT\r\n")
        with contextlib.suppress(ConnectionResetError):  # it hung up over what we had still to say
            while data := connection.recv(1 << 16):
                received += data
                assert len(received) < 1 << 20, f"no end of the answer to {sent!r}"
    return received


@pytest.fixture
def genuine(tmp_path: Path) -> Iterator[int]:
    """The port of a genuine server on our own description."""
    (unit,) = units(1)
    description = tmp_path / "pluto.xml"
    description.write_bytes(context_xml("conformance", context_attributes(unit)))
    with genuine_server(description) as port:
        yield port


@pytest.fixture
def ours() -> Iterator[int]:
    with serving(air(1), first_host="127.0.0.1", port=0) as (server,):
        yield server.port


def normal(answer: bytes) -> bytes:
    """Our version number stands for theirs."""
    return re.sub(rb"^\d+\.\d+\..{7}$", b"<version>", answer, flags=re.MULTILINE)


def test_the_same_answers_as_the_genuine_server(genuine: int, ours: int) -> None:
    theirs = {sent: normal(exchange(genuine, sent)) for sent in SESSIONS}
    assert [sent for sent, answer in theirs.items() if NOT_IMPLEMENTED in answer] == []
    mine = {sent: normal(exchange(ours, sent)) for sent in SESSIONS}
    assert mine == theirs


def told(answer: bytes) -> list[tuple[str, dict[str, str]]]:
    """Elements within the devices of a printed context, with their attributes, in order."""
    size, _, rest = answer.partition(b"\n")
    assert len(rest) == int(size) + 1
    devices = ElementTree.fromstring(rest).iter("device")
    return [(one.tag, dict(one.attrib)) for device in devices for one in device.iter()]


def test_the_same_description_as_the_genuine_server(genuine: int, ours: int) -> None:
    """It was given ours, and prints what it understood of it."""
    theirs, mine = (told(exchange(port, b"PRINT\r\n")) for port in (genuine, ours))
    assert len(mine) > 150
    assert mine == theirs


@pytest.mark.parametrize("sent", ON_PURPOSE, ids=lambda sent: repr(sent[:50]))
def test_where_we_differ_on_purpose_we_still_do(genuine: int, ours: int, sent: bytes) -> None:
    assert normal(exchange(genuine, sent)) != normal(exchange(ours, sent))


def test_the_version_has_the_form_that_clients_read() -> None:
    major, minor, tag = VERSION.split(".", 2)
    assert major.isdigit()
    assert minor.isdigit()
    assert len(tag) == 7


def test_the_genuine_library_accepts_the_description(tmp_path: Path) -> None:
    need_tool("iio_info")
    (unit,) = units(1)
    description = tmp_path / "pluto.xml"
    description.write_bytes(context_xml("conformance", context_attributes(unit)))
    done = subprocess.run(["iio_info", "-u", f"xml:{description}"], capture_output=True, timeout=60, check=False)
    assert done.returncode == 0
    assert b"validity error" not in done.stderr
    assert b"IIO context has 4 devices" in done.stdout
