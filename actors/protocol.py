"""The messages actors send each other: frozen data, encoded as msgpack, told apart by their tag."""

from __future__ import annotations

from typing import TypeVar

import msgspec

from actors.facts import ProcessFacts
from actors.llm.settings import ModelSettings
from actors.tools.settings import ToolSettings
from graphs.budgets import Budget
from graphs.errors import ErrorInfo
from graphs.journal import Cursor, JournalEntry, Pause, Usage
from graphs.sessions import Session, SessionState
from graphs.threads import Durability, Thread, ThreadPriority, ThreadState
from graphs.tools import ToolExecutionResult


class Message(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag=True):
    """Base of all messages."""


# --- driver -> host -------------------------------------------------------------------------------------------------


class StartTurn(Message, frozen=True, kw_only=True, omit_defaults=True):
    """Run the next turn of a session. Answered by `TurnAccepted`, or by `TurnDone` if `wait`."""

    session: Session
    """The session; created if its id is new."""
    content: bytes
    """The input, as an encoded delta."""
    interaction_id: str
    """The same id twice starts one turn."""
    priority: ThreadPriority = ThreadPriority.NORMAL
    wait: bool = False
    durability: Durability | None = None
    """None: as the workflow says."""
    known_seq: int | None = None
    """Seq of its main thread after which the driver knows the state."""
    budget: Budget | None = None
    lost: str = ""


class TurnAccepted(Message, frozen=True, kw_only=True, omit_defaults=True):
    """The turn is recorded: it runs now or when those before it are done."""

    thread_id: str
    turn: int


class TurnDone(Message, frozen=True, kw_only=True, omit_defaults=True):
    """A turn is over, or paused until a person does something."""

    thread_id: str
    turn: int
    status: ThreadState
    seq: int
    state: bytes = b""
    """The encoded state; else it is that after `base_seq`, which the driver knows, with `deltas` written to it."""
    base_seq: int | None = None
    deltas: tuple[bytes, ...] = ()
    usage: Usage = Usage()
    error: ErrorInfo | None = None
    pause: Pause | None = None


class AwaitTurn(Message, frozen=True, kw_only=True, omit_defaults=True):
    """Go on with a session whose turns are not over. Answered by `TurnDone` when the given one is."""

    thread_id: str
    """Its main thread."""
    turn: int
    lost: str = ""
    """A host known to be dead, whose turns may be taken up elsewhere; so it is in the other messages."""


class CancelThread(Message, frozen=True, kw_only=True, omit_defaults=True):
    """Cancel a turn of a thread, and the threads below it. Answered by `Stopped` when that is recorded."""

    thread_id: str
    reason: str
    turn: int = 1
    """The turn; it is left alone if it is over. A turn that has not begun is cancelled when it is next."""
    with_thread: str = ""
    """A thread above it that is cancelled, and it with that."""
    lost: str = ""


class Answer(Message, frozen=True, kw_only=True, omit_defaults=True):
    """Answer the question a thread is paused at. Answered by `Done` when that is recorded; the thread goes on."""

    thread_id: str
    seq: int
    """Seq of the entry that asks: another question is not answered."""
    value: bytes
    """JSON."""
    operation_id: str
    """The same id twice answers once."""
    lost: str = ""


class PauseThread(Message, frozen=True, kw_only=True, omit_defaults=True):
    """Pause a running thread, and the threads below it, after the steps they are at. Answered by `Done` when it is."""

    thread_id: str
    pause: Pause
    """How: `asked`, or with its session."""
    lost: str = ""


class ChangeSession(Message, frozen=True, kw_only=True, omit_defaults=True):
    """Pause, resume or abort a session. Answered by `Done` when that is recorded, for all of its threads."""

    session_id: str
    state: SessionState
    reason: str = ""
    lost: str = ""


class ResumeThread(Message, frozen=True, kw_only=True, omit_defaults=True):
    """Let a thread go on that somebody has paused. Answered by `Done` when that is recorded."""

    thread_id: str
    lost: str = ""


