"""What user interfaces learn of an open question."""

from __future__ import annotations

import pytest
from pydantic import BaseModel, Field

from runtime import END, START, BusinessRuleViolation, Graph, LocalRuntime
from runtime.cli.threads import thread_document
from tests.component.actors_kit import runtime


class Letter(BaseModel):
    ok: bool = False
    stars: int = 0


class Verdict(BaseModel):
    ok: bool
    stars: int = Field(default=3, le=5)


SCHEMA = {
    "title": "Verdict",
    "type": "object",
    "properties": {
        "ok": {"title": "Ok", "type": "boolean"},
        "stars": {"default": 3, "maximum": 5, "title": "Stars", "type": "integer"},
    },
    "required": ["ok"],
}


def letter() -> Graph:
    g = Graph("letter", state=Letter)
    g.human("ask", question="Send it?", answer=Verdict)
    g.edge(START, "ask")
    g.edge("ask", END)
    return g


async def test_a_question_has_the_schema_of_its_answers() -> None:
    async with runtime() as rt:
        await rt.deploy(letter())
        result = await (await rt.session("letter")).run({})
        thread = await rt.thread(result.thread_id)

        assert await thread.answer_schema() == SCHEMA
        assert (await thread_document(rt.records, thread.id))["pause"] == {
            "kind": "human",
            "node": "ask",
            "question": "Send it?",
            "answer": SCHEMA,
        }
        await thread.answer({"ok": True})
        result = await thread.result(timeout_s=10)
        assert result.state == {"ok": True, "stars": 3}
        with pytest.raises(BusinessRuleViolation, match="asks nothing: it is completed"):
            await thread.answer_schema()
        assert "pause" not in await thread_document(rt.records, thread.id)


def test_blocking_drivers_have_it_too() -> None:
    with LocalRuntime() as rt:
        rt.deploy(letter())
        thread = rt.thread(rt.session("letter").run({}).thread_id)

        assert thread.answer_schema() == SCHEMA
