from __future__ import annotations

import re
from pathlib import Path

import pytest

from testbed.record.schema import FORMAT_VERSION, table
from tests.unit.record import factory

PAGE = Path(__file__).parents[3] / "docs" / "recordings.md"


def test_the_page_shows_the_schema_as_it_is():
    shown = re.search(r"<!-- schema: [^>]*-->\n(.*?)<!-- end of schema -->", PAGE.read_text(), re.DOTALL)
    assert shown.group(1) == table()
    assert f"`format_version` is {FORMAT_VERSION}." in PAGE.read_text()


def test_the_examples_of_the_page_run(tmp_path, seed, capsys):
    pytest.importorskip("xarray")
    pytest.importorskip("h5netcdf")
    shape = factory.shape(K=2, L=2, U=20, pilots=2)
    names = {"RUN": str(factory.record_run(tmp_path, seed, of=shape).path)}
    examples = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert len(examples) == 4
    for example in examples:
        exec(compile(example, PAGE.name, "exec"), names)
    assert names["h"].shape == (2, 2, 2, 20)
    assert names["gain_db"].dims == ("time", "subcarrier")
    assert names["experts_per_token"] == 2
    assert capsys.readouterr().out.endswith("()\n2\n")
