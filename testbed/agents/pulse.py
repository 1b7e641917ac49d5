"""What an agent tells its guard over a pipe: that it lives, which radio it uses, whether it is a member."""

from __future__ import annotations

import os
import signal
import threading

BEAT_S = 0.15


class Pulse:
    """The agent's end; beats on a thread of its own. A guard that is gone ends the agent.

    Attributes:
        orphaned: the guard is gone.
    """

    def __init__(self, pipe: int) -> None:
        self._pipe = pipe
        self.orphaned = False
        self._writing = threading.Lock()
        self._stop = threading.Event()
        threading.Thread(target=self._run, name="pulse", daemon=True).start()

    def say(self, *words: str) -> None:
        """One line."""
        try:
            with self._writing:
                os.write(self._pipe, (" ".join(words) + "\n").encode())
        except OSError:
            self.orphaned = True
            os.kill(os.getpid(), signal.SIGTERM)

    def _run(self) -> None:
        while True:
            self.say(".")
            if self._stop.wait(BEAT_S):
                return


class Ear:
    """The guard's end."""

    def __init__(self, pipe: int) -> None:
        self._pipe = pipe
        self._heard = b""
        os.set_blocking(pipe, False)

    def fileno(self) -> int:
        """To wait for."""
        return self._pipe

    def lines(self) -> list[list[str]]:
        """The words of each line since this was last asked."""
        try:
            while read := os.read(self._pipe, 1 << 16):
                self._heard += read
        except BlockingIOError:
            pass
        *whole, self._heard = self._heard.split(b"\n")
        return [line.decode(errors="replace").split() for line in whole]
