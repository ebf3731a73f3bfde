"""On Ray: synchronous functions that never return end with their process, and nothing is recorded twice."""

from __future__ import annotations

import asyncio
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Annotated, Any

import pytest
from pydantic import BaseModel

from graphs.journal import EntryKind
from runtime import END, START, Graph, NodeTimeout, Runtime, ThreadState, append
from tests.conftest import Drivers

pytestmark = pytest.mark.integration

PATIENCE_S = 30.0


class Log(BaseModel):
    notes: Annotated[list[str], append] = []
    pids: Annotated[list[int], append] = []


def spin(state: Log) -> dict[str, Any]:
    while True:
        pass


def sleep(state: Log) -> dict[str, Any]:
    time.sleep(3600)  # noqa: TID251 - what is tested
    return {}


async def hold_up(state: Log) -> dict[str, Any]:
    with suppress(asyncio.CancelledError):
        await asyncio.sleep(0.3)  # it is announced meanwhile
    time.sleep(3600)  # noqa: ASYNC251, TID251 - what is tested
    return {}


async def go_on(state: Log) -> dict[str, Any]:
    while True:
        with suppress(asyncio.CancelledError):
            await asyncio.Event().wait()


Stuck = Callable[[Log], Any]


def stuck(function: Stuck, timeout_s: float | None) -> Graph:
    g = Graph(f"stuck-{function.__name__}-{timeout_s}", state=Log)
    g.node(lambda state: {"pids": os.getpid(), "notes": "first"}, name="first")
    g.node(function, name="stuck", timeout_s=timeout_s)
    g.edge(START, "first")
    g.edge("first", "stuck")
    g.edge("stuck", END)
    return g


def beside() -> Graph:
    """Three nodes that take 0.8 s each."""
    g = Graph("beside", state=Log)
    previous: str = START
    for name in ("one", "two", "three"):

        def work(state: Log, name: str = name) -> dict[str, Any]:
            time.sleep(0.8)  # noqa: TID251 - work that takes time
            return {"notes": name}

        g.node(work, name=name)
        g.edge(previous, name)
        previous = name
    g.edge(previous, END)
    return g


@pytest.fixture(scope="module")
def rt(drivers: Drivers) -> Iterator[Runtime]:
    executors = {"function": {"processes": 1}}
    with Runtime(home=drivers.home, models={"default": {"provider": "scripted"}}, executors=executors) as runtime:
        yield runtime


def ended(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def steps(rt: Runtime, thread_id: str) -> list[tuple[EntryKind, str | None]]:
    entries = rt._run(rt._client.records.store.journal.read(thread_id))
    return [(entry.kind, entry.node) for entry in entries]


def wait_for_end(pid: int) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not ended(pid):
        assert time.monotonic() < deadline, f"process {pid} still runs a function that nobody waits for"
        time.sleep(0.1)  # noqa: TID251 - the end of another's process has no event


@pytest.mark.parametrize("function", [spin, sleep])
def test_a_node_that_times_out_is_stopped_with_its_process(rt: Runtime, function: Stuck) -> None:
    rt.deploy(stuck(function, 0.5), beside())
    others = [rt.session("beside").submit({}) for _ in range(8)]
    session = rt.session(f"stuck-{function.__name__}-0.5")

    result = session.run({}, timeout_s=PATIENCE_S)
    (pid,) = result.state["pids"]
    wait_for_end(pid)
    again = session.run({}, timeout_s=PATIENCE_S)

    assert result.status is ThreadState.FAILED
    assert type(result.error) is NodeTimeout
    turn = [
        (EntryKind.TURN_STARTED, None),
        (EntryKind.STEP_FINISHED, "first"),
        (EntryKind.STEP_FAILED, "stuck"),
        (EntryKind.TURN_FINISHED, None),
    ]
    assert steps(rt, f"{session.id}:0") == turn * 2
    assert again.state["pids"][1] != pid, "another process runs the next turn"
    for thread in others:
        finished = thread.result(timeout_s=PATIENCE_S)
        assert finished.state["notes"] == ["one", "two", "three"]
        assert set(Counter(steps(rt, thread.id)).values()) == {1}


def test_an_asynchronous_node_that_holds_up_its_event_loop_is_ended_with_its_process(rt: Runtime) -> None:
    rt.deploy(stuck(hold_up, 0.5), beside())
    others = [rt.session("beside").submit({}) for _ in range(8)]
    session = rt.session("stuck-hold_up-0.5")

    result = session.run({}, timeout_s=2 * PATIENCE_S)
    (pid,) = result.state["pids"]
    wait_for_end(pid)

    assert result.status is ThreadState.FAILED
    assert type(result.error) is NodeTimeout
    assert steps(rt, f"{session.id}:0") == [
        (EntryKind.TURN_STARTED, None),
        (EntryKind.STEP_FINISHED, "first"),
        (EntryKind.STEP_FAILED, "stuck"),
        (EntryKind.TURN_FINISHED, None),
    ]
    for thread in others:
        assert thread.result(timeout_s=PATIENCE_S).state["notes"] == ["one", "two", "three"]
        assert set(Counter(steps(rt, thread.id)).values()) == {1}


@pytest.mark.parametrize("function", [spin, sleep, hold_up, go_on])
def test_a_turn_that_is_cancelled_is_stopped_with_its_process(rt: Runtime, function: Stuck) -> None:
    rt.deploy(stuck(function, None))
    session = rt.session(f"stuck-{function.__name__}-None")
    thread = session.submit({})
    for event in thread.events():
        if getattr(event, "node", None) == "stuck":
            break

    thread.cancel()
    (pid,) = thread.state()["pids"]

    assert steps(rt, thread.id) == [
        (EntryKind.TURN_STARTED, None),
        (EntryKind.STEP_FINISHED, "first"),
        (EntryKind.TURN_FINISHED, None),
    ]
    assert thread.status() is ThreadState.CANCELLED
    wait_for_end(pid)
