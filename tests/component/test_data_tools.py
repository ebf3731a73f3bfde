"""Tools that are data: registered, configured or in graphs, they are pinned with a workflow and run by executors."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

import pytest
from pydantic import BaseModel

from actors.errors import ToolError
from graphs.errors import BusinessRuleViolation, GraphInvalid, ValidationError
from graphs.workflow.spec import dump, load
from runtime import END, START, BearerAuth, ConfigError, Graph, RestTool, append
from tests.component.actors_kit import COMPLETED, STARTED, another_driver, history, runtime, step
from tests.component.web_server import WebServer, web_server


class Log(BaseModel):
    text: str = ""
    notes: Annotated[list[str], append] = []


@pytest.fixture
def server() -> Iterator[WebServer]:
    with web_server() as server:
        yield server


def search(server: WebServer, **options: Any) -> RestTool:
    return RestTool(
        url=f"{server.url}/items/{{kind}}",
        query={"q": "{text}", "limit": "{limit}"},
        parameters={
            "kind": {"type": "string", "default": "all"},
            "text": {"type": "string", "minLength": 1},
            "limit": {"type": "integer", "description": "Most items."},
        },
        required=("text",),
        **{"name": "search", "result": "$.target", "tags": ("web",), **options},
    )


def graph(tool: Any, **arguments: Any) -> Graph:
    g = Graph("lookup", state=Log)
    g.tool("use", tool=tool, arguments={"text": "{text}", **arguments}, into="notes")
    g.edge(START, "use")
    g.edge("use", END)
    return g


async def test_a_graph_takes_its_tools_along(server: WebServer) -> None:
    async with runtime() as rt:
        [ref] = await rt.deploy(graph(search(server), limit=3))

        async with another_driver(rt) as other:
            session = await other.session(ref)
            result = await session.run({"text": "a b"})

        assert result.state["notes"] == ["/items/all?q=a%20b&limit=3"]
        assert await history(rt, session.thread) == [STARTED, step("use"), COMPLETED]
        assert server.requests[0].headers["idempotency-key"] == f"{session.thread}:2"
        assert rt.tools.own == {}, "what a graph brings along is its own"


async def test_a_registered_tool_is_pinned_with_the_workflow(server: WebServer) -> None:
    async with runtime() as rt:
        described = rt.tools.register(search(server))
        assert (described.id, str(described.tool_type), described.config.required_parameters) == (
            "search@1.0.0",
            "rest",
            ("text",),
        )
        [first] = await rt.deploy(graph("search"))
        rt.tools.register(search(server, version="2.0.0", result="$.method"))
        [second] = await rt.deploy(graph("search"))

        notes = [(await (await rt.session(ref)).run({"text": "x"})).state["notes"] for ref in (first, second)]

        assert first != second
        assert notes == [["/items/all?q=x"], ["GET"]]
        assert [tool.name for tool in rt.tools.list(tool_type="rest", tags=["web"])] == ["search"]


async def test_a_configured_tool_runs_in_graphs_and_outside_of_threads(server: WebServer) -> None:
    configured = search(server, auth={"kind": "bearer", "token": "secret:search_key"}).model_dump(mode="json")
    async with runtime(tools={"search": configured}, secrets={"search_key": "hush-hush"}) as rt:
        await rt.deploy(graph("search"))
        await (await rt.session("lookup")).run({"text": "x"})
        answered = await rt.tools.execute("search", {"text": "y", "limit": "2"})

        assert answered.output == "/items/all?q=y&limit=2"
        assert [asked.headers["authorization"] for asked in server.requests] == ["Bearer hush-hush"] * 2


async def test_a_workflow_uses_the_secrets_of_whoever_deployed_it(server: WebServer) -> None:
    tool = search(server, auth=BearerAuth(token="secret:search_key"))
    async with runtime(secrets={"search_key": "mine"}) as rt:
        await rt.deploy(graph(tool))
        async with another_driver(rt) as other:  # it has no secrets
            session = await other.session("lookup")
            await session.run({"text": "x"})
            await other.deploy(graph(tool))
            result = await (await other.session("lookup")).run({"text": "x"})

    assert [asked.headers["authorization"] for asked in server.requests] == ["Bearer mine"]
    assert type(result.error) is ToolError
    assert str(result.error) == "search: there is no secret search_key; give it in the section secrets"


async def test_a_wrong_tool_is_refused_with_all_its_problems(server: WebServer) -> None:
    wrong = RestTool(
        name="wrong tool",
        method="GET",
        url="ftp://x/{a}",
        query={"q": "{nothere}", "r": "{b.c}", "s": "{b}-{b}"},
        query_style={"t": "comma"},
        headers={"X": "{", "X:Y": "", "Host": "elsewhere"},
        cookies={"a=b": ""},
        body={"x": 1},
        result="$[",
        parameters={"b": {"type": "strin"}},
        required=("c",),
    )
    problems = wrong.problems()

    assert [problem.partition(":")[0] for problem in problems] == [
        "name",
        "parameters.b",
        "required",
        "url",
        "query.q",
        "query.r",
        "query.s",
        "headers.X",
        "headers.X",
        "headers.Host",
        "cookies.a=b",
        "result",
        "method",
        "query_style.t",
    ]
    async with runtime() as rt:
        with pytest.raises(ValidationError) as caught:
            rt.tools.register(wrong)
        assert caught.value.problems == problems
        with pytest.raises(GraphInvalid) as invalid:
            await rt.deploy(graph(wrong))
        assert invalid.value.problems[:2] == [f"tools[0].{problem}" for problem in problems[:2]]
        with pytest.raises(BusinessRuleViolation, match='"calculator" is a builtin tool'):
            rt.tools.register(search(server, name="calculator"))


async def test_a_graph_with_such_a_tool_goes_through_yaml(server: WebServer) -> None:
    model = graph(search(server, auth=BearerAuth(token="secret:search_key"))).build()

    assert load(dump(model, "yaml"), "yaml") == model
    assert load(dump(model, "json"), "json") == model
    with pytest.raises(GraphInvalid) as caught:
        load("id: g\ntools: [{name: a, kind: rst}, {name: b, kind: rest, url: 'http://h', qury: {}}, {}]", "yaml")
    assert caught.value.problems == [
        'tools[0].kind: no kind "rst"; did you mean "rest"?',
        'tools[1].qury: there is no such option; did you mean "query"?',
        "tools[2].kind: is missing",
    ]


async def test_two_tools_of_one_name_are_refused(server: WebServer) -> None:
    g = graph(search(server))
    with pytest.raises(GraphInvalid, match='another tool comes along as "search" already'):
        g.tool("again", tool=search(server, version="2"))
    model = g.build()
    with pytest.raises(GraphInvalid, match=r'tools\[1\]\.name: another tool is called "search"'):
        async with runtime() as rt:
            await rt.deploy(model.model_copy(update={"tools": model.tools * 2}))


def test_secrets_are_named_and_never_written_down() -> None:
    with pytest.raises(ValueError, match="must be the name of a secret of the configuration, such as secret:weather"):
        BearerAuth(token="sk-123")


@pytest.mark.parametrize(
    ("secrets", "problem"),
    [
        ({"Key": "x"}, "String should match pattern"),
        ({"key": {"env": "A", "file": "b"}}, "give one of env, file and value"),
        ({"key": {"enw": "A"}}, 'no such setting; did you mean "env"'),
        ({"key": {"env": "NOT_SET_ANYWHERE"}}, "the secret key is missing; set NOT_SET_ANYWHERE"),
        ({"key": {"file": "/nowhere"}}, "the secret key cannot be read"),
    ],
)
async def test_wrong_secrets_are_told(secrets: dict[str, Any], problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        async with runtime(secrets=secrets):
            pass


async def test_secrets_come_from_variables_and_files(
    server: WebServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    monkeypatch.setenv("MY_KEY", "from-env")
    (tmp_path / "key").write_text("from-file\n")
    for secret, expected in (({"env": "MY_KEY"}, "from-env"), ({"file": str(tmp_path / "key")}, "from-file")):
        async with runtime(secrets={"search_key": secret}) as rt:
            rt.tools.register(search(server, auth=BearerAuth(token="secret:search_key")))
            await rt.tools.execute("search", {"text": "y"})
        assert server.requests[-1].headers["authorization"] == f"Bearer {expected}"
