"""Counting tokens and what they cost, for every call of a model."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from actors.llm.pricing import cost_of
from actors.llm.settings import ModelSettings
from actors.llm.tokens import estimate_tokens
from graphs.calls import MonetaryAmount
from graphs.history import TokenUsageRecord
from graphs.journal import Usage

CostCalculator = Callable[..., MonetaryAmount | None]


class TokenTracker:
    """Makes records of what calls have used.

    Args:
        count: Counts the tokens of a text where the server has not.
        cost: Says what tokens cost; see `pricing.cost_of`.
    """

    def __init__(self, count: Callable[[str], int] = estimate_tokens, cost: CostCalculator = cost_of) -> None:
        self._count = count
        self._cost = cost

    def track_token_usage(
        self,
        *,
        model: str,
        asked: Iterable[str],
        answered: str,
        usage: Usage,
        at: float,
        settings: ModelSettings | None = None,
        provider: str = "",
    ) -> TokenUsageRecord:
        """The record of one call.

        Args:
            model: What the server says the model is.
            asked: The texts that were sent.
            answered: The text that came back.
            usage: The tokens that the server has counted; zeros where it has not.
            at: When it was called, in Unix seconds.
            settings: How the model is configured, if it is.
            provider: Who serves it, for a model that is not configured.
        """
        prompt, completion = usage.prompt_tokens, usage.completion_tokens
        counted = bool(prompt or completion)
        if not counted:
            prompt, completion = sum(map(self._count, asked)), self._count(answered)
        tokens = Usage(
            prompt_tokens=prompt,
            completion_tokens=completion,
            cached_tokens=usage.cached_tokens,
            reasoning_tokens=usage.reasoning_tokens,
        )
        return TokenUsageRecord(
            model_name=model,
            prompt_tokens=prompt,
            completion_tokens=completion,
            total_tokens=tokens.total_tokens,
            cached_tokens=usage.cached_tokens,
            reasoning_tokens=usage.reasoning_tokens,
            cost=self._cost(tokens, model=model, settings=settings, provider=provider, at=at),
            estimated=not counted,
        )
