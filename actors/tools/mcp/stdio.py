"""The transport to an MCP server that is a program: one message a line, on its standard input and output.

The SDK has one too. This one bounds the length of a line before it is in memory, tells when the server has ended, keeps
its standard error off the terminal, and leaves no process behind when this one is killed (see `warden.py`).
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import anyio
from anyio.abc import ObjectReceiveStream, ObjectSendStream
from mcp.client._transport import TransportStreams
from mcp.client.stdio import get_default_environment
from mcp.shared.message import SessionMessage
from mcp_types import jsonrpc_message_adapter

from graphs.workflow.mcp import McpServer

WARDEN = Path(__file__).with_name("warden.py")
LEAVE_S = 2.0
"""How long a server has to end by itself: once its input is closed, and again after SIGTERM."""


@asynccontextmanager
async def stdio_transport(
    server: McpServer, log: Path, ended: Callable[[str], None]
) -> AsyncIterator[TransportStreams]:
    """Start the program of `server`; it is stopped when the block is left, and with all it has started.

    Args:
        server: The server, with secrets in the place of their names.
        log: File for its standard error.
        ended: Told once, and why, when nothing can be read any more.

    Raises:
        OSError: The program cannot be started.
    """
    environment = get_default_environment() | server.env
    if shutil.which(server.command, path=environment.get("PATH")) is None:
        raise FileNotFoundError(f"there is no program {server.command!r} here; install it, or correct the command")
    log.parent.mkdir(parents=True, exist_ok=True)
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-I", "-S", str(WARDEN), str(os.getpid()), str(log), server.command, *server.args,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        cwd=server.cwd or None,
        env=environment,
        start_new_session=True,
        limit=server.max_result_bytes,
    )  # fmt: skip
    incoming, read = anyio.create_memory_object_stream[SessionMessage | Exception](0)
    write, outgoing = anyio.create_memory_object_stream[SessionMessage](0)
    tasks = [
        asyncio.create_task(_read(process, incoming, ended, server), name=f"output of MCP server {server.name}"),
        asyncio.create_task(_write(process, outgoing, incoming), name=f"input of MCP server {server.name}"),
    ]
    try:
        yield read, write
    finally:
        for task in tasks:
            task.cancel()
        for stream in (incoming, read, write, outgoing):
            stream.close()
        await _stop(process)
        await asyncio.wait(tasks)


async def _read(
    process: asyncio.subprocess.Process,
    incoming: ObjectSendStream[SessionMessage | Exception],
    ended: Callable[[str], None],
    server: McpServer,
) -> None:
    assert process.stdout is not None
    why = "it has ended"
    async with incoming:
        try:
            with suppress(anyio.BrokenResourceError, anyio.ClosedResourceError):  # nobody listens any more
                async for line in process.stdout:
                    await incoming.send(_message(line))
        except ValueError:  # what StreamReader makes of a line beyond its limit
            why = f"it sent a message of more than max_result_bytes={server.max_result_bytes}"
        finally:
            ended(why)


def _message(line: bytes) -> SessionMessage | Exception:
    try:
        return SessionMessage(jsonrpc_message_adapter.validate_json(line, by_name=False))
    except ValueError as error:
        return error


async def _write(
    process: asyncio.subprocess.Process,
    outgoing: ObjectReceiveStream[SessionMessage],
    incoming: ObjectSendStream[SessionMessage | Exception],
) -> None:
    assert process.stdin is not None
    try:
        async for message in outgoing:
            text = message.message.model_dump_json(by_alias=True, exclude_unset=True)
            process.stdin.write(text.encode() + b"\n")
            await process.stdin.drain()
    except (ConnectionError, anyio.ClosedResourceError):
        await incoming.aclose()  # whoever waits for an answer is told


async def _stop(process: asyncio.subprocess.Process) -> None:
    """End the server and all of its process group, the gentle way first."""
    assert process.stdin is not None
    draining = asyncio.create_task(_drain(process), name="last output of an MCP server")
    try:
        process.stdin.close()
        for number in (signal.SIGTERM, signal.SIGKILL):
            if await _ends(process):
                return
            _signal(process, number)
        await _ends(process)
    finally:
        draining.cancel()
        _signal(process, signal.SIGKILL)  # also when this is cut off in the middle
        process._transport.close()  # type: ignore[attr-defined] # noqa: SLF001 - who left the group may hold the pipes


async def _drain(process: asyncio.subprocess.Process) -> None:
    """Read what nobody wants: a server that is stuck in writing does not see that its input is closed."""
    assert process.stdout is not None
    while await process.stdout.read(65_536):
        pass


async def _ends(process: asyncio.subprocess.Process) -> bool:
    with suppress(TimeoutError):
        await asyncio.wait_for(process.wait(), LEAVE_S)
    return process.returncode is not None


def _signal(process: asyncio.subprocess.Process, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, number)
