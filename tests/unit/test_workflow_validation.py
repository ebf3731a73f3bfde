"""Validation: all problems at once, each with its path."""

from typing import Annotated

import pytest
from pydantic import BaseModel

from graphs.errors import GraphInvalid
from graphs.state.reducers import append
from graphs.state.schema import StateSchema
from graphs.workflow.spec import from_document
from graphs.workflow.validation import ensure_valid, validate

STATE = {
    "text": "string",
    "answer": {"type": "string", "default": ""},
    "notes": {"type": {"list": "string"}, "reducer": "append", "default": []},
    "n": {"type": "int64", "default": 0},
}


def graph(nodes, edges, **more):
    """A graph from short forms: a node name stands for a function, (source, target) for a simple edge."""
    full = [{"id": node, "type": "function", "function": "m:f"} if isinstance(node, str) else node for node in nodes]
    ways = [{"from": edge[0], "to": edge[1]} if isinstance(edge, tuple) else edge for edge in edges]
    return from_document({"id": "g", "state": STATE, "nodes": full, "edges": ways, **more})


def problems(nodes, edges, more=None, **known):
    return [str(problem) for problem in validate(graph(nodes, edges, **(more or {})), **known)]


def llm(name="ask", **options):
    return {"id": name, "type": "llm", "prompt": "{text}", "into": "answer", **options}


def tool(name="call", **options):
    return {"id": name, "type": "tool", "tool": "calculator", **options}


def chain(*nodes):
    """Edges of a chain from START to END."""
    return list(zip(("START", *nodes), (*nodes, "END"), strict=True))


def test_a_valid_graph_has_no_problems():
    assert (
        problems(["a", llm("b"), tool("c", arguments={"expression": "{n} + 1"}, into="notes")], chain("a", "b", "c"))
        == []
    )


def test_all_problems_are_found_at_once():
    nodes = ["a", "a", llm("b", prompt="{txt}", into="anser")]
    edges = [("START", "a"), ("a", "bb"), {"from": "b", "to": "END", "when": "state.kind == 1"}]

    assert problems(nodes, edges) == [
        'nodes[1].id: nodes[0] is called "a" too; choose another name',
        'nodes[2].config.prompt: no channel "txt"; did you mean "text"?',
        'nodes[2].config.into: no channel "anser"; did you mean "answer"?',
        'edges[1].target: no node "bb"; did you mean "b"?',
        'edges[2].condition.cel: no channel "kind"; choose one of "answer", "n", "notes", "text"',
        'edges[2]: after "b" all edges have conditions; add one with default=True for when none holds',
        'nodes[2]: no path leads from START to "b"; add an edge, or remove it',
    ]


def test_the_error_has_all_problems_and_one_line():
    nodes = ["a", llm("b", prompt="{txt}", into="anser", reads=["x"], writes=["y"])]

    with pytest.raises(GraphInvalid) as caught:
        ensure_valid(graph(nodes, chain("a", "b")))

    message = str(caught.value)
    assert message.startswith('workflow "g": nodes[1].reads[0]: no channel "x"')
    assert message.endswith("; and 3 more")
    assert "\n" not in message
    assert len(caught.value.problems) == 6


@pytest.mark.parametrize(
    ("nodes", "edges", "expected"),
    [
        (["answer"], [("START", "anwser")], 'edges[0].target: no node "anwser"; did you mean "answer"?'),
        (["a"], [("START", "a"), ("a", "END"), ("b", "a")], 'edges[2].source: no node "b"; choose one of "a"'),
        (["a"], [*chain("a"), ("END", "a")], "edges[2].source: nothing follows END"),
        (["a"], [*chain("a"), ("a", "START")], "edges[2].target: no edge leads to START"),
        (["a"], [("a", "END")], "edges: none leads from START to a node; add one"),
        ([], [], "edges: none leads from START to a node; add one"),
        (
            ["a", "b"],
            [("START", "a"), ("a", "END"), ("b", "END")],
            'nodes[1]: no path leads from START to "b"; add an edge, or remove it',
        ),
        (
            ["a", "b"],
            [("START", "a"), ("a", "b")],
            'nodes[1]: nothing follows "b"; add an edge to the next node or to END',
        ),
        (
            ["a", "b"],
            [("START", "a"), ("a", "b"), ("b", "a")],
            'nodes[0]: no path leads to END from "a", "b"; add an edge out of the loop',
        ),
        (["START"], [("START", "a")], 'nodes[0].id: "START" is reserved; choose another name'),
        ([" "], [], "nodes[0].id: is empty; give the node a name"),
        (["a"], [*chain("a"), ("a", "END")], "edges[2]: is the same as edges[1]; remove one"),
    ],
)
def test_problems_of_the_shape(nodes, edges, expected):
    assert expected in problems(nodes, edges)


