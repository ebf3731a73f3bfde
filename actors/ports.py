"""The world as actors see it: narrow protocols. Each has a real adapter and a twin in memory that pass one suite."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import msgspec

from graphs.history import HistoryQuery, HistoryRecord
from graphs.journal import Cursor, JournalEntry, ReplaySize, Snapshot, Usage
from graphs.sessions import Session, SessionState, UserInteraction
from graphs.state.refs import ValueRef
from graphs.state.snapshots import StateSnapshot
from graphs.statistics import GroupBy, WorkflowTokenStatistics
from graphs.threads import Thread


class Head(msgspec.Struct, frozen=True, kw_only=True):
    """The record of a thread as the last append left it."""

    thread: Thread
    seq: int
    epoch: int
    cursor: Cursor
    host: str
    """Id of the host that took the epoch; empty if none has."""
    fenced: int = 0
    """Appends refused because their epoch was not the newest any more."""
    halted: Session | None = None
    """Its session, if that is paused or aborted. Only an activation tells it."""
    opened: bool = False
    """Whether the entries of the activation's `Opening` are appended. Everything else is as it was before them."""


class Opening(NamedTuple):
    """What an activation is to append at once, if nobody has had the thread since whoever made it looked."""

    epoch: int
    """The epoch the activation takes then."""
    entries: Sequence[JournalEntry]
    """The first one says which seq is the next."""
    op_id: str


class Journal(Protocol):
    """Threads, their entries and snapshots. Every write is atomic and checked on the server."""

    async def create(self, thread: Thread, base: Snapshot | None = None) -> None:
        """Record a new thread with `base` as its snapshot at seq 0; an existing one stays as it is."""

    async def activate(
        self,
        thread_id: str,
        host: str,
        *,
        create: Thread | None = None,
        lost: str = "",
        opening: Opening | None = None,
    ) -> Head:
        """Take the next epoch for `host`; a thread that is not there is recorded first if `create` is given.

        Args:
            thread_id: The thread.
            host: Who takes it.
            create: What to record if it is not there.
            lost: A host known to be dead, from which a running turn may be taken.
            opening: What to append in the same step, if the thread is where that continues, and its session active.

        Raises:
            NotFoundError: No such thread, and none to create.
            ActiveElsewhere: Its turn is running on another host, which is not `lost`.
            SessionChanged: `opening` begins a new what-if branch or queue of a session that is paused or aborted.
        """

    async def append(
        self,
        thread_id: str,
        epoch: int,
        entries: Sequence[JournalEntry],
        *,
        op_id: str,
    ) -> ReplaySize:
        """Append `entries` (consecutive seqs) and update the record; durable when it returns.

        Whoever appends looks at what is to be replayed now, and keeps a snapshot if it is due (`snapshot_due`).

        The same (epoch, first seq, op_id) again is answered as done.

        Raises:
            SessionChanged: A root thread is to go on, and its session is paused or aborted; or it is to pause with its
                session, which is not paused.
            Fenced: A newer epoch exists; the writer must drop the thread.
            SeqConflict: The first seq is not the next one.
            NotFoundError: No such thread.
        """

    async def keep_snapshot(self, thread_id: str, snapshot: Snapshot) -> None:
        """Keep `snapshot` as the newest, unless there is a newer one. It needs no epoch: what is appended is true.

        Raises:
            SeqConflict: The journal has not got so far.
            NotFoundError: No such thread.
        """

    async def head(self, thread_id: str) -> Head | None:
        """The record of a thread."""

    async def read(self, thread_id: str, *, after: int = 0, limit: int | None = None) -> list[JournalEntry]:
        """Entries with seq > `after`, in order. Raises `CorruptRecord`."""

    async def snapshot(self, thread_id: str, *, at: int | None = None) -> Snapshot | None:
        """The newest snapshot with seq <= `at` (None: the newest). Only the newest is kept, and that at seq 0."""

    async def threads(self, session_id: str) -> list[Head]:
        """Records of all threads of a session at one instant, oldest first."""

    async def open_threads(self) -> Mapping[str, str]:
        """Root threads somebody has to work on -> the host that took or accepted them last.

        A thread is in it from the moment its interaction is accepted, or it is resumed or branched, until its turn is
        over and no other one waits, or it is paused. So is a session (`session_work_id`) whose state was changed, until
        that is carried out.
        """

    async def timers(self, *, until: float | None = None, limit: int = 1_000) -> list[tuple[str, float]]:
        """Root threads that are paused until a time <= `until` (None: any), with that time: the earliest first."""

    def follow(self, thread_id: str, *, after: int = 0) -> AsyncGenerator[JournalEntry | LiveEvent, None]:
        """Entries with seq > `after` and live events, as they come, without end. Entries arrive once and in order."""


class LiveEvent(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag=True):
    """Base of what a running step tells its watchers. It is not journalled and may be missed."""

    seq: int
    """Seq the step will have."""
    node: str
    at: float
    """Unix seconds."""


class NodeRunning(LiveEvent, frozen=True, kw_only=True, omit_defaults=True):
    """A node has started."""

    attempt: int = 1
    by: str = ""
    """Id of the executor."""


