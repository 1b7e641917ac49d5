"""Every deadline is on the monotonic clock: the wall clock labels, and may be stepped at any time."""

from __future__ import annotations

import re
import threading
import time
from pathlib import Path

import pytest

from testbed.link.hub import Hub
from testbed.link.keys import client_keys, ensure_keys, server_keys
from testbed.link.messages import Done, Sound
from testbed.link.spoke import Spoke

ROOT = Path(__file__).parents[2] / "testbed"
WALL = re.compile(r"\btime\.time(_ns)?\(|\bdatetime\.(now|utcnow|today)\(|\btime\.(localtime|gmtime|ctime)\(")
LABELS = {
    "agents/controller.py": "name and start of a run",
    "agents/replay.py": "name and start of a run",
    "agents/replay_csi.py": "name and start of a run",
    "record/writer.py": "when a round was written, when a run ended",
}


def test_only_labels_read_the_wall_clock() -> None:
    readers = {str(path.relative_to(ROOT)) for path in ROOT.rglob("*.py") if WALL.search(path.read_text("utf-8"))}
    assert readers - LABELS.keys() == set()


@pytest.mark.parametrize("step_s", [3600.0, -3600.0])
def test_a_stepped_wall_clock_ends_no_membership(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step_s: float
) -> None:
    """At each reading the wall clock has moved by an hour; heartbeats, leases and requests do not care."""
    real, steps = time.time, [0]

    def stepped() -> float:
        steps[0] += 1
        return real() + steps[0] * step_s

    monkeypatch.setattr(time, "time", stepped)
    monkeypatch.setattr(time, "time_ns", lambda: int(1e9 * stepped()))
    assert abs(time.time() - time.time()) > 3000
    ensure_keys(tmp_path, 1)
    quiet: list[str] = []
    with Hub("tcp://127.0.0.1:*", server_keys(tmp_path, 1), 1, ["{}"], heartbeat_s=0.2, missed=4) as hub:

        def serve() -> None:
            with Spoke(hub.address, client_keys(tmp_path, 0), 0) as spoke:
                spoke.join(10.0)
                spoke.serve(lambda request: Done(), lambda: quiet.append("quiet"))

        agent = threading.Thread(target=serve)
        agent.start()
        hub.wait_joined(10.0)
        first = hub.incarnation(0)
        end = time.monotonic() + 1.5
        while time.monotonic() < end:
            assert hub.ask(0, Sound(1), 5.0) == Done()
            time.sleep(0.05)
        assert not quiet
        assert hub.incarnation(0) == first
        assert [event.kind for event in hub.events()] == ["joined"]
    agent.join(5.0)
    assert quiet == ["quiet"]
