"""Policies around models: limits, hedging, sharing, caching, fallbacks. Each wraps the port and is one itself."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from actors.errors import ModelError, ModelUnavailable, RateLimited, StoreUnavailable
from actors.llm.cached import CachedClient
from actors.llm.client import ChatRequest, ChatResponse, OnToken, ToolOffer
from actors.llm.fallbacks import FallbackClient
from actors.llm.hedged import HedgedClient
from actors.llm.identity import chat_identity, model_identity
from actors.llm.limited import LimitedClient, reservation
from actors.llm.settings import ModelSettings
from actors.llm.shared import SharedClient
from actors.stores.cache import MemoryCache
from actors.stores.limits import MemoryLimits
from graphs.journal import Usage
from graphs.messages import Message, ToolCall
from graphs.threads import ThreadPriority
from tests.component.actors_kit import ManualClock

SETTINGS = ModelSettings(name="m", base_url="http://localhost/v1", model="tiny", api_key="sk-1")


def asking(text: str = "hi", **options: Any) -> ChatRequest:
    return ChatRequest(messages=(Message(role="user", content=text),), **options)


def answer(text: str, **options: Any) -> ChatResponse:
    usage = Usage(prompt_tokens=10, completion_tokens=len(text.split()), calls=1)
    return ChatResponse(**{"text": text, "usage": usage, "model": "tiny-1", "finish_reason": "stop", **options})


class Told:
    """A model of which each chat goes on as a test says: (what it says, then what becomes of it)."""

    def __init__(self) -> None:
        self.chats: list[Chat] = []
        self.news = asyncio.Event()
        self.closed = 0

    async def chat(self, request: ChatRequest, on_token: OnToken | None = None) -> ChatResponse:
        chat = Chat(request, on_token)
        self.chats.append(chat)
        self.news.set()
        try:
            return await chat.outcome
        except asyncio.CancelledError:
            chat.cancelled = True
            raise

    async def close(self) -> None:
        self.closed += 1

    async def begun(self, count: int) -> None:
        async with asyncio.timeout(5):
            while len(self.chats) < count:
                self.news.clear()
                await self.news.wait()


class Chat:
    def __init__(self, request: ChatRequest, on_token: OnToken | None) -> None:
        self.request = request
        self.say: Callable[[str], None] = on_token or (lambda text: None)
        self.outcome: asyncio.Future[ChatResponse] = asyncio.get_running_loop().create_future()
        self.cancelled = False


def unavailable(text: str = "away") -> ModelUnavailable:
    return ModelUnavailable(text, model="m", url="u", status=503, retry_after_s=None)


async def settle() -> None:
    """Let everything that can go on do so."""
    for _ in range(20):
        await asyncio.sleep(0)


# --- identity -------------------------------------------------------------------------------------------------------


def test_chats_are_the_same_whatever_the_ids_of_messages_and_the_priority() -> None:
    one = ChatRequest(messages=(Message(role="user", content="x", id="1"),), priority=ThreadPriority.HIGH)
    two = ChatRequest(messages=(Message(role="user", content="x", id="2"),))

    assert chat_identity(SETTINGS, one) == chat_identity(SETTINGS, two)
    others = [
        asking("y"),
        asking("x", temperature=0.0),
        asking("x", tools=(ToolOffer(name="t", parameters={}),)),
        asking("x", output_schema={"type": "object"}),
    ]
    assert len({chat_identity(SETTINGS, each) for each in (two, *others)}) == 5


def test_models_are_the_same_whatever_they_are_called() -> None:
    called = msgspec.structs.replace(SETTINGS, name="other", max_retries=9)
    key = msgspec.structs.replace(SETTINGS, api_key="sk-2")

    assert model_identity(called) == model_identity(SETTINGS) != model_identity(key)
    assert "sk-1" not in model_identity(SETTINGS)


# --- limits ---------------------------------------------------------------------------------------------------------


def limited(client: Any, clock: ManualClock, **limits: Any) -> LimitedClient:
    settings = msgspec.structs.replace(SETTINGS, **limits)
    return LimitedClient(client, settings, MemoryLimits(clock.now), sleep=clock.sleep)


async def passing(clock: ManualClock, *chats: Any) -> float:
    """Let time pass until these chats are over; how much it was."""
    started = clock.now()
    running = asyncio.gather(*chats)
    await settle()
    while not running.done():
        clock.advance(0.1)
        await settle()
    await running
    return clock.now() - started


USAGE = Usage(prompt_tokens=10, completion_tokens=10, calls=1)


class Parrot:
    """Answers at once."""

    def __init__(self, usage: Usage = USAGE) -> None:
        self.asked: list[str] = []
        self.usage = usage

    async def chat(self, request: ChatRequest, on_token: OnToken | None = None) -> ChatResponse:
        text = request.messages[-1].content
        self.asked.append(text)
        if on_token is not None:
            on_token(text)
        return answer(text, usage=self.usage)

    async def close(self) -> None:
        """Nothing."""


async def test_chats_wait_for_their_turn() -> None:
    clock = ManualClock()
    client = limited(Parrot(), clock, requests_per_minute=2)

    waited_s = [await passing(clock, client.chat(asking(str(number)))) for number in range(4)]

    assert waited_s == pytest.approx([0.0, 0.0, 30.0, 30.0], abs=0.2)


async def test_tokens_are_reserved_as_estimated_and_corrected_as_used() -> None:
    clock = ManualClock()
    client = limited(Parrot(Usage(prompt_tokens=20, completion_tokens=30, calls=1)), clock, tokens_per_minute=600)
    request = asking("x" * 200, max_tokens=450)  # 50 + 450 are thought of, 50 are used

    assert reservation(request) == 500
    waited_s = [await passing(clock, client.chat(request)) for _ in range(5)]

    # 550, 500 and 450 are left: the 50 that are missing then come in 5 s each.
    assert waited_s == pytest.approx([0.0, 0.0, 0.0, 5.0, 5.0], abs=0.2)


async def test_the_more_urgent_come_first() -> None:
    clock, parrot = ManualClock(), Parrot()
    client = limited(parrot, clock, requests_per_minute=1, max_wait_s=1_000.0)
    await client.chat(asking("first"))

    await passing(
        clock,
        client.chat(asking("low", priority=ThreadPriority.LOW)),
        client.chat(asking("normal")),
        client.chat(asking("high", priority=ThreadPriority.HIGH)),
    )

    assert parrot.asked == ["first", "high", "normal", "low"]


async def test_waiting_has_an_end() -> None:
    clock, parrot = ManualClock(), Parrot()
    client = limited(parrot, clock, requests_per_minute=1, max_wait_s=0.05)
    client._sleep = _never
    await client.chat(asking())

    with pytest.raises(RateLimited) as caught:
        await client.chat(asking())

    assert caught.value.message == (
        'model "m": its limits left no room for 0.05 s; '
        "ask less often, or raise requests_per_minute, tokens_per_minute or max_wait_s"
    )
    assert caught.value.fields == {
        "model": "m",
        "url": "http://localhost/v1",
        "status": None,
        "retry_after_s": 5.0,
    }
    assert caught.value.retryable
    assert client._limits._buckets[client._key].places == {}  # type: ignore[attr-defined]
    assert parrot.asked == ["hi"]


async def _never(seconds: float) -> None:
    await asyncio.Event().wait()


async def test_who_is_cancelled_gives_up_its_place() -> None:
    client = limited(Parrot(), ManualClock(), requests_per_minute=1)
    client._sleep = _never
    await client.chat(asking())
    waiting = asyncio.create_task(client.chat(asking()))
    await settle()
    assert len(client._limits._buckets[client._key].places) == 1  # type: ignore[attr-defined]

    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting

    assert client._limits._buckets[client._key].places == {}  # type: ignore[attr-defined]


class Away:
    """A store that cannot be reached."""

    async def take(self, *args: Any, **kwargs: Any) -> float | None:
        raise StoreUnavailable("the store is away", url="redis://")

    get = set = leave = correct = take


async def test_a_store_that_is_away_neither_limits_nor_loses_an_answer() -> None:
    settings = msgspec.structs.replace(SETTINGS, tokens_per_minute=10)
    parrot = Parrot()
    client = CachedClient(LimitedClient(parrot, settings, Away()), settings, Away(), 60.0)

    responses = [await client.chat(asking(text)) for text in ("a", "a")]

    assert [(each.text, each.reused) for each in responses] == [("a", False), ("a", False)]


# --- hedging --------------------------------------------------------------------------------------------------------


async def test_who_speaks_at_once_is_asked_once() -> None:
    parrot = Parrot()
    heard: list[str] = []

    assert (await HedgedClient(parrot, 10.0).chat(asking(), heard.append)).text == "hi"
    assert (parrot.asked, heard) == (["hi"], ["hi"])


async def test_after_a_silence_the_first_to_speak_is_listened_to() -> None:
    told, heard = Told(), []
    chat = asyncio.create_task(HedgedClient(told, 0.01).chat(asking(), heard.append))
    await told.begun(2)
    first, second = told.chats

    second.say("two ")
    await settle()
    assert first.cancelled
    first.say("one ")
    second.say("three")
    second.outcome.set_result(answer("two three"))

    assert (await chat).text == "two three"
    assert heard == ["two ", "three"]


async def test_one_of_two_may_fail() -> None:
    told, heard = Told(), []
    chat = asyncio.create_task(HedgedClient(told, 0.01).chat(asking(), heard.append))
    await told.begun(2)

    told.chats[0].outcome.set_exception(unavailable())
    await settle()
    told.chats[1].outcome.set_result(answer("", tool_calls=(ToolCall(id="c", name="t"),)))

    assert (await chat).tool_calls == (ToolCall(id="c", name="t"),)


async def test_if_both_fail_it_is_as_the_first_has() -> None:
    told = Told()
    chat = asyncio.create_task(HedgedClient(told, 0.01).chat(asking()))
    await told.begun(2)

    told.chats[1].outcome.set_exception(unavailable("second"))
    told.chats[0].outcome.set_exception(unavailable("first"))

    with pytest.raises(ModelUnavailable, match="first"):
        await chat


async def test_a_failure_before_the_silence_is_over_is_one() -> None:
    told = Told()
    chat = asyncio.create_task(HedgedClient(told, 60.0).chat(asking()))
    await told.begun(1)

    told.chats[0].outcome.set_exception(unavailable("first"))

    with pytest.raises(ModelUnavailable, match="first"):
        await chat
    assert len(told.chats) == 1


async def test_cancelling_hangs_up_on_both() -> None:
    told = Told()
    chat = asyncio.create_task(HedgedClient(told, 0.01).chat(asking()))
    await told.begun(2)

    chat.cancel()
    with pytest.raises(asyncio.CancelledError):
        await chat

    assert [each.cancelled for each in told.chats] == [True, True]


# --- sharing --------------------------------------------------------------------------------------------------------


async def test_equal_chats_at_the_same_time_are_one() -> None:
    told = Told()
    client = SharedClient(told, SETTINGS)
    heard: list[list[str]] = [[], []]
    first = asyncio.create_task(client.chat(asking(), heard[0].append))
    await told.begun(1)
    told.chats[0].say("a ")
    second = asyncio.create_task(client.chat(asking(), heard[1].append))
    silent = asyncio.create_task(client.chat(asking()))
    other = asyncio.create_task(client.chat(asking("other")))
    await told.begun(2)
    told.chats[0].say("b")
    told.chats[0].outcome.set_result(answer("a b"))
    told.chats[1].outcome.set_result(answer("other"))

    responses = [await each for each in (first, second, silent, other)]

    assert [each.text for each in responses] == ["a b", "a b", "a b", "other"]
    assert sum(each.usage.calls for each in responses[:3]) == 1
    assert heard == [["a ", "b"], ["a ", "b"]]
    assert client._chats == {}


async def test_it_is_hung_up_on_when_the_last_one_has_left() -> None:
    told = Told()
    client = SharedClient(told, SETTINGS)
    first, second = (asyncio.create_task(client.chat(asking())) for _ in range(2))
    await told.begun(1)
    await settle()

    first.cancel()
    await settle()
    assert not told.chats[0].cancelled
    second.cancel()
    await settle()

    assert told.chats[0].cancelled
    assert client._chats == {}
    third = asyncio.create_task(client.chat(asking()))
    await told.begun(2)
    told.chats[1].outcome.set_result(answer("new"))
    assert (await third).usage.calls == 1


async def test_a_failure_is_everybody_s_and_nobody_s_next() -> None:
    told = Told()
    client = SharedClient(told, SETTINGS)
    both = [asyncio.create_task(client.chat(asking())) for _ in range(2)]
    await told.begun(1)
    told.chats[0].outcome.set_exception(unavailable())

    outcomes = await asyncio.gather(*both, return_exceptions=True)
    assert [type(each) for each in outcomes] == [ModelUnavailable, ModelUnavailable]
    assert client._chats == {}


# --- caching --------------------------------------------------------------------------------------------------------


async def test_an_answer_is_given_again_without_asking() -> None:
    cache, told = MemoryCache(), Told()
    kept = answer("yes", tool_calls=(ToolCall(id="c", name="t", arguments='{"a": 1}'),))
    client = CachedClient(told, SETTINGS, cache, 60.0)
    first = asyncio.create_task(client.chat(asking()))
    await told.begun(1)
    told.chats[0].outcome.set_result(kept)
    heard: list[str] = []

    assert await first == kept
    again = await CachedClient(told, SETTINGS, cache, 60.0).chat(asking(), heard.append)

    assert again == msgspec.structs.replace(kept, usage=Usage(), reused=True)
    assert heard == ["yes"]
    assert len(told.chats) == 1


async def test_failures_are_not_kept_and_what_cannot_be_read_is_asked_again() -> None:
    cache, parrot = MemoryCache(), Parrot()
    client = CachedClient(parrot, SETTINGS, cache, 60.0)
    await cache.set(f"chat:{chat_identity(SETTINGS, asking())}", b'{"old": 1}', ttl_s=60)

    assert (await client.chat(asking())).usage.calls == 1
    assert (await client.chat(asking())).usage.calls == 0
    assert parrot.asked == ["hi"]


# --- fallbacks ------------------------------------------------------------------------------------------------------


class Failing:
    def __init__(self, error: ModelError, says: str = "") -> None:
        self._error = error
        self._says = says

    async def chat(self, request: ChatRequest, on_token: OnToken | None = None) -> ChatResponse:
        if self._says and on_token is not None:
            on_token(self._says)
        raise self._error

    async def close(self) -> None:
        """Nothing."""


REFUSED = ModelError("bad key", model="m", status=401)
LIMITED = RateLimited("slow", model="m", url="u", status=None, retry_after_s=1.0)


@pytest.mark.parametrize(
    ("error", "on", "says", "falls_back"),
    [
        (unavailable(), ("ModelUnavailable",), "", True),
        (LIMITED, ("ModelUnavailable",), "", True),
        (LIMITED, ("RateLimited",), "", True),
        (unavailable(), ("RateLimited",), "", False),
        (REFUSED, ("ModelUnavailable",), "", False),
        (REFUSED, ("ModelError",), "", True),
        (unavailable(), ("ModelUnavailable",), "Hel", False),
    ],
)
async def test_when_another_model_is_asked(error: ModelError, on: tuple[str, ...], says: str, falls_back: bool) -> None:
    parrot = Parrot()
    heard: list[str] = []
    client = FallbackClient({"m": Failing(error, says), "n": parrot}, on)

    if falls_back:
        assert (await client.chat(asking(), heard.append)).text == "hi"
    else:
        with pytest.raises(type(error), match=error.message):
            await client.chat(asking(), heard.append)

    assert heard == (["hi"] if falls_back else [says] if says else [])


async def test_if_all_fail_it_is_as_the_first_has() -> None:
    client = FallbackClient(
        {"m": Failing(unavailable("away")), "n": Failing(unavailable("too")), "o": Failing(LIMITED)},
        ("ModelUnavailable",),
    )

    with pytest.raises(ModelUnavailable) as caught:
        await client.chat(asking())

    assert caught.value.message == 'away; its fallbacks failed too: "n", "o"'
    assert caught.value.status == 503
