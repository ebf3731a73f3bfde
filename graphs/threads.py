"""What a thread is: its identity, its states and which changes of state are legal."""

from __future__ import annotations

from enum import StrEnum

import msgspec

from graphs.errors import IllegalTransition

MAIN = "0"
"""Path of a session's main thread."""


class ThreadType(StrEnum):
    """How a thread came to be."""

    MAIN = "main"
    BRANCH = "branch"
    PARALLEL = "parallel"
    SEQUENTIAL = "sequential"


class ThreadState(StrEnum):
    """Where a thread is in its life."""

    PENDING = "pending"
    RUNNING = "running"
    PAUSED = "paused"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def finished(self) -> bool:
        """Whether the turn is over."""
        return self in (ThreadState.COMPLETED, ThreadState.FAILED, ThreadState.CANCELLED)


class Durability(StrEnum):
    """When the steps of a turn are written to the store. A turn that is told to be over is stored in each case."""

    SYNC = "sync"  #: before the next step begins
    ASYNC = "async"  #: in order, while the next steps run already
    EXIT = "exit"  #: when the turn ends, pauses or starts other threads


class ThreadPriority(StrEnum):
    """Which thread is admitted first when hosts are full."""

    LOW = "low"
    NORMAL = "normal"
    HIGH = "high"
    CRITICAL = "critical"


#: state -> states it may change to. A finished thread runs again when its session starts the next turn.
TRANSITIONS: dict[ThreadState, frozenset[ThreadState]] = {
    ThreadState.PENDING: frozenset({ThreadState.RUNNING, ThreadState.CANCELLED, ThreadState.FAILED}),
    ThreadState.RUNNING: frozenset(
        {ThreadState.PAUSED, ThreadState.COMPLETED, ThreadState.FAILED, ThreadState.CANCELLED}
    ),
    ThreadState.PAUSED: frozenset({ThreadState.RUNNING, ThreadState.CANCELLED, ThreadState.FAILED}),
    ThreadState.COMPLETED: frozenset({ThreadState.RUNNING}),
    ThreadState.FAILED: frozenset({ThreadState.RUNNING}),
    ThreadState.CANCELLED: frozenset({ThreadState.RUNNING}),
}


def check_transition(source: ThreadState, target: ThreadState) -> None:
    """Raise `IllegalTransition` unless a thread may go from `source` to `target`."""
    if target not in TRANSITIONS[source]:
        allowed = ", ".join(sorted(TRANSITIONS[source]))
        raise IllegalTransition(
            f"a {source} thread cannot become {target}; it may become {allowed}", source=source, target=target
        )


class ThreadMetadata(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What people and schedulers want to know about a thread."""

    name: str = ""
    description: str = ""
    parent_thread_id: str | None = None
    priority: ThreadPriority = ThreadPriority.NORMAL


class Thread(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One sequential execution of a graph, or of a part of it."""

    id: str
    """`{session_id}:{path}`; the main thread's path is `0`, that of a thread below another one
    `{parent path}.{seq of its fork}.{index}`, that of a what-if branch `{parent path}~{seq}-{token}`."""
    session_id: str
    thread_type: ThreadType
    workflow: str
    """`id@version` of the graph it runs; `id@version#map` for an item of a map over a node."""
    base: tuple[str, int] | None = None
    """(thread id, seq) whose state it begins with; None: the schema's defaults."""
    state: ThreadState = ThreadState.PENDING
    metadata: ThreadMetadata = ThreadMetadata()
    created_at: float = 0.0
    """Unix seconds."""
    updated_at: float = 0.0

    @property
    def is_item(self) -> bool:
        """Whether it runs one item of a map: then its final state counts, not what it wrote."""
        return self.thread_type is ThreadType.PARALLEL and self.has_own_state

    @property
    def is_queue(self) -> bool:
        """Whether it runs a queue of threads, and nothing else."""
        return self.thread_type is ThreadType.SEQUENTIAL and is_root(self.id)

    @property
    def has_own_state(self) -> bool:
        """Whether its state is not that of the thread above it."""
        return self.base is None or "#" in self.workflow


def main_thread_id(session_id: str) -> str:
    """Id of the main thread of a session."""
    return f"{session_id}:{MAIN}"


def child_thread_id(parent_id: str, fork_seq: int, index: int) -> str:
    """Id of branch `index` of the fork opened at `fork_seq`: the same each time, so starting it twice starts one."""
    return f"{parent_id}.{fork_seq}.{index}"


def branch_thread_id(parent_id: str, seq: int, token: str) -> str:
    """Id of a what-if branch from `seq` of a thread."""
    return f"{parent_id}~{seq}-{token}"


def is_root(thread_id: str) -> bool:
    """Whether a thread runs by itself, as main threads and what-if branches do: no parent runs and awaits it."""
    return "." not in path_of(thread_id).rpartition("~")[2]


def root_of(thread_id: str) -> str:
    """Id of the thread that runs by itself and that `thread_id` is below; its own, if it is one."""
    before, tilde, rest = thread_id.rpartition("~")
    if tilde and ":" not in rest:
        return f"{before}~{rest.partition('.')[0]}"
    return main_thread_id(session_of(thread_id))


def session_work_id(session_id: str) -> str:
    """What stands among the open threads for a session whose new state is not carried out yet: it has no path."""
    return f"{session_id}:"


def session_of(thread_id: str) -> str:
    """Session id inside a thread id."""
    return thread_id.rpartition(":")[0]


def path_of(thread_id: str) -> str:
    """Path inside a thread id."""
    return thread_id.rpartition(":")[2]


class ThreadFactory:
    """Makes the records of threads: what each type has.

    Args:
        now: When they are created, in Unix seconds.
    """

    def __init__(self, now: float) -> None:
        self._now = now

    def main(self, session_id: str, workflow: str, priority: ThreadPriority) -> Thread:
        """The main thread of a session."""
        return Thread(
            id=main_thread_id(session_id),
            session_id=session_id,
            thread_type=ThreadType.MAIN,
            workflow=workflow,
            metadata=ThreadMetadata(priority=priority),
            created_at=self._now,
            updated_at=self._now,
        )

    def branch(self, source: Thread, seq: int, token: str, name: str) -> Thread:
        """A what-if branch from `seq` of `source`; `token` tells it from others of the same seq."""
        thread_id = branch_thread_id(source.id, seq, token)
        base = (source.id, seq)
        return self.child(source, thread_id, ThreadType.BRANCH, workflow=source.workflow, base=base, name=name)

    def queue(self, session_id: str, workflow: str, token: str, name: str, priority: ThreadPriority) -> Thread:
        """The thread that runs a queue of others, beside the main thread of a session."""
        main = self.main(session_id, workflow, priority)
        metadata = ThreadMetadata(name=name, parent_thread_id=main.id, priority=priority)
        thread_id = branch_thread_id(main.id, 0, token)
        return msgspec.structs.replace(main, id=thread_id, thread_type=ThreadType.SEQUENTIAL, metadata=metadata)

    def child(
        self,
        parent: Thread,
        thread_id: str,
        thread_type: ThreadType,
        *,
        workflow: str,
        base: tuple[str, int] | None,
        name: str,
    ) -> Thread:
        """A thread that comes from another one; `base` is whose state it begins with, None if it has one of its own."""
        return Thread(
            id=thread_id,
            session_id=parent.session_id,
            thread_type=thread_type,
            workflow=workflow,
            base=base,
            metadata=ThreadMetadata(name=name, parent_thread_id=parent.id, priority=parent.metadata.priority),
            created_at=self._now,
            updated_at=self._now,
        )
