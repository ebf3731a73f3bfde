"""What a driver does with a workflow while somebody dies."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import aclosing, suppress
from typing import Any

from actors.remembered import LARGE_STATE_BYTES
from graphs.errors import BusinessRuleViolation
from graphs.messages import Message
from runtime.client import AsyncClient
from runtime.results import ThreadResult

SESSION = "companion"
Drive = Callable[[AsyncClient], Awaitable[list[ThreadResult]]]


async def one_turn(client: AsyncClient, durability: str = "sync", **content: Any) -> list[ThreadResult]:
    session = await client.session("w", id=SESSION)
    return [await session.run(content, durability=durability)]


def two_turns(durability: str = "sync") -> Drive:
    async def drive(client: AsyncClient) -> list[ThreadResult]:
        session = await client.session("w", id=SESSION)
        return [await session.run({"text": text}, durability=durability) for text in "12"]

    return drive


async def submitted_turns(client: AsyncClient) -> list[ThreadResult]:
    session = await client.session("w", id=SESSION)
    threads = [await session.submit({"text": str(number)}) for number in range(3)]
    return [await thread.result() for thread in threads]


def long_turns(durability: str) -> Drive:
    async def drive(client: AsyncClient) -> list[ThreadResult]:
        session = await client.session("w", id=SESSION)
        return [await session.run({"text": text * LARGE_STATE_BYTES}, durability=durability) for text in "123"]

    return drive


ANSWER = "yes"


async def answered(client: AsyncClient) -> list[ThreadResult]:
    session = await client.session("w", id=SESSION)
    paused = await session.run({})
    return [paused, await answer_all(client)]


async def answer_all(client: AsyncClient) -> ThreadResult:
    """Answer what is asked anywhere in the session, until its turn is over."""
    session = await client.session(id=SESSION)
    thread = await client.thread(session.thread)
    while (result := await thread.result()).pause is not None:
        for head in await session.threads():
            pause = head.cursor.pause
            if pause is not None and pause.asks:
                answer = ANSWER if pause.kind == "human" else "100" not in pause.question
                await (await client.thread(head.thread.id)).answer(answer)
        await asyncio.sleep(0.1)
    return result


async def approved(client: AsyncClient) -> list[ThreadResult]:
    session = await client.session("w", id=SESSION)
    paused = await session.run({"n": 7})
    return [paused, await answer_all(client)]


async def approved_agent(client: AsyncClient) -> list[ThreadResult]:
    session = await client.session("w", id=SESSION)
    await session.run({"messages": [Message(role="user", content="go")]})
    return [await answer_all(client)]


async def answered_below(client: AsyncClient) -> list[ThreadResult]:
    session = await client.session("w", id=SESSION)
    await session.run({})
    return [await answer_all(client)]


async def paused_and_resumed(client: AsyncClient) -> list[ThreadResult]:
    session = await client.session("w", id=SESSION)
    thread = await session.submit({})
    await asyncio.sleep(0.12)
    with suppress(BusinessRuleViolation):  # over already, because a death has cost time
        await thread.pause("for a while")
        await thread.resume()
    return [await thread.result()]


async def branched(client: AsyncClient) -> list[ThreadResult]:
    """What if there had been another text: a branch that becomes what counts, and a turn after it."""
    session = await client.session("w", id=SESSION)
    first = await session.run({"text": "1"})
    thread = await client.thread(session.thread)
    branch = await thread.branch(at=2, update={"text": "2"})
    other = await branch.result()
    await branch.promote()
    return [first, other, await session.run({"n": 3})]


async def cancelled_turn(client: AsyncClient, after_s: float) -> list[ThreadResult]:
    session = await client.session("w", id=SESSION)
    thread = await session.submit({})
    await asyncio.sleep(after_s)
    await thread.cancel("enough")
    return [await thread.result()]


async def session_paused_and_resumed(client: AsyncClient) -> list[ThreadResult]:
    """Two turns and a what-if branch of the first, paused with their session and resumed with it."""
    session = await client.session("w", id=SESSION)
    threads = [await session.submit({"text": text}) for text in "12"]
    async with aclosing(threads[0].events()) as events:
        await anext(events)
    await asyncio.sleep(0.12)
    branch = await threads[0].branch(at=1, update={"text": "3"})
    await session.pause("for a while")
    threads.append(await session.submit({"text": "4"}))
    await session.resume()
    return [await thread.result() for thread in (*threads, branch)]


async def session_paused_at_a_question(client: AsyncClient) -> list[ThreadResult]:
    """What is answered in a paused session goes on with it, and so do times."""
    session = await client.session("w", id=SESSION)
    await session.run({})
    await session.pause("for a while")
    for head in await session.threads():
        if head.cursor.pause is not None and head.cursor.pause.kind == "human":
            await (await client.thread(head.thread.id)).answer(ANSWER)
    await session.resume()
    return [await answer_all(client)]


async def session_aborted(client: AsyncClient) -> list[ThreadResult]:
    session = await client.session("w", id=SESSION)
    threads = [await session.submit({"text": text}) for text in "123"]
    await asyncio.sleep(0.12)
    await session.abort("enough")
    return [await thread.result() for thread in threads]


async def queue_of_threads(client: AsyncClient, on_failure: str) -> list[ThreadResult]:
    session = await client.session("w", id=SESSION)
    items = [("w", {"text": "1"}), ("other", {"text": "bad"}), ("w", {"text": "3"})]
    queue = await session.queue(items, on_failure=on_failure)
    return await queue.results()
