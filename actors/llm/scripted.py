"""A model that is none: its answers follow from the settings. For tests and load."""

from __future__ import annotations

import asyncio
import hashlib
import math
import random
import re
from collections.abc import Awaitable, Callable

import msgspec

from actors.llm.client import ChatRequest, ChatResponse, OnToken
from actors.llm.settings import Latency, ModelSettings, Reply, ScriptedReply
from graphs.journal import Usage
from graphs.messages import ToolCall

_PIECE = re.compile(r"\s*\S+|\s+")


class ScriptedClient:
    """Answers as its settings' `script` says, word by word; a word counts as a token.

    Args:
        settings: The model's settings.
        sleep: Waits for so many seconds.
    """

    def __init__(self, settings: ModelSettings, *, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep) -> None:
        self._settings = settings
        self._sleep = sleep
        self._random = random.Random(settings.script.latency.seed)  # noqa: S311 - simulated latency, no secret
        self._turn = 0

    async def chat(self, request: ChatRequest, on_token: OnToken | None = None) -> ChatResponse:
        """The scripted answer, after the scripted latency; see `ChatClient.chat`. Never fails."""
        latency_s = draw_s(self._settings.script.latency, self._random)
        reply = self._reply(request)
        text, asked = (reply, ()) if isinstance(reply, str) else (reply.text, reply.tool_calls)
        calls = tuple(
            ToolCall(
                id=f"call_{_said(request)}_{number}",
                name=call.name,
                arguments=msgspec.json.encode(call.arguments).decode(),
            )
            for number, call in enumerate(asked, 1)
        )
        pieces, finish_reason = _cut(text, request)
        if on_token is None or not pieces:
            await self._sleep(latency_s)
        else:
            for piece in pieces:
                await self._sleep(latency_s / len(pieces))
                on_token(piece)
        usage = Usage(
            prompt_tokens=sum(len(message.content.split()) for message in request.messages),
            completion_tokens=len(pieces) + sum(len(call.arguments.split()) for call in calls),
            calls=1,
        )
        model = request.model or self._settings.model or self._settings.name
        return ChatResponse(
            text="".join(pieces),
            tool_calls=calls,
            usage=usage,
            model=model,
            finish_reason="tool_calls" if calls else finish_reason,
        )

    async def close(self) -> None:
        """There is nothing to give back."""

    def _reply(self, request: ChatRequest) -> Reply:
        replies = self._settings.script.replies
        asked = next((message.content for message in reversed(request.messages) if message.role == "user"), "")
        if isinstance(replies, dict):
            found = next((reply for text, reply in replies.items() if text in asked), _echo(asked))
            if isinstance(found, str | ScriptedReply):
                return found
            return found[min(_said(request, since_user=True), len(found) - 1)] if found else _echo(asked)
        if not replies:
            return _echo(asked)
        if self._settings.script.order == "sequential":
            self._turn += 1
            return replies[(self._turn - 1) % len(replies)]
        return replies[_digest(request) % len(replies)]


def _cut(text: str, request: ChatRequest) -> tuple[list[str], str]:
    """Words of the answer, and why it ends."""
    for stop in request.stop:
        text = text.partition(stop)[0]
    pieces = _PIECE.findall(text)
    if request.max_tokens is not None and len(pieces) > request.max_tokens:
        return pieces[: request.max_tokens], "length"
    return pieces, "stop"


def _said(request: ChatRequest, *, since_user: bool = False) -> int:
    """Answers there are in the conversation already, or after the last user message of it."""
    roles = [message.role for message in request.messages]
    if since_user and "user" in roles:
        roles = roles[len(roles) - roles[::-1].index("user") :]
    return roles.count("assistant")


def draw_s(latency: Latency, chance: random.Random) -> float:
    """The next latency of the distribution, in seconds."""
    if latency.kind == "uniform":
        low_s = latency.mean_s - latency.spread_s
        return max(0.0, chance.uniform(low_s, latency.mean_s + latency.spread_s))
    if latency.kind == "lognormal" and latency.mean_s > 0:
        variance = math.log(1 + (latency.spread_s / latency.mean_s) ** 2)
        return chance.lognormvariate(math.log(latency.mean_s) - variance / 2, math.sqrt(variance))
    return latency.mean_s


def _echo(asked: str) -> str:
    return f"scripted: {asked}"


def _digest(request: ChatRequest) -> int:
    """A number that is the same for the same conversation, in any process. Ids of messages do not count."""
    said = [(message.role, message.content) for message in request.messages]
    return int.from_bytes(hashlib.sha256(msgspec.json.encode(said)).digest()[:8], "big")
