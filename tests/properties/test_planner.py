"""On random graphs, whatever the order in which branches finish: none is lost or doubled, every join fires once."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st

from graphs.journal import END, START, Cursor
from graphs.state.schema import StateSchema
from graphs.threads import ThreadState
from graphs.workflow import planner
from graphs.workflow.edge import Condition, Edge, EdgeType
from graphs.workflow.graph import GraphModel
from graphs.workflow.joins import Join, Merge, StartBranch
from graphs.workflow.node import FunctionConfig, Node
from graphs.workflow.plan import Plan
from graphs.workflow.topology import post_dominators

FLAGS = [f"flag{number}" for number in range(4)]
STATE = {"channels": {flag: {"type": "bool", "default": False} for flag in FLAGS}}


@st.composite
def graphs(draw: st.DrawFn) -> GraphModel:
    """A graph without cycles, of up to 9 nodes, some of whose edges depend on flags in the state."""
    names = [f"n{number}" for number in range(draw(st.integers(1, 9)))]
    edges = [Edge(id="start", source=START, target=names[0])]
    for position, source in enumerate(names):
        later = [*names[position + 1 :], END]
        targets = draw(st.lists(st.sampled_from(later), min_size=1, max_size=3, unique=True))
        for number, target in enumerate(targets):
            flag = draw(st.sampled_from([None, *FLAGS])) if number else None
            edges.append(
                Edge(
                    id=f"{source}-{target}",
                    source=source,
                    target=target,
                    edge_type=EdgeType.CONDITIONAL if flag else EdgeType.SIMPLE,
                    condition=Condition(cel=f"state.{flag}") if flag else None,
                )
            )
    nodes = tuple(Node(id=name, config=FunctionConfig(function="m:f")) for name in names)
    return GraphModel(id="g", name="g", nodes=nodes, edges=tuple(edges), state=STATE, max_steps=10_000)


def expected_runs(graph: GraphModel, flags: dict[str, bool]) -> Counter[str]:
    """How often each node runs, told by walking the graph: at a fork, each branch up to the join, then the join."""
    taken: dict[str, list[str]] = {}
    everything: dict[str, tuple[str, ...]] = {}
    for edge in graph.edges:
        assert edge.target is not None
        everything[edge.source] = (*everything.get(edge.source, ()), edge.target)
        if edge.condition is None or flags[(edge.condition.cel or "").removeprefix("state.")]:
            taken.setdefault(edge.source, []).append(edge.target)
    joins = post_dominators(everything)

    def walk(node: str, stop: str) -> Counter[str]:
        runs: Counter[str] = Counter()
        while node not in (stop, END):
            if node != START:
                runs[node] += 1
            targets = taken[node]
            if len(targets) == 1:
                node = targets[0]
                continue
            join = joins[node]
            for target in targets:
                runs += walk(target, join)
            node = join
        return runs

    return walk(START, END)


@dataclass
class Simulated:
    """One thread and its open fork."""

    cursor: Cursor
    parent: tuple[Simulated, int] | None = None
    join: Join | None = None
    joins_fired: int = 0
    seq: int = 0


@dataclass
class Simulation:
    """Runs a plan with nothing but the planner and its joins, taking a random runnable thread at each step."""

    plan: Plan
    state: dict[str, bool]
    chance: random.Random
    runs: Counter[str] = field(default_factory=Counter)
    forks_opened: int = 0
    joins_fired: int = 0
    runnable: list[Simulated] = field(default_factory=list)

    def run(self) -> Cursor:
        main = Simulated(self.advance(Simulated(Cursor()), planner.TurnStarted(1)))
        self.runnable = [main]
        while self.runnable:
            thread = self.runnable.pop(self.chance.randrange(len(self.runnable)))
            self.step(thread)
        return main.cursor

    def advance(self, thread: Simulated, event: planner.Event) -> Cursor:
        thread.seq += 1
        thread.cursor = planner.advance(self.plan, thread.cursor, event, self.state, thread.seq)
        return thread.cursor

    def step(self, thread: Simulated) -> None:
        match planner.command(self.plan, thread.cursor):
            case planner.RunNode(node, _):
                self.runs[node] += 1
                self.advance(thread, planner.NodeFinished())
                self.runnable.append(thread)
            case planner.RunBranches(fork):
                self.forks_opened += 1
                thread.join = Join(node=fork.node, size=fork.size)
                for command in thread.join.open():
                    assert isinstance(command, StartBranch)
                    child = Simulated(Cursor(), parent=(thread, command.index))
                    begin = planner.TurnStarted(
                        1, at=fork.targets[command.index], stop_at=fork.join, steps=thread.cursor.steps
                    )
                    self.advance(child, begin)
                    self.runnable.append(child)
            case planner.FinishTurn(status, error):
                assert status is ThreadState.COMPLETED, error
                self.advance(thread, planner.TurnFinished(status))
                if thread.parent is not None:
                    self.branch_finished(*thread.parent)
            case planner.Wait():
                raise AssertionError("a finished thread was taken up again")

    def branch_finished(self, parent: Simulated, index: int) -> None:
        assert parent.join is not None
        for command in parent.join.finished(index):
            assert command == Merge(tuple(range(parent.join.size)))
            self.joins_fired += 1
            self.advance(parent, planner.BranchesJoined())
            self.runnable.append(parent)


@given(graphs(), st.fixed_dictionaries({flag: st.booleans() for flag in FLAGS}), st.integers(0, 2**32))
@settings(max_examples=150, deadline=None)
def test_every_branch_runs_once_and_every_join_fires_once(graph: GraphModel, flags: dict[str, bool], seed: int):
    plan = Plan(graph, StateSchema.from_spec(graph.state))
    simulation = Simulation(plan, flags, random.Random(seed))

    cursor = simulation.run()

    assert cursor.status is ThreadState.COMPLETED
    assert simulation.runs == expected_runs(graph, flags)
    assert simulation.joins_fired == simulation.forks_opened


@given(st.integers(1, 8), st.integers(1, 8), st.randoms(use_true_random=False))
@settings(max_examples=100, deadline=None)
def test_a_map_join_fires_once_whatever_the_order(size: int, max_running: int, chance: random.Random):
    join = Join(node="map", size=size, max_running=max_running)
    running: list[int] = []
    started: list[int] = []
    merged: list[Merge] = []

    def perform(commands: list[object]) -> None:
        for command in commands:
            if isinstance(command, StartBranch):
                running.append(command.index)
                started.append(command.index)
                assert len(running) <= max_running
            else:
                assert isinstance(command, Merge)
                merged.append(command)

    perform(list(join.open()))
    while running:
        perform(list(join.finished(running.pop(chance.randrange(len(running))))))

    assert started == list(range(size))
    assert merged == [Merge(tuple(range(size)))]
