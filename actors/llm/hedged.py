"""A model that is asked once more when it has been silent for a while."""

from __future__ import annotations

import asyncio

from actors.llm.client import ChatClient, ChatRequest, ChatResponse, OnToken


class HedgedClient:
    """Listens to whoever speaks first; the other one is hung up on, and what it has used up by then is not counted.

    Args:
        client: The model.
        after_s: Seconds of silence after which it is asked again.
    """

    def __init__(self, client: ChatClient, after_s: float) -> None:
        self._client = client
        self._after_s = after_s

    async def chat(self, request: ChatRequest, on_token: OnToken | None = None) -> ChatResponse:
        """Ask, perhaps twice; see `ChatClient.chat`. It fails if both do, as the first has."""
        tasks: list[asyncio.Task[ChatResponse]] = []
        chosen: list[int] = []
        news = asyncio.Event()

        def ask() -> None:
            number = len(tasks)

            def listen(text: str) -> None:
                if not chosen:
                    chosen.append(number)
                    news.set()
                    for other in tasks:
                        if other is not tasks[number]:
                            other.cancel()
                if chosen[0] == number and on_token is not None:
                    on_token(text)

            tasks.append(asyncio.create_task(self._client.chat(request, listen), name=f"chat {number}"))
            tasks[number].add_done_callback(lambda _: news.set())

        ask()
        try:
            try:
                async with asyncio.timeout(self._after_s):
                    await news.wait()
            except TimeoutError:
                ask()
            return await _first_success(tasks, chosen)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def close(self) -> None:
        """Close the model."""
        await self._client.close()


async def _first_success(tasks: list[asyncio.Task[ChatResponse]], chosen: list[int]) -> ChatResponse:
    pending = set(tasks)
    while pending:
        done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            if not task.cancelled() and task.exception() is None:
                return task.result()
    return tasks[chosen[0] if chosen else 0].result()
