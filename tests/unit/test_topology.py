"""Where forks join."""

from __future__ import annotations

from graphs.journal import END, START
from graphs.workflow.edge import Edge
from graphs.workflow.topology import fork_joins, post_dominators, reachable


def test_a_diamond_joins_where_its_sides_meet():
    graph = {START: ("a",), "a": ("b", "c"), "b": ("d",), "c": ("d",), "d": (END,)}

    assert post_dominators(graph) == {START: "a", "a": "d", "b": "d", "c": "d", "d": END}


def test_branches_of_different_length_join_at_the_nearest_common_node():
    graph = {START: ("a",), "a": ("b", "x"), "b": ("c",), "c": ("x",), "x": ("y",), "y": (END,)}

    assert post_dominators(graph)["a"] == "x"


def test_a_branch_that_may_end_joins_at_the_end():
    graph = {START: ("a",), "a": ("b", "c"), "b": (END, "d"), "c": ("d",), "d": (END,)}

    assert post_dominators(graph)["a"] == END


def test_a_loop_inside_a_branch_does_not_move_the_join():
    graph = {START: ("a",), "a": ("b", "c"), "b": ("b", "d"), "c": ("d",), "d": ("a", END)}

    assert post_dominators(graph) == {START: "a", "a": "d", "b": "d", "c": "d", "d": END}


def test_a_node_that_cannot_reach_the_end_joins_at_the_end():
    graph = {START: ("a",), "a": ("b", END), "b": ("b",)}

    assert post_dominators(graph)["b"] == END


def test_reachable_stops_at_the_join():
    graph = {START: ("a",), "a": ("b", "c"), "b": ("d",), "c": ("d",), "d": (END,)}

    assert reachable(graph, "b", stop="d") == {"b"}
    assert reachable(graph, "a") == {"a", "b", "c", "d"}


def edges(*ways: tuple[str, str], fails: tuple[tuple[str, str], ...] = ()) -> list[Edge]:
    usual = [Edge(id=f"{source}-{target}", source=source, target=target) for source, target in ways]
    return usual + [Edge(id=f"{s}!{t}", source=s, target=t, on_error=True) for s, t in fails]


def test_the_failure_of_a_fork_is_none_of_its_branches():
    ways = (START, "a"), ("a", "b"), ("a", "c"), ("b", "d"), ("c", "d"), ("d", END), ("mend", END)

    assert fork_joins("abcd", edges(*ways))["a"] == "d"
    assert fork_joins(["a", "b", "c", "d", "mend"], edges(*ways, fails=(("a", "mend"),)))["a"] == "d"


def test_a_branch_that_fails_may_pass_by_the_join():
    ways = (START, "a"), ("a", "b"), ("a", "c"), ("b", "d"), ("c", "d"), ("d", "e"), ("e", END), ("mend", "e")

    joins = fork_joins(["a", "b", "c", "d", "e", "mend"], edges(*ways, fails=(("b", "mend"),)))

    assert joins == {START: "a", "a": "e", "b": "d", "c": "d", "d": "e", "e": END, "mend": "e"}
