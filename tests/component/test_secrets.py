"""Secrets reach the server they are for, and nothing else: no store, no log, no error, no text of an object."""

from __future__ import annotations

import base64
import logging
from collections.abc import Iterator
from typing import Annotated, Any
from urllib.parse import quote

import pytest
from pydantic import BaseModel

from actors.protocol import Deploy, RunTool, encode
from actors.tools.secrets import Secrets
from actors.tools.settings import ToolSettings
from graphs.history import HistoryQuery
from runtime import END, START, ApiKeyAuth, BasicAuth, BearerAuth, Graph, RestTool, append
from runtime.config import load_config
from runtime.options import actor_settings
from tests.component.actors_kit import runtime, world
from tests.component.leaks import held, leaks
from tests.component.web_server import WebHandler, WebServer, web_server

SECRET = "sq34mish/0ss1frage+x"


class Log(BaseModel):
    notes: Annotated[list[Any], append] = []


@pytest.fixture
def server() -> Iterator[WebServer]:
    with web_server() as server:
        yield server


def chatty(handler: WebHandler) -> None:
    """Repeats all that it was told, with success or without."""
    asked = handler.server.requests[-1]
    status = 200 if "fine" in asked.target else 400
    handler.reply(status, {"target": asked.target, **asked.headers}, x_echo=str(asked.headers.get("authorization")))


AUTHS = (
    BearerAuth(token="secret:key"),
    BasicAuth(username="ada", password="secret:key"),
    ApiKeyAuth(name="X-Key", key="secret:key"),
    ApiKeyAuth(place="query", name="key", key="secret:key"),
    ApiKeyAuth(place="cookie", name="key", key="secret:key"),
)
PAIR = base64.b64encode(f"ada:{SECRET}".encode()).decode()
FORMS = (SECRET, quote(SECRET, safe=""), PAIR)


def talk(server: WebServer) -> Graph:
    """Calls tools that authenticate in each way, one with success and one without, and goes on in any case."""
    g = Graph("talk", state=Log)
    before = START
    for number, auth in enumerate(AUTHS):
        for path in ("fine", "bad"):
            name = f"{path}{number}"
            g.tool(name, tool=RestTool(name=name, url=f"{server.url}/{path}", auth=auth), into="notes")
            g.edge(before, name)
            if before.startswith("bad"):
                g.edge(before, name, on_error=True)
            before = name
    g.edge(before, END)
    g.edge(before, END, on_error=True)
    return g


async def test_no_secret_is_stored_or_logged(server: WebServer, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    server.steps = [chatty]
    async with runtime(secrets={"key": SECRET}, log_level="DEBUG") as rt:
        await rt.deploy(talk(server))
        session = await rt.session("talk")
        result = await session.run({})
        rt.tools.register(RestTool(name="outside", url=f"{server.url}/bad", auth=AUTHS[0]))
        outside = await rt.tools.execute("outside", {})
        events = [event async for event in (await rt.thread(session.thread)).events()]
        pages = [page async for page in world(rt).store.history.pages(HistoryQuery(), size=100)]
        records = [record for page in pages for record in page]

        told = "".join(asked.target + str(asked.headers) for asked in server.requests)
        assert all(form in told for form in FORMS), "the server was told"
        assert len(server.requests) == 11
        assert (result.error, len(result.state["notes"])) == (None, 5)
        assert any("***" in str(note) for note in result.state["notes"])
        seen = [repr(each) for each in (result, outside, events, records, rt, rt.config, world(rt)._settings)]
        blobs = [*held(world(rt).store.__dict__), *(text.encode() for text in (*seen, caplog.text))]
        assert len(records) >= 10
        for form in FORMS:
            assert leaks(form, iter(blobs)) == []
        assert leaks('"target":"/fine', iter(blobs)) != [], "what was answered is found where it is stored"


def test_texts_of_objects_hold_none() -> None:
    config = load_config(secrets={"key": SECRET, "other": {"value": SECRET}})
    settings = actor_settings(config, "memory://")

    for shown in (config, settings, settings.tools, RunTool(tool="x", arguments=b"", settings=settings.tools)):
        assert SECRET not in repr(shown)
        assert SECRET not in str(shown)
    deploy = Deploy(refs=("x",), kinds=(), tools=settings.tools)
    assert SECRET not in repr(deploy)
    assert SECRET.encode() in encode(deploy), "it is sent to those who need it"


def test_texts_from_outside_are_cleaned() -> None:
    secrets = Secrets({"key": SECRET, "short": "ab", "empty": ""}, [PAIR])

    shown = secrets.shown(f"x {SECRET}\n {quote(SECRET, safe='')} {PAIR} {'y' * 600}")

    assert shown.startswith("x *** *** *** yyy")
    assert len(shown) == 503
    assert secrets.shown("cab") == "c***"
    assert secrets.without({"a": [SECRET, b"1" + SECRET.encode()], SECRET: 1, "cab": None}) == {
        "a": ["***", b"1***"],
        "***": 1,
        "cab": None,
    }
    untouched = {"a": [SECRET]}
    assert Secrets({}).without(untouched) is untouched


def test_settings_of_tools_show_names_only() -> None:
    assert repr(ToolSettings(secrets={"key": SECRET}, hosts=("a",))).startswith(
        "ToolSettings(secrets={'key': '***'}, hosts=('a',)"
    )
