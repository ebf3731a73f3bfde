"""The connection of frequent scripts: answers are handed on as they are read, and no task wakes but the asker's."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import hiredis
from redis import exceptions
from redis.asyncio import Redis
from redis.asyncio.connection import DefaultParser

from actors.stores.commit import Answers
from actors.stores.link import COMMAND_TIMEOUT_S, timed


class ScriptWire:
    """Connections, one after the other, on which calls of scripts travel in batches.

    redis-py sets each up, with all that a URL may say; then its bytes come here.

    Args:
        client: Where to.
        scripts: Source of each script that is called, by name.
    """

    def __init__(self, client: Redis, scripts: Mapping[str, str]) -> None:
        self._scripts = scripts
        self.sha: dict[str, bytes] = {name: client.register_script(text).sha.encode() for name, text in scripts.items()}
        """Name of a script -> what a call names it by."""
        self._connection = client.connection_pool.make_connection()
        self._batches: _Batches | None = None

    async def open(self) -> None:
        """Be connected. Raises redis-py's errors."""
        if self._batches is not None and not self._batches.lost:
            return
        await self._connection.disconnect(nowait=True)  # what is left of the last one
        try:
            await timed(self._set_up, COMMAND_TIMEOUT_S)
        except BaseException:
            await self._connection.disconnect(nowait=True)
            raise
        writer = self._connection._writer  # noqa: SLF001 - redis-py gives its transport to nobody
        assert writer is not None
        self._batches = _Batches(writer.transport)
        writer.transport.set_protocol(self._batches)

    async def _set_up(self) -> None:
        await self._connection.connect()
        # Loaded here, a call never meets a restarted server that does not know it.
        for script in self._scripts.values():
            await self._connection.send_command("SCRIPT", "LOAD", script)
            await self._connection.read_response()

    def send(self, commands: Sequence[bytes], answered: Callable[[Answers], None]) -> bool:
        """Send packed commands, once those before are answered; False if there is no connection. See `Wire`."""
        if self._batches is None or self._batches.lost:
            return False
        self._batches.send(commands, answered)
        return True

    async def close(self) -> None:
        """Close the connection."""
        if self._batches is not None:
            self._batches.fail(exceptions.ConnectionError("closed"))
        await self._connection.disconnect(nowait=True)


class _Batches(asyncio.Protocol):
    """One connection: a batch is written at once, then its answers are read."""

    def __init__(self, transport: asyncio.WriteTransport) -> None:
        self.lost = False
        """Whether nothing can be sent any more."""
        self._transport = transport
        self._reader = hiredis.Reader(protocolError=exceptions.InvalidResponse, replyError=DefaultParser.parse_error)
        self._answers: list[Any] = []
        self._due_count = 0
        """Answers that are still to come."""
        self._answered: Callable[[Answers], None] | None = None
        """Whom to tell; None: nothing is under way."""
        self._sent_at = 0.0
        """Loop time."""
        self._watch: asyncio.TimerHandle | None = None

    def send(self, commands: Sequence[bytes], answered: Callable[[Answers], None]) -> None:
        """Write a batch."""
        loop = asyncio.get_running_loop()
        self._answers, self._due_count, self._answered = [], len(commands), answered
        self._sent_at = loop.time()
        if self._watch is None:
            self._watch = loop.call_later(COMMAND_TIMEOUT_S, self._look)
        self._transport.write(commands[0] if len(commands) == 1 else b"".join(commands))

    def data_received(self, data: bytes) -> None:
        """Called by the transport."""
        self._reader.feed(data)
        try:
            while self._due_count and (answer := self._reader.gets()) is not False:
                self._answers.append(answer)
                self._due_count -= 1
        except exceptions.RedisError as error:
            self.fail(error)
            return
        if not self._due_count and self._answered is not None:
            if any(isinstance(answer, exceptions.NoScriptError) for answer in self._answers):
                self._end()  # they are loaded with the next connection
            self._tell(self._answers)

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by the transport."""
        self.fail(exceptions.ConnectionError("the server has closed the connection" + (f": {exc}" if exc else "")))

    def fail(self, error: exceptions.RedisError) -> None:
        """End: answers not read yet would be taken for those of the next batch."""
        self._end()
        self._tell(error)

    def _look(self) -> None:
        """An answer that takes too long counts as lost."""
        self._watch = None
        if self._answered is None:
            return
        late_at = self._sent_at + COMMAND_TIMEOUT_S
        loop = asyncio.get_running_loop()
        if loop.time() >= late_at:
            self.fail(exceptions.TimeoutError(f"no answer within {COMMAND_TIMEOUT_S:g} s"))
        else:
            self._watch = loop.call_at(late_at, self._look)

    def _end(self) -> None:
        self.lost = True
        if self._watch is not None:
            self._watch.cancel()
        self._transport.abort()

    def _tell(self, answers: Answers) -> None:
        answered, self._answered = self._answered, None
        if answered is not None:
            answered(answers)
