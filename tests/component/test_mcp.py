"""The MCP client against servers that run: one not written here, and one that misbehaves, over both transports."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from actors.errors import ToolError, ToolTimeout, ToolUnavailable
from actors.tools.mcp.servers import McpServers
from actors.tools.mcp.session import McpSession
from actors.tools.secrets import Secrets
from graphs.workflow.mcp import McpServer
from tests.component.actors_kit import PATIENCE_S, until
from tests.component.model_server import ModelServer
from tests.conftest import free_port

OLD = str(Path(__file__).with_name("mcp_old_server.py"))
SCRIPT = str(Path(__file__).with_name("mcp_server.py"))
TIME = McpServer(name="time", command=sys.executable, args=("-m", "mcp_server_time", "--local-timezone", "UTC"))

START_S = 60.0
"""How long a server may take to start on a busy machine."""

Odd = Callable[..., McpServer]


def stdio(**options: Any) -> McpServer:
    return McpServer(name="odd", command=sys.executable, args=(SCRIPT,), connect_timeout_s=START_S, **options)


@contextmanager
def serving(port: int, *program: str) -> Iterator[subprocess.Popen[bytes]]:
    """A server behind a URL, the misbehaving one by default; it need not be waited for: who connects tries again."""
    command = [sys.executable, *(program or (SCRIPT,)), str(port)]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        try:
            yield process
        finally:
            process.kill()


def behind(port: int, **options: Any) -> McpServer:
    return McpServer(name="odd", url=f"http://127.0.0.1:{port}/mcp", connect_timeout_s=START_S, **options)


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    """Where the misbehaving server is, for tests that do not end it."""
    port = free_port()
    with serving(port):
        yield port


@pytest.fixture(params=["stdio", "http"])
def odd(request: pytest.FixtureRequest) -> Odd:
    """Makes the misbehaving server, with options, by either way."""
    if request.param == "stdio":
        return stdio
    return partial(behind, request.getfixturevalue("port"))


@pytest.fixture
async def servers(tmp_path: Path) -> AsyncIterator[McpServers]:
    servers = McpServers(tmp_path, Secrets({}))
    yield servers
    await servers.close()
    assert asyncio.all_tasks() == {asyncio.current_task()}


def alive(pid: int) -> bool:
    """Whether a process runs; one that nobody has waited for yet does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def words(log: Path) -> list[str]:
    """What a server has written to a file, which may be about to."""
    return log.read_text().split() if log.exists() else []


