"""Random graphs with people, timers, subworkflows and edges for errors: every run ends, and goes on from any entry."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from graphs.errors import ErrorInfo
from graphs.journal import END, START, Cursor, EntryKind, JournalEntry, Pause, PauseKind
from graphs.state.schema import StateSchema
from graphs.threads import ThreadState
from graphs.workflow import planner
from graphs.workflow.edge import Condition, Edge, EdgeType
from graphs.workflow.graph import GraphModel
from graphs.workflow.joins import FailFork, Join, JoinCommand, Merge, StartBranch
from graphs.workflow.node import (
    ForkConfig,
    FunctionConfig,
    HumanConfig,
    MapConfig,
    Node,
    NodeConfig,
    SubworkflowConfig,
    ToolCallConfig,
    WaitConfig,
)
from graphs.workflow.plan import Plan

FLAGS = ["flag0", "flag1", "flag2"]
STATE = {
    "channels": {flag: {"type": "bool", "default": False} for flag in FLAGS}
    | {"items": {"type": {"list": "int64"}, "default": []}}
}
MAX_STEPS = 12
KINDS: list[NodeConfig] = [
    FunctionConfig(function="m:f"),
    HumanConfig(question="{items}?", into="items"),
    WaitConfig(seconds=5),
    SubworkflowConfig(workflow="other"),
    MapConfig(over="items", workflow="other", into="items"),
    ForkConfig(),
    ToolCallConfig(tool="t", requires_approval=True),
]
NEVER_FAIL = ("wait",)
PAUSES = {"human": PauseKind.HUMAN, "wait": PauseKind.TIMER, "tool": PauseKind.APPROVAL}
ERROR = ErrorInfo(code="ValueError", message="no")
REFUSAL = ErrorInfo(code="ApprovalRefused", message="no")
_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Cursor)


@st.composite
def graphs(draw: st.DrawFn) -> GraphModel:
    """A graph of up to 6 nodes that leads on to its end; only edges for errors may lead back."""
    names = [f"n{number}" for number in range(draw(st.integers(2, 6)))]
    nodes = [Node(id=name, config=draw(st.sampled_from(KINDS))) for name in names]
    edges = [Edge(id="start", source=START, target=names[0])]
    for position, node in enumerate(nodes):
        later = [*names[position + 1 :], END]
        for number, target in enumerate(draw(st.lists(st.sampled_from(later), min_size=1, max_size=3, unique=True))):
            flag = draw(st.sampled_from([None, *FLAGS])) if number else None
            kind = EdgeType.CONDITIONAL if flag else EdgeType.SIMPLE
            condition = Condition(cel=f"state.{flag}") if flag else None
            edges.append(
                Edge(id=f"{node.id}-{target}", source=node.id, target=target, edge_type=kind, condition=condition)
            )
        if node.node_type not in NEVER_FAIL and draw(st.booleans()):
            target = draw(st.sampled_from([*names, END]))
            edges.append(Edge(id=f"{node.id}!", source=node.id, target=target, on_error=True))
    return GraphModel(id="g", name="g", nodes=tuple(nodes), edges=tuple(edges), state=STATE, max_steps=MAX_STEPS)


@dataclass
class Simulated:
    """One thread, what has happened to it, and its open fork."""

    cursor: Cursor = field(default_factory=Cursor)
    parent: tuple[Simulated, int] | None = None
    join: Join | None = None
    journal: list[tuple[planner.Event, Cursor]] = field(default_factory=list)
    steps: int = 0
    """Steps it began with."""


@dataclass
class Simulation:
    """Runs a plan with nothing but planner and joins; some nodes always fail, threads pause by chance."""

    plan: Plan
    state: dict[str, Any]
    broken: frozenset[str]
    chance: random.Random
    threads: list[Simulated] = field(default_factory=list)
    runnable: list[Simulated] = field(default_factory=list)

    def run(self) -> Cursor:
        main = self.begin(Simulated(), planner.TurnStarted(1))
        while self.runnable:
            thread = self.runnable.pop(self.chance.randrange(len(self.runnable)))
            if not thread.cursor.status.finished:  # cancelled meanwhile
                self.step(thread)
        return main.cursor

    def begin(self, thread: Simulated, event: planner.TurnStarted) -> Simulated:
        thread.steps = event.steps
        self.threads.append(thread)
        self.happens(thread, event)
        return thread

    def happens(self, thread: Simulated, event: planner.Event) -> None:
        seq = len(thread.journal) + 1
        thread.cursor = planner.advance(self.plan, thread.cursor, event, self.state, seq, now=float(seq))
        thread.journal.append((event, thread.cursor))
        if not thread.cursor.status.finished:
            self.runnable.append(thread)

    def step(self, thread: Simulated) -> None:
        if thread.cursor.status is ThreadState.RUNNING and self.chance.random() < 0.1:
            before = thread.cursor
            self.happens(thread, planner.Paused(Pause(kind=PauseKind.ASKED)))
            self.runnable.remove(thread)
            self.happens(thread, planner.Resumed())
            assert thread.cursor == before
            return
        match planner.command(self.plan, thread.cursor):
            case planner.RunNode(node):
                failed = node in self.broken
                self.happens(thread, planner.NodeFailed(ERROR) if failed else planner.NodeFinished())
            case planner.PauseAt(node, kind):
                assert thread.cursor.asks == (kind == "tool")
                fails = node in self.broken and kind != "tool"
                pause = Pause(kind=PAUSES[kind], node=node)
                self.happens(thread, planner.NodeFailed(ERROR) if fails else planner.Paused(pause))
            case planner.RunBranches(fork) if fork.targets:
                thread.join = Join(node=fork.node, size=fork.size, policy=self.plan.join_policy(fork.node)[0])
                self.perform(thread, thread.join.open())
            case planner.RunBranches(fork):
                failed = fork.node in self.broken
                self.happens(thread, planner.BranchesFailed(ERROR) if failed else planner.BranchesJoined())
            case planner.FinishTurn(status, error):
                self.happens(thread, planner.TurnFinished(status, error))
                self.tell_parent(thread)
            case planner.Wait():
                pause = thread.cursor.pause
                assert thread.cursor.status is ThreadState.PAUSED
                assert pause is not None
                is_refused = pause.kind is PauseKind.APPROVAL and self.chance.random() < 0.5
                self.happens(thread, planner.Resumed(refusal=REFUSAL if is_refused else None))

    def tell_parent(self, thread: Simulated) -> None:
        if thread.parent is None:
            return
        parent, index = thread.parent
        assert parent.join is not None
        if thread.cursor.error is None:
            self.perform(parent, parent.join.finished(index))
        else:
            self.perform(parent, parent.join.failed_with(index, thread.cursor.error))

    def perform(self, parent: Simulated, commands: list[JoinCommand]) -> None:
        fork = parent.cursor.fork
        for command in commands:
            assert fork is not None
            match command:
                case StartBranch(index):
                    at, steps = fork.targets[index], parent.cursor.steps
                    begun = planner.TurnStarted(1, at=at, stop_at=fork.join, steps=steps)
                    self.begin(Simulated(parent=(parent, index)), begun)
                case Merge():
                    self.happens(parent, planner.BranchesJoined())
                case FailFork(error):
                    self.happens(parent, planner.BranchesFailed(error))


@st.composite
def simulations(draw: st.DrawFn) -> Simulation:
    graph = draw(graphs())
    state = {flag: draw(st.booleans()) for flag in FLAGS} | {"items": draw(st.lists(st.integers(0, 3), max_size=2))}
    broken = frozenset(node.id for node in graph.nodes if node.node_type not in NEVER_FAIL and draw(st.booleans()))
    chance = random.Random(draw(st.integers(0, 2**32)))
    return Simulation(Plan(graph, StateSchema.from_spec(STATE)), state, broken, chance)


STEPS = planner.NodeFinished | planner.NodeFailed | planner.BranchesJoined | planner.BranchesFailed


@given(simulations())
@settings(max_examples=200, deadline=None)
def test_every_run_ends_and_nothing_runs_past_the_limit(simulation: Simulation):
    cursor = simulation.run()

    assert cursor.status in (ThreadState.COMPLETED, ThreadState.FAILED)
    assert (cursor.status is ThreadState.FAILED) == (cursor.error is not None)
    for thread in simulation.threads:
        runs = [event for event, _ in thread.journal if isinstance(event, STEPS)]
        assert thread.steps + len(runs) <= MAX_STEPS + 1  # a fork may open at the limit: then its branches fail
        if thread.cursor.status.finished:
            kept = {name: getattr(thread.cursor, name) for name in ("status", "steps", "stop_at", "error")}
            assert thread.cursor == Cursor(turn=1, **kept)


@given(simulations())
@settings(max_examples=100, deadline=None)
def test_a_thread_goes_on_the_same_way_from_each_stored_cursor(simulation: Simulation):
    simulation.run()

    for thread in simulation.threads:
        cursors = [cursor for _, cursor in thread.journal]
        for length in range(len(cursors)):
            cursor = _decoder.decode(_encoder.encode(cursors[length]))
            for seq in range(length + 1, len(cursors)):
                event = thread.journal[seq][0]
                now = float(seq + 1)
                cursor = planner.advance(simulation.plan, cursor, event, simulation.state, seq + 1, now=now)
            assert cursor == cursors[-1]


KIND_OF = {
    planner.TurnStarted: EntryKind.TURN_STARTED,
    planner.NodeFinished: EntryKind.STEP_FINISHED,
    planner.NodeFailed: EntryKind.STEP_FAILED,
    planner.BranchesJoined: EntryKind.JOINED,
    planner.BranchesFailed: EntryKind.STEP_FAILED,
    planner.Paused: EntryKind.PAUSED,
    planner.Resumed: EntryKind.RESUMED,
    planner.TurnFinished: EntryKind.TURN_FINISHED,
}


@given(simulations(), st.integers(0, 10_000), st.booleans())
@settings(max_examples=200, deadline=None)
def test_a_branch_from_any_entry_of_any_thread_ends(simulation: Simulation, choice: int, updated: bool):
    simulation.run()
    thread = simulation.threads[choice % len(simulation.threads)]
    index = choice % len(thread.journal)
    event, cursor = thread.journal[index]
    before = thread.journal[index - 1][1] if index else Cursor()
    node = before.node or (before.fork.node if before.fork is not None else None)
    entry = JournalEntry(seq=index + 1, kind=KIND_OF[type(event)], cursor=cursor, at=0.0, node=node)
    branch, other = Simulated(), Simulation(simulation.plan, simulation.state, simulation.broken, simulation.chance)
    other.threads.append(branch)

    other.happens(branch, planner.Branched(entry, updated, inner=thread.parent is not None))

    if not updated and cursor.status is ThreadState.RUNNING and cursor.fork is None:
        asks = cursor.node is not None and simulation.plan.asks(cursor.node, simulation.state)
        assert branch.cursor == msgspec.structs.replace(cursor, asks=asks)
    while other.runnable:
        running = other.runnable.pop()
        if not running.cursor.status.finished:
            other.step(running)
    assert branch.cursor.status.finished
