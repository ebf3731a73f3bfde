"""Validation: all problems of a graph at once, each with its path."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

from graphs.errors import SchemaError
from graphs.state.schema import StateSchema
from graphs.workflow.checks.edges import check_edges
from graphs.workflow.checks.nodes import check_nodes
from graphs.workflow.checks.scope import Known, Scope
from graphs.workflow.checks.shape import check_shape
from graphs.workflow.graph import GraphModel
from graphs.workflow.problems import Problem, invalid
from graphs.workflow.routing import SHIPPED_ROUTES, RouteRegistry

_ID = re.compile(r"[^\s@#:{}/]+")
_VERSION = re.compile(r"\d+(\.\d+)*")

__all__ = ["Problem", "ensure_valid", "validate"]


def validate(
    graph: GraphModel,
    *,
    schema: StateSchema | None = None,
    known_tools: Collection[str] | None = None,
    known_models: Collection[str] | None = None,
    known_workflows: Collection[str] | None = None,
    routes: RouteRegistry = SHIPPED_ROUTES,
    functions: Mapping[str, Callable[..., Any]] | None = None,
) -> list[Problem]:
    """Everything that is wrong with `graph` and the graphs that come along with it; empty if nothing is.

    Args:
        graph: The graph.
        schema: Its state schema; None reads it from `graph.state`.
        known_tools: Names of the tools there are; None skips the check, as it does below.
        known_models: Names of the models there are.
        known_workflows: Ids and refs of the workflows that maps may run besides those that come along.
        routes: The route functions there are.
        functions: Python callables by `module:qualname`. What the graph refers to must be in it or importable.
    """
    known = Known(routes=routes, tools=known_tools, models=known_models, workflows=known_workflows, functions=functions)
    return [*_problems(graph, schema, known, ()), *_namesakes(graph)]


def ensure_valid(graph: GraphModel, **options: Any) -> None:
    """Raise GraphInvalid with all problems of `graph`, if it has any; the options are those of `validate`."""
    problems = validate(graph, **options)
    if problems:
        raise invalid(f'workflow "{graph.id}"', problems)


def _problems(
    graph: GraphModel, schema: StateSchema | None, known: Known, relatives: tuple[GraphModel, ...]
) -> Iterator[Problem]:
    if not _ID.fullmatch(graph.id):
        yield Problem("id", f'"{graph.id}" is empty or has blanks or one of @ # : {{ }} /; choose another')
    if not _VERSION.fullmatch(graph.version):
        yield Problem("version", f'"{graph.version}" is not numbers with dots between, such as 1.0.0')
    if schema is None:
        try:
            schema = StateSchema.from_spec(graph.state, known.functions or {})
        except SchemaError as error:
            for text in error.problems or [error.message]:
                path, _, message = text.partition(": ") if text.startswith("channels") else ("", "", text)
                yield Problem(f"state.{path}".removesuffix("."), message)
    scope = Scope(graph, schema, known, relatives)
    yield from _tool_problems(graph)
    yield from check_nodes(scope)
    yield from check_edges(scope)
    yield from check_shape(scope)
    for index, child in enumerate(graph.workflows):
        for problem in _problems(child, None, known, (*relatives, graph)):
            yield Problem(f"workflows[{index}].{problem.path}", problem.message)


def _tool_problems(graph: GraphModel) -> Iterator[Problem]:
    for index, tool in enumerate(graph.tools):
        path = f"tools[{index}]"
        if any(earlier.name == tool.name for earlier in graph.tools[:index]):
            yield Problem(f"{path}.name", f'another tool is called "{tool.name}"; rename one of them')
        for problem in tool.problems():
            place, _, message = problem.partition(": ")
            yield Problem(f"{path}.{place}", message)


def _namesakes(graph: GraphModel) -> Iterator[Problem]:
    """Different graphs that come along under one ref."""
    seen: dict[str, GraphModel] = {}
    for path, member in _family(graph, ""):
        if seen.setdefault(member.ref, member) != member:
            yield Problem(path, f'another workflow comes along as "{member.ref}"; rename one of them')


def _family(graph: GraphModel, path: str) -> Iterator[tuple[str, GraphModel]]:
    yield path, graph
    for index, child in enumerate(graph.workflows):
        yield from _family(child, f"{path}.workflows[{index}]".removeprefix("."))
