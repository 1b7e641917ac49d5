"""The schema of a run folder for programs: JSON schemas of its JSON files, and the variables of `record.h5`."""

from __future__ import annotations

import inspect
from dataclasses import asdict

import msgspec

from testbed.outcome import Summary
from testbed.record import schema
from testbed.record.folder import FORMAT, FORMAT_VERSION, Manifest
from testbed.record.read import Timing

_NOT_IN_FILE = ("run_dir", "seconds")  # of a summary: they differ between two runs of one seed
TABLE_BEGINS = "<!-- schema: generated from testbed/record/schema.py -->\n"
TABLE_ENDS = "<!-- end of schema -->"


def schema_json() -> str:
    """The file `docs/run-folder.schema.json`."""
    (manifest, summary, timing), definitions = msgspec.json.schema_components((Manifest, Summary, Timing))
    for name in _NOT_IN_FILE:
        definitions["Summary"]["properties"].pop(name)
        definitions["Summary"]["required"].remove(name)
    for definition in definitions.values():
        if "description" in definition:  # msgspec and Python leave the indentation of the source, or not, by version
            definition["description"] = inspect.cleandoc(definition["description"])
    content = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"{FORMAT} version {FORMAT_VERSION}",
        "manifest.json": manifest,
        "summary.json": summary,
        "timings.jsonl": {"description": "one a line, one line a round", **timing},
        "tags.json": {"type": "array", "items": {"type": "string"}},
        "record.h5": {
            "format": schema.FORMAT,
            "format_version": schema.FORMAT_VERSION,
            "ragged dimensions": schema.RAGGED,
            "variables": [{k: v for k, v in asdict(one).items() if k != "field"} for one in schema.VARIABLES],
        },
        "$defs": definitions,
    }
    return msgspec.json.format(msgspec.json.encode(content).decode(), indent=2) + "\n"


def with_table(page: str) -> str:
    """A page with the table of variables between its two marks as it is now."""
    before, _, rest = page.partition(TABLE_BEGINS)
    return before + TABLE_BEGINS + schema.table() + TABLE_ENDS + rest.partition(TABLE_ENDS)[2]