class BranchThread(Message, frozen=True, kw_only=True, omit_defaults=True):
    """Begin a what-if branch or a queue, and run it. Answered by `TurnAccepted` when it is recorded."""

    thread: Thread
    """Its record; `base` names the thread and seq a branch begins with. The same id twice begins one."""
    update: bytes | None = None
    """Encoded delta that is applied first."""
    lost: str = ""


class RestoreThread(Message, frozen=True, kw_only=True, omit_defaults=True):
    """Give a thread the state of another seq, perhaps of another thread. Answered by `Done` when that is recorded."""

    thread_id: str
    origin: tuple[str, int] | None = None
    """(thread id, seq); None: that of now, which is updated."""
    update: bytes | None = None
    """Encoded delta that is applied then."""
    user_id: str = ""
    """Who updates it, if somebody else than the user of the session."""
    operation_id: str
    """The same id twice restores once."""
    lost: str = ""


class HaltThread(Message, frozen=True, kw_only=True, omit_defaults=True):
    """Its session is paused or aborted: so is the turn of a root thread. Answered by `Done` when that is recorded."""

    thread_id: str
    session: Session
    lost: str = ""


class Stopped(Message, frozen=True, kw_only=True, omit_defaults=True):
    """The turn is over, be it that it was over before; `usage` are the tokens it has used."""

    usage: Usage = Usage()


# --- host -> host, host -> executor ----------------------------------------------------------------------------------


class RunBranch(Message, frozen=True, kw_only=True, omit_defaults=True):
    """Run a parallel thread to its end. Answered by `BranchDone`; asking again joins the run under way."""

    thread: Thread
    at: str | None
    """Node it begins at; None: where the edges of `START` lead."""
    stop_at: str
    steps: int
    """Steps the parent's turn has used."""
    content: bytes | None = None
    """Encoded delta that starts it: the item of a map."""
    state: bytes | None = None
    """The encoded state of `thread.base`, to save reading it."""
    durability: Durability = Durability.SYNC
    budget: Budget | None = None
    lost: str = ""


class BranchDone(Message, frozen=True, kw_only=True, omit_defaults=True):
    """A parallel or sequential thread is over, or paused."""

    status: ThreadState
    deltas: tuple[bytes, ...] = ()
    """All it wrote, combined; its input not included."""
    state: bytes = b""
    """Its final state, for the item of a map, or the part of it that counts."""
    usage: Usage = Usage()
    error: ErrorInfo | None = None
    pause: Pause | None = None


class RunSegment(Message, frozen=True, kw_only=True, omit_defaults=True):
    """Run nodes of the executor's kind from the cursor on, journalling each. Answered by `SegmentDone`."""

    thread: Thread
    epoch: int
    seq: int
    """Last seq that is journalled."""
    cursor: Cursor
    state: bytes = b""
    """The encoded state; else it is the one the executor calls `base`, with `deltas` written to it."""
    base: str = ""
    deltas: tuple[bytes, ...] = ()
    usage: Usage = Usage()
    """Tokens of this turn so far."""
    died: int = 0
    """Executors that died while they ran the step that is next."""
    kept: tuple[JournalEntry, ...] = ()
    """Entries up to `seq` that are not written yet."""


class EndSegment(Message, frozen=True, kw_only=True, omit_defaults=True):
    """End a segment early: it is answered as ever, and the thread is where it got to. Not answered itself."""

    thread_id: str
    epoch: int
    now: bool = False
    """In the middle of the step it is at, which is not recorded; else after it."""


class SegmentDone(Message, frozen=True, kw_only=True, omit_defaults=True):
    """The executor has come to a node it does not run, a fork, or the end of the turn."""

    seq: int
    cursor: Cursor
    deltas: tuple[bytes, ...] = ()
    """All that was written, combined; `state_id` is what the executor calls the state of now, if it keeps it."""
    state_id: str = ""
    usage: Usage = Usage()
    """Tokens of this segment."""
    kept: tuple[JournalEntry, ...] = ()
    """Entries up to `seq` that are not written yet."""
    turn_waits: bool = False
    """See `ReplaySize`."""


