"""What a node's next process begins with, and where that cannot be kept."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from testbed.agents.shelf import FileShelf
from testbed.errors import RecordError

X = np.arange(6, dtype=np.float32).reshape(2, 3)


def test_what_was_kept_is_recalled_for_its_own_layer_alone(tmp_path: Path) -> None:
    shelf = FileShelf(tmp_path / "node")
    shelf.keep(3, 1, X)
    assert np.array_equal(FileShelf(tmp_path / "node").recall(3, 1), X)  # type: ignore[arg-type]
    for batch, layer in ((3, 0), (3, 3), (2, 1)):
        assert shelf.recall(batch, layer) is None


@pytest.mark.parametrize("damage", [b"", b"PK", b"no archive at all"])
def test_a_damaged_file_is_none(tmp_path: Path, damage: bytes) -> None:
    shelf = FileShelf(tmp_path)
    shelf.keep(0, 0, X)
    (tmp_path / "tokens-0.npz").write_bytes(damage)
    assert shelf.recall(0, 0) is None


def test_a_place_that_takes_nothing_is_named_with_the_remedy(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(RecordError, match=r"file/node: tokens cannot be kept there .*TMPDIR"):
        FileShelf(tmp_path / "file" / "node")
    shelf = FileShelf(tmp_path / "full")
    (tmp_path / "full" / "tokens-0.part").symlink_to("/dev/full")
    with pytest.raises(RecordError, match="No space left on device"):
        shelf.keep(0, 0, X)
