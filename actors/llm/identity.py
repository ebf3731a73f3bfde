"""When two chats are the same, and when two models are."""

from __future__ import annotations

import hashlib

import msgspec

from actors.llm.client import ChatRequest
from actors.llm.settings import ModelSettings


def model_identity(settings: ModelSettings) -> str:
    """The same for all configurations of one model of one account, whatever they call it. Holds no secret."""
    facts = [settings.provider, settings.shown_url, settings.model, settings.api_key]
    return _digest(facts if settings.base_url else [settings.provider, settings.name])


def chat_identity(settings: ModelSettings, request: ChatRequest) -> str:
    """The same for all chats that ask a model the same in the same way. Ids of messages do not count."""
    said = [message.model_dump(exclude={"id"}) for message in request.messages]
    asked = msgspec.structs.asdict(request) | {"messages": said, "priority": None}
    return _digest([model_identity(settings), asked])


def _digest(facts: object) -> str:
    return hashlib.sha256(msgspec.json.encode(facts, order="sorted")).hexdigest()[:32]
