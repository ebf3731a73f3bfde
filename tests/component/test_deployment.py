"""What is stored when a graph is deployed that runs other graphs: every one of them by exactly its build."""

from __future__ import annotations

import re
from typing import Any

import pytest
from pydantic import BaseModel

from actors.ports import WorkflowRepository
from graphs.errors import GraphInvalid
from graphs.workflow.builder import GraphBuilder as Graph
from graphs.workflow.plan import Plan
from runtime import END, START
from runtime.deployment import Deployment, prepare
from tests.component.actors_kit import runtime


class Text(BaseModel):
    text: str = ""
    texts: list[str] = []


class Approval(BaseModel):
    text: str


def upper(state: Text) -> dict[str, Any]:
    return {"text": state.text.upper()}


def lower(state: Text) -> dict[str, Any]:
    return {"text": state.text.lower()}


def inner(function: Any = upper) -> Graph:
    g = Graph("inner", state=Text)
    g.node(function, name="work")
    g.edge(START, "work")
    g.edge("work", END)
    return g


def outer(workflow: Graph | str) -> Graph:
    """Runs another graph once, and for each text, and then asks."""
    g = Graph("outer", state=Text)
    g.subworkflow("once", workflow=workflow, output={"text": "text"})
    g.map("each", over="texts", workflow=workflow, item="text", result="text", into="texts")
    g.human("ask", question="{text}?", answer=Approval)
    for source, target in ((START, "once"), ("once", "each"), ("each", "ask"), ("ask", END)):
        g.edge(source, target)
    return g


async def ready(graph: Graph, workflows: WorkflowRepository) -> Deployment:
    return await prepare(graph, workflows, tools=(), models=())


def runs(deployment: Deployment) -> tuple[str, ...]:
    return deployment.models[deployment.ref].runs()


async def test_graphs_that_come_along_are_pinned_and_their_functions_too() -> None:
    async with runtime() as rt:
        deployment = await ready(outer(inner()), rt.records.store.workflows)

        (child, parent) = deployment.models
        assert re.fullmatch(r"inner@1\.0\.0\+[0-9a-f]{8}", child)
        assert re.fullmatch(r"outer@1\.0\.0\+[0-9a-f]{8}", parent)
        assert runs(deployment) == (child,)
        assert deployment.kinds == ("function",)
        assert deployment.functions[f"{__name__}:Approval"] is Approval
        assert (await ready(outer(inner(lower)), rt.records.store.workflows)).ref != parent


async def test_a_registered_graph_is_pinned_to_its_last_build() -> None:
    async with runtime() as rt:
        workflows = rt.records.store.workflows
        [first] = await rt.deploy(inner())
        old = await ready(outer("inner"), workflows)
        [second] = await rt.deploy(inner(lower))
        new = await ready(outer("inner@1.0.0"), workflows)

        assert first != second
        assert (runs(old), runs(new)) == ((first,), (second,))
        with pytest.raises(GraphInvalid, match=r'nodes\[0\]\.config\.workflow: no workflow "iner"; did you mean'):
            await ready(outer("iner"), workflows)


async def test_a_graph_that_runs_itself_means_the_build_it_is() -> None:
    g = inner()
    g.subworkflow("again", workflow=g)
    g.edge("work", "again")
    g.edge("again", END)

    async with runtime() as rt:
        [ref] = await rt.deploy(g)
        deployment = await ready(g, rt.records.store.workflows)

        assert deployment.ref == ref
        plan = Plan(deployment.models[ref], g.schema, deployment.functions, pinned=ref)
        assert plan.workflow_of("again") == ref
