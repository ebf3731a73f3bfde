"""The graph of a queue of threads."""

from __future__ import annotations

import pytest

from graphs.policies import OnFailure
from graphs.workflow.queue import queue_graph


@pytest.mark.parametrize("on_failure", list(OnFailure))
def test_one_workflow_after_the_other(on_failure: OnFailure) -> None:
    graph = queue_graph(["a@1+x", "b@2+y"], on_failure)
    edges = [(edge.source, edge.target, edge.on_error) for edge in graph.edges]
    on_error = [("1-a", "2-b", True), ("2-b", "__end__", True)] if on_failure is OnFailure.CONTINUE else []

    assert [(node.id, node.config.workflow, node.config.delta) for node in graph.nodes] == [
        ("1-a", "a@1+x", "input1"),
        ("2-b", "b@2+y", "input2"),
    ]
    assert sorted(edges) == sorted(
        [("__start__", "1-a", False), ("1-a", "2-b", False), ("2-b", "__end__", False), *on_error]
    )
    assert graph.runs() == ("a@1+x", "b@2+y")
