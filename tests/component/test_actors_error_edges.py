"""Turns that go on after a failure, by edges for errors."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel

from runtime import END, START, Graph, append
from tests.component.actors_kit import COMPLETED, FAILED, STARTED, failed_step, history, joined, runtime, step


class Order(BaseModel):
    items: list[int] = []
    results: list[int] = []
    notes: Annotated[list[str], append] = []


def broken(state: Order) -> dict[str, Any]:
    raise ValueError("out of paper")


def note(text: str) -> Any:
    return lambda state: {"notes": [text]}


def picky(item: int) -> int:
    if item < 0:
        raise ValueError(f"no {item}")
    return item * 2


async def test_a_turn_goes_on_where_the_edge_for_errors_leads():
    g = Graph("g", state=Order)
    g.node(broken, name="print", retry=1)
    g.node(note("mended"), name="mend")
    g.node(note("never"), name="never")
    g.edge(START, "print")
    g.edge("print", "never")
    g.edge("print", "mend", on_error=True)
    g.edge("never", END)
    g.edge("mend", END)

    async with runtime() as rt:
        await rt.deploy(g)
        result = await (await rt.session("g")).run({})

        assert (result.status, result.error, result.state["notes"]) == ("completed", None, ["mended"])
        assert await history(rt, result.thread_id) == [STARTED, failed_step("print"), step("mend"), COMPLETED]
        entry = (await rt.records.store.journal.read(result.thread_id))[1]
        assert entry.cursor.caught == entry.error
        assert (entry.error.code, entry.error.message) == ("ValueError", "out of paper")


async def test_a_failure_behind_the_edge_fails_the_turn():
    g = Graph("g", state=Order)
    g.node(broken, name="print")
    g.node(broken, name="mend")
    g.edge(START, "print")
    g.edge("print", END)
    g.edge("print", "mend", on_error=True)
    g.edge("mend", END)

    async with runtime() as rt:
        await rt.deploy(g)
        result = await (await rt.session("g")).run({})

        assert result.status == "failed"
        assert await history(rt, result.thread_id) == [STARTED, failed_step("print"), failed_step("mend"), FAILED]


async def test_an_edge_may_end_the_turn():
    g = Graph("g", state=Order)
    g.node(broken, name="print")
    g.edge(START, "print")
    g.edge("print", END)
    g.edge("print", END, on_error=True)

    async with runtime() as rt:
        await rt.deploy(g)
        result = await (await rt.session("g")).run({})

        assert (result.status, result.error) == ("completed", None)


async def test_a_map_that_fails_leads_on():
    g = Graph("g", state=Order)
    g.node(picky)
    g.map("each", over="items", node="picky", into="results")
    g.node(note("mended"), name="mend")
    g.edge(START, "each")
    g.edge("each", END)
    g.edge("each", "mend", on_error=True)
    g.edge("mend", END)

    async with runtime() as rt:
        await rt.deploy(g)
        session = await rt.session("g")
        good = await session.run({"items": [1, 2]})
        bad = await session.run({"items": [1, -2]})

        assert (good.state["results"], good.state["notes"]) == ([2, 4], [])
        assert (bad.status, bad.state["results"], bad.state["notes"]) == ("completed", [2, 4], ["mended"])


async def test_a_branch_that_fails_leads_its_fork_on():
    g = Graph("g", state=Order)
    g.fork("both")
    g.node(note("left"), name="left")
    g.node(broken, name="right")
    g.node(note("joined"), name="after")
    g.node(note("mended"), name="mend")
    for source, target in ((START, "both"), ("both", "left"), ("both", "right"), ("left", "after"), ("right", "after")):
        g.edge(source, target)
    g.edge("both", "mend", on_error=True)
    g.edge("after", END)
    g.edge("mend", END)

    async with runtime() as rt:
        await rt.deploy(g)
        result = await (await rt.session("g")).run({})

        assert (result.status, result.state["notes"]) == ("completed", ["mended"])
        assert await history(rt, result.thread_id) == [STARTED, failed_step("both"), step("mend"), COMPLETED]


async def test_a_branch_mends_its_own_failure():
    g = Graph("g", state=Order)
    g.fork("both")
    g.node(note("left"), name="left")
    g.node(broken, name="right")
    g.node(note("mended"), name="mend")
    g.node(note("joined"), name="after")
    for source, target in ((START, "both"), ("both", "left"), ("both", "right"), ("left", "after"), ("right", "after")):
        g.edge(source, target)
    g.edge("right", "mend", on_error=True)
    g.edge("mend", "after")
    g.edge("after", END)

    async with runtime() as rt:
        await rt.deploy(g)
        result = await (await rt.session("g")).run({})

        assert (result.status, result.state["notes"]) == ("completed", ["left", "mended", "joined"])
        assert await history(rt, result.thread_id) == [STARTED, joined("both"), step("after"), COMPLETED]