async def test_nothing_is_started_once_it_is_closed(tmp_path: Path) -> None:
    servers = McpServers(tmp_path, Secrets({}))
    server, log = stdio(), tmp_path / "log"
    call = asyncio.create_task(servers.call(server, "hang", {"log": str(log)}, None))
    await until(log.exists)
    connection = next(iter(servers._connections.values()))
    await servers.close()
    with pytest.raises(ToolUnavailable):
        await call
    with pytest.raises(ToolUnavailable, match="is closing"):
        await connection.ask(McpSession.tools)
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_an_idle_connection_is_closed_and_opened_again(
    servers: McpServers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("actors.tools.mcp.servers.IDLE_S", 0.05)
    before = int((await servers.call(stdio(), "whoami", {}, None)).split()[0])
    await until(lambda: not alive(before))
    assert int((await servers.call(stdio(), "whoami", {}, None)).split()[0]) != before


def group_of(pid: int) -> list[int]:
    """All processes of the group of a process."""
    group = os.getpgid(pid)
    members = []
    for entry in filter(str.isdigit, os.listdir("/proc")):
        with suppress(ProcessLookupError):
            if os.getpgid(int(entry)) == group:
                members.append(int(entry))
    return members


async def test_a_server_not_written_here_is_asked_over_stdio(servers: McpServers) -> None:
    tools = {tool.name: tool for tool in await servers.tools(TIME)}
    assert set(tools) == {"get_current_time", "convert_time"}
    assert tools["get_current_time"].input_schema["required"] == ["timezone"]

    arguments = {"source_timezone": "UTC", "time": "12:00", "target_timezone": "Asia/Tokyo"}
    answer = await servers.call(TIME, "convert_time", arguments, None)

    assert answer["time_difference"] == "+9.0h"
    assert answer["target"]["timezone"] == "Asia/Tokyo"
    with pytest.raises(ToolError, match="Invalid timezone") as refused:
        await servers.call(TIME, "convert_time", arguments | {"source_timezone": "Mars"}, None)
    assert not refused.value.retryable
    assert refused.value.fields == {"tool": "time.convert_time", "server": "time"}


TIME_BY_HTTP = """
import sys, uvicorn
from mcp_server_time.server import create_server
uvicorn.run(create_server("UTC").streamable_http_app(), port=int(sys.argv[1]), log_level="error")
"""


async def test_a_server_not_written_here_is_asked_over_http(servers: McpServers) -> None:
    port = free_port()
    with serving(port, "-c", TIME_BY_HTTP):
        server = behind(port)
        assert {tool.name for tool in await servers.tools(server)} == {"get_current_time", "convert_time"}
        arguments = {"source_timezone": "UTC", "time": "12:00", "target_timezone": "Asia/Tokyo"}
        assert (await servers.call(server, "convert_time", arguments, None))["time_difference"] == "+9.0h"
        with pytest.raises(ToolError, match="Invalid timezone"):
            await servers.call(server, "convert_time", arguments | {"source_timezone": "Mars"}, None)


async def test_a_server_of_before_2026_is_spoken_to_as_it_can(servers: McpServers) -> None:
    server = McpServer(name="old", command=sys.executable, args=(OLD,), connect_timeout_s=START_S)
    assert [tool.name for tool in await servers.tools(server)] == ["pid", "learn"]
    pid = await servers.call(server, "learn", {}, "k")
    async with asyncio.timeout(PATIENCE_S):
        while len(await servers.tools(server)) < 3:  # noqa: ASYNC110 - it is told in its own time
            await asyncio.sleep(0.01)
    os.kill(int(pid), signal.SIGKILL)
    await until(lambda: all(connection._session.is_over for connection in servers._connections.values()))
    assert await servers.call(server, "pid", {}, None) != pid


async def test_an_old_server_behind_a_url_may_forget_the_session(servers: McpServers) -> None:
    port = free_port()
    server = behind(port)
    with serving(port, OLD):
        before = await servers.call(server, "pid", {}, None)
    with serving(port, OLD) as process:
        async with asyncio.timeout(START_S):
            while not await listens(port):  # noqa: ASYNC110 - nobody tells
                await asyncio.sleep(0.02)
        assert await servers.call(server, "pid", {}, None) == str(process.pid)
        assert before != str(process.pid)


async def listens(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    return True


async def test_what_tools_answer_becomes_plain_values(servers: McpServers, odd: Odd) -> None:
    server = odd()
    assert await servers.call(server, "echo", {"text": "äöü\n"}, None) == "äöü\n"
    picture = {"type": "image", "mime_type": "image/png", "data": b"\x89PNG"}
    assert await servers.call(server, "pieces", {}, None) == ["look:", picture]
    assert await servers.call(server, "slowly", {}, None) == "done", "progress nobody has asked for does no harm"


async def test_calls_at_once_share_a_connection_and_carry_their_keys(servers: McpServers, odd: Odd) -> None:
    server = odd()
    answers = await asyncio.gather(*(servers.call(server, "whoami", {}, f"t:{n}") for n in range(20)))
    assert [answer.split()[1] for answer in answers] == [f"t:{n}" for n in range(20)]
    assert len({answer.split()[0] for answer in answers}) == 1


async def test_a_tool_that_fails_says_why(servers: McpServers, odd: Odd) -> None:
    server = odd()
    with pytest.raises(ToolError, match=r"odd\.fail: .*no paper") as failed:
        await servers.call(server, "fail", {"why": "no paper"}, None)
    assert type(failed.value) is ToolError
    with pytest.raises(ToolError, match="Unknown tool: nothing"):
        await servers.call(server, "nothing", {}, None)
    assert await servers.call(server, "echo", {"text": "on"}, None) == "on"


async def test_a_changed_list_of_tools_is_noticed(servers: McpServers, odd: Odd) -> None:
    server = odd()
    assert "greet" not in {tool.name for tool in await servers.tools(server)}
    await servers.call(server, "learn", {"name": "greet"}, None)

    async with asyncio.timeout(PATIENCE_S):
        while "greet" not in {tool.name for tool in await servers.tools(server)}:  # noqa: ASYNC110 - it is told later
            await asyncio.sleep(0.01)
    assert await servers.call(server, "greet", {"words": ["a", "b"]}, None) == "a b"


async def test_a_cancelled_call_is_cancelled_there(servers: McpServers, odd: Odd, tmp_path: Path) -> None:
    server, log = odd(), tmp_path / "log"
    call = asyncio.create_task(servers.call(server, "hang", {"log": str(log)}, None))
    await until(log.exists)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    await until(lambda: log.read_text().endswith("cancelled\n"))
    assert await servers.call(server, "echo", {"text": "on"}, None) == "on"


async def test_a_call_that_takes_too_long_is_cancelled_there(servers: McpServers, odd: Odd, tmp_path: Path) -> None:
    server, log = odd(timeout_s=0.5), tmp_path / "log"
    await servers.tools(server)
    with pytest.raises(ToolTimeout, match=r"took longer than 0.5 s to call hang; raise its timeout_s") as late:
        await servers.call(server, "hang", {"log": str(log)}, None)
    assert late.value.retryable
    await until(lambda: log.read_text().endswith("cancelled\n"))


async def test_a_result_above_the_limit_is_refused(servers: McpServers, odd: Odd) -> None:
    server = odd(max_result_bytes=100_000)
    with pytest.raises(ToolError, match="max_result_bytes=100000") as refused:
        await servers.call(server, "big", {"size": 50_000_000}, None)
    assert not refused.value.retryable
    assert await servers.call(server, "echo", {"text": "on"}, None) == "on", "the next call works"
    assert len(await servers.call(server, "big", {"size": 90_000}, None)) == 90_000


async def test_a_server_that_dies_in_a_call_is_started_again(servers: McpServers, tmp_path: Path) -> None:
    server, log = stdio(), tmp_path / "log"
    before = (await servers.call(server, "whoami", {}, None)).split()[0]
    with pytest.raises(ToolUnavailable, match=r"it has ended; its log is .*mcp-odd\.log") as lost:
        await servers.call(server, "die", {"log": str(log)}, None)
    assert lost.value.retryable
    assert (await servers.call(server, "whoami", {}, None)).split()[0] != before


async def test_a_server_that_has_died_meanwhile_is_started_again(servers: McpServers) -> None:
    server = stdio()
    before = int((await servers.call(server, "whoami", {}, None)).split()[0])
    os.kill(before, signal.SIGKILL)
    await until(lambda: all(connection._session.is_over for connection in servers._connections.values()))
    assert int((await servers.call(server, "whoami", {}, None)).split()[0]) != before


async def test_a_server_behind_a_url_may_be_started_again(servers: McpServers, tmp_path: Path) -> None:
    port = free_port()
    server, log = behind(port), tmp_path / "log"
    with serving(port):
        before = (await servers.call(server, "whoami", {}, None)).split()[0]
        call = asyncio.create_task(servers.call(server, "hang", {"log": str(log)}, None))
        await until(log.exists)
    with pytest.raises(ToolUnavailable):
        await call
    with serving(port):
        assert (await servers.call(server, "whoami", {}, None)).split()[0] != before


@pytest.mark.parametrize(
    ("server", "error", "text"),
    [
        (McpServer(name="x", command="no-such-program"), ToolError, "there is no program 'no-such-program' here"),
        (McpServer(name="x", command="false", connect_timeout_s=0.2), ToolUnavailable, "it has ended; its log is"),
        (
            McpServer(name="x", command="sleep", args=("60",), connect_timeout_s=0.2),
            ToolUnavailable,
            "no answer within 0.2 s; raise its connect_timeout_s",
        ),
        (
            McpServer(name="x", url="http://127.0.0.1:9/mcp", connect_timeout_s=0.2),
            ToolUnavailable,
            "cannot be connected to",
        ),
    ],
)
async def test_servers_that_cannot_be_reached(
    servers: McpServers, server: McpServer, error: type[Exception], text: str
) -> None:
    with pytest.raises(error, match=text) as refused:
        await servers.tools(server)
    assert type(refused.value) is error


@pytest.mark.parametrize(
    ("status", "error", "connect_timeout_s"),
    [(401, ToolError, 10.0), (404, ToolError, 10.0), (503, ToolUnavailable, 2.0)],  # the last is asked again until then
)
async def test_servers_that_refuse(
    servers: McpServers, status: int, error: type[Exception], connect_timeout_s: float
) -> None:
    with ModelServer() as endpoint:
        endpoint.steps = [lambda handler: handler.reply(status, "text/plain", "no")]
        threading.Thread(target=endpoint.serve_forever, kwargs={"poll_interval": 0.01}).start()
        server = McpServer(name="x", url=endpoint.url, connect_timeout_s=connect_timeout_s)
        with pytest.raises(error) as refused:
            await servers.tools(server)
        endpoint.shutdown()
    assert type(refused.value) is error
    assert str(refused.value).startswith("MCP server x cannot be connected to: ")
    assert status == 404 or str(status) in str(refused.value)


async def test_what_a_program_says_goes_to_a_log_file(
    servers: McpServers, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    await servers.call(stdio(), "echo", {"text": "hi"}, None)
    await until(lambda: "the server is talking" in (tmp_path / "mcp-odd.log").read_text())
    assert capfd.readouterr() == ("", "")


async def test_a_program_sees_its_variables_and_no_others(servers: McpServers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_API_KEY", "sk-very-secret")
    server = stdio(env={"ITS_OWN": "value"})
    assert await servers.call(server, "variable", {"name": "ITS_OWN"}, None) == "value"
    assert await servers.call(server, "variable", {"name": "SOME_API_KEY"}, None) == "(unset)"


async def test_secrets_are_put_in_on_the_way_and_kept_out_of_outputs_and_errors(tmp_path: Path) -> None:
    port = free_port()
    server = behind(port, headers={"x-key": "Bearer secret:key"})
    servers = McpServers(tmp_path, Secrets({"key": "sk-very-secret"}))
    with serving(port):
        # It was put in, or it would not have been found: what a tool says is journalled.
        assert await servers.call(server, "header", {"name": "x-key"}, None) == "Bearer ***"
        with pytest.raises(ToolError, match=r"odd\.fail: .*with \*\*\*") as failed:
            await servers.call(server, "fail", {"why": "with sk-very-secret"}, None)
        assert "sk-very-secret" not in str(failed.value.fields)
        with pytest.raises(ToolError, match="MCP server odd: there is no secret other; give it in the section secrets"):
            await servers.call(stdio(env={"KEY": "secret:other"}), "variable", {"name": "KEY"}, None)
    await servers.close()


async def test_closing_stops_the_server_and_all_it_has_started(tmp_path: Path) -> None:
    servers = McpServers(tmp_path, Secrets({}))
    shell = McpServer(name="odd", command="sh", args=("-c", f"sleep 600 & {sys.executable} {SCRIPT}"))
    pid = int((await servers.call(shell, "whoami", {}, None)).split()[0])
    group = group_of(pid)
    assert len(group) >= 4, "the warden, the shell, the sleeper and the server"
    await servers.close()
    await until(lambda: not any(map(alive, group)))


async def test_a_server_that_does_not_listen_is_stopped_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("actors.tools.mcp.stdio.LEAVE_S", 0.2)
    servers, log = McpServers(tmp_path, Secrets({})), tmp_path / "log"
    deaf = McpServer(name="odd", command="sh", args=("-c", f"trap '' TERM; {sys.executable} {SCRIPT}; sleep 600"))
    call = asyncio.create_task(servers.call(deaf, "hang", {"log": str(log)}, None))
    await until(lambda: len(words(log)) > 1)
    pid = int(words(log)[1])
    await servers.close()
    await until(lambda: not alive(pid))
    with pytest.raises(ToolUnavailable):
        await call


KILLED = f"""
import asyncio, sys
from pathlib import Path
from actors.tools.mcp.servers import McpServers
from actors.tools.secrets import Secrets
from graphs.workflow.mcp import McpServer

async def main():
    servers = McpServers(Path(sys.argv[1]), Secrets({{}}))
    server = McpServer(name="odd", command="sh", args=("-c", "sleep 600 & {sys.executable} {SCRIPT}"))
    await servers.call(server, "hang", {{"log": sys.argv[2]}}, None)

asyncio.run(main())
"""


async def test_no_server_outlives_a_client_that_is_killed(tmp_path: Path) -> None:
    log = tmp_path / "log"
    client = await asyncio.create_subprocess_exec(sys.executable, "-c", KILLED, str(tmp_path), str(log))
    await until(lambda: len(words(log)) > 1)
    group = group_of(int(words(log)[1]))
    client.kill()
    await client.wait()
    assert len(group) >= 4
    await until(lambda: not any(map(alive, group)))
