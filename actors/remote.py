"""Ray: the only module here that knows it. A process of ours is a Ray actor, and a channel's frames are Ray calls."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import pkgutil
from collections.abc import AsyncGenerator, Iterator
from typing import Any, Protocol

import msgspec
import ray
from ray import cloudpickle
from ray.actor import ActorHandle
from ray.exceptions import ActorUnavailableError, ObjectLostError, RayError, RayTaskError
from ray.experimental import internal_kv
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from actors import frames
from actors.errors import DestinationDied
from actors.mailbox import Mailbox, Transport
from actors.sockets import SocketListener, SocketTransport
from graphs.errors import ErrorInfo, GreenroomError, describe

__all__ = [
    "ActorHandle",
    "Process",
    "RayTransport",
    "close",
    "cloudpickle",
    "create",
    "death",
    "find",
    "kill",
    "names",
    "nodes",
    "own_node",
    "presence",
    "ray_actor",
    "recall",
    "remember",
    "restart",
    "start",
    "transport",
    "whereabouts",
]

_log = logging.getLogger(__name__)

_CONCURRENCY = 10_000
_CONTROL_CONCURRENCY = 8
_ERROR_CHARS = 300
_RESTART_S = 0.5
_CLOSE_S = 10.0
_KV = b"greenroom"
_HEAD = "node:__internal_head__"


class Process(Protocol):
    """What a factory builds: the inside of one operating system process."""

    mailbox: Mailbox

    async def start(self) -> None:
        """Connect, and begin to work."""

    async def close(self) -> None:
        """Stop, and give back what `start` took. It closes the mailbox."""


@ray.remote(
    num_cpus=0,
    max_concurrency=_CONCURRENCY,
    concurrency_groups={"control": _CONTROL_CONCURRENCY},
    enable_task_events=False,
)
class _RayProcess:
    """A `Process` as a Ray actor. It is built inside, in the event loop that runs it, by the first call."""

    def __init__(self, factory: str, settings: bytes) -> None:
        self._factory = factory
        self._settings = settings
        self._process: Process | None = None
        self._listener: SocketListener | None = None
        self._starting: asyncio.Task[Process] | None = None
        self._restarting: asyncio.Task[None] | None = None
        if ray.get_runtime_context().was_current_actor_reconstructed:
            self._restarting = asyncio.get_running_loop().create_task(self._restart())  # there may be nobody to ask it

    async def start(self) -> bytes:
        """Build and start, once; the response is an `ErrorInfo`, or nothing."""
        process = await self._started()
        return frames.encode(process) if isinstance(process, ErrorInfo) else b""

    async def call(self, frame: bytes) -> bytes:
        """See `Mailbox.call`."""
        process = self._process or await self._started()
        if isinstance(process, ErrorInfo):
            return _never_started(process)
        return await process.mailbox.call(frame)

    async def replies(self, channel_id: str, known: bool) -> AsyncGenerator[bytes, None]:
        """See `Mailbox.replies`."""
        process = self._process or await self._started()
        if isinstance(process, ErrorInfo):
            yield _never_started(process)
            return
        async for batch in process.mailbox.replies(channel_id, known=known):
            yield batch

    @ray.method(concurrency_group="control")  # type: ignore[untyped-decorator]
    async def whereabouts(self) -> tuple[str, int]:
        """Id of the node, and of the operating system process. Answered even while the process is busy."""
        return ray.get_runtime_context().get_node_id(), os.getpid()

    async def presence(self) -> tuple[str, int]:
        """The same, said by the event loop that does the work: not while that is held up."""
        return await self.whereabouts()

    @ray.method(concurrency_group="control")  # type: ignore[untyped-decorator]
    async def endpoint(self) -> str:
        """Name of the socket on which it takes frames from its own machine; empty while there is none."""
        return "" if self._listener is None else self._listener.name

    async def until_death(self) -> None:
        """Never returns: who calls it learns of the end of this process at once."""
        await asyncio.Event().wait()

    async def close(self) -> None:
        """Close the process; what is pending fails at its callers."""
        if self._listener is not None:
            await self._listener.close()
        if self._process is not None:
            await self._process.close()

    async def _started(self) -> Process | ErrorInfo:
        if self._starting is None:
            self._starting = asyncio.create_task(self._start())
        await asyncio.wait([self._starting])
        error = self._starting.exception()
        if error is None:
            return self._starting.result()
        _log.error("%s could not start", self._factory, exc_info=error)
        return describe(error)

    async def _restart(self) -> None:
        """Start as it was started before it died, as soon as that is possible."""
        while isinstance(error := await self._started(), ErrorInfo):
            if not error.retryable:
                return
            self._starting = None
            await asyncio.sleep(_RESTART_S)

    async def _start(self) -> Process:
        process: Process = pkgutil.resolve_name(self._factory)(self._settings)
        await process.start()
        listener = SocketListener(process.mailbox)
        await listener.open()
        # All that was imported stays: a collection that looked through it would hold everything up for 0.1 s.
        gc.collect()
        gc.freeze()
        self._process, self._listener = process, listener
        return process


def _never_started(error: ErrorInfo) -> bytes:
    return frames.encode(frames.Replies([], f"could not start: {error.message}"))


def ray_actor(factory: str, settings: bytes, **options: Any) -> ActorHandle:
    """Create a process of our own as a Ray actor. Nothing runs in it before `start` or the first message.

    Args:
        factory: `module:function` that takes `settings` and returns a `Process`. It is imported over there.
        settings: Plain data, encoded.
        **options: Ray's actor options (`name`, `lifetime`, `resources`, `max_restarts`, ...). It takes no CPUs unless
            `num_cpus` says so.
    """
    actor: Any = _RayProcess
    return actor.options(**options).remote(factory, settings)


async def start(actor: ActorHandle) -> None:
    """Wait until the process of `ray_actor` has started.

    Raises:
        GreenroomError: What its factory or its `start` raised.
        DestinationDied: It died.
    """
    with _deaths():
        error = await actor.start.remote()
    if error:
        raise GreenroomError.from_info(msgspec.msgpack.decode(error, type=ErrorInfo))


def create(factory: str, settings: bytes, name: str, *, node_id: str = "") -> ActorHandle:
    """The actor called `name`, made by `ray_actor` unless it exists. It outlives the driver: end it with `kill`.

    Args:
        factory: See `ray_actor`.
        settings: See `ray_actor`.
        name: Its name.
        node_id: Where it is to be. Empty: Ray restarts it on the head node whenever it dies.
    """
    options: dict[str, Any] = {"name": name, "lifetime": "detached", "get_if_exists": True}
    if node_id:
        options["scheduling_strategy"] = NodeAffinitySchedulingStrategy(node_id, soft=False)
    else:
        options.update(max_restarts=-1, resources={_HEAD: 0.001})
    return ray_actor(factory, settings, **options)


def find(name: str) -> ActorHandle | None:
    """The actor called `name` in this driver's namespace, if there is one."""
    try:
        return ray.get_actor(name)
    except ValueError:
        return None


