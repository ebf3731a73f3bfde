"""Policies around models as they are configured, and as nodes name them."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from pydantic import BaseModel

from actors.llm.service import ModelService
from actors.llm.settings import ModelSettings, Script
from actors.stores.cache import MemoryCache
from actors.stores.limits import MemoryLimits
from runtime import END, START, Graph, GraphInvalid
from tests.component.actors_kit import runtime, until
from tests.component.test_model_policies import asking

# --- all of it together ---------------------------------------------------------------------------------------------


async def test_a_model_has_the_policies_it_is_configured_with() -> None:
    scripted = ModelSettings(name="s", provider="scripted", script=Script(replies=("yes",)))
    models = {
        "away": ModelSettings(
            name="away", base_url="http://127.0.0.1:9/v1", model="x", max_retries=0, fallbacks=("s",)
        ),
        "s": msgspec.structs.replace(
            scripted, requests_per_minute=1, hedge_after_s=5.0, share_identical=True, cache_ttl_s=60.0
        ),
        "plain": msgspec.structs.replace(scripted, name="plain"),
    }
    service = ModelService(models, MemoryLimits(), MemoryCache())

    first = await service.chat("away", asking())
    again = await service.chat("s", asking())  # from the cache, so the limit is not met
    other = await service.chat("away", asking("other"), fallbacks=("plain",))
    await service.close()

    assert [(each.text, each.model, each.usage.calls) for each in (first, again, other)] == [
        ("yes", "s", 1),
        ("yes", "s", 0),
        ("yes", "plain", 1),
    ]


AWAY = {"provider": "openai", "base_url": "http://127.0.0.1:9/v1", "model": "x", "max_retries": 0}


class Asked(BaseModel):
    text: str = ""
    answer: str = ""


def graph(**options: Any) -> Graph:
    g = Graph("ask", state=Asked)
    g.llm("ask", prompt="{text}", into="answer", **options)
    g.edge(START, "ask")
    g.edge("ask", END)
    return g


async def test_a_node_names_fallbacks_of_its_own() -> None:
    models = {name: {"provider": "scripted", "replies": [name]} for name in ("first", "second")}
    models["default"] = {**AWAY, "fallbacks": ["first"]}

    async with runtime(models=models) as rt:
        answers = []
        for options in ({}, {"fallbacks": ["second"]}):
            await rt.deploy(graph(**options))
            result = await (await rt.session("ask")).run({"text": "hi"})
            answers.append(result.state.answer)

    assert answers == ["first", "second"]


async def test_a_fallback_that_is_not_configured_is_a_problem() -> None:
    async with runtime() as rt:
        with pytest.raises(GraphInvalid) as caught:
            await rt.deploy(graph(fallbacks=["scripted", "scriptd"]))

    assert caught.value.problems == ['nodes[0].config.fallbacks[1]: no model "scriptd"; did you mean "scripted"?']


async def test_threads_of_a_higher_priority_come_first() -> None:
    """One request a minute is all there is: who has to wait waits for good, so the queue can be looked at."""
    models = {"default": {"provider": "scripted", "requests_per_minute": 1}}

    async with runtime(models=models) as rt:
        await rt.deploy(graph())
        session = [await rt.session("ask") for _ in range(3)]
        await session[0].run({"text": "all there is"})
        threads = [
            await each.submit({"text": "waits"}, priority=priority)
            for each, priority in zip(session[1:], ("low", "critical"), strict=True)
        ]
        (bucket,) = rt.records.store.limits._buckets.values()
        await until(lambda: len(bucket.places) == 2)
        ranks = sorted(-rank for rank, _ in bucket.places.values())
        for thread in threads:
            await thread.cancel()

        assert ranks == [0, 3]
        assert bucket.places == {}


async def test_the_record_says_who_was_asked_and_what_was_used() -> None:
    """Both the model that failed and its fallback; and nothing for an answer that was kept."""
    models = {
        "default": {**AWAY, "fallbacks": ["backup"]},
        "backup": {"provider": "scripted", "replies": ["yes"], "cache_ttl_s": 60},
    }

    async with runtime(models=models) as rt:
        await rt.deploy(graph())
        results = [await (await rt.session("ask")).run({"text": "hi"}) for _ in range(2)]
        entries = [await rt.records.store.journal.read(result.thread_id) for result in results]

    steps = [entry for each in entries for entry in each if entry.node == "ask"]
    noted = [
        [(call.name, call.model, call.error is None, call.completion_tokens, call.reused) for call in entry.calls]
        for entry in steps
    ]
    failed = ("default", "x", False, 0, False)
    assert noted == [
        [failed, ("backup", "backup", True, 1, False)],
        [failed, ("backup", "backup", True, 0, True)],
    ]
    assert [result.usage.calls for result in results] == [1, 0]
