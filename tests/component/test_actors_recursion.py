"""Graphs that run themselves."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from runtime import END, START, Graph, ThreadState
from tests.component.actors_kit import runtime


class Tree(BaseModel):
    n: int = 0
    kids: list[int] = []
    sums: list[int] = []
    total: int = 0


def tree(leaf: int) -> Graph:
    """Adds up all numbers from n to 0, with a thread for each; `leaf` is what the last one counts."""
    g = Graph("tree", state=Tree, description=f"builds differ: {leaf}")

    @g.node
    def split(state: Tree) -> dict:
        return {"kids": [state.n - 1] if state.n else []}

    @g.node
    def add(state: Tree) -> dict:
        return {"total": state.n + sum(state.sums) if state.n else leaf}

    g.map("deeper", over="kids", workflow=g, item="n", result="total", into="sums")
    g.edge(START, "split")
    g.edge("split", "deeper")
    g.edge("deeper", "add")
    g.edge("add", END)
    return g


async def test_a_graph_that_maps_itself_runs_the_build_it_is():
    async with runtime() as rt:
        await rt.deploy(tree(leaf=0))
        old = await rt.session("tree")
        assert (await old.run({"n": 3})).state["total"] == 6

        await rt.deploy(tree(leaf=100))
        new = await rt.session("tree")

        assert (await new.run({"n": 3})).state["total"] == 106
        assert (await old.run({"n": 3})).state["total"] == 6


class Endless(BaseModel):
    kids: list[dict[str, Any]] = [{}]
    found: list[dict[str, Any]] = []


async def test_a_graph_that_does_nothing_but_map_itself_fails_at_its_step_limit():
    g = Graph("endless", state=Endless, max_steps=6)
    g.map("deeper", over="kids", workflow=g, into="found")
    g.edge(START, "deeper")
    g.edge("deeper", END)
    async with runtime() as rt:
        await rt.deploy(g)
        session = await rt.session("endless")
        result = await session.run({}, timeout_s=10)
        depths = [head.thread.id.count(".") // 2 for head in await session.threads()]

    assert result.status is ThreadState.FAILED
    assert str(result.error).endswith("ran 6 steps in one turn; end the loop or raise max_steps")
    assert depths == [0, 1, 2, 3, 4, 5, 6]
