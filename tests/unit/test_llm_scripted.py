"""The scripted model."""

from __future__ import annotations

import random
import statistics
from typing import Any

import pytest

from actors.llm.client import ChatRequest, ChatResponse
from actors.llm.scripted import ScriptedClient, draw_s
from actors.llm.settings import Latency, ModelSettings, Script, ScriptedCall, ScriptedReply
from graphs.journal import Usage
from graphs.messages import Message, ToolCall


def asking(text: str, **options: Any) -> ChatRequest:
    messages = (Message(role="system", content="Be nice."), Message(role="user", content=text))
    return ChatRequest(messages=messages, **options)


def client(**script: Any) -> ScriptedClient:
    return ScriptedClient(ModelSettings(name="s", provider="scripted", script=Script(**script)))


async def test_it_echoes_by_default() -> None:
    response = await client().chat(asking("two  words", model="gpt"))

    assert response == ChatResponse(
        text="scripted: two  words",
        usage=Usage(prompt_tokens=4, completion_tokens=3, calls=1),
        model="gpt",
        finish_reason="stop",
    )


async def test_the_last_user_message_is_what_counts() -> None:
    messages = (
        Message(role="user", content="first"),
        Message(role="user", content="second"),
        Message(role="assistant", content="answer"),
    )

    assert (await client().chat(ChatRequest(messages=messages))).text == "scripted: second"
    assert (await client().chat(ChatRequest(messages=()))).text == "scripted: "


async def test_the_pieces_together_are_the_text() -> None:
    pieces: list[str] = []

    response = await client(replies=("  a\n\nb  c \n",)).chat(asking("x"), pieces.append)

    assert response.text == "  a\n\nb  c \n"
    assert pieces == ["  a", "\n\nb", "  c", " \n"]


async def test_the_same_messages_have_the_same_answer_everywhere() -> None:
    replies = tuple("abcdefgh")
    texts = [f"question {number}" for number in range(12)]

    answers = [(await client(replies=replies).chat(asking(text))).text for text in texts]

    # Fixed for good: another version or machine must give the same answers.
    assert "".join(answers) == "bgcfehbeaeab"
    one = client(replies=replies)
    assert [(await one.chat(asking(text))).text for text in reversed(texts)] == answers[::-1]


async def test_ids_of_messages_do_not_change_the_answer() -> None:
    replies = tuple(map(str, range(1_000)))
    with_id = ChatRequest(messages=(Message(role="user", content="x", id="1"),))
    other_id = ChatRequest(messages=(Message(role="user", content="x", id="2"),), temperature=0.5)

    assert await client(replies=replies).chat(with_id) == await client(replies=replies).chat(other_id)


async def test_answers_in_turn() -> None:
    one = client(replies=("a", "b"), order="sequential")

    assert [(await one.chat(asking("x"))).text for _ in range(5)] == ["a", "b", "a", "b", "a"]


async def test_answers_by_what_is_asked() -> None:
    one = client(replies={"weather": "Sunny.", "the": "An article."})

    texts = [(await one.chat(asking(text))).text for text in ("the weather", "the rest", "else")]
    assert texts == ["Sunny.", "An article.", "scripted: else"]


async def test_answers_one_after_the_other_until_the_next_user_message() -> None:
    add = ScriptedCall(name="add", arguments={"a": 1})
    one = client(replies={"sum": (ScriptedReply(text="Let me see.", tool_calls=(add, add)), "It is 2.")})
    asked = Message(role="user", content="the sum?")

    first = await one.chat(ChatRequest(messages=(asked,)))
    said = (Message(role="assistant", tool_calls=list(first.tool_calls)), Message(role="tool", content="2"))
    rest = [
        await one.chat(ChatRequest(messages=messages))
        for messages in ((asked, *said), (asked, *said, *said), (asked, *said, asked))
    ]

    assert first == ChatResponse(
        text="Let me see.",
        tool_calls=tuple(ToolCall(id=f"call_0_{n}", name="add", arguments='{"a":1}') for n in (1, 2)),
        usage=Usage(prompt_tokens=2, completion_tokens=5, calls=1),
        model="s",
        finish_reason="tool_calls",
    )
    assert [(each.text, [call.id for call in each.tool_calls]) for each in rest] == [
        ("It is 2.", []),
        ("It is 2.", []),
        ("Let me see.", ["call_1_1", "call_1_2"]),
    ]


async def test_answers_are_cut_as_asked() -> None:
    one = client(replies=("one two three four",))

    short = await one.chat(asking("x", max_tokens=2))
    stopped = await one.chat(asking("x", stop=("four", " three")))

    assert (short.text, short.finish_reason, short.usage.completion_tokens) == ("one two", "length", 2)
    assert (stopped.text, stopped.finish_reason, stopped.usage.completion_tokens) == ("one two", "stop", 2)


async def test_latency_is_spread_over_the_words() -> None:
    slept_s: list[float] = []

    async def sleep(seconds: float) -> None:
        slept_s.append(seconds)

    script = Script(replies=("a b c d",), latency=Latency(mean_s=2.0))
    one = ScriptedClient(ModelSettings(name="s", provider="scripted", script=script), sleep=sleep)

    await one.chat(asking("x"))
    await one.chat(asking("x"), lambda _: None)

    assert slept_s == [2.0, 0.5, 0.5, 0.5, 0.5]


@pytest.mark.parametrize("kind", ["fixed", "uniform", "lognormal"])
def test_latencies_have_the_mean_and_spread_asked_for(kind: Any) -> None:
    latency = Latency(kind=kind, mean_s=2.0, spread_s=0.5)
    chance, again = random.Random(7), random.Random(7)

    drawn = [draw_s(latency, chance) for _ in range(20_000)]

    assert drawn[:100] == [draw_s(latency, again) for _ in range(100)]
    assert statistics.fmean(drawn) == pytest.approx(2.0, rel=0.01)
    deviation = {"fixed": 0.0, "uniform": 0.5 / 3**0.5, "lognormal": 0.5}[kind]
    assert statistics.pstdev(drawn) == pytest.approx(deviation, rel=0.03)


def test_latencies_are_never_negative() -> None:
    chance = random.Random(1)

    assert min(draw_s(Latency(kind="uniform", mean_s=0.1, spread_s=1.0), chance) for _ in range(1_000)) == 0.0
    assert draw_s(Latency(kind="lognormal", spread_s=1.0), chance) == 0.0
