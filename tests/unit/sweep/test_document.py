"""Results find their place in a document, and nothing else moves."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from testbed.errors import RecordError
from testbed.sweep.document import filled

DOCUMENT = "before\n<!-- one -->\nold\n<!-- /one -->\nbetween\n<!-- two -->\nkept\n<!-- /two -->\nafter\n"
DATA = {
    "experiment": "one",
    "about": "what it is",
    "seeds": 3,
    "verdict": "supported: it works",
    "sentences": ["a number"],
    "table": [{"scheme": "Top-2", "saving %": "1.0", "tokens lost %": "0.0"}],
}


def test_results_stand_between_their_marks(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "data.json").write_text(json.dumps(DATA), encoding="utf-8")
    text, names = filled(DOCUMENT, tmp_path)
    assert names == ["one"]
    assert "old" not in text
    assert text.startswith("before\n<!-- one -->\n**supported: it works** (3 seeds)\n\n- a number\n")
    assert "| scheme | saving % |\n|---|---|\n| Top-2 | 1.0 |\n\n![one: what it is]" in text
    assert "(figures/one.svg)\n<!-- /one -->\nbetween" in text
    assert text.endswith("between\n<!-- two -->\nkept\n<!-- /two -->\nafter\n")
    assert filled(text, tmp_path)[0] == text


def test_the_summary_has_a_row_for_each_result_that_is_there(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "data.json").write_text(json.dumps(DATA), encoding="utf-8")
    text, names = filled("<!-- summary -->\n<!-- /summary -->\n" + DOCUMENT, tmp_path)
    assert names == ["one"]
    assert "|---|---|---|---|\n| one | 3 | it works | supported |\n<!-- /summary -->" in text


def test_a_damaged_result_is_named(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "data.json").write_text("{}", encoding="utf-8")
    with pytest.raises(RecordError, match=r"one/data\.json.*run the experiment again"):
        filled(DOCUMENT, tmp_path)
