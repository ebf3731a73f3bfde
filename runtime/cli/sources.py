"""What the argument WORKFLOW may be: a file, a shipped template, a graph in Python, or a deployed workflow."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Annotated

import typer

from actors.ports import WorkflowRepository
from graphs.errors import NotFoundError
from graphs.suggest import did_you_mean
from graphs.workflow.builder import GraphBuilder
from graphs.workflow.graph import GraphModel
from graphs.workflow.registry import template_names
from runtime.deployment import read_graph
from runtime.errors import WorkflowFileError

Source = GraphBuilder | GraphModel

WorkflowArgument = Annotated[
    str,
    typer.Argument(
        metavar="WORKFLOW",
        help="A .yaml or .json file, a shipped template, module:attribute or script.py:attribute of a graph, or the id "
        "of a deployed workflow.",
    ),
]


def read_source(workflow: str) -> Source | None:
    """The graph that `workflow` names, unless it looks like the id of a deployed one.

    Raises:
        WorkflowFileError: A file or module cannot be read, or has no such graph.
        GraphInvalid: What a file says is no graph; all problems are listed.
    """
    if workflow in template_names() or workflow.endswith((".yaml", ".yml", ".json")):
        return read_graph(workflow)
    place, colon, attribute = workflow.rpartition(":")
    if colon:
        return _graph_in(_module(place), attribute, workflow)
    if workflow.endswith(".py"):
        module = _module(workflow)
        raise WorkflowFileError(f"say which graph of {workflow}: {_choices(module, workflow)}", path=workflow)
    return None


async def read_deployed(workflow: str, workflows: WorkflowRepository) -> GraphModel:
    """The deployed workflow that `workflow` names: `id`, `id@version` or `id@version+build`.

    Raises:
        NotFoundError: There is none.
    """
    found = await workflows.get(workflow)
    if found is not None:
        return GraphModel.model_validate_json(found[1])
    raise unknown_workflow(workflow, list(await workflows.list()))


def unknown_workflow(workflow: str, deployed: list[str]) -> NotFoundError:
    """The error for a name that is nothing WORKFLOW can be, `deployed` being the refs there are."""
    names = {*template_names(), *(ref.partition("@")[0] for ref in deployed)}
    hint = did_you_mean(workflow, names) or "; greenroom workflows ls lists the deployed ones"
    return NotFoundError(
        f'no workflow "{workflow}": no template, file or graph has this name, and none is deployed{hint}',
        kind="workflow",
        key=workflow,
    )


def _module(place: str) -> ModuleType:
    if place.endswith(".py") and not Path(place).is_file():
        raise WorkflowFileError(f"cannot read {place}: there is no such file", path=place)
    try:
        return _script(Path(place)) if place.endswith(".py") else _importable(place)
    except Exception as error:  # a user's module may raise anything
        reason = f"{type(error).__name__}: {error}"
        raise WorkflowFileError(f"cannot import {place}: {reason}", path=place) from error


def _script(path: Path) -> ModuleType:
    """The module in a file, imported as `python FILE` would: its directory comes first on the path."""
    directory = str(path.resolve().parent)
    if directory not in sys.path:
        sys.path.insert(0, directory)
    spec = importlib.util.spec_from_file_location(path.stem, path.resolve())
    assert spec is not None
    assert spec.loader is not None, "that is so for .py files"
    module = sys.modules[path.stem] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _importable(name: str) -> ModuleType:
    if "" not in sys.path:
        sys.path.insert(0, "")  # as `python -m` has it: modules in the current directory
    return importlib.import_module(name)


def _graph_in(module: ModuleType, attribute: str, workflow: str) -> Source:
    found = getattr(module, attribute, None)
    if isinstance(found, GraphBuilder | GraphModel):
        return found
    place = workflow.rpartition(":")[0]
    what = "has no" if found is None else "has no graph called"
    raise WorkflowFileError(f'{place} {what} "{attribute}"; {_choices(module, place)}', path=place)


def _choices(module: ModuleType, place: str) -> str:
    names = [name for name, value in vars(module).items() if isinstance(value, GraphBuilder | GraphModel)]
    return f"there is {', '.join(f'{place}:{name}' for name in names)}" if names else "it defines no graph at top level"
