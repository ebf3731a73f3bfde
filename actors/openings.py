"""How a turn begins. Its first entry can be made before the thread is activated: then the store does both at once."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from actors.course import Course
from actors.patience import passes
from actors.ports import Head, Opening
from actors.replay import Replayed, apply, base_state
from actors.thread_services import ThreadAtRest, ThreadServices
from actors.values import ThreadValues
from graphs.budgets import Budget
from graphs.errors import ErrorInfo, GreenroomError
from graphs.journal import Cursor, EntryKind, JournalEntry, Usage
from graphs.threads import Durability, Thread
from graphs.workflow import planner
from graphs.workflow.plan import Plan


@dataclass(frozen=True, slots=True)
class TurnStart:
    """What a turn begins with."""

    content: bytes | None
    """Encoded delta: its input."""
    at: str | None = None
    """Node it begins at; None: where the edges of `START` lead."""
    stop_at: str | None = None
    steps: int = 0
    durability: Durability | None = None
    """None: as the workflow says. So is the budget."""
    budget: Budget | None = None


@dataclass(frozen=True, slots=True)
class TurnBegun:
    """A thread that has just begun a turn."""

    cursor: Cursor
    state: dict[str, Any]
    deltas: tuple[bytes, ...]
    """The input, if the state takes it."""
    error: ErrorInfo | None


async def begin(
    start: TurnStart,
    turn: int,
    plan: Plan,
    values: ThreadValues,
    cursor: Cursor,
    state: dict[str, Any],
    seq: int,
    now: float,
) -> TurnBegun:
    """Where a thread, which is at `cursor` with `state`, is once it has begun turn `turn` by entry `seq`.

    Raises:
        GreenroomError: What decides that cannot be read right now.
    """
    deltas = () if start.content is None else (start.content,)
    error: ErrorInfo | None = None
    try:
        state = apply(plan.schema, state, deltas)
    except GreenroomError as failure:  # a reducer refuses the input
        deltas, error = (), failure.info()
    event = planner.TurnStarted(turn, start.at, start.stop_at, start.steps, start.durability, error, start.budget)
    try:
        after = await values.advance(plan, cursor, event, state, seq, now=now)
    except GreenroomError as failure:  # what decides where it begins cannot be read
        if passes(failure):
            raise
        error = failure.info()
        after = await values.advance(plan, cursor, replace(event, error=error), state, seq, now=now)
    return TurnBegun(after, state, deltas, error)


async def branch(
    thread: Thread,
    services: ThreadServices,
    was: Replayed,
    entry: JournalEntry,
    deltas: tuple[bytes, ...],
    *,
    inner: bool,
) -> Opening:
    """How a what-if branch begins, which goes on where its base was after `entry`; see `planner.Branched`.

    Args:
        thread: Its record.
        services: What it needs of its host.
        was: Its base, as it was then.
        entry: The entry it continues.
        deltas: What updates the state first.
        inner: Whether that is one of a branch of a fork.

    Raises:
        StateInvalid: The state does not take the update.
    """
    plan = await services.catalog.plan(thread.workflow)
    state, now = apply(plan.schema, was.state, deltas), services.clock.now()
    event = planner.Branched(entry, bool(deltas), was.usage, inner)
    cursor = await services.values.of(thread.id, plan.schema).advance(plan, Cursor(), event, state, 1, now=now)
    first = JournalEntry(
        seq=1,
        kind=EntryKind.BRANCHED,
        cursor=cursor,
        at=now,
        by=services.host,
        deltas=deltas,
        usage=was.usage,
        origin=thread.base,
    )
    return Opening(1, (first,), f"{services.host}/1/opening")


@dataclass(frozen=True, slots=True)
class Prepared:
    """A thread as its host expects to find it, and what beginning a turn then appends."""

    rest: ThreadAtRest | None = None
    """None: it has to be read."""
    begun: TurnBegun | None = None
    opening: Opening | None = None

    def found(self, head: Head) -> ThreadAtRest | None:
        """The thread as its activation has found it, with the turn that has begun by it; None: it has to be read."""
        rest, begun = self.rest, self.begun
        if rest is None or (rest.epoch + 1, rest.seq) != (head.epoch, head.seq):
            return None  # somebody has had it meanwhile
        if not head.opened or begun is None:
            return rest
        rest.course.begin(rest.seq, begun.deltas)
        return replace(rest, seq=rest.seq + 1, cursor=begun.cursor, state=begun.state, usage=Usage())


async def prepare(
    thread: Thread, services: ThreadServices, start: TurnStart | None = None, base: bytes | None = None
) -> Prepared:
    """What is known here of a thread, or would be true if it is new; and what `start` would append.

    Args:
        thread: Its record.
        services: What it needs of its host.
        start: The turn it is to begin.
        base: The encoded state of `thread.base`, if known.
    """
    rest = services.remembered.take(thread.id)
    if start is None or (rest is None and base is None and thread.base is not None):
        return Prepared(rest)
    try:
        plan = await services.catalog.plan(thread.workflow)
        if rest is None:
            state = await base_state(services.journal, thread, plan.schema, services.catalog.schema, base)
            rest = ThreadAtRest(thread.workflow, 0, 0, Cursor(), state, Usage(), Course())
            if base is not None and not thread.has_own_state:
                rest.course.encoded = base  # a branch of a fork begins with what its parent has
        if rest.workflow != thread.workflow:
            return Prepared(rest)
        seq, turn, now = rest.seq + 1, rest.cursor.turn + 1, services.clock.now()
        values = services.values.of(thread.id, plan.schema)
        begun = await begin(start, turn, plan, values, rest.cursor, rest.state, seq, now)
    except GreenroomError:  # whoever activates the thread without an opening meets it again
        return Prepared(rest)
    entry = JournalEntry(
        seq=seq,
        kind=EntryKind.TURN_STARTED,
        cursor=begun.cursor,
        at=now,
        by=services.host,
        deltas=begun.deltas,
        error=begun.error,
    )
    epoch = rest.epoch + 1
    return Prepared(rest, begun, Opening(epoch, (entry,), f"{services.host}/{epoch}/opening"))
