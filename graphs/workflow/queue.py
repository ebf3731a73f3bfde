"""Queues of threads that follow each other: a graph that runs one workflow after the other."""

from __future__ import annotations

from collections.abc import Sequence

from graphs.journal import END, START
from graphs.policies import OnFailure
from graphs.workflow.edge import Edge
from graphs.workflow.graph import GraphModel
from graphs.workflow.node import Node, SubworkflowConfig

QUEUE = "greenroom/queue"
"""Id of all such graphs. No other one can have it."""


def queue_graph(workflows: Sequence[str], on_failure: OnFailure) -> GraphModel:
    """The graph of a queue. Its nodes are in the order of `workflows`, which are references of builds."""
    nodes = tuple(
        Node(
            id=f"{number}-{ref.partition('@')[0]}",
            config=SubworkflowConfig(workflow=ref, delta=input_channel(number), output={}),
        )
        for number, ref in enumerate(workflows, start=1)
    )
    edges = [Edge(id="first", source=START, target=nodes[0].id)]
    for node, after in zip(nodes, [*(each.id for each in nodes[1:]), END], strict=True):
        edges.append(Edge(id=f"{node.id} done", source=node.id, target=after))
        if on_failure is OnFailure.CONTINUE:
            edges.append(Edge(id=f"{node.id} failed", source=node.id, target=after, on_error=True))
    return GraphModel(
        id=QUEUE,
        name="queue",
        description=f"{len(nodes)} threads that follow each other; on failure: {on_failure}",
        nodes=nodes,
        edges=tuple(edges),
        state={"channels": {input_channel(number): {"type": "binary"} for number in range(1, len(nodes) + 1)}},
        max_steps=len(nodes) + 1,
    )


def input_channel(number: int) -> str:
    """The channel that holds the input of item `number`, from 1 on, as an encoded delta of its workflow."""
    return f"input{number}"
