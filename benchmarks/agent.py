"""How many turns of an agent go through, that asks its model four times and a tool in between?

The model is scripted, and answers after 50 ms; so a turn takes 200 ms at least, and everything over that is what
the runtime adds. Greenroom's model and tool run in executors of their own, as they would with real ones.
"""

from __future__ import annotations

import tempfile
from contextlib import AsyncExitStack
from functools import partial
from typing import Annotated

import typer
import uvloop
from pydantic import BaseModel

from benchmarks.harness import save
from benchmarks.ours import MODEL_S, greenroom, one_turn
from benchmarks.peers.process import Peer
from benchmarks.race import Here, Loads, Racer, race, rows_of, show_race
from benchmarks.servers import valkey
from runtime import END, START, Durability, Graph

_QUESTION = "turns/s of an agent: four answers of a model of 50 ms, three calls of a tool"
OURS = "Greenroom sync"
TOOLS = 3


class Thinking(BaseModel):
    """What the agent has."""

    thought: str = ""
    calls: float = 0


def agent() -> Graph:
    """A model and a tool, in turn."""
    graph = Graph("benchmark-agent", state=Thinking)
    graph.llm("think", prompt="{calls} calls so far. What now?", into="thought")
    graph.tool("compute", tool="calculator", arguments={"expression": "{calls} + 1"}, into="calls")
    graph.edge(START, "think")
    graph.edge("think", "compute", when=f"state.calls < {TOOLS}.0")
    graph.edge("think", END, default=True)
    graph.edge("compute", "think")
    return graph


async def measure(directory: str, at_a_time: list[int], rounds: int, seconds: float) -> tuple[Loads, dict[str, str]]:
    """Closed loops of so many agents, everybody in turn."""
    async with AsyncExitStack() as stack:
        plain, with_modules = stack.enter_context(valkey()), stack.enter_context(valkey(modules=True))
        runtime = await stack.enter_async_context(greenroom(directory, redis_url=plain))
        await runtime.deploy(agent())
        peer = partial(Peer, "benchmarks.peers.langgraph:Agents", model_s=MODEL_S, tools=TOOLS, durability="sync")
        racers: dict[str, Racer] = {
            f"Greenroom {durability}": Here(partial(one_turn, runtime, "benchmark-agent", {}, durability))
            for durability in (Durability.SYNC, Durability.EXIT)
        }
        racers |= {
            "LangGraph Redis sync": peer(saver="redis", url=with_modules),
            "LangGraph memory": peer(saver="memory"),
        }
        return await race(racers, at_a_time, rounds=rounds, seconds=seconds, unit="turns")


def run(
    at_a_time: Annotated[list[int], typer.Option(help="Agents at a time; repeatable.")] = [1, 64, 256],  # noqa: B006
    rounds: Annotated[int, typer.Option(min=1)] = 3,
    seconds: Annotated[float, typer.Option(min=0.1, help="Of each measurement.")] = 1.0,
) -> None:
    """Agents: measure, print a table, and write the result to benchmarks/results/."""
    with tempfile.TemporaryDirectory(prefix="gr-bench-", ignore_cleanup_errors=True) as directory:
        loads, missing = uvloop.run(measure(directory, at_a_time, rounds, seconds))
    rows = rows_of(loads, OURS)
    show_race(f"{_QUESTION}\n{rounds} rounds; median (lowest-highest)", "turns", OURS, rows, missing)
    save("agent", _QUESTION, {"model_s": MODEL_S, "tools": TOOLS, "rounds": rounds, "missing": missing}, rows)


if __name__ == "__main__":
    typer.run(run)
