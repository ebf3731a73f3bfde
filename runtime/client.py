"""The driver API, asynchronous: deploy workflows, hold sessions, run turns, follow threads."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter, deque
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from pydantic_core import PydanticSerializationError, to_json
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, wait_random_exponential

from actors.catalog import Catalog
from actors.errors import ActiveElsewhere, DestinationDied
from actors.network import SUPERVISOR
from actors.protocol import (
    Answer,
    AwaitTurn,
    BranchThread,
    CancelThread,
    ChangeSession,
    Cluster,
    Deploy,
    DescribeCluster,
    Done,
    FetchHosts,
    Hosts,
    Message,
    PauseThread,
    RestoreThread,
    ResumeThread,
    StartTurn,
    Stopped,
    TurnAccepted,
    TurnDone,
)
from graphs.budgets import Budget
from graphs.errors import NotFoundError, StateInvalid, ValidationError
from graphs.journal import Pause, PauseKind
from graphs.policies import OnFailure
from graphs.sessions import Session, SessionContext, SessionState
from graphs.suggest import did_you_mean, one_of
from graphs.threads import (
    Durability,
    Thread,
    ThreadFactory,
    ThreadPriority,
    ThreadState,
    main_thread_id,
    root_of,
    session_of,
)
from graphs.workflow.builder import GraphBuilder
from graphs.workflow.graph import GraphModel
from runtime.config import Config
from runtime.connection import Connection
from runtime.deployment import Deployment, prepare, tools_named
from runtime.handles import AsyncSession, AsyncThread
from runtime.history import AsyncHistory
from runtime.home import Home, new_id, new_session
from runtime.queues import Item, prepare_queue
from runtime.records import Records
from runtime.results import ThreadResult
from runtime.tools import AsyncTools

_Reply = TypeVar("_Reply", bound=Message)

logger = logging.getLogger(__name__)

HostRequest = (
    StartTurn
    | AwaitTurn
    | CancelThread
    | Answer
    | PauseThread
    | ResumeThread
    | BranchThread
    | RestoreThread
    | ChangeSession
)

HOST_RETRY_S = 60.0
"""How long a driver looks for a living host before it gives up."""


class AsyncClient:
    """The driver API over an open connection; `AsyncRuntime` and `AsyncLocalRuntime` open one and inherit it."""

    config: Config
    _connection: Connection
    _deployments: dict[str, Deployment]

    def _attach(self, connection: Connection) -> None:
        self._connection = connection
        self._deployments = {}
        self._hosts: tuple[str, ...] = ()
        self._asked: Counter[str] = Counter()
        """Host -> requests of this driver under way there."""
        self._submitted: Counter[str] = Counter()
        """Host -> turns it has accepted that were only submitted: nobody here knows when they are over."""
        self._ready: set[str] = set()
        self._refs: dict[str, str] = {}
        """What somebody has called a workflow -> the build that was the last time."""
        """Refs of the workflows that can run: what they need besides actors is started."""
        self._making_ready = asyncio.Lock()
        self._catalog = Catalog(connection.store.workflows, self._own_functions)
        self.records = Records(connection.store, self._catalog)
        self.history = AsyncHistory(connection.store.history)
        self.tools = AsyncTools(connection, self.config.tools.values(), self.config.mcp)

    async def _own_functions(self, ref: str) -> Mapping[str, Any]:
        deployment = self._deployments.get(ref)
        return {} if deployment is None else deployment.functions

    # --- workflows --------------------------------------------------------------------------------------------------

    async def deploy(self, *graphs: GraphBuilder | GraphModel | str | Path) -> list[str]:
        """Make workflows ready to run.

        Args:
            *graphs: Graphs, or paths of YAML or JSON files of graphs.

        Returns:
            `id@version+build` of each: what its threads stay on. `id` and `id@version` name the newest build.

        Raises:
            GraphInvalid: A graph has problems; all of them are listed.
            WorkflowFileError: A file cannot be read.
        """
        refs = []
        for graph in graphs:
            await self.tools.discover_named(tools_named(graph))
            deployment = await prepare(
                graph,
                self._connection.store.workflows,
                tools=[tool.name for tool in self.tools.list()],
                models=self.config.models,
                own_tools=self.tools.own,
            )
            await self._before_run(deployment.models.values())
            await deployment.save(self._connection.store.workflows)
            self._deployments.update(dict.fromkeys(deployment.models, deployment))
            self._ready.update(deployment.models)
            self._catalog.forget(deployment.models)
            packed = self._connection.pack(deployment.functions) if deployment.functions else b""
            request = Deploy(
                refs=tuple(deployment.models),
                kinds=deployment.kinds,
                functions=packed,
                models=dict(self._connection.models),
                tools=self._connection.tools,
            )
            await self._connection.network.ask(SUPERVISOR, request, Done)
            refs.append(deployment.ref)
        return refs

    async def _before_run(self, graphs: Iterable[GraphModel]) -> None:
        """Start what these graphs need besides actors."""

    async def _make_ready(self, ref: str) -> None:
        """Have all there is that a workflow needs, whoever has deployed it."""
        async with self._making_ready:
            if ref in self._ready:
                return
            graphs: dict[str, GraphModel] = {}
            wanted = [ref]
            while wanted:
                stored = await self._connection.store.workflows.get(wanted.pop())
                if stored is not None and stored[0] not in graphs:
                    graph = graphs[stored[0]] = GraphModel.model_validate_json(stored[1])
                    wanted += graph.runs()
            await self._before_run(graphs.values())
            self._ready.update(graphs)

    async def _workflow_ref(self, workflow: str) -> str:
        ref = await self._connection.store.workflows.resolve(workflow)
        if ref is None:
            known = await self._connection.store.workflows.list()
            hint = did_you_mean(workflow, [ref.partition("@")[0] for ref in known])
            raise NotFoundError(
                f"no workflow {workflow!r} is deployed{hint}; `greenroom workflows ls` lists them",
                kind="workflow",
                key=workflow,
            )
        return ref

    # --- sessions and threads ---------------------------------------------------------------------------------------

    async def session(
        self,
        workflow: str | None = None,
        *,
        id: str | None = None,  # noqa: A002 - the driver API's own word
        user_id: str = "",
        metadata: Mapping[str, Any] | None = None,
        permissions: Iterable[str] = (),
        budget: Mapping[str, Any] | None = None,
    ) -> AsyncSession:
        """Begin a session with a workflow, or find one again.

        Args:
            workflow: `id` (its latest version) or `id@version`. None: find the session `id`.
            id: Id of the session; a new one is made if only `workflow` is given.
            user_id: Whose session it is.
            metadata: JSON-able values kept with it.
            permissions: What it may call of the tools that require permissions.
            budget: What all its turns may use together of `tokens` and `cost` (and `currency`), and each of them of
                `time_s` and `steps`.

        Raises:
            NotFoundError: No such workflow or session.
        """
        if workflow is None:
            if id is None:
                raise TypeError("session() needs a workflow, or the id of a session")
            return AsyncSession(self, await self._found(await self.records.session(id)))
        context = SessionContext(metadata=dict(metadata or {}), permissions=tuple(permissions))
        stored = await self._stored(workflow, new_session("", id, user_id, context, Budget.of(budget)))
        return AsyncSession(self, Home(stored) if id is None else await self._found(stored))

    async def _found(self, session: Session) -> Home:
        """Where the main thread of a session was last active, if it has been."""
        head = await self._connection.store.journal.head(main_thread_id(session.id))
        return Home(session, "" if head is None else head.host)

    async def _stored(self, workflow: str, session: Session) -> Session:
        """Store a session with the build that `workflow` stands for, which mostly is the one it stood for before."""
        ref = self._refs.get(workflow)
        while True:
            if ref is None:
                ref = self._refs[workflow] = await self._workflow_ref(workflow)
            session = msgspec.structs.replace(session, workflow_id=ref)
            alias = workflow if workflow != ref else ""
            stored = await self._connection.store.sessions.create(session, alias=alias)
            if stored is not None:
                return stored
            ref = None

    async def thread(self, thread_id: str) -> AsyncThread:
        """A thread by its id, whichever driver has started it. Raises `NotFoundError`."""
        head = await self.records.head(thread_id)
        return AsyncThread(self, thread_id, turn=max(1, head.cursor.turn if head is not None else 0))

    async def map(
        self,
        workflow: str,
        inputs: Iterable[Mapping[str, Any]],
        *,
        max_concurrency: int = 64,
        user_id: str = "",
        priority: ThreadPriority | str = ThreadPriority.NORMAL,
    ) -> AsyncGenerator[ThreadResult, None]:
        """Run a workflow for each input, each in a session of its own; yields the results in the order of the inputs.

        Args:
            workflow: `id` or `id@version`.
            inputs: Values for the state's channels, one mapping for each run. Read as needed.
            max_concurrency: Most runs at a time. At most four times as many wait to be taken by a slow reader.
            user_id: Whose sessions they are.
            priority: Who goes first when the hosts are full.

        Raises:
            ValidationError: An option is wrong.
            StateInvalid: An input does not fit the state.

        After an error, and when the reader stops early, what still runs is cancelled.
        """
        if max_concurrency < 1:
            raise ValidationError(f"max_concurrency is {max_concurrency}; give 1 or more", problems=["max_concurrency"])
        ref = await self._workflow_ref(workflow)
        slots = asyncio.Semaphore(max_concurrency)
        running: dict[str, Home] = {}

        async def run(content: Mapping[str, Any]) -> ThreadResult:
            home = Home(new_session(ref, None, user_id, SessionContext()))
            running[home.session.id] = home
            try:
                result = await AsyncSession(self, home).run(content, priority=priority)
            finally:
                slots.release()
            del running[home.session.id]
            return result

        tasks: deque[asyncio.Task[ThreadResult]] = deque()
        try:
            for content in inputs:
                await slots.acquire()
                tasks.append(asyncio.create_task(run(content), name=f"map {ref}"))
                while tasks and (tasks[0].done() or len(tasks) >= 4 * max_concurrency):
                    yield await tasks.popleft()
            while tasks:
                yield await tasks.popleft()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await asyncio.gather(*map(self._abandon, running.values()))

    async def _abandon(self, home: Home) -> None:
        """Cancel the turn of a session nobody knows of any more, if it has begun one."""
        request = CancelThread(thread_id=main_thread_id(home.session.id), reason="nobody waits for its result")
        with suppress(NotFoundError, DestinationDied, ActiveElsewhere):
            await self._ask_once(home, request, Stopped)

    async def cluster(self) -> Cluster:
        """The actor processes that run, and how many threads each has."""
        return await self._connection.network.ask(SUPERVISOR, DescribeCluster(), Cluster)

    # --- for handles ------------------------------------------------------------------------------------------------

    async def start_turn(
        self,
        home: Home,
        content: Mapping[str, Any],
        priority: ThreadPriority | str,
        durability: Durability | str | None,
        budget: Mapping[str, Any] | None,
        wait: bool,
        expected: type[_Reply],
    ) -> _Reply:
        """Have a host run the next turn of a session."""
        session = home.session
        schema = await self.records.schema(session.workflow_id)
        if session.workflow_id not in self._ready:
            await self._make_ready(session.workflow_id)
        request = StartTurn(
            session=session,
            content=await self.records.encoded(main_thread_id(session.id), schema, schema.check_input(content)),
            interaction_id=new_id(),
            priority=one_of(ThreadPriority, "priority", priority),
            durability=None if durability is None else one_of(Durability, "durability", durability),
            budget=Budget.of(budget),
            wait=wait,
            known_seq=None if home.known is None else home.known.seq,
        )
        return await self._ask_host(home, request, expected)

    async def outcome(self, thread_id: str, turn: int) -> ThreadResult:
        """How a turn of a main thread ends, having a host go on with it."""
        home = await self._home(thread_id)
        return await self.settled(home, await self._await_turn(home, thread_id, turn))

    async def settled(self, home: Home, done: TurnDone) -> ThreadResult:
        """How a turn ends that may not be over: pauses that end by themselves are waited for, and turns before it."""
        while done.status is ThreadState.PENDING or (done.pause is not None and done.pause.passes):
            await self.records.news(done.thread_id, after=done.seq)
            done = await self._await_turn(home, done.thread_id, done.turn)
        workflow = home.session.workflow_id
        if done.thread_id != main_thread_id(home.session.id):
            workflow = (await self.records.thread(done.thread_id)).thread.workflow
        schema = await self.records.schema(workflow)
        state = home.state_of(done, schema)
        if state is None:
            state = await self.records.replayed(await self.records.thread(done.thread_id), schema, done.seq)
        home.remember(done, schema, state)
        return await self.records.to_result(done, schema, schema.copied(state))

    async def _await_turn(self, home: Home, thread_id: str, turn: int) -> TurnDone:
        workflow = home.session.workflow_id
        if workflow not in self._ready:
            await self._make_ready(workflow)
        return await self._ask_host(home, AwaitTurn(thread_id=thread_id, turn=turn), TurnDone)

    async def change_session(self, session_id: str, state: SessionState, reason: str) -> None:
        """Have a session paused, resumed or aborted; returns when that is recorded for all of its threads."""
        home = await self._home(main_thread_id(session_id))
        if home.session.workflow_id not in self._ready:
            await self._make_ready(home.session.workflow_id)
        await self._ask_host(home, ChangeSession(session_id=session_id, state=state, reason=reason), Done)

    async def answer(self, thread_id: str, value: Any) -> None:
        """Have the question of a paused thread answered; returns when that is recorded."""
        head = await self.records.thread(thread_id)
        try:
            encoded = to_json(value)
        except PydanticSerializationError as error:
            raise StateInvalid(f"the answer cannot be sent: {error}", problems=[str(error)]) from error
        request = Answer(thread_id=thread_id, seq=head.seq, value=encoded, operation_id=new_id())
        await self._let_go_on(request)

    async def pause(self, thread_id: str, reason: str) -> None:
        """Have a running thread paused; returns when that is recorded."""
        pause = Pause(kind=PauseKind.ASKED, reason=reason)
        await self._ask_host(await self._home(thread_id), PauseThread(thread_id=thread_id, pause=pause), Done)

    async def resume(self, thread_id: str) -> None:
        """Have a thread go on that somebody has paused; returns when that is recorded."""
        await self.records.thread(thread_id)
        await self._let_go_on(ResumeThread(thread_id=thread_id))

    async def _let_go_on(self, request: Answer | ResumeThread) -> None:
        home = await self._home(root_of(request.thread_id))
        if home.session.workflow_id not in self._ready:
            await self._make_ready(home.session.workflow_id)
        await self._ask_host(home, request, Done)

    async def cancel(self, thread_id: str, turn: int, reason: str) -> None:
        """Have a turn of a thread cancelled; returns when that is recorded."""
        request = CancelThread(thread_id=thread_id, turn=turn, reason=reason)
        await self._ask_host(await self._home(thread_id), request, Stopped)

    async def branch(
        self, thread_id: str, at: int | None, update: Mapping[str, Any] | None, name: str
    ) -> tuple[str, int]:
        """Begin a what-if branch of a thread; its id and the number of its turn are returned."""
        source = await self.records.thread(thread_id)
        seq = source.seq if at is None else at
        workflow = source.thread.workflow
        schema = await self.records.schema(workflow)
        write = None if update is None else schema.check_input(update)
        thread = ThreadFactory(time.time()).branch(source.thread, seq, new_id(), name)
        delta = None if write is None else await self.records.encoded(thread.id, schema, write)
        return thread.id, await self._begin(thread, delta)

    async def queue(self, session_id: str, items: Sequence[Item], on_failure: OnFailure | str, name: str) -> str:
        """Have workflows run in a session one after the other; the id of the thread that does so is returned."""
        refs = [await self._workflow_ref(workflow) for workflow, _ in items]
        policy = one_of(OnFailure, "on_failure", on_failure)
        pinned = [(ref, content) for ref, (_, content) in zip(refs, items, strict=True)]
        thread, delta = await prepare_queue(self.records, session_id, pinned, policy, name, new_id())
        await self._begin(thread, delta)
        return thread.id

    async def _begin(self, thread: Thread, update: bytes | None) -> int:
        """Have a thread begin that runs by itself; the number of its turn is returned."""
        await self._make_ready(thread.workflow.partition("#")[0])
        home = Home(await self.records.session(thread.session_id))
        return (await self._ask_host(home, BranchThread(thread=thread, update=update), TurnAccepted)).turn

    async def restore(self, thread_id: str, origin: tuple[str, int]) -> None:
        """Have a thread get the state of another seq; returns when that is recorded."""
        request = RestoreThread(thread_id=thread_id, origin=origin, operation_id=new_id())
        await self._ask_host(await self._home(thread_id), request, Done)

    async def update(self, thread_id: str, delta: bytes, user_id: str) -> None:
        """Have a write recorded, and applied to the state of a thread at rest."""
        request = RestoreThread(thread_id=thread_id, update=delta, user_id=user_id, operation_id=new_id())
        await self._ask_host(await self._home(thread_id), request, Done)

    async def _home(self, thread_id: str) -> Home:
        """Where a thread was last active."""
        session = await self.records.session(session_of(thread_id))
        head = await self.records.head(thread_id)
        return Home(session, "" if head is None else head.host)

    async def _ask_host(self, home: Home, request: HostRequest, expected: type[_Reply]) -> _Reply:
        """Ask the host of a session, and another one if it dies. Every request here may be repeated."""
        try:
            return await self._ask_once(home, request, expected)  # the common case needs no retrying object
        except (DestinationDied, ActiveElsewhere):
            logger.info("session %s is not on its host any more; looking for it", home.session.id)
        retrying = AsyncRetrying(
            retry=retry_if_exception_type((DestinationDied, ActiveElsewhere)),
            stop=_given_up,
            wait=wait_random_exponential(0.05, max=2),
            reraise=True,
        )
        return await retrying(self._ask_once, home, request, expected)

    async def _ask_once(self, home: Home, request: HostRequest, expected: type[_Reply]) -> _Reply:
        hosts = self._hosts or await self._fetch_hosts()
        if home.host not in hosts:
            home.host = min(hosts, key=lambda host: (self._asked[host], self._submitted[host]))
        host = home.host
        self._asked[host] += 1
        try:
            if home.lost:
                request = msgspec.structs.replace(request, lost=home.lost)
            reply = await self._connection.network.ask(host, request, expected)
            self._submitted[host] += isinstance(reply, TurnAccepted)
            return reply
        except DestinationDied:
            if host not in await self._fetch_hosts(suspect=host):
                home.lost = host
            raise
        except ActiveElsewhere as error:
            home.host = error.host
            if error.host not in self._hosts and error.host not in await self._fetch_hosts(suspect=error.host):
                home.lost = error.host
            raise
        finally:
            self._asked[host] -= 1

    async def _fetch_hosts(self, *, suspect: str = "") -> tuple[str, ...]:
        reply = await self._connection.network.ask(SUPERVISOR, FetchHosts(suspect=suspect), Hosts)
        self._hosts = reply.hosts
        return reply.hosts


def _given_up(state: RetryCallState) -> bool:
    """Whether enough was waited for a living host. How long hosts took to answer does not count."""
    return state.idle_for >= HOST_RETRY_S
