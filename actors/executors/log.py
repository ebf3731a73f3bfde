"""The calls of models and tools that a step makes: noted as they happen, recorded with the step."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from actors.clock import SystemClock
from actors.executors.texts import Texts
from actors.llm.client import ChatRequest, ChatResponse
from actors.llm.settings import ModelSettings
from actors.llm.tracker import TokenTracker
from actors.ports import Clock
from actors.settings import HistorySettings
from graphs.calls import Call, ModelCall, ToolRun
from graphs.errors import describe
from graphs.history import TokenUsageRecord
from graphs.journal import Usage
from graphs.messages import Message
from graphs.tools import ToolExecutionResult

_PARAMETERS = ("temperature", "max_tokens", "stop", "tool_choice")
_BROKEN_OFF = "it was broken off before it had answered"


@dataclass(frozen=True, slots=True)
class Recording:
    """How the calls of a process are noted."""

    texts: Texts = field(default_factory=lambda: Texts(HistorySettings()))
    tracker: TokenTracker = field(default_factory=TokenTracker)
    clock: Clock = field(default_factory=SystemClock)


_PLAIN = Recording()


class CallLog:
    """The calls of one step, those of all its attempts.

    Args:
        recording: How they are noted.
    """

    __slots__ = ("_recording", "calls")

    def __init__(self, recording: Recording = _PLAIN) -> None:
        self._recording = recording
        self.calls: list[Call] = []

    async def chat(
        self,
        ask: Callable[[], Awaitable[ChatResponse]],
        request: ChatRequest,
        settings: ModelSettings,
        *,
        attempt: int,
        channel: str = "",
        held: Sequence[Message] = (),
    ) -> ChatResponse:
        """Have a model asked, and note it, be it that it fails.

        Args:
            ask: Asks it.
            request: What it is asked.
            settings: How the model is configured.
            attempt: The run of the step.
            channel: Channel whose messages are sent: they are in the journal, and not stored again.
            held: These messages.

        Raises:
            GreenroomError: As `ask`.
        """
        clock = self._recording.clock
        started_at = clock.now()
        known = {id(message) for message in held}
        facts: dict[str, Any] = {
            "name": settings.name,
            "attempt": attempt,
            "started_at": started_at,
            "messages": self._messages([message for message in request.messages if id(message) not in known]),
            "channel": channel,
            "parameters": _parameters(request),
            "texts_kept": self._recording.texts.are_kept,
        }
        try:
            response = await ask()
        except BaseException as error:
            info = describe(error if isinstance(error, Exception) else TimeoutError(_BROKEN_OFF))
            asked_for = request.model or settings.model or settings.name
            took_s = clock.now() - started_at
            self.calls.append(ModelCall(model=asked_for, duration_s=took_s, error=info, **facts))
            raise
        counted: dict[str, Any] = {"reused": True}
        if not response.reused:
            asked = (message.content for message in request.messages)
            used = self._track(response.model, asked, response.text, response.usage, started_at, settings)
            counted = _counted(used)
        asked_tools = [call.model_dump() for call in response.tool_calls]
        self.calls.append(
            ModelCall(
                model=response.model,
                duration_s=clock.now() - started_at,
                text=self._recording.texts.kept(response.text),
                asked_tools=self._json(asked_tools) if asked_tools else b"",
                finish_reason=response.finish_reason,
                **counted,
                **facts,
            )
        )
        return response

    async def tool(
        self,
        run: Callable[[], Awaitable[ToolExecutionResult]],
        tool: str,
        arguments: Mapping[str, Any],
        *,
        attempt: int,
    ) -> ToolExecutionResult:
        """Have a tool run, and note it, be it that it fails."""
        clock, texts = self._recording.clock, self._recording.texts
        started_at = clock.now()
        facts: dict[str, Any] = {
            "tool": tool,
            "attempt": attempt,
            "started_at": started_at,
            "arguments": self._json(arguments),
            "texts_kept": texts.are_kept,
        }
        try:
            result = await run()
        except BaseException as error:
            info = describe(error if isinstance(error, Exception) else TimeoutError(_BROKEN_OFF))
            self.calls.append(ToolRun(duration_s=clock.now() - started_at, error=info, **facts))
            raise
        output = b"" if result.error is not None else _encoded(result.output)
        kept = texts.kept(output.decode()).encode() if output else b""
        took_s = clock.now() - started_at
        self.calls.append(
            ToolRun(duration_s=took_s, output=kept, output_bytes=len(output), error=result.error, **facts)
        )
        return result

    def add_llm(
        self,
        model: str,
        *,
        messages: Sequence[Message],
        text: str,
        usage: Usage,
        attempt: int,
        provider: str,
        duration_s: float,
    ) -> TokenUsageRecord:
        """Note a call that somebody else has made, just now."""
        recording = self._recording
        started_at = recording.clock.now() - duration_s
        used = self._track(model, (each.content for each in messages), text, usage, started_at, None, provider)
        self.calls.append(
            ModelCall(
                model=model,
                name=provider,
                attempt=attempt,
                started_at=started_at,
                duration_s=duration_s,
                messages=self._messages(messages),
                text=recording.texts.kept(text),
                texts_kept=recording.texts.are_kept,
                **_counted(used),
            )
        )
        return used

    def _track(
        self,
        model: str,
        asked: Iterable[str],
        answered: str,
        usage: Usage,
        at: float,
        settings: ModelSettings | None,
        provider: str = "",
    ) -> TokenUsageRecord:
        tracker = self._recording.tracker
        return tracker.track_token_usage(
            model=model, asked=asked, answered=answered, usage=usage, at=at, settings=settings, provider=provider
        )

    def _messages(self, messages: Sequence[Message]) -> bytes:
        texts = self._recording.texts
        if not texts.are_kept or not messages:
            return b""
        plain = [message.model_dump(exclude_defaults=True) for message in messages]
        for each in plain:
            each["content"] = texts.kept(each.get("content", ""))
            for call in each.get("tool_calls", ()):
                call["arguments"] = texts.kept(call["arguments"])
        return _encoded(plain)

    def _json(self, value: Any) -> bytes:
        """The JSON of what has texts in it, which are kept as they may be."""
        texts = self._recording.texts
        return _encoded(_each_text(value, texts.kept)) if texts.are_kept else b""


def _each_text(value: Any, kept: Callable[[str], str]) -> Any:
    match value:
        case str():
            return kept(value)
        case Mapping():
            return {str(name): _each_text(each, kept) for name, each in value.items()}
        case list() | tuple():
            return [_each_text(each, kept) for each in value]
        case _:
            return value


def _counted(used: TokenUsageRecord) -> dict[str, Any]:
    return {
        "prompt_tokens": used.prompt_tokens,
        "completion_tokens": used.completion_tokens,
        "cached_tokens": used.cached_tokens,
        "reasoning_tokens": used.reasoning_tokens,
        "estimated": used.estimated,
        "cost": used.cost,
    }


def _parameters(request: ChatRequest) -> dict[str, Any]:
    given: dict[str, Any] = {name: getattr(request, name) for name in _PARAMETERS}
    given["tool_choice"] = request.tool_choice if request.tools else None
    found = {name: list(value) if isinstance(value, tuple) else value for name, value in given.items() if value}
    if request.tools:
        found["tools"] = [tool.name for tool in request.tools]
    if request.temperature is not None:
        found["temperature"] = request.temperature
    return found


def _encoded(value: Any) -> bytes:
    return msgspec.json.encode(value, enc_hook=str)
