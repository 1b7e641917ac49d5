"""Statements, tables and figures of finished experiments into a document, between marks.

    python -m testbed.sweep.document docs/experiments.md measurements/paper/results

Between `<!-- NAME -->` and `<!-- /NAME -->` stands what experiment NAME says, between the marks of `summary` the
verdicts of all that are there; everything else is left as it is. Figures go to `figures` beside the document.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from testbed.errors import RecordError

MARKED = re.compile(r"(<!-- ([a-z-]+) -->\n).*?(<!-- /\2 -->)", re.DOTALL)
SUMMARY = "summary"
LEFT_OUT = frozenset(
    {"of radio %", "with overhead %", "QoS relaxed %", "proven optimal %", "tokens lost %", "accuracy %"}
)
"""Columns of the results' own tables that the document has no room for; it keeps the differences."""


def block(data: dict[str, Any]) -> str:
    """Verdict, sentences and table of an experiment's data.json."""
    rows = data["table"]
    columns = [name for name in rows[0] if name not in LEFT_OUT]
    lines = [f"**{data['verdict']}** ({data['seeds']} seeds)", ""]
    lines += [f"- {sentence}" for sentence in data["sentences"]]
    lines += ["", "| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    lines += ["| " + " | ".join(row[column] for column in columns) + " |" for row in rows]
    lines += ["", f"![{data['experiment']}: {data['about']}](figures/{data['experiment']}.svg)"]
    return "\n".join(lines) + "\n"


def summary(document: str, results: Path) -> str:
    """The verdict of every experiment that the document has marks for, in its order."""
    paths = [results / match[2] / "data.json" for match in MARKED.finditer(document) if match[2] != SUMMARY]
    rows = [read(path, verdict_row) for path in paths if path.is_file()]
    return "\n".join(["| experiment | seeds | claim | verdict |", "|---|---|---|---|", *rows]) + "\n"


def verdict_row(data: dict[str, Any]) -> str:
    """One row of the summary."""
    verdict, _, claim = data["verdict"].partition(": ")
    return f"| {data['experiment']} | {data['seeds']} | {claim} | {verdict} |"


def read(path: Path, make: Callable[[dict[str, Any]], str]) -> str:
    """What `make` makes of a data.json; RecordError when it is damaged."""
    try:
        return make(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, KeyError) as error:
        raise RecordError(f"{path}: {error!r}; run the experiment again") from error


def filled(document: str, results: Path) -> tuple[str, list[str]]:
    """The document with the results that are there, and their names.

    Raises:
        RecordError: a result is there and cannot be read.
    """
    names: list[str] = []

    def replaced(match: re.Match[str]) -> str:
        if match[2] == SUMMARY:
            return f"{match[1]}{summary(document, results)}{match[3]}"
        path = results / match[2] / "data.json"
        if not path.is_file():
            return match[0]
        names.append(match[2])
        return f"{match[1]}{read(path, block)}{match[3]}"

    return MARKED.sub(replaced, document), names


def main() -> None:
    """Fill one document."""
    parser = argparse.ArgumentParser(description="Write results of experiments into a document.")
    parser.add_argument("document", type=Path)
    parser.add_argument("results", type=Path)
    arguments = parser.parse_args()
    text, names = filled(arguments.document.read_text(encoding="utf-8"), arguments.results)
    figures = arguments.document.parent / "figures"
    figures.mkdir(exist_ok=True)
    for name in names:
        shutil.copyfile(arguments.results / name / "figure.svg", figures / f"{name}.svg")
    arguments.document.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
