"""The record of a thread: entries that are only appended, and the cursor each of them leaves behind.

A thread is rebuilt from its last snapshot, the deltas of the entries after it, and the cursor of the last entry.
Nothing that was decided once (a route, a join) is decided again.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from enum import StrEnum
from typing import TypeVar

import msgspec

from graphs.budgets import Budget
from graphs.calls import Call, ModelCall, MonetaryAmount, total_of
from graphs.errors import ErrorInfo, GreenroomError
from graphs.packing import pack, unpack
from graphs.threads import Durability, Thread, ThreadState, ThreadType

END = "__end__"
START = "__start__"


class EntryKind(StrEnum):
    """What an entry records."""

    TURN_STARTED = "turn_started"
    STEP_STARTED = "step_started"  #: only before a node that runs at most once
    STEP_FINISHED = "step_finished"
    STEP_FAILED = "step_failed"
    JOINED = "joined"
    PAUSED = "paused"
    RESUMED = "resumed"  #: with the answer, if a person was asked
    BRANCHED = "branched"  #: the first entry of a what-if branch, with its update
    RESTORED = "restored"  #: the state is that of another seq, see `origin`; or of the last one, with an update
    TURN_FINISHED = "turn_finished"


class Usage(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What was used of language models."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    calls: int = 0
    cached_tokens: int = 0
    """Those of the prompt that the provider had kept from an earlier one."""
    reasoning_tokens: int = 0
    """Those of the completion that the model has thought, and not said."""
    priced_calls: int = 0
    """Those of which the cost is known: the price of a model need not be."""
    cost: tuple[MonetaryAmount, ...] = ()
    """What the priced calls cost, one amount for each currency."""

    @property
    def total_tokens(self) -> int:
        """Prompt and completion together."""
        return self.prompt_tokens + self.completion_tokens

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            prompt_tokens=self.prompt_tokens + other.prompt_tokens,
            completion_tokens=self.completion_tokens + other.completion_tokens,
            calls=self.calls + other.calls,
            cached_tokens=self.cached_tokens + other.cached_tokens,
            reasoning_tokens=self.reasoning_tokens + other.reasoning_tokens,
            priced_calls=self.priced_calls + other.priced_calls,
            cost=total_of((*self.cost, *other.cost)) if self.cost and other.cost else self.cost or other.cost,
        )

    @classmethod
    def of(cls, calls: Iterable[Call]) -> Usage:
        """What these calls have used. One without an answer is not counted as a call; what it cost is."""
        made = [call for call in calls if isinstance(call, ModelCall)]
        costs = [call.cost for call in made if call.cost is not None]
        return cls(
            prompt_tokens=sum(call.prompt_tokens for call in made),
            completion_tokens=sum(call.completion_tokens for call in made),
            cached_tokens=sum(call.cached_tokens for call in made),
            reasoning_tokens=sum(call.reasoning_tokens for call in made),
            calls=sum(call.error is None and not call.reused for call in made),
            priced_calls=len(costs),
            cost=total_of(costs),
        )


class Fork(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An open fork or map: its parallel threads are running, the thread waits for them at `join`."""

    node: str
    seq: int
    """Seq of the entry that opened it; part of the ids of its branches."""
    join: str
    """Node at which the thread goes on; `END` if none."""
    targets: tuple[str, ...] = ()
    """Fork: the node each branch starts at. Empty for a map."""
    items: int = 0
    """Map: number of items. Subworkflow: 1."""
    opened_at: float = 0.0
    """Unix seconds; a deadline counts from here, whatever has crashed since."""

    @property
    def size(self) -> int:
        """Number of branches."""
        return len(self.targets) or self.items


class PauseKind(StrEnum):
    """What a paused thread waits for."""

    HUMAN = "human"  #: the answer to a question
    APPROVAL = "approval"  #: a person's word on whether a tool may be called
    TIMER = "timer"  #: a time
    ASKED = "asked"  #: that whoever has paused it resumes it
    SESSION = "session"  #: that whoever has paused its session resumes that
    BRANCHES = "branches"  #: threads below it, all of which are paused


