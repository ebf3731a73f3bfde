"""The configured models of a process, by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import assert_never

from actors.llm.anthropic import AnthropicDialect
from actors.llm.client import ChatClient, ChatRequest, ChatResponse, OnToken
from actors.llm.http import HttpClient
from actors.llm.openai import OpenAIDialect
from actors.llm.scripted import ScriptedClient
from actors.llm.settings import ModelSettings
from graphs.errors import NotFoundError
from graphs.suggest import did_you_mean


def build_client(settings: ModelSettings) -> ChatClient:
    """The client for a model. Raises `ModelError` if its settings cannot work."""
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
    """

    def __init__(self, models: Mapping[str, ModelSettings]) -> None:
        self._models = dict(models)
        self._clients: dict[str, ChatClient] = {}

    async def chat(self, name: str, request: ChatRequest, on_token: OnToken | None = None) -> ChatResponse:
        """Ask the model `name`; see `ChatClient.chat`.

        Raises:
            NotFoundError: No such model is configured.
            ModelError: As `ChatClient.chat`, or the model's settings cannot work.
        """
        client = self._clients.get(name)
        if client is None:
            client = self._clients[name] = build_client(self.settings(name))
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
