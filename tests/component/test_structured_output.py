"""Answers of models in a form: asked for, checked, mended, written."""

from __future__ import annotations

import enum
import json
from typing import Any

import pytest
from pydantic import BaseModel, Field

from actors.errors import OutputInvalid
from graphs.journal import Usage
from graphs.workflow.spec import dump, load
from runtime import END, START, AsyncLocalRuntime, Graph, GraphInvalid
from tests.component.actors_kit import runtime


class Mood(enum.Enum):
    GOOD = "good"
    BAD = "bad"


class Review(BaseModel):
    """What somebody thinks."""

    stars: int = Field(ge=1, le=5)
    mood: Mood
    words: list[str] = []


class State(BaseModel):
    text: str = ""
    stars: int = 0
    mood: Mood | None = None
    words: list[str] = []
    review: Review | None = None
    scores: list[int] = []
    reviews: list[Review] = []
    texts: list[str] = []


def models(reply: str, **repairs: str) -> dict[str, Any]:
    """A model that gives this answer, and others where it is told of a problem with such a word in it."""
    return {"default": {"provider": "scripted", "replies": {**repairs, "": reply}}}


def graph(**options: Any) -> Graph:
    g = Graph("form", state=State)
    g.llm("read", **{"prompt": "Read: {text}", "output": Review, **options})
    g.edge(START, "read")
    g.edge("read", END)
    return g


async def run(rt: AsyncLocalRuntime, g: Graph) -> Any:
    await rt.deploy(g)
    return await (await rt.session(g.name)).run({"text": "so so"})


GOOD = '{"stars": 4, "mood": "good", "words": ["fine"]}'


async def test_fields_go_to_the_channels_of_their_names() -> None:
    async with runtime(models=models(GOOD)) as rt:
        result = await run(rt, graph())

    assert result.status == "completed", result.error
    assert (result.state.stars, result.state.mood, result.state.words) == (4, Mood.GOOD, ["fine"])


async def test_a_whole_value_goes_to_one_channel() -> None:
    async with runtime(models=models(GOOD)) as rt:
        result = await run(rt, graph(into="review"))

    assert result.state.review == Review(stars=4, mood=Mood.GOOD, words=["fine"])


async def test_a_value_that_is_no_object() -> None:
    async with runtime(models=models("[3, 4]")) as rt:
        result = await run(rt, graph(output=list[int], into="scores"))

    assert result.state.scores == [3, 4]


async def test_the_model_is_told_what_does_not_fit_and_asked_again() -> None:
    replies = models("Four stars!", greater=GOOD, malformed='{"stars": 0, "mood": "so so"}')

    async with runtime(models=replies) as rt:
        result = await run(rt, graph(repairs=2))

        assert result.status == "completed", result.error
        assert result.state.stars == 4
        assert result.usage.calls == 1 + 1 + 1


async def test_after_so_many_repairs_it_is_an_error() -> None:
    async with runtime(models=models('{"stars": 9, "mood": "good"}')) as rt:
        result = await run(rt, graph(repairs=1))

    assert result.status == "failed"
    assert result.error is not None
    assert (type(result.error), result.error.message) == (
        OutputInvalid,
        'model "default": its answer does not fit: answer.stars: Input should be less than or equal to 5; '
        "use a larger model, or raise repairs or max_tokens",
    )
    assert result.error.fields == {
        "node": "read",
        "model": "default",
        "problems": ["answer.stars: Input should be less than or equal to 5"],
        "text": '{"stars": 9, "mood": "good"}',
    }
    assert result.state.stars == 0


async def test_an_answer_that_was_cut_off_says_so() -> None:
    async with runtime(models=models('{"stars": 4, "mood": "good"}')) as rt:
        result = await run(rt, graph(repairs=0, max_tokens=2))

    assert result.error is not None
    assert "cut off because it is too long" in result.error.message


async def test_each_item_of_a_map_is_read_in_the_form() -> None:
    g = Graph("form", state=State)
    g.llm("read", prompt="Read: {item}", output=Review, into="reviews")
    g.map("each", over="texts", node="read", into="reviews")
    g.edge(START, "each")
    g.edge("each", END)

    async with runtime(models=models(GOOD)) as rt:
        await rt.deploy(g)
        result = await (await rt.session("form")).run({"texts": ["a", "b"]})

    assert result.status == "completed", result.error
    assert result.state.reviews == [Review(stars=4, mood=Mood.GOOD, words=["fine"])] * 2


def test_the_form_is_data() -> None:
    model = graph(into="review").build()

    assert load(dump(model)).model_dump() == model.model_dump()
    spec = json.loads(dump(model, "json"))["nodes"][0]
    assert spec["output"] == {
        "struct": {
            "stars": "int64",
            "mood": {"enum": ["good", "bad"]},
            "words": {"type": {"list": "string"}, "default": []},
        }
    }
    assert spec["output_type"].endswith(":Review")


async def test_a_graph_that_is_only_data_checks_as_well() -> None:
    model = graph(into="review").build()
    node = model.nodes[0]
    bare = model.model_copy(
        update={"nodes": (node.model_copy(update={"config": node.config.model_copy(update={"output_type": None})}),)}
    )

    async with runtime(models=models('{"stars": "many", "mood": "good"}', fit=GOOD)) as rt:
        await rt.deploy(bare)
        result = await (await rt.session("form")).run({"text": "x"})

    assert (result.status, result.usage.calls) == ("completed", 2)
    assert result.usage != Usage()


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"into": "stars"}, 'nodes[0].config.output: does not fit channel "stars", whose type is int64'),
        (
            {"output": list[int]},
            "nodes[0].config.into: is missing: this answer has no fields to write to channels of their names",
        ),
        ({"output": None}, "nodes[0].config.into: is missing; name the channel of the answer"),
        (
            {"tools": ["calculator"]},
            "nodes[0].config.output: a model that may ask for tools answers with text; use another llm node",
        ),
    ],
)
def test_what_is_wrong_with_a_form(options: dict[str, Any], problem: str) -> None:
    with pytest.raises(GraphInvalid) as caught:
        graph(**options).build()

    assert problem in caught.value.problems
