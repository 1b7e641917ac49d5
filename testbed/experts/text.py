"""Held-out text of each domain: bytes that no model was trained on.

One file a domain in `data/held_out/`, its licence beside it. A file is a row of slices from all over the
domain's text, parted by `SEAM`; no passage crosses a seam.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from testbed.errors import ModelError
from testbed.experts.model import DATA

HELD_OUT = DATA / "held_out"
SEAM = 0
"""A byte that occurs in none of the texts."""


def domains() -> tuple[str, ...]:
    """Names of the domains that text is shipped for."""
    return tuple(sorted(path.stem for path in HELD_OUT.glob("*.txt")))


def held_out(domain: str) -> bytes:
    """All held-out text of a domain, its slices parted by `SEAM`. ModelError names the domains there are."""
    if domain not in domains():
        raise ModelError(f"domain: there is no {domain!r}; text is shipped for {list(domains())}")
    return (HELD_OUT / f"{domain}.txt").read_bytes()


def draw_passages(domain: str, count: int, length: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    """`count` different passages of `length` bytes from a domain's held-out text, (count, length).

    Each starts at the first byte of a character and lies in one slice; two may overlap. ModelError if the
    text does not hold so many.
    """
    if count < 1 or length < 1:
        raise ModelError(f"passages: count {count} and length {length} must both be at least 1")
    text = np.frombuffer(held_out(domain), dtype=np.uint8)
    starts = _starts(text, length)
    if len(starts) < count:
        raise ModelError(
            f"passages: {domain} holds {len(starts)} passages of {length} bytes, {count} were asked for; "
            "ask for fewer or shorter ones"
        )
    chosen = rng.choice(starts, size=count, replace=False)
    return text[chosen[:, None] + np.arange(length)]


CHOICES = 4
"""Continuations of a question, of which the first is the right one."""


def draw_questions(
    domain: str, count: int, length: int, continuation: int, rng: np.random.Generator
) -> NDArray[np.uint8]:
    """`count` questions as `CHOICES` passages each, (count·CHOICES, length): the right one, then three wrong ones.

    A wrong one is the same passage with its last `continuation` bytes from elsewhere in the same domain's text.
    ModelError if the text does not hold so many, or a continuation is not shorter than the passage.
    """
    if not 1 <= continuation < length:
        raise ModelError(f"questions: continuation {continuation} must be 1 … {length - 1}, shorter than the passage")
    begun = length - continuation
    asked = np.repeat(draw_passages(domain, count, length, rng), CHOICES, axis=0)
    wrong = draw_passages(domain, count * (CHOICES - 1), continuation, rng)
    asked.reshape(count, CHOICES, length)[:, 1:, begun:] = wrong.reshape(count, CHOICES - 1, continuation)
    return asked


def _starts(text: NDArray[np.uint8], length: int) -> NDArray[np.intp]:
    """Where a passage may start: at a character, with no seam in its `length` bytes."""
    seams = np.concatenate(([0], np.cumsum(text == SEAM)))
    candidates = np.arange(max(0, len(text) - length + 1))
    whole = seams[candidates + length] == seams[candidates]
    at_character = (text[candidates] & 0xC0) != 0x80
    starts: NDArray[np.intp] = candidates[whole & at_character]
    return starts
