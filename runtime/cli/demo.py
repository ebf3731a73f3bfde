"""`greenroom demo`: the shipped workflow `digest` on real texts, on Ray, with the local model."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from graphs.errors import NotFoundError
from graphs.threads import ThreadState
from graphs.workflow.graph import GraphModel
from graphs.workflow.node import LlmConfig
from graphs.workflow.problems import unknown
from graphs.workflow.registry import template
from runtime.cli.facts import EventPrinter
from runtime.cli.output import ExitCode, JsonFlag, Output
from runtime.cli.run import cancel
from runtime.client import AsyncClient
from runtime.config import load_config
from runtime.demo.progress import Progress, took_part
from runtime.demo.texts import MODULES, Texts, docstrings, read_texts
from runtime.demo.view import LiveView, report
from runtime.documents import plain
from runtime.events import NodeStarted, Token
from runtime.handles import AsyncThread
from runtime.results import ThreadResult

WORKFLOW = "digest"

InputOption = Annotated[
    list[Path] | None,
    typer.Option("--input", metavar="PATH", help="A text file, or a folder of them; may be given several times."),
]
ModelOption = Annotated[str, typer.Option("--model", metavar="NAME", help="The configured model that is asked.")]
FilesOption = Annotated[int, typer.Option("--files", metavar="N", min=1, help="Most files.")]


@dataclass(slots=True, kw_only=True)
class _Times:
    """Seconds of the parts of a demonstration."""

    start: float = 0.0
    deploy: float = 0.0
    run: float = 0.0

    def document(self) -> dict[str, float]:
        """All of them and their sum."""
        parts = {"start": self.start, "deploy": self.deploy, "run": self.run}
        return {name: round(seconds, 3) for name, seconds in {**parts, "total": sum(parts.values())}.items()}


def demo(
    inputs: InputOption = None,
    model: ModelOption = "default",
    files: FilesOption = len(MODULES),
    as_json: JsonFlag = False,
) -> None:
    """Summarise texts in parallel threads and write a digest of them.

    The texts are the docstrings of a dozen standard modules unless --input names others. The exit code is 1 if
    anything fails.
    """
    out = Output(as_json=as_json)
    texts = read_texts(inputs, files) if inputs else docstrings(files)
    models = load_config().models
    if model not in models:
        raise NotFoundError(unknown("model", model, models), kind="model", key=model)
    graph = _with_model(template(WORKFLOW), model)
    for line in texts.skipped:
        out.line(f"skipped {line}")
    if texts.has_more:
        out.line(f"only {len(texts.texts)} texts are read; --files N reads more")
    document, result = asyncio.run(_demo(graph, texts, out))
    for renderable in report(document):
        out.show(renderable)
    if as_json:
        out.data(document)
    if result.status is not ThreadState.COMPLETED:
        assert result.error is not None, "a thread that did not complete says why"
        info = result.error.info()
        text = f"thread {result.thread_id} {result.status}: {info.message}"
        out.error(info if as_json else msgspec.structs.replace(info, message=text))
        raise typer.Exit(ExitCode.FAILED)


async def _demo(graph: GraphModel, texts: Texts, out: Output) -> tuple[dict[str, Any], ThreadResult]:
    """Start everything, run the workflow, and gather what came of it."""
    from runtime.runtime import AsyncRuntime  # Ray takes half a second to import

    times = _Times()
    progress = Progress(WORKFLOW, [text.name for text in texts.texts])
    async with AsyncExitStack() as stack:
        begin = time.monotonic()
        with out.progress("starting Ray and the store"):
            runtime = await stack.enter_async_context(AsyncRuntime())
        times.start = time.monotonic() - begin
        with out.progress("starting the model server"):
            (ref,) = await runtime.deploy(graph)
        times.deploy = time.monotonic() - begin - times.start
        session = await runtime.session(ref, user_id="demo", metadata={"source": "greenroom demo"})
        files = [{"name": text.name, "text": text.text} for text in texts.texts]
        thread = await session.submit({"files": files})
        result = await _watch(runtime, thread, progress, out)
        times.run = time.monotonic() - begin - times.start - times.deploy
        cluster = await runtime.cluster()
        for head in await session.threads():
            progress.place(head.thread.id, head.host)
    processes = [plain(process) for process in cluster.processes]
    return _document(ref, result, progress, processes, times), result


async def _watch(runtime: AsyncClient, thread: AsyncThread, progress: Progress, out: Output) -> ThreadResult:
    """Show what happens until the turn is over."""
    view = LiveView(progress)
    printer = None if out.as_json else EventPrinter(as_json=False)
    try:
        with out.live(view.draw) as live:
            async for event in thread.events(children=True):
                progress.see(event)
                if live is None and printer is not None and not isinstance(event, NodeStarted | Token):
                    printer.show(event)
                for thread_id in progress.unplaced():
                    progress.place(thread_id, (await runtime.records.thread(thread_id)).host)
        return await thread.result()
    except asyncio.CancelledError:
        await cancel(thread, "interrupted")
        raise


def _with_model(graph: GraphModel, model: str) -> GraphModel:
    """`graph` and what comes along with it, with `model` in every node that asks one."""
    nodes = tuple(
        node.model_copy(update={"config": node.config.model_copy(update={"model": model})})
        if isinstance(node.config, LlmConfig)
        else node
        for node in graph.nodes
    )
    children = tuple(_with_model(child, model) for child in graph.workflows)
    return graph.model_copy(update={"nodes": nodes, "workflows": children})


def _document(
    ref: str, result: ThreadResult, progress: Progress, processes: Sequence[Mapping[str, Any]], times: _Times
) -> dict[str, Any]:
    state = plain(result.state)
    return {
        "workflow": ref,
        "thread_id": result.thread_id,
        "status": str(result.status),
        "digest": state["digest"],
        "files": state["parts"],
        **progress.document(),
        "ray": took_part(processes, progress),
        "seconds": times.document(),
        "error": None if result.error is None else plain(result.error),
    }
