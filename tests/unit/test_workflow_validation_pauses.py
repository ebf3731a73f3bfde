"""Validation of human, wait and subworkflow nodes, of edges for errors and of nodes that run at most once."""

from __future__ import annotations

from typing import Any

import pytest

from graphs.workflow.spec import from_document
from graphs.workflow.validation import validate

STATE = {
    "text": "string",
    "ok": {"type": "bool", "default": False},
    "n": {"type": "int64", "default": 0},
    "notes": {"type": {"list": "string"}, "reducer": "append", "default": []},
    "case": {"struct": {"ok": "bool", "why": {"type": "string", "default": ""}}},
    "rows": "table",
}
CHILD = {
    "id": "child",
    "state": {"text": "string", "n": "string", "found": {"list": "string"}},
    "nodes": [{"id": "a", "type": "function", "function": "m:f"}],
    "edges": [{"from": "START", "to": "a"}, {"from": "a", "to": "END"}],
}


def problems(nodes: list[Any], edges: list[Any], **known: Any) -> list[str]:
    full = [{"id": node, "type": "function", "function": "m:f"} if isinstance(node, str) else node for node in nodes]
    ways = [{"from": edge[0], "to": edge[1]} if isinstance(edge, tuple) else edge for edge in edges]
    document = {"id": "g", "state": STATE, "nodes": full, "edges": ways, "workflows": [CHILD]}
    return [str(problem) for problem in validate(from_document(document), **known)]


def alone(node: dict[str, Any], **known: Any) -> list[str]:
    """Problems of a graph of this node."""
    return problems([{"id": "a", **node}], [("START", "a"), ("a", "END")], **known)


def human(**options: Any) -> dict[str, Any]:
    return {"type": "human", "question": "Well, {text}?", **options}


def sub(**options: Any) -> dict[str, Any]:
    return {"type": "subworkflow", "workflow": "child", "input": {}, "output": {}, **options}


def fail(source: str, target: str, **more: Any) -> dict[str, Any]:
    """An edge for errors."""
    return {"from": source, "to": target, "on_error": True, **more}


@pytest.mark.parametrize(
    "node",
    [
        human(),
        human(into="text"),
        human(answer="bool", into="ok"),
        human(answer="string", into="notes"),
        human(answer={"list": "string"}, into="notes"),
        human(answer={"enum": ["a", "b"]}, into="text"),
        human(answer={"struct": {"ok": "bool", "text": "string"}}),
        human(answer={"struct": {"ok": "bool", "why": "string"}}, into="case"),
        human(answer={"struct": {"ok": "bool"}}, into="case"),
        human(answer="json", into="n"),
        human(answer="json"),
        human(answer={"map": "json"}),
        {"type": "wait", "seconds": 0},
        {"type": "wait", "seconds": "n"},
        sub(),
        sub(input={"text": "text"}, output={"notes": "found", "text": "n"}),
        {"type": "function", "function": "m:f", "at_most_once": True},
    ],
)
def test_what_is_valid(node: dict[str, Any]):
    assert alone(node) == []


