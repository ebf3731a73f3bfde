"""Joins: when they fire, with what, and that they fire once."""

from __future__ import annotations

import pytest

from graphs.errors import ErrorInfo
from graphs.policies import JoinPolicy, OnBranchError
from graphs.workflow.joins import CancelBranch, FailFork, Join, Merge, StartBranch

BOOM = ErrorInfo(code="ValueError", message="boom")


def failure(index: int) -> FailFork:
    return FailFork(
        ErrorInfo(
            code="BranchFailed",
            message=f"branch {index} of 'fork' failed: boom",
            fields={
                "node": "fork",
                "index": index,
                "cause": {"code": "ValueError", "message": "boom", "fields": {}},
            },
        )
    )


def test_all_waits_for_every_branch_and_merges_in_branch_order():
    join = Join(node="fork", size=3)

    assert join.open() == [StartBranch(0), StartBranch(1), StartBranch(2)]
    assert join.finished(2) == []
    assert join.finished(0) == []
    assert join.finished(1) == [Merge((0, 1, 2))]


def test_a_join_of_nothing_is_merged_at_once():
    assert Join(node="fork", size=0).open() == [Merge(())]


def test_any_takes_the_first_and_cancels_the_rest():
    join = Join(node="fork", size=3, policy=JoinPolicy(join="any"))
    join.open()

    assert join.finished(1) == [CancelBranch(0), CancelBranch(2), Merge((1,))]
    assert join.finished(0) == []


def test_any_survives_failures_until_none_is_left():
    join = Join(node="fork", size=2, policy=JoinPolicy(join="any"))
    join.open()

    assert join.failed_with(0, BOOM) == []
    assert join.failed_with(1, BOOM) == [failure(1)]


def test_n_of_m_fails_as_soon_as_n_cannot_be_reached():
    join = Join(node="fork", size=3, policy=JoinPolicy(join=2))
    join.open()

    assert join.failed_with(0, BOOM) == []
    assert join.failed_with(1, BOOM) == [CancelBranch(2), failure(1)]


def test_skip_counts_a_failed_branch_as_done():
    join = Join(node="fork", size=2, policy=JoinPolicy(on_branch_error=OnBranchError.SKIP))
    join.open()

    assert join.failed_with(0, BOOM) == []
    assert join.finished(1) == [Merge((1,))]


def test_at_most_max_running_branches_run():
    join = Join(node="fork", size=4, max_running=2)

    assert join.open() == [StartBranch(0), StartBranch(1)]
    assert join.finished(1) == [StartBranch(2)]
    assert join.finished(2) == [StartBranch(3)]
    assert join.finished(0) == []
    assert join.finished(3) == [Merge((0, 1, 2, 3))]


def test_deadline_merges_what_has_finished():
    join = Join(node="fork", size=2, policy=JoinPolicy(deadline_s=1))
    join.open()
    join.finished(1)

    assert join.deadline_passed() == [CancelBranch(0), Merge((1,))]
    assert join.deadline_passed() == []


def test_deadline_with_nothing_finished_fails():
    join = Join(node="fork", size=1, policy=JoinPolicy(deadline_s=1.5))
    join.open()

    cancel, failed = join.deadline_passed()

    assert cancel == CancelBranch(0)
    assert isinstance(failed, FailFork)
    assert failed.error.message == "no branch of 'fork' finished within 1.5 s; raise deadline_s"


@pytest.mark.parametrize("event", ["finished", "failed_with"])
def test_an_event_of_a_branch_that_does_not_run_changes_nothing(event: str):
    join = Join(node="fork", size=2, max_running=1)
    join.open()

    assert (join.finished(1) if event == "finished" else join.failed_with(1, BOOM)) == []
    assert join.running == {0}


def test_paused_branches_make_room_and_go_on_before_others_begin():
    join = Join(node="map", size=4, max_running=1)

    assert join.open() == [StartBranch(0)]
    assert join.paused_at(0) == [StartBranch(1)]
    assert join.resumed(0) == []
    assert join.paused_at(1) == [StartBranch(0)]
    assert join.finished(0) == [StartBranch(2)]
    assert not join.waits
    assert join.finished(2) == [StartBranch(3)]
    assert join.finished(3) == []
    assert join.waits
    assert join.resumed(1) == [StartBranch(1)]
    assert not join.waits
    assert join.finished(1) == [Merge((0, 1, 2, 3))]
    assert not join.waits


def test_a_join_that_closes_cancels_what_is_paused():
    join = Join(node="fork", size=4, policy=JoinPolicy(join="any"))
    join.open()
    join.paused_at(0)
    join.paused_at(1)
    join.resumed(1)

    assert join.finished(3) == [CancelBranch(0), CancelBranch(1), CancelBranch(2), Merge((3,))]
    assert (join.paused_at(2), join.resumed(0), join.waits) == ([], [], False)


def test_only_what_runs_pauses_and_only_what_is_paused_goes_on():
    join = Join(node="fork", size=2)
    join.open()

    assert join.resumed(0) == []
    assert join.paused_at(5) == []
    join.paused_at(0)
    assert join.finished(0) == []
    assert join.running == {1}
    assert join.paused == {0}
