"""A graph and its YAML and JSON are one-to-one."""

import string
from typing import Any

from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from graphs.journal import END, START
from graphs.policies import JoinPolicy, OnBranchError, RetryPolicy
from graphs.threads import Durability
from graphs.workflow.checks.nodes import RESERVED
from graphs.workflow.edge import Condition, Edge, EdgeType, Route
from graphs.workflow.graph import GraphModel
from graphs.workflow.node import (
    CallConfig,
    ForkConfig,
    FunctionConfig,
    HumanConfig,
    LlmConfig,
    MapConfig,
    Node,
    SubworkflowConfig,
    ToolCallConfig,
    WaitConfig,
)
from graphs.workflow.render import mermaid
from graphs.workflow.spec import dump, load
from graphs.workflow.validation import validate

PHASES = [Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink]
TRAPS = [
    *(
        "yes",
        "no",
        "on",
        "null",
        "~",
        "true",
        "1",
        "1.0",
        "1e3",
        "0x1F",
        "1:30",
        "2026-11-23",
        "<<",
        "=",
        "",
        "é",
        "🙂",
    ),
    *("- a", "#", "*a", "&a", "!x", "{a", "a: b", "|", "%", "'", '"', " a", "a ", "\t", "a\nb", "\n", " \n a", "a\n\n"),
    *("a \nb", "\r\n", "\x85", "\u2028", "\ufeff", "\x00"),
]
texts = st.one_of(st.sampled_from(TRAPS), st.text(st.characters(exclude_categories=["Cs"]), max_size=12))
names = st.one_of(texts, st.text(string.ascii_lowercase, min_size=1, max_size=8)).filter(
    lambda name: name not in RESERVED
)
sources = st.one_of(st.just(START), names)
targets = st.one_of(st.just(END), names)
numbers = st.floats(min_value=0.001, max_value=1e9, allow_nan=False)
optional_text = st.none() | texts
finite = st.floats(allow_nan=False, allow_infinity=False)
scalars = st.none() | st.booleans() | st.integers(-(10**20), 10**20) | finite | texts
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3), max_leaves=8
)
mappings = st.dictionaries(texts, values, max_size=3)
channel_lists = st.none() | st.lists(names, max_size=3).map(tuple)

