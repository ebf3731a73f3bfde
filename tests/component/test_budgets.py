"""Turns that use up what they may: no model is asked beyond it, and nothing that was done is lost."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from typing import Annotated, Any

import pytest
from pydantic import BaseModel

from graphs.budgets import Budget, least
from graphs.calls import MonetaryAmount
from graphs.errors import ValidationError
from graphs.workflow import spec
from runtime import END, START, BudgetExceeded, Graph, GraphInvalid, append
from tests.component.actors_kit import FAILED, STARTED, failed_step, history, runtime, step

MODELS = {
    "default": {
        "provider": "scripted",
        "replies": ["one two three"],
        "price": {"input_per_million": 1_000_000, "output_per_million": 0},
    }
}
"""A prompt of two words and an answer of three: five tokens, and 2 USD."""


class Notes(BaseModel):
    n: int = 0
    notes: Annotated[list[str], append] = []


def loop(times: int = 5, **options: Any) -> Graph:
    """Asks a model so many times."""
    g = Graph("loop", state=Notes, **options)

    @g.node
    def count(state: Notes) -> dict[str, Any]:
        return {"n": state.n + 1}

    g.llm("ask", prompt="number {n}", into="notes")
    g.edge(START, "count")
    g.edge("count", "ask")
    g.edge("ask", "count", when=f"state.n < {times}")
    g.edge("ask", END, default=True)
    return g


async def run(graph: Graph, **options: Any) -> Any:
    async with runtime(models=MODELS) as rt:
        await rt.deploy(graph)
        result = await (await rt.session(graph.name)).run({}, **options)
        records = await rt.history.query(record_type="workflow_execution")
        return result, [record.data["error"] for record in records]


@pytest.mark.parametrize(
    ("budget", "asked", "limit", "used", "allowed"),
    [
        ({"tokens": 10}, 2, "tokens", 10, 10),
        ({"tokens": 11}, 3, "tokens", 15, 11),
        ({"cost": "3.9"}, 2, "cost", "4 USD", "3.9 USD"),
        ({"cost": 4}, 2, "cost", "4 USD", "4 USD"),
        ({"steps": 5}, 2, "steps", 5, 5),
        ({"tokens": 1_000, "steps": 4, "cost": "1"}, 1, "cost", "2 USD", "1 USD"),
    ],
)
async def test_a_turn_ends_before_the_call_that_is_too_much(budget, asked, limit, used, allowed) -> None:
    result, errors = await run(loop(), budget=budget)

    assert result.status == "failed"
    assert isinstance(result.error, BudgetExceeded)
    assert {name: result.error.fields[name] for name in ("limit", "used", "allowed")} == {
        "limit": limit,
        "used": used,
        "allowed": allowed,
    }
    assert len(result.state.notes) == result.usage.calls == asked
    assert [error["code"] for error in errors] == ["BudgetExceeded"]


async def test_what_is_within_its_budget_is_not_touched() -> None:
    result, _ = await run(loop(2), budget={"tokens": 10, "cost": "100", "steps": 4, "time_s": 60, "currency": "USD"})

    assert (result.status, result.state.n) == ("completed", 2)


async def test_of_a_workflow() -> None:
    result, _ = await run(loop(budget={"tokens": 10, "cost": Decimal("100.5")}))

    assert (result.error.limit, result.state.n) == ("tokens", 3)


async def test_the_least_of_workflow_session_and_turn_counts() -> None:
    async with runtime(models=MODELS) as rt:
        await rt.deploy(loop(budget={"tokens": 20}))
        session = await rt.session("loop", budget={"tokens": 25})
        first = await session.run({})
        second = await session.run({"n": 0}, budget={"tokens": 5_000})
        third = await session.run({"n": 0})
        usage = await session.usage()

    assert [(result.error.limit, result.usage.total_tokens) for result in (first, second, third)] == [
        ("tokens", 20),
        ("tokens", 5),
        ("tokens", 0),
    ]
    assert (usage.total_tokens, usage.calls, usage.cost) == (25, 5, (MonetaryAmount(amount=Decimal(10)),))


async def test_time() -> None:
    g = Graph("slow", state=Notes, budget={"time_s": 0.05})

    @g.node
    async def work(state: Notes) -> dict[str, Any]:
        await asyncio.sleep(0.1)
        return {"n": 1}

    g.llm("ask", prompt="x", into="notes")
    g.edge(START, "work")
    g.edge("work", "ask")
    g.edge("ask", END)
    result, _ = await run(g)

    assert (result.error.limit, result.state.n, result.state.notes) == ("time", 1, [])


async def test_an_edge_for_errors_goes_on_without_the_model() -> None:
    g = loop(budget={"tokens": 5})

    @g.node
    def close(state: Notes, ctx: Any) -> dict[str, Any]:
        return {"notes": [type(ctx.error).__name__]}

    g.edge("ask", "close", on_error=True)
    g.edge("close", END)
    async with runtime(models=MODELS) as rt:
        await rt.deploy(g)
        session = await rt.session("loop")
        result = await session.run({})
        entries = await history(rt, session.thread)

    assert (result.status, result.state.notes) == ("completed", ["one two three", "BudgetExceeded"])
    assert entries[:5] == [STARTED, step("count"), step("ask"), step("count"), failed_step("ask")]
    assert FAILED not in entries


async def test_edges_read_it() -> None:
    g = Graph("routed", state=Notes)
    g.llm("ask", prompt="a b", into="notes")
    g.edge(START, "ask")
    g.route("ask", "budget", {"within": "ask", "exceeded": END})
    within, _ = await run(g, budget={"tokens": 15})
    async with runtime(models=MODELS) as rt:
        await rt.deploy(g)
        free = await (await rt.session("routed")).run({}, budget={"steps": 3})

    assert (within.status, within.usage.calls) == ("completed", 3)
    assert (free.status, free.usage.calls) == ("completed", 3)


async def test_branches_have_what_is_left_when_they_begin() -> None:
    g = Graph("fork", state=Notes, budget={"tokens": 10})
    g.llm("first", prompt="a b", into="notes")
    for branch in ("left", "right"):
        g.llm(branch, prompt="a b", into="notes")
        g.llm(f"{branch}_again", prompt="a b", into="notes")
        g.edge("first", branch)
        g.edge(branch, f"{branch}_again")
        g.edge(f"{branch}_again", END)
    g.edge(START, "first")
    result, _ = await run(g)

    assert result.status == "failed"
    assert result.usage.calls == 3
    assert "budget of tokens" in str(result.error)


def test_wrong_budgets() -> None:
    with pytest.raises(GraphInvalid, match=r"budget: .*unknown field `token`"):
        loop(budget={"token": 3})
    with pytest.raises(GraphInvalid, match="it takes tokens, cost, currency, time_s and steps, each above 0"):
        loop(budget={"tokens": 0})
    for wrong in ({"cost": "much"}, {"cost": "-1"}, {"currency": "dollars"}, {"time_s": 0}):
        with pytest.raises(ValidationError, match="budget: "):
            Budget.of(wrong)


def test_it_is_a_part_of_the_graph() -> None:
    graph = loop(budget={"tokens": 10, "cost": Decimal("0.50")}).build()

    assert spec.load(spec.dump(graph)) == graph
    assert "cost: '0.50'" in spec.dump(graph)


def test_least() -> None:
    euro = MonetaryAmount(amount=Decimal(1), currency="EUR")
    budgets = (
        Budget(tokens=5, cost=(MonetaryAmount(amount=Decimal(3)),), until=7.0),
        None,
        Budget(tokens=3, cost=(euro, MonetaryAmount(amount=Decimal(2))), steps=2, time_s=9.0),
    )

    assert least(budgets) == Budget(
        tokens=3, cost=(euro, MonetaryAmount(amount=Decimal(2))), steps=2, time_s=9.0, until=7.0
    )
    assert least(()) is None
    assert least((None, budgets[0])) is budgets[0]
