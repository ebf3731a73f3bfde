"""Tokens where nobody counts them, and what calls cost."""

from __future__ import annotations

from decimal import Decimal

import pytest

from actors.llm.pricing import cost_of
from actors.llm.settings import ModelSettings, Price
from actors.llm.tokens import estimate_tokens
from actors.llm.tracker import TokenTracker
from graphs.calls import MonetaryAmount, plain_decimal, total_of
from graphs.history import TokenUsageRecord
from graphs.journal import Usage

AUTUMN_2026 = 1_793_000_000.0
USAGE = Usage(prompt_tokens=1_000, completion_tokens=100)


def usd(amount: str) -> MonetaryAmount:
    return MonetaryAmount(amount=Decimal(amount))


def settings(**fields) -> ModelSettings:
    return ModelSettings(name="m", base_url="https://api.openai.com/v1", model="gpt-4o-mini", **fields)


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("", 0),
        ("a", 1),
        ("The quick brown fox jumps over the lazy dog.", 11),
        ("今日はいい天気ですね", 10),
        ("Привет, мир", 5),
        ("x" * 400, 100),
    ],
)
def test_estimates(text: str, tokens: int) -> None:
    assert estimate_tokens(text) == tokens


def test_published_prices_by_the_server_that_was_asked() -> None:
    elsewhere = ModelSettings(name="m", base_url="http://127.0.0.1:8080/v1", model="gpt-4o-mini")

    assert cost_of(USAGE, model="gpt-4o-mini", settings=settings(), at=AUTUMN_2026) == usd("0.00021")
    assert cost_of(USAGE, model="gpt-4o-mini", settings=elsewhere, at=AUTUMN_2026) is None
    assert cost_of(USAGE, model="nobody-sells-it", settings=settings(), at=AUTUMN_2026) is None


def test_published_prices_of_models_that_are_not_configured() -> None:
    assert cost_of(USAGE, model="gpt-4o-mini", settings=None, provider="openai", at=AUTUMN_2026) == usd("0.00021")
    assert cost_of(USAGE, model="gpt-4o-mini", settings=None, at=AUTUMN_2026) == usd("0.00021")
    assert cost_of(USAGE, model="gpt-4o-mini", settings=None, provider="nobody", at=AUTUMN_2026) is None


def test_cached_tokens_cost_less() -> None:
    usage = Usage(prompt_tokens=1_000, cached_tokens=1_000)

    assert cost_of(usage, model="gpt-4o-mini", settings=settings(), at=AUTUMN_2026) == usd("0.000075")


def test_prices_of_the_configuration_come_first() -> None:
    price = Price(input_per_million=Decimal(3), output_per_million=Decimal("0.1"), currency="EUR")
    cheaper = Price(input_per_million=Decimal(3), output_per_million=Decimal(0), cached_per_million=Decimal("0.3"))
    usage = Usage(prompt_tokens=1_000, completion_tokens=1, cached_tokens=900)

    assert cost_of(USAGE, model="x", settings=settings(price=price), at=0.0) == MonetaryAmount(
        amount=Decimal("0.00301"), currency="EUR"
    )
    assert cost_of(usage, model="x", settings=settings(price=cheaper), at=0.0) == usd("0.00057")


def test_scripted_models_have_no_price_unless_one_is_configured() -> None:
    scripted = ModelSettings(name="gpt-4o-mini", provider="scripted")

    assert cost_of(USAGE, model="gpt-4o-mini", settings=scripted, at=AUTUMN_2026) is None


def test_amounts_are_exact_and_written_without_exponents() -> None:
    many = total_of([usd("0.1")] * 10 + [MonetaryAmount(amount=Decimal(2), currency="EUR")])

    assert many == (MonetaryAmount(amount=Decimal(2), currency="EUR"), usd("1"))
    assert [str(plain_decimal(Decimal(text))) for text in ("10.000", "0", "0.1234567890125", "1200")] == [
        "10",
        "0",
        "0.123456789012",
        "1200",
    ]
    assert str(usd("0.0000001")) == "0.0000001 USD"


def test_tokens_of_the_server_count_and_estimates_are_marked() -> None:
    tracker = TokenTracker(count=len, cost=lambda usage, **_: usd(str(usage.total_tokens)))
    counted = tracker.track_token_usage(model="m", asked=["a"], answered="b", usage=USAGE, at=0.0)
    estimated = tracker.track_token_usage(model="m", asked=["ab", "c"], answered="def", usage=Usage(), at=0.0)

    assert counted == TokenUsageRecord(
        model_name="m", prompt_tokens=1_000, completion_tokens=100, total_tokens=1_100, cost=usd("1100")
    )
    assert estimated == TokenUsageRecord(
        model_name="m", prompt_tokens=3, completion_tokens=3, total_tokens=6, cost=usd("6"), estimated=True
    )