def test_a_dead_end_behind_a_misspelt_target_is_reported_once():
    assert problems(["a"], [("START", "a"), ("a", "b")]) == ['edges[1].target: no node "b"; choose one of "a"']


def test_duplicate_edge_ids():
    edges = [{"from": "START", "to": "a", "id": "x"}, {"from": "a", "to": "END", "id": "x"}]

    assert problems(["a"], edges) == ['edges[1].id: edges[0] has the id "x" too; choose another']


@pytest.mark.parametrize(
    ("edges", "expected"),
    [
        (
            [{"from": "a", "to": "b", "when": "true"}],
            ['edges[2]: after "a" all edges have conditions; add one with default=True for when none holds'],
        ),
        ([{"from": "a", "to": "b", "when": "true"}, {"from": "a", "to": "END", "default": True}], []),
        ([{"from": "a", "to": "b", "when": "true"}, ("a", "END")], []),
        (
            [{"from": "a", "to": "b", "default": True}],
            ['edges[2].default: no edge after "a" has a condition; drop default'],
        ),
        (
            [
                {"from": "a", "to": "END", "when": "true"},
                {"from": "a", "to": "b", "default": True},
                {"from": "a", "to": "END", "default": True},
            ],
            ['edges[4].default: edges[3] is the default after "a" already'],
        ),
        (
            [{"from": "a", "to": "b", "when": "true", "default": True}, ("a", "END")],
            ["edges[2]: a conditional edge has either a condition or default=True"],
        ),
        (
            [
                {
                    "from": "a",
                    "to": "b",
                    "route": "budget",
                    "parameters": {"max_steps": 3},
                    "paths": {"within": "b", "exceeded": "END"},
                }
            ],
            ["edges[2]: a flexible conditional edge has a route, and neither target, condition nor default"],
        ),
        ([{"from": "a"}, ("a", "b")], ["edges[2]: a simple edge has a target and no route"]),
        (
            [{"from": "a", "to": "b", "when": {}}, ("a", "END")],
            ["edges[2].condition: is either a CEL expression or a Python predicate"],
        ),
        (
            [{"from": "a", "to": "b", "when": "state.n >"}, ("a", "END")],
            ["edges[2].condition.cel: condition \"state.n >\" does not compile: column 10: mismatched input '<EOF>'"],
        ),
    ],
)
def test_problems_of_conditional_edges(edges, expected):
    found = problems(["a", "b"], [("START", "a"), ("b", "END"), *edges])

    assert [problem for problem in found if not problem.startswith("nodes")] == expected


def route(function, paths, **parameters):
    return {"from": "a", "route": function, "paths": paths, "parameters": parameters}


