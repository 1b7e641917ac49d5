"""Where things of the user lie."""

from __future__ import annotations

import os
from pathlib import Path


def key_folder() -> Path:
    """Where keys live: $TESTBED_KEYS, or the user's configuration folder."""
    home = os.environ.get("XDG_CONFIG_HOME") or str(Path.home() / ".config")
    return Path(os.environ.get("TESTBED_KEYS") or Path(home) / "dmoe-testbed" / "keys")
