"""Models that stand in for one that fails."""

from __future__ import annotations

from collections.abc import Mapping

from actors.errors import ModelError
from actors.llm.client import ChatClient, ChatRequest, ChatResponse, OnToken


class FallbackClient:
    """Asks models one after the other until one answers.

    Args:
        clients: Name -> model, in order.
        on: Names of the classes of errors after which the next one is asked.
    """

    def __init__(self, clients: Mapping[str, ChatClient], on: tuple[str, ...]) -> None:
        self._clients = clients
        self._on = frozenset(on)

    async def chat(self, request: ChatRequest, on_token: OnToken | None = None) -> ChatResponse:
        """Ask; see `ChatClient.chat`. A model that breaks off in the middle of its words is not replaced.

        Raises:
            ModelError: That of the first model, if all fail.
        """
        said = False

        def listen(text: str) -> None:
            nonlocal said
            said = True
            if on_token is not None:
                on_token(text)

        first: ModelError | None = None
        for client in self._clients.values():
            try:
                return await client.chat(request, listen)
            except ModelError as error:
                if said or not self._on & {kind.__name__ for kind in type(error).__mro__}:
                    raise
                first = first or error
        assert first is not None, "there is a model"
        others = ", ".join(f'"{name}"' for name in list(self._clients)[1:])
        raise type(first)(f"{first.message}; its fallbacks failed too: {others}", **first.fields) from first

    async def close(self) -> None:
        """Whoever made the models closes them."""