@pytest.mark.parametrize(
    ("edge", "expected"),
    [
        (route("message_contains", {"matched": "b", "not_matched": "END"}, keywords=["x"]), []),
        (
            route("message_contain", {"matched": "b"}, keywords=["x"]),
            ['edges[2].route.function: no route function "message_contain"; did you mean "message_contains"?'],
        ),
        (
            route("message_contains", {"matchd": "b"}, keywords=["x"]),
            [
                'edges[2].route.path_map.matchd: message_contains gives no answer "matchd"; did you mean "matched"?',
                "edges[2].route.path_map: does not say where message_contains leads when it answers "
                '"matched", "not_matched"',
            ],
        ),
        (
            route("message_contains", {"matched": "c", "not_matched": "b"}, keyword=["x"]),
            [
                'edges[2].route.path_map.matched: no node "c"; choose one of "a", "b"',
                "edges[2].route.parameters.keywords: is missing",
                'edges[2].route.parameters.keyword: no parameter "keyword"; did you mean "keywords"?',
            ],
        ),
        (
            route("state_value", {"x": "b"}, channel="answr"),
            ['edges[2].route.parameters.channel: no channel "answr"; did you mean "answer"?'],
        ),
        (
            route("state_value", {}, channel="answer"),
            ["edges[2].route.path_map: is empty; say where each answer leads"],
        ),
        (
            route("budget", {"within": "b", "exceeded": "END"}, max_tokens=-1),
            ["edges[2].route.parameters.max_tokens: Input should be greater than or equal to 0"],
        ),
    ],
)
def test_problems_of_routes(edge, expected):
    found = problems(["a", "b"], [("START", "a"), ("b", "END"), edge])

    assert [problem for problem in found if problem.startswith("edges")] == expected


@pytest.mark.parametrize(
    ("node", "expected"),
    [
        (llm(reads=["text"], writes=["answer"]), []),
        (llm(prompt=None), ["nodes[0].config: an llm node needs a prompt or messages"]),
        (llm(prompt=None, messages="nots"), ['nodes[0].config.messages: no channel "nots"; did you mean "notes"?']),
        (llm(system="{anser.x}"), ['nodes[0].config.system: no channel "anser"; did you mean "answer"?']),
        (llm(reads=["n"]), ['nodes[0].config.prompt: "text" is not among the channels it gets; add it to reads']),
        (
            llm(writes=["n"]),
            ['nodes[0].config.into: "answer" is not among the channels it may write; add it to writes'],
        ),
        (llm(model="defualt"), ['nodes[0].config.model: no model "defualt"; did you mean "default"?']),
        (tool(tool="calculater"), ['nodes[0].config.tool: no tool "calculater"; did you mean "calculator"?']),
        (
            tool(arguments={"a": "{n}", "b": ["{x}", {"c": "{y[0]}"}]}),
            [
                'nodes[0].config.arguments.b[0]: no channel "x"; choose one of "answer", "n", "notes", "text"',
                'nodes[0].config.arguments.b[1].c: no channel "y"; choose one of "answer", "n", "notes", "text"',
            ],
        ),
        (tool(into="not"), ['nodes[0].config.into: no channel "not"; did you mean "notes"?']),
        (
            {"id": "f", "type": "function", "function": "m:f", "reads": ["txt"], "writes": ["n", "answe"]},
            [
                'nodes[0].reads[0]: no channel "txt"; did you mean "text"?',
                'nodes[0].writes[1]: no channel "answe"; did you mean "answer"?',
            ],
        ),
    ],
)
def test_problems_of_nodes(node, expected):
    known = {"known_tools": ["calculator"], "known_models": ["default", "local"]}

    assert problems([node], chain(node["id"]), **known) == expected


def test_a_broken_template_is_a_problem():
    (problem,) = problems([llm(prompt="{text")], chain("ask"))

    assert problem.startswith("nodes[0].config.prompt: template '{text': expected '}'")


def test_tools_and_models_are_not_checked_when_they_are_not_known():
    assert problems([llm(model="x"), tool(tool="y")], chain("ask", "call")) == []


def each(**options):
    return {"id": "each", "type": "map", "over": "notes", "into": "notes", **options}