class Pause(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Why a thread is paused, and until when."""

    kind: PauseKind
    node: str = ""
    """The node that waits; empty if none does."""
    question: str = ""
    """What a person is asked."""
    until: float | None = None
    """Unix seconds at which it goes on by itself; for `branches`, the first of them to do so."""
    reason: str = ""
    """Why somebody has paused it."""
    tool: str = ""
    """The tool that needs approval."""

    @property
    def asks(self) -> bool:
        """Whether it ends with a person's answer."""
        return self.kind in (PauseKind.HUMAN, PauseKind.APPROVAL)

    @property
    def passes(self) -> bool:
        """Whether it ends by itself, and nobody is to do anything meanwhile."""
        return self.until is not None and not (self.question or self.reason)


class Cursor(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Where a thread is: all that the planner needs besides the graph and the state."""

    turn: int = 0
    """Number of the turn, from 1."""
    status: ThreadState = ThreadState.PENDING
    node: str | None = None
    """The node to run now; None while a fork is open and when the turn is over."""
    stop_at: str = END
    """The node before which this thread ends: the join of the fork that started it, or `END`."""
    steps: int = 0
    """Steps of this turn, those of the parent before the fork included."""
    fork: Fork | None = None
    error: ErrorInfo | None = None
    """Why the turn failed."""
    pause: Pause | None = None
    """What a paused thread waits for."""
    durability: Durability = Durability.SYNC
    started: bool = False
    """Whether the node, which runs at most once, has been called: it must not be again."""
    caught: ErrorInfo | None = None
    """The failure that led to the node, by an edge for errors."""
    budget: Budget | None = None
    """What the turn may use."""
    asks: bool = False
    """Whether a person has to let the node call its tool before it runs."""

    @property
    def is_open(self) -> bool:
        """Whether a turn has begun and is not over."""
        return self.status in (ThreadState.RUNNING, ThreadState.PAUSED)


class JournalEntry(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One record of a thread's journal."""

    seq: int
    """1, 2, 3, ... without gaps."""
    kind: EntryKind
    cursor: Cursor
    """Where the thread is after this entry."""
    at: float
    """Unix seconds when it happened; for a step, when it ended."""
    started_at: float | None = None
    """Unix seconds when the step began."""
    node: str | None = None
    attempt: int = 1
    """Runs this step took, the failed ones included."""
    deltas: tuple[bytes, ...] = ()
    """Encoded writes, to be applied in this order through the reducers."""
    usage: Usage = Usage()
    calls: tuple[Call, ...] = ()
    """Calls of models and tools that the step made, in all its attempts; the history of them is read from here."""
    error: ErrorInfo | None = None
    by: str = ""
    """Id of the executor or host that wrote it."""
    origin: tuple[str, int] | None = None
    """Restored, branched: (thread id, seq) whose state this is, before the deltas."""
    operation_id: str = ""
    """Id of the request that wrote it, if it may come twice: an answer, a restore."""
    user_id: str = ""
    """Restored, with an update: who wrote that, if somebody else than the user of the session."""


class Snapshot(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Full state of a thread at a seq."""

    seq: int
    cursor: Cursor
    state: bytes
    """The encoded state."""
    created_at: float
    """Unix seconds."""
    usage: Usage = Usage()
    """Tokens of the turn so far."""


class ReplaySize(msgspec.Struct, frozen=True, kw_only=True):
    """What has to be replayed to read a thread: the entries after its newest snapshot."""

    entries: int
    size_bytes: int
    """Of these entries, as they are stored."""
    snapshot_bytes: int
    """Of the snapshot, as it is stored; 0 if there is none."""
    turn_waits: bool = False
    """Whether the append that tells this has ended a turn, and the next one waits already."""


_LONG_ENTRIES = 64
_TOO_LONG_ENTRIES = 1_000
_LONG_SHARE = 1 / 16
"""Of the snapshot's size: all snapshots that a growing state ever gets are a bounded multiple of its entries."""


def snapshot_due(thread: Thread, replay: ReplaySize) -> bool:
    """Whether a thread needs a new snapshot, now that so much has to be replayed to read it.

    Threads below others have one turn of bounded length, and their parent needs all they wrote: they go without.
    """
    if thread.thread_type in (ThreadType.PARALLEL, ThreadType.SEQUENTIAL) or replay.entries < _LONG_ENTRIES:
        return False
    return replay.entries >= _TOO_LONG_ENTRIES or replay.size_bytes >= replay.snapshot_bytes * _LONG_SHARE


class CorruptRecord(GreenroomError):
    """A stored record cannot be read: its checksum or form is wrong. Fields: `key`, `thread_id`, `seq`."""


_Record = TypeVar("_Record", JournalEntry, Snapshot)
_encoder = msgspec.msgpack.Encoder()
_entry_decoder = msgspec.msgpack.Decoder(JournalEntry)
_snapshot_decoder = msgspec.msgpack.Decoder(Snapshot)


def seal(record: JournalEntry | Snapshot) -> bytes:
    """Bytes to store: msgpack, packed, behind a CRC-32 of that."""
    body = pack(_encoder.encode(record))
    return zlib.crc32(body).to_bytes(4, "big") + body


def open_entry(blob: bytes, *, key: str, thread_id: str, seq: int) -> JournalEntry:
    """The entry in `blob`; raises `CorruptRecord` naming where it stands."""
    entry = _open(_entry_decoder, blob, key, thread_id, seq)
    if entry.seq != seq:
        raise CorruptRecord(
            f"{key}: entry {entry.seq} stands where {seq} should", key=key, thread_id=thread_id, seq=seq
        )
    return entry


def open_snapshot(blob: bytes, *, key: str, thread_id: str, seq: int) -> Snapshot:
    """The snapshot in `blob`; raises `CorruptRecord` naming where it stands."""
    return _open(_snapshot_decoder, blob, key, thread_id, seq)


def _open(decoder: msgspec.msgpack.Decoder[_Record], blob: bytes, key: str, thread_id: str, seq: int) -> _Record:
    body = blob[4:]
    if len(blob) < 5 or zlib.crc32(body) != int.from_bytes(blob[:4], "big"):
        raise CorruptRecord(f"{key}: the checksum of seq {seq} is wrong", key=key, thread_id=thread_id, seq=seq)
    try:
        return decoder.decode(unpack(body))
    except (msgspec.MsgspecError, ValueError) as error:
        raise CorruptRecord(f"{key}: seq {seq}: {error}", key=key, thread_id=thread_id, seq=seq) from error
