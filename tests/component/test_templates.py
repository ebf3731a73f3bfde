"""The shipped templates, each run with a scripted model. `digest` has tests of its own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from graphs.workflow.registry import template, template_names
from graphs.workflow.render import mermaid
from graphs.workflow.spec import dump, load
from graphs.workflow.validation import validate
from runtime import AsyncLocalRuntime
from tests.component.actors_kit import runtime


def models(replies: Any) -> dict[str, Any]:
    return {"default": {"provider": "scripted", "replies": replies}}


async def run(rt: AsyncLocalRuntime, name: str, content: dict[str, Any]) -> Any:
    await rt.deploy(name)
    return await (await rt.session(name)).run(content)


@pytest.mark.parametrize("name", template_names())
def test_each_is_sound_and_can_be_exported_and_drawn(name: str) -> None:
    graph = template(name)

    assert (graph.id, validate(graph)) == (name, [])
    assert load(dump(graph)) == graph
    assert "flowchart" in mermaid(graph)
    assert graph.description


async def test_react() -> None:
    asks = {"text": "I compute.", "tool_calls": [{"name": "calculator", "arguments": {"expression": "6 * 7"}}]}

    async with runtime(models=models({"6 times 7": [asks, "It is 42."], "thanks": "You are welcome."})) as rt:
        await rt.deploy("react")
        session = await rt.session("react")
        first = await session.run({"question": "What is 6 times 7?"})
        second = await session.run({"question": "thanks"})

    assert [(result.status, result.state["answer"]) for result in (first, second)] == [
        ("completed", "It is 42."),
        ("completed", "You are welcome."),
    ]
    assert [(message.role, message.content) for message in second.state["messages"]] == [
        ("user", "What is 6 times 7?"),
        ("assistant", "I compute."),
        ("tool", "42"),
        ("assistant", "It is 42."),
        ("user", "thanks"),
        ("assistant", "You are welcome."),
    ]


@pytest.mark.parametrize(
    ("kind", "expression", "answer"),
    [
        ("calculation", "12 * 12", "144"),
        ("calculation", "twelve squared", "A reply."),
        ("writing", "", "A text."),
        ("question", "", "A reply."),
    ],
)
async def test_router(kind: str, expression: str, answer: str) -> None:
    replies = {
        "Is this a calculation": json.dumps({"kind": kind}),
        "arithmetic expression": json.dumps({"expression": expression}),
        "Do it": "A text." if kind == "writing" else "A reply.",
    }

    async with runtime(models=models(replies)) as rt:
        result = await run(rt, "router", {"request": "Do it"})

    assert (result.status, result.state["kind"], result.state["answer"]) == ("completed", kind, answer)


async def test_plan_and_execute() -> None:
    replies = {
        "List two": json.dumps({"steps": ["buy", "cook"]}),
        "few sentences: buy": "Bought  eggs.",
        "few sentences: cook": "Cooked them.",
        "Give the result": "An omelette.",
    }

    async with runtime(models=models(replies)) as rt:
        result = await run(rt, "plan-and-execute", {"task": "breakfast"})

    assert result.status == "completed", result.error
    assert (result.state["results"], result.state["answer"]) == (
        ["buy: Bought eggs.", "cook: Cooked them."],
        "An omelette.",
    )
    assert result.usage.calls == 4


async def test_a_plan_of_too_many_steps_is_cut_and_one_of_none_is_concluded() -> None:
    for count, done in ((9, 5), (0, 0)):
        replies = {"List two": json.dumps({"steps": ["go"] * count}), "few sentences": "Gone.", "Give": "There."}
        async with runtime(models=models(replies)) as rt:
            result = await run(rt, "plan-and-execute", {"task": "walk"})

        assert (result.state["results"], result.state["answer"]) == (["go: Gone."] * done, "There.")


async def test_approval() -> None:
    async with runtime(models=models({"more polite": "Dear Bob, pay!", "Ask Bob": "Pay!"})) as rt:
        await rt.deploy("approval")
        session = await rt.session("approval")
        result = await session.run({"request": "Ask Bob to pay."})
        thread = await rt.thread(result.thread_id)
        questions = [result.pause.question]
        for answer in ({"decision": "change", "comment": "more polite"}, {"decision": "approve"}):
            await thread.answer(answer)
            result = await thread.result()
            questions.append(result.pause.question if result.pause else "")

    assert [question.partition("\n")[0] for question in questions] == ["Pay!", "Dear Bob, pay!", ""]
    assert (result.status, result.state["decision"], result.state["draft"]) == (
        "completed",
        "approve",
        "Dear Bob, pay!",
    )


async def test_retrieval(tmp_path: Path) -> None:
    (tmp_path / "animals").mkdir()
    (tmp_path / "animals" / "cats.md").write_text("Cats sleep for fifteen hours a day.\n\nThey purr.")
    (tmp_path / "plants.md").write_text("Trees grow slowly.")

    async with runtime(models=models({"fifteen hours": "15 (cats.md)"}), access={"files": [str(tmp_path)]}) as rt:
        found = await run(rt, "retrieval", {"question": "How long does a cat sleep?"})
        nothing = await run(rt, "retrieval", {"question": "quantum chromodynamics"})

    assert (found.status, found.state["answer"]) == ("completed", "15 (cats.md)")
    assert [each["file"] for each in found.state["passages"]] == ["animals/cats.md"]
    assert (nothing.status, nothing.state["answer"], nothing.usage.calls) == (
        "completed",
        "No file says anything about: quantum chromodynamics",
        0,
    )


async def test_retrieval_without_an_allowed_folder() -> None:
    async with runtime(models=models([])) as rt:
        result = await run(rt, "retrieval", {"question": "x"})

    assert result.status == "failed"
    assert result.error.message == "file_search: no folder is allowed; name one in access.files"
