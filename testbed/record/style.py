"""How figures look, and how they become files: one palette, one style sheet, themed SVG for reports."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

STYLE = Path(__file__).with_name("testbed.mplstyle")
INK, MUTED, AXIS, GRID = "#1d2733", "#5b6673", "#c9cfd6", "#dfe3e8"
THEME = {INK: "var(--ink)", MUTED: "var(--muted)", AXIS: "var(--axis)", GRID: "var(--grid)"}

NODES = ("#3f7fd4", "#e0823d", "#2f9e78", "#c4568f", "#8a6fd1", "#b3972c", "#3e9fb8", "#a3654c")
PARTS = {"computation": "#8a6fd1", "forward": "#3f7fd4", "return": "#2f9e78", "overhead": "#98a2ad"}
FIRST, AGAIN, GAVE_UP = "#3f7fd4", "#e0a03d", "#cf4a4a"


def node_colour(node: int) -> str:
    """Colour of a node; repeats after eight."""
    return NODES[node % len(NODES)]


@contextmanager
def styled() -> Iterator[None]:
    """Inside the block, matplotlib draws in the testbed's style."""
    from matplotlib import style

    with style.context(STYLE):
        yield


def draw(make: Callable[..., Figure], *given: Any) -> Figure:  # noqa: ANN401  whatever the figure is drawn from
    """`make(*given)` in the testbed's style."""
    with styled():
        return make(*given)


def save(figure: Figure, path: Path) -> None:
    """Write a figure on white, undated; the format follows the suffix: .svg, .png, .pdf."""
    undated = {".svg": {"Date": None}, ".pdf": {"CreationDate": None}}.get(path.suffix)
    with styled():
        figure.savefig(path, facecolor="white", metadata=undated)


def inline_svg(figure: Figure) -> str:
    """The figure as an `<svg>` element for a page that defines --ink, --muted, --axis and --grid."""
    buffer = io.StringIO()
    with styled():
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'<g id="[^"]*"', "<g", svg)
    svg = re.sub(r'(<svg[^>]*?) width="([\d.]+)pt" height="[\d.]+pt"', r'\1 style="--natural:\2px"', svg, count=1)
    for colour, variable in THEME.items():
        svg = svg.replace(colour, variable)
    return svg
