"""The turns of a session that have been accepted and have not begun."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from actors.errors import Overloaded
from actors.ports import SessionRepository
from actors.protocol import StartTurn, TurnDone
from graphs.budgets import Budget, least
from graphs.sessions import InteractionType, UserInteraction

MAX_WAITING_TURNS = 1_000


@dataclass(frozen=True, slots=True)
class Asked:
    """A turn that somebody asks for."""

    interaction: UserInteraction
    done: asyncio.Future[TurnDone] | None
    """How it ends, if that is asked for, too: by somebody who knows the state after `known_seq`."""
    known_seq: int | None
    turn: asyncio.Future[int]
    """Its number, once it is accepted."""


def interaction_of(request: StartTurn, at: float) -> UserInteraction:
    """What is recorded of a request, which came at a time in Unix seconds."""
    return UserInteraction(
        interaction_id=request.interaction_id,
        session_id=request.session.id,
        interaction_type=InteractionType.USER_REQUEST,
        content=request.content,
        timestamp=at,
        durability=request.durability,
        budget=request.budget,
    )


class WaitingTurns:
    """Those of one session, as far as they are known here, and what the store knows of more.

    Args:
        session_id: The session.
        sessions: Where interactions are recorded; None for a thread that has none, a what-if branch.
    """

    def __init__(self, session_id: str, sessions: SessionRepository | None) -> None:
        self.may_be_more = False
        """Whether interactions that were accepted elsewhere may wait in the store."""
        self._session_id = session_id
        self._sessions = sessions
        self._accepted: dict[int, UserInteraction] = {}
        """Turn -> interaction, of those accepted here."""

    def check(self, coming: int) -> None:
        """Raise `Overloaded` if too many wait, with those that are just being accepted."""
        if len(self._accepted) + coming >= MAX_WAITING_TURNS:
            raise Overloaded(
                f"session {self._session_id} has {MAX_WAITING_TURNS} turns waiting; wait for some of them",
                destination=self._session_id,
                retry_after_s=1.0,
            )

    def waits(self, turn: int) -> None:
        """There is such a turn; perhaps it was accepted elsewhere."""
        self.may_be_more = self.may_be_more or turn not in self._accepted

    def add(self, turn: int, interaction: UserInteraction) -> None:
        """A turn has been accepted here."""
        self._accepted[turn] = interaction

    async def exists(self, turn: int) -> bool:
        """Whether there is such a turn, be it that it has begun."""
        return turn in self._accepted or await self._find(turn) is not None

    async def take(self, turn: int) -> UserInteraction | None:
        """The interaction that starts `turn`, which is the next one: perhaps it was accepted before this activation."""
        for done in [accepted for accepted in self._accepted if accepted < turn]:
            del self._accepted[done]  # asked twice, and over by now
            self.may_be_more = True
        known = self._accepted.pop(turn, None)
        if known is not None or not (self._accepted or self.may_be_more):
            return known
        interaction = await self._find(turn)
        self.may_be_more = interaction is not None
        return interaction

    async def budget(self, interaction: UserInteraction, own: Budget | None) -> Budget | None:
        """What a turn may use: as whoever started it says, and what is left of the session's `own` budget."""
        if own is not None and self._sessions is not None:
            used = await self._sessions.used(self._session_id)
            own = own.left(used.total_tokens, used.cost)
        return least((own, interaction.budget))

    def forget(self) -> None:
        """Only the store knows of any."""
        self._accepted.clear()
        self.may_be_more = True

    async def _find(self, turn: int) -> UserInteraction | None:
        return None if self._sessions is None else await self._sessions.interaction(self._session_id, turn)
