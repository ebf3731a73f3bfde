"""How many new sessions a second answer their first message, and how long does one take that was at rest?

The message runs one no-op node, in `sync` durability. Who makes a Ray actor for each session waits for a process to
start. Sessions that have rested for a minute are in no process: waking one loads it from the store. Each of ours is
woken once, since its host remembers it then. LangGraph's threads are loaded from its saver with each message.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Iterator
from contextlib import AsyncExitStack
from functools import partial
from typing import Annotated, Any

import ray
import typer
import uvloop

from actors.remembered import IDLE_S
from benchmarks.chain import chain
from benchmarks.harness import save
from benchmarks.ours import greenroom, one_turn
from benchmarks.peers.plain_ray import PlainEcho
from benchmarks.peers.process import Peer
from benchmarks.race import Here, Racer, race, rows_of, show_race
from benchmarks.servers import valkey
from runtime import AsyncRuntime
from runtime.handles import AsyncSession

_QUESTION = "new sessions/s that answer their first message; how quickly sessions at rest answer"
OURS = "Greenroom"
RAY = "plain Ray actor for each"
_RAY_MOST = 8
"""A process each: more of them at a time would need the memory of all."""
_TURNS_BEFORE = 3
_EACH_ONCE = 32
"""So many times as many sessions of ours, of which none is woken twice."""
_SLACK_S = 3.0


async def ray_actor() -> None:
    """A Ray actor of its own for one message."""
    actor = PlainEcho.remote()
    await actor.handle.remote(b"")
    ray.kill(actor)


async def rested(runtime: AsyncRuntime, count: int) -> list[AsyncSession]:
    """Sessions that have had some turns, and are at rest."""

    async def make() -> AsyncSession:
        session = await runtime.session("benchmark-chain")
        for _ in range(_TURNS_BEFORE):
            await session.run({})
        return session

    made: list[AsyncSession] = []
    while len(made) < count:
        made += await asyncio.gather(*(make() for _ in range(min(50, count - len(made)))))
    return made


async def wake(sessions: Iterator[AsyncSession]) -> None:
    """A turn of the next of them."""
    result = await next(sessions).run({})
    assert result.status == "completed", result.error


async def measure(
    directory: str, at_a_time: list[int], sessions: int, rounds: int, seconds: float
) -> tuple[dict[str, Any], dict[str, str]]:
    """New ones first, then those at rest."""
    async with AsyncExitStack() as stack:
        plain, with_modules = stack.enter_context(valkey()), stack.enter_context(valkey(modules=True))
        runtime = await stack.enter_async_context(greenroom(directory, redis_url=plain))
        await runtime.deploy(chain(1))
        new_thread = Peer(
            "benchmarks.peers.langgraph:Chain", saver="redis", durability="sync", nodes=1, url=with_modules
        )
        racers: dict[str, Racer] = {
            OURS: Here(partial(one_turn, runtime, "benchmark-chain", {})),
            "LangGraph Redis sync": new_thread,
            RAY: Here(ray_actor),
        }
        new, missing = await race(
            racers, at_a_time, rounds=rounds, seconds=seconds, unit="sessions", most={RAY: _RAY_MOST}
        )
        old_thread = Peer(
            "benchmarks.peers.langgraph:Rested", saver="redis", url=with_modules, threads=sessions, turns=_TURNS_BEFORE
        )
        ours = await rested(runtime, _EACH_ONCE * sessions)
        await asyncio.sleep(IDLE_S + _SLACK_S)
        woken, _ = await race(
            {OURS: Here(partial(wake, iter(ours))), "LangGraph Redis sync": old_thread},
            [1, 64],
            rounds=rounds,
            seconds=seconds,
            unit="turns",
        )
    return {"new": rows_of(new, OURS), "woken": rows_of(woken, OURS)}, missing


def run(
    at_a_time: Annotated[list[int], typer.Option(help="Sessions at a time; repeatable.")] = [1, 8, 64, 256],  # noqa: B006
    sessions: Annotated[
        int, typer.Option(min=1, help="Threads of LangGraph at rest; ours are 32 times as many, each woken once.")
    ] = 500,
    rounds: Annotated[int, typer.Option(min=1)] = 3,
    seconds: Annotated[float, typer.Option(min=0.1, help="Of each measurement.")] = 1.0,
) -> None:
    """Activation: measure, print tables, and write the result to benchmarks/results/."""
    with tempfile.TemporaryDirectory(prefix="gr-bench-", ignore_cleanup_errors=True) as directory:
        parts, missing = uvloop.run(measure(directory, at_a_time, sessions, rounds, seconds))
    show_race(f"new sessions\n{rounds} rounds; median (lowest-highest)", "sessions", OURS, parts["new"], missing)
    show_race(f"turns of {sessions} sessions at rest", "turns", OURS, parts["woken"], missing)
    rows = [{"part": part, **row} for part, of_part in parts.items() for row in of_part]
    save("activation", _QUESTION, {"sessions": sessions, "rounds": rounds, "missing": missing}, rows)


if __name__ == "__main__":
    typer.run(run)
