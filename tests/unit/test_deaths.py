"""How many executors a step may take down with it."""

from __future__ import annotations

from typing import Any

import pytest

from actors.deaths import MAX_DEATHS, Deaths
from graphs.errors import NodeError, NodeTimeout
from graphs.policies import RetryPolicy
from graphs.workflow.node import FunctionConfig, Node


def node(**options: Any) -> Node:
    return Node(id="poison", config=FunctionConfig(function="poison"), **options)


def test_a_step_may_take_nine_down_and_fails_with_the_tenth() -> None:
    deaths = Deaths()

    errors = [deaths.note(3, node(), 1.0) for _ in range(MAX_DEATHS)]

    assert errors[:-1] == [None] * 9
    assert isinstance(errors[-1], NodeError)
    assert errors[-1].fields == {"node": "poison", "code": "ExecutorDied"}
    assert deaths.after(3) == MAX_DEATHS


def test_those_before_another_step_do_not_count() -> None:
    deaths = Deaths()
    for _ in range(MAX_DEATHS - 1):
        deaths.note(3, node(), 1.0)

    error = deaths.note(4, node(), 1.0)

    assert (error, deaths.after(3), deaths.after(4)) == (None, 0, 1)


@pytest.mark.parametrize(("max_attempts", "most"), [(1, 3), (3, 3), (4, 4), (6, 6)])
def test_a_step_that_runs_for_too_long_each_time_is_run_as_often_as_it_may(max_attempts: int, most: int) -> None:
    poison = node(timeout_s=2.0, retry=RetryPolicy(max_attempts=max_attempts))
    deaths = Deaths()

    errors = [deaths.note(3, poison, 3.1) for _ in range(most)]

    assert errors[:-1] == [None] * (most - 1)
    assert isinstance(errors[-1], NodeTimeout)
    assert errors[-1].fields == {"node": "poison", "timeout_s": 2.0}


@pytest.mark.parametrize("ran_s", [(9.0, 1.0, 3.0), (9.0, 3.0, 1.0), (9.0, 2.0, 2.0)])
def test_what_dies_before_its_time_is_over_has_not_run_for_too_long(ran_s: tuple[float, ...]) -> None:
    deaths = Deaths()

    assert [deaths.note(3, node(timeout_s=2.0), each) for each in ran_s] == [None] * 3
