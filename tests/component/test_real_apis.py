"""REST tools against APIs not made for them: one of FastAPI, imported from its OpenAPI document, and httpbin."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import httpbin
import pytest
from fastapi import FastAPI
from pydantic import BaseModel

from actors.errors import AnswerInvalid, ToolError, ToolRefused, ToolUnavailable
from graphs.errors import DocumentInvalid, GreenroomError
from runtime import END, START, AsyncLocalRuntime, BasicAuth, BearerAuth, Graph, LocalRuntime, RestTool, append
from runtime.errors import WorkflowFileError
from tests.component.actors_kit import runtime
from tests.component.shop import KEY, served, served_wsgi, shop

AUTH = {"HTTPBearer": "secret:shop_key", "APIKeyHeader": "secret:shop_key"}


class Basket(BaseModel):
    name: str = ""
    price: float = 0
    added: dict[str, Any] = {}
    found: dict[str, Any] = {}
    orders: Annotated[list[dict[str, Any]], append] = []


@pytest.fixture
def app() -> FastAPI:
    return shop()


@pytest.fixture
def url(app: FastAPI) -> Iterator[str]:
    with served(app) as url:
        yield url


@pytest.fixture(scope="module")
def bin_url() -> Iterator[str]:
    with served_wsgi(httpbin.app) as url:
        yield url


def buying() -> Graph:
    g = Graph("buying", state=Basket)
    g.tool("add", tool="add_item", arguments={"name": "{name}", "price": "{price}", "tags": ["new"]}, into="added")
    g.tool("get", tool="get_item", arguments={"item_id": "{added.id}"}, into="found")
    g.tool("order", tool="order", arguments={"item_id": "{added.id}", "count": 2}, into="orders")
    g.edge(START, "add")
    g.edge("add", "get")
    g.edge("get", "order")
    g.edge("order", END)
    return g


async def failure(rt: AsyncLocalRuntime, tool: str, **arguments: Any) -> GreenroomError:
    result = await rt.tools.execute(tool, arguments)
    assert result.error is not None, result.output
    return GreenroomError.from_info(result.error)


async def test_an_api_is_imported_and_called_by_a_graph(app: FastAPI, url: str) -> None:
    async with runtime(secrets={"shop_key": KEY}) as rt:
        imported = rt.tools.import_openapi(app.openapi(), base_url=url, auth=AUTH)
        assert [tool.name for tool in imported] == ["find_items", "add_item", "get_item", "remove_item", "order"]
        await rt.deploy(buying())

        session = await rt.session("buying")
        result = await session.run({"name": "hat", "price": 12.5})

        item = {"name": "hat", "price": 12.5, "tags": ["new"], "color": None, "parts": []}
        assert result.error is None
        assert result.state["added"] == {"id": 1, **item}
        assert result.state["found"] == item
        assert result.state["orders"] == [{"orders": 1}]
        assert app.state.orders == {f"{session.thread}:4": (1, 2)}


def test_what_is_imported_describes_itself(app: FastAPI, url: str) -> None:
    with LocalRuntime(secrets={"shop_key": KEY}) as rt:
        tools = {tool.name: tool for tool in rt.tools.import_openapi(app.openapi(), base_url=url, auth=AUTH)}

        assert (tools["add_item"].metadata.description, tools["add_item"].metadata.version) == (
            "Add Item\n\nAdd an item to the shop.",
            "2.1.0",
        )
        assert [tool.name for tool in rt.tools.list(tags=["orders"], tool_type="rest")] == ["order"]
        item = {
            "type": "object",
            "properties": {
                "name": {"type": "string", "minLength": 2, "description": "What it is called."},
                "price": {"type": "number", "exclusiveMinimum": 0.0},
                "tags": {"type": "array", "items": {"type": "string"}, "default": []},
                "color": {"anyOf": [{"type": "string", "enum": ["red", "green"]}, {"type": "null"}]},
                "parts": {"type": "array", "items": {"$ref": "#/$defs/Item_Input"}, "default": []},
            },
            "required": ["name", "price"],
        }
        schema = tools["add_item"].config.json_schema
        assert schema["$defs"] == {"Item_Input": item}
        assert schema["required"] == ["name", "price"]
        assert schema["properties"]["parts"] == item["properties"]["parts"]


async def test_names_of_the_wire_and_of_models(app: FastAPI, url: str) -> None:
    async with runtime() as rt:
        rt.tools.import_openapi(app.openapi(), base_url=url, include=["find_*", "GET /items/*"], prefix="shop_")
        assert [tool.name for tool in rt.tools.list(tool_type="rest")] == ["shop_find_items", "shop_get_item"]

        found = await rt.tools.execute("shop_find_items", {"color": ["a", "b c"], "x_currency": "CHF"})

        assert found.output == {"names": [], "colors": ["a", "b c"], "currency": "CHF"}


async def test_errors_of_an_api_are_told_and_hold_no_secret(app: FastAPI, url: str) -> None:
    async with runtime(secrets={"shop_key": "wrong-k3y"}) as rt:
        rt.tools.import_openapi(app.openapi(), base_url=url, auth="secret:shop_key")

        missing = await failure(rt, "get_item", item_id=7)
        invalid = await failure(rt, "add_item", name="x", price=-1, parts=[{"name": "y"}])
        refused = await failure(rt, "remove_item", item_id=1)

    assert (type(missing), missing.status, str(missing)) == (
        ToolRefused,
        404,
        'get_item: it answered 404: {"detail":"no such item"}; check its url and arguments',
    )
    assert type(invalid) is ToolError
    assert invalid.problems == [
        "name: 'x' is too short",
        "price: -1 is less than or equal to the minimum of 0.0",
        "parts: [0]: 'price' is a required property",
        "parts: [0].name: 'y' is too short",
    ]
    assert (type(refused), refused.status) == (ToolRefused, 403)
    assert "wrong-k3y" not in repr((missing, invalid, refused))
    assert app.state.items == {}


async def test_a_document_in_a_file(app: FastAPI, url: str, tmp_path: Path) -> None:
    (tmp_path / "shop.json").write_text(json.dumps({**app.openapi(), "servers": [{"url": url}]}))
    (tmp_path / "broken.json").write_text("{")
    async with runtime() as rt:
        rt.tools.import_openapi(tmp_path / "shop.json", tags=["items"])
        assert (await rt.tools.execute("find_items", {})).success
        for name, problem in (("absent.json", "No such file"), ("broken.json", "line 1, column 2")):
            with pytest.raises(WorkflowFileError, match=problem):
                rt.tools.import_openapi(str(tmp_path / name))


async def test_nothing_is_registered_of_a_document_with_problems(app: FastAPI) -> None:
    async with runtime() as rt:
        with pytest.raises(DocumentInvalid) as caught:
            rt.tools.import_openapi(app.openapi())
        assert caught.value.problems == [
            '/servers: "/" does not say where the API is; give base_url',
            '/paths/~1items~1{item_id}/delete/security: needs "APIKeyHeader"; give auth with the name of its secret',
            '/paths/~1orders/post/security: needs "HTTPBearer"; give auth with the name of its secret',
        ]
        assert rt.tools.list(tool_type="rest") == []


# --- httpbin --------------------------------------------------------------------------------------------------------


def tool(url: str, path: str, **options: Any) -> RestTool:
    return RestTool(**{"name": "bin", "url": f"{url}{path}", **options})


@pytest.mark.parametrize(
    ("path", "options", "arguments", "output"),
    [
        ("/get", {"query": {"a": ["1", "2"]}, "result": "$.args"}, {}, {"a": ["1", "2"]}),
        ("/anything/{x}", {"parameters": {"x": {}}, "result": "$.method"}, {"x": "a/b?c"}, "GET"),
        ("/post", {"method": "POST", "body": {"n": [1, None]}, "result": "$.json"}, {}, {"n": [1, None]}),
        ("/put", {"method": "PUT", "form": {"a": "b c"}, "result": "$.form"}, {}, {"a": "b c"}),
        ("/patch", {"method": "PATCH", "body": "text", "result": "$.json"}, {}, "text"),
        ("/delete", {"method": "DELETE", "result": "$.data"}, {}, ""),
        ("/gzip", {"result": "$.gzipped"}, {}, True),
        ("/deflate", {"result": "$.deflated"}, {}, True),
        ("/encoding/utf8", {}, {}, "∮"),
        ("/html", {}, {}, "Herman Melville - Moby-Dick"),
        ("/xml", {}, {}, "<?xml"),
        ("/bytes/8?seed=1", {"answer": "bytes"}, {}, None),
        ("/redirect/3", {"result": "$.headers.Host"}, {}, None),
        ("/cookies", {"cookies": {"c": "1"}, "result": "$.cookies"}, {}, {"c": "1"}),
        ("/status/404", {"nothing_on": (404,)}, {}, None),
        (
            "/basic-auth/ada/k3y",
            {"auth": BasicAuth(username="ada", password="secret:key"), "result": "$.user"},
            {},
            "ada",
        ),
        ("/bearer", {"auth": BearerAuth(token="secret:key"), "result": "$.token"}, {}, "k3y"),
        ("/stream-bytes/3", {"answer": "bytes"}, {}, None),
        ("/drip?duration=0&numbytes=4&delay=0", {"answer": "bytes"}, {}, b"****"),
    ],
)
async def test_httpbin(
    bin_url: str, path: str, options: dict[str, Any], arguments: dict[str, Any], output: Any
) -> None:
    path, _, query = path.partition("?")
    pairs = dict(pair.split("=") for pair in query.split("&") if pair)
    async with runtime(secrets={"key": "k3y"}) as rt:
        rt.tools.register(tool(bin_url, path, **{"query": pairs, **options}))
        result = await rt.tools.execute("bin", arguments)

    assert result.error is None
    if isinstance(output, str):
        assert output in result.output
    elif output is not None:
        assert result.output == output


@pytest.mark.parametrize(
    ("path", "options", "error_type", "status"),
    [
        ("/status/418", {}, ToolRefused, 418),
        ("/status/503", {"max_attempts": 1}, ToolUnavailable, 503),
        ("/image/png", {}, AnswerInvalid, 200),
        ("/brotli", {}, AnswerInvalid, 200),
        ("/bytes/2000", {"answer": "bytes", "max_size_bytes": 1_999}, AnswerInvalid, 200),
        ("/redirect/9", {}, AnswerInvalid, 302),
        ("/basic-auth/ada/other", {"auth": BasicAuth(username="ada", password="secret:key")}, ToolRefused, 401),
    ],
)
async def test_httpbin_in_trouble(
    bin_url: str, path: str, options: dict[str, Any], error_type: type[ToolError], status: int
) -> None:
    async with runtime(secrets={"key": "k3y"}) as rt:
        rt.tools.register(tool(bin_url, path, **options))
        error = await failure(rt, "bin")

    assert (type(error), error.status) == (error_type, status)
