"""Policies a graph or a node carries: plain numbers, and pure functions of them."""

from __future__ import annotations

from enum import StrEnum
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class RetryPolicy(BaseModel):
    """How often a failed node runs again, and how long it waits before.

    The wait before attempt n+1 is `backoff_s * multiplier ** (n - 1)`, at most `max_backoff_s`, times a random
    factor from `1 - jitter` to 1: with the defaults 0.2, 0.4, 0.8 s and so on.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    max_attempts: int = Field(default=1, ge=1, le=100)
    """Runs in all, the first included; 1 means no retry."""
    backoff_s: float = Field(default=0.2, ge=0)
    multiplier: float = Field(default=2.0, ge=1)
    max_backoff_s: float = Field(default=30.0, ge=0)
    jitter: float = Field(default=0.25, ge=0, le=1)

    def delay_s(self, attempt: int, chance: float) -> float:
        """Seconds to wait after failed attempt number `attempt` (1-based); `chance` is a random number in [0, 1)."""
        delay = min(self.backoff_s * self.multiplier ** (attempt - 1), self.max_backoff_s)
        return float(delay * (1 - self.jitter * chance))


class OnBranchError(StrEnum):
    """What a fork or map does when a branch fails."""

    FAIL = "fail"  #: the thread fails, the other branches are cancelled
    SKIP = "skip"  #: the branch counts as finished with nothing written
    COLLECT = "collect"  #: like skip; for a map, the item's result is null


class OnFailure(StrEnum):
    """What a queue of threads does when one of them fails or is cancelled."""

    STOP = "stop"  #: those after it do not begin, and the queue has failed
    CONTINUE = "continue"  #: the next one begins


class JoinPolicy(BaseModel):
    """When a fork goes on."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    join: Literal["all", "any"] | int = "all"
    """`all` branches, `any` (the first that succeeds), or n of m; the rest are cancelled."""
    deadline_s: float | None = Field(default=None, gt=0)
    """Seconds after which the join goes on with the branches that have finished; if none has, the fork fails."""
    on_branch_error: OnBranchError = OnBranchError.FAIL