class TokenChunk(LiveEvent, frozen=True, kw_only=True, omit_defaults=True):
    """Text a language model has produced."""

    text: str = ""


class LiveFeed(Protocol):
    """Where running steps publish. Best effort, bounded per thread, gone after some minutes."""

    async def publish(self, thread_id: str, events: Sequence[NodeRunning | TokenChunk]) -> None:
        """Publish `events` in order; they are there before what is appended after this was called."""


class SessionRepository(Protocol):
    """Session records and the index over them."""

    async def save(self, session: Session) -> None:
        """Create or replace."""

    async def create(self, session: Session, *, alias: str = "") -> Session | None:
        """Store unless the id exists; the stored one is returned.

        Args:
            session: The session.
            alias: `id@version` or `id`. If it does not stand for the session's workflow any more, nothing is stored,
                and None is returned.
        """

    async def accept(self, session: Session, interaction: UserInteraction, *, host: str) -> int:
        """Record an interaction, and its session if the id is new; the number of the turn it starts is returned.

        Numbers are 1, 2, 3, ... in each session; the same interaction id again gets the same number. A new one opens
        the main thread for `host` (see `Journal.open_threads`), unless it is open already, or it or the session paused.

        Raises:
            BusinessRuleViolation: The session has ended. One that was accepted before is answered as ever.
        """

    async def begin_turn(
        self,
        session: Session,
        interaction: UserInteraction,
        thread: Thread,
        opening: Opening,
        *,
        host: str,
        lost: str = "",
    ) -> tuple[int, Head | None]:
        """`accept`, and if it is the turn that `opening` begins, `Journal.activate` the main thread with it, at once.

        Returns:
            The number of the turn, and the main thread's record if `host` has it now: not if the turn is another one,
            or another host runs the thread.

        Raises:
            BusinessRuleViolation: The session has ended.
        """

    async def complete(self, session_id: str, *, at: float) -> Session:
        """End a session of which all turns are over: it takes no more. `at` is Unix seconds.

        Raises:
            NotFoundError: There is no such session.
            IllegalTransition: It has ended before.
            BusinessRuleViolation: A turn of its main thread runs, is paused or waits.
        """

    async def change(self, session_id: str, state: SessionState, *, reason: str, at: float, host: str) -> Session:
        """Pause, resume or abort a session: what is not running does not begin from then on, or may again.

        What that means for its threads is to be carried out by `host`, until `settle` (see `Journal.open_threads`). One
        that is in this state already stays as it is, and is carried out once more.

        Args:
            session_id: The session.
            state: Paused, active or aborted.
            reason: Why.
            at: Unix seconds.
            host: Who carries it out.

        Raises:
            NotFoundError: There is no such session.
            IllegalTransition: It has ended.
        """

    async def settle(self, session: Session) -> None:
        """What the state of a session means is carried out; nothing happens if it has been changed since."""

    async def interaction(self, session_id: str, turn: int) -> UserInteraction | None:
        """The interaction that starts `turn`; without its content once the turn has begun: the journal has that."""

    async def find_by_id(self, session_id: str) -> Session | None:
        """The session, if there is one."""

    async def used(self, session_id: str) -> Usage:
        """What the models of all its threads have used."""

    async def list(self, *, user_id: str | None = None, limit: int = 100) -> list[Session]:
        """Newest first."""


class ValueRepository(Protocol):
    """Large values of states, by their content: stored once in each session, and as long as it."""

    async def put(self, thread_id: str, blob: memoryview) -> ValueRef:
        """Store an encoded value for the session of a thread; durable when it returns."""

    async def get(self, thread_id: str, ref: ValueRef) -> memoryview:
        """The encoded value that `ref` names.

        Raises:
            ValueMissing: It, or a part of it, is not there.
            CorruptRecord: It is not what was stored.
        """


class SnapshotRepository(Protocol):
    """Snapshots that somebody has named. They point to seqs of threads and hold no state."""

    async def save(self, snapshot: StateSnapshot) -> None:
        """Create or replace."""

    async def get(self, session_id: str, snapshot_id: str) -> StateSnapshot | None:
        """The snapshot, if there is one. Raises `CorruptRecord`."""

    async def list(self, session_id: str, *, thread_id: str | None = None) -> list[StateSnapshot]:
        """Those of a session, or those that cover one of its threads, oldest first. Raises `CorruptRecord`."""

    async def delete(self, session_id: str, snapshot_id: str) -> None:
        """Remove it, if it is there. What it points to stays."""

    async def sessions(self) -> Sequence[str]:
        """Ids of sessions that have had any, in order."""


class Cache(Protocol):
    """What was worked out once and never changes. It may be gone at any time."""

    async def get(self, key: str) -> bytes | None:
        """The blob, if it is there."""

    async def set(self, key: str, blob: bytes, *, ttl_s: float) -> None:
        """Keep a blob for so long."""

    async def delete(self, key: str) -> None:
        """Forget a blob, if it is there."""


