"""The workflows of the benchmarks run, here in one event loop: what breaks them is seen before `make bench`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pyarrow as pa
import pytest

from benchmarks import agent, chain, cpu_fork, fork, memory, recovery, scaling, storage, table, wide
from runtime import AsyncLocalRuntime, Graph

SCRIPTED = {"default": {"provider": "scripted", "replies": ["thinking"]}}
LIVE, PAUSED, REST = memory.workflows()


@pytest.mark.parametrize(
    ("graph", "content", "expected"),
    [
        pytest.param(chain.chain(chain.NODES), {}, {}, id="chain"),
        pytest.param(fork.mapped(3), {"items": range(3)}, {"done": [0, 1, 2]}, id="map"),
        pytest.param(fork.forked(3), {}, {"done": [1, 1, 1]}, id="fork"),
        pytest.param(agent.agent(), {}, {"thought": "thinking", "calls": agent.TOOLS}, id="agent"),
        pytest.param(wide.wide(20), {"c19": "kept"}, {"c0": wide.VALUE, "c19": "kept"}, id="wide"),
        pytest.param(REST, {}, {"answer": "soon"}, id="rest"),
        pytest.param(table.chain(), {"table": pa.table({"c0": [1, 2]})}, {"total": 3 * table.NODES}, id="table"),
        *(pytest.param(graph, {}, {}, id=f"scaling {number}") for number, graph in enumerate(scaling.workflows([10]))),
    ],
)
async def test_it_ends_as_it_should(graph: Graph, content: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    async with AsyncLocalRuntime(models=SCRIPTED) as runtime:
        (ref,) = await runtime.deploy(graph)
        result = await (await runtime.session(ref)).run(content)

    assert (result.status, {name: result.state[name] for name in expected}) == ("completed", expected), result.error


async def test_a_conversation_has_both_messages_of_each_turn() -> None:
    async with AsyncLocalRuntime(models=SCRIPTED) as runtime:
        await runtime.deploy(storage.conversation())
        session = await runtime.session("benchmark-conversation")
        for _ in range(2):
            result = await session.run({"messages": [storage.letters()]})

    assert [len(message) for message in result.state.messages] == [storage.MESSAGE_BYTES] * 4


async def test_sessions_that_wait_for_a_person_are_paused() -> None:
    async with AsyncLocalRuntime(models=SCRIPTED) as runtime:
        (ref,) = await runtime.deploy(PAUSED)
        result = await (await runtime.session(ref)).run({})

    assert result.status == "paused"


@pytest.mark.parametrize("graph", [cpu_fork.burning(), recovery.chain(), LIVE], ids=["computing", "recovery", "live"])
async def test_what_takes_long_can_be_deployed(graph: Graph) -> None:
    async with AsyncLocalRuntime(models=SCRIPTED) as runtime:
        (ref,) = await runtime.deploy(graph)

    assert ref.startswith("benchmark-")
