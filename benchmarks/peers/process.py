"""A process that a peer has to itself: neither its imports, threads nor garbage are in ours, and ours not in its."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from typing import Any, Protocol

import msgspec

from benchmarks.loads import Load

_LINE_BYTES = 2**28
LOAD = "load"


class PeerMissing(Exception):
    """A peer, or a server that it needs, is not on this machine."""


class PeerFailed(Exception):
    """A peer did not do what it was asked; its process has said why."""


class Contender(Protocol):
    """Somebody who does the work that is measured."""

    async def start(self) -> None:
        """Be ready to work."""

    async def operation(self) -> Any:
        """Do one unit of it."""

    async def close(self) -> None:
        """Stop all that was started."""


class Answer(msgspec.Struct, frozen=True, omit_defaults=True):
    """To what a peer was asked."""

    result: Any = None
    missing: str = ""
    """Why it cannot take part."""


class Peer:
    """A contender in a process of its own, which reads what to do from a pipe, line by line, and answers on another.

    Args:
        factory: `module:class` of the contender.
        **options: For its constructor; JSON-able.
    """

    def __init__(self, factory: str, **options: Any) -> None:
        self._factory = factory
        self._options = options
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Start it, and have it do one operation.

        Raises:
            PeerMissing: It is not installed.
            PeerFailed: It could not start.
        """
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            __package__,
            self._factory,
            msgspec.json.encode(self._options).decode(),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=_LINE_BYTES,
        )
        try:
            await self._answer()
        except BaseException:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
            await self._process.wait()
            raise

    async def load(self, in_flight: int, seconds: float) -> Load:
        """Measure a closed loop of its operation. See `closed_loop`."""
        return msgspec.convert(await self.call(LOAD, in_flight, seconds), Load)

    async def once(self) -> None:
        """One operation, which nobody measures."""
        await self.call("operation")

    async def call(self, method: str, *arguments: Any) -> Any:
        """Await a method of the contender; what it returns is JSON-able."""
        assert self._process is not None
        assert self._process.stdin is not None
        with contextlib.suppress(ConnectionError):  # the answer says so
            self._process.stdin.write(msgspec.json.encode([method, arguments]) + b"\n")
            await self._process.stdin.drain()
        return await self._answer()

    async def close(self) -> None:
        """End its process."""
        assert self._process is not None
        with contextlib.suppress(PeerFailed):  # an interrupt has ended it already
            await self.call("close")
        await self._process.wait()

    async def _answer(self) -> Any:
        assert self._process is not None
        assert self._process.stdout is not None
        line = await self._process.stdout.readline()
        if not line:
            raise PeerFailed(f"{self._factory} ended with code {await self._process.wait()}")
        answer = msgspec.json.decode(line, type=Answer)
        if answer.missing:
            raise PeerMissing(answer.missing)
        return answer.result
