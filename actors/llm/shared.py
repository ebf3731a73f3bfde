"""A model of which equal chats, under way at the same time in one process, are one."""

from __future__ import annotations

import asyncio

import msgspec

from actors.llm.client import ChatClient, ChatRequest, ChatResponse, OnToken
from actors.llm.identity import chat_identity
from actors.llm.settings import ModelSettings
from graphs.journal import Usage


class _Chat:
    """A chat that is under way, and who listens to it."""

    def __init__(self, client: ChatClient, request: ChatRequest) -> None:
        self._pieces: list[str] = []
        self._listeners: list[OnToken] = []
        self.waiting_count = 0
        self.is_counted = False
        """Whether somebody has got the tokens it used."""
        self.task = asyncio.create_task(client.chat(request, self._hear), name="shared chat")

    def listen(self, listener: OnToken) -> None:
        """Tell `listener` what was said, and what will be."""
        for piece in self._pieces:
            listener(piece)
        self._listeners.append(listener)

    def leave(self, listener: OnToken) -> None:
        """Tell `listener` no more."""
        self._listeners.remove(listener)

    def _hear(self, text: str) -> None:
        self._pieces.append(text)
        for listener in list(self._listeners):
            listener(text)


class SharedClient:
    """Asks once for all who ask the same. The tokens count for one of them.

    Args:
        client: The model.
        settings: Its settings.
    """

    def __init__(self, client: ChatClient, settings: ModelSettings) -> None:
        self._client = client
        self._settings = settings
        self._chats: dict[str, _Chat] = {}

    async def chat(self, request: ChatRequest, on_token: OnToken | None = None) -> ChatResponse:
        """Ask, or listen to the answer somebody else has asked for; see `ChatClient.chat`."""
        key = chat_identity(self._settings, request)
        chat = self._chats.get(key)
        if chat is None:
            chat = self._chats[key] = _Chat(self._client, request)
            chat.task.add_done_callback(lambda _: self._chats.pop(key, None))
        listener = on_token or _deaf
        chat.waiting_count += 1
        try:
            chat.listen(listener)
            response = await asyncio.shield(chat.task)
        finally:
            chat.waiting_count -= 1
            chat.leave(listener)
            if not chat.waiting_count and not chat.task.done():
                self._chats.pop(key, None)
                chat.task.cancel()
                await asyncio.wait([chat.task])
        if chat.is_counted:
            return msgspec.structs.replace(response, usage=Usage(), reused=True)
        chat.is_counted = True
        return response

    async def close(self) -> None:
        """Close the model."""
        await self._client.close()


def _deaf(text: str) -> None:
    """Hears nothing."""
