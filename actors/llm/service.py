"""The configured models of a process, by name, each with the policies it is configured with."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import assert_never

from actors.llm.anthropic import AnthropicDialect
from actors.llm.cached import CachedClient
from actors.llm.client import ChatClient, ChatRequest, ChatResponse, OnToken
from actors.llm.fallbacks import FallbackClient
from actors.llm.hedged import HedgedClient
from actors.llm.http import HttpClient
from actors.llm.limited import LimitedClient
from actors.llm.openai import OpenAIDialect
from actors.llm.scripted import ScriptedClient
from actors.llm.settings import ModelSettings
from actors.llm.shared import SharedClient
from actors.ports import Cache, RateLimits
from graphs.errors import NotFoundError
from graphs.suggest import did_you_mean

Note = Callable[[Callable[[], Awaitable[ChatResponse]], ModelSettings], Awaitable[ChatResponse]]
"""Gets what asks a model, and the settings of that; gives its answer."""


def build_client(settings: ModelSettings, limits: RateLimits, cache: Cache) -> ChatClient:
    """The client for a model, in its policies. Raises `ModelError` if its settings cannot work.

    From the outside inwards: what was answered before is not asked, what is being asked is not asked twice, what is not
    answered is asked again, and whatever is asked counts.
    """
    client = _bare_client(settings)
    if settings.requests_per_minute is not None or settings.tokens_per_minute is not None:
        client = LimitedClient(client, settings, limits)
    if settings.hedge_after_s is not None:
        client = HedgedClient(client, settings.hedge_after_s)
    if settings.share_identical:
        client = SharedClient(client, settings)
    if settings.cache_ttl_s is not None:
        client = CachedClient(client, settings, cache, settings.cache_ttl_s)
    return client


def _bare_client(settings: ModelSettings) -> ChatClient:
    match settings.provider:
        case "openai":
            return HttpClient(settings, OpenAIDialect())
        case "anthropic":
            return HttpClient(settings, AnthropicDialect())
        case "scripted":
            return ScriptedClient(settings)
        case provider:
            assert_never(provider)


class ModelService:
    """Chats with models by name. A client is built when its model is first asked.

    Args:
        models: Name -> settings.
        limits: What may be asked, counted over all processes.
        cache: Where answers are kept.
    """

    def __init__(self, models: Mapping[str, ModelSettings], limits: RateLimits, cache: Cache) -> None:
        self._models = dict(models)
        self._limits = limits
        self._cache = cache
        self._clients: dict[str, ChatClient] = {}

    async def chat(
        self,
        name: str,
        request: ChatRequest,
        on_token: OnToken | None = None,
        *,
        fallbacks: tuple[str, ...] = (),
        note: Note | None = None,
    ) -> ChatResponse:
        """Ask the model `name`; see `ChatClient.chat`.

        Args:
            name: The model.
            request: What it is asked.
            on_token: Gets the pieces of the answer.
            fallbacks: Models that are asked when it fails, instead of those of its settings.
            note: Is given each model that is asked, to ask it and keep a record of that.

        Raises:
            NotFoundError: No such model is configured.
            ModelError: As `ChatClient.chat`, or the model's settings cannot work.
        """
        settings = self.settings(name)
        names = (name, *(fallbacks or settings.fallbacks))
        clients = {each: self._client(each) for each in names}
        if note is not None:
            clients = {each: _Noted(client, self.settings(each), note) for each, client in clients.items()}
        client = FallbackClient(clients, settings.fallback_on) if len(clients) > 1 else clients[name]
        return await client.chat(request, on_token)

    def settings(self, name: str) -> ModelSettings:
        """How the model `name` is configured. Raises `NotFoundError`."""
        if name not in self._models:
            known = ", ".join(sorted(self._models)) or "none"
            hint = did_you_mean(name, self._models) or f"; configured are: {known}"
            raise NotFoundError(f'no model "{name}"{hint}', kind="model", key=name)
        return self._models[name]

    async def close(self) -> None:
        """Give back all connections."""
        while self._clients:
            _, client = self._clients.popitem()
            await client.close()

    def _client(self, name: str) -> ChatClient:
        client = self._clients.get(name)
        if client is None:
            client = self._clients[name] = build_client(self.settings(name), self._limits, self._cache)
        return client


class _Noted:
    """A model of which each chat is noted."""

    def __init__(self, client: ChatClient, settings: ModelSettings, note: Note) -> None:
        self._client = client
        self._settings = settings
        self._note = note

    async def chat(self, request: ChatRequest, on_token: OnToken | None = None) -> ChatResponse:
        return await self._note(lambda: self._client.chat(request, on_token), self._settings)

    async def close(self) -> None:
        """Whoever made the model closes it."""
