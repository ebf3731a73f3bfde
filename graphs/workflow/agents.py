"""Agents: a model and tools in a loop, made of nodes there are anyway.

An agent `NAME` is an llm node of this name, a map `NAME_calls` over the tool calls of the last message, and the node
`NAME_call` that the map runs for each. A route leads from the model to the map while there are calls, and the map back
to the model. What the workflow says follows the agent, follows the model's last answer: directly, if that is one node,
or behind the node `NAME_end`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from graphs.workflow.edge import Edge, EdgeType, Route, edge_name
from graphs.workflow.node import ForkConfig, LlmConfig, Node


def calls_of(agent: str) -> str:
    """The map over the tool calls."""
    return f"{agent}_calls"


def call_of(agent: str) -> str:
    """The node that runs one tool call."""
    return f"{agent}_call"


def end_of(agent: str) -> str:
    """The node from which several edges lead on."""
    return f"{agent}_end"


def closed(nodes: Sequence[Node], edges: Sequence[Edge], agents: Iterable[str]) -> tuple[list[Node], list[Edge]]:
    """`nodes` and `edges` with the loops of these agents closed."""
    nodes, edges = list(nodes), list(edges)
    for agent in agents:
        own = [edge for edge in edges if edge.source == agent and not edge.on_error]
        if not own:
            continue  # that nothing follows it is for validation to say
        if len(own) == 1 and own[0].edge_type is EdgeType.SIMPLE and own[0].target is not None:
            end = own[0].target
            edges.remove(own[0])
        else:
            end = end_of(agent)
            nodes.append(Node(id=end, config=ForkConfig(choice=True)))
            edges = _moved(edges, own, end)
        edges += _loop(_model(nodes, agent), end, edges)
    return nodes, edges


def _moved(edges: Sequence[Edge], some: Sequence[Edge], source: str) -> list[Edge]:
    """`edges`, of which `some` leave `source` now."""
    moved: list[Edge] = []
    for edge in edges:
        if edge in some:
            leads_to = edge.route.function if edge.route is not None else str(edge.target)
            name = edge_name(source, leads_to, {each.id for each in moved})
            moved.append(edge.model_copy(update={"source": source, "id": name}))
        else:
            moved.append(edge)
    return moved


def _model(nodes: Sequence[Node], agent: str) -> Node:
    return next(node for node in nodes if node.id == agent)


def _loop(model: Node, end: str, edges: Sequence[Edge]) -> list[Edge]:
    assert isinstance(model.config, LlmConfig)
    agent, calls, taken = model.id, calls_of(model.id), {edge.id for edge in edges}
    route = Route(
        function="has_tool_calls",
        parameters={"channel": model.config.messages},
        path_map={"tools": calls, "none": end},
    )
    caught = [str(edge.target) for edge in edges if edge.source == agent and edge.on_error]
    return [
        Edge(
            id=edge_name(agent, route.function, taken),
            source=agent,
            edge_type=EdgeType.FLEXIBLE_CONDITIONAL,
            route=route,
        ),
        Edge(id=edge_name(calls, agent, taken), source=calls, target=agent),
        *(Edge(id=edge_name(calls, target, taken), source=calls, target=target, on_error=True) for target in caught),
    ]
