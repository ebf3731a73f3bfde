"""`rt.map`: a workflow for each input, in order, so many at a time, and nothing left behind."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import aclosing
from typing import Annotated, Any

import pytest
from pydantic import BaseModel

from graphs.errors import ValidationError
from runtime import END, START, AsyncLocalRuntime, Graph, NotFoundError, StateInvalid, ThreadState, append
from tests.component.actors_kit import Gate, hosts, runtime, until


class Job(BaseModel):
    number: int = 0
    notes: Annotated[list[str], append] = []


class Work:
    """A workflow of one node that counts what runs."""

    def __init__(self) -> None:
        self.running = 0
        self.most = 0
        self.begun: list[int] = []
        self.stopped: list[int] = []
        self.gate = Gate()

    def graph(self) -> Graph:
        g = Graph("job", state=Job)

        @g.node
        async def work(state: Job) -> dict:
            self.begun.append(state.number)
            self.running += 1
            self.most = max(self.most, self.running)
            try:
                if state.number < 0:
                    raise ValueError(f"no {state.number}")
                await self.gate()
            except asyncio.CancelledError:
                self.stopped.append(state.number)
                raise
            finally:
                self.running -= 1
            return {"notes": f"done {state.number}"}

        g.edge(START, "work")
        g.edge("work", END)
        return g


async def statuses(rt: AsyncLocalRuntime) -> list[ThreadState]:
    store = rt.records.store
    heads = [head for each in await store.sessions.list() for head in await store.journal.threads(each.id)]
    return [head.cursor.status for head in heads]


async def test_results_come_in_the_order_of_the_inputs() -> None:
    work = Work()
    async with runtime() as rt:
        await rt.deploy(work.graph())
        mapped = rt.map("job", ({"number": number} for number in range(10)), max_concurrency=4, user_id="ada")
        results = asyncio.create_task(_all(mapped))
        await work.gate.reached(4)
        begun = sorted(work.begun)
        await work.gate.open()

        done = await results

        assert begun == [0, 1, 2, 3]
        assert [result.state.notes for result in done] == [[f"done {number}"] for number in range(10)]
        assert work.most == 4
        assert len({result.thread_id for result in done}) == 10
        sessions = await rt.records.store.sessions.list()
        assert {session.user_id for session in sessions} == {"ada"}


async def test_a_run_that_fails_is_a_result_among_the_others() -> None:
    work = Work()
    await work.gate.open()
    async with runtime() as rt:
        await rt.deploy(work.graph())

        done = await _all(rt.map("job", [{"number": number} for number in (1, -2, 3)]))

        assert [result.status.value for result in done] == ["completed", "failed", "completed"]
        assert done[1].error.message == "no -2"


async def test_nothing_to_do() -> None:
    async with runtime() as rt:
        await rt.deploy(Work().graph())

        assert await _all(rt.map("job", [])) == []


async def test_inputs_are_read_as_they_are_needed() -> None:
    work = Work()
    read = 0

    def inputs() -> Iterator[dict[str, Any]]:
        nonlocal read
        for number in range(1_000_000):
            read += 1
            yield {"number": number}

    async with runtime() as rt:
        await rt.deploy(work.graph())
        await work.gate.open()

        async with aclosing(rt.map("job", inputs(), max_concurrency=2)) as mapped:
            first = await anext(mapped)

        assert first.state.number == 0
        assert read <= 9


async def test_a_reader_that_stops_leaves_nothing_running() -> None:
    work = Work()
    async with runtime() as rt:
        await rt.deploy(work.graph())
        mapped = rt.map("job", ({"number": number} for number in range(100)), max_concurrency=5)
        reading = asyncio.create_task(anext(mapped))
        await work.gate.reached(5)
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
        await mapped.aclose()

        await until(lambda: len(work.stopped) == 5)

        assert work.running == 0
        assert not any(host._sessions for host in hosts(rt).values())
        assert await statuses(rt) == [ThreadState.CANCELLED] * 5


async def test_an_error_in_the_inputs_ends_it_and_what_runs() -> None:
    work = Work()

    def inputs() -> Iterator[dict[str, Any]]:
        yield {"number": 1}
        yield {"number": 2}
        raise LookupError("the file ended")

    async with runtime() as rt:
        await rt.deploy(work.graph())

        with pytest.raises(LookupError, match="the file ended"):
            await _all(rt.map("job", inputs(), max_concurrency=8))

        assert set(await statuses(rt)) <= {ThreadState.CANCELLED}
        assert work.running == 0


async def test_an_input_that_does_not_fit_ends_it_and_what_runs() -> None:
    work = Work()
    async with runtime() as rt:
        await rt.deploy(work.graph())

        with pytest.raises(StateInvalid, match="numbr: no such channel"):
            await _all(rt.map("job", [{"numbr": 1}, {"number": 2}]))

        assert set(await statuses(rt)) <= {ThreadState.CANCELLED}


async def test_wrong_options_are_told_at_once() -> None:
    async with runtime() as rt:
        await rt.deploy(Work().graph())

        with pytest.raises(NotFoundError, match=r"no workflow 'jib' is deployed; did you mean \"job\"\?"):
            await _all(rt.map("jib", []))
        with pytest.raises(ValidationError, match="max_concurrency is 0; give 1 or more"):
            await _all(rt.map("job", [], max_concurrency=0))
        with pytest.raises(ValidationError, match=r"no priority 'hihg'; did you mean \"high\"\?"):
            await _all(rt.map("job", [{}], priority="hihg"))


async def test_more_runs_than_places_wait_in_their_hosts() -> None:
    work = Work()
    async with runtime(hosts={"min": 2, "max": 2, "capacity": 3}) as rt:
        await rt.deploy(work.graph())
        results = asyncio.create_task(_all(rt.map("job", [{"number": number} for number in range(20)])))
        await work.gate.reached(6)
        await until(lambda: sum(host._admission.waiting for host in hosts(rt).values()) == 14)
        cluster = await rt.cluster()
        await work.gate.open()

        done = await results

        assert cluster.waiting == 14
        assert {info.facts.threads for info in cluster.processes if info.kind == "host"} == {3}
        assert work.most == 6
        assert [result.state.number for result in done] == list(range(20))


async def test_among_those_that_wait_the_urgent_go_first() -> None:
    work = Work()
    async with runtime(hosts={"min": 1, "max": 1, "capacity": 1}) as rt:
        await rt.deploy(work.graph())
        first = await (await rt.session("job")).submit({"number": 0})
        await work.gate.reached()
        priorities = ["low", "normal", "critical", "high"]
        threads = []
        for number, priority in enumerate(priorities, start=1):
            threads.append(await (await rt.session("job")).submit({"number": number}, priority=priority))
            await until(lambda number=number: next(iter(hosts(rt).values()))._admission.waiting == number)
        await work.gate.open()

        for thread in (first, *threads):
            await thread.result()

        assert work.begun == [0, 3, 4, 2, 1]


async def _all(mapped: Any) -> list[Any]:
    async with asyncio.timeout(20):
        return [result async for result in mapped]
