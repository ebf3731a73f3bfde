"""Checks of the graph as a whole: what can be reached, what comes to an end, and what runs at the same time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import combinations

from graphs.journal import END, START
from graphs.workflow.checks.scope import Scope
from graphs.workflow.edge import Edge, EdgeType
from graphs.workflow.node import ForkConfig
from graphs.workflow.problems import Problem
from graphs.workflow.topology import fork_joins, reachable, successors

Shape = Mapping[str, tuple[str, ...]]
"""Node id -> nodes it may lead to."""


def check_shape(scope: Scope) -> Iterator[Problem]:
    """All problems of the graph's shape."""
    shape = successors(scope.nodes, scope.graph.edges)
    usual = [edge for edge in scope.graph.edges if not edge.on_error]
    if not shape[START]:
        yield Problem("edges", "none leads from START to a node; add one")
    else:
        yield from _check_reach(scope, shape)
    yield from _check_ways_out(scope, usual)
    yield from _check_parallel_writes(scope, shape)


def _check_reach(scope: Scope, shape: Shape) -> Iterator[Problem]:
    reached = reachable(shape, START)
    for index, node in enumerate(scope.graph.nodes):
        is_body = node.id in scope.bodies and not shape[node.id]
        if node.id not in reached and not is_body:
            yield Problem(f"nodes[{index}]", f'no path leads from START to "{node.id}"; add an edge, or remove it')


def _check_ways_out(scope: Scope, edges: list[Edge]) -> Iterator[Problem]:
    """Nodes from which a turn does not come to its end unless one of them fails."""
    shape = successors(scope.nodes, edges)
    sources = {edge.source for edge in edges}
    dead_ends = {node for node in scope.nodes if node not in sources and node not in scope.bodies}
    for index, node in enumerate(scope.graph.nodes):
        if node.id in dead_ends:
            yield Problem(f"nodes[{index}]", f'nothing follows "{node.id}"; add an edge to the next node or to END')
    # An edge to an unknown node is reported as such: its source counts as having a way out.
    broken = {edge.source for edge in edges for target in edge.targets if target not in {*scope.nodes, END}}
    ends = {END, *dead_ends, *broken}
    free = _leading_to(ends, shape)
    trapped = [node.id for node in scope.graph.nodes if node.id in sources and node.id not in free]
    if trapped:
        first = next(index for index, node in enumerate(scope.graph.nodes) if node.id == trapped[0])
        names = ", ".join(f'"{name}"' for name in dict.fromkeys(trapped))
        yield Problem(f"nodes[{first}]", f"no path leads to END from {names}; add an edge out of the loop")


def _leading_to(ends: set[str], shape: Shape) -> set[str]:
    """`ends`, and every node from which one of them can be reached."""
    predecessors: dict[str, list[str]] = {}
    for source, targets in shape.items():
        for target in targets:
            predecessors.setdefault(target, []).append(source)
    found: set[str] = set()
    todo = list(ends)
    while todo:
        node = todo.pop()
        if node not in found:
            found.add(node)
            todo.extend(predecessors.get(node, ()))
    return found


def _check_parallel_writes(scope: Scope, shape: Shape) -> Iterator[Problem]:
    """Channels without a reducer that two branches of one fork write."""
    if scope.schema is None:
        return
    single = {name for name, channel in scope.schema.channels.items() if channel.reducer.name == "last_value"}
    joins = fork_joins(scope.nodes, scope.graph.edges)
    for source, targets in shape.items():
        writes = {target: _writes(scope, shape, target, joins[source]) & single for target in targets}
        reported: set[str] = set()
        for index, first, second in _parallel(scope, source):
            both = writes.get(first, frozenset()) & writes.get(second, frozenset())
            for channel in sorted(both - reported):
                reported.add(channel)
                yield Problem(
                    f"edges[{index}]",
                    f'branches "{first}" and "{second}" run at the same time and both write "{channel}", '
                    "which keeps one value; give it a reducer, or let them write different channels",
                )


def _writes(scope: Scope, shape: Shape, target: str, join: str) -> frozenset[str]:
    """Channels that the branch beginning at `target` writes before `join`."""
    region = reachable(shape, target, stop=join)
    return frozenset().union(*(scope.written(scope.nodes[node]) for node in region if node in scope.nodes))


def _parallel(scope: Scope, source: str) -> Iterator[tuple[int, str, str]]:
    """Pairs of targets that start at the same time after `source`, each with the index of the second one's edge.

    Several conditions of one node are usually meant to exclude each other, and several answers of a route function are
    the exception: they count only where a fork node says that branches are meant.
    """
    config = scope.nodes[source].config if source in scope.nodes else None
    is_fork = isinstance(config, ForkConfig) and not config.choice
    edges = [(i, edge) for i, edge in enumerate(scope.graph.edges) if edge.source == source and not edge.on_error]
    for index, edge in edges:
        if is_fork and edge.route is not None:
            yield from ((index, first, second) for first, second in combinations(edge.targets, 2))
    for (_, left), (index, right) in combinations(edges, 2):
        if is_fork or _always(left) or _always(right):
            if _exclude(left, right):
                continue
            yield from ((index, first, second) for first in left.targets for second in right.targets if first != second)


def _always(edge: Edge) -> bool:
    return edge.edge_type is not EdgeType.CONDITIONAL


def _exclude(left: Edge, right: Edge) -> bool:
    """Whether one is the default for when the other is not taken."""
    return left.default != right.default and not (_always(left) or _always(right))
