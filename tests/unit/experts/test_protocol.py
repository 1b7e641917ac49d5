import numpy as np
import pytest

from testbed.errors import ModelError
from testbed.experts.central import run_centrally
from testbed.experts.model import part_for
from testbed.experts.protocol import ByteExperts, run_through
from tests.reference.experts_tiny import tiny_model

MODEL = tiny_model()


@pytest.mark.parametrize("top_k", [1, 2, 3])
def test_the_shipped_kind_of_model_is_experts(rng, top_k):
    tokens = rng.integers(0, 256, 20, dtype=np.uint8)
    made = run_through(ByteExperts(MODEL), tokens, top_k)
    assert made == pytest.approx(run_centrally(MODEL, tokens, top_k=top_k), abs=1e-4)


def test_a_part_cannot_be_run_through_whole(rng):
    tokens = rng.integers(0, 256, 20, dtype=np.uint8)
    with pytest.raises(ModelError, match="is not held here"):
        run_through(ByteExperts(part_for(MODEL, 1)), tokens, 3)
