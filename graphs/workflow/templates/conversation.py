"""Functions of templates that talk with a model: a question becomes a message, the last message the answer."""

from __future__ import annotations

from typing import Any

from graphs.messages import Message


def ask(state: Any) -> dict[str, Any]:
    """The question as a message of the user."""
    return {"messages": [Message(role="user", content=state.question)]}


def tell(state: Any) -> dict[str, Any]:
    """The text of the last message."""
    return {"answer": state.messages[-1].content}
