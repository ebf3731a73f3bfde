"""An event loop in a thread of its own, for those who call and wait."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import AsyncGenerator, Coroutine, Iterator
from contextlib import aclosing
from typing import Any, Generic, TypeVar

if sys.platform == "win32":
    uvloop = None
else:
    import uvloop

_T = TypeVar("_T")


class LoopThread:
    """An event loop in a thread of its own."""

    def __init__(self) -> None:
        self._loop = uvloop.new_event_loop() if uvloop is not None else asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="greenroom", daemon=True)
        self._thread.start()

    def run(self, coroutine: Coroutine[Any, Any, _T]) -> _T:
        """What `coroutine` returns; Ctrl-C cancels it and waits until it has given back what it holds."""
        future = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        try:
            return future.result()
        except KeyboardInterrupt:
            future.cancel()
            raise

    def iterate(self, source: AsyncGenerator[_T, None]) -> Iterator[_T]:
        """What `source` yields; it is closed when the caller stops."""
        pump = _Pump(source)
        try:
            while True:
                try:
                    item = self.run(pump.next())
                except StopAsyncIteration:
                    return
                yield item
        finally:
            self.run(pump.close())

    def stop(self) -> None:
        """End the loop."""
        self.run(self._loop.shutdown_asyncgens())
        self.run(self._loop.shutdown_default_executor())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


class _Pump(Generic[_T]):
    """Runs an asynchronous generator in one task, as its task groups and timeouts require."""

    def __init__(self, source: AsyncGenerator[_T, None]) -> None:
        self._source = source
        self._items: asyncio.Queue[_T] = asyncio.Queue(1)
        self._task: asyncio.Task[None] | None = None

    async def next(self) -> _T:
        """The next item. Raises `StopAsyncIteration` after the last one."""
        if self._task is None:
            self._task = asyncio.create_task(self._run())
        item = asyncio.ensure_future(self._items.get())
        await asyncio.wait([item, self._task], return_when=asyncio.FIRST_COMPLETED)
        if item.done():
            return item.result()
        item.cancel()
        self._task.result()
        raise StopAsyncIteration

    async def close(self) -> None:
        """Stop the generator where it is."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _run(self) -> None:
        async with aclosing(self._source) as source:
            async for item in source:
                await self._items.put(item)
