"""LangGraph, with the savers that its users have."""

from __future__ import annotations

import uuid
from contextlib import AsyncExitStack
from typing import Any, TypedDict

from langgraph.graph import END, START, StateGraph


class Nothing(TypedDict, total=False):
    """A state that no node writes."""

    n: int


async def no_op(state: Nothing) -> dict[str, Any]:
    """Nothing."""
    return {}


async def open_saver(saver: str, url: str, stack: AsyncExitStack) -> Any:
    """A saver, which is closed with the stack.

    Args:
        saver: `memory`, `sqlite` or `redis`.
        url: The file, or the URL of the server.
        stack: What closes it.
    """
    if saver == "memory":
        from langgraph.checkpoint.memory import InMemorySaver

        return InMemorySaver()
    if saver == "sqlite":
        from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver

        return await stack.enter_async_context(AsyncSqliteSaver.from_conn_string(url))
    from langgraph.checkpoint.redis.aio import AsyncRedisSaver

    opened = await stack.enter_async_context(
        AsyncRedisSaver.from_conn_string(url, connection_args={"max_connections": 2048})
    )
    await opened.asetup()
    return opened


class Chain:
    """Runs of a chain of no-op nodes, each in a thread of its own.

    Args:
        saver: See `open_saver`.
        durability: LangGraph's own word for when checkpoints are written: `sync`, `async` or `exit`.
        nodes: How long the chain is.
        url: See `open_saver`.
    """

    def __init__(self, *, saver: str, durability: str, nodes: int, url: str = "") -> None:
        self._saver, self._durability, self._nodes, self._url = saver, durability, nodes, url
        self._stack = AsyncExitStack()

    async def start(self) -> None:
        """Build and compile the graph."""
        graph = StateGraph(Nothing)
        names = [f"node{number}" for number in range(self._nodes)]
        for name in names:
            graph.add_node(name, no_op)
        for source, target in zip([START, *names], [*names, END], strict=True):
            graph.add_edge(source, target)
        self._graph = graph.compile(checkpointer=await open_saver(self._saver, self._url, self._stack))

    async def operation(self) -> None:
        """One run."""
        config = {"configurable": {"thread_id": uuid.uuid4().hex}, "recursion_limit": self._nodes + 5}
        await self._graph.ainvoke({"n": 0}, config, durability=self._durability)

    async def close(self) -> None:
        """Close the saver."""
        await self._stack.aclose()
