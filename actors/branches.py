"""Running the branches of a fork or map as parallel threads on the hosts the supervisor names, and joining them."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from actors.catalog import Catalog
from actors.errors import DestinationDied
from actors.network import SUPERVISOR, Network
from actors.ports import Clock
from actors.protocol import BranchDone, CancelThread, Done, Place, Placed, Released, RunBranch
from graphs.errors import ErrorInfo, GreenroomError
from graphs.journal import END, Cursor, Fork, Usage
from graphs.threads import Thread, ThreadMetadata, ThreadState, ThreadType, child_thread_id
from graphs.workflow.joins import CancelBranch, FailFork, Join, JoinCommand, Merge, StartBranch
from graphs.workflow.node import MapConfig
from graphs.workflow.plan import ITEM, RESULT, Plan


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

    writes: list[dict[str, Any]]
    """In branch order, to be applied one after the other."""
    usage: Usage
    started_at: float
    """Unix seconds."""


class Branches:
    """Starts, watches, cancels and joins the branches of forks, for all threads of a host."""

    def __init__(self, network: Network, catalog: Catalog, clock: Clock) -> None:
        self._network = network
        self._catalog = catalog
        self._clock = clock

    async def run(self, parent: BranchParent, fork: Fork) -> Joined | ErrorInfo:
        """Run `fork` to its join. Branches that have run already (before a crash) are not run again."""
        started_at = self._clock.now()
        outcome = await _ForkRun(parent, fork, self._network, self._catalog, self._clock).run()
        if isinstance(outcome, ErrorInfo):
            return outcome
        writes = await self._writes(parent, fork, outcome)
        usage = sum((done.usage for done in outcome.values()), Usage())
        return Joined(writes=writes, usage=usage, started_at=started_at)

    async def cancel(self, parent: BranchParent, fork: Fork, reason: str) -> None:
        """Cancel all branches of `fork`, and record that; those that are over stay as they are."""
        ids = tuple(child_thread_id(parent.thread.id, fork.seq, index) for index in range(fork.size))
        placed = await self._network.ask(SUPERVISOR, Place(threads=ids), Placed)
        requests = (
            self._network.ask(host, CancelThread(thread_id=thread_id, reason=reason), Done)
            for host, thread_id in zip(placed.hosts, ids, strict=True)
        )
        outcomes = await asyncio.gather(*requests, return_exceptions=True)
        await self._network.tell(SUPERVISOR, Released(threads=ids))
        for outcome in outcomes:
            if isinstance(outcome, BaseException) and not isinstance(outcome, DestinationDied):
                raise outcome

    async def _writes(self, parent: BranchParent, fork: Fork, done: Mapping[int, BranchDone]) -> list[dict[str, Any]]:
        schema = parent.plan.schema
        if fork.targets:
            return [schema.decode_delta(delta) for branch in done.values() for delta in branch.deltas]
        config = parent.plan.nodes[fork.node].config
        assert isinstance(config, MapConfig)
        item_schema = await self._catalog.schema(item_workflow(parent.plan, fork.node))
        results: list[Any] = []
        for index in range(fork.size):
            branch = done.get(index)
            if branch is not None:
                results.append(_result(config, item_schema.decode_state(branch.state), item_schema.plain))
            elif config.on_branch_error == "collect":
                results.append(None)
        return [schema.check_write(fork.node, {config.into: results}, None)]


class _ForkRun:
    """One fork that is running."""

    def __init__(self, parent: BranchParent, fork: Fork, network: Network, catalog: Catalog, clock: Clock) -> None:
        self._parent = parent
        self._fork = fork
        self._network = network
        self._catalog = catalog
        self._clock = clock
        config = parent.plan.nodes[fork.node].config if not fork.targets else None
        self._config = config if isinstance(config, MapConfig) else None
        policy, max_running = parent.plan.join_policy(fork.node)
        self._join = Join(node=fork.node, size=fork.size, policy=policy, max_running=max_running)
        self._deadline_s = policy.deadline_s
        self._tasks: dict[int, asyncio.Task[BranchDone]] = {}
        self._hosts: dict[int, str] = {}
        self._done: dict[int, BranchDone] = {}
        self._base = b""

    async def run(self) -> dict[int, BranchDone] | ErrorInfo:
        """Results by branch index, or why there are none."""
        self._base = self._parent.plan.schema.encode_state(dict(self._parent.state))
        try:
            async with asyncio.timeout(self._deadline_s):
                outcome = await self._until_closed(self._join.open())
        except TimeoutError:
            outcome = await self._perform(self._join.deadline_passed())
        finally:
            for task in self._tasks.values():
                task.cancel()
            await asyncio.gather(*self._tasks.values(), return_exceptions=True)
            await self._release()
        assert outcome is not None
        return outcome

    async def _until_closed(self, commands: list[JoinCommand]) -> dict[int, BranchDone] | ErrorInfo | None:
        outcome = await self._perform(commands)
        while outcome is None:
            finished, _ = await asyncio.wait(self._tasks.values(), return_when=asyncio.FIRST_COMPLETED)
            for index in [index for index, task in self._tasks.items() if task in finished]:
                outcome = outcome or await self._perform(self._note(index, self._tasks.pop(index)))
        return outcome

    def _note(self, index: int, task: asyncio.Task[BranchDone]) -> list[JoinCommand]:
        try:
            done = task.result()
        except GreenroomError as error:
            return self._join.failed_with(index, error.info())
        if done.status is ThreadState.COMPLETED:
            self._done[index] = done
            return self._join.finished(index)
        assert done.error is not None
        return self._join.failed_with(index, done.error)

    async def _perform(self, commands: list[JoinCommand]) -> dict[int, BranchDone] | ErrorInfo | None:
        outcome: dict[int, BranchDone] | ErrorInfo | None = None
        start = [command.index for command in commands if isinstance(command, StartBranch)]
        if start:
            await self._start(start)
        for command in commands:
            match command:
                case CancelBranch(index):
                    await self._cancel(index)
                case Merge(indices):
                    outcome = {index: self._done[index] for index in indices}
                case FailFork(error):
                    outcome = error
                case StartBranch():
                    pass
        return outcome

    async def _start(self, indices: list[int]) -> None:
        ids = {index: child_thread_id(self._parent.thread.id, self._fork.seq, index) for index in indices}
        placed = await self._network.ask(SUPERVISOR, Place(threads=tuple(ids.values())), Placed)
        for index, host in zip(indices, placed.hosts, strict=True):
            self._hosts[index] = host
            self._tasks[index] = asyncio.create_task(self._branch(index, ids[index]), name=f"branch {ids[index]}")

    async def _branch(self, index: int, thread_id: str) -> BranchDone:
        """Run branch `index` to its end, wherever its host is."""
        request = self._request(index, thread_id, await self._content(index))
        while True:
            try:
                return await self._network.ask(self._hosts[index], request, BranchDone)
            except DestinationDied:
                await self._network.forget(self._hosts[index])
                place = Place(threads=(thread_id,), suspect=self._hosts[index])
                self._hosts[index] = (await self._network.ask(SUPERVISOR, place, Placed)).hosts[0]

    async def _content(self, index: int) -> bytes | None:
        """The encoded input of a map's item; None for a branch of a fork."""
        config = self._config
        if config is None:
            return None
        schema = await self._catalog.schema(item_workflow(self._parent.plan, self._fork.node))
        item = self._parent.state[config.over][index]
        return schema.encode_delta(schema.check_input(_item_input(config, item)))

    def _request(self, index: int, thread_id: str, content: bytes | None) -> RunBranch:
        parent, fork, plan = self._parent, self._fork, self._parent.plan
        item = self._config is not None
        workflow = item_workflow(plan, fork.node) if item else plan.ref
        shares_state = not item or "#" in workflow
        thread = Thread(
            id=thread_id,
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
        )

    async def _cancel(self, index: int) -> None:
        task = self._tasks.pop(index)
        request = CancelThread(
            thread_id=child_thread_id(self._parent.thread.id, self._fork.seq, index),
            reason=f"the fork at {self._fork.node!r} went on without it",
        )
        with suppress(DestinationDied):  # then nothing is left to cancel: its record stays as the host left it
            await self._network.ask(self._hosts[index], request, Done)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    async def _release(self) -> None:
        if self._hosts:
            ids = tuple(child_thread_id(self._parent.thread.id, self._fork.seq, index) for index in self._hosts)
            await self._network.tell(SUPERVISOR, Released(threads=ids))


def item_workflow(plan: Plan, map_id: str) -> str:
    """Workflow reference of the threads of a map's items."""
    config = plan.nodes[map_id].config
    assert isinstance(config, MapConfig)
    return config.workflow if config.workflow is not None else f"{plan.ref}#{map_id}"


def _result(config: MapConfig, state: dict[str, Any], plain: Any) -> Any:
    if config.node is not None:
        return state[RESULT]
    return state[config.result] if config.result is not None else plain(state)


def _item_input(config: MapConfig, item: Any) -> Any:
    """What the thread of one item is started with."""
    if config.node is not None:
        return {ITEM: item}
    return {config.item: item} if config.item is not None else item
