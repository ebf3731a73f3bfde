"""The blocking face of the driver API: every call runs its coroutine in one background event loop."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Collection, Coroutine, Iterable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self, TypeVar

import pyarrow as pa

from actors.ports import Head
from actors.protocol import Cluster
from graphs.history import HistoryRecord, Order
from graphs.journal import Usage
from graphs.policies import OnFailure
from graphs.sessions import Session, SessionState
from graphs.state.changes import StateChange, StateHistoryEntry
from graphs.state.snapshots import StateSnapshot, ThreadSnapshot
from graphs.statistics import GroupBy, WorkflowTokenStatistics
from graphs.threads import Durability, ThreadPriority, ThreadState
from graphs.tools import Tool, ToolExecutionResult, ToolType
from graphs.workflow.builder import GraphBuilder
from graphs.workflow.data_tools import DataTool
from graphs.workflow.graph import GraphModel
from runtime.client import AsyncClient
from runtime.events import Event
from runtime.handles import AsyncQueue, AsyncSession, AsyncThread
from runtime.history import Moment
from runtime.loop import LoopThread
from runtime.queues import Item
from runtime.results import StateDict, ThreadResult

_T = TypeVar("_T")


class _Managed(Protocol):
    async def __aenter__(self) -> Any: ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class SyncClient:
    """The blocking driver API over an `AsyncClient`; see there for what each method does."""

    def __init__(self, client: AsyncClient) -> None:
        self._client = client
        self._loop: LoopThread | None = None

    def __enter__(self) -> Self:
        self._loop = LoopThread()
        try:
            self._loop.run(self._enter())
        except BaseException:
            self._loop.stop()
            self._loop = None
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._loop is not None:
            try:
                self._loop.run(self._exit(kind, error, trace))
            finally:
                self._loop.stop()
                self._loop = None

    async def _enter(self) -> None:
        managed: _Managed = self._client  # type: ignore[assignment]
        await managed.__aenter__()

    async def _exit(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        managed: _Managed = self._client  # type: ignore[assignment]
        await managed.__aexit__(kind, error, trace)

    def _run(self, coroutine: Coroutine[Any, Any, _T]) -> _T:
        if self._loop is None:
            coroutine.close()
            raise RuntimeError("the runtime is not open; use it in a `with` block")
        return self._loop.run(coroutine)

    def _iterate(self, source: AsyncGenerator[_T, None]) -> Iterator[_T]:
        if self._loop is None:
            raise RuntimeError("the runtime is not open; use it in a `with` block")
        return self._loop.iterate(source)

    def deploy(self, *graphs: GraphBuilder | GraphModel | str | Path) -> list[str]:
        """See `AsyncClient.deploy`."""
        return self._run(self._client.deploy(*graphs))

    def session(
        self,
        workflow: str | None = None,
        *,
        id: str | None = None,  # noqa: A002 - the driver API's own word
        user_id: str = "",
        metadata: Mapping[str, Any] | None = None,
        permissions: Iterable[str] = (),
        budget: Mapping[str, Any] | None = None,
    ) -> SessionHandle:
        """See `AsyncClient.session`."""
        options: dict[str, Any] = {
            "user_id": user_id,
            "metadata": metadata,
            "permissions": permissions,
            "budget": budget,
        }
        session = self._run(self._client.session(workflow, id=id, **options))
        return SessionHandle(self, session)

    def thread(self, thread_id: str) -> ThreadHandle:
        """See `AsyncClient.thread`."""
        return ThreadHandle(self, self._run(self._client.thread(thread_id)))

    def map(
        self,
        workflow: str,
        inputs: Iterable[Mapping[str, Any]],
        *,
        max_concurrency: int = 64,
        user_id: str = "",
        priority: ThreadPriority | str = ThreadPriority.NORMAL,
    ) -> Iterator[ThreadResult]:
        """See `AsyncClient.map`."""
        return self._iterate(
            self._client.map(workflow, inputs, max_concurrency=max_concurrency, user_id=user_id, priority=priority)
        )

    def cluster(self) -> Cluster:
        """See `AsyncClient.cluster`."""
        return self._run(self._client.cluster())

    @property
    def tools(self) -> ToolsHandle:
        """Tools, outside of any thread."""
        return ToolsHandle(self)

    @property
    def history(self) -> HistoryHandle:
        """Calls of models and tools, what they used, and what it cost."""
        return HistoryHandle(self)


class HistoryHandle:
    """See `AsyncHistory`."""

    def __init__(self, client: SyncClient) -> None:
        self._client = client
        self._history = client._client.history  # noqa: SLF001

    def query(
        self, *, limit: int = 100, after: str = "", order: Order | str = Order.DESC, **filters: Any
    ) -> list[HistoryRecord]:
        """See `AsyncHistory.query`."""
        return self._client._run(self._history.query(limit=limit, after=after, order=order, **filters))  # noqa: SLF001

    def statistics(
        self,
        workflow: str,
        *,
        since: Moment | None = None,
        until: Moment | None = None,
        by: GroupBy | str | None = None,
    ) -> WorkflowTokenStatistics:
        """See `AsyncHistory.statistics`."""
        return self._client._run(self._history.statistics(workflow, since=since, until=until, by=by))  # noqa: SLF001

    def export(self, **filters: Any) -> Iterator[pa.RecordBatch]:
        """See `AsyncHistory.export`."""
        return self._client._iterate(self._history.export(**filters))  # noqa: SLF001

    def export_parquet(self, path: str | Path, **filters: Any) -> int:
        """See `AsyncHistory.export_parquet`."""
        return self._client._run(self._history.export_parquet(path, **filters))  # noqa: SLF001


class ToolsHandle:
    """See `AsyncTools`."""

    def __init__(self, client: SyncClient) -> None:
        self._client = client

    def register(self, tool: Callable[..., Any] | DataTool) -> Tool:
        """See `AsyncTools.register`."""
        return self._client._client.tools.register(tool)  # noqa: SLF001

    def register_mcp(self, name: str, **options: Any) -> list[Tool]:
        """See `AsyncTools.register_mcp`."""
        return self._client._run(self._client._client.tools.register_mcp(name, **options))  # noqa: SLF001

    def discover(self, server: str) -> list[Tool]:
        """See `AsyncTools.discover`."""
        return self._client._run(self._client._client.tools.discover(server))  # noqa: SLF001

    def import_openapi(self, document: Mapping[str, Any] | str | Path, **options: Any) -> list[Tool]:
        """See `AsyncTools.import_openapi`."""
        return self._client._client.tools.import_openapi(document, **options)  # noqa: SLF001

    def list(
        self,
        tags: Iterable[str] | None = None,
        tool_type: ToolType | str | None = None,
        name_contains: str | None = None,
    ) -> list[Tool]:
        """See `AsyncTools.list`."""
        return self._client._client.tools.list(tags, tool_type, name_contains)  # noqa: SLF001

    def execute(self, name: str, arguments: Mapping[str, Any]) -> ToolExecutionResult:
        """See `AsyncTools.execute`."""
        return self._client._run(self._client._client.tools.execute(name, arguments))  # noqa: SLF001


class SessionHandle:
    """See `AsyncSession`."""

    def __init__(self, client: SyncClient, session: AsyncSession) -> None:
        self._client = client
        self._session = session

    @property
    def id(self) -> str:
        """Its id, with which any driver finds it again."""
        return self._session.id

    @property
    def record(self) -> Session:
        """Its record, as it was when this handle was made."""
        return self._session.record

    def run(
        self,
        content: Mapping[str, Any],
        *,
        priority: ThreadPriority | str = ThreadPriority.NORMAL,
        durability: Durability | str | None = None,
        budget: Mapping[str, Any] | None = None,
        timeout_s: float | None = None,
    ) -> ThreadResult:
        """See `AsyncSession.run`."""
        running = self._session.run(
            content, priority=priority, durability=durability, budget=budget, timeout_s=timeout_s
        )
        return self._client._run(running)  # noqa: SLF001

    def submit(
        self,
        content: Mapping[str, Any],
        *,
        priority: ThreadPriority | str = ThreadPriority.NORMAL,
        durability: Durability | str | None = None,
        budget: Mapping[str, Any] | None = None,
    ) -> ThreadHandle:
        """See `AsyncSession.submit`."""
        submitting = self._session.submit(content, priority=priority, durability=durability, budget=budget)
        thread = self._client._run(submitting)  # noqa: SLF001
        return ThreadHandle(self._client, thread)

    def submit_all(
        self,
        contents: Iterable[Mapping[str, Any]],
        *,
        priority: ThreadPriority | str = ThreadPriority.NORMAL,
        durability: Durability | str | None = None,
    ) -> list[ThreadHandle]:
        """See `AsyncSession.submit_all`."""
        submitting = self._session.submit_all(contents, priority=priority, durability=durability)
        return [ThreadHandle(self._client, thread) for thread in self._client._run(submitting)]  # noqa: SLF001

    def queue(
        self, items: Iterable[Item], *, on_failure: OnFailure | str = OnFailure.STOP, name: str = ""
    ) -> QueueHandle:
        """See `AsyncSession.queue`."""
        queue = self._client._run(self._session.queue(items, on_failure=on_failure, name=name))  # noqa: SLF001
        return QueueHandle(self._client, queue)

    def queues(self) -> list[QueueHandle]:
        """See `AsyncSession.queues`."""
        return [QueueHandle(self._client, queue) for queue in self._client._run(self._session.queues())]  # noqa: SLF001

    def usage(self) -> Usage:
        """See `AsyncSession.usage`."""
        return self._client._run(self._session.usage())  # noqa: SLF001

    def snapshot(
        self, *, name: str = "", description: str = "", tags: Collection[str] = (), expires_s: float | None = None
    ) -> StateSnapshot:
        """See `AsyncSession.snapshot`."""
        return self._client._run(  # noqa: SLF001
            self._session.snapshot(name=name, description=description, tags=tags, expires_s=expires_s)
        )

    def snapshots(self) -> list[StateSnapshot]:
        """See `AsyncSession.snapshots`."""
        return self._client._run(self._session.snapshots())  # noqa: SLF001

    def restore(self, snapshot: StateSnapshot | str) -> None:
        """See `AsyncSession.restore`."""
        self._client._run(self._session.restore(snapshot))  # noqa: SLF001

    def state(self) -> SessionState:
        """See `AsyncSession.state`."""
        return self._client._run(self._session.state())  # noqa: SLF001

    def complete(self) -> None:
        """See `AsyncSession.complete`."""
        self._client._run(self._session.complete())  # noqa: SLF001

    def pause(self, reason: str = "asked by the driver") -> None:
        """See `AsyncSession.pause`."""
        self._client._run(self._session.pause(reason))  # noqa: SLF001

    def resume(self) -> None:
        """See `AsyncSession.resume`."""
        self._client._run(self._session.resume())  # noqa: SLF001

    def abort(self, reason: str = "asked by the driver") -> None:
        """See `AsyncSession.abort`."""
        self._client._run(self._session.abort(reason))  # noqa: SLF001

    def threads(self) -> list[Head]:
        """See `AsyncSession.threads`."""
        return self._client._run(self._session.threads())  # noqa: SLF001


class ThreadHandle:
    """See `AsyncThread`."""

    def __init__(self, client: SyncClient, thread: AsyncThread) -> None:
        self._client = client
        self._thread = thread

    @property
    def id(self) -> str:
        """Its id, with which any driver finds it again."""
        return self._thread.id

    @property
    def turn(self) -> int:
        """Number of the turn this handle is about."""
        return self._thread.turn

    def result(self, *, timeout_s: float | None = None) -> ThreadResult:
        """See `AsyncThread.result`."""
        return self._client._run(self._thread.result(timeout_s=timeout_s))  # noqa: SLF001

    def status(self) -> ThreadState:
        """See `AsyncThread.status`."""
        return self._client._run(self._thread.status())  # noqa: SLF001

    def state(self, *, at: int | None = None) -> StateDict:
        """See `AsyncThread.state`."""
        return self._client._run(self._thread.state(at=at))  # noqa: SLF001

    def history(self, *, after: int = 0, limit: int | None = None) -> list[StateHistoryEntry]:
        """See `AsyncThread.history`."""
        return self._client._run(self._thread.history(after=after, limit=limit))  # noqa: SLF001

    def update(self, values: Mapping[str, Any], *, user_id: str = "") -> None:
        """See `AsyncThread.update`."""
        self._client._run(self._thread.update(values, user_id=user_id))  # noqa: SLF001

    def diff(self, a: int, b: int | None = None, *, other: ThreadHandle | str | None = None) -> list[StateChange]:
        """See `AsyncThread.diff`."""
        second = other.id if isinstance(other, ThreadHandle) else other
        return self._client._run(self._thread.diff(a, b, other=second))  # noqa: SLF001

    def branch(self, at: int | None = None, update: Mapping[str, Any] | None = None, *, name: str = "") -> ThreadHandle:
        """See `AsyncThread.branch`."""
        return ThreadHandle(self._client, self._client._run(self._thread.branch(at, update, name=name)))  # noqa: SLF001

    def snapshot(
        self, *, name: str = "", description: str = "", tags: Collection[str] = (), expires_s: float | None = None
    ) -> StateSnapshot:
        """See `AsyncThread.snapshot`."""
        return self._client._run(  # noqa: SLF001
            self._thread.snapshot(name=name, description=description, tags=tags, expires_s=expires_s)
        )

    def snapshots(self) -> list[ThreadSnapshot]:
        """See `AsyncThread.snapshots`."""
        return self._client._run(self._thread.snapshots())  # noqa: SLF001

    def restore(self, snapshot: StateSnapshot | ThreadSnapshot | str | int) -> None:
        """See `AsyncThread.restore`."""
        self._client._run(self._thread.restore(snapshot))  # noqa: SLF001

    def promote(self) -> None:
        """See `AsyncThread.promote`."""
        self._client._run(self._thread.promote())  # noqa: SLF001

    def events(self, *, after: int = 0, children: bool = False) -> Iterator[Event]:
        """See `AsyncThread.events`."""
        return self._client._iterate(self._thread.events(after=after, children=children))  # noqa: SLF001

    def answer(self, value: Any) -> None:
        """See `AsyncThread.answer`."""
        self._client._run(self._thread.answer(value))  # noqa: SLF001

    def answer_schema(self) -> dict[str, Any]:
        """See `AsyncThread.answer_schema`."""
        return self._client._run(self._thread.answer_schema())  # noqa: SLF001

    def pause(self, reason: str = "asked by the driver") -> None:
        """See `AsyncThread.pause`."""
        self._client._run(self._thread.pause(reason))  # noqa: SLF001

    def resume(self) -> None:
        """See `AsyncThread.resume`."""
        self._client._run(self._thread.resume())  # noqa: SLF001

    def cancel(self, reason: str = "asked by the driver") -> None:
        """See `AsyncThread.cancel`."""
        self._client._run(self._thread.cancel(reason))  # noqa: SLF001


class QueueHandle:
    """See `AsyncQueue`."""

    def __init__(self, client: SyncClient, queue: AsyncQueue) -> None:
        self._client = client
        self._queue = queue

    @property
    def id(self) -> str:
        """Id of the thread that runs it."""
        return self._queue.id

    @property
    def thread(self) -> ThreadHandle:
        """See `AsyncQueue.thread`."""
        return ThreadHandle(self._client, self._queue.thread)

    def threads(self) -> list[ThreadHandle | None]:
        """See `AsyncQueue.threads`."""
        threads = self._client._run(self._queue.threads())  # noqa: SLF001
        return [None if thread is None else ThreadHandle(self._client, thread) for thread in threads]

    def result(self, number: int, *, timeout_s: float | None = None) -> ThreadResult:
        """See `AsyncQueue.result`."""
        return self._client._run(self._queue.result(number, timeout_s=timeout_s))  # noqa: SLF001

    def results(self, *, timeout_s: float | None = None) -> list[ThreadResult]:
        """See `AsyncQueue.results`."""
        return self._client._run(self._queue.results(timeout_s=timeout_s))  # noqa: SLF001
