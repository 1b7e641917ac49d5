"""Faults on purpose, for tests: what a unit does wrong, and when."""

from __future__ import annotations

import re
from dataclasses import dataclass, field


@dataclass
class Fault:
    """One fault of the protocol: it strikes commands that match, `times` times after letting `after` of them pass.

    Attributes:
        command: regular expression searched in the command's line.
        errno: answer with this error instead of doing it; 0 for none.
        delay_s: wait so long first.
        disconnect: close the connection instead of answering.
        times, after: how often, and after how many commands that matched.
    """

    command: str
    errno: int = 0
    delay_s: float = 0.0
    disconnect: bool = False
    times: int = 1
    after: int = 0

    def strikes(self, line: str) -> bool:
        """Whether this command is hit; counts."""
        if not re.search(self.command, line) or self.times <= 0:
            return False
        if self.after > 0:
            self.after -= 1
            return False
        self.times -= 1
        return True


@dataclass
class Faults:
    """What is wrong with one unit; all of it may be changed while it runs.

    Attributes:
        protocol: faults of single commands.
        gain_reset_on_rate: setting the sample rate sets the transmit gain back to −10 dB, as some firmware does.
        calibration_burst_s: length of the burst at full power when the transmit oscillator moves by more than 100 MHz.
        stuck_underflow: the underflow bit cannot be cleared, as on firmware v0.39.
        stuck_overflow: nor can the overflow bit.
        overflow_next: the next blocks so many lose samples.
        stale_blocks: so many blocks from before are delivered first, on top of the kernel's queue.
        drift_ppm_per_s: the crystal runs away.
        wrong_readback: file → what it reads instead of the truth.
    """

    protocol: list[Fault] = field(default_factory=list)
    gain_reset_on_rate: bool = False
    calibration_burst_s: float = 0.0
    stuck_underflow: bool = False
    stuck_overflow: bool = False
    overflow_next: int = 0
    stale_blocks: int = 0
    drift_ppm_per_s: float = 0.0
    wrong_readback: dict[str, str] = field(default_factory=dict)

    def striking(self, line: str) -> Fault | None:
        """The fault that hits this command, if any."""
        return next((fault for fault in self.protocol if fault.strikes(line)), None)