@pytest.mark.parametrize(
    ("nodes", "expected"),
    [
        ([each(node="body"), "body"], []),
        ([each(node="body"), llm("body", prompt="{item} {text}", into="anything")], []),
        (
            [each(node="boddy"), "body"],
            [
                'nodes[0].config.node: no node "boddy"; did you mean "body"?',
                'nodes[1]: no path leads from START to "body"; add an edge, or remove it',
                'nodes[1]: nothing follows "body"; add an edge to the next node or to END',
            ],
        ),
        ([each()], ["nodes[0].config: a map runs either a node or a workflow; give one of the two"]),
        (
            [each(node="each")],
            [
                'nodes[0].config.node: "each" is a map node; '
                "a map runs a function, llm, tool or call node, or a workflow"
            ],
        ),
        ([each(node="END")], ['nodes[0].config.node: no node "END"; choose one of "each"']),
        (
            [each(node="body", item="n"), "body"],
            ["nodes[0].config.item: is for a map over a workflow; a node gets the item and gives the result"],
        ),
        (
            [each(node="body", over="text", into="nots"), "body"],
            [
                'nodes[0].config.over: channel "text" does not hold a list',
                'nodes[0].config.into: no channel "nots"; did you mean "notes"?',
            ],
        ),
        ([each(workflow="other")], ['nodes[0].config.workflow: no workflow "other"; choose one of "elsewhere"']),
        ([each(workflow="elsewhere")], []),
        (
            [each(workflow="elsewhere", on_branch_error="collect")],
            [
                'nodes[0].config.on_branch_error: writes None to "notes" for an item that failed; make its items '
                "optional, or skip them"
            ],
        ),
        ([each(workflow="elsewhere", into="maybe", on_branch_error="collect")], []),
        ([each(workflow="elsewhere", into="anything", on_branch_error="collect")], []),
    ],
)
def test_problems_of_maps(nodes, expected):
    state = {**STATE, "maybe": {"list": {"nullable": "string"}}, "anything": {"list": "json"}}

    assert problems(nodes, chain("each"), {"state": state}, known_workflows=["elsewhere"]) == expected


def test_the_channels_of_an_item_have_their_names_for_themselves():
    state = {**STATE, "item": "string", "result": "int64"}

    assert problems([each(node="body"), "body"], chain("each"), {"state": state}) == [
        'nodes[0].config.node: the thread of an item has a channel "item" of its own; rename that of the state',
        'nodes[0].config.node: the thread of an item has a channel "result" of its own; rename that of the state',
    ]
    assert problems([each(workflow="w")], chain("each"), {"state": state}) == []


CHILD = {
    "id": "child",
    "state": {"text": "string", "summary": "string"},
    "nodes": [llm("ask", into="summary")],
    "edges": [{"from": "START", "to": "ask"}, {"from": "ask", "to": "END"}],
}


def test_a_workflow_that_comes_along_is_checked_with_its_own_channels():
    child = {**CHILD, "edges": [{"from": "START", "to": "ak"}, {"from": "ask", "to": "END"}]}
    nodes = [each(workflow="child@1.0.0", item="text", result="sumary")]

    assert problems(nodes, chain("each"), {"workflows": [child]}, known_workflows=[]) == [
        'nodes[0].config.result: workflow "child": no channel "sumary"; did you mean "summary"?',
        'workflows[0].edges[0].target: no node "ak"; did you mean "ask"?',
        "workflows[0].edges: none leads from START to a node; add one",
    ]


def test_two_different_workflows_cannot_come_along_under_one_name():
    other = {**CHILD, "description": "another"}

    assert problems([each(workflow="child")], chain("each"), {"workflows": [CHILD, other]}) == [
        'workflows[1]: another workflow comes along as "child@1.0.0"; rename one of them'
    ]


def writer(name, *channels):
    return {"id": name, "type": "function", "function": "m:f", "writes": list(channels)}


FORKED = [("START", "a"), ("a", "b"), ("a", "c"), ("b", "d"), ("c", "d"), ("d", "END")]


def test_parallel_branches_that_write_one_channel_without_a_reducer():
    nodes = ["a", writer("b", "answer", "notes"), llm("c"), "d"]

    assert problems(nodes, FORKED) == [
        'edges[2]: branches "b" and "c" run at the same time and both write "answer", which keeps one value; '
        "give it a reducer, or let them write different channels"
    ]


def test_a_channel_with_a_reducer_may_be_written_by_all_branches():
    assert problems(["a", writer("b", "notes"), llm("c", into="notes"), "d"], FORKED) == []


