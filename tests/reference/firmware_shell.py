"""What a board's own shell makes of a `config.txt`: sed, then `eval`, in a shell with nothing to lose.

Written anew from the behaviour of `ini_parser` in the firmware's `update.sh`: spaces around every `=` go; a line ends
at the first # ; or backtick; the rest is trimmed; what follows the last `=` is put in double quotes unless it holds a
quote; and the lines of one section are evaluated after word splitting.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

from testbed.firmware.config_txt import KEYS

SCRIPT = r"""
take() {
  lines=$(sed -E -e 's/[[:space:]]*=[[:space:]]*/=/g' -e 's/[#;`].*//' \
                 -e 's/^[[:space:]]+//' -e 's/[[:space:]]+$//' \
                 -e "s/^(.*)=([^\"']*)\$/\1=\"\2\"/" "$1" \
          | sed -n -e "/^\[$2\]/,/^\[/{" -e '/=/p' -e '}')
  eval $lines
}
for section in NETWORK WLAN SYSTEM USB_ETHERNET ACTIONS; do take "$1" $section; done
shift
for key; do eval "printf '%s\\0' \"\${$key-}\""; done
"""


def evaluated(data: bytes, folder: Path, shell: tuple[str, ...] = ("bash", "--posix")) -> dict[str, str]:
    """Key → value that the board's shell ends up with; `folder` (empty) is the only place it is told of."""
    file = folder / "config.txt"
    file.write_bytes(data)
    done = subprocess.run(
        [*shell, "-c", SCRIPT, "board", str(file), *KEYS],
        cwd=folder,
        env={"PATH": "/usr/bin:/bin", "HOME": "/root", "LC_ALL": "C"},
        capture_output=True,
        timeout=20,
    )
    values = done.stdout.decode(errors="replace").split("\0")[:-1]
    return dict(zip(KEYS, values, strict=False))
