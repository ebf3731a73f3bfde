"""How much memory does a session take that is idle, one that is passivated, one that waits for a person, one at work?

Idle is a session between two turns, of which its host remembers the state for a minute; then it is passivated, and a
few records in the store. One that waits for an answer is that at once. One at work has a turn that waits for a slow
node, as for a model: it is loaded in a host, its node is under way in an executor.
What processes have grown by is measured as unique set size (what would be free if they ended), what the store has
as its `used_memory`. Python does not give back every page of what has ended, but uses it for what comes: so the
passivated ones are those that come after as many others, which have ended likewise.

With `--at-rest 90000` there are more than 100,000 known sessions, of which 10,000 are at work.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Awaitable, Callable
from typing import Annotated, Any

import typer
import uvloop
from pydantic import BaseModel

from actors.remembered import IDLE_S
from benchmarks.harness import progress, save, show
from benchmarks.ours import greenroom, in_a_row, process_bytes
from benchmarks.servers import used_bytes, valkey
from runtime import END, AsyncRuntime, Graph
from runtime.handles import AsyncSession, AsyncThread

_QUESTION = "memory of a session that is idle, passivated, paused, at work"
TARGET_BYTES = 20_000
_AT_A_TIME = 200
_WAIT_S = 600.0
_SETTLED_WITHIN_S = 60.0
_SLACK_S = 3.0


class Asking(BaseModel):
    """What a session has."""

    text: str = "hello"
    answer: str = ""


async def slow(state: Asking) -> dict[str, Any]:
    """Waits for something, as nodes do that ask a model."""
    await asyncio.sleep(_WAIT_S)
    return {"answer": "late"}


async def quick(state: Asking) -> dict[str, Any]:
    """Waits for nothing."""
    return {"answer": "soon"}


def workflows() -> list[Graph]:
    """What makes sessions live, paused, and at rest."""
    live, paused, rest = (Graph(f"benchmark-{name}", state=Asking) for name in ("live", "paused", "rest"))
    live.node(slow)
    in_a_row(live, ["slow"], end=END)
    paused.human("ask", question="{text}?", into="answer")
    in_a_row(paused, ["ask"], end=END)
    rest.node(quick)
    in_a_row(rest, ["quick"], end=END)
    return [live, paused, rest]


async def _each(count: int, make: Callable[[], Awaitable[Any]]) -> list[Any]:
    """Made in many, not all at a time."""
    made: list[Any] = []
    while len(made) < count:
        made += await asyncio.gather(*(make() for _ in range(min(_AT_A_TIME, count - len(made)))))
    return made


async def _settled(runtime: AsyncRuntime, live: int) -> None:
    """Wait until as many turns run."""
    async with asyncio.timeout(_SETTLED_WITHIN_S):
        while sum(process.facts.threads for process in (await runtime.cluster()).processes) != live:  # noqa: ASYNC110
            await asyncio.sleep(0.1)  # nobody tells a driver


async def measure(directory: str, sessions: int, at_rest: int) -> list[dict[str, Any]]:
    """Each kind of sessions, after the other."""
    rows: list[dict[str, Any]] = []
    with valkey() as url:
        async with greenroom(directory, redis_url=url, hosts={"capacity": sessions}) as runtime:
            await runtime.deploy(*workflows())

            async def rest() -> AsyncSession:
                session = await runtime.session("benchmark-rest")
                await session.run({})
                return session

            async def paused() -> AsyncSession:
                session = await runtime.session("benchmark-paused")
                await session.run({})
                return session

            async def live() -> AsyncThread:
                session = await runtime.session("benchmark-live")
                return await session.submit({})

            # What processes take once, they keep: it is not counted for the first kind.
            await _each(max(1, sessions // 10), rest)
            warm = await _each(max(1, sessions // 10), live)
            await asyncio.gather(*(thread.cancel() for thread in warm))
            for kind, make in (("idle", rest), ("passivated", rest), ("paused", paused), ("at work", live)):
                await _settled(runtime, 0)
                before, stored = await process_bytes(runtime), used_bytes(url)
                count = at_rest if make is rest else sessions
                made = await _each(count, make)
                await _settled(runtime, sessions if make is live else 0)
                if kind == "passivated":
                    await asyncio.sleep(IDLE_S + _SLACK_S)
                after = await process_bytes(runtime)
                grown = {address: after[address] - before[address] for address in after}
                row = {
                    "kind": kind,
                    "sessions": count,
                    "process_bytes_each": sum(grown.values()) / count,
                    "process_bytes": sum(after.values()),
                    "store_bytes_each": (used_bytes(url) - stored) / count,
                    "grown_bytes": grown,
                }
                if make is live:
                    begins = range(0, len(made), _AT_A_TIME)
                    for begin in begins:
                        await asyncio.gather(*(thread.cancel() for thread in made[begin : begin + _AT_A_TIME]))
                    await _settled(runtime, 0)
                if kind == "idle":
                    await asyncio.sleep(IDLE_S + _SLACK_S)
                rows.append(row)
                progress(f"{kind}: {row['process_bytes_each']:,.0f} bytes in processes, {row['store_bytes_each']:,.0f}")
    return rows


def run(
    sessions: Annotated[int, typer.Option(min=10, help="At work, and paused.")] = 10_000,
    at_rest: Annotated[int, typer.Option(min=10)] = 10_000,
) -> None:
    """Memory of sessions: measure, print a table, and write the result to benchmarks/results/."""
    with tempfile.TemporaryDirectory(prefix="gr-bench-", ignore_cleanup_errors=True) as directory:
        rows = uvloop.run(measure(directory, sessions, at_rest))
    show(
        f"{_QUESTION}\nto reach: {TARGET_BYTES:,} bytes idle, 0 passivated",
        ["", "sessions", "bytes each in all processes", "MB of all processes", "bytes each in the store"],
        [
            [
                row["kind"],
                f"{row['sessions']:,}",
                f"{row['process_bytes_each']:,.0f}",
                f"{row['process_bytes'] / 1e6:,.0f}",
                f"{row['store_bytes_each']:,.0f}",
            ]
            for row in rows
        ],
    )
    save("memory", _QUESTION, {"sessions": sessions}, rows)


if __name__ == "__main__":
    typer.run(run)
