"""Where a session lives, and what its driver knows of it."""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass
from typing import Any

from actors.protocol import TurnDone
from actors.remembered import LARGE_STATE_BYTES, StateAt
from actors.replay import apply
from graphs.budgets import Budget
from graphs.sessions import Session, SessionContext
from graphs.state.arrow import encoded_size
from graphs.state.schema import StateSchema
from graphs.threads import main_thread_id


@dataclass(slots=True)
class Home:
    """A session, and the host it was last active on: any host takes it, but that one has it at hand."""

    session: Session
    host: str = ""
    lost: str = ""
    """A host that is dead for sure, from which the session may be taken."""
    known: StateAt | None = None
    """The state of its main thread after the last turn, if it is large: that after the next follows from it."""

    def state_of(self, done: TurnDone, schema: StateSchema) -> dict[str, Any] | None:
        """The state that `done` stands for; None if another turn was over meanwhile, so that it is to be read."""
        if done.base_seq is None:
            return schema.decode_state(done.state)
        known = self.known
        return None if known is None or known.seq != done.base_seq else apply(schema, known.state, done.deltas)

    def remember(self, done: TurnDone, schema: StateSchema, state: dict[str, Any]) -> None:
        """Know the state after the last turn of the main thread, if it is large."""
        if done.thread_id == main_thread_id(self.session.id) and done.status.finished and schema.shared:
            large = done.base_seq is not None or encoded_size(done.state) >= LARGE_STATE_BYTES
            self.known = StateAt(done.seq, state) if large else None


def new_id() -> str:
    """A random id: 16 characters of lower-case hexadecimal."""
    return secrets.token_hex(8)


def new_session(
    ref: str, session_id: str | None, user_id: str, context: SessionContext, budget: Budget | None = None
) -> Session:
    """The record of a new session with a build; `session_id` None: with an id of its own."""
    now = time.time()
    return Session(
        id=session_id if session_id is not None else new_id(),
        user_id=user_id,
        workflow_id=ref,
        context=context,
        budget=budget,
        created_at=now,
        updated_at=now,
    )