def test_what_is_written_behind_the_join_does_not_count():
    nodes = ["a", writer("b", "answer"), "c", writer("d", "answer")]

    assert problems(nodes, FORKED) == []


def test_one_node_in_two_branches_writes_twice():
    """Both branches pass `x` before they are joined at the end."""
    nodes = ["a", "b", "c", writer("x", "answer"), "y"]
    edges = [("START", "a"), ("a", "b"), ("a", "c"), ("b", "x"), ("x", "END"), ("y", "END"),
             {"from": "c", "to": "x", "when": "state.n > 1"}, {"from": "c", "to": "y", "default": True}]  # fmt: skip

    (problem,) = problems(nodes, edges)

    assert problem.startswith('edges[2]: branches "b" and "c" run at the same time and both write "answer"')


CHOICE = [
    {"from": "a", "to": "b", "when": "state.n > 1"},
    {"from": "a", "to": "c", "when": "state.n > 2"},
    {"from": "a", "to": "d", "default": True},
]
JOINED = [("START", "a"), ("b", "END"), ("c", "END"), ("d", "END")]
WRITERS = [writer("b", "answer"), writer("c", "answer"), writer("d", "answer")]


def test_conditions_of_a_plain_node_are_taken_to_exclude_each_other():
    assert problems(["a", *WRITERS], [*JOINED, *CHOICE]) == []


def test_conditions_of_a_fork_are_not():
    found = problems([{"id": "a", "type": "fork"}, *WRITERS], [*JOINED, *CHOICE])

    assert [problem.partition(",")[0] for problem in found] == [
        'edges[5]: branches "b" and "c" run at the same time and both write "answer"'
    ]


@pytest.mark.parametrize(
    ("join", "expected"),
    [
        (2, []),
        ("any", []),
        (3, ['nodes[0].config.policy.join: waits for 3 branches, and at most 2 start at "a": it could never go on']),
        (0, ["nodes[0].config.policy.join: waits for 0 branches; wait for 1 or more"]),
    ],
)
def test_joins_that_starve(join, expected):
    assert problems([{"id": "a", "type": "fork", "join": join}, "b", "c", "d"], FORKED) == expected


def test_functions_are_checked_where_asked():
    nodes = [
        {"id": "a", "type": "function", "function": "graphs.errors:nothing"},
        {"id": "b", "type": "function", "function": "m:f"},
    ]
    edges = [
        *chain("a", "b")[:2],
        {"from": "b", "to": "END", "when": {"function": "json:dumps"}},
        {"from": "b", "to": "a", "default": True},
    ]

    assert problems(nodes, edges) == []
    assert problems(nodes, edges, functions={"m:f": print}) == [
        'nodes[0].config.function: cannot import "graphs.errors:nothing": '
        "module 'graphs.errors' has no attribute 'nothing'; install its module or correct the name"
    ]


class Given(BaseModel):
    other: str = ""
    notes: Annotated[list[str], append] = []


def test_a_given_schema_comes_before_the_spec():
    assert problems([llm(prompt="{other}", into="notes")], chain("ask"), schema=StateSchema.from_type(Given)) == []


def test_a_state_that_cannot_be_read_is_a_problem_and_silences_the_channels():
    bad = {"state": {"text": "strin", "list": {"type": {"lst": "string"}}}}

    found = problems([llm(prompt="{anything}")], chain("ask"), bad)

    assert [problem.partition(":")[0] for problem in found] == ["state.channels.text.type", "state.channels.list.type"]


@pytest.mark.parametrize("name", ["a@1", "", "a b", "a#b", "a/b"])
def test_names_that_references_could_not_hold(name):
    (problem,) = problems(["x"], chain("x"), {"id": name})

    assert problem == f'id: "{name}" is empty or has blanks or one of @ # : {{ }} /; choose another'


def test_a_version_is_numbers():
    assert problems(["x"], chain("x"), {"version": "1.0-beta"}) == [
        'version: "1.0-beta" is not numbers with dots between, such as 1.0.0'
    ]
