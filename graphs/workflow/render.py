"""Graphs drawn as Mermaid flowcharts."""

from __future__ import annotations

from collections.abc import Iterator

from graphs.journal import END, START
from graphs.workflow.edge import Edge
from graphs.workflow.graph import GraphModel
from graphs.workflow.node import MapConfig, NodeConfig, NodeType, SubworkflowConfig

_SHAPES: dict[NodeType, tuple[str, str]] = {
    NodeType.FUNCTION: ("[", "]"),
    NodeType.LLM: ("([", "])"),
    NodeType.TOOL: ("[[", "]]"),
    NodeType.CALL: ("[[", "]]"),
    NodeType.FORK: ("{{", "}}"),
    NodeType.MAP: ("[/", "/]"),
    NodeType.SUBWORKFLOW: ("[/", "\\]"),
    NodeType.HUMAN: ("[\\", "/]"),
    NodeType.WAIT: (">", "]"),
}
_ESCAPES = str.maketrans(
    {"#": "#35;", '"': "#quot;", "<": "#lt;", ">": "#gt;", "&": "#amp;", "`": "#96;", "\\": "#92;"}
)
_INDENT = "    "


def mermaid(graph: GraphModel) -> str:
    """The flowchart of `graph`: a shape for each kind of node, conditions and answers on the edges.

    Boxes are functions, rounded ones models, double-walled ones tools, hexagons forks, slanted boxes maps, boxes on a
    wide foot subworkflows, those with a wide top people, and flags timers. A dotted line leads from a map or
    subworkflow to what it runs, and from a node to where its failure leads. Graphs that come along are drawn beside it.
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
        line = "-.->" if edge.on_error else "-->"
        for label, target in _ways(edge):
            arrow = f'{line}|"{_escaped(label)}"|' if label else line
            if edge.source in names and target in names:
                yield f"{_INDENT}{names[edge.source]} {arrow} {names[target]}"
    for node in graph.nodes:
        for label, target in _runs(node.config, names, children):
            yield f'{_INDENT}{names[node.id]} -.->|"{_escaped(label)}"| {target}'
    for box, child in children.values():
        yield f'{_INDENT}subgraph {box}["{_escaped(child.ref)}"]'
        yield from (_INDENT + line for line in _drawn(child, f"{box}_"))
        yield f"{_INDENT}end"


def _ways(edge: Edge) -> list[tuple[str, str]]:
    """(label, target) for each arrow of an edge."""
    if edge.route is not None:
        return [(f"{edge.route.function}: {answer}", target) for answer, target in edge.route.path_map.items()]
    label = "default" if edge.default else "on error" if edge.on_error else ""
    if edge.condition is not None:
        label = edge.condition.cel or edge.condition.function or ""
    return [(label, edge.target)] if edge.target is not None else []


def _runs(
    config: NodeConfig, names: dict[str, str], children: dict[str, tuple[str, GraphModel]]
) -> Iterator[tuple[str, str]]:
    """(label, what a map or subworkflow runs), as far as it is drawn."""
    if not isinstance(config, MapConfig | SubworkflowConfig):
        return
    label = f"each of {config.over}" if isinstance(config, MapConfig) else "runs"
    if isinstance(config, MapConfig) and config.node is not None and config.node in names:
        yield label, names[config.node]
    for box, child in children.values():
        if config.workflow in (child.id, child.ref):
            yield label, box


def _escaped(text: str) -> str:
    """`text` on one line, without anything that Mermaid or HTML would read as its own."""
    return " ".join(text.split()).translate(_ESCAPES)
