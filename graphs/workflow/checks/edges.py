"""Checks of single edges, and of the edges that leave one node."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from typing import Any

from graphs.errors import NotFoundError
from graphs.functions import is_reference
from graphs.journal import END, START
from graphs.workflow.checks.scope import Scope
from graphs.workflow.conditions import expression_problems
from graphs.workflow.edge import Condition, Edge, EdgeType, Route
from graphs.workflow.node import HumanConfig, Node, WaitConfig
from graphs.workflow.problems import Problem, unknown
from graphs.workflow.route_function import RouteFunction


def check_edges(scope: Scope) -> Iterator[Problem]:
    """All problems of the edges."""
    seen: dict[str, int] = {}
    for index, edge in enumerate(scope.graph.edges):
        path = f"edges[{index}]"
        if edge.id in seen:
            yield Problem(f"{path}.id", f'edges[{seen[edge.id]}] has the id "{edge.id}" too; choose another')
        seen.setdefault(edge.id, index)
        yield from _check_ends(scope, path, edge)
        yield from _check_form(path, edge)
        if edge.condition is not None:
            yield from _check_condition(scope, f"{path}.condition", edge.condition)
        if edge.route is not None:
            yield from _check_route(scope, f"{path}.route", edge.route)
    numbered = sorted(enumerate(scope.graph.edges), key=lambda pair: pair[1].source)
    for _, group in groupby(numbered, key=lambda pair: pair[1].source):
        siblings = list(group)
        yield from _check_siblings([pair for pair in siblings if not pair[1].on_error])
        yield from _check_error_edges(scope, [pair for pair in siblings if pair[1].on_error])


def _check_ends(scope: Scope, path: str, edge: Edge) -> Iterator[Problem]:
    yield from scope.node(f"{path}.source", edge.source)
    if edge.source == END:
        yield Problem(f"{path}.source", "nothing follows END")
    targets = {f"{path}.target": edge.target} if edge.target is not None else {}
    if edge.route is not None:
        targets |= {f"{path}.route.path_map.{answer}": target for answer, target in edge.route.path_map.items()}
    for target_path, target in targets.items():
        yield from scope.node(target_path, target)
        if target == START:
            yield Problem(target_path, "no edge leads to START")


def _check_form(path: str, edge: Edge) -> Iterator[Problem]:
    """Whether the parts of the edge are those of its type."""
    is_route = edge.edge_type is EdgeType.FLEXIBLE_CONDITIONAL
    if is_route and (edge.route is None or edge.target is not None or edge.condition is not None or edge.default):
        yield Problem(path, "a flexible conditional edge has a route, and neither target, condition nor default")
    if not is_route and (edge.target is None or edge.route is not None):
        yield Problem(path, f"a {edge.edge_type} edge has a target and no route")
    if edge.on_error and edge.edge_type is not EdgeType.SIMPLE:
        yield Problem(
            f"{path}.on_error", "an edge for errors leads to one target, and has neither condition nor default"
        )
    if edge.edge_type is EdgeType.SIMPLE and (edge.condition is not None or edge.default):
        yield Problem(path, "a simple edge has neither condition nor default; make it conditional")
    if edge.edge_type is EdgeType.CONDITIONAL and (edge.condition is None) != edge.default:
        yield Problem(path, "a conditional edge has either a condition or default=True")


def _check_condition(scope: Scope, path: str, condition: Condition) -> Iterator[Problem]:
    match condition:
        case Condition(cel=str() as source, function=None):
            channels = None if scope.schema is None else scope.schema.channels
            for problem in expression_problems(source, channels):
                yield Problem(f"{path}.cel", problem)
        case Condition(cel=None, function=str() as ref):
            yield from scope.function(f"{path}.function", ref)
        case _:
            yield Problem(path, "is either a CEL expression or a Python predicate")


def _check_route(scope: Scope, path: str, route: Route) -> Iterator[Problem]:
    if not route.path_map:
        yield Problem(f"{path}.path_map", "is empty; say where each answer leads")
    if is_reference(route.function):
        yield from scope.function(f"{path}.function", route.function)
        return
    try:
        function = scope.known.routes.get(route.function)
    except NotFoundError as error:
        yield Problem(f"{path}.function", error.message)
        return
    for problem in function.check(route.parameters):
        yield Problem(f"{path}.parameters.{problem.path}".removesuffix("."), problem.message)
    yield from _check_answers(path, route, function)
    for name in function.channels:
        value: Any = route.parameters.get(name)
        if isinstance(value, str):
            yield from scope.channel(f"{path}.parameters.{name}", value)


def _check_answers(path: str, route: Route, function: RouteFunction) -> Iterator[Problem]:
    if function.answers is None:
        return
    for answer in route.path_map:
        if answer not in function.answers:
            message = unknown("answer", answer, function.answers)
            yield Problem(f"{path}.path_map.{answer}", f"{function.name} gives {message}")
    missing = [answer for answer in function.answers if answer not in route.path_map]
    if missing:
        names = ", ".join(f'"{answer}"' for answer in missing)
        yield Problem(f"{path}.path_map", f"does not say where {function.name} leads when it answers {names}")


def _check_siblings(edges: list[tuple[int, Edge]]) -> Iterator[Problem]:
    """Problems of the edges that leave one node, those for errors excepted."""
    if not edges:
        return
    source = edges[0][1].source
    after = "START" if source == START else f'"{source}"'
    defaults = [index for index, edge in edges if edge.default]
    conditional = [index for index, edge in edges if edge.condition is not None]
    for index in defaults[1:]:
        yield Problem(f"edges[{index}].default", f"edges[{defaults[0]}] is the default after {after} already")
    if defaults and not conditional:
        yield Problem(f"edges[{defaults[0]}].default", f"no edge after {after} has a condition; drop default")
    if len(conditional) == len(edges) and not defaults:
        yield Problem(
            f"edges[{conditional[-1]}]",
            f"after {after} all edges have conditions; add one with default=True for when none holds",
        )
    plain: dict[str, int] = {}
    for index, edge in edges:
        if edge.edge_type is EdgeType.SIMPLE and edge.target is not None:
            if edge.target in plain:
                yield Problem(f"edges[{index}]", f"is the same as edges[{plain[edge.target]}]; remove one")
            plain.setdefault(edge.target, index)


def _check_error_edges(scope: Scope, edges: list[tuple[int, Edge]]) -> Iterator[Problem]:
    """Problems of the edges for the failure of one node."""
    for index, edge in edges[:1]:
        node = scope.nodes.get(edge.source)
        if edge.source == START:
            yield Problem(f"edges[{index}].on_error", "START cannot fail; let the edge leave a node")
        elif node is not None and not _can_fail(node):
            yield Problem(f"edges[{index}].on_error", f'"{node.id}" cannot fail; remove the edge')
    for index, edge in edges[1:]:
        yield Problem(f"edges[{index}].on_error", f'edges[{edges[0][0]}] is for errors of "{edge.source}" already')


def _can_fail(node: Node) -> bool:
    """Whether anything can go wrong at `node`: a question or a time that does not depend on the state cannot."""
    match node.config:
        case WaitConfig(seconds=seconds):
            return isinstance(seconds, str)
        case HumanConfig(question=question):
            return "{" in question
        case _:
            return True
