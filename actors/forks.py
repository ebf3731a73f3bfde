"""One open fork, map or subworkflow: its threads are started, awaited, paused and cancelled, wherever they run."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from functools import partial
from typing import Any, TypeVar

import msgspec

from actors.children import Children
from actors.errors import ActiveElsewhere, DestinationDied
from actors.network import SUPERVISOR, Network
from actors.patience import patiently
from actors.pauses import is_due, together
from actors.ports import Clock, Journal
from actors.protocol import (
    BranchDone,
    CancelThread,
    Done,
    FetchHosts,
    Hosts,
    Message,
    PauseThread,
    Place,
    Placed,
    Released,
    RunBranch,
    Stopped,
)
from graphs.errors import BusinessRuleViolation, ErrorInfo, GreenroomError
from graphs.journal import Fork, Pause, Usage
from graphs.threads import ThreadState
from graphs.workflow.joins import CancelBranch, FailFork, Join, JoinCommand, Merge, StartBranch
from graphs.workflow.plan import Plan

_Reply = TypeVar("_Reply", bound=Message)

_DEADLINE = -1
"""In the place of a branch: the deadline has come."""


class ForkRun:
    """One fork that is running.

    Args:
        fork: The fork.
        plan: Workflow of the thread that has forked.
        children: Its threads.
        host: Address of the host that the thread runs on.
        journal: Tells which threads were over in time.
        network: The way to the hosts.
        clock: Time.
    """

    def __init__(
        self,
        fork: Fork,
        plan: Plan,
        children: Children,
        host: str,
        journal: Journal,
        network: Network,
        clock: Clock,
    ) -> None:
        self._fork = fork
        self.children = children
        self._ids = children.ids
        self._host = host
        self._journal = journal
        self._network = network
        self._clock = clock
        policy, max_running = plan.join_policy(fork.node)
        self._join = Join(node=fork.node, size=fork.size, policy=policy, max_running=max_running)
        self._deadline = None if policy.deadline_s is None else fork.opened_at + policy.deadline_s
        self._unwanted = f"the fork at {fork.node!r} went on without it"
        """Why branches are cancelled whose result is not wanted any more."""
        self._tasks: dict[int, asyncio.Task[BranchDone]] = {}
        self._alarms: dict[int, asyncio.Task[None]] = {}
        """By branch that is paused until a time, and for the deadline."""
        self._news: asyncio.Queue[tuple[int, bool]] = asyncio.Queue(2 * fork.size + 2)
        """(branch, whether it has ended; else it may go on): at most one of each kind for a branch."""
        self._may_go_on: set[int] = set()
        """Branches of which that is in the news, or to be done when they pause."""
        self._pauses: dict[int, Pause] = {}
        self._asked: Pause | None = None
        """How the fork is to be paused, if it is."""
        self._hosts: dict[int, str] = {}
        self._lost: dict[int, str] = {}
        """Branch -> dead host that it may be taken from."""
        self._done: dict[int, BranchDone] = {}
        self._opened = False
        self.usage = Usage()
        """Tokens of the branches that are over."""

    @property
    def has_news(self) -> bool:
        """Whether something has happened since `run` said that all is paused."""
        return not self._news.empty()

    async def run(self) -> dict[int, BranchDone] | ErrorInfo | Pause:
        """Results by branch index, or why there are none, or how the fork is paused: then it may be run on."""
        commands: list[JoinCommand] = []
        if not self._opened:
            self._opened = True
            commands = self._join.open()
            over = await self._over_in_time()
            outcome = await self._perform(commands)
            self._set_deadline(over)
        else:
            outcome = None
        while outcome is None:
            if not self.has_news and (pause := self._pause()) is not None:
                return pause
            commands = self._note(*await self._news.get())
            while not self._news.empty():  # one message places all branches that may start now
                commands += self._note(*self._news.get_nowait())
            outcome = await self._perform(commands)
        return outcome

    async def close(self, *, at_rest: bool) -> None:
        """Let go of the branches. If they are not `at_rest`, they run on: the thread will ask for them again."""
        left: list[asyncio.Task[Any]] = [*self._tasks.values(), *self._alarms.values()]
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)
        if at_rest:
            await self._release()

    async def cancel_all(self, reason: str, with_thread: str) -> None:
        """Cancel every branch that is not over. `with_thread`: see `CancelThread`."""
        await self._place(range(len(self._ids)))
        await self._stop(list(self._hosts), reason, with_thread)
        await self._release()

    async def pause(self, asked: Pause) -> None:
        """Pause every branch that runs, after the step it is at, and start no more."""
        self._asked = asked
        await asyncio.gather(*(self._pause_branch(index, asked) for index in self._tasks))
        if not self._tasks:
            self._news.put_nowait((_DEADLINE, False))  # only to look again

    def may_go_on(self, thread_id: str = "") -> bool:
        """Ask again for the branch with this thread in it, which was paused (empty: for all that are)."""
        if not self._opened or self._join.closed:
            return False
        prefix = self._ids[0].rpartition(".")[0] + "." if self._ids else ""
        if thread_id and not thread_id.startswith(prefix):
            return False
        indices = [int(thread_id[len(prefix) :].partition(".")[0])] if thread_id else list(self._pauses)
        for index in indices:
            if index not in self._may_go_on:
                self._may_go_on.add(index)
                self._news.put_nowait((index, False))
        return True

    # --- what happens -----------------------------------------------------------------------------------------------

    def _note(self, index: int, ended: bool) -> list[JoinCommand]:
        """What is to be done now."""
        if index == _DEADLINE:
            return self._join.deadline_passed() if ended else []
        if not ended:
            if index in self._join.paused:
                return self._resume(index)
            if index not in self._tasks:
                self._may_go_on.discard(index)
            return []
        try:
            done = self._tasks.pop(index).result()
        except GreenroomError as error:
            return self._join.failed_with(index, error.info())
        if done.status is ThreadState.PAUSED:
            assert done.pause is not None
            return self._note_pause(index, done.pause)
        self.usage += done.usage
        if done.status is ThreadState.COMPLETED:
            self._done[index] = done
            return self._join.finished(index)
        assert done.error is not None
        if done.error.fields.get("reason") == self._unwanted:
            return []  # before a crash this fork went on without it, and what made it do so comes again
        if "with_thread" in done.error.fields:  # nor is this thread to go on: it was being cancelled before a crash
            return [FailFork(done.error)]
        return self._join.failed_with(index, done.error)

    def _note_pause(self, index: int, pause: Pause) -> list[JoinCommand]:
        self._pauses[index] = pause
        commands = self._join.paused_at(index)
        if index in self._may_go_on:
            return commands + self._resume(index)
        if pause.until is not None and not self._join.closed:
            self._alarms[index] = asyncio.create_task(self._await(index, pause.until), name=f"alarm {self._ids[index]}")
        return commands

    def _resume(self, index: int) -> list[JoinCommand]:
        self._may_go_on.discard(index)
        self._pauses.pop(index, None)
        if (alarm := self._alarms.pop(index, None)) is not None:
            alarm.cancel()
        return self._join.resumed(index)

    def _pause(self) -> Pause | None:
        """How the thread pauses now, if it has to: because it is asked to, or because all its branches are paused."""
        if self._asked is not None and not self._tasks:
            return self._asked
        if not self._join.waits:
            return None
        pause = together(self._fork.node, [self._pauses[index] for index in sorted(self._pauses)], self._deadline)
        return None if is_due(pause, self._clock.now()) else pause  # the time that has come is news in a moment

    async def _over_in_time(self) -> list[int]:
        """The branches that were over when the deadline came, if it has come before this run."""
        if self._deadline is None or self._deadline > self._clock.now():
            return []
        heads = await asyncio.gather(*map(self._journal.head, self._ids))
        return [index for index, head in enumerate(heads) if head is not None and head.cursor.status.finished]

    def _set_deadline(self, over: list[int]) -> None:
        if self._deadline is None:
            return

        async def pass_by(deadline: float) -> None:
            in_time = [self._tasks[index] for index in over if index in self._tasks]
            if in_time:
                await asyncio.wait(in_time)
            await self._until(deadline)
            self._news.put_nowait((_DEADLINE, True))

        self._alarms[_DEADLINE] = asyncio.create_task(pass_by(self._deadline), name=f"deadline of {self._fork.node}")

    async def _await(self, index: int, until: float) -> None:
        await self._until(until)
        self.may_go_on(self._ids[index])

    async def _until(self, time: float) -> None:
        if (seconds := time - self._clock.now()) > 0:
            await self._clock.sleep(seconds)

    # --- what is done -----------------------------------------------------------------------------------------------

    async def _perform(self, commands: list[JoinCommand]) -> dict[int, BranchDone] | ErrorInfo | None:
        outcome: dict[int, BranchDone] | ErrorInfo | None = None
        unwanted = {command.index for command in commands if isinstance(command, CancelBranch)}
        start = [command.index for command in commands if isinstance(command, StartBranch)]
        if wanted := [index for index in start if index not in unwanted]:
            await self._start(wanted)
        if begun := [index for index in unwanted if index in self._hosts]:
            for index in begun:
                if (task := self._tasks.pop(index, None)) is not None:
                    task.cancel()
            await self._stop(begun, self._unwanted)
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
        if self._asked is not None:
            return
        await self._place(indices)
        for index in indices:
            task = asyncio.create_task(self._branch(index), name=f"branch {self._ids[index]}")
            task.add_done_callback(partial(self._branch_ended, index))
            self._tasks[index] = task

    def _branch_ended(self, index: int, task: asyncio.Task[BranchDone]) -> None:
        if not task.cancelled():
            self._news.put_nowait((index, True))

    async def _branch(self, index: int) -> BranchDone:
        """Run branch `index` to its end or a pause, wherever its host is."""
        request = await patiently(self._clock, self.children.request, index)
        return await self._ask(index, request, BranchDone)

    async def _pause_branch(self, index: int, asked: Pause) -> None:
        request = PauseThread(thread_id=self._ids[index], pause=asked)
        try:
            await self._ask(index, request, Done)
        except BusinessRuleViolation:
            return  # it is over, or paused already

    async def _stop(self, indices: list[int], reason: str, with_thread: str = "") -> None:
        requests = [
            CancelThread(thread_id=self._ids[index], reason=reason, with_thread=with_thread) for index in indices
        ]
        stopped = await asyncio.gather(
            *(self._ask(index, request, Stopped) for index, request in zip(indices, requests, strict=True))
        )
        self.usage = sum((each.usage for each in stopped), self.usage)

    async def _ask(self, index: int, message: RunBranch | CancelThread | PauseThread, expected: type[_Reply]) -> _Reply:
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

    async def _place(self, indices: Iterable[int]) -> None:
        """Find hosts for these branches."""
        if self.children.in_place:
            self._hosts = dict.fromkeys(indices, self._host)
        else:
            wanted = tuple(indices)
            self._hosts.update(zip(wanted, await self._places(wanted), strict=True))

    async def _places(self, indices: Iterable[int], suspect: str = "") -> tuple[str, ...]:
        """Where these branches live or shall live."""
        ids = tuple(self._ids[index] for index in indices)
        place = Place(threads=ids, parent_host=self._host, suspect=suspect)
        return (await self._network.ask(SUPERVISOR, place, Placed)).hosts

    async def _release(self) -> None:
        if self._hosts:
            ids = tuple(self._ids[index] for index in self._hosts)
            await self._network.tell(SUPERVISOR, Released(threads=ids))