@pytest.mark.parametrize(
    ("node", "expected"),
    [
        (human(question="{txt} {"), ["nodes[0].config.question: template '{txt} {': Single '{' encountered"]),
        (human(question="{txt}?"), ['nodes[0].config.question: no channel "txt"; did you mean "text"?']),
        (
            human(reads=["n"]),
            ['nodes[0].config.question: "text" is not among the channels it gets; add it to reads'],
        ),
        (human(into="txt"), ['nodes[0].config.into: no channel "txt"; did you mean "text"?']),
        (
            human(into="ok", writes=["n"]),
            ['nodes[0].config.into: "ok" is not among the channels it may write; add it to writes'],
        ),
        (human(into="rows"), ['nodes[0].config.into: channel "rows" holds a table, which nobody can type in']),
        (human(answer="bol", into="ok"), ['nodes[0].config.answer: no type "bol"; did you mean "bool"?']),
        (
            human(answer={"list": {"struct": {"x": "strng"}}}, into="notes"),
            ['nodes[0].config.answer.list.struct.x: no type "strng"; did you mean "string"?'],
        ),
        (
            human(answer="string", into="ok"),
            ['nodes[0].config.answer: does not fit channel "ok", whose type is bool'],
        ),
        (
            human(answer={"nullable": "bool"}, into="ok"),
            ['nodes[0].config.answer: does not fit channel "ok", whose type is bool'],
        ),
        (
            human(answer={"struct": {"why": "string"}}, into="case"),
            ['nodes[0].config.answer: does not fit channel "case"'],
        ),
        (
            human(answer="bool"),
            ["nodes[0].config.into: is missing: this answer has no fields to write to channels of their names"],
        ),
        (
            human(answer={"struct": {"ok": "string", "tex": "string", "n": "int64"}}, writes=["ok", "tex"]),
            [
                "nodes[0].writes[1]: no channel",
                'nodes[0].config.answer.ok: does not fit channel "ok", whose type is bool',
                'nodes[0].config.answer.tex: no channel "tex"; did you mean "text"?',
                'nodes[0].config.answer.n: "n" is not among the channels it may write; add it to writes',
            ],
        ),
        ({"type": "wait", "seconds": "m"}, ['nodes[0].config.seconds: no channel "m"']),
        ({"type": "wait", "seconds": "text"}, ['nodes[0].config.seconds: channel "text" does not hold a number']),
        (
            sub(input={"txt": "text", "text": "tex"}, output={"note": "found", "notes": "fond"}),
            [
                'nodes[0].config.input.txt: workflow "child": no channel "txt"; did you mean "text"?',
                'nodes[0].config.input.text: no channel "tex"; did you mean "text"?',
                'nodes[0].config.output.note: no channel "note"; did you mean "notes"?',
                'nodes[0].config.output.notes: workflow "child": no channel "fond"; did you mean "found"?',
            ],
        ),
        (
            sub(input=None, output=None),
            [
                'nodes[0].config.input: channel "n" and channel "n" of workflow "child" have types that do not fit',
                'nodes[0].config.output: channel "n" and channel "n" of workflow "child" have types that do not fit',
            ],
        ),
        (
            sub(input={"n": "n"}, output={"ok": "n"}),
            [
                'nodes[0].config.input.n: channel "n" and channel "n" of workflow "child" have types that do not fit',
                'nodes[0].config.output.ok: channel "ok" and channel "n" of workflow "child" have types that do not',
            ],
        ),
        (
            human(retry=2, timeout_s=5, at_most_once=True),
            [
                "nodes[0].retry: is for function, llm, tool and call nodes; a human node has none",
                "nodes[0].timeout_s: is for function, llm, tool and call nodes; a human node has none",
                "nodes[0].at_most_once: is for function, llm, tool and call nodes; a human node has none",
            ],
        ),
        (
            {"type": "function", "function": "m:f", "at_most_once": True, "retry": 2},
            ["nodes[0].retry: a node that runs at most once is not run again; drop retry or at_most_once"],
        ),
    ],
)
def test_problems_of_nodes(node: dict[str, Any], expected: list[str]):
    found = alone(node)

    assert [problem[: len(text)] for problem, text in zip(found, expected, strict=True)] == expected


def test_an_answer_type_must_be_at_hand():
    assert alone(human(answer_type="m:Approval", into="text"), functions={"m:f": print}) == [
        "nodes[0].config.answer_type: cannot import \"m:Approval\": No module named 'm'; install its module or correct "
        "the name"
    ]
    assert alone(human(answer_type="m:Approval", into="text"), functions={"m:f": print, "m:Approval": dict}) == []


def test_an_unknown_subworkflow():
    assert alone(sub(workflow="chid"), known_workflows=["child", "other"]) == [
        'nodes[0].config.workflow: no workflow "chid"; did you mean "child"?'
    ]
    assert alone(sub(workflow="other", input={"x": "text"}), known_workflows=["other"]) == []


def test_a_workflow_may_run_itself():
    assert alone(sub(workflow="g", input={"text": "text"}, output={"notes": "notes"}), known_workflows=[]) == []