class RunTool(Message, frozen=True, kw_only=True, omit_defaults=True):
    """Run one tool, outside any thread. Answered by `ToolDone`."""

    tool: str
    arguments: bytes
    """JSON object."""
    function: bytes = b""
    """The packed Python function that it is, if it is one."""
    data: bytes = b""
    """The tool that is data, as JSON, if it is one."""
    settings: ToolSettings = ToolSettings()
    """The means of the driver that asks."""


class ToolDone(Message, frozen=True, kw_only=True, omit_defaults=True):
    """A tool has run."""

    result: ToolExecutionResult


class DiscoverTools(Message, frozen=True, kw_only=True, omit_defaults=True):
    """Ask an MCP server for its tools. Answered by `ToolsDiscovered`."""

    server: bytes
    """A `McpServer`, as JSON."""
    settings: ToolSettings = ToolSettings()
    """The means of the driver that asks."""


class ToolsDiscovered(Message, frozen=True, kw_only=True, omit_defaults=True):
    """What an MCP server offers now."""

    tools: tuple[bytes, ...]
    """Each a `McpTool`, as JSON."""


# --- anyone -> supervisor -------------------------------------------------------------------------------------------


class Deploy(Message, frozen=True, kw_only=True, omit_defaults=True):
    """Make workflows ready to run. Answered by `Done`."""

    refs: tuple[str, ...]
    """`id@version` of stored workflows."""
    kinds: tuple[str, ...]
    functions: bytes = b""
    """Packed Python callables they refer to."""
    models: dict[str, ModelSettings] = {}
    """The models of the driver's configuration: theirs are asked, whoever started the cluster."""
    tools: ToolSettings = ToolSettings()
    """The means of its tools, likewise."""


class Redeployed(Message, frozen=True, kw_only=True, omit_defaults=True):
    """Workflows have been deployed anew: what is cached of them is stale. Sent to all processes; answered by `Done`."""

    refs: tuple[str, ...]


class FetchFunctions(Message, frozen=True, kw_only=True, omit_defaults=True):
    """Ask for what came along with a workflow. Answered by `Functions`."""

    ref: str


class Functions(Message, frozen=True, kw_only=True, omit_defaults=True):
    """What came along with a workflow; empty if nobody has deployed it since the cluster started."""

    packed: bytes = b""
    models: dict[str, ModelSettings] = {}
    tools: ToolSettings | None = None


class FetchHosts(Message, frozen=True, kw_only=True, omit_defaults=True):
    """Ask for the hosts. Answered by `Hosts`."""

    suspect: str = ""
    """Address of a host that did not answer: it is checked first."""


class Hosts(Message, frozen=True, kw_only=True, omit_defaults=True):
    """Addresses of the hosts. Any of them takes any session: the one that has a session's newest epoch runs it."""

    hosts: tuple[str, ...]
    store: str
    """Where they keep their records, without password."""


class Place(Message, frozen=True, kw_only=True, omit_defaults=True):
    """Ask where parallel threads live or shall live; a thread keeps its host while it lives. Answered by `Placed`."""

    threads: tuple[str, ...]
    parent_host: str
    """Address of the host that asks: when it dies it gives the places back no more."""
    suspect: str = ""
    """Address of a host that did not answer: it is checked first."""


class Placed(Message, frozen=True, kw_only=True, omit_defaults=True):
    """Addresses of hosts, one for each thread asked for."""

    hosts: tuple[str, ...]


class Released(Message, frozen=True, kw_only=True, omit_defaults=True):
    """These parallel threads are over: their places are free. Not answered."""

    threads: tuple[str, ...]


