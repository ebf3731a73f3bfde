"""What a long conversation takes in the store, and how much is read to know its state."""

from __future__ import annotations

import random
import string
from typing import Annotated, Any

import pytest
from pydantic import BaseModel
from redis.asyncio import Redis

from actors.stores.redis import RedisStore
from graphs.messages import Message
from graphs.threads import main_thread_id
from runtime import END, START, AsyncLocalRuntime, Graph, add_messages, append

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.timeout(600)]

TURNS = 500
TEXT_BYTES = 1024
LETTERS = string.ascii_letters + string.digits + "  .,"
"""Text that compresses worse than any language does: each character takes 6 bits."""


class Conversation(BaseModel):
    messages: Annotated[list[Message], add_messages] = []
    log: Annotated[list[str], append] = []


def text(chance: random.Random) -> str:
    return "".join(chance.choices(LETTERS, k=TEXT_BYTES))


def spoken(chance: random.Random, role: str) -> dict[str, Any]:
    return {"messages": [Message(role=role, content=text(chance))]}  # type: ignore[arg-type]


def logged(chance: random.Random, _: str) -> dict[str, Any]:
    return {"log": [text(chance)]}


async def commands(client: Redis) -> int:
    return int((await client.info("stats"))["total_commands_processed"])


async def stored(client: Redis, session_id: str) -> tuple[int, int]:
    """Bytes of all keys of a session: in the server's memory, and serialized."""
    found = await client.keys(f"*{{{session_id}}}*")
    memory = [await client.memory_usage(key, samples=0) for key in found]
    return sum(memory), sum([len(await client.dump(key)) for key in found])


@pytest.mark.parametrize("says", [spoken, logged])
async def test_500_turns(redis_store: RedisStore, client: Redis, monkeypatch: pytest.MonkeyPatch, says: Any):
    chance = random.Random(7)
    monkeypatch.setattr("runtime.testing.MemoryStore", lambda: redis_store)
    graph = Graph("talk", state=Conversation)

    @graph.node
    def answer(state: Conversation) -> dict[str, Any]:
        return dict(says(chance, "assistant"))

    graph.edge(START, "answer")
    graph.edge("answer", END)
    read: dict[int, int] = {}
    async with AsyncLocalRuntime() as rt:
        await rt.deploy(graph)
        session = await rt.session("talk")
        for turn in range(1, TURNS + 1):
            result = await session.run(says(chance, "user"))
            assert result.status == "completed"
            if turn in (50, TURNS):
                before = await commands(client)
                await rt.records.state(main_thread_id(session.id))
                read[turn] = await commands(client) - before
        state = await rt.records.state(main_thread_id(session.id))
        memory_bytes, serialized_bytes = await stored(client, session.id)

    raw_bytes = TURNS * 2 * TEXT_BYTES
    assert len(state.messages) + len(state.log) == 2 * TURNS
    assert memory_bytes <= 2 * raw_bytes
    assert serialized_bytes <= 2 * raw_bytes
    assert read[TURNS] <= read[50] <= 10
