"""Writes what the documentation says of recordings as the program has it: the schema file, and the table of variables.

python docs/make_schema.py
"""

from __future__ import annotations

from pathlib import Path

from testbed.record.schema_file import schema_json, with_table

HERE = Path(__file__).resolve().parent


def main() -> None:
    """Both files, in place."""
    page = HERE / "recordings.md"
    page.write_text(with_table(page.read_text()))
    (HERE / "run-folder.schema.json").write_text(schema_json())


if __name__ == "__main__":
    main()