def test_edges_for_errors():
    nodes = ["a", "b", "c", "mend"]
    edges = [("START", "a"), ("a", "b"), ("b", "c"), ("c", "END"), fail("a", "mend"), fail("b", "END"), ("mend", "b")]

    assert problems(nodes, edges) == []


@pytest.mark.parametrize(
    ("nodes", "edges", "expected"),
    [
        (
            ["a", "b"],
            [("START", "a"), fail("START", "b"), ("a", "END"), ("b", "END")],
            ["edges[1].on_error: START cannot fail; let the edge leave a node"],
        ),
        (
            [{"id": "a", "type": "wait", "seconds": 1}],
            [("START", "a"), ("a", "END"), fail("a", "END")],
            ['edges[2].on_error: "a" cannot fail; remove the edge'],
        ),
        (
            [{"id": "a", **human(question="Well?")}],
            [("START", "a"), ("a", "END"), fail("a", "END")],
            ['edges[2].on_error: "a" cannot fail; remove the edge'],
        ),
        (
            ["a", "b", "c"],
            [("START", "a"), ("a", "END"), fail("a", "b"), fail("a", "c"), ("b", "END"), ("c", "END")],
            ['edges[3].on_error: edges[2] is for errors of "a" already'],
        ),
        (
            ["a", "b"],
            [("START", "a"), ("a", "END"), fail("a", "b", when="state.ok"), ("b", "END")],
            ["edges[2].on_error: an edge for errors leads to one target, and has neither condition nor default"],
        ),
        (
            ["a", "b"],
            [("START", "a"), fail("a", "b"), ("b", "END")],
            ['nodes[0]: nothing follows "a"; add an edge to the next node or to END'],
        ),
        (
            ["a", "b"],
            [("START", "a"), ("a", "b"), ("b", "a"), fail("b", "END")],
            ['nodes[0]: no path leads to END from "a", "b"; add an edge out of the loop'],
        ),
        (
            ["a", "b"],
            [("START", "a"), {"from": "a", "to": "END", "when": "state.ok"}, fail("a", "b"), ("b", "END")],
            ['edges[1]: after "a" all edges have conditions; add one with default=True for when none holds'],
        ),
        (
            [{"id": "a", "type": "fork", "join": 2}, "b", "c"],
            [("START", "a"), ("a", "b"), fail("a", "c"), ("b", "END"), ("c", "END")],
            [
                'nodes[0].config.policy.join: waits for 2 branches, and at most 1 start at "a": it could never go on',
            ],
        ),
    ],
)
def test_problems_of_edges_for_errors(nodes: list[Any], edges: list[Any], expected: list[str]):
    assert problems(nodes, edges) == expected


def test_an_answer_and_a_subworkflow_write_channels():
    branches: dict[str, Any] = {
        "human": {"id": "b", **human(answer={"struct": {"ok": "bool"}})},
        "subworkflow": {"id": "b", **sub(output={"ok": "found"})},
    }
    for kind, node in branches.items():
        other = {"id": "c", "type": "function", "function": "m:f", "writes": ["ok"]}
        edges = [("START", "a"), ("a", "b"), ("a", "c"), ("b", "END"), ("c", "END")]
        found = problems(["a", node, other], edges)

        assert (
            'edges[2]: branches "b" and "c" run at the same time and both write "ok", which keeps one value; give it a '
            "reducer, or let them write different channels" in found
        ), kind


def test_what_follows_an_error_is_part_of_a_branch():
    writer = {"id": "mend", "type": "function", "function": "m:f", "writes": ["ok"]}
    other = {"id": "c", "type": "function", "function": "m:f", "writes": ["ok"]}
    edges = [("START", "a"), ("a", "b"), ("a", "c"), fail("b", "mend"), *((node, "END") for node in ("b", "c", "mend"))]

    assert problems(["a", "b", other, writer], edges) == [
        'edges[2]: branches "b" and "c" run at the same time and both write "ok", which keeps one value; give it a '
        "reducer, or let them write different channels"
    ]