class Upkeep(Protocol):
    """How large sessions are, which have been idle, and getting rid of them."""

    async def size(self, session_id: str) -> Mapping[str, int]:
        """Bytes stored of a session: `journal`, `snapshots`, `values`, `live`, `records`."""

    async def idle(self, before: float, *, skip: int = 0, limit: int = 100) -> list[tuple[str, float]]:
        """Sessions in which nothing has begun or ended since a time, with the last time: the longest idle first."""

    async def prune(self, session_id: str, *, idle_since: float | None = None, force: bool = False) -> bool:
        """Delete all that is stored of a session; one that is not there is no error.

        Args:
            session_id: The session.
            idle_since: Leave it alone, and return False, if something has begun or ended in it since then.
            force: Delete it whatever its threads do.

        Raises:
            BusinessRuleViolation: A thread of it is running or paused.
        """


class RateLimits(Protocol):
    """How many requests and tokens models may be sent in a minute, counted over all processes."""

    async def take(
        self,
        name: str,
        ticket: str,
        *,
        requests_per_minute: int | None,
        tokens_per_minute: int | None,
        tokens: int,
        rank: int,
    ) -> float | None:
        """Take one request and `tokens` from what there is, or a place in the queue of those that wait.

        There is what may be used in a minute, filled up evenly. Who wants more tokens than that waits until it is full.

        Args:
            name: What is limited.
            ticket: Who asks: the same when it asks again.
            requests_per_minute: None: any number.
            tokens_per_minute: None: any number.
            tokens: How many will be used, as far as that is known.
            rank: A higher one comes before all with a lower one; the others come in the order in which they have asked.

        Returns:
            Seconds after which to ask again; 0 if it has taken; None if too many wait already. A ticket that does not
            ask again within two seconds of that time loses its place.
        """

    async def leave(self, name: str, ticket: str) -> None:
        """Give up the place of a ticket."""

    async def correct(self, name: str, tokens: int) -> None:
        """Take so many tokens more, because more were used than was thought; less than 0 gives back."""


class WorkflowRepository(Protocol):
    """Stored workflow specs (JSON)."""

    async def save(self, ref: str, spec: bytes, *, at: float) -> None:
        """Store the spec of `id@version+build`, and make it what `id@version` and `id` name. `at` is Unix seconds."""

    async def resolve(self, ref: str) -> str | None:
        """The build that `get` would give, without its spec."""

    async def save_program(self, ref: str, program: bytes) -> None:
        """Store where the Python functions of a build are written (see `programs.py`)."""

    async def program(self, ref: str) -> bytes | None:
        """Where the Python functions of a build are written."""

    async def get(self, ref: str) -> tuple[str, bytes] | None:
        """(`id@version+build`, spec) of a build, or of the one saved last if `ref` is `id@version` or `id`."""

    async def list(self) -> Mapping[str, tuple[float, float]]:
        """`id@version+build` -> (created_at, updated_at), in order of the ref."""


class HistoryRepository(Protocol):
    """What was called and run. It is saved by `Journal.append`, with the steps: an entry holds its calls."""

    def pages(self, query: HistoryQuery, *, size: int) -> AsyncGenerator[list[HistoryRecord], None]:
        """The records that fit, in order: about `size` at a time, since some calls give several.

        Raises:
            ValidationError: `after` is no id of a record.
            CorruptRecord: An entry cannot be read.
        """

    async def statistics(
        self, workflow: str, *, since: float | None, until: float | None, by: GroupBy | None
    ) -> WorkflowTokenStatistics:
        """What was counted of a workflow in a time range, which is made larger to whole hours; to days by user."""

    async def forget(self, before: float) -> int:
        """Take records from before a time out of all indexes; returns how many calls and turns. Counts stay."""


class Store(Protocol):
    """All of it over one connection."""

    @property
    def journal(self) -> Journal:
        """Threads."""

    @property
    def live(self) -> LiveFeed:
        """Running steps."""

    @property
    def sessions(self) -> SessionRepository:
        """Sessions."""

    @property
    def values(self) -> ValueRepository:
        """Large values."""

    @property
    def snapshots(self) -> SnapshotRepository:
        """Named snapshots."""

    @property
    def cache(self) -> Cache:
        """Past states."""

    @property
    def upkeep(self) -> Upkeep:
        """Sizes and deletion of sessions."""

    @property
    def workflows(self) -> WorkflowRepository:
        """Workflows."""

    @property
    def history(self) -> HistoryRepository:
        """Calls, executions and what was counted of them."""

    @property
    def limits(self) -> RateLimits:
        """Rate limits of models."""

    async def next_incarnation(self) -> int:
        """A number that nobody has got before: 1, 2, 3, ..., perhaps with gaps."""

    async def ping(self) -> Mapping[str, Any]:
        """Facts about the server (`version`, ...). Raises `StoreUnavailable`."""

    async def close(self) -> None:
        """Give back connections."""


class Clock(Protocol):
    """Time as an argument."""

    def now(self) -> float:
        """Unix seconds."""

    async def sleep(self, seconds: float) -> None:
        """Wait."""
