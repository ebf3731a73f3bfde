"""Synchronous functions of users: run in daemon threads, and noticed when they go on though nobody waits any more."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, TypeVar

_T = TypeVar("_T")

GRACE_S = 1.0
"""How long a function may go on after its caller was cut off."""


class _Call:
    """One call of a function, on its way through a thread."""

    def __init__(self, function: Callable[[], Any]) -> None:
        self.loop = asyncio.get_running_loop()
        self.outcome: asyncio.Future[Any] = self.loop.create_future()
        self.unwanted = False
        self.running = False
        self._function = function
        self._context = contextvars.copy_context()
        self._value: Any = None
        self._error: BaseException | None = None

    def run(self) -> None:
        """Run it here, unless nobody wants it any more."""
        if self.unwanted:
            return
        self.running = True
        try:
            self._value = self._context.run(self._function)
        except StopIteration as stop:  # no future can carry it: its caller would wait without end
            self._error = RuntimeError("the function raised StopIteration; next() takes a default")
            self._error.__cause__ = stop
        except BaseException as raised:  # noqa: BLE001 - handed to the caller, whatever it is
            self._error = raised
        self.running = False

    def tell(self) -> None:
        """Give the caller what came of it."""
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits
            self.loop.call_soon_threadsafe(self._settle)

    def _settle(self) -> None:
        if self.outcome.done():
            return
        if self._error is None:
            self.outcome.set_result(self._value)
        else:
            self.outcome.set_exception(self._error)


class BlockingPool:
    """Threads for synchronous functions. They do not keep the process alive: no thread can be stopped from outside.

    Args:
        size: Calls that run at a time; more wait.
    """

    def __init__(self, size: int) -> None:
        self.on_stuck: Callable[[], None] = _ignore
        """Called when a function still runs `GRACE_S` after its caller was cancelled."""
        self._room = size
        """Threads that may be started."""
        self._calls: SimpleQueue[_Call | None] = SimpleQueue()
        self._idle = threading.Semaphore(0)
        self._started_count = 0

    async def run(self, function: Callable[[], _T]) -> _T:
        """What `function` returns. When the caller is cancelled, a function that has not begun never does."""
        call = _Call(function)
        self._calls.put(call)
        if not self._idle.acquire(blocking=False) and self._room > 0:
            self._room -= 1
            self._started_count += 1
            threading.Thread(target=self._work, name=f"node-{self._started_count}", daemon=True).start()
        try:
            value: _T = await call.outcome
        except asyncio.CancelledError:
            call.unwanted = True
            if call.running:
                call.loop.call_later(GRACE_S, self._check, call)
            raise
        return value

    def close(self) -> None:
        """Let the threads end; functions that still run are not waited for."""
        self.on_stuck = _ignore
        for _ in range(self._started_count):
            self._calls.put(None)

    def _check(self, call: _Call) -> None:
        if call.running:
            self._room += 1  # its thread is lost
            self.on_stuck()

    def _work(self) -> None:
        while (call := self._calls.get()) is not None:
            call.run()
            self._idle.release()  # before the caller goes on: what it calls next finds this thread
            call.tell()
            del call  # what it holds must not live until the next one comes


def _ignore() -> None:
    """Nothing."""
