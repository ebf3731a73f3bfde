"""Running the branches of a fork or map as parallel threads on the hosts the supervisor names, and joining them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

import msgspec

from actors.catalog import Catalog
from actors.errors import ActiveElsewhere, DestinationDied
from actors.network import SUPERVISOR, Network
from actors.patience import patiently
from actors.ports import Clock
from actors.protocol import (
    BranchDone,
    CancelThread,
    FetchHosts,
    Hosts,
    Message,
    Place,
    Placed,
    Released,
    RunBranch,
    Stopped,
)
from actors.values import Values
from graphs.errors import ErrorInfo, GreenroomError, StateInvalid
from graphs.journal import END, Cursor, Fork, Usage
from graphs.state.refs import ValueRef
from graphs.threads import Thread, ThreadMetadata, ThreadState, ThreadType, child_thread_id
from graphs.workflow.joins import CancelBranch, FailFork, Join, JoinCommand, Merge, StartBranch
from graphs.workflow.node import MapConfig
from graphs.workflow.plan import ITEM, RESULT, Plan

_Reply = TypeVar("_Reply", bound=Message)


@dataclass(frozen=True, slots=True, kw_only=True)
class BranchParent:
    """The thread that has forked."""

    thread: Thread
    plan: Plan
    state: Mapping[str, Any]
    cursor: Cursor
    seq: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Joined:
    """What the branches brought."""

    writes: list[dict[str, Any]] = field(default_factory=list)
    """In branch order, to be applied one after the other."""
    error: ErrorInfo | None = None
    """Why they cannot be joined."""
    usage: Usage
    """Tokens of all branches, those included whose writes are not wanted."""
    started_at: float
    """Unix seconds."""


class Branches:
    """Starts, watches, cancels and joins the branches of forks, for all threads of a host."""

    def __init__(self, host: str, network: Network, catalog: Catalog, values: Values, clock: Clock) -> None:
        self._host = host
        self._network = network
        self._catalog = catalog
        self._values = values
        self._clock = clock

    async def run(self, parent: BranchParent, fork: Fork) -> Joined:
        """Run `fork` to its join. Branches that have run already (before a crash) are not run again."""
        started_at = self._clock.now()
        running = self._fork_run(parent, fork)
        writes: list[dict[str, Any]] = []
        error: ErrorInfo | None = None
        outcome = await running.run()
        if isinstance(outcome, ErrorInfo):
            error = outcome
        else:
            try:
                writes = await self._writes(parent, fork, outcome)
            except StateInvalid as failure:
                error = failure.info()
        return Joined(writes=writes, error=error, usage=running.usage, started_at=started_at)

    async def cancel(self, parent: BranchParent, fork: Fork, reason: str) -> Usage:
        """Cancel all branches of `fork`, and record that; those that are over stay as they are.

        Returns:
            Tokens they have used.
        """
        running = self._fork_run(parent, fork)
        await running.cancel_all(reason)
        return running.usage

    def _fork_run(self, parent: BranchParent, fork: Fork) -> _ForkRun:
        return _ForkRun(parent, fork, self._host, self._network, self._catalog, self._values, self._clock)

    async def _writes(self, parent: BranchParent, fork: Fork, done: Mapping[int, BranchDone]) -> list[dict[str, Any]]:
        schema = parent.plan.schema
        if fork.targets:
            return [schema.decode_delta(delta) for branch in done.values() for delta in branch.deltas]
        config = parent.plan.nodes[fork.node].config
        assert isinstance(config, MapConfig)
        item_schema = await self._catalog.schema(item_workflow(parent.plan, fork.node))
        values = self._values.of(parent.thread.id, item_schema)
        results: list[Any] = []
        for index in range(fork.size):
            branch = done.get(index)
            if branch is not None:
                state = await values.load(item_schema.decode_state(branch.state), _result_channels(config))
                results.append(_result(config, state, item_schema.plain))
            elif config.on_branch_error == "collect":
                results.append(None)
        write = schema.check_write(fork.node, {config.into: results}, None)
        small, _ = await self._values.of(parent.thread.id, schema).spill(write)
        return [small]


class _ForkRun:
    """One fork that is running."""

    def __init__(
        self,
        parent: BranchParent,
        fork: Fork,
        host: str,
        network: Network,
        catalog: Catalog,
        values: Values,
        clock: Clock,
    ) -> None:
        self._parent = parent
        self._fork = fork
        self._host = host
        self._network = network
        self._catalog = catalog
        self._values = values
        self._parent_values = values.of(parent.thread.id, parent.plan.schema)
        self._clock = clock
        config = parent.plan.nodes[fork.node].config if not fork.targets else None
        self._config = config if isinstance(config, MapConfig) else None
        policy, max_running = parent.plan.join_policy(fork.node)
        self._join = Join(node=fork.node, size=fork.size, policy=policy, max_running=max_running)
        self._deadline_s = policy.deadline_s
        self._unwanted = f"the fork at {fork.node!r} went on without it"
        """Why branches are cancelled whose result is not wanted any more."""
        self._ids = [child_thread_id(parent.thread.id, fork.seq, index) for index in range(fork.size)]
        self._tasks: dict[int, asyncio.Task[BranchDone]] = {}
        self._ended: asyncio.Queue[int | None] = asyncio.Queue(fork.size + 1)
        """Branches that are over; None for the deadline."""
        self._hosts: dict[int, str] = {}
        self._lost: dict[int, str] = {}
        """Branch -> dead host that it may be taken from."""
        self._done: dict[int, BranchDone] = {}
        self._base = b""
        self.usage = Usage()
        """Tokens of the branches that are over."""

    async def run(self) -> dict[int, BranchDone] | ErrorInfo:
        """Results by branch index, or why there are none."""
        self._base = self._parent.plan.schema.encode_state(dict(self._parent.state))
        deadline = None
        if self._deadline_s is not None:
            deadline = asyncio.create_task(self._await(self._deadline_s), name=f"deadline of {self._fork.node}")
        try:
            outcome = await self._until_closed()
        finally:
            # Cut off, the branches run on, and keep their hosts: the thread will ask for them again, or cancel them.
            left: list[asyncio.Task[Any]] = [*self._tasks.values(), *([deadline] if deadline is not None else [])]
            for task in left:
                task.cancel()
            await asyncio.gather(*left, return_exceptions=True)
        await self._release()
        return outcome

    async def cancel_all(self, reason: str) -> None:
        """Cancel every branch that is not over."""
        self._hosts = dict(enumerate(await self._places(range(len(self._ids)))))
        await self._stop(list(self._hosts), reason)
        await self._release()

    async def _await(self, deadline_s: float) -> None:
        await self._clock.sleep(deadline_s)
        self._ended.put_nowait(None)

    async def _until_closed(self) -> dict[int, BranchDone] | ErrorInfo:
        commands = self._join.open()
        while (outcome := await self._perform(commands)) is None:
            commands = self._note(await self._ended.get())
            while not self._ended.empty():  # one message places all branches that may start now
                commands += self._note(self._ended.get_nowait())
        return outcome

    def _note(self, index: int | None) -> list[JoinCommand]:
        """What is to be done now that a branch is over, or the deadline has come."""
        if index is None:
            return self._join.deadline_passed()
        try:
            done = self._tasks.pop(index).result()
        except GreenroomError as error:
            return self._join.failed_with(index, error.info())
        self.usage += done.usage
        if done.status is ThreadState.COMPLETED:
            self._done[index] = done
            return self._join.finished(index)
        assert done.error is not None
        if done.error.fields.get("reason") == self._unwanted:
            return []  # before a crash this fork went on without it, and what made it do so comes again
        return self._join.failed_with(index, done.error)

    async def _perform(self, commands: list[JoinCommand]) -> dict[int, BranchDone] | ErrorInfo | None:
        outcome: dict[int, BranchDone] | ErrorInfo | None = None
        unwanted = {command.index for command in commands if isinstance(command, CancelBranch)}
        start = [command.index for command in commands if isinstance(command, StartBranch)]
        if wanted := [index for index in start if index not in unwanted]:
            await self._start(wanted)
        if running := [index for index in unwanted if index in self._tasks]:
            for index in running:
                self._tasks.pop(index).cancel()
            await self._stop(running, self._unwanted)
        for command in commands:
            match command:
                case Merge(indices):
                    outcome = {index: self._done[index] for index in indices}
                case FailFork(error):
                    outcome = error
                case StartBranch() | CancelBranch():
                    pass
        return outcome

    async def _start(self, indices: list[int]) -> None:
        for index, host in zip(indices, await self._places(indices), strict=True):
            self._hosts[index] = host
            task = asyncio.create_task(self._branch(index), name=f"branch {self._ids[index]}")
            task.add_done_callback(partial(self._branch_ended, index))
            self._tasks[index] = task

    def _branch_ended(self, index: int, task: asyncio.Task[BranchDone]) -> None:
        if not task.cancelled():
            self._ended.put_nowait(index)

    async def _branch(self, index: int) -> BranchDone:
        """Run branch `index` to its end, wherever its host is."""
        content = await patiently(self._clock, self._content, index)
        return await self._ask(index, self._request(index, content), BranchDone)

    async def _stop(self, indices: list[int], reason: str) -> None:
        requests = [CancelThread(thread_id=self._ids[index], reason=reason) for index in indices]
        stopped = await asyncio.gather(
            *(self._ask(index, request, Stopped) for index, request in zip(indices, requests, strict=True))
        )
        self.usage = sum((each.usage for each in stopped), self.usage)

    async def _ask(self, index: int, message: RunBranch | CancelThread, expected: type[_Reply]) -> _Reply:
        """Ask the host of a branch; if it is gone, the host that takes its place."""

        async def ask() -> _Reply:
            asked = msgspec.structs.replace(message, lost=self._lost.get(index, ""))
            try:
                return await self._network.ask(self._hosts[index], asked, expected)
            except DestinationDied:
                before = self._hosts[index]
                (self._hosts[index],) = await self._places((index,), suspect=before)
                if self._hosts[index] != before:
                    self._lost[index] = before
                raise
            except ActiveElsewhere as error:
                hosts = (await self._network.ask(SUPERVISOR, FetchHosts(suspect=error.host), Hosts)).hosts
                if error.host in hosts:
                    self._hosts[index] = error.host
                else:
                    self._lost[index] = error.host
                raise DestinationDied(error.message, destination=error.host) from error  # to ask again

        return await patiently(self._clock, ask)

    async def _places(self, indices: Iterable[int], suspect: str = "") -> tuple[str, ...]:
        """Where these branches live or shall live."""
        ids = tuple(self._ids[index] for index in indices)
        place = Place(threads=ids, parent_host=self._host, suspect=suspect)
        return (await self._network.ask(SUPERVISOR, place, Placed)).hosts

    async def _content(self, index: int) -> bytes | None:
        """The encoded input of a map's item; None for a branch of a fork."""
        config = self._config
        if config is None:
            return None
        schema = await self._catalog.schema(item_workflow(self._parent.plan, self._fork.node))
        state = self._parent.state
        if config.node is not None and not isinstance(state[config.over], ValueRef):
            item = state[config.over][index]
            if isinstance(item, ValueRef):  # of the same type here and there: passed on as it is
                return schema.encode_delta({ITEM: item})
        else:
            item = (await self._parent_values.load(state, (config.over,)))[config.over][index]
        write = schema.check_input(_item_input(config, item))
        return (await self._values.of(self._ids[index], schema).spill(write))[1]

    def _request(self, index: int, content: bytes | None) -> RunBranch:
        parent, fork, plan = self._parent, self._fork, self._parent.plan
        item = self._config is not None
        workflow = item_workflow(plan, fork.node) if item else plan.ref
        shares_state = not item or "#" in workflow
        thread = Thread(
            id=self._ids[index],
            session_id=parent.thread.session_id,
            thread_type=ThreadType.PARALLEL,
            workflow=workflow,
            base=(parent.thread.id, parent.seq) if shares_state else None,
            metadata=ThreadMetadata(
                name=f"{fork.node}[{index}]" if item else fork.targets[index],
                parent_thread_id=parent.thread.id,
                priority=parent.thread.metadata.priority,
            ),
            created_at=self._clock.now(),
            updated_at=self._clock.now(),
        )
        return RunBranch(
            thread=thread,
            at=None if item else fork.targets[index],
            stop_at=END if item else fork.join,
            steps=parent.cursor.steps,
            content=content,
            state=self._base if shares_state else None,
            durability=parent.cursor.durability,
        )

    async def _release(self) -> None:
        if self._hosts:
            ids = tuple(self._ids[index] for index in self._hosts)
            await self._network.tell(SUPERVISOR, Released(threads=ids))


def item_workflow(plan: Plan, map_id: str) -> str:
    """Workflow reference of the threads of a map's items."""
    return plan.workflow_of(map_id)


def _result_channels(config: MapConfig) -> tuple[str, ...] | None:
    """Channels of an item's state that its result is made of; None: all."""
    if config.node is not None:
        return (RESULT,)
    return None if config.result is None else (config.result,)


def _result(config: MapConfig, state: dict[str, Any], plain: Any) -> Any:
    if config.node is not None:
        return state[RESULT]
    return state[config.result] if config.result is not None else plain(state)


def _item_input(config: MapConfig, item: Any) -> Any:
    """What the thread of one item is started with."""
    if config.node is not None:
        return {ITEM: item}
    return {config.item: item} if config.item is not None else item
