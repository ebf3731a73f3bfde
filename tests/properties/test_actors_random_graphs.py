"""Random graphs run by the actors: every step is recorded as often as the graph says, whoever dies meanwhile."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from typing import Annotated

from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from graphs.journal import START, EntryKind
from graphs.workflow.graph import GraphModel
from graphs.workflow.topology import reachable, successors
from runtime import AsyncLocalRuntime, Graph, ThreadState, append
from tests.component.actors_kit import at_rest, world
from tests.properties.test_planner import FLAGS, expected_runs, graphs


class Flags(BaseModel):
    flag0: bool = False
    flag1: bool = False
    flag2: bool = False
    flag3: bool = False
    visited: Annotated[list[str], append] = []


class Deaths:
    """Kills processes: before run number n of all nodes, the host or executor that is m-th at that time."""

    def __init__(self, plan: dict[int, int]) -> None:
        self.rt: AsyncLocalRuntime | None = None
        self._plan = plan
        self._runs = 0
        self._killing: set[asyncio.Task[None]] = set()

    async def note_run(self) -> None:
        self._runs += 1
        victim = self._plan.get(self._runs)
        if victim is not None and self.rt is not None:
            processes = [address for address in world(self.rt).processes if address != "supervisor"]
            killing = asyncio.create_task(world(self.rt).kill(processes[victim % len(processes)]))
            self._killing.add(killing)
            await asyncio.sleep(0)

    async def over(self) -> None:
        await asyncio.gather(*self._killing)


def runnable(model: GraphModel, deaths: Deaths) -> Graph:
    """The part of `model` that can be reached, with nodes that leave their name in the state."""
    reached = reachable(successors([node.id for node in model.nodes], model.edges), START) - {START}
    g = Graph("random", state=Flags, max_steps=10_000)
    for name in sorted(reached):

        async def visit(state: Flags, name: str = name) -> dict:
            await deaths.note_run()
            return {"visited": name}

        g.node(visit, name=name)
    for edge in model.edges:
        if edge.source in (START, *reached):
            assert edge.target is not None
            g.edge(edge.source, edge.target, when=edge.condition.cel if edge.condition else None)
    return g


async def recorded(model: GraphModel, flags: dict[str, bool], deaths: Deaths) -> tuple[Counter[str], Counter[str]]:
    """How often each node stands in the journals of the turn's threads, and in its final state."""
    async with AsyncLocalRuntime(executors={"function": {"processes": 2}}) as rt:
        deaths.rt = rt
        await rt.deploy(runnable(model, deaths))
        session = await rt.session("random")
        async with asyncio.timeout(60):
            result = await session.run(flags)
        assert result.status is ThreadState.COMPLETED, result.error
        await deaths.over()
        await at_rest(rt)
        journal = rt.records.store.journal
        entries = [entry for head in await session.threads() for entry in await journal.read(head.thread.id)]
        assert {head.cursor.status for head in await session.threads()} == {ThreadState.COMPLETED}
        steps = Counter(entry.node for entry in entries if entry.kind is EntryKind.STEP_FINISHED)
        return steps, Counter(result.state.visited)


flag_sets = st.fixed_dictionaries({flag: st.booleans() for flag in FLAGS})


@given(graphs(), flag_sets)
@settings(max_examples=25, deadline=None)
def test_a_random_graph_runs_as_the_graph_says(graph: GraphModel, flags: dict[str, bool]) -> None:
    steps, visited = asyncio.run(recorded(graph, flags, Deaths({})))

    assert steps == visited == expected_runs(graph, flags)


@given(graphs(), flag_sets, st.dictionaries(st.integers(1, 12), st.integers(0, 5), min_size=1, max_size=4))
@settings(max_examples=25, deadline=None)
def test_no_step_is_lost_or_doubled_whoever_dies(
    graph: GraphModel, flags: dict[str, bool], deaths: dict[int, int]
) -> None:
    logging.getLogger("actors").setLevel(logging.CRITICAL)

    steps, visited = asyncio.run(recorded(graph, flags, Deaths(deaths)))

    assert steps == visited == expected_runs(graph, flags)
