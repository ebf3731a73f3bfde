"""Code that holds up an event loop, or goes on when its time is over: who is told, and what is ended."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import AsyncIterator

import pytest

from actors.executors import loop_watch
from actors.executors.loop_watch import LoopWatch, RunningNode, is_overdue

PATIENCE_S = 10.0


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SLICE_S", "EVERY_S", "TOLD_AFTER_S", "GRACE_S"):
        monkeypatch.setattr(loop_watch, name, 0.02)


class Watched:
    """A watch of this loop, and what it has asked for."""

    def __init__(self) -> None:
        self.running: dict[asyncio.Task[object], RunningNode] = {}
        self.left, self.ended = asyncio.Event(), threading.Event()
        self.watch = LoopWatch("function-1.1", self.running, self.left.set, self.ended.set)

    def run(self, deadline: float | None = None) -> None:
        """The task of now runs a node."""
        task = asyncio.current_task()
        assert task is not None
        self.running[task] = RunningNode("w@1", "slow", deadline)


@pytest.fixture
async def watched() -> AsyncIterator[Watched]:
    watched = Watched()
    yield watched
    await watched.watch.close()


def told(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records]


class _Told(logging.Handler):
    """Says when something has been logged, to a thread that waits for it."""

    def __init__(self) -> None:
        super().__init__()
        self.heard = threading.Event()

    def emit(self, record: logging.LogRecord) -> None:
        self.heard.set()


async def test_who_holds_up_the_loop_is_told_of_once_with_where_it_is(
    watched: Watched, caplog: pytest.LogCaptureFixture
) -> None:
    handler = _Told()
    loop_watch.logger.addHandler(handler)
    watched.run()

    assert handler.heard.wait(PATIENCE_S), "nobody was told, while this held up the loop"
    threading.Event().wait(0.2)
    loop_watch.logger.removeHandler(handler)

    (message,) = told(caplog)
    assert message.startswith("node 'slow' of w@1 holds up the event loop of function-1.1, and all that runs there")
    assert "Make it a plain function (def)" in message
    assert "test_who_holds_up_the_loop_is_told_of_once_with_where_it_is" in message
    assert not watched.ended.is_set()


async def test_who_holds_up_the_loop_when_its_time_is_over_is_ended_with_the_process(watched: Watched) -> None:
    watched.run(time.monotonic())

    assert watched.ended.wait(PATIENCE_S), "it held up the loop and was not ended"
    assert not watched.left.is_set()


async def test_another_node_whose_time_is_over_is_not_at_fault(
    watched: Watched, caplog: pytest.LogCaptureFixture
) -> None:
    handler = _Told()
    loop_watch.logger.addHandler(handler)
    waiting = asyncio.create_task(asyncio.Event().wait())
    watched.running[waiting] = RunningNode("w@1", "patient", time.monotonic())
    watched.run()

    assert handler.heard.wait(PATIENCE_S)
    threading.Event().wait(0.2)
    loop_watch.logger.removeHandler(handler)
    waiting.cancel()

    assert [message.partition(" of ")[0] for message in told(caplog)] == ["node 'slow'"]
    assert not watched.ended.is_set()


async def test_who_goes_on_when_its_time_is_over_has_the_executor_replaced(
    watched: Watched, caplog: pytest.LogCaptureFixture
) -> None:
    watched.run(time.monotonic())

    await asyncio.wait_for(watched.left.wait(), PATIENCE_S)

    assert not watched.ended.is_set()
    assert told(caplog) == []


@pytest.mark.parametrize(("deadline", "overdue"), [(None, False), (10.0, True), (10.5, False)])
def test_time_is_over_a_little_after_the_deadline(
    monkeypatch: pytest.MonkeyPatch, deadline: float | None, *, overdue: bool
) -> None:
    monkeypatch.setattr(loop_watch, "GRACE_S", 1.0)

    assert is_overdue(RunningNode("w@1", "slow", deadline), 11.0) is overdue
