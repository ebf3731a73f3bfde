"""A model that may be asked so often in a minute, counted over all processes."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
from collections.abc import Awaitable, Callable

from actors.errors import RateLimited, StoreUnavailable
from actors.llm.client import ChatClient, ChatRequest, ChatResponse, OnToken
from actors.llm.identity import model_identity
from actors.llm.settings import ModelSettings
from actors.llm.tokens import estimate_tokens
from actors.ports import RateLimits
from graphs.threads import ThreadPriority

logger = logging.getLogger(__name__)

_ANSWER_TOKENS = 500
"""Thought of for an answer whose length nobody bounds."""
_RANKS = list(ThreadPriority)
_FULL_S = 5.0


class LimitedClient:
    """Lets chats wait for their turn, the more urgent ones first.

    Tokens are reserved as an estimate says, and corrected when the answer tells how many there were. A store that is
    away limits nobody: the server's own limits are still there.

    Args:
        client: The model.
        settings: Its settings, with its limits.
        limits: What is left of them.
        sleep: Waits for so many seconds.
    """

    def __init__(
        self,
        client: ChatClient,
        settings: ModelSettings,
        limits: RateLimits,
        *,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._client = client
        self._settings = settings
        self._limits = limits
        self._sleep = sleep
        self._key = model_identity(settings)

    async def chat(self, request: ChatRequest, on_token: OnToken | None = None) -> ChatResponse:
        """Ask when it is this chat's turn; see `ChatClient.chat`.

        Raises:
            RateLimited: That takes longer than `max_wait_s`, or too many wait already.
        """
        reserved = reservation(request)
        await self._wait(request.priority, reserved)
        response = await self._client.chat(request, on_token)
        used = response.usage.total_tokens
        if used and self._settings.tokens_per_minute is not None:
            with contextlib.suppress(StoreUnavailable):
                await self._limits.correct(self._key, used - reserved)
        return response

    async def close(self) -> None:
        """Close the model."""
        await self._client.close()

    async def _wait(self, priority: ThreadPriority, tokens: int) -> None:
        settings = self._settings
        ticket, wait_s = secrets.token_hex(8), 0.0
        deadline = asyncio.timeout(settings.max_wait_s)
        try:
            async with deadline:
                while True:
                    told_s = await self._limits.take(
                        self._key,
                        ticket,
                        requests_per_minute=settings.requests_per_minute,
                        tokens_per_minute=settings.tokens_per_minute,
                        tokens=tokens,
                        rank=_RANKS.index(priority),
                    )
                    if told_s is None:
                        raise self._limited("too many chats wait already", _FULL_S)
                    if not told_s:
                        return
                    wait_s = told_s
                    await self._sleep(wait_s)
        except StoreUnavailable as error:
            logger.warning('model "%s" is asked without regard to its limits: %s', settings.name, error)
        except TimeoutError as error:
            await self._leave(ticket)
            if not deadline.expired():
                raise
            raise self._limited(f"its limits left no room for {settings.max_wait_s:g} s", wait_s) from error
        except BaseException:
            await self._leave(ticket)
            raise

    async def _leave(self, ticket: str) -> None:
        with contextlib.suppress(StoreUnavailable):  # then the place is lost in a moment
            await self._limits.leave(self._key, ticket)

    def _limited(self, problem: str, retry_after_s: float) -> RateLimited:
        name = self._settings.name
        return RateLimited(
            f'model "{name}": {problem}; ask less often, or raise requests_per_minute, tokens_per_minute or max_wait_s',
            model=name,
            url=self._settings.shown_url,
            status=None,
            retry_after_s=retry_after_s,
        )


def reservation(request: ChatRequest) -> int:
    """Tokens that a chat will use, roughly: nobody knows before."""
    texts = [message.content for message in request.messages]
    texts += [call.arguments for message in request.messages for call in message.tool_calls]
    texts += [f"{tool.name} {tool.description} {tool.parameters}" for tool in request.tools]
    return sum(map(estimate_tokens, texts)) + (request.max_tokens or _ANSWER_TOKENS)
