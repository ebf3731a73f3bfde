"""Tools of MCP servers in workflows: discovered, pinned with the workflow, called by executors."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import pytest
from pydantic import BaseModel

from actors.errors import PackageMissing, ToolError, ToolTimeout
from actors.tools.mcp.client import McpClient
from actors.tools.secrets import Secrets
from graphs.errors import GreenroomError, NodeTimeout, NotFoundError, PermissionDenied, ValidationError
from graphs.workflow.mcp import McpServer, McpTool
from graphs.workflow.spec import dump, load
from runtime import END, START, AsyncLocalRuntime, Graph, GraphInvalid, LocalRuntime, PauseKind, ThreadState, append
from tests.component.actors_kit import COMPLETED, STARTED, history, runtime, step, until
from tests.component.test_agents import agent_graph, asks, models, run, said
from tests.component.test_mcp import SCRIPT, START_S, alive

TIME: dict[str, Any] = {
    "command": sys.executable,
    "args": ["-m", "mcp_server_time", "--local-timezone", "UTC"],
    "connect_timeout_s": START_S,
}
ODD: dict[str, Any] = {"command": sys.executable, "args": [SCRIPT], "connect_timeout_s": START_S}
TOKYO = {"source_timezone": "UTC", "time": "{time}", "target_timezone": "Asia/Tokyo"}


class Clock(BaseModel):
    time: str = "12:00"
    found: Any = None
    notes: Annotated[list[str], append] = []


def calling(tool: Any, arguments: dict[str, Any], *, into: str = "found", **options: Any) -> Graph:
    g = Graph("calling", state=Clock)
    g.tool("call", tool=tool, arguments=arguments, into=into, **options)
    g.edge(START, "call")
    g.edge("call", END)
    return g


async def test_registered_tools_are_found_and_run() -> None:
    async with runtime() as rt:
        tools = await rt.tools.register_mcp("time", **TIME)

        assert [tool.name for tool in tools] == ["time.get_current_time", "time.convert_time"]
        assert rt.tools.list(tool_type="mcp") == sorted(tools, key=lambda tool: tool.name)
        assert tools[1].config.required_parameters == ("source_timezone", "time", "target_timezone")
        assert tools[1].config.json_schema["properties"]["time"]["type"] == "string"
        result = await rt.tools.execute("time.convert_time", TOKYO | {"time": "09:30"})
        assert result.output["time_difference"] == "+9.0h"
        wrong = await rt.tools.execute("time.convert_time", {"time": 9})
        assert wrong.error is not None
        assert wrong.error.fields["problems"] == ["source_timezone: is required", "target_timezone: is required"]


async def test_a_workflow_takes_the_tools_it_names_along() -> None:
    async with runtime(mcp={"time": TIME}) as rt:
        (ref,) = await rt.deploy(calling("time.convert_time", TOKYO))
        session = await rt.session("calling")
        result = await session.run({"time": "20:00"})

        assert result.status is ThreadState.COMPLETED, result.error
        assert result.state.found["target"]["datetime"][11:16] == "05:00"
        assert await history(rt, session.thread) == [STARTED, step("call"), COMPLETED]
        _, stored = await rt._connection.store.workflows.get(ref)
        assert b'"kind":"mcp"' in stored


async def test_what_a_server_does_not_offer_is_a_problem_of_the_workflow() -> None:
    async with runtime(mcp={"time": TIME}) as rt:
        with pytest.raises(GraphInvalid, match=r'no tool "time.convert_tim"; did you mean "time.convert_time"\?'):
            await rt.deploy(calling("time.convert_tim", TOKYO))
        with pytest.raises(NotFoundError, match='no MCP server "tim"; did you mean "time"'):
            await rt.tools.discover("tim")


async def test_wrong_options_are_refused() -> None:
    async with runtime() as rt:
        with pytest.raises(ValidationError, match="give either a command or a url"):
            await rt.tools.register_mcp("time")
        with pytest.raises(ValidationError, match="commando"):
            await rt.tools.register_mcp("time", commando="x")


async def test_a_tool_of_a_server_is_data_of_a_graph() -> None:
    tool = McpTool(
        name="odd.echo", server=McpServer(name="odd", **ODD), tool="echo", parameters={"text": {"type": "string"}}
    )
    graph = calling(tool, {"text": "{time}"}, into="notes")
    model = graph.build()
    assert load(dump(model)) == model
    async with runtime() as rt:
        await rt.deploy(graph)
        result = await (await rt.session("calling")).run({})
        assert result.state.notes == ["12:00"]


async def test_an_agent_calls_them() -> None:
    calls = asks(("time__convert_time", TOKYO | {"time": "10:00"}), ("time__convert_time", {"time": "10:00"}))
    async with runtime(models=models(calls, "19:00."), mcp={"time": TIME}) as rt:
        result = await run(rt, agent_graph("time.convert_time"))
        told = said(result)
        assert '"time_difference":"+9.0h"' in told[2][1]
        assert told[3][1] == ("Error: time.convert_time: source_timezone: is required; target_timezone: is required")
        assert told[4] == ("assistant", "19:00.")


async def test_the_server_is_told_the_idempotency_key_of_the_step() -> None:
    async with runtime() as rt:
        await rt.tools.register_mcp("odd", **ODD)
        await rt.deploy(calling("odd.whoami", {}))
        session = await rt.session("calling")
        result = await session.run({})
        assert result.state.found.split()[1] == f"{session.thread}:2"


async def test_the_server_is_stopped_with_the_runtime() -> None:
    async with runtime() as rt:
        await rt.tools.register_mcp("odd", **ODD)
        pid = int((await rt.tools.execute("odd.whoami", {})).output.split()[0])
        assert alive(pid)
    await until(lambda: not alive(pid))


async def test_a_cancelled_thread_cancels_the_call(tmp_path: Path) -> None:
    log = tmp_path / "log"
    async with runtime(mcp={"odd": ODD}) as rt:
        await rt.deploy(calling("odd.hang", {"log": str(log)}))
        thread = await (await rt.session("calling")).submit({})
        await until(log.exists)
        await thread.cancel("enough")
        assert (await thread.result()).status is ThreadState.CANCELLED
        await until(lambda: log.read_text().endswith("cancelled\n"))


@pytest.mark.parametrize(("node_s", "server_s", "error"), [(0.5, 60.0, NodeTimeout), (None, 0.5, ToolTimeout)])
async def test_a_call_that_takes_too_long_is_cancelled(
    tmp_path: Path, node_s: float | None, server_s: float, error: type[GreenroomError]
) -> None:
    log = tmp_path / "log"
    async with runtime(mcp={"odd": ODD | {"timeout_s": server_s}}) as rt:
        await rt.deploy(calling("odd.hang", {"log": str(log)}, timeout_s=node_s))
        result = await (await rt.session("calling")).run({})
        assert type(result.error) is error
        await until(lambda: log.read_text().endswith("cancelled\n"))


async def test_a_server_that_dies_in_a_step_is_started_again_for_the_retry(tmp_path: Path) -> None:
    log = tmp_path / "log"
    async with runtime(mcp={"odd": ODD}) as rt:
        await rt.deploy(calling("odd.die", {"log": str(log)}, retry=2))
        result = await (await rt.session("calling")).run({})
        assert result.status is ThreadState.FAILED
        assert log.read_text() == "died\ndied\n"


async def test_permissions_and_approval_of_a_server() -> None:
    rules = {"permissions": ["time"], "requires_approval": ["convert_time"]}
    async with runtime(mcp={"time": TIME | rules}) as rt:
        await rt.deploy(calling("time.convert_time", TOKYO))
        free = await (await rt.session("calling")).run({})
        assert free.pause is not None
        assert (free.pause.kind, free.pause.tool) == (PauseKind.APPROVAL, "time.convert_time")
        thread = await rt.thread(free.thread_id)
        await thread.answer(True)
        assert isinstance((await thread.result()).error, PermissionDenied)
        await rt.deploy(calling("time.get_current_time", {"timezone": "UTC"}))
        session = await rt.session("calling", permissions=["time"])
        assert (await session.run({})).status is ThreadState.COMPLETED


async def test_what_is_offered_no_longer_is_an_error_before_the_call_and_what_is_new_is_found() -> None:
    async with runtime(mcp={"odd": ODD}) as rt:
        tools = await rt.tools.discover("odd")
        assert "odd.extra" not in [tool.name for tool in tools]
        await rt.tools.execute("odd.learn", {"name": "extra"})
        assert (await rt.tools.execute("odd.extra", {"words": ["a", "b"]})).output == "a b"
        nested = rt.tools.list(name_contains="odd.extra")[0].config.json_schema["properties"]
        assert nested["words"]["items"] == {"type": "string"}
        bad = await rt.tools.execute("odd.extra", {"words": ["a", 1]})
        assert bad.error is not None
        assert bad.error.fields["problems"] == ["words: [1]: 1 is not of type 'string'"]
        await rt.tools.execute("odd.learn", {"name": "other"})
        pid = (await rt.tools.execute("odd.whoami", {})).output.split()[0]
        await rt.tools.execute("odd.die", {"log": "/dev/null"})
        gone = await rt.tools.execute("odd.extra", {"words": []})
        assert gone.error is not None
        assert gone.error.message.startswith("odd.extra: MCP server odd offers no tool 'extra' any more; there are ")
        assert (await rt.tools.execute("odd.whoami", {})).output.split()[0] != pid


async def test_secrets_reach_the_server_and_not_the_store() -> None:
    env = {"TOKEN": "secret:token"}
    async with runtime(mcp={"odd": ODD | {"env": env}}, secrets={"token": "sk-very-secret"}) as rt:
        (ref,) = await rt.deploy(calling("odd.variable", {"name": "TOKEN"}))
        result = await (await rt.session("calling")).run({})
        assert result.state.found == "***"  # the server has it, and says so: that is journalled
        _, stored = await rt._connection.store.workflows.get(ref)
        assert b"sk-very-secret" not in stored
        failed = await rt.tools.execute("odd.fail", {"why": "it is sk-very-secret"})
        assert failed.error is not None
        assert "sk-very-secret" not in failed.error.message


def test_the_blocking_driver_has_it_too() -> None:
    with LocalRuntime() as rt:
        tools = rt.tools.register_mcp("time", **TIME)
        assert rt.tools.discover("time") == tools
        assert rt.tools.execute("time.get_current_time", {"timezone": "UTC"}).success


async def test_without_the_package_it_is_said_how_to_get_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "actors.tools.mcp.servers", None)
    client = McpClient(Secrets({}), tmp_path)
    with pytest.raises(PackageMissing, match=r"install it with: pip install 'greenroom\[mcp\]'") as missing:
        await client.tools(McpServer(name="time", **TIME))
    assert missing.value.package == "mcp"
    await client.close()


async def test_a_tool_error_is_that_of_the_server() -> None:
    async with AsyncLocalRuntime(mcp={"odd": ODD}) as rt:
        await rt.deploy(calling("odd.fail", {"why": "no paper"}))
        result = await (await rt.session("calling")).run({})
        assert type(result.error) is ToolError
        assert "no paper" in str(result.error)
