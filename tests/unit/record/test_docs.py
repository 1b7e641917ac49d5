from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from testbed.record.schema import FORMAT_VERSION, table
from testbed.record.schema_file import schema_json, with_table
from tests.unit.record import factory

PAGE = Path(__file__).parents[3] / "docs" / "recordings.md"
SCHEMA = PAGE.with_name("run-folder.schema.json")
GOLDEN = PAGE.parents[1] / "measurements" / "golden"


def test_the_page_shows_the_schema_as_it_is():
    """After a change: python docs/make_schema.py"""
    shown = re.search(r"<!-- schema: [^>]*-->\n(.*?)<!-- end of schema -->", PAGE.read_text(), re.DOTALL)
    assert shown.group(1) == table()
    assert with_table(PAGE.read_text()) == PAGE.read_text()
    assert f"`format_version` is {FORMAT_VERSION}." in PAGE.read_text()


def test_the_schema_file_is_as_the_program_has_it():
    """After a change: python docs/make_schema.py"""
    assert SCHEMA.read_text() == schema_json()


@pytest.mark.parametrize("path", sorted(GOLDEN.glob("*/manifest.json")), ids=lambda path: path.parent.name)
def test_the_schema_file_describes_golden_recordings(path):
    jsonschema = pytest.importorskip("jsonschema")
    schema = json.loads(SCHEMA.read_text())
    folder = path.parent
    contents = [("timings.jsonl", json.loads(line)) for line in (folder / "timings.jsonl").read_text().splitlines()]
    names = [name for name in ("manifest.json", "summary.json") if (folder / name).exists()]
    for name, content in [*contents, *((name, json.loads((folder / name).read_text())) for name in names)]:
        jsonschema.validate(content, {**schema[name], "$defs": schema["$defs"]})
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"run_id": 7}, {**schema["manifest.json"], "$defs": schema["$defs"]})


def test_the_examples_of_the_page_run(tmp_path, seed, capsys):
    pytest.importorskip("xarray")
    pytest.importorskip("h5netcdf")
    shape = factory.shape(K=2, L=2, U=20, pilots=2)
    names = {"RUN": str(factory.record_run(tmp_path, seed, of=shape).path)}
    examples = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert len(examples) == 5
    for example in examples:
        exec(compile(example, PAGE.name, "exec"), names)
    assert names["h"].shape == (2, 2, 2, 20)
    assert names["gain_db"].dims == ("time", "subcarrier")
    assert names["experts_per_token"] == 2
    assert capsys.readouterr().out.endswith("()\n2\n")
