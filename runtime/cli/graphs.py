"""`greenroom graph`: look at a workflow, check it, and write it as YAML or JSON."""

from __future__ import annotations

import asyncio
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from actors.tools.factory import build_tools
from graphs.errors import ValidationError
from graphs.workflow.builder import GraphBuilder
from graphs.workflow.graph import GraphModel
from graphs.workflow.render import mermaid
from graphs.workflow.spec import dump, to_document
from graphs.workflow.validation import validate as problems_of
from runtime.cli.output import ExitCode, JsonFlag, Output
from runtime.cli.sources import Source, WorkflowArgument, read_deployed, read_source
from runtime.cli.stored import stored_records
from runtime.config import Config, load_config
from runtime.errors import WorkflowFileError

app = typer.Typer(help="Look at workflows.", no_args_is_help=True)


class TextForm(StrEnum):
    """Forms a graph is written in."""

    YAML = "yaml"
    JSON = "json"


@app.command()
def show(workflow: WorkflowArgument, as_json: JsonFlag = False) -> None:
    """Print WORKFLOW as a Mermaid flowchart; as JSON, its whole definition."""
    out = Output(as_json=as_json)
    graph = _as_is(_read(workflow, load_config()))
    if as_json:
        out.data(to_document(graph))
    else:
        typer.echo(mermaid(graph), nl=False)


@app.command()
def validate(workflow: WorkflowArgument, as_json: JsonFlag = False) -> None:
    """Print every problem of WORKFLOW on a line of its own. The exit code is 1 if there are any."""
    out = Output(as_json=as_json)
    config = load_config()
    try:
        source = _read(workflow, config)
        problems = _problems(source, config)
        name = _as_is(source).id
    except ValidationError as error:  # it cannot even be read as a graph
        problems, name = error.problems or [error.message], workflow
    if as_json:
        out.data({"workflow": name, "valid": not problems, "problems": problems})
    for problem in problems:
        out.line(problem)
    if problems:
        raise typer.Exit(ExitCode.FAILED)
    out.line(f"{name} is valid")


@app.command()
def export(
    workflow: WorkflowArgument,
    to: Annotated[TextForm, typer.Option("--to", help="Form of the text.")] = TextForm.YAML,
    file: Annotated[Path | None, typer.Option("-o", "--output", help="File to write instead of printing.")] = None,
) -> None:
    """Write WORKFLOW as YAML or JSON; what was written reads back as the same graph."""
    source = _read(workflow, load_config())
    text = dump(source.build() if isinstance(source, GraphBuilder) else source, to.value)
    if file is None:
        typer.echo(text, nl=False)
        return
    try:
        file.write_text(text, encoding="utf-8")
    except OSError as error:
        raise WorkflowFileError(f"cannot write {file}: {error.strerror or error}", path=str(file)) from None


def _read(workflow: str, config: Config) -> Source:
    """The graph that `workflow` names; the store is asked only for what is no file, template or Python."""
    return read_source(workflow) or asyncio.run(_read_stored(workflow, config))


async def _read_stored(workflow: str, config: Config) -> GraphModel:
    async with stored_records(config) as records:
        return await read_deployed(workflow, records.store.workflows)


def _as_is(source: Source) -> GraphModel:
    """The graph as data, whether it is valid or not."""
    return source.model() if isinstance(source, GraphBuilder) else source


def _problems(source: Source, config: Config) -> list[str]:
    functions = source.functions if isinstance(source, GraphBuilder) else {}
    graph = _as_is(source)
    found = problems_of(
        graph,
        known_tools=[tool.name for tool in build_tools().list_tools()],
        known_models=config.models,
        known_workflows=_known_workflows(graph, config),
        functions=functions,
    )
    return [" ".join(str(problem).split()) for problem in found]


def _known_workflows(graph: GraphModel, config: Config) -> set[str]:
    """Names of the deployed workflows, if the graph runs one that does not come along."""
    family = list(graph.family())
    own = {name for member in family for name in (member.id, member.ref)}
    if {ref for member in family for ref in member.runs()} <= own:
        return set()
    return asyncio.run(_deployed(config))


async def _deployed(config: Config) -> set[str]:
    async with stored_records(config) as records:
        refs = await records.store.workflows.list()
    return {name for ref in refs for name in (ref, ref.partition("+")[0], ref.partition("@")[0])}
