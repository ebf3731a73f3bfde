"""Real llama.cpp with SmolLM2, through our own client: streaming, forms, tokens; and the shipped templates."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from actors.llm.client import ChatRequest, ToolOffer
from actors.llm.http import HttpClient
from actors.llm.openai import OpenAIDialect
from actors.llm.settings import ModelSettings
from graphs.messages import Message
from runtime import AsyncLocalRuntime
from runtime.servers import ModelEndpoint, ModelService
from runtime.services import LocalServices

pytestmark = pytest.mark.integration

PERSON = {
    "type": "object",
    "properties": {"name": {"type": "string", "maxLength": 20}, "age": {"type": "integer"}},
    "required": ["name", "age"],
}


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModelEndpoint]:
    home = tmp_path_factory.mktemp("local-model") / "home"
    with LocalServices(home) as services:
        services.start(ModelService())
        record = services.wait(ModelService.name)
        yield ModelEndpoint(base_url=ModelService.base_url(record), api_key=record.secret)


@pytest.fixture
async def client(endpoint: ModelEndpoint) -> AsyncIterator[HttpClient]:
    settings = ModelSettings(name="local", base_url=endpoint.base_url, model="local", api_key=endpoint.api_key)
    client = HttpClient(settings, OpenAIDialect())
    yield client
    await client.close()


def asking(text: str, **options: Any) -> ChatRequest:
    return ChatRequest(messages=(Message(role="user", content=text),), temperature=0.0, **options)


async def test_tokens_stream_and_are_counted(client: HttpClient) -> None:
    heard: list[str] = []

    response = await client.chat(asking("Tell me about the sea.", max_tokens=20), heard.append)

    assert "".join(heard) == response.text
    assert 10 < len(heard) <= 20
    assert response.usage.completion_tokens == 20
    assert response.usage.prompt_tokens > 5
    assert (response.finish_reason, response.usage.calls) == ("length", 1)


async def test_an_answer_keeps_to_its_form(client: HttpClient) -> None:
    response = await client.chat(asking("Ada is 36 years old.", max_tokens=60, output_schema=PERSON))

    person = json.loads(response.text)
    assert set(person) == {"name", "age"}
    assert isinstance(person["age"], int)


async def test_tools_are_offered_in_vain(client: HttpClient) -> None:
    """The chat template of SmolLM2 knows none: it answers as it would without, which is an answer like any other."""
    offer = ToolOffer(name="note_person", description="Notes a person.", parameters=PERSON)

    response = await client.chat(asking("Note that Ada is 36 years old.", max_tokens=40, tools=(offer,)))

    assert (bool(response.text), response.tool_calls) == (True, ())


INPUTS: dict[str, dict[str, Any]] = {
    "approval": {"request": "Write one sentence that thanks Ada."},
    "digest": {"files": [{"name": "sea.txt", "text": "The sea is deep and blue. Fish live in it. Ships cross it."}]},
    "plan-and-execute": {"task": "Make tea."},
    "react": {"question": "What is the capital of France?"},
    "retrieval": {"question": "How long do cats sleep?"},
    "router": {"request": "Write a short poem about rain."},
}


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", INPUTS)
async def test_templates_run_with_the_local_model(endpoint: ModelEndpoint, tmp_path: Path, name: str) -> None:
    """A model this small says little that is right: that every step is carried out, and well-formed, is what counts."""
    (tmp_path / "cats.md").write_text("Cats sleep for fifteen hours a day.")
    model = {"provider": "openai", "base_url": endpoint.base_url, "model": "local", "api_key": endpoint.api_key}
    async with AsyncLocalRuntime(models={"default": model}, access={"files": [str(tmp_path)]}) as rt:
        await rt.deploy(name)
        result = await (await rt.session(name)).run(INPUTS[name])

    assert (result.status, result.error) == ("paused" if name == "approval" else "completed", None)
    assert result.usage.completion_tokens > 0
    said = {"approval": "draft", "digest": "digest"}.get(name, "answer")
    assert result.state[said]
