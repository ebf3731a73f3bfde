"""An answer that is coming in, whoever gives it."""

from __future__ import annotations

import msgspec

from actors.llm.client import ChatResponse, OnToken
from graphs.journal import Usage
from graphs.messages import ToolCall

MAX_CHARACTERS = 4 * 2**20
"""Of text and of arguments of tools, in one answer: no model says so much, but a server that is broken may."""


class Unusable(Exception):
    """What a server sent is no answer, or too much of one. The text says why."""


class Refused(Exception):
    """A server that had begun to answer reports an error.

    Args:
        reason: Its words.
        status: The HTTP status the error stands for, if it says.
    """

    def __init__(self, reason: str, status: int | None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.status = status


class _Call:
    """A call of a tool, of which parts are there."""

    def __init__(self) -> None:
        self.id = ""
        self.name = ""
        self.arguments: list[str] = []


class Answer:
    """An answer that is coming in. How its parts look on the wire is the business of subclasses.

    Args:
        on_token: Gets each piece of text.
    """

    def __init__(self, on_token: OnToken | None) -> None:
        self._on_token = on_token
        self._pieces: list[str] = []
        self._calls: dict[int | str, _Call] = {}
        self.usage = Usage(calls=1)
        self.model = ""
        self.finish_reason = ""
        self.length = 0
        """Characters so far, the arguments of tools included."""
        self.begun = False
        """Whether any part of it has come."""
        self.ended = False
        """Whether the server has said that nothing more will come."""

    @property
    def complete(self) -> bool:
        """Whether it may count as whole, should the connection end now."""
        return self.ended or bool(self.finish_reason)

    def take(self, text: str | bytes) -> None:
        """Take in one event of a stream, or the whole answer.

        Raises:
            msgspec.MsgspecError: It is not what an answer consists of.
            Unusable: It is, and cannot be used.
            Refused: The server reports an error.
        """
        raise NotImplementedError

    def say(self, text: str | None) -> None:
        """Add a piece of text."""
        if text:
            self._grow(text)
            self._pieces.append(text)
            if self._on_token is not None:
                self._on_token(text)

    def call(
        self,
        key: int | str | None,
        *,
        call_id: str | None = None,
        name: str | None = None,
        arguments: str | None = None,
    ) -> None:
        """Add to the tool call `key`; None: to the one before, or to a new one if `call_id` is another."""
        if key is None:
            last = next(reversed(self._calls.values()), None)
            is_new = last is None or (bool(call_id) and call_id != last.id)
            key = f"#{len(self._calls)}" if is_new else next(reversed(self._calls))
        found = self._calls.setdefault(key, _Call())
        found.id = found.id or call_id or ""
        found.name = found.name or name or ""
        if arguments:
            self._grow(arguments)
            found.arguments.append(arguments)

    def response(self, model: str) -> ChatResponse:
        """The whole answer; `model` where the server did not name itself.

        Raises:
            Unusable: A tool call has no name.
        """
        return ChatResponse(
            text="".join(self._pieces),
            tool_calls=tuple(_whole(number, call) for number, call in enumerate(self._calls.values(), 1)),
            usage=self.usage,
            model=self.model or model,
            finish_reason=self.finish_reason,
        )

    def count(self, **tokens: int | None) -> None:
        """Note how many tokens there were, as fields of `Usage`; None is not known."""
        known = {name: count for name, count in tokens.items() if count is not None}
        self.usage = msgspec.structs.replace(self.usage, **known)

    def _grow(self, text: str) -> None:
        self.length += len(text)
        if self.length > MAX_CHARACTERS:
            raise Unusable(f"its answer has more than {MAX_CHARACTERS:,} characters; set max_tokens")


def _whole(number: int, call: _Call) -> ToolCall:
    if not call.name:
        raise Unusable("it asked for a tool without a name")
    return ToolCall(id=call.id or f"call_{number}", name=call.name, arguments="".join(call.arguments) or "{}")
