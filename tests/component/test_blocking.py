"""Threads for synchronous functions: how many there are, what becomes of calls nobody waits for, and of the process."""

from __future__ import annotations

import asyncio
import contextvars
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

from actors import blocking
from actors.blocking import BlockingPool

PATIENCE_S = 10.0


@pytest.fixture
def over() -> Iterator[threading.Event]:
    """Set when the test is over, so that no thread stays."""
    event = threading.Event()
    yield event
    event.set()


async def test_a_call_returns_what_its_function_does() -> None:
    variable = contextvars.ContextVar("variable", default=0)
    variable.set(7)
    here = threading.current_thread()

    pool = BlockingPool(1)

    assert await pool.run(lambda: (variable.get(), threading.current_thread() is here)) == (7, False)
    pool.close()


@pytest.mark.parametrize("error", [ValueError("no"), SystemExit(3), asyncio.CancelledError()])
async def test_a_call_raises_what_its_function_does(error: BaseException) -> None:
    def fails() -> None:
        raise error

    with pytest.raises(type(error)) as caught:
        await BlockingPool(1).run(fails)

    assert caught.value is error


async def test_a_stop_iteration_reaches_the_caller() -> None:
    with pytest.raises(RuntimeError, match=r"^the function raised StopIteration; next\(\) takes a default$"):
        await BlockingPool(1).run(lambda: next(iter(())))


async def test_no_more_run_at_a_time_than_there_is_room_for() -> None:
    pool, running, most = BlockingPool(2), 0, 0
    lock, both = threading.Lock(), threading.Barrier(2)

    def work() -> None:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        both.wait(PATIENCE_S)
        with lock:
            running -= 1
        both.wait(PATIENCE_S)

    await asyncio.gather(*(pool.run(work) for _ in range(6)))

    assert most == 2


async def test_a_thread_is_used_again() -> None:
    pool = BlockingPool(8)

    used = {await pool.run(threading.get_ident) for _ in range(5)}

    assert len(used) == 1


async def test_a_call_that_has_not_begun_never_does(over: threading.Event) -> None:
    pool, ran = BlockingPool(1), list[str]()
    first = asyncio.create_task(pool.run(over.wait))
    second = asyncio.create_task(pool.run(lambda: ran.append("second")))
    await asyncio.sleep(0)

    second.cancel()
    await asyncio.wait([second])
    over.set()
    await first
    await pool.run(lambda: ran.append("third"))

    assert ran == ["third"]


async def test_a_function_that_does_not_stop_is_noticed_once_and_makes_room(
    over: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blocking, "GRACE_S", 0.01)
    pool, stuck, begun = BlockingPool(1), asyncio.Queue[None](), threading.Event()
    pool.on_stuck = lambda: stuck.put_nowait(None)

    def blocks() -> None:
        begun.set()
        over.wait()

    call = asyncio.create_task(pool.run(blocks))
    await asyncio.to_thread(begun.wait, PATIENCE_S)
    call.cancel()
    await asyncio.wait([call])
    await asyncio.wait_for(stuck.get(), PATIENCE_S)

    assert call.cancelled()
    assert await pool.run(lambda: "another") == "another"
    assert stuck.empty()


async def test_a_function_that_stops_in_time_is_no_trouble(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocking, "GRACE_S", 0.02)
    pool, begun, over = BlockingPool(1), threading.Event(), threading.Event()
    pool.on_stuck = lambda: pytest.fail("it has stopped")

    def blocks() -> None:
        begun.set()
        over.wait()

    call = asyncio.create_task(pool.run(blocks))
    await asyncio.to_thread(begun.wait, PATIENCE_S)
    call.cancel()
    await asyncio.wait([call])
    over.set()
    await pool.run(lambda: None)  # in the same thread: the first is over
    await asyncio.sleep(0.05)  # longer than the grace: nothing is to happen


def test_a_function_that_runs_does_not_keep_the_process() -> None:
    program = """
import asyncio, time
from actors.blocking import BlockingPool
async def main():
    call = asyncio.create_task(BlockingPool(1).run(lambda: time.sleep(3600)))
    await asyncio.sleep(0.05)
    call.cancel()
asyncio.run(main())
print("over")
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=True)

    assert done.stdout == "over\n"
