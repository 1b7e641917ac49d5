"""The rule by which recordings become links: the value of `--as-links`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from testbed.errors import RecordError
from testbed.record.foreign.value import ForeignCsi, index_of

FORMS = (
    "FROM>TO=[FILE/][TRANSMITTER:]rxRtxT[@SECONDS] separated by commas, e.g. '0>1=rx0tx0,1>0=B:rx1tx0@2.5'; "
    "or a rule for all K·(K−1) links: 'pairs:K', 'transmitters:K', 'offsets:K:SECONDS', 'auto:K'"
)
MOST_NODES = 64
_LINK = re.compile(
    r"(\d{1,4})\s*>\s*(\d{1,4})\s*=\s*"
    r"(?:(\d{1,4})/)?(?:([A-Z]{1,4}):)?rx(\d{1,3})tx(\d{1,3})(?:@(\d{1,9}(?:\.\d{1,9})?))?"
)
_RULE = re.compile(r"(pairs|transmitters|auto|offsets):(\d{1,4})(?::(\d{1,9}(?:\.\d{1,9})?))?")


@dataclass(frozen=True)
class LinkSource:
    """Where the packets of a directed link come from.

    Attributes:
        link_from: transmitting node.
        link_to: receiving node.
        file: number of the input file, from 0.
        transmitter: its number, or None for packets of any.
        pair: (receive, transmit) antenna.
        offset_s: the link shows what was received so much later.
    """

    link_from: int
    link_to: int
    file: int
    transmitter: int | None
    pair: tuple[int, int]
    offset_s: float


@dataclass(frozen=True)
class Rule:
    """A rule for all links of K nodes, to be filled when the recordings are known."""

    kind: str
    nodes: int
    seconds: float


def parse_map(text: str) -> tuple[LinkSource, ...] | Rule:
    """Understand the value of `--as-links`.

    Raises:
        RecordError: it is not of the forms in `FORMS`, or names a link twice or from a node to itself.
    """
    if rule := _RULE.fullmatch(text.strip()):
        return _checked_rule(text, Rule(rule[1], int(rule[2]), float(rule[3] or 0)))
    links = tuple(_parse_link(item.strip()) for item in text.split(","))
    seen: set[tuple[int, int]] = set()
    for link in links:
        way = link.link_from, link.link_to
        if link.link_from == link.link_to or way in seen or max(way) >= MOST_NODES:
            raise RecordError(
                f"--as-links: link {way[0]}>{way[1]} is given twice, leads to itself, or names a node above "
                f"{MOST_NODES - 1}"
            )
        seen.add(way)
    return links


def _checked_rule(text: str, rule: Rule) -> Rule:
    if not 2 <= rule.nodes <= MOST_NODES or (rule.kind == "offsets") != (rule.seconds > 0):
        raise RecordError(
            f"--as-links {text!r}: K must be 2 … {MOST_NODES}, and SECONDS above 0 belong to offsets: {FORMS}"
        )
    return rule


def _parse_link(item: str) -> LinkSource:
    found = _LINK.fullmatch(item)
    if not found:
        raise RecordError(f"--as-links: {item!r} is not understood; give {FORMS}")
    i, j, file, name, rx, tx, seconds = found.groups()
    return LinkSource(
        link_from=int(i),
        link_to=int(j),
        file=int(file or 1) - 1,
        transmitter=index_of(name) if name else None,
        pair=(int(rx), int(tx)),
        offset_s=float(seconds or 0),
    )


def fill_rule(
    rule: Rule,
    sources: Sequence[ForeignCsi],
    transmitters: Sequence[int],
    steady: Sequence[Sequence[int]],
    duration_s: float,
) -> tuple[LinkSource, ...]:
    """The links that a rule names: (0>1), (0>2), … each with the next source in turn.

    `auto` goes through files, transmitters heard throughout (or all together where none was) and antenna pairs, and
    begins again later in time when they are used up.

    Args:
        rule: from `parse_map`.
        sources: the recordings.
        transmitters: how many each has.
        steady: those of each that were heard throughout.
        duration_s: of the shortest.

    Raises:
        RecordError: `pairs` or `transmitters` has fewer sources than links.
    """
    ways = [(i, j) for i in range(rule.nodes) for j in range(rule.nodes) if i != j]
    first = sources[0].links[0]
    pairs = [(f, None, pair) for f, s in enumerate(sources) for pair in s.links]
    everyone = [(f, t, s.links[0]) for f, s in enumerate(sources) for t in range(transmitters[f])]
    everybody: list[int | None] = [None]
    both = [(f, t, pair) for f, s in enumerate(sources) for t in (list(steady[f]) or everybody) for pair in s.links]
    pool: list[tuple[int, int | None, tuple[int, int]]] = {
        "pairs": pairs, "transmitters": everyone, "offsets": [(0, None, first)], "auto": both,
    }[rule.kind]  # type: ignore[assignment]  # fmt: skip
    laps = -(-len(ways) // len(pool))
    if rule.kind in ("pairs", "transmitters") and laps > 1:
        raise RecordError(
            f"--as-links {rule.kind}:{rule.nodes}: {len(ways)} links need as many {rule.kind}, the recording has "
            f"{len(pool)}; take fewer nodes, more files, or auto:{rule.nodes}"
        )
    lap_s = rule.seconds or duration_s / (laps + 1)
    return tuple(
        LinkSource(i, j, *pool[n % len(pool)], offset_s=(n // len(pool)) * lap_s) for n, (i, j) in enumerate(ways)
    )
