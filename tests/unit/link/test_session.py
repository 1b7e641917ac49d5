"""Both sides of a conversation, first by example, then as one machine on a network that misbehaves."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from testbed.link.agent_session import AgentSession
from testbed.link.codec import pack, unpack
from testbed.link.controller_session import MALFORMED_LIMIT, ControllerSession
from testbed.link.messages import (
    VERSION,
    Bye,
    Done,
    Heartbeat,
    Hello,
    OnAir,
    Refused,
    Sound,
    ToAgent,
    ToController,
    Welcome,
)
from testbed.link.session import (
    Admitted,
    Answered,
    Denied,
    Ended,
    Execute,
    Joined,
    Lost,
    Say,
    Tell,
    Unanswered,
)

HERE, THERE = b"here", b"there"


def controller() -> ControllerSession:
    return ControllerSession(("zero", "one"), epoch=99)


def hello(node: int = 0, incarnation: int = 7, version: int = VERSION) -> ToController:
    return ToController(0, node, incarnation, 0, Hello(version))


def from_agent(body, node: int = 0, incarnation: int = 7, request: int = 0, epoch: int = 99) -> ToController:
    return ToController(epoch, node, incarnation, request, body)


def to_agent(body, node: int = 0, incarnation: int = 7, request: int = 0, epoch: int = 99) -> ToAgent:
    return ToAgent(epoch, node, incarnation, request, body)


def joined() -> ControllerSession:
    session = controller()
    session.received(HERE, 0, hello(), 10.0)
    return session


def serving() -> AgentSession:
    session = AgentSession(0, incarnation=7)
    session.tick(10.0)
    session.received(to_agent(Welcome(0.75, 0.25, "zero")), 10.0)
    return session


def bodies(actions) -> list[object]:
    return [a.message.body for a in actions if isinstance(a, (Tell, Say))]


# The controller's side


def test_a_hello_is_welcomed_with_setup_and_times() -> None:
    session = controller()
    assert session.received(HERE, 1, hello(1), 10.0) == [
        Tell(HERE, to_agent(Welcome(0.75, 0.25, "one"), node=1)),
        Joined(1, 7),
    ]
    assert session.alive() == (False, True)
    assert session.incarnation(1) == 7


def test_a_repeated_hello_is_welcomed_again_but_joins_once() -> None:
    session = joined()
    assert session.received(THERE, 0, hello(), 10.1) == [Tell(THERE, to_agent(Welcome(0.75, 0.25, "zero")))]


@pytest.mark.parametrize("client", [1, -1, 5])
def test_a_key_cannot_speak_for_another_node(client: int) -> None:
    session = joined()
    for message in (hello(0, 8), from_agent(Heartbeat()), from_agent(Bye("gone"))):
        denied, refused = session.received(THERE, client, message, 10.1)
        assert denied == Denied(client, "your key is not the key of node 0")
        assert isinstance(refused.message.body, Refused)
    assert session.incarnation(0) == 7


@pytest.mark.parametrize("node", [2, 1 << 40])
def test_a_node_beyond_the_run_is_denied(node: int) -> None:
    assert isinstance(controller().received(HERE, node, hello(node), 10.0)[0], Denied)


@pytest.mark.parametrize("version", [0, VERSION + 1, 1 << 60])
def test_another_version_is_denied_by_name(version: int) -> None:
    session = controller()
    denied, refused = session.received(HERE, 0, hello(version=version), 10.0)
    assert f"version {version}" in denied.reason
    assert f"the controller {VERSION}" in denied.reason
    assert refused.message.body == Refused(denied.reason)
    assert session.alive() == (False, False)


def test_three_missed_heartbeats_end_a_membership() -> None:
    session = joined()
    assert bodies(session.tick(10.74)) == [Heartbeat()]
    lost, farewell = session.tick(10.75)
    assert lost == Lost(0, "was silent for 0.75 s")
    assert isinstance(farewell.message.body, Refused)
    assert session.tick(11.0) == []


def test_who_only_says_hello_does_not_hear_the_welcome_and_is_lost() -> None:
    session = joined()
    for now in (10.25, 10.5):
        session.received(HERE, 0, hello(), now)
    assert Lost in [type(action) for action in session.tick(10.75)]
    assert not session.alive()[0]


def test_every_accepted_message_counts_as_a_heartbeat() -> None:
    session = joined()
    number, _ = session.ask(0, Sound(1), 9.0, 10.0)
    for step in range(1, 20):
        assert session.received(HERE, 0, from_agent(Heartbeat(number)), 10.0 + 0.5 * step) == []
        assert not any(isinstance(a, Lost) for a in session.tick(10.0 + 0.5 * step + 0.1))
        if step == 10:
            session.received(HERE, 0, from_agent(Done(), request=number), 15.1)


def test_what_comes_from_an_ended_membership_is_dropped_and_refused() -> None:
    session = joined()
    session.tick(10.8)
    for message in (hello(), from_agent(Heartbeat()), from_agent(Done(), request=1), from_agent(Bye("late"))):
        (told,) = session.received(HERE, 0, message, 11.0)
        assert isinstance(told.message.body, Refused)
    assert session.counts["stale"] == 4
    assert session.alive() == (False, False)


def test_another_process_takes_the_place_and_the_old_one_is_fenced() -> None:
    session = joined()
    number, _ = session.ask(0, Sound(1), 5.0, 10.1)
    lost, _, unanswered, welcome, there = session.received(THERE, 0, hello(0, 8), 10.2)
    assert lost == Lost(0, "another process took its place")
    assert unanswered == Unanswered(number, lost.reason)
    assert welcome.address == THERE
    assert there == Joined(0, 8)
    session.received(HERE, 0, from_agent(Done(), request=number), 10.3)
    assert session.counts["stale"] == 1
    assert session.incarnation(0) == 8


def test_another_run_s_messages_are_stale() -> None:
    session = joined()
    (told,) = session.received(HERE, 0, from_agent(Heartbeat(), epoch=98), 10.1)
    assert isinstance(told.message.body, Refused)
    assert session.counts["stale"] == 1


def test_a_request_is_answered_once() -> None:
    session = joined()
    number, actions = session.ask(0, Sound(5), 2.0, 10.1)
    assert actions == [Tell(HERE, to_agent(Sound(5), request=number))]
    reply = from_agent(OnAir(0.1), request=number)
    assert session.received(HERE, 0, reply, 10.2) == [Answered(number, OnAir(0.1))]
    assert session.received(HERE, 0, reply, 10.3) == []
    assert session.counts["stale"] == 1


def test_the_answer_to_an_earlier_request_is_not_taken_for_this_one() -> None:
    session = joined()
    first, _ = session.ask(0, Sound(5), 2.0, 10.1)
    session.received(HERE, 0, from_agent(OnAir(0.1), request=first), 10.2)
    second, _ = session.ask(0, Sound(6), 2.0, 10.3)
    assert session.received(HERE, 0, from_agent(OnAir(0.1), request=first), 10.4) == []
    assert session.received(HERE, 0, from_agent(OnAir(0.2), request=second), 10.5) == [Answered(second, OnAir(0.2))]


def test_a_request_that_nobody_works_on_is_repeated() -> None:
    session = joined()
    number, _ = session.ask(0, Sound(5), 9.0, 10.0)
    session.received(HERE, 0, from_agent(Heartbeat(number)), 10.3)
    assert bodies(session.tick(10.7)) == [Heartbeat()]
    session.received(HERE, 0, from_agent(Heartbeat(0)), 10.7)
    assert bodies(session.tick(10.81)) == [Sound(5)]
    assert session.counts["repeated"] == 1


def test_a_node_that_takes_too_long_is_lost_though_its_heart_beats() -> None:
    session = joined()
    number, _ = session.ask(0, Sound(5), 1.0, 10.0)
    session.received(HERE, 0, from_agent(Heartbeat(number)), 10.9)
    lost, _, unanswered = session.tick(11.0)
    assert lost == Lost(0, "did not answer 'sound' within 1 s")
    assert unanswered == Unanswered(number, lost.reason)


def test_who_is_not_there_or_busy_or_another_is_not_asked() -> None:
    session = joined()
    assert session.ask(1, Sound(1), 1.0, 10.0)[1] == [Unanswered(1, "is not there")]
    assert "joined anew" in session.ask(0, Sound(1), 1.0, 10.0, incarnation=6)[1][0].reason
    session.ask(0, Sound(1), 1.0, 10.0, incarnation=7)
    assert "busy" in session.ask(0, Sound(2), 1.0, 10.0)[1][0].reason


def test_a_lost_connection_loses_its_node() -> None:
    session = joined()
    assert session.unroutable(THERE) == []
    assert session.unroutable(HERE)[0] == Lost(0, "its connection is gone")
    assert session.unroutable(HERE) == []


def test_a_member_that_keeps_sending_noise_is_put_out() -> None:
    session = joined()
    for _ in range(MALFORMED_LIMIT - 1):
        assert session.malformed(0) == []
    assert isinstance(session.malformed(0)[0], Lost)
    assert session.malformed(1) == []
    assert session.counts["malformed"] == MALFORMED_LIMIT + 1


def test_leaving_says_bye_answers_nobody_and_admits_nobody() -> None:
    session = joined()
    number, _ = session.ask(0, Sound(1), 5.0, 10.0)
    assert session.leave("done", 10.1) == [Tell(HERE, to_agent(Bye("done"))), Unanswered(number, "done")]
    assert session.ask(0, Sound(1), 5.0, 10.2)[1][0].reason == "done"
    assert bodies(session.received(THERE, 1, hello(1), 10.2)) == [Refused("done")]
    assert session.received(HERE, 0, from_agent(Bye("as told")), 10.3)[0] == Lost(0, "left: as told")


def test_the_controller_wakes_for_what_comes_first() -> None:
    session = controller()
    assert session.wake_at() == float("inf")
    session.received(HERE, 0, hello(), 10.0)
    assert session.wake_at() == pytest.approx(10.25)
    session.ask(0, Sound(1), 0.1, 10.1)
    assert session.wake_at() == pytest.approx(10.2)


# The agent's side


def test_an_agent_says_hello_until_it_is_welcomed() -> None:
    session = AgentSession(3, incarnation=7)
    assert bodies(session.tick(10.0)) == [Hello(VERSION)]
    assert session.tick(10.2) == []
    assert bodies(session.tick(10.25)) == [Hello(VERSION)]
    welcome = ToAgent(99, 3, 7, 0, Welcome(0.75, 0.25, "setup"))
    assert session.received(welcome, 10.3) == [Admitted("setup")]
    assert session.received(welcome, 10.4) == []
    assert session.state == "serving"


@pytest.mark.parametrize(
    "message",
    [
        to_agent(Welcome(0.75, 0.25, ""), incarnation=6),
        to_agent(Welcome(0.75, 0.25, ""), node=1),
        to_agent(Refused("no"), incarnation=6),
        to_agent(Sound(1), request=1),
        to_agent(Bye("old"), epoch=98),
    ],
)
def test_what_is_not_meant_for_this_membership_is_dropped(message: ToAgent) -> None:
    session = AgentSession(0, incarnation=7)
    session.tick(10.0)
    assert session.received(message, 10.1) == []
    assert session.state == "joining"
    assert session.counts["stale"] == 1


def test_a_refusal_ends_it() -> None:
    session = AgentSession(0, incarnation=7)
    session.tick(10.0)
    assert session.received(to_agent(Refused("no")), 10.1) == [Ended("no")]
    assert session.tick(11.0) == []


def test_the_lease_runs_out_when_the_controller_is_silent() -> None:
    session = serving()
    session.received(to_agent(Heartbeat()), 10.5)
    assert not any(isinstance(a, Ended) for a in session.tick(11.24))
    assert session.tick(11.25) == [Ended("the controller was silent for 0.75 s")]
    assert session.tick(12.0) == []


def test_messages_that_waited_while_the_process_was_stopped_do_not_extend_the_lease() -> None:
    session = serving()
    ended = session.received(to_agent(Heartbeat()), 14.0)
    assert ended == [Ended("the controller was silent for 4.00 s")]
    assert session.received(to_agent(Sound(1), request=1), 14.0) == []


def test_a_request_is_executed_once_and_its_reply_repeated() -> None:
    session = serving()
    ask = to_agent(Sound(5), request=4)
    assert session.received(ask, 10.1) == [Execute(4, Sound(5))]
    assert session.received(ask, 10.2) == []
    assert bodies(session.tick(10.3)) == [Heartbeat(4)]
    assert bodies(session.finished(4, OnAir(0.1), 10.35)) == [OnAir(0.1)]
    assert bodies(session.received(ask, 10.4)) == [OnAir(0.1)]
    assert bodies(session.tick(10.7)) == [Heartbeat(0)]


def test_an_overtaken_request_is_not_executed() -> None:
    session = serving()
    session.received(to_agent(Sound(5), request=4), 10.1)
    session.finished(4, Done(), 10.2)
    assert session.received(to_agent(Sound(4), request=3), 10.3) == []
    assert session.counts["stale"] == 1


def test_work_that_outlives_the_membership_is_not_reported() -> None:
    session = serving()
    session.received(to_agent(Sound(5), request=4), 10.1)
    session.tick(12.0)
    assert session.finished(4, Done(), 12.1) == []


def test_bye_and_leave_end_it_with_a_farewell() -> None:
    session = serving()
    farewell, ended = session.received(to_agent(Bye("done")), 10.1)
    assert farewell.message.body == Bye("as told")
    assert ended == Ended("done", dismissed=True)
    assert session.leave("again", 10.2) == []
    other = serving()
    assert bodies(other.leave("going", 10.1)) == [Bye("going")]
    assert other.wake_at() == float("inf")


# Together

NODES = 2
MISHAPS = ("stop", "go on", "go on", "leave", "break", "fence", "steal", "start", "start", "restart")
nodes = st.integers(0, NODES - 1)
pick = st.integers(0, 1 << 16)


class Conversations(RuleBasedStateMachine):
    """One controller, and processes of two nodes, over a network that delays, reorders, repeats and loses.

    Every process has its own connection. Processes may be stopped (they neither listen nor keep time) and go
    on later; new ones may start while old ones still talk; the controller may start anew.
    """

    def __init__(self) -> None:
        super().__init__()
        self.now = 100.0
        self.incarnations = 0
        self.requests = self.answered = 0
        self.up: list[tuple[bytes, int, ToController]] = []
        self.down: list[tuple[bytes, ToAgent]] = []
        self.heard: deque[tuple[bytes, int, ToController]] = deque(maxlen=30)
        self.told: deque[tuple[bytes, ToAgent]] = deque(maxlen=30)
        self.agents: dict[bytes, AgentSession] = {}
        self.stopped: set[bytes] = set()
        self.executing: dict[bytes, Execute] = {}
        self.executed: set[tuple[bytes, int]] = set()
        self.ended: set[bytes] = set()
        self.new_controller()

    def new_controller(self) -> None:
        self.controller = ControllerSession(("{}",) * NODES)
        self.members: dict[int, int] = {}
        self.gone: set[tuple[int, int]] = set()
        self.open: dict[int, tuple[int, float]] = {}

    @initialize()
    def two_processes(self) -> None:
        for node in range(NODES):
            self.start(node)

    # What happens

    def start(self, node: int) -> None:
        self.incarnations += 1
        address = f"{node}/{self.incarnations}".encode()
        self.agents[address] = AgentSession(node, incarnation=self.incarnations)
        self.agent_did(address, self.agents[address].tick(self.now))

    @rule(step=st.sampled_from([0.01, 0.1, 0.1, 0.25, 0.25, 0.5, 0.8]))
    def time_passes(self, step: float) -> None:
        self.now += step
        for address, agent in self.running():
            self.agent_did(address, agent.tick(self.now))
        self.controller_did(self.controller.tick(self.now))

    @precondition(lambda self: self.up)
    @rule(which=pick)
    def message_reaches_the_controller(self, which: int) -> None:
        self.hear(self.up.pop(which % len(self.up)))

    @precondition(lambda self: self.down)
    @rule(which=pick)
    def message_reaches_an_agent(self, which: int) -> None:
        at = which % len(self.down)
        if self.down[at][0] not in self.stopped:
            self.tell(*self.down.pop(at))

    @rule(which=pick)
    def old_message_arrives_again(self, which: int) -> None:
        if which % 2 and self.heard:
            self.hear(self.heard[which % len(self.heard)])
        elif self.told:
            address, message = self.told[which % len(self.told)]
            if address in self.agents and address not in self.stopped:
                self.tell(address, message)

    def hear(self, letter: tuple[bytes, int, ToController]) -> None:
        """The controller hears; what is not of a present membership changes nothing."""
        self.heard.append(letter)
        address, client, message = letter
        now = (self.controller.epoch, self.controller.incarnation(message.node))
        stale = (message.epoch, message.incarnation) != now and not isinstance(message.body, Hello)
        actions = self.controller.received(address, client, message, self.now)
        assert not stale or bodies(actions) == [Refused("this membership has ended: join again")]
        self.controller_did(actions)

    def tell(self, address: bytes, message: ToAgent) -> None:
        """An agent is told; another run's controller cannot extend its lease."""
        self.told.append((address, message))
        agent = self.agents[address]
        stale, before = message.epoch != agent._epoch and agent.state == "serving", agent._heard
        self.agent_did(address, agent.received(message, self.now))
        assert not stale or agent._heard == before

    @rule()
    def a_calm_moment(self) -> None:
        self.time_passes(0.1)
        self.all_messages_arrive()
        if self.executing:
            self.work_is_done(0)
            self.all_messages_arrive()

    @rule()
    def all_messages_arrive(self) -> None:
        while self.up or any(address not in self.stopped for address, _ in self.down):
            while self.up:
                self.hear(self.up.pop(0))
            down, self.down = self.down, []
            for address, message in down:
                if address in self.stopped:
                    self.down.append((address, message))
                else:
                    self.tell(address, message)

    @rule(which=pick)
    def message_is_lost(self, which: int) -> None:
        queue = self.up if which % 2 else self.down
        if queue:
            del queue[which // 2 % len(queue)]

    @rule(node=nodes, timeout=st.sampled_from([0.2, 5.0, 20.0]), bound=st.booleans())
    def ask(self, node: int, timeout: float, bound: bool) -> None:
        self.requests += 1
        incarnation = self.controller.incarnation(node) if bound else 0
        body = Sound(self.requests)
        number, actions = self.controller.ask(node, body, timeout, self.now, incarnation)
        self.open[number] = (self.requests, self.now + timeout)
        self.controller_did(actions)

    @rule(node=nodes)
    def ask_a_process_that_is_no_member(self, node: int) -> None:
        number, actions = self.controller.ask(node, Sound(0), 5.0, self.now, self.incarnations + 1)
        assert [(type(a), a.request) for a in actions] == [(Unanswered, number)]

    @precondition(lambda self: self.executing)
    @rule(which=pick)
    def work_is_done(self, which: int) -> None:
        address = sorted(self.executing)[which % len(self.executing)]
        if address not in self.stopped:
            work = self.executing.pop(address)
            reply = OnAir(float(work.body.number))
            self.agent_did(address, self.agents[address].finished(work.request, reply, self.now))

    @rule()
    def nodes_without_a_process_get_one(self) -> None:
        living = {agent.index for _, agent in self.running() if agent.state != "ended"}
        for node in set(range(NODES)) - living:
            self.start(node)

    @rule(
        mishap=st.sampled_from(MISHAPS),
        which=pick,
    )
    def something_goes_wrong(self, mishap: str, which: int) -> None:
        address = sorted(self.agents)[which % len(self.agents)]
        match mishap:
            case "stop":
                self.stopped.add(address)
            case "go on":
                self.go_on(address)
            case "leave" if address not in self.stopped:
                self.agent_did(address, self.agents[address].leave("going", self.now))
            case "break":
                self.controller_did(self.controller.unroutable(address))
            case "fence":
                self.controller_did(self.controller.lose(which % NODES, "its process ended"))
            case "steal":
                self.thief_speaks_for(which % NODES)
            case "start":
                self.start(which % NODES)
            case "restart":
                self.new_controller()

    def go_on(self, address: bytes) -> None:
        """A stopped process finds its mail before it looks at its clock."""
        self.stopped.discard(address)
        agent = self.agents[address]
        expired = agent.state == "serving" and self.now >= agent._heard + agent._lease_s
        mail = [message for to, message in self.down if to == address]
        self.down = [(to, message) for to, message in self.down if to != address]
        for message in mail:
            before = len(self.executed)
            self.agent_did(address, agent.received(message, self.now))
            assert not expired or (address in self.ended and len(self.executed) == before)

    def thief_speaks_for(self, node: int) -> None:
        message = ToController(self.controller.epoch, node, self.controller.incarnation(node), 0, Bye("stolen"))
        actions = self.controller.received(b"thief", (node + 1) % NODES, message, self.now)
        assert [type(a) for a in actions] == [Denied, Tell]

    # What must follow

    def controller_did(self, actions) -> None:
        for action in actions:
            match action:
                case Tell(address, message):
                    if address in self.agents:  # the dead do not listen
                        self.down.append((address, unpack(pack(message), ToAgent)))
                case Joined(node, incarnation):
                    assert node not in self.members
                    assert (node, incarnation) not in self.gone
                    self.members[node] = incarnation
                case Lost(node):
                    self.gone.add((node, self.members.pop(node)))
                case Answered(request, reply):
                    asked, _ = self.open.pop(request)
                    assert reply == OnAir(float(asked))
                    self.answered += 1
                case Unanswered(request):
                    del self.open[request]

    def agent_did(self, address: bytes, actions) -> None:
        for action in actions:
            match action:
                case Say(message):
                    assert address not in self.ended
                    node = self.agents[address].index
                    self.up.append((address, node, unpack(pack(message), ToController)))
                case Execute(request):
                    assert address not in self.ended
                    assert address not in self.executing
                    assert (address, request) not in self.executed
                    self.executed.add((address, request))
                    self.executing[address] = action
                case Ended():
                    assert address not in self.ended
                    self.ended.add(address)

    def running(self) -> list[tuple[bytes, AgentSession]]:
        return [(address, agent) for address, agent in self.agents.items() if address not in self.stopped]

    @invariant()
    def both_views_of_membership_agree(self) -> None:
        assert self.controller.alive() == tuple(k in self.members for k in range(NODES))
        assert all(self.controller.incarnation(k) == i for k, i in self.members.items())

    @invariant()
    def no_request_waits_past_its_deadline(self) -> None:
        actions = self.controller.tick(self.now)
        self.controller_did(actions)
        assert all(self.now < deadline for _, deadline in self.open.values())

    @invariant()
    def whoever_serves_has_heard_the_controller_lately(self) -> None:
        for address, agent in self.running():
            self.agent_did(address, agent.tick(self.now))
            assert agent.state != "serving" or self.now < agent._heard + agent._lease_s
            assert (agent.state == "ended") == (address in self.ended)

    @invariant()
    def sleeping_until_wake_at_misses_nothing(self) -> None:
        before = self.controller.wake_at()
        if self.now + 1e-6 < before < float("inf"):
            assert self.controller.tick((self.now + before) / 2) == []

    def everything_holds(self) -> None:
        self.both_views_of_membership_agree()
        self.no_request_waits_past_its_deadline()
        self.whoever_serves_has_heard_the_controller_lately()
        self.sleeping_until_wake_at_misses_nothing()

    def teardown(self) -> None:
        """Once the old processes are dead and the network behaves, new ones get in and answer."""
        self.down.clear()
        self.executing.clear()
        self.agents.clear()
        for node in range(NODES):
            self.start(node)
        for _ in range(10):
            self.time_passes(0.1)
            self.all_messages_arrive()
        for address, agent in self.agents.items():
            assert self.members[agent.index] == agent.incarnation
            self.ask(agent.index, 2.0, bound=True)
            self.all_messages_arrive()
            assert list(self.executing) == [address]
            self.work_is_done(0)
            self.all_messages_arrive()
            assert not self.open


TestConversations = Conversations.TestCase
TestConversations.settings = settings(max_examples=50, stateful_step_count=50, deadline=None)

CHANCES: list[tuple[int, Callable[[Conversations, Callable[[int], int]], object]]] = [
    (10, lambda m, r: m.time_passes((0.01, 0.1, 0.1, 0.25, 0.5, 0.8)[r(6)])),
    (15, lambda m, r: m.a_calm_moment()),
    (10, lambda m, r: m.all_messages_arrive()),
    (15, lambda m, r: m.up and m.message_reaches_the_controller(r(1000))),
    (15, lambda m, r: m.down and m.message_reaches_an_agent(r(1000))),
    (15, lambda m, r: m.ask(r(NODES), (0.2, 5.0, 20.0)[r(3)], r(2) == 0)),
    (2, lambda m, r: m.ask_a_process_that_is_no_member(r(NODES))),
    (10, lambda m, r: m.nodes_without_a_process_get_one()),
    (10, lambda m, r: m.executing and m.work_is_done(r(1000))),
    (10, lambda m, r: m.old_message_arrives_again(r(1000))),
    (3, lambda m, r: m.message_is_lost(r(1000))),
    (5, lambda m, r: m.something_goes_wrong(MISHAPS[r(len(MISHAPS))], r(1000))),
]


@pytest.mark.parametrize("steps", [12_000, pytest.param(200_000, marks=pytest.mark.long)])
def test_a_long_walk_with_few_mishaps(steps: int, rng: np.random.Generator) -> None:
    """The same machine for long, with chances that keep most memberships alive for a while."""
    acts = [act for chance, act in CHANCES for _ in range(chance)]
    answered = 0
    for _ in range(steps // 300):
        machine = Conversations()
        machine.two_processes()
        for _ in range(300):
            acts[rng.integers(len(acts))](machine, lambda n: int(rng.integers(n)))
            machine.everything_holds()
        answered += machine.answered
        machine.teardown()
    assert answered > steps / 30
