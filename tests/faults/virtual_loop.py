"""An event loop whose time jumps ahead whenever nothing is left to do: hours of waiting take no time, and no chance."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Coroutine, Mapping
from contextvars import Context
from typing import Any, TypeVar

_T = TypeVar("_T")


class VirtualLoop(asyncio.SelectorEventLoop):
    """Runs in its own time. Nothing in it may wait for threads, processes or sockets.

    Args:
        started: Called with each new task and the context it runs in.
    """

    def __init__(
        self, started: Callable[[asyncio.Task[Any], Context | None], None] = lambda task, context: None
    ) -> None:
        self.now_s = 0.0
        self._started = started
        super().__init__(_Skipping(self))

    def time(self) -> float:
        """Seconds since the loop began, as far as those who run in it can tell."""
        return self.now_s

    def run_in_executor(self, executor: Any, func: Callable[..., _T], *args: Any) -> asyncio.Future[_T]:
        """What would be done in a thread is done at once: a thread takes real time."""
        done: asyncio.Future[_T] = self.create_future()
        try:
            done.set_result(func(*args))
        except Exception as error:  # noqa: BLE001 - handed to the caller
            done.set_exception(error)
        return done

    def create_task(
        self, coro: Coroutine[Any, Any, _T], *, name: object = None, context: Context | None = None
    ) -> asyncio.Task[_T]:
        """See `asyncio`."""
        task = super().create_task(coro, name=name, context=context)
        self._started(task, context)
        return task


class _Skipping(selectors.BaseSelector):
    """Does not wait for the time to pass, but lets it."""

    def __init__(self, loop: VirtualLoop) -> None:
        self._loop = loop
        self._real = selectors.DefaultSelector()

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = self._real.select(0)
        assert ready or timeout is not None, "nothing will ever happen again"
        if not ready and timeout is not None:
            self._loop.now_s += max(timeout, 0.0)
        return ready

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        return self._real.register(fileobj, events, data)

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        return self._real.unregister(fileobj)

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        return self._real.get_map()

    def close(self) -> None:
        self._real.close()


class LoopClock:
    """The time of the running loop (port `Clock`)."""

    def now(self) -> float:
        """Unix seconds."""
        return 1_000_000_000.0 + asyncio.get_running_loop().time()

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        await asyncio.sleep(seconds)
