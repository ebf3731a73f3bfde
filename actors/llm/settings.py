"""How a language model is reached: plain data, filled in by the runtime's configuration."""

from __future__ import annotations

from decimal import Decimal
from typing import Any, Literal
from urllib.parse import urlsplit

import msgspec


class Timeouts(msgspec.Struct, frozen=True, kw_only=True):
    """How long a model server may take, in seconds."""

    connect_s: float = 5.0
    """Until a connection stands."""
    first_token_s: float = 60.0
    """From asking for a connection to the first piece of the answer."""
    idle_s: float = 30.0
    """Between two pieces of the answer."""
    total_s: float = 300.0
    """For one chat, repeated attempts and the waits between them included."""


class Latency(msgspec.Struct, frozen=True, kw_only=True):
    """How long the scripted model takes for an answer."""

    kind: Literal["fixed", "uniform", "lognormal"] = "fixed"
    mean_s: float = 0.0
    spread_s: float = 0.0
    """Half the width of `uniform`, standard deviation of `lognormal`."""
    seed: int = 0
    """The n-th answer of a client takes the same time whenever the seed is the same."""


class ScriptedCall(msgspec.Struct, frozen=True, kw_only=True):
    """A tool that the scripted model asks for."""

    name: str
    arguments: dict[str, Any] = {}


class ScriptedReply(msgspec.Struct, frozen=True, kw_only=True):
    """An answer of the scripted model that asks for tools."""

    text: str = ""
    tool_calls: tuple[ScriptedCall, ...] = ()


Reply = str | ScriptedReply


class Script(msgspec.Struct, frozen=True, kw_only=True):
    """What the scripted model says."""

    replies: tuple[Reply, ...] | dict[str, Reply | tuple[Reply, ...]] = ()
    """Answers; or text looked for in the last user message -> answer, or the answers one after the other until the next
    user message, of which the last one is repeated. If none fits: `scripted: ` and that message."""
    order: Literal["hash", "sequential"] = "hash"
    """Which of a list of answers is given: `hash` picks by the messages, so that the same ones have the same answer in
    any process; `sequential` takes them in turn, each client for itself."""
    latency: Latency = Latency()


class Price(msgspec.Struct, frozen=True, kw_only=True):
    """What a million tokens cost."""

    input_per_million: Decimal
    output_per_million: Decimal
    cached_per_million: Decimal | None = None
    """Of the prompt, those that the provider had kept from an earlier one; None: as the others."""
    currency: str = "USD"


class ModelSettings(msgspec.Struct, frozen=True, kw_only=True):
    """One configured model. Its `repr` does not show secrets."""

    name: str
    """What graphs call it by."""
    provider: Literal["openai", "anthropic", "scripted"] = "openai"
    """`openai`: any endpoint that speaks OpenAI's chat completions; `anthropic`: Anthropic's messages; `scripted`: no
    model at all."""
    base_url: str = ""
    """Everything before `/chat/completions` or `/messages`, such as `http://127.0.0.1:8080/v1`."""
    model: str = ""
    """What the server calls it by."""
    api_key: str | None = None
    timeouts: Timeouts = Timeouts()
    max_retries: int = 3
    """Attempts after the first one."""
    requests_per_minute: int | None = None
    """Chats, counted over all processes of the cluster; None: any number."""
    tokens_per_minute: int | None = None
    """Tokens of prompts and answers, likewise."""
    max_wait_s: float = 60.0
    """How long a chat may wait for its turn under these limits."""
    fallbacks: tuple[str, ...] = ()
    """Models asked one after the other when this one fails."""
    fallback_on: tuple[str, ...] = ("ModelUnavailable",)
    """Classes of errors after which they are."""
    hedge_after_s: float | None = None
    """Seconds without a word after which the same is asked once more, and the first to speak is listened to."""
    share_identical: bool = False
    """Whether equal chats that one process has under way at the same time are one."""
    cache_ttl_s: float | None = None
    """How long an answer is given again to the same question; None: never."""
    script: Script = Script()
    price: Price | None = None
    """None: as it is published, if it is."""

    @property
    def shown_url(self) -> str:
        """`base_url` without credentials and query, for messages."""
        try:
            parts = urlsplit(self.base_url)
        except ValueError:
            return "a base_url that is no URL"
        return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl()

    def __repr__(self) -> str:
        shown = ", ".join(f"{name}={value!r}" for name, value in self.__rich_repr__())
        return f"ModelSettings({shown})"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        hidden = {"base_url": self.shown_url, "api_key": None if self.api_key is None else "***"}
        return [(name, hidden.get(name, getattr(self, name))) for name in self.__struct_fields__]
