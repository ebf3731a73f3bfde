"""A Greenroom in one loop in which any process can vanish at any message and at any word with the store.

Every such boundary is a numbered `Point`. A run without a crash lists them; a run with one ends a process there as
SIGKILL would: none of its tasks goes on, nothing it would still have sent or stored happens, and whoever talks to it
gets `DestinationDied`. Time is virtual, so a point is reached again by its number.
"""

from __future__ import annotations

import asyncio
import contextvars
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from contextvars import Context
from dataclasses import dataclass, field
from typing import Any, TypeVar
from weakref import WeakSet

import pytest

from actors.blocking import BlockingPool
from actors.errors import DestinationDied, StoreUnavailable
from actors.frames import CANCEL, decode_frame, decode_replies
from actors.mailbox import Channel, LocalTransport
from actors.network import SUPERVISOR, Network
from actors.ports import Store
from actors.processes import ActorProcess, ProcessSpec
from actors.protocol import ProcessInfo, decode_request
from actors.settings import ActorSettings
from actors.stores.memory import MemoryStore
from runtime.client import AsyncClient
from runtime.connection import Connection
from runtime.options import actor_settings, load
from runtime.testing import LocalWorld
from tests.faults.virtual_loop import LoopClock, VirtualLoop

_T = TypeVar("_T")

RESTART_S = 0.2
"""How long after its death a supervisor is there again."""

PATIENCE_S = 600.0
"""Virtual seconds after which a thread counts as stuck."""

MODELS = {
    "default": {
        "provider": "scripted",
        "replies": {
            "": [
                {
                    "tool_calls": [
                        {"name": "pay", "arguments": {"amount": 7}},
                        {"name": "calculator", "arguments": {"expression": "6 * 7"}},
                        {"name": "pay", "arguments": {"amount": 100}},
                    ]
                },
                "Done.",
            ]
        },
    },
    "plain": {
        "provider": "scripted",
        "replies": ["yes"],
        "price": {"input_per_million": 1, "output_per_million": 2},
    },
}
"""A model that asks for three tools, and then for no more; and one that says yes, for money."""

_owner: contextvars.ContextVar[Life | None] = contextvars.ContextVar("owner", default=None)


@dataclass(frozen=True, slots=True)
class Point:
    """A boundary at which a process can vanish."""

    number: int
    what: str
    victims: tuple[str, ...]
    """Who can be ended here: addresses, or `store` for an error of the store instead."""


@dataclass(frozen=True, slots=True)
class Crash:
    """What goes wrong in a run."""

    point: int
    victim: str
    what: str = ""
    """What the point is; it must be the same in the run without a crash."""
    again_after: int | None = None
    """How many points later one more process is ended, while the first death is being dealt with."""


@dataclass(eq=False)
class Life:
    """One process from its start to its end."""

    address: str
    is_dead: bool = False
    died: asyncio.Event = field(default_factory=asyncio.Event)
    tasks: WeakSet[asyncio.Task[Any]] = field(default_factory=WeakSet)

    def __post_init__(self) -> None:
        self.context = contextvars.copy_context()
        self.context.run(_owner.set, self)

    async def run(self, work: Coroutine[Any, Any, _T]) -> _T:
        """Have this process do something for another one. Raises `DestinationDied` if it vanishes meanwhile."""
        if self.is_dead:
            work.close()
            raise self.gone()
        task = asyncio.get_running_loop().create_task(work, context=self.context)
        try:
            await asyncio.wait([task])
        finally:
            if not task.done():
                task.cancel()
        if self.is_dead:
            task.cancelled() or task.exception()
            raise self.gone()
        return task.result()

    def gone(self) -> DestinationDied:
        return DestinationDied(f"{self.address} was killed", destination=self.address)

    def check(self) -> None:
        """Let nothing go on in a process that is dead."""
        if self.is_dead:
            raise asyncio.CancelledError

    def end(self) -> None:
        """Vanish."""
        self.is_dead = True
        self.died.set()
        for task in list(self.tasks):
            task.cancel()


def adopt(task: asyncio.Task[Any], context: Context | None) -> None:
    """Note whose task it is: that of the process that has started it."""
    owner = _owner.get() if context is None else context.get(_owner)
    if owner is not None:
        owner.tasks.add(task)
        if owner.is_dead:
            task.cancel()


