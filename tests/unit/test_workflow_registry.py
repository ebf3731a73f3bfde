"""The registry of workflows, and the templates."""

from types import SimpleNamespace

import pytest

from graphs.errors import BusinessRuleViolation, NotFoundError
from graphs.state.schema import StateSchema
from graphs.workflow.graph import GraphModel, WorkflowMetadata
from graphs.workflow.plan import Plan
from graphs.workflow.registry import WorkflowRegistry, split_ref, template, version_key
from graphs.workflow.templates.digest import MAX_ROUNDS, SUMMARY_WORDS, TEXT_WORDS, collect, measure, pack, prepare
from graphs.workflow.validation import validate


def graph(name, version="1.0.0", **more):
    return GraphModel(id=name, name=name, version=version, **more)


def metadata(name, version, created_at, updated_at):
    return WorkflowMetadata(id=name, name=name, version=version, created_at=created_at, updated_at=updated_at)


@pytest.fixture
def registry():
    registry = WorkflowRegistry()
    for at, version in enumerate(["1.9", "1.10.0", "1.2"]):
        registry.register(graph("triage", version), at=at)
    registry.register(graph("digest"), at=7)
    return registry


def test_an_id_means_its_latest_version(registry):
    assert registry.get("triage").version == "1.10.0"
    assert registry.get("triage@1.9").version == "1.9"
    assert registry.metadata("triage") == metadata("triage", "1.10.0", 1, 1)


def test_workflows_are_listed_by_id_and_version(registry):
    assert [(each.id, each.version) for each in registry.list()] == [
        ("digest", "1.0.0"),
        ("triage", "1.2"),
        ("triage", "1.9"),
        ("triage", "1.10.0"),
    ]
    assert [each.version for each in registry.list("triage")] == ["1.2", "1.9", "1.10.0"]
    assert registry.list("nothing") == []
    assert sorted(registry.workflows) == ["digest@1.0.0", "triage@1.10.0", "triage@1.2", "triage@1.9"]


def test_an_equal_graph_may_come_again(registry):
    assert registry.register(graph("digest"), at=9) == metadata("digest", "1.0.0", 7, 9)


def test_another_graph_of_the_same_version_is_refused_whole(registry):
    changed = graph("new", workflows=(graph("digest", description="changed"),))

    with pytest.raises(BusinessRuleViolation) as caught:
        registry.register(changed, at=9)

    assert str(caught.value) == 'another graph is registered as "digest@1.0.0"; give this one a higher version'
    assert caught.value.ref == "digest@1.0.0"
    assert "new@1.0.0" not in registry.workflows


def test_what_comes_along_is_registered_too(registry):
    inner = graph("inner", "2")
    registry.register(graph("outer", workflows=(inner,)), at=9)

    assert registry.get("inner") == inner


@pytest.mark.parametrize(
    ("ref", "message"),
    [
        ("triag", 'no workflow "triag"; did you mean "triage"?'),
        ("zzz@1", 'no workflow "zzz"; choose one of "digest", "triage"'),
        ("triage@2.0", 'workflow "triage" has no version 2.0; there is 1.2, 1.9, 1.10.0'),
    ],
)
def test_what_is_not_there(registry, ref, message):
    with pytest.raises(NotFoundError) as caught:
        registry.get(ref)

    assert str(caught.value) == message
    assert caught.value.fields == {"kind": "workflow", "key": ref}


def test_versions_are_ordered_as_numbers():
    assert version_key("1.10") > version_key("1.9.5") > version_key("1.9")
    assert version_key("1") == version_key("1.0.0")
    assert (split_ref("a@1"), split_ref("a")) == (("a", "1"), ("a", None))


def test_the_templates():
    names = ("approval", "digest", "load", "plan-and-execute", "react", "retrieval", "router")
    assert WorkflowRegistry().templates == names
    with pytest.raises(NotFoundError, match=r'^no template "digst"; did you mean "digest"\?$'):
        template("digst")


def test_the_load_is_valid_and_needs_no_model():
    graph = template("load")

    assert (
        validate(graph, functions={}, known_tools=["calculator"], known_models=["scripted"], known_workflows=[]) == []
    )
    assert {str(node.node_type) for node in graph.nodes} == {"function", "llm", "tool"}


def test_the_digest_is_valid_and_can_be_planned():
    digest = template("digest")

    assert (
        validate(digest, functions={}, known_tools=["text_stats"], known_models=["default"], known_workflows=[]) == []
    )
    for member in digest.family():
        plan = Plan(member, StateSchema.from_spec(member.state))
        assert set(plan.edges) == {"__start__", *plan.nodes}


def state(**channels):
    return SimpleNamespace(**channels)


FILE = state(name="a.txt", text="one  two\nthree")


def test_prepare_counts_and_cuts():
    assert prepare(state(file=FILE)) == {"file_words": 3, "excerpt": "one two three"}
    assert prepare(state(file=state(name="b", text="word " * 5_000))) == {
        "file_words": 5_000,
        "excerpt": " ".join(["word"] * TEXT_WORDS),
    }


@pytest.mark.parametrize(
    ("words", "rounds", "expected"),
    [(SUMMARY_WORDS, 0, False), (SUMMARY_WORDS + 1, 0, True), (SUMMARY_WORDS + 1, MAX_ROUNDS - 1, False)],
)
def test_measure_asks_for_a_shorter_summary_a_few_times(words, rounds, expected):
    assert measure(state(summary="w " * words, rounds=rounds)) == {"rounds": rounds + 1, "too_long": expected}


def test_pack_makes_the_part():
    assert pack(state(file=FILE, summary=" A\nsummary. ", file_words=3, stats={"words": 2})) == {
        "part": {"name": "a.txt", "summary": "A summary.", "file_words": 3, "summary_words": 2}
    }


def test_collect_gives_each_file_a_line_and_an_equal_share():
    parts = [state(name="a", summary="one two"), state(name="b", summary="w " * 500)]

    assert collect(state(parts=parts)) == {"summaries": "a: one two\nb: " + " ".join(["w"] * 120)}
    assert collect(state(parts=[])) == {"summaries": ""}
