"""Group commit without a server: what is sent when, and who gets which answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import pytest
from redis import exceptions

from actors.errors import Overloaded, StoreUnavailable
from actors.stores.commit import Answers, GroupCommit


class Server:
    """Answers each batch when it is told to, with what it is told or `b"+" + command`."""

    def __init__(self) -> None:
        self.batches: list[list[bytes]] = []
        self.replies: list[Any] = []
        """For the batches to come: an error, a dict of command -> answer, or nothing special."""
        self.gate = asyncio.Event()
        self.gate.set()
        self.called = asyncio.Event()

    async def open(self) -> None:
        """It is."""

    def send(self, commands: Sequence[bytes], answered: Callable[[Answers], None]) -> bool:
        self.batches.append(list(commands))
        self.called.set()
        reply = self.replies.pop(0) if self.replies else {}
        if isinstance(reply, Exception) and not isinstance(reply, exceptions.RedisError):
            raise reply
        self._answering = asyncio.create_task(self._answer(commands, reply, answered))
        return True

    async def _answer(self, commands: Sequence[bytes], reply: Any, answered: Callable[[Answers], None]) -> None:
        await self.gate.wait()
        answered(reply if isinstance(reply, Exception) else [reply.get(each, b"+" + each) for each in commands])


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.fixture
async def commit(server: Server) -> AsyncIterator[GroupCommit]:
    commit = GroupCommit(server, server="redis://h:1/0", deadline_s=30, capacity=5)
    yield commit
    await commit.close()


async def hold(server: Server, commit: GroupCommit, command: bytes = b"first") -> asyncio.Task:
    """A round trip under way, which ends when `server.gate` is set."""
    server.gate.clear()
    task = asyncio.create_task(commit.submit(command))
    await server.called.wait()
    return task


async def queue(commit: GroupCommit, *commands: bytes) -> list[asyncio.Task]:
    tasks = [asyncio.create_task(commit.submit(command)) for command in commands]
    await asyncio.sleep(0)
    return tasks


async def test_a_lone_command_goes_at_once(server: Server, commit: GroupCommit):
    assert [await commit.submit(command) for command in (b"a", b"b")] == [b"+a", b"+b"]
    assert server.batches == [[b"a"], [b"b"]]


async def test_what_arrives_during_a_round_trip_shares_the_next(server: Server, commit: GroupCommit):
    first = await hold(server, commit)
    others = await queue(commit, b"a", b"b", b"c")
    server.gate.set()

    assert await asyncio.gather(first, *others) == [b"+first", b"+a", b"+b", b"+c"]
    assert server.batches == [[b"first"], [b"a", b"b", b"c"]]


async def test_a_cancelled_command_is_still_sent(server: Server, commit: GroupCommit):
    first = await hold(server, commit)
    one, two = await queue(commit, b"a", b"b")
    first.cancel()
    one.cancel()
    await asyncio.wait([first, one])
    server.gate.set()

    assert await two == b"+b"
    assert (first.cancelled(), one.cancelled()) == (True, True)
    assert server.batches == [[b"first"], [b"a", b"b"]]


async def test_a_batch_is_sent_again_when_the_connection_fails(server: Server, commit: GroupCommit):
    server.replies = [exceptions.ConnectionError("gone")]
    assert await asyncio.gather(*(commit.submit(command) for command in (b"a", b"b"))) == [b"+a", b"+b"]
    assert server.batches == [[b"a", b"b"], [b"a", b"b"]]


@pytest.mark.parametrize(
    "error",
    [
        exceptions.ReadOnlyError("You can't write against a read only replica."),
        exceptions.NoScriptError("No matching script."),
        exceptions.OutOfMemoryError("command not allowed when used memory > 'maxmemory'."),
        exceptions.ResponseError("BUSY Redis is busy running a script."),
    ],
)
async def test_only_what_failed_for_a_while_is_sent_again(server: Server, commit: GroupCommit, error: Exception):
    server.replies = [{b"b": error}]
    answers = await asyncio.gather(*(commit.submit(command) for command in (b"a", b"b", b"c")))

    assert answers == [b"+a", b"+b", b"+c"]
    assert server.batches == [[b"a", b"b", b"c"], [b"b"]]


async def test_a_refused_command_fails_alone(server: Server, commit: GroupCommit):
    error = exceptions.ResponseError("WRONGTYPE")
    server.replies = [{b"b": error}]
    answers = await asyncio.gather(*(commit.submit(command) for command in (b"a", b"b")), return_exceptions=True)

    assert answers[0] == b"+a"
    assert (type(answers[1]), str(answers[1])) == (
        StoreUnavailable,
        "the store at redis://h:1/0 refuses a command (WRONGTYPE); it must be a single Redis >= 6.2 or Valkey server",
    )
    assert server.batches == [[b"a", b"b"]]


async def test_a_refused_login_fails_the_batch_at_once_and_not_the_next(server: Server, commit: GroupCommit):
    server.replies = [exceptions.AuthenticationError("invalid username-password pair")]
    with pytest.raises(StoreUnavailable, match=r"refuses us .* put the right user and password in the store URL"):
        await commit.submit(b"a")

    assert await commit.submit(b"b") == b"+b"


async def test_after_the_deadline_a_command_fails(server: Server):
    commit = GroupCommit(server, server="redis://h:1/0", deadline_s=0)
    server.replies = [exceptions.ConnectionError("gone")]
    with pytest.raises(StoreUnavailable) as caught:
        await commit.submit(b"a")

    assert caught.value.fields == {"url": "redis://h:1/0"}
    assert await commit.submit(b"b") == b"+b"
    await commit.close()


async def test_too_many_are_refused(server: Server, commit: GroupCommit):
    first = await hold(server, commit)
    waiting = await queue(commit, *[b"%d" % n for n in range(5)])
    with pytest.raises(Overloaded) as caught:
        await commit.submit(b"one too many")
    server.gate.set()

    assert caught.value.fields == {"destination": "redis://h:1/0", "retry_after_s": 1.0}
    assert len(await asyncio.gather(first, *waiting)) == 6


async def test_closing_answers_everyone(server: Server, commit: GroupCommit):
    first = await hold(server, commit)
    (second,) = await queue(commit, b"a")
    await commit.close()

    results = await asyncio.gather(first, second, commit.submit(b"b"), return_exceptions=True)
    assert [type(result) for result in results] == [StoreUnavailable] * 3


async def test_a_bug_below_answers_everyone_and_shows_itself(server: Server, commit: GroupCommit):
    bug = TypeError("bug")
    server.replies = [bug]
    with pytest.raises(StoreUnavailable) as caught:
        await commit.submit(b"a")

    assert caught.value.__cause__ is bug