async def whereabouts(actor: ActorHandle) -> tuple[str, int]:
    """Id of the node an actor is on, and of its operating system process. Raises `DestinationDied`."""
    with _deaths():
        return await actor.whereabouts.remote()


async def presence(actor: ActorHandle) -> tuple[str, int]:
    """`whereabouts` of an actor whose event loop is not held up. Raises `DestinationDied`."""
    with _deaths():
        return await actor.presence.remote()


async def death(actor: ActorHandle) -> None:
    """Returns when an actor has died, or the connection to it."""
    with contextlib.suppress(DestinationDied), _deaths():
        await actor.until_death.remote()


def names() -> list[str]:
    """Names of the actors in this namespace that live or are being started."""
    return list(ray.util.list_named_actors())


def nodes() -> list[str]:
    """Ids of the nodes of the cluster, as far as Ray has noticed who is gone."""
    return [node["NodeID"] for node in ray.nodes() if node["Alive"]]


def own_node() -> str:
    """Id of the node this process is on."""
    return str(ray.get_runtime_context().get_node_id())


def remember(key: str, value: bytes) -> None:
    """Keep `value` with the cluster: it is there until the head node ends."""
    internal_kv._internal_kv_put(key.encode(), value, namespace=_KV)  # noqa: SLF001 - Ray's only name for it


def recall(key: str) -> bytes | None:
    """What was kept under `key`."""
    value: bytes | None = internal_kv._internal_kv_get(  # noqa: SLF001 - as above
        key.encode(), namespace=_KV
    )
    return value


async def close(actor: ActorHandle) -> None:
    """Let the process of an actor give back what it holds, if it can; nothing happens if it is dead already."""
    with contextlib.suppress(RayError, TimeoutError):
        async with asyncio.timeout(_CLOSE_S):
            await actor.close.remote()


def kill(name: str) -> None:
    """End the process of the actor called `name` at once, if there is one."""
    actor = find(name)
    if actor is not None:
        ray.kill(actor)


def restart(actor: ActorHandle) -> None:
    """End the process of an actor that Ray restarts, by its node if it is suspended: that takes 5 s."""
    ray.kill(actor, no_restart=False)


def transport(actor: ActorHandle) -> Transport:
    """The way to the process of an actor made by `ray_actor`: over a socket if it is on this machine, else over Ray."""

    async def endpoint() -> str:
        with _deaths():
            return str(await actor.endpoint.remote())

    return SocketTransport(endpoint, RayTransport(actor))


class RayTransport:
    """To the process of an actor made by `ray_actor`, wherever it is."""

    def __init__(self, actor: ActorHandle) -> None:
        self._call = actor.call
        self._replies = actor.replies

    async def call(self, frame: bytes) -> bytes:
        """See `Transport`."""
        with _deaths():
            return await self._call.remote(frame)

    async def close(self) -> None:
        """See `Transport`."""

    async def replies(self, channel_id: str, *, known: bool) -> AsyncGenerator[bytes, None]:
        """See `Transport`."""
        with _deaths():
            async for batch in self._replies.remote(channel_id, known):
                yield await batch


@contextlib.contextmanager
def _deaths() -> Iterator[None]:
    """Ray's errors as `DestinationDied`, but for those of our own code over there."""
    try:
        yield
    except RayTaskError:
        raise
    except RayError as error:
        text = " ".join(str(error).split())[:_ERROR_CHARS]
        # A lost object is a lost reply: it is sent again, if there is still someone to send it.
        unavailable = isinstance(error, (ActorUnavailableError, ObjectLostError))
        raise DestinationDied(text, unavailable=unavailable) from error
