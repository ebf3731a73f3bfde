"""A process that a peer has to itself: neither its imports, threads nor garbage are in ours, and ours not in its."""

from __future__ import annotations

import asyncio
import importlib
import logging
import multiprocessing
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from typing import Any, Protocol, TypeVar

from benchmarks.loads import Load, closed_loop

_Answer = TypeVar("_Answer")


class PeerMissing(Exception):
    """A peer, or a server that it needs, is not on this machine."""


class Contender(Protocol):
    """Somebody who does the work that is measured."""

    async def start(self) -> None:
        """Be ready to work."""

    async def operation(self) -> Any:
        """Do one unit of it."""

    async def close(self) -> None:
        """Stop all that was started."""


class Peer:
    """A contender in a process of its own.

    Args:
        factory: `module:class` of the contender.
        **options: For its constructor.
    """

    def __init__(self, factory: str, **options: Any) -> None:
        self._factory = factory
        self._options = options
        # Started anew instead of forked: Ray and event loops do not survive a fork.
        self._pool = ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn"))

    async def start(self) -> None:
        """Start it.

        Raises:
            PeerMissing: It is not installed.
        """
        try:
            await self._run(_start, self._factory, self._options)
        except BaseException:
            self._pool.shutdown()
            raise

    async def load(self, in_flight: int, seconds: float) -> Load:
        """Measure a closed loop of its operation. See `closed_loop`."""
        return await self._run(_load, in_flight, seconds)

    async def once(self) -> None:
        """One operation, which nobody measures."""
        await self._run(_call, "operation", ())

    async def call(self, method: str, *arguments: Any) -> Any:
        """Await another method of the contender."""
        return await self._run(_call, method, arguments)

    async def close(self) -> None:
        """End its process."""
        await self._run(_close)
        self._pool.shutdown()

    async def _run(self, function: Callable[..., _Answer], *arguments: Any) -> _Answer:
        return await asyncio.get_running_loop().run_in_executor(self._pool, function, *arguments)


# --- in the peer's process ------------------------------------------------------------------------------------------


class _Stage:
    """What the process holds from call to call."""

    runner: asyncio.Runner
    contender: Any


def _start(factory: str, options: dict[str, Any]) -> None:
    import uvloop

    logging.disable(logging.WARNING)
    module, _, name = factory.partition(":")
    _Stage.runner = asyncio.Runner(loop_factory=uvloop.new_event_loop)
    try:
        _Stage.contender = getattr(importlib.import_module(module), name)(**options)
    except ModuleNotFoundError as error:
        raise PeerMissing(f"{error.name} is not installed") from None
    _Stage.runner.run(_Stage.contender.start())
    _Stage.runner.run(_Stage.contender.operation())


def _load(in_flight: int, seconds: float) -> Load:
    return _Stage.runner.run(closed_loop(_Stage.contender.operation, in_flight, seconds=seconds))


def _call(method: str, arguments: tuple[Any, ...]) -> Any:
    """Answers must be picklable; those of operations are."""
    return _Stage.runner.run(getattr(_Stage.contender, method)(*arguments))


def _close() -> None:
    _Stage.runner.run(_Stage.contender.close())
    _Stage.runner.close()
    sys.stdout.flush()
