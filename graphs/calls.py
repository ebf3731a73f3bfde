"""Calls of models and tools: what a step tells of each, so that it is recorded with the step."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from decimal import Decimal

import msgspec

from graphs.errors import ErrorInfo

COST_DIGITS = 12
"""Decimal places of a cost: enough for any price of a single token, and few enough for sums of integers."""


class MonetaryAmount(msgspec.Struct, frozen=True, kw_only=True, order=True):
    """An amount of money; never a float."""

    amount: Decimal
    currency: str = "USD"

    def __str__(self) -> str:
        return f"{self.amount:f} {self.currency}"


def plain_decimal(number: Decimal) -> Decimal:
    """`number` in `COST_DIGITS` decimal places, without the zeros at its end."""
    rounded = number.quantize(Decimal(1).scaleb(-COST_DIGITS))
    shorter = rounded.normalize()
    return shorter.quantize(Decimal(1)) if shorter == shorter.to_integral_value() else shorter


def total_of(amounts: Iterable[MonetaryAmount]) -> tuple[MonetaryAmount, ...]:
    """The sum for each currency, in order of the currency; what costs nothing counts, what has no cost is not there."""
    sums: defaultdict[str, Decimal] = defaultdict(Decimal)
    for each in amounts:
        sums[each.currency] += each.amount
    return tuple(MonetaryAmount(amount=plain_decimal(sums[name]), currency=name) for name in sorted(sums))


class ModelCall(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="model"):
    """One question to a language model, and its answer or error."""

    model: str
    """What the server says it is; for a call that failed, what it was asked for as."""
    name: str = ""
    """What the graph calls it."""
    attempt: int = 1
    """The run of the step that made it."""
    started_at: float = 0.0
    """Unix seconds."""
    duration_s: float = 0.0
    messages: bytes = b""
    """JSON: those that were sent, without those of `channel`."""
    channel: str = ""
    """Channel whose messages, as they were before the step, were sent too: they are in the journal already."""
    parameters: dict[str, str | float | int | bool | list[str]] = {}
    """Temperature and the like, as far as they were given."""
    text: str = ""
    """The answer."""
    asked_tools: bytes = b""
    """JSON: the tools it asks for; empty if none."""
    finish_reason: str = ""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    """Those of the prompt that the provider had kept from an earlier one."""
    reasoning_tokens: int = 0
    """Those of the completion that the model has thought, and not said."""
    estimated: bool = False
    """Whether the tokens are an estimate, because the server did not count them."""
    cost: MonetaryAmount | None = None
    """None: the price of the model is not known."""
    texts_kept: bool = True
    """Whether texts are stored at all."""
    reused: bool = False
    """Whether its answer was kept from an earlier call, or is that of another one: it has used no tokens."""
    error: ErrorInfo | None = None


class ToolRun(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="tool"):
    """One execution of a tool."""

    tool: str
    attempt: int = 1
    """The run of the step that made it."""
    started_at: float = 0.0
    """Unix seconds."""
    duration_s: float = 0.0
    arguments: bytes = b""
    """JSON."""
    output: bytes = b""
    """JSON; the beginning of it, if it is long."""
    output_bytes: int = 0
    """Size of the whole output."""
    texts_kept: bool = True
    """Whether arguments and output are stored at all."""
    error: ErrorInfo | None = None


Call = ModelCall | ToolRun
