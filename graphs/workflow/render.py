"""Graphs drawn as Mermaid flowcharts."""

from __future__ import annotations

from collections.abc import Iterator

from graphs.journal import END, START
from graphs.workflow.edge import Edge
from graphs.workflow.graph import GraphModel
from graphs.workflow.node import MapConfig, NodeType

_SHAPES: dict[NodeType, tuple[str, str]] = {
    NodeType.FUNCTION: ("[", "]"),
    NodeType.LLM: ("([", "])"),
    NodeType.TOOL: ("[[", "]]"),
    NodeType.FORK: ("{{", "}}"),
    NodeType.MAP: ("[/", "/]"),
    NodeType.SUBWORKFLOW: ("[/", "/]"),
    NodeType.HUMAN: ("[\\", "/]"),
    NodeType.WAIT: ("((", "))"),
}
_ESCAPES = str.maketrans(
    {"#": "#35;", '"': "#quot;", "<": "#lt;", ">": "#gt;", "&": "#amp;", "`": "#96;", "\\": "#92;"}
)
_INDENT = "    "


def mermaid(graph: GraphModel) -> str:
    """The flowchart of `graph`: a shape for each kind of node, conditions and answers on the edges.

    Boxes are functions, rounded ones models, double-walled ones tools, hexagons forks and slanted boxes maps. A dotted
    line leads from a map to what it runs. Graphs that come along are drawn beside it.
    """
    lines = ["flowchart TD", *_drawn(graph, "")]
    return "\n".join(lines) + "\n"


def _drawn(graph: GraphModel, prefix: str) -> Iterator[str]:
    names = {START: f"{prefix}start", END: f"{prefix}end_"}
    names |= {node.id: f"{prefix}n{index}" for index, node in enumerate(graph.nodes)}
    children = {child.ref: (f"{prefix}w{index}", child) for index, child in enumerate(graph.workflows)}
    yield f'{_INDENT}{names[START]}(("START"))'
    for node in graph.nodes:
        opened, closed = _SHAPES[node.node_type]
        yield f'{_INDENT}{names[node.id]}{opened}"{_escaped(node.id)}"{closed}'
    yield f'{_INDENT}{names[END]}((("END")))'
    for edge in graph.edges:
        for label, target in _ways(edge):
            arrow = f'-->|"{_escaped(label)}"|' if label else "-->"
            if edge.source in names and target in names:
                yield f"{_INDENT}{names[edge.source]} {arrow} {names[target]}"
    for node in graph.nodes:
        if isinstance(node.config, MapConfig):
            yield from _map_link(node.config, names[node.id], names, children)
    for box, child in children.values():
        yield f'{_INDENT}subgraph {box}["{_escaped(child.ref)}"]'
        yield from (_INDENT + line for line in _drawn(child, f"{box}_"))
        yield f"{_INDENT}end"


def _ways(edge: Edge) -> list[tuple[str, str]]:
    """(label, target) for each arrow of an edge."""
    if edge.route is not None:
        return [(f"{edge.route.function}: {answer}", target) for answer, target in edge.route.path_map.items()]
    label = "default" if edge.default else ""
    if edge.condition is not None:
        label = edge.condition.cel or edge.condition.function or ""
    return [(label, edge.target)] if edge.target is not None else []


def _map_link(
    config: MapConfig, source: str, names: dict[str, str], children: dict[str, tuple[str, GraphModel]]
) -> Iterator[str]:
    arrow = f'-.->|"{_escaped(f"each of {config.over}")}"|'
    if config.node is not None and config.node in names:
        yield f"{_INDENT}{source} {arrow} {names[config.node]}"
    for box, child in children.values():
        if config.workflow in (child.id, child.ref):
            yield f"{_INDENT}{source} {arrow} {box}"


def _escaped(text: str) -> str:
    """`text` on one line, without anything that Mermaid or HTML would read as its own."""
    return " ".join(text.split()).translate(_ESCAPES)
