"""Models by name, and their settings."""

from __future__ import annotations

import msgspec
import pytest
from rich.console import Console

from actors.errors import ModelError
from actors.llm.client import ChatRequest, ChatResponse
from actors.llm.http import HttpClient
from actors.llm.scripted import ScriptedClient
from actors.llm.service import ModelService, build_client
from actors.llm.settings import Latency, ModelSettings, Script, Timeouts
from actors.stores.cache import MemoryCache
from actors.stores.limits import MemoryLimits
from graphs.errors import ErrorInfo, NotFoundError
from graphs.journal import Usage
from graphs.messages import Message

ASK = ChatRequest(messages=(Message(role="user", content="hi"),))
MEANS = (MemoryLimits(), MemoryCache())
SCRIPTED = ModelSettings(name="scripted", provider="scripted")


def service_of(models: dict[str, ModelSettings]) -> ModelService:
    return ModelService(models, *MEANS)


async def test_models_are_asked_by_name() -> None:
    service = service_of({"scripted": SCRIPTED})
    tokens: list[str] = []

    response = await service.chat("scripted", ASK, on_token=tokens.append)
    await service.close()

    assert response == ChatResponse(
        text="scripted: hi",
        usage=Usage(prompt_tokens=1, completion_tokens=2, calls=1),
        model="scripted",
        finish_reason="stop",
    )
    assert tokens == ["scripted:", " hi"]


@pytest.mark.parametrize(
    ("name", "hint"),
    [("scriptd", '; did you mean "scripted"?'), ("zzz", "; configured are: scripted")],
)
async def test_an_unknown_model_is_an_error(name: str, hint: str) -> None:
    with pytest.raises(NotFoundError) as caught:
        await service_of({"scripted": SCRIPTED}).chat(name, ASK)

    assert caught.value.info() == ErrorInfo(
        code="NotFoundError", message=f'no model "{name}"{hint}', fields={"kind": "model", "key": name}
    )


async def test_the_provider_decides_on_the_client() -> None:
    openai = build_client(ModelSettings(name="m", base_url="http://localhost/v1", model="m"), *MEANS)
    scripted = build_client(SCRIPTED, *MEANS)

    assert (type(openai), type(scripted)) == (HttpClient, ScriptedClient)
    await openai.close()


@pytest.mark.parametrize(
    ("base_url", "api_key", "message"),
    [
        ("", None, 'model "m" at : base_url must begin with http:// or https:// and a host'),
        ("ftp://x/v1", None, 'model "m" at ftp://x/v1: base_url must begin with http:// or https:// and a host'),
        (
            "http://u:secret@host:port/v1",
            None,
            'model "m": base_url is no URL; write one such as http://127.0.0.1:8080/v1',
        ),
        ("http://x/v1", "a secret\n", 'model "m" at http://x/v1: its api_key has characters no key has; set it again'),
        ("http://x/v1", "sécret", 'model "m" at http://x/v1: its api_key has characters no key has; set it again'),
    ],
)
async def test_settings_that_cannot_work(base_url: str, api_key: str | None, message: str) -> None:
    service = service_of({"m": ModelSettings(name="m", base_url=base_url, api_key=api_key)})

    with pytest.raises(ModelError) as caught:
        await service.chat("m", ASK)

    assert caught.value.message == message


def test_settings_do_not_show_secrets() -> None:
    settings = ModelSettings(
        name="m", base_url="https://u:secret@host:8/v1?key=secret", model="x", api_key="secret-key", max_retries=1
    )
    shown = (
        "ModelSettings(name='m', provider='openai', base_url='https://host:8/v1', model='x', api_key='***', "
        f"timeouts={Timeouts()!r}, max_retries=1, "
    )
    console = Console(width=200)
    with console.capture() as capture:
        console.print({"models": [settings]})

    assert repr(settings) == str(settings)
    assert str(settings).startswith(shown)
    assert "secret" not in str(settings) + capture.get()
    assert "base_url='a base_url that is no URL'" in repr(ModelSettings(name="m", base_url="http://[secret"))


def test_settings_survive_encoding() -> None:
    settings = [
        ModelSettings(name="a", base_url="http://x/v1", model="m", api_key="k", timeouts=Timeouts(idle_s=1.5)),
        ModelSettings(name="b", provider="scripted", script=Script(replies=("x", "y"), order="sequential")),
        ModelSettings(
            name="c",
            provider="scripted",
            script=Script(replies={"q": "a"}, latency=Latency(kind="uniform", mean_s=1.0, spread_s=0.5, seed=7)),
        ),
    ]

    assert msgspec.msgpack.decode(msgspec.msgpack.encode(settings), type=list[ModelSettings]) == settings
