"""What a load test is to do."""

from __future__ import annotations

from enum import StrEnum

import msgspec

from actors.llm.settings import Latency
from graphs.errors import ValidationError
from graphs.threads import ThreadPriority

INTERVALS = 120
"""Most rows of the timeline of a test, however long it is, but for its end."""


class Arrivals(StrEnum):
    """How the times between arrivals are distributed."""

    POISSON = "poisson"
    """As if many users came independently of each other."""
    UNIFORM = "uniform"
    """All equally long."""


class LoadPlan(msgspec.Struct, frozen=True, kw_only=True):
    """One load test. An open loop has a `rate_per_s`, a closed one a `concurrency`."""

    workflow: str
    rate_per_s: float | None = None
    """Turns that arrive in a second, whether those before them are over or not."""
    concurrency: int | None = None
    """Turns under way at a time: each is followed by the next."""
    arrivals: Arrivals = Arrivals.POISSON
    ramp_s: float = 0.0
    """How long the rate, or the concurrency, grows from nothing to what it is to be."""
    warm_up_s: float = 2.0
    """How long it is kept up before it is measured."""
    duration_s: float = 30.0
    """How long it is measured."""
    turns: int = 1
    """Turns of each session, one after the other."""
    users: int = 1
    """Users the sessions belong to, in turn."""
    priorities: dict[ThreadPriority, float] = msgspec.field(default_factory=lambda: {ThreadPriority.NORMAL: 1.0})
    """Priority -> weight: how often it is given to a turn, compared with the others."""
    timeout_s: float = 30.0
    """Turns that are not over in this time are cancelled."""
    drain_s: float | None = None
    """How long turns that are under way at the end are waited for; None: as long as a turn may take."""
    max_in_flight: int = 10_000
    """An arrival that finds so many turns under way is refused by the load test itself."""
    model_latency: Latency | None = None
    """How long the model `scripted` takes; None: as it is configured."""
    seed: int = 0
    """The same seed makes the same arrivals and priorities."""

    @property
    def begin_s(self) -> float:
        """When it begins to be measured, in seconds after the start."""
        return self.ramp_s + self.warm_up_s

    @property
    def end_s(self) -> float:
        """When nothing arrives any more."""
        return self.begin_s + self.duration_s

    @property
    def interval_s(self) -> float:
        """Length of a row of the timeline."""
        return max(0.25, min(1.0, self.end_s / 20), self.end_s / INTERVALS)

    def checked(self) -> LoadPlan:
        """Itself. Raises `ValidationError`, which lists all problems."""
        problems = [
            f"{name}: {getattr(self, name)} is not above 0" for name in self._above_zero() if self._is_low(name)
        ]
        problems += [
            f"{name}: {getattr(self, name)} is below 0" for name in _NOT_NEGATIVE if (getattr(self, name) or 0) < 0
        ]
        if (self.rate_per_s is None) == (self.concurrency is None):
            problems.append("give either rate_per_s (an open loop) or concurrency (a closed one)")
        if not self.priorities or any(weight <= 0 for weight in self.priorities.values()):
            problems.append("priorities: there must be some, with weights above 0")
        if problems:
            raise ValidationError(f"this load test cannot be run: {'; '.join(problems)}", problems=problems)
        return self

    def _above_zero(self) -> list[str]:
        chosen = ("rate_per_s", "concurrency")
        return [name for name in chosen if getattr(self, name) is not None] + list(_ABOVE_ZERO)

    def _is_low(self, name: str) -> bool:
        return not getattr(self, name) > 0


_ABOVE_ZERO = ("duration_s", "turns", "users", "timeout_s", "max_in_flight")
_NOT_NEGATIVE = ("ramp_s", "warm_up_s", "drain_s")
