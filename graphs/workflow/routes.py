"""The route functions that are always there. All look at the plain state (see `StateSchema.plain`)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from graphs.errors import RoutingError
from graphs.workflow.problems import unknown
from graphs.workflow.route_function import Answer, RouteContext, RouteFunction, Sees

State = Mapping[str, Any]


class _Parameters(BaseModel):
    model_config = ConfigDict(extra="forbid")


class ConversationParameters(_Parameters):
    """Which conversation to look at."""

    channel: str | None = Field(default=None, description="Channel of messages; by default the first that has any.")


class ToolCallCountParameters(ConversationParameters):
    """When there have been enough tool calls."""

    threshold: int = Field(ge=0, description="Number of tool calls from which the answer is `reached`.")


class StateValueParameters(_Parameters):
    """Which value to answer with."""

    channel: str = Field(description="Channel whose value is the answer.")


class ThresholdParameters(_Parameters):
    """What to compare."""

    channel: str = Field(description="Channel of a number, or of a list, whose length counts.")
    value: float = Field(description="Number from which the answer is `reached`.")


class MessageContainsParameters(_Parameters):
    """What to look for, and where."""

    keywords: list[str] = Field(min_length=1, description="Any of them is enough.")
    channel: str | None = Field(
        default=None,
        description="Channel to search: a text, texts, or messages, of which the last counts. By default all of them.",
    )
    case_sensitive: bool = False


class BudgetParameters(_Parameters):
    """What may be spent; nothing: the budget of the turn."""

    max_tokens: int | None = Field(default=None, ge=0, description="Tokens of language models.")
    max_steps: int | None = Field(default=None, ge=0, description="Steps of this turn.")


def has_tool_calls(state: State, context: RouteContext, *, channel: str | None) -> Answer:
    """`tools` if the last message asks for tool calls, else `none`."""
    messages = _conversation(state, channel)
    return "tools" if messages and _get(messages[-1], "tool_calls") else "none"


def tool_call_count(state: State, context: RouteContext, *, channel: str | None, threshold: int) -> Answer:
    """`reached` if the conversation has at least `threshold` tool calls, else `below`."""
    calls = sum(len(_get(message, "tool_calls") or ()) for message in _conversation(state, channel))
    return "reached" if calls >= threshold else "below"


def state_value(state: State, context: RouteContext, *, channel: str) -> Answer:
    """The value of a channel as text: `true` and `false`, `null`, a number or a text; of a list, one for each item."""
    value = _channel(state, channel)
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return [_key(item) for item in value]
    return _key(value)


def threshold(state: State, context: RouteContext, *, channel: str, value: float) -> Answer:
    """`reached` if the channel's number (or the length of its list) is at least `value`, else `below`."""
    found = _channel(state, channel)
    if isinstance(found, Sequence) and not isinstance(found, str | bytes):
        found = len(found)
    if isinstance(found, bool) or not isinstance(found, int | float):
        raise RoutingError(
            f'threshold: channel "{channel}" holds {found!r}, which is no number', channel=channel, reason="no number"
        )
    return "reached" if found >= value else "below"


def message_contains(
    state: State,
    context: RouteContext,
    *,
    keywords: Sequence[str],
    channel: str | None,
    case_sensitive: bool,
) -> Answer:
    """`matched` if a text holds one of the keywords, else `not_matched`.

    A channel of messages counts with its last one, a list of texts with all of them.
    """
    values = state.values() if channel is None else [_channel(state, channel)]
    texts = [text for value in values for text in _texts(value)]
    if not case_sensitive:
        texts, keywords = [text.casefold() for text in texts], [keyword.casefold() for keyword in keywords]
    return "matched" if any(keyword in text for text in texts for keyword in keywords) else "not_matched"


def budget(state: State, context: RouteContext, *, max_tokens: int | None, max_steps: int | None) -> Answer:
    """`exceeded` if more was used than a limit, or nothing is left of the budget of the turn, else `within`."""
    if max_tokens is None and max_steps is None:
        return "exceeded" if context.is_spent else "within"
    over_tokens = max_tokens is not None and context.usage.total_tokens > max_tokens
    over_steps = max_steps is not None and context.steps > max_steps
    return "exceeded" if over_tokens or over_steps else "within"


SHIPPED: tuple[RouteFunction, ...] = (
    RouteFunction(
        name="has_tool_calls",
        description="Does the last message ask for tool calls?",
        call=has_tool_calls,
        parameters=ConversationParameters,
        answers=("tools", "none"),
        channels=("channel",),
        sees=Sees.CONVERSATIONS,
    ),
    RouteFunction(
        name="tool_call_count",
        description="Has the conversation had so many tool calls?",
        call=tool_call_count,
        parameters=ToolCallCountParameters,
        answers=("reached", "below"),
        channels=("channel",),
        sees=Sees.CONVERSATIONS,
    ),
    RouteFunction(
        name="state_value",
        description="The value of a channel is the answer.",
        call=state_value,
        parameters=StateValueParameters,
        channels=("channel",),
    ),
    RouteFunction(
        name="threshold",
        description="Has the number in a channel reached a value?",
        call=threshold,
        parameters=ThresholdParameters,
        answers=("reached", "below"),
        channels=("channel",),
    ),
    RouteFunction(
        name="message_contains",
        description="Does a text or the last message hold one of the keywords?",
        call=message_contains,
        parameters=MessageContainsParameters,
        answers=("matched", "not_matched"),
        channels=("channel",),
    ),
    RouteFunction(
        name="budget",
        description="Are tokens or steps within a limit?",
        call=budget,
        parameters=BudgetParameters,
        answers=("within", "exceeded"),
        sees=Sees.NOTHING,
    ),
)


def _get(message: Any, name: str) -> Any:
    """A field of a message, which is a mapping or an object."""
    return message.get(name) if isinstance(message, Mapping) else getattr(message, name, None)


def _is_conversation(value: Any) -> bool:
    is_list = isinstance(value, Sequence) and not isinstance(value, str | bytes)
    return is_list and bool(value) and isinstance(_get(value[-1], "role"), str)


def _channel(state: State, channel: str) -> Any:
    try:
        return state[channel]
    except KeyError:
        raise RoutingError(unknown("channel", channel, state), channel=channel, reason="unknown channel") from None


def _conversation(state: State, channel: str | None) -> Sequence[Any]:
    """The messages of `channel`, or of the first channel that has any; empty if there are none."""
    values = state.values() if channel is None else [_channel(state, channel)]
    return next((value for value in values if _is_conversation(value)), ())


def _texts(value: Any) -> Iterator[str]:
    """The texts to search in the value of a channel."""
    if isinstance(value, str):
        yield value
    elif _is_conversation(value):
        yield from _texts(_get(value[-1], "content"))
    elif isinstance(value, Sequence) and not isinstance(value, bytes):
        yield from (item for item in value if isinstance(item, str))


def _key(value: Any) -> str:
    if value is None:
        return "null"
    return str(value).lower() if isinstance(value, bool) else str(value)
