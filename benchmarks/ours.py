"""A Greenroom of a benchmark's own, and what is done with it again and again."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from runtime import START, AsyncRuntime, Durability, Graph
from runtime.results import ThreadResult

REPLY = "thinking"
MODEL_S = 0.05
"""How long the scripted model takes."""


@asynccontextmanager
async def greenroom(directory: str, **options: Any) -> AsyncIterator[AsyncRuntime]:
    """A runtime with services of its own, and a model that is none.

    Args:
        directory: Where they keep what they have.
        **options: See `AsyncRuntime`.
    """
    model = {"provider": "scripted", "replies": [REPLY], "latency": {"mean_s": MODEL_S}}
    async with AsyncRuntime(home=Path(directory), models={"default": model}, **options) as runtime:
        yield runtime


async def one_turn(
    runtime: AsyncRuntime, workflow: str, content: Mapping[str, Any], durability: Durability = Durability.SYNC
) -> ThreadResult:
    """A new session, and one turn of it, which succeeds."""
    session = await runtime.session(workflow)
    result = await session.run(content, durability=durability)
    assert result.status == "completed", result.error
    return result


def in_a_row(graph: Graph, names: list[str], *, end: str) -> None:
    """Edges from the start through nodes, one after the other."""
    for source, target in zip([START, *names], [*names, end], strict=True):
        graph.edge(source, target)


async def process_bytes(runtime: AsyncRuntime) -> dict[str, int]:
    """Memory of each actor process that nobody else has (unique set size), by its address."""
    import psutil

    processes = (await runtime.cluster()).processes
    return {process.address: psutil.Process(process.pid).memory_full_info().uss for process in processes}
