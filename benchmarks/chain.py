"""How many durable steps a second does a chain of ten no-op nodes make, one workflow at a time and many?

A run is a new session (elsewhere: a thread, or a workflow) with one turn of ten steps, started by one driver and
answered with its final state. Greenroom and LangGraph's Redis saver have servers of the same binary with the same
settings, which write to the disk every second. SQLite and PostgreSQL have their defaults, which wait for the disk with
each commit; they are compared with Greenroom where it waits too (fsync). In the durability `sync` each step is stored
before the next begins; `docs/durability.md` says what the others promise. Greenroom uses both cores, the peers one
process, except where it says two.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, ExitStack
from functools import partial
from typing import Annotated, Any

import redis.asyncio
import typer
import uvloop
from pydantic import BaseModel

from benchmarks.harness import save
from benchmarks.loads import Load, closed_loop
from benchmarks.ours import greenroom
from benchmarks.peers.process import Peer, PeerMissing
from benchmarks.race import Absent, Here, Loads, Racer, Several, race, rows_of, show_race
from benchmarks.servers import postgres, valkey
from runtime import END, START, AsyncRuntime, Durability, Graph

_QUESTION = "durable steps/s of a chain of 10 no-op nodes, stored by a server"
OURS = f"Greenroom {Durability.SYNC}"
OURS_ON_DISK = f"{OURS}, fsync"
NODES = 10
_ON_DISK = ("LangGraph SQLite sync", "DBOS SQLite", "DBOS PostgreSQL")
"""Who waits for the disk with each commit, and is compared with us when we do too."""
_MOST = {
    "LangGraph SQLite sync": 64,
    "LangGraph Redis async": 64,
    "LangGraph Redis exit": 64,
    "DBOS PostgreSQL": 64,
    "DBOS SQLite": 16,
}


class Nothing(BaseModel):
    """A state that no node writes."""

    n: int = 0


def chain(nodes: int) -> Graph:
    """Nodes in a row that do nothing."""
    graph = Graph("benchmark-chain", state=Nothing)
    previous = START
    for number in range(nodes):
        name = f"node{number}"
        graph.node(no_op, name=name)
        graph.edge(previous, name)
        previous = name
    graph.edge(previous, END)
    return graph


async def no_op(state: Nothing) -> dict[str, Any]:
    """Nothing."""
    return {}


async def one_run(runtime: AsyncRuntime, durability: Durability) -> None:
    """A new session, and one turn of it."""
    session = await runtime.session("benchmark-chain")
    result = await session.run({}, durability=durability)
    assert result.status == "completed", result.error
    assert result.seq == NODES + 2


class Fsynced(Here):
    """With a server that waits for the disk before it acknowledges a write.

    Args:
        operation: One unit of the work.
        url: Of the server.
    """

    def __init__(self, operation: Callable[[], Awaitable[Any]], url: str) -> None:
        super().__init__(operation)
        self._url = url

    async def load(self, in_flight: int, seconds: float) -> Load:
        """See `Racer`."""
        async with redis.asyncio.Redis.from_url(self._url) as server:
            await server.config_set("appendfsync", "always")
            try:
                return await super().load(in_flight, seconds)
            finally:
                await server.config_set("appendfsync", "everysec")


def peers(directory: str, postgres_url: str | None, servers: ExitStack) -> dict[str, Racer]:
    """The peers, those whose servers are not there too."""
    langgraph = partial(Peer, "benchmarks.peers.langgraph:Chain", nodes=NODES)
    dbos = partial(Peer, "benchmarks.peers.dbos:Chain", nodes=NODES)
    racers: dict[str, Racer] = {
        "LangGraph memory": langgraph(saver="memory", durability="sync"),
        "LangGraph SQLite sync": langgraph(saver="sqlite", durability="sync", url=f"{directory}/langgraph.db"),
        "DBOS SQLite": dbos(url=f"sqlite:///{directory}/dbos.db"),
    }
    url = servers.enter_context(valkey(modules=True))
    for durability in Durability:
        racers[f"LangGraph Redis {durability}"] = langgraph(saver="redis", durability=str(durability), url=url)
    racers["LangGraph Redis sync, 2 processes"] = Several(
        [langgraph(saver="redis", durability="sync", url=url) for _ in range(2)]
    )
    try:
        racers["DBOS PostgreSQL"] = dbos(url=servers.enter_context(postgres(postgres_url)))
    except PeerMissing as error:
        racers["DBOS PostgreSQL"] = Absent(str(error))
    return racers


async def measure(
    directory: str,
    at_a_time: list[int],
    rounds: int,
    seconds: float,
    with_peers: bool,
    postgres_url: str | None,
) -> tuple[Loads, dict[str, str]]:
    """Closed loops of so many workflows at a time, everybody in turn."""
    with ExitStack() as servers:
        url = servers.enter_context(valkey())
        others = await asyncio.to_thread(peers, directory, postgres_url, servers) if with_peers else {}
        async with AsyncExitStack() as stack:
            runtime = await stack.enter_async_context(greenroom(directory, redis_url=url))
            await runtime.deploy(chain(NODES))
            await closed_loop(partial(one_run, runtime, Durability.SYNC), 16, seconds=seconds)  # every process warm
            racers: dict[str, Racer] = {
                f"Greenroom {durability}": Here(partial(one_run, runtime, durability)) for durability in Durability
            }
            racers[OURS_ON_DISK] = Fsynced(partial(one_run, runtime, Durability.SYNC), url)
            return await race(
                racers | others,
                at_a_time,
                rounds=rounds,
                seconds=seconds,
                unit="steps",
                per_operation=NODES,
                most=_MOST,
            )


def run(
    at_a_time: Annotated[list[int], typer.Option(help="Workflows at a time; repeatable.")] = [1, 16, 64, 256],  # noqa: B006
    rounds: Annotated[int, typer.Option(min=1)] = 3,
    seconds: Annotated[float, typer.Option(min=0.1, help="Of each measurement.")] = 1.0,
    peers: Annotated[bool, typer.Option(help="Measure the peers too.")] = True,
    postgres_url: Annotated[
        str | None, typer.Option(help="A PostgreSQL for DBOS; nothing: one is started if its programs are found.")
    ] = None,
) -> None:
    """Durable steps a second: measure, print a table, and write the result to benchmarks/results/."""
    with tempfile.TemporaryDirectory(prefix="gr-bench-", ignore_cleanup_errors=True) as directory:
        loads, missing = uvloop.run(measure(directory, at_a_time, rounds, seconds, peers, postgres_url))
    rows = rows_of(loads, OURS, NODES, against=dict.fromkeys(_ON_DISK, OURS_ON_DISK))
    title = f"{_QUESTION}\n{rounds} rounds of {seconds} s; median (lowest-highest)"
    show_race(title, "steps", OURS, rows, missing)
    parameters = {"rounds": rounds, "seconds": seconds, "missing": missing}
    save("chain", _QUESTION, parameters, rows)


if __name__ == "__main__":
    typer.run(run)