class CrashWorld(LocalWorld):
    """`LocalWorld`, with a view of its own for each process, and one crash at most."""

    def __init__(self, settings: ActorSettings, store: Store, crash: Crash | None) -> None:
        super().__init__(settings, store, LoopClock())
        self.lives: dict[str, Life] = {}
        self.points: list[Point] = []
        self.struck: list[str] = []
        """What has been ended."""
        self._crash = crash
        self._counting = False
        self._restarts: set[asyncio.Task[Any]] = set()

    def start_counting(self) -> None:
        """From now on boundaries are points."""
        self._counting = True

    def stop_counting(self) -> None:
        """What comes now is no part of the run."""
        self._counting = False

    async def spawn(self, kind: str, address: str) -> ProcessInfo:
        """Start a process; it goes on starting when whoever wanted it is dead."""
        life = self.lives[address] = Life(address)

        async def begin() -> ProcessInfo:
            process = ActorProcess(ProcessSpec(kind=kind, address=address, settings=self._settings), View(self, life))
            await process.start()
            self.processes[address] = process
            return ProcessInfo(address=address, kind=kind)

        task = asyncio.get_running_loop().create_task(begin(), context=life.context)
        await asyncio.wait([task])
        if life.is_dead:
            raise life.gone()
        return task.result()

    async def kill(self, address: str) -> None:
        """End the process at `address` in good order."""
        life = self.lives.get(address)
        process = self.processes.pop(address, None)
        if process is not None and life is not None:
            try:
                await life.run(process.close())
            except DestinationDied:
                return
            self.vanish(address)

    async def end(self, process: ProcessInfo) -> None:
        """End a process as it is."""
        self.vanish(process.address)

    async def died(self, process: ProcessInfo) -> None:
        """Returns when the process has ended."""
        await self.lives[process.address].died.wait()

    def vanish(self, address: str) -> None:
        """End a process as SIGKILL does."""
        self.processes.pop(address, None)
        self.lives[address].end()
        if address == SUPERVISOR and self._counting:
            task = asyncio.get_running_loop().create_task(self._restart(), context=Context())
            self._restarts.add(task)
            task.add_done_callback(self._restarts.discard)

    async def _restart(self) -> None:
        await asyncio.sleep(RESTART_S)
        await self.spawn(SUPERVISOR, SUPERVISOR)

    def point(self, what: str, *victims: str) -> bool:
        """Be at a boundary; true if the store is to fail here."""
        if not self._counting:
            return False
        number = len(self.points)
        self.points.append(Point(number, what, tuple(dict.fromkeys(victims))))
        victim = self._victim(self.points[-1])
        if victim is not None:
            self.struck.append(victim)
            if victim != STORE:
                self.vanish(victim)
        return victim == STORE

    def _victim(self, point: Point) -> str | None:
        """Who is to be ended at this point."""
        crash = self._crash
        if crash is None or point.number < crash.point:
            return None
        if point.number == crash.point:
            assert point.what == crash.what, f"{point} was {crash.what!r} before: runs differ"
            return crash.victim
        if crash.again_after is None or len(self.struck) > 1 or point.number < crash.point + crash.again_after:
            return None
        victims = [victim for victim in point.victims if not victim.startswith(DRIVER) and self._lives(victim)]
        return victims[point.number % len(victims)] if victims else None

    def _lives(self, victim: str) -> bool:
        return victim == STORE or not self.lives[victim].is_dead


STORE = "store"
DRIVER = "driver"


class View:
    """The world as one process sees it (port `World`)."""

    def __init__(self, world: CrashWorld, life: Life) -> None:
        self._world = world
        self._life = life
        self.dialer = self
        self.launcher = self
        self.shelf = world
        self.clock = world.clock
        self.unpack = world.unpack

    def __getattr__(self, name: str) -> Any:
        return getattr(self._world, name)

    async def open_store(self, url: str) -> Any:
        return CrashStore(await self._world.open_store(url), self._world, self._life)

    async def dial(self, address: str) -> Channel:
        self._life.check()
        process, life = self._world.processes.get(address), self._world.lives.get(address)
        if process is None or life is None or life.is_dead:
            raise DestinationDied(f"there is no {address}", destination=address)
        return Channel(address, CrashTransport(self._world, self._life, life, LocalTransport(process.mailbox)))


class CrashTransport:
    """A way from one process to another on which each frame, response and batch of replies is a point."""

    def __init__(self, world: CrashWorld, source: Life, target: Life, inner: LocalTransport) -> None:
        self._world = world
        self._source = source
        self._target = target
        self._inner = inner
        self._way = f"{source.address} > {target.address}"

    async def call(self, frame: bytes) -> bytes:
        """See `Transport`."""
        self._source.check()
        named = _named(frame)
        if named:
            self._world.point(f"{self._way}: {named}", self._source.address, self._target.address)
            self._source.check()
        replies = await self._target.run(self._inner.call(frame))
        if decode_replies(replies).replies:
            self._world.point(f"{self._way}: response to {named}", self._target.address)
        self._source.check()
        if self._target.is_dead:
            raise self._target.gone()
        return replies

    async def replies(self, channel_id: str, *, known: bool) -> AsyncIterator[bytes]:
        """See `Transport`."""
        self._source.check()
        stream = self._inner.replies(channel_id, known=known)
        while True:
            batch = await self._target.run(_next(stream))
            if batch is None:
                return
            if decode_replies(batch).replies:
                self._world.point(f"{self._way}: late replies", self._target.address)
            self._source.check()
            if self._target.is_dead:
                raise self._target.gone()
            yield batch

    async def close(self) -> None:
        """See `Transport`."""