class FetchPool(Message, frozen=True, kw_only=True, omit_defaults=True):
    """Ask for the executors of a kind. Answered by `Pool`."""

    kind: str
    suspect: str = ""
    """Address of an executor that did not answer: it is checked first."""


class Pool(Message, frozen=True, kw_only=True, omit_defaults=True):
    """Addresses of the executors of a kind."""

    executors: tuple[str, ...]


class PoolChanged(Message, frozen=True, kw_only=True, omit_defaults=True):
    """The supervisor's word to a host: these are the executors of a kind now. Not answered."""

    kind: str
    executors: tuple[str, ...]


class Adopt(Message, frozen=True, kw_only=True, omit_defaults=True):
    """The supervisor's word to a host: go on with these root threads. Answered by `Done` at once."""

    threads: tuple[str, ...]
    lost: str = ""


class TimerSet(Message, frozen=True, kw_only=True, omit_defaults=True):
    """A root thread is paused until a time. Not answered."""

    until: float
    """Unix seconds."""


class Retire(Message, frozen=True, kw_only=True, omit_defaults=True):
    """Replace an executor: something still runs in it that should have stopped. Answered by `Done` when it is."""

    address: str


class DescribeCluster(Message, frozen=True, kw_only=True, omit_defaults=True):
    """Ask what runs. Answered by `Cluster`."""


class DescribeProcess(Message, frozen=True, kw_only=True, omit_defaults=True):
    """Ask a host or an executor how it is. Answered by `ProcessDescribed`."""


class ProcessDescribed(Message, frozen=True, kw_only=True, omit_defaults=True):
    """How a process is."""

    facts: ProcessFacts


class ProcessInfo(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One actor process."""

    address: str
    kind: str
    """`supervisor`, `host`, `function`, `llm` or `tool`."""
    pid: int = 0
    node_id: str = ""
    facts: ProcessFacts = ProcessFacts()
    """What it says of itself; nothing if it does not answer in a second."""


class Cluster(Message, frozen=True, kw_only=True, omit_defaults=True):
    """The actor processes but the supervisor, its memory, and turns that wait for a place on a host."""

    processes: tuple[ProcessInfo, ...]
    waiting: int = 0
    supervisor_rss_bytes: int = 0


class Done(Message, frozen=True, kw_only=True, omit_defaults=True):
    """The request has been carried out."""


Request = (
    StartTurn
    | AwaitTurn
    | CancelThread
    | Answer
    | PauseThread
    | ChangeSession
    | HaltThread
    | ResumeThread
    | BranchThread
    | RestoreThread
    | PoolChanged
    | Adopt
    | TimerSet
    | Retire
    | RunBranch
    | RunSegment
    | EndSegment
    | RunTool
    | DiscoverTools
    | Deploy
    | Redeployed
    | FetchFunctions
    | FetchHosts
    | DescribeProcess
    | Place
    | Released
    | FetchPool
    | DescribeCluster
)
Reply = (
    TurnAccepted
    | TurnDone
    | Stopped
    | BranchDone
    | SegmentDone
    | ToolDone
    | ToolsDiscovered
    | Functions
    | Hosts
    | ProcessDescribed
    | Placed
    | Pool
    | Cluster
    | Done
)

_Reply = TypeVar("_Reply", bound=Message)
_reply_decoder: msgspec.msgpack.Decoder[Reply] = msgspec.msgpack.Decoder(Reply)

encode = msgspec.msgpack.Encoder().encode
"""A message as bytes."""
decode_request = msgspec.msgpack.Decoder[Request](Request).decode
"""The request in some bytes. Raises `msgspec.ValidationError` for anything else."""


def decode_reply(body: bytes, expected: type[_Reply]) -> _Reply:
    """The reply in `body`, which must be an `expected`."""
    reply = _reply_decoder.decode(body)
    if not isinstance(reply, expected):
        raise TypeError(f"expected {expected.__name__}, got {type(reply).__name__}")
    return reply