retries = st.builds(
    RetryPolicy,
    max_attempts=st.integers(1, 100),
    backoff_s=st.sampled_from([0.2, 0.0, 1.5]),
    jitter=st.sampled_from([0.25, 0.0]),
)
configs = st.one_of(
    st.builds(FunctionConfig, function=texts, argument=optional_text, into=optional_text),
    st.builds(
        LlmConfig,
        prompt=optional_text,
        messages=optional_text,
        system=optional_text,
        model=texts,
        fallbacks=st.lists(texts, max_size=2).map(tuple),
        into=optional_text,
        temperature=st.none() | numbers,
        max_tokens=st.none() | st.integers(1, 10_000),
        stop=st.lists(texts, max_size=2).map(tuple),
        tools=st.lists(texts, max_size=2).map(tuple),
        max_rounds=st.none() | st.integers(0, 9),
        output=st.none() | values | st.deferred(lambda: types),
        output_type=optional_text,
        repairs=st.integers(0, 10),
    ),
    st.builds(
        CallConfig, tools=st.lists(texts, max_size=2).map(tuple), on_tool_error=st.sampled_from(["tell", "fail"])
    ),
    st.builds(ToolCallConfig, tool=texts, arguments=mappings, into=optional_text),
    st.builds(
        ForkConfig,
        policy=st.builds(
            JoinPolicy,
            join=st.sampled_from(["all", "any", 1, 3]),
            deadline_s=st.none() | numbers,
            on_branch_error=st.sampled_from(OnBranchError),
        ),
        choice=st.booleans(),
    ),
    st.builds(
        HumanConfig,
        question=texts,
        answer=st.none() | values | st.deferred(lambda: types),
        answer_type=optional_text,
        into=optional_text,
    ),
    st.builds(WaitConfig, seconds=texts | finite.map(abs)),
    st.builds(
        SubworkflowConfig,
        workflow=texts,
        input=st.none() | st.dictionaries(texts, texts, max_size=2),
        output=st.none() | st.dictionaries(texts, texts, max_size=2),
    ),
    st.builds(
        MapConfig,
        over=texts,
        node=optional_text,
        workflow=optional_text,
        item=optional_text,
        result=optional_text,
        into=texts,
        max_concurrency=st.integers(1, 10_000),
        on_branch_error=st.sampled_from(OnBranchError),
    ),
)
nodes = st.builds(
    Node,
    id=names,
    config=configs,
    position=st.none() | st.tuples(numbers, numbers),
    reads=channel_lists,
    writes=channel_lists,
    retry=retries,
    timeout_s=st.none() | numbers,
    at_most_once=st.booleans(),
)
conditions = st.builds(Condition, cel=texts) | st.builds(Condition, function=texts) | st.builds(Condition)
routes = st.builds(Route, function=texts, parameters=mappings, path_map=st.dictionaries(texts, targets, max_size=3))
generated_ids = st.tuples(names, names).map(lambda ends: f"{ends[0]}->{ends[1]}")
edges = st.builds(
    Edge,
    id=texts | generated_ids,
    source=sources,
    target=st.none() | targets,
    edge_type=st.sampled_from(EdgeType),
    condition=st.none() | conditions,
    default=st.booleans(),
    on_error=st.booleans(),
    route=st.none() | routes,
)
types = st.recursive(
    st.sampled_from(["string", "int64", "float64", "bool", "json"]),
    lambda inner: st.one_of(
        st.fixed_dictionaries({"list": inner}),
        st.fixed_dictionaries({"nullable": inner}),
        st.dictionaries(names, inner, max_size=2).map(lambda fields: {"struct": fields}),
        st.lists(texts, min_size=1, max_size=3, unique=True).map(lambda choices: {"enum": choices}),
    ),
    max_leaves=4,
)
channels = st.fixed_dictionaries(
    {"type": types}, optional={"default": values, "reducer": st.sampled_from(["append", "add", "m:f"])}
)
states = st.just({}) | st.dictionaries(names, channels, min_size=1, max_size=4).map(lambda known: {"channels": known})


def graphs(children: st.SearchStrategy[tuple[GraphModel, ...]]) -> st.SearchStrategy[GraphModel]:
    def named(name: str, label: str | None, **fields: Any) -> GraphModel:
        return GraphModel(id=name, name=name if label is None else label, **fields)

    return st.builds(
        named,
        name=names,
        label=optional_text,
        version=st.sampled_from(["1.0.0", "1.10", "2"]) | texts,
        description=texts,
        nodes=st.lists(nodes, max_size=3).map(tuple),
        edges=st.lists(edges, max_size=4).map(tuple),
        state=states,
        max_steps=st.integers(1, 10_000),
        durability=st.sampled_from(Durability),
        metadata=mappings,
        workflows=children,
    )


any_graph = graphs(st.lists(graphs(st.just(())), max_size=1).map(tuple))


@settings(max_examples=100, deadline=None, phases=PHASES)
@given(graph=any_graph)
def test_a_graph_survives_yaml(graph: GraphModel) -> None:
    assert load(dump(graph, "yaml"), "yaml") == graph


@settings(max_examples=100, deadline=None, phases=PHASES)
@given(graph=any_graph)
def test_a_graph_survives_json(graph: GraphModel) -> None:
    assert load(dump(graph, "json"), "json") == graph


@settings(max_examples=100, deadline=None, phases=PHASES)
@given(graph=any_graph)
def test_a_text_is_written_the_same_way_again(graph: GraphModel) -> None:
    text = dump(graph)

    assert dump(load(text)) == text


@settings(max_examples=100, deadline=None, phases=PHASES)
@given(graph=any_graph)
def test_any_graph_can_be_validated_and_drawn(graph: GraphModel) -> None:
    """Whatever is wrong is a problem on one line, never a crash."""
    problems = validate(graph, known_tools=[], known_models=[], known_workflows=[])

    assert all(problem.message for problem in problems)
    assert mermaid(graph).startswith("flowchart TD\n")
