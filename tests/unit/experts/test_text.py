import re

import numpy as np
import pytest

from testbed.errors import ModelError
from testbed.experts.text import CHOICES, HELD_OUT, SEAM, domains, draw_passages, draw_questions, held_out


@pytest.mark.parametrize("domain", domains())
def test_held_out_text_is_small_and_licensed(domain):
    text = held_out(domain)
    assert 40_000 < len(text) <= 65_536
    assert text.count(bytes([SEAM])) == 15
    assert (HELD_OUT / f"{domain}.LICENSE").stat().st_size > 200
    for piece in text.split(bytes([SEAM])):
        piece.decode("utf-8")


@pytest.mark.parametrize("domain", ["english", "japanese"])
@pytest.mark.parametrize("length", [1, 64, 128])
def test_passages_are_different_pieces_of_the_text(domain, length, rng):
    text = held_out(domain)
    passages = draw_passages(domain, 40, length, rng)
    assert passages.shape == (40, length)
    assert passages.dtype == np.uint8
    for passage in passages:
        assert passage.tobytes() in text
        assert SEAM not in passage
        assert not 0x80 <= passage[0] < 0xC0  # not inside a character
    assert length < 64 or len({passage.tobytes() for passage in passages}) == 40


def test_passages_come_from_all_over_the_text(rng):
    text = held_out("python")
    starts = [text.find(p.tobytes()) / len(text) for p in draw_passages("python", 200, 64, rng)]
    share, _ = np.histogram(starts, bins=4, range=(0, 1))
    assert (share > 25).all()


def test_the_same_seed_draws_the_same(seed):
    first, again = (draw_passages("c", 5, 32, np.random.default_rng(seed)) for _ in range(2))
    assert (first == again).all()


def test_an_unknown_domain_lists_the_known():
    with pytest.raises(ModelError, match=re.escape("'klingon'; text is shipped for ['c', ")):
        held_out("klingon")


@pytest.mark.parametrize(("count", "length"), [(0, 4), (1, 0), (1, 5000), (100_000, 8)])
def test_passages_that_are_not_there(count, length, rng):
    with pytest.raises(ModelError, match="passages"):
        draw_passages("english", count, length, rng)


def test_questions_have_one_beginning_and_four_ends():
    asked = draw_questions("german", 5, 40, 12, np.random.default_rng(3)).reshape(5, CHOICES, 40)
    assert (asked[:, :, :28] == asked[:, :1, :28]).all()
    held = held_out("german")
    for question in asked:
        assert question[0].tobytes() in held
        ends = {one[28:].tobytes() for one in question}
        assert len(ends) == CHOICES
        assert all(end in held for end in ends)


@pytest.mark.parametrize("continuation", [0, 40])
def test_a_continuation_leaves_a_beginning(continuation):
    with pytest.raises(ModelError, match=f"continuation {continuation} must be 1 … 39"):
        draw_questions("german", 1, 40, continuation, np.random.default_rng(0))
