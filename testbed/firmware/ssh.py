"""A Pluto reached over SSH: its U-Boot environment, read with `fw_printenv` and written with `fw_setenv -s`.

The commands that run on the board are the three constants below; values travel on standard input alone, never through
a shell.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from testbed.errors import FirmwareError
from testbed.firmware.board import Board
from testbed.firmware.config_txt import VARIABLES
from testbed.firmware.uboot import RULES, parse_environment, render_script

SERIAL: Final = "cat /etc/serial 2>/dev/null || iio_attr -C hw_serial"
READ: Final = "fw_printenv"
WRITE: Final = (
    "umask 077; f=$(mktemp /tmp/testbed-firmware.XXXXXX) && cat >$f && fw_setenv -s $f; "
    "code=$?; rm -f $f; sync; exit $code"
)
_NAMES: Final = (*VARIABLES, *RULES)


@dataclass(frozen=True)
class Ssh:
    """A board's root shell.

    Attributes:
        host: name or address.
        port, user: as ssh takes them.
        identity: private key file; None = ssh's own choice.
        known_hosts: file of host keys; None = ssh's own. A key that is not known yet is taken, a changed one refused.
        ask: ssh may ask for a password on the terminal.
        timeout_s: for a whole command.
    """

    host: str
    port: int = 22
    user: str = "root"
    identity: Path | None = None
    known_hosts: Path | None = None
    ask: bool = False
    timeout_s: float = 60.0

    def __post_init__(self) -> None:
        for field, text in (("host", self.host), ("user", self.user)):
            if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._-]*", text):
                raise FirmwareError(f"ssh {field} = {text!r} must be letters, digits, dots and hyphens")
        if not 0 < self.port < 65536:
            raise FirmwareError(f"ssh port = {self.port} must be from 1 to 65535")

    @property
    def name(self) -> str:
        """Where it is."""
        return f"{self.user}@{self.host}:{self.port}"

    @property
    def after(self) -> str:
        """What makes the board use the values."""
        return "restart the board: it uses its U-Boot variables when it starts"

    def wanted(self, board: Board, passphrase: str) -> dict[str, str]:
        """Variable → value that `write` is to bring about."""
        values = board.config_values(passphrase)
        return {key: values[key] for key in VARIABLES} | board.uboot

    def notes(self, board: Board) -> tuple[str, ...]:
        """Nothing is out of reach here."""
        return ()

    def check_identity(self, serial: str) -> None:
        """Whether the board there has this serial number.

        Raises:
            FirmwareError: unreachable, or another board.
        """
        answer = self._run(SERIAL).split()
        if not answer or answer[-1].lower() != serial:
            raise FirmwareError(
                f"{self.name} has serial {answer[-1] if answer else '(none)'}, not {serial}: another board"
            )

    def read(self) -> dict[str, str]:
        """Variable → value on the board, of those that a board file can set; nothing else is kept.

        Raises:
            FirmwareError: unreachable, or no U-Boot environment there.
        """
        values = parse_environment(self._run(READ))
        if "qspiboot" not in values:
            raise FirmwareError(
                f"{self.name} has no valid U-Boot environment (qspiboot is missing), and writing one that is "
                "incomplete can stop the board from booting: restore the firmware's boot.frm first"
            )
        return {name: values[name] for name in _NAMES if name in values}

    def write(self, values: Mapping[str, str]) -> None:
        """Set these variables, in one write of the environment.

        Raises:
            FirmwareError: unreachable, or `fw_setenv` failed; with what it said.
        """
        self._run(WRITE, render_script(values))

    def _run(self, command: str, stdin: str = "") -> str:
        try:
            done = subprocess.run(
                [*self._client(), command], input=stdin.encode("ascii"), capture_output=True, timeout=self.timeout_s
            )
        except FileNotFoundError as error:
            raise FirmwareError("there is no ssh here: install openssh-client") from error
        except subprocess.TimeoutExpired as error:
            raise FirmwareError(f"{self.name}: no answer within {self.timeout_s} s; is the board busy?") from error
        if done.returncode:
            raise FirmwareError(self._complaint(done.returncode, done.stderr.decode(errors="replace").strip()))
        return done.stdout.decode("ascii", errors="replace")

    def _client(self) -> list[str]:
        options = {
            "BatchMode": "no" if self.ask else "yes",
            "ConnectTimeout": "10",
            "StrictHostKeyChecking": "accept-new",
            **({"UserKnownHostsFile": str(self.known_hosts)} if self.known_hosts else {}),
        }
        key = ["-i", str(self.identity), "-o", "IdentitiesOnly=yes"] if self.identity else []
        settings = [part for name, value in options.items() for part in ("-o", f"{name}={value}")]
        return ["ssh", "-T", "-p", str(self.port), "-l", self.user, *key, *settings, "--", self.host]

    def _complaint(self, code: int, said: str) -> str:
        said = said.replace("\r\n", "\n").strip()[-500:]
        if code == 255:
            return (
                f"{self.name} cannot be reached: {said}. Check the address, and that your key or password is accepted"
            )
        if code == 127:
            return f"{self.name} does not know the command: {said}. Is it a Pluto?"
        return f"{self.name} answered {code}: {said}"
