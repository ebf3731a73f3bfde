"""A model of which answers are given again to the same question, for a while."""

from __future__ import annotations

import contextlib
from typing import Any

import msgspec

from actors.errors import StoreUnavailable
from actors.llm.client import ChatClient, ChatRequest, ChatResponse, OnToken
from actors.llm.identity import chat_identity
from actors.llm.settings import ModelSettings
from actors.ports import Cache
from graphs.journal import Usage
from graphs.messages import ToolCall


class CachedClient:
    """Asks only what was not asked before. An answer that was kept uses no tokens; a store that is away keeps none.

    Args:
        client: The model.
        settings: Its settings.
        cache: Where answers are kept, for all processes.
        ttl_s: How long they are.
    """

    def __init__(self, client: ChatClient, settings: ModelSettings, cache: Cache, ttl_s: float) -> None:
        self._client = client
        self._settings = settings
        self._cache = cache
        self._ttl_s = ttl_s

    async def chat(self, request: ChatRequest, on_token: OnToken | None = None) -> ChatResponse:
        """The answer that was kept, or a new one; see `ChatClient.chat`."""
        key = f"chat:{chat_identity(self._settings, request)}"
        response = await self._kept(key)
        if response is None:
            response = await self._client.chat(request, on_token)
            with contextlib.suppress(StoreUnavailable):
                await self._cache.set(key, msgspec.json.encode(response, enc_hook=_dumped), ttl_s=self._ttl_s)
            return response
        if on_token is not None and response.text:
            on_token(response.text)
        return msgspec.structs.replace(response, usage=Usage(), reused=True)

    async def close(self) -> None:
        """Close the model."""
        await self._client.close()

    async def _kept(self, key: str) -> ChatResponse | None:
        try:
            blob = await self._cache.get(key)
            return None if blob is None else msgspec.json.decode(blob, type=ChatResponse, dec_hook=_loaded)
        except (StoreUnavailable, msgspec.MsgspecError, ValueError):  # away, or kept by another version
            return None


def _dumped(value: Any) -> Any:
    assert isinstance(value, ToolCall)
    return value.model_dump()


def _loaded(kind: type, value: Any) -> Any:
    assert kind is ToolCall
    return ToolCall.model_validate(value)
