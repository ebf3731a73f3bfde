"""What a turn may use: tokens, money, time and steps."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Annotated, Any

import msgspec

from graphs.calls import MonetaryAmount
from graphs.errors import BudgetExceeded, ValidationError

_Count = Annotated[int, msgspec.Meta(gt=0)]


class Budget(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Limits; None: none. A limit is looked at before a model is asked, that of steps before each step.

    What is asked already is not taken back: a turn may use more than its budget by what one call uses, and branches
    that run at once may each use what was left when they began.
    """

    tokens: int | None = None
    """Of prompts and answers together."""
    cost: tuple[MonetaryAmount, ...] = ()
    """At most one for each currency. Calls of models without a known price cost nothing here: limit tokens too where
    there are such."""
    time_s: float | None = None
    """From the beginning of the turn on, pauses included."""
    steps: int | None = None
    until: float | None = None
    """Unix seconds; filled in when the turn begins."""

    @classmethod
    def of(cls, given: Mapping[str, Any] | None) -> Budget | None:
        """The budget that `{"tokens": 10_000, "cost": "0.50", "currency": "USD", "time_s": 60, "steps": 20}` says.

        Raises:
            ValidationError: A limit is unknown, or no number above 0.
        """
        if not given:
            return None
        try:
            limits = msgspec.convert(dict(given), _Limits, strict=False)
            if limits.cost is not None and not limits.cost > 0:
                raise msgspec.ValidationError(f"Expected a number above 0 - at `$.cost`: {limits.cost}")
        except msgspec.ValidationError as error:
            problem = f"budget: {error}; it takes tokens, cost, currency, time_s and steps, each above 0"
            raise ValidationError(problem, problems=[problem]) from None
        cost = () if limits.cost is None else (MonetaryAmount(amount=limits.cost, currency=limits.currency),)
        return cls(tokens=limits.tokens, cost=cost, time_s=limits.time_s, steps=limits.steps)

    def begun(self, now: float) -> Budget:
        """This budget for a turn that begins now."""
        if self.time_s is None:
            return self
        until = now + self.time_s
        return msgspec.structs.replace(self, until=until if self.until is None else min(until, self.until))

    def left(self, tokens: int, cost: Iterable[MonetaryAmount]) -> Budget:
        """This budget after so much was used."""
        spent = {each.currency: each.amount for each in cost}
        return msgspec.structs.replace(
            self,
            tokens=None if self.tokens is None else self.tokens - tokens,
            cost=tuple(
                MonetaryAmount(amount=limit.amount - spent.get(limit.currency, 0), currency=limit.currency)
                for limit in self.cost
            ),
        )

    def exceeded(
        self, *, node: str, tokens: int, cost: Iterable[MonetaryAmount], steps: int, now: float, asks: bool
    ) -> BudgetExceeded | None:
        """Why `node`, which `asks` a model, must not begin; None if it may."""
        if self.steps is not None and steps >= self.steps:
            return _error(node, "steps", steps, self.steps)
        if not asks:
            return None
        if self.tokens is not None and tokens >= self.tokens:
            return _error(node, "tokens", tokens, self.tokens)
        spent = {each.currency: each for each in cost}
        for limit in self.cost:
            used = spent.get(limit.currency, MonetaryAmount(amount=Decimal(0), currency=limit.currency))
            if used.amount >= limit.amount:
                return _error(node, "cost", str(used), str(limit))
        if self.until is not None and now >= self.until:
            return _error(node, "time", f"{self.time_s} s", f"{self.time_s} s")
        return None


class _Limits(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What people write."""

    tokens: _Count | None = None
    cost: Decimal | None = None
    currency: Annotated[str, msgspec.Meta(pattern="^[A-Z]{3}$")] = "USD"
    time_s: Annotated[float, msgspec.Meta(gt=0)] | None = None
    steps: _Count | None = None


def least(budgets: Iterable[Budget | None], *, begun: float | None = None) -> Budget | None:
    """The budget that keeps all of these, of a turn that has `begun` at a time, if it has."""
    given = [budget if begun is None else budget.begun(begun) for budget in budgets if budget is not None]
    if len(given) < 2:
        return given[0] if given else None
    cost: dict[str, MonetaryAmount] = {}
    for limit in (limit for budget in given for limit in budget.cost):
        cost[limit.currency] = min(limit, cost.get(limit.currency, limit))
    return Budget(
        tokens=min((each.tokens for each in given if each.tokens is not None), default=None),
        cost=tuple(cost[currency] for currency in sorted(cost)),
        time_s=min((each.time_s for each in given if each.time_s is not None), default=None),
        steps=min((each.steps for each in given if each.steps is not None), default=None),
        until=min((each.until for each in given if each.until is not None), default=None),
    )


def _error(node: str, limit: str, used: Any, allowed: Any) -> BudgetExceeded:
    return BudgetExceeded(
        f"node {node!r} was not begun: the budget of {limit} is used up ({used} of {allowed}); "
        "raise it, or go on by an on_error edge",
        node=node,
        limit=limit,
        used=used,
        allowed=allowed,
    )
