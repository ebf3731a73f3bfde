"""What does a conversation of 500 turns cost, with a message of 1 KB each way: bytes, seconds, and as it grows?

Messages are random letters, which nothing compresses to less than three quarters. Bytes are the memory of all keys of
the server (`MEMORY USAGE`); the indexes of LangGraph's saver come on top. LangGraph stores the state whole with each
checkpoint. The file is the server's append-only file before it is written anew.
"""

from __future__ import annotations

import random
import string
import tempfile
import time
from contextlib import AsyncExitStack
from typing import Annotated, Any

import typer
import uvloop
from pydantic import BaseModel

from benchmarks.harness import progress, save, show
from benchmarks.ours import greenroom, in_a_row
from benchmarks.peers.process import Peer, PeerMissing
from benchmarks.servers import file_bytes, keys_bytes, valkey
from runtime import END, Graph, append
from runtime.handles import AsyncSession

_QUESTION = "bytes and seconds of a conversation of 500 turns, with a message of 1 KB each way"
OURS = "Greenroom sync"
THEIRS = "LangGraph Redis sync"
MESSAGE_BYTES = 1_000
TARGET = 2.0
"""Bytes stored over bytes said."""


class Conversation(BaseModel):
    """What was said."""

    messages: Annotated[list[str], append] = []


def letters() -> str:
    """A message."""
    return "".join(random.choices(string.ascii_letters, k=MESSAGE_BYTES))


async def reply(state: Conversation) -> dict[str, Any]:
    """An answer as long as the question."""
    return {"messages": [letters()]}


def conversation() -> Graph:
    """One node that answers."""
    graph = Graph("benchmark-conversation", state=Conversation)
    graph.node(reply)
    in_a_row(graph, ["reply"], end=END)
    return graph


async def _turns(session: AsyncSession, count: int) -> float:
    began = time.perf_counter()
    for _ in range(count):
        result = await session.run({"messages": [letters()]})
        assert result.status == "completed", result.error
    return time.perf_counter() - began


async def measure(directory: str, turns: int, every: int) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """Both in turn, so many turns at a time."""
    missing: dict[str, str] = {}
    async with AsyncExitStack() as stack:
        plain, with_modules = stack.enter_context(valkey()), stack.enter_context(valkey(modules=True))
        runtime = await stack.enter_async_context(greenroom(directory, redis_url=plain))
        await runtime.deploy(conversation())
        await _turns(await runtime.session("benchmark-conversation"), 10)  # every process warm
        session = await runtime.session("benchmark-conversation")
        have = {OURS: lambda count: _turns(session, count)}
        peer = Peer(
            "benchmarks.peers.langgraph:Conversation", saver="redis", url=with_modules, message_bytes=MESSAGE_BYTES
        )
        try:
            await peer.start()
        except PeerMissing as error:
            missing[THEIRS] = str(error)
        else:
            stack.push_async_callback(peer.close)
            have[THEIRS] = lambda count: peer.call("turns", count)
        urls = {OURS: plain, THEIRS: with_modules}
        before = {name: (keys_bytes(urls[name]), file_bytes(urls[name])) for name in have}
        rows: list[dict[str, Any]] = []
        for so_far in range(every, turns + 1, every):
            for name, have_turns in have.items():
                seconds = await have_turns(every)
                stored, file = keys_bytes(urls[name]) - before[name][0], file_bytes(urls[name]) - before[name][1]
                said = 2 * MESSAGE_BYTES * so_far
                rows.append(
                    {
                        "contender": name,
                        "turns": so_far,
                        "seconds_per_turn": seconds / every,
                        "stored_bytes": stored,
                        "over_raw": stored / said,
                        "file_bytes": file,
                    }
                )
                progress(f"{so_far} turns, {name}: {seconds / every * 1e3:.1f} ms a turn, {stored / said:.1f}x")
    return rows, missing


def run(
    turns: Annotated[int, typer.Option(min=1)] = 500,
    every: Annotated[int, typer.Option(min=1, help="Turns between two measurements.")] = 50,
) -> None:
    """A long conversation: measure, print a table, and write the result to benchmarks/results/."""
    with tempfile.TemporaryDirectory(prefix="gr-bench-", ignore_cleanup_errors=True) as directory:
        rows, missing = uvloop.run(measure(directory, turns, every))
    cells = [
        [
            row["contender"],
            str(row["turns"]),
            f"{row['seconds_per_turn'] * 1e3:.1f}",
            f"{row['stored_bytes'] / 1e6:.2f}",
            f"{row['over_raw']:.2f}",
            f"{row['file_bytes'] / 1e6:.2f}",
        ]
        for row in rows
    ]
    cells += [[name, "", why, "", "", ""] for name, why in missing.items()]
    show(
        f"{_QUESTION}\nto reach: {TARGET}x raw",
        ["", "turns", "ms a turn", "MB stored", "over raw", "MB of file"],
        cells,
    )
    save("storage", _QUESTION, {"message_bytes": MESSAGE_BYTES, "missing": missing}, rows)


if __name__ == "__main__":
    typer.run(run)
