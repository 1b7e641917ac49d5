"""GNU Radio's gr-iio on virtual Plutos, with Debian's package where it is installed (several hundred MB: not in CI)."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from testbed.virtual_pluto.serve import serving
from tests.unit.virtual_pluto.wires import air

PYTHON = "/usr/bin/python3"
PROGRAM = Path(__file__).parents[1] / "reference" / "gnuradio_pluto.py"
CRYSTALS_HZ = 60e-6 * 2.45e9
"""More than two crystals of ±25 ppm can be apart."""


def has_gnuradio() -> bool:
    command = [PYTHON, "-c", "from gnuradio import iio"]
    return Path(PYTHON).exists() and subprocess.run(command, capture_output=True, check=False).returncode == 0


@pytest.mark.skipif(not has_gnuradio(), reason="GNU Radio is missing; run: apt-get install gnuradio")
def test_gnu_radio_sends_and_hears() -> None:
    with serving(air(2), first_host="127.0.0.1", port=0) as servers:
        uris = [server.uri for server in servers]
        done = subprocess.run(
            [PYTHON, str(PROGRAM), *uris], capture_output=True, text=True, check=False, timeout=60, env={}
        )
    assert done.returncode == 0, done.stderr
    _, before_hz, tone_db, tone_hz = (float(word) for word in done.stdout.splitlines()[-1].split())
    assert abs(before_hz - 300e3) > CRYSTALS_HZ  # a Pluto that nobody has silenced is not silent
    assert tone_db > 10
    assert abs(tone_hz - 300e3) < CRYSTALS_HZ
