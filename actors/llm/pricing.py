"""What calls of models cost: by the prices of the configuration, or by those that are published."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

from actors.llm.settings import ModelSettings, Price
from graphs.calls import MonetaryAmount, plain_decimal
from graphs.journal import Usage

_MILLION = Decimal(1_000_000)


def cost_of(
    usage: Usage, *, model: str, settings: ModelSettings | None, provider: str = "", at: float
) -> MonetaryAmount | None:
    """What a call costs; None if the price is not known. A model that nobody sells has no price, not the price 0.

    Args:
        usage: Its tokens.
        model: What the server says the model is.
        settings: How the model is configured, if it is.
        provider: Who serves it, as the list of prices calls them, for a model that is not configured.
        at: When it was called, in Unix seconds: prices change.
    """
    if settings is not None and settings.price is not None:
        return _by_price(usage, settings.price)
    if settings is not None and settings.provider == "scripted":
        return None
    return _published(usage, model, "" if settings is None else settings.base_url, provider, at)


def _by_price(usage: Usage, price: Price) -> MonetaryAmount:
    cached = price.input_per_million if price.cached_per_million is None else price.cached_per_million
    total = (
        (usage.prompt_tokens - usage.cached_tokens) * price.input_per_million
        + usage.cached_tokens * cached
        + usage.completion_tokens * price.output_per_million
    )
    return MonetaryAmount(amount=plain_decimal(total / _MILLION), currency=price.currency)


def _published(usage: Usage, model: str, url: str, provider: str, at: float) -> MonetaryAmount | None:
    # It takes a tenth of a second, and only processes that ask models need it.
    import genai_prices

    tokens = genai_prices.Usage(
        input_tokens=usage.prompt_tokens,
        output_tokens=usage.completion_tokens,
        cache_read_tokens=usage.cached_tokens or None,
    )
    when = datetime.fromtimestamp(at, UTC)
    try:
        if url:
            price = genai_prices.calc_price(tokens, model, provider_api_url=url, genai_request_timestamp=when)
        else:
            price = genai_prices.calc_price(tokens, model, provider_id=provider or None, genai_request_timestamp=when)
    except (LookupError, ValueError):
        return None
    return MonetaryAmount(amount=plain_decimal(price.total_price), currency="USD")