async def _next(stream: AsyncIterator[bytes]) -> bytes | None:
    return await anext(stream, None)


def _named(frame: bytes) -> str:
    """Names of the messages in a frame; nothing if it only acknowledges."""
    names = []
    for message in decode_frame(frame).messages:
        if message.body:
            names.append(type(decode_request(message.body)).__name__)
        elif message.kind == CANCEL:
            names.append("cancel")
    return ", ".join(names)


READS = {
    "head",
    "read",
    "snapshot",
    "threads",
    "interaction",
    "find_by_id",
    "list",
    "get",
    "ping",
    "open_threads",
    "timers",
}
"""What changes nothing: it does not matter whether a process vanishes before or after it."""


class CrashStore:
    """The store as one process has it: each operation is a point, and each change two."""

    def __init__(self, store: Any, world: CrashWorld, life: Life) -> None:
        self._store = store
        self.journal = _Part("journal", store.journal, world, life)
        self.sessions = _Part("sessions", store.sessions, world, life)
        self.values = _Part("values", store.values, world, life)
        self.snapshots = _Part("snapshots", store.snapshots, world, life)
        self.workflows = _Part("workflows", store.workflows, world, life)
        self.live = _Part("", store.live, world, life)
        self.ping = store.ping

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def close(self) -> None:
        """Nothing: the world's store stays."""


class _Part:
    def __init__(self, name: str, part: Any, world: CrashWorld, life: Life) -> None:
        self._name = name
        self._part = part
        self._world = world
        self._life = life

    def __getattr__(self, name: str) -> Any:
        operation = getattr(self._part, name)
        if name == "follow":
            return operation
        return self._watched(name, operation) if self._name else self._dying(operation)

    def _dying(self, operation: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        async def call(*args: Any, **kwargs: Any) -> Any:
            self._life.check()
            return await operation(*args, **kwargs)

        return call

    def _watched(self, name: str, operation: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        life, world = self._life, self._world

        async def call(*args: Any, **kwargs: Any) -> Any:
            life.check()
            what = f"{life.address}: {self._name}.{name}"
            if world.point(f"before {what}", life.address, STORE):
                raise _lost()
            life.check()
            await asyncio.sleep(0)  # a round trip: others go on meanwhile
            life.check()
            result = await operation(*args, **kwargs)
            if name not in READS and world.point(f"after {what}", life.address, STORE):
                raise _lost()
            life.check()
            return result

        return call


def _lost() -> StoreUnavailable:
    return StoreUnavailable("the store went away", url="memory://")


class Driver(AsyncClient):
    """A driver that is a process of its own."""

    def __init__(self, world: CrashWorld, address: str, **options: Any) -> None:
        self.config = load(models=MODELS, **options)
        self._world = world
        self.life = world.lives[address] = Life(address)
        models = actor_settings(self.config, "memory://").models
        self.network = Network(View(world, self.life))
        self._attach(Connection(store=world.store, network=self.network, pack=world.pack, models=models))


@asynccontextmanager
async def crashing(crash: Crash | None, **options: Any) -> AsyncIterator[tuple[Driver, CrashWorld]]:
    """A Greenroom with a driver, of which nothing may be left in the end."""
    random.seed(1)
    config = load(models=MODELS, **options)
    world = CrashWorld(actor_settings(config, "memory://"), MemoryStore(), crash)
    await world.spawn(SUPERVISOR, SUPERVISOR)
    driver = Driver(world, DRIVER, **options)
    yield driver, world
    await driver.network.close()
    for address in (SUPERVISOR, *list(world.processes)):
        await world.kill(address)
    left = asyncio.all_tasks() - {asyncio.current_task()}
    if left:
        await asyncio.wait(left, timeout=PATIENCE_S)
    stuck = [f"{task.get_name()}: {task.get_stack()}" for task in left if not task.done()]
    assert not stuck, f"these tasks are left: {stuck}"


def run(work: Coroutine[Any, Any, _T]) -> _T:
    """Run `work` in a loop of its own, in virtual time, which threads would not keep."""
    with pytest.MonkeyPatch.context() as patch, asyncio.Runner(loop_factory=lambda: VirtualLoop(adopt)) as runner:
        patch.setattr(BlockingPool, "run", _run_here)
        return runner.run(work)


async def _run_here(pool: BlockingPool, function: Callable[[], _T]) -> _T:
    await asyncio.sleep(0)
    return function()
