"""`greenroom run`: one turn of a workflow, from start to result."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, aclosing, suppress
from dataclasses import dataclass
from typing import Annotated, Any

import msgspec
import typer
from rich.text import Text

from graphs.errors import GreenroomError
from graphs.threads import ThreadState
from runtime.cli.facts import EventPrinter, describe, one_line
from runtime.cli.inputs import run_input
from runtime.cli.opening import in_process, on_ray
from runtime.cli.output import ExitCode, JsonFlag, Output
from runtime.cli.sources import Source, WorkflowArgument, read_source, unknown_workflow
from runtime.client import AsyncClient
from runtime.documents import as_yaml, result_document
from runtime.errors import ResultTimeout
from runtime.events import Event, Paused, Token
from runtime.handles import AsyncThread
from runtime.results import ThreadResult

CANCEL_S = 5.0
"""How long an interrupted command waits for its thread to be cancelled."""

InputOption = Annotated[str | None, typer.Option("--input", metavar="JSON", help="Channel -> value, as JSON object.")]
InputFileOption = Annotated[
    str | None, typer.Option("--input-file", metavar="FILE", help="File of the input; - is standard input.")
]
StreamFlag = Annotated[bool, typer.Option("--stream", help="Show events and tokens as they come.")]
LocalFlag = Annotated[bool, typer.Option("--local", help="Run in this process, without Ray and without a store.")]
TimeoutOption = Annotated[
    float | None, typer.Option("--timeout-s", min=0.001, help="Cancel the thread if it is not over in this time.")
]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Order:
    """What is to be run, and how it is shown."""

    workflow: str
    source: Source | None
    """None: it is deployed."""
    content: Mapping[str, Any]
    stream: bool
    timeout_s: float | None


def run(
    workflow: WorkflowArgument,
    input_json: InputOption = None,
    input_file: InputFileOption = None,
    stream: StreamFlag = False,
    local: LocalFlag = False,
    timeout_s: TimeoutOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Run one turn of WORKFLOW in a new session and print its result.

    A turn that asks a person is shown with its question; any driver answers it. The exit code is 1 if it fails. Ctrl-C
    cancels it.
    """
    out = Output(as_json=as_json)
    content = run_input(input_json, input_file)
    source = read_source(workflow)
    if local and source is None:
        raise unknown_workflow(workflow, [])
    order = _Order(workflow=workflow, source=source, content=content, stream=stream, timeout_s=timeout_s)
    opening = in_process(source) if local and source else on_ray(workflow, source)
    result, seconds = asyncio.run(_run(order, opening, out))
    _show(result, seconds, out, as_line=stream)
    if result.status not in (ThreadState.COMPLETED, ThreadState.PAUSED):
        assert result.error is not None, "a thread that did not complete says why"
        info = result.error.info()
        text = f"thread {result.thread_id} {result.status}: {info.message}"
        out.error(info if as_json else msgspec.structs.replace(info, message=text))
        raise typer.Exit(ExitCode.FAILED)


async def _run(
    order: _Order, opening: AbstractAsyncContextManager[AsyncClient], out: Output
) -> tuple[ThreadResult, float]:
    """The result of the turn, and the seconds it took."""
    async with AsyncExitStack() as stack:
        with out.progress("starting"):
            runtime = await stack.enter_async_context(opening)
        with out.progress(f"deploying {order.workflow}"):
            ref = order.workflow
            if order.source is not None:
                (ref,) = await runtime.deploy(order.source)
            begin = time.monotonic()
            thread = await (await runtime.session(ref)).submit(order.content)
        result = await _follow(thread, order, out)
        return result, time.monotonic() - begin


async def _follow(thread: AsyncThread, order: _Order, out: Output) -> ThreadResult:
    """Wait for the end of the turn and show what happens; the turn does not outlive an impatient user."""
    try:
        async with asyncio.timeout(order.timeout_s) as limit:
            if order.stream:
                printer = EventPrinter(as_json=out.as_json)
                async for event in _events(thread):
                    printer.show(event)
            else:
                with out.progress(f"running {thread.id}") as status:
                    if status is None:
                        return await thread.result()
                    async for event in _events(thread):
                        if not isinstance(event, Token):
                            status.update(Text(f"running {thread.id}: {one_line(describe(event))}"))
            return await thread.result()
    except TimeoutError:
        if not limit.expired():
            raise
        await cancel(thread, f"not over after {order.timeout_s:g} s")
        raise ResultTimeout(
            f"thread {thread.id} was not over after {order.timeout_s:g} s and was cancelled; give it more --timeout-s",
            thread_id=thread.id,
            timeout_s=order.timeout_s,
        ) from None
    except asyncio.CancelledError:
        await cancel(thread, "interrupted")
        raise


async def _events(thread: AsyncThread) -> AsyncGenerator[Event, None]:
    """What happens until the turn is over, or waits for somebody."""
    async with aclosing(thread.events(children=True)) as events:
        async for event in events:
            yield event
            if isinstance(event, Paused) and event.thread_id == thread.id and event.pause.until is None:
                return


async def cancel(thread: AsyncThread, reason: str) -> None:
    """Cancel the turn of `thread`, if that can be done in a moment."""
    # Should it not be possible, there is no more to do from here: the thread is in the journal.
    with suppress(TimeoutError, GreenroomError):
        async with asyncio.timeout(CANCEL_S):
            await thread.cancel(reason)


def _show(result: ThreadResult, seconds: float, out: Output, *, as_line: bool) -> None:
    document = result_document(result, seconds=seconds)
    if out.as_json and as_line:
        sys.stdout.write(msgspec.json.encode({"event": "Result", **document}).decode() + "\n")
    elif out.as_json:
        out.data(document)
    else:
        tokens = f", {result.usage.total_tokens} tokens" if result.usage.calls else ""
        out.line(f"thread {result.thread_id} {result.status} in {seconds:.2f} s at seq {result.seq}{tokens}")
        if result.pause is not None and result.pause.question:
            out.line(f"asks: {one_line(result.pause.question)}")
        out.line(as_yaml(result.state).rstrip())
