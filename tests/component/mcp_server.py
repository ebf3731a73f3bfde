"""An MCP server that does to its clients what they ask for. Run as a script: over stdio, or with a port over HTTP."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import anyio
import uvicorn
from mcp.server.mcpserver import Context, Image, MCPServer
from mcp.server.mcpserver.exceptions import ToolError

server = MCPServer("misbehaving")


@server.tool(structured_output=False)
def echo(text: str) -> str:
    """Say it again."""
    return text


@server.tool(structured_output=False)
async def whoami(ctx: Context) -> str:
    """The pid of the server, and the idempotency key of the call."""
    meta: Any = ctx.request_context.meta or {}
    return f"{os.getpid()} {meta.get('greenroom/idempotency-key')}"


@server.tool(structured_output=False)
def variable(name: str) -> str:
    """A variable of the server's environment."""
    return os.environ.get(name, "(unset)")  # noqa: TID251 - it is what the test is about


@server.tool(structured_output=False)
async def header(name: str, ctx: Context) -> str:
    """A header of the request."""
    return (ctx.headers or {}).get(name, "(none)")


@server.tool(structured_output=False)
def die(log: str) -> str:
    """End the process in the middle of a call."""
    note(log, "died")
    os._exit(9)


@server.tool(structured_output=False)
async def hang(log: str) -> str:
    """Never answer; tell a file when it is cancelled."""
    note(log, f"hangs {os.getpid()}")
    try:
        await anyio.sleep_forever()
    except anyio.get_cancelled_exc_class():
        note(log, "cancelled")
        raise
    return ""


@server.tool(structured_output=False)
async def second(log: str, ctx: Context) -> str:
    """Never answer when called first, and at once when called again; leave a line each time."""
    meta: Any = ctx.request_context.meta or {}
    note(log, f"{os.getpid()} {meta.get('greenroom/idempotency-key')}")
    if len(Path(log).read_text().splitlines()) == 1:  # noqa: ASYNC240 - a small file
        await anyio.sleep_forever()
    return "answered"


@server.tool(structured_output=False)
def big(size: int) -> str:
    """So many letters."""
    return "x" * size


@server.tool(structured_output=False)
def fail(why: str) -> str:
    """Fail, as tools do."""
    raise ToolError(why)


@server.tool(structured_output=False)
def pieces() -> list[Any]:
    """A text and a picture."""
    return ["look:", Image(data=b"\x89PNG", format="png")]


@server.tool(structured_output=False)
async def slowly(ctx: Context) -> str:
    """Tell its progress."""
    for step in range(5):
        await ctx.report_progress(step, 5, "working")
    return "done"


@server.tool(structured_output=False)
async def learn(name: str, ctx: Context) -> str:
    """Have one more tool."""

    def learned(words: list[str], options: dict[str, int] | None = None) -> str:
        return " ".join(words)

    server.add_tool(learned, name=name, structured_output=False)
    await ctx.notify_tools_changed()
    await ctx.session.send_tool_list_changed()
    return name


def note(log: str, text: str) -> None:
    with Path(log).open("a") as file:
        file.write(f"{text}\n")


if __name__ == "__main__":
    print("the server is talking", file=sys.stderr, flush=True)
    if len(sys.argv) > 1:
        uvicorn.run(server.streamable_http_app(), port=int(sys.argv[1]), log_level="error")
    else:
        server.run()
