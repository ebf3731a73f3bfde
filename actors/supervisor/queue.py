"""Who is admitted next when the hosts are full: by priority, with ageing, and fairly between users."""

from __future__ import annotations

import heapq
from collections import Counter
from dataclasses import dataclass

from graphs.threads import ThreadPriority

_RANK = {
    ThreadPriority.LOW: 0,
    ThreadPriority.NORMAL: 1,
    ThreadPriority.HIGH: 2,
    ThreadPriority.CRITICAL: 3,
}


@dataclass(frozen=True, slots=True)
class Ticket:
    """One thread that waits for a place."""

    thread: str
    priority: ThreadPriority
    user_id: str
    since: float
    """Seconds, on any clock that only this queue's tickets share."""


class AdmissionQueue:
    """Tickets in the order in which they are admitted.

    Ageing is linear, so the order of two tickets never changes while they wait and a heap can hold them: a ticket
    counts as if it had come `ageing_s` earlier for each step of priority, and `fairness_s` later for each ticket its
    user had waiting when it came. A low ticket thus waits at most `3 * ageing_s` longer than a critical one, and a user
    with a thousand tickets does not hold up another's first.

    Args:
        ageing_s: Seconds of waiting that weigh as much as one step of priority.
        fairness_s: Seconds by which each further ticket of a user stands back.
    """

    def __init__(self, *, ageing_s: float = 10.0, fairness_s: float = 0.1) -> None:
        self._ageing_s = ageing_s
        self._fairness_s = fairness_s
        self._heap: list[tuple[float, int, Ticket]] = []
        self._waiting_of: Counter[str] = Counter()
        self._count = 0

    def __len__(self) -> int:
        return len(self._heap)

    def push(self, ticket: Ticket) -> None:
        """Let `ticket` wait."""
        virtual = (
            ticket.since - _RANK[ticket.priority] * self._ageing_s + self._waiting_of[ticket.user_id] * self._fairness_s
        )
        self._waiting_of[ticket.user_id] += 1
        self._count += 1
        heapq.heappush(self._heap, (virtual, self._count, ticket))

    def pop(self) -> Ticket:
        """The next ticket to admit. Raises `IndexError` if none waits."""
        ticket = heapq.heappop(self._heap)[2]
        self._waiting_of[ticket.user_id] -= 1
        if not self._waiting_of[ticket.user_id]:
            del self._waiting_of[ticket.user_id]
        return ticket
