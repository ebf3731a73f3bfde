"""What a session is: one user's conversation with a workflow."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import msgspec

from graphs.budgets import Budget
from graphs.errors import IllegalTransition
from graphs.threads import Durability


class SessionState(StrEnum):
    """Where a session is in its life."""

    ACTIVE = "active"
    PAUSED = "paused"
    COMPLETED = "completed"
    ABORTED = "aborted"

    @property
    def ended(self) -> bool:
        """Whether it takes no more turns."""
        return self in (SessionState.COMPLETED, SessionState.ABORTED)

    @property
    def halted(self) -> bool:
        """Whether nothing of it may run."""
        return self in (SessionState.PAUSED, SessionState.ABORTED)


TRANSITIONS: dict[SessionState, frozenset[SessionState]] = {
    SessionState.ACTIVE: frozenset({SessionState.PAUSED, SessionState.COMPLETED, SessionState.ABORTED}),
    SessionState.PAUSED: frozenset({SessionState.ACTIVE, SessionState.COMPLETED, SessionState.ABORTED}),
    SessionState.COMPLETED: frozenset(),
    SessionState.ABORTED: frozenset(),
}


def check_transition(source: SessionState, target: SessionState) -> None:
    """Raise `IllegalTransition` unless a session may go from `source` to `target`."""
    if target not in TRANSITIONS[source]:
        allowed = ", ".join(sorted(TRANSITIONS[source])) or "nothing else"
        article = "an" if source[0] == "a" else "a"
        raise IllegalTransition(
            f"{article} {source} session cannot become {target}; it may become {allowed}", source=source, target=target
        )


class SessionContext(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a session knows besides its threads; all values JSON-able."""

    metadata: dict[str, Any] = {}
    preferences: dict[str, Any] = {}
    permissions: tuple[str, ...] = ()


class Session(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One user's conversation with a workflow; it owns threads and handles one interaction at a time."""

    id: str
    user_id: str
    workflow_id: str
    """`id@version`: a session stays on the version it started with."""
    state: SessionState = SessionState.ACTIVE
    reason: str = ""
    """Why it is paused or aborted."""
    context: SessionContext = SessionContext()
    created_at: float = 0.0
    """Unix seconds."""
    updated_at: float = 0.0
    budget: Budget | None = None
    """What all its turns may use together; `time_s` and `steps` are those of each."""


class InteractionType(StrEnum):
    """Who or what an interaction comes from."""

    USER_REQUEST = "user_request"
    SYSTEM_RESPONSE = "system_response"
    TOOL_EXECUTION = "tool_execution"
    STATE_CHANGE = "state_change"


class UserInteraction(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One message to a session. A user request starts a turn of its main thread."""

    interaction_id: str
    session_id: str
    interaction_type: InteractionType
    content: bytes = b""
    """The input, as an encoded delta of the workflow's state schema."""
    timestamp: float
    """Unix seconds."""
    durability: Durability | None = None
    """When the steps of its turn are stored; None: as the workflow says."""
    budget: Budget | None = None
    """What its turn may use, besides what workflow and session allow."""
