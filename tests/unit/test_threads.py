"""Ids of threads, and what can be read from them."""

import pytest

from graphs.threads import branch_thread_id, child_thread_id, is_root, root_of


@pytest.mark.parametrize(
    ("thread_id", "root"),
    [
        ("s:0", "s:0"),
        ("s:0.3.1", "s:0"),
        ("s:0.3.1.2.0", "s:0"),
        ("s:0~3-ab", "s:0~3-ab"),
        ("s:0~3-ab.1.0", "s:0~3-ab"),
        ("s:0.3.1~4-ab", "s:0.3.1~4-ab"),
        ("s:0.3.1~4-ab.2.0", "s:0.3.1~4-ab"),
        ("s:0~3-ab~5-cd.1.0", "s:0~3-ab~5-cd"),
        ("a~1.b:c:0.1.2", "a~1.b:c:0"),
    ],
)
def test_every_thread_is_below_one_that_runs_by_itself(thread_id, root):
    assert root_of(thread_id) == root
    assert is_root(thread_id) is (thread_id == root)


def test_ids_of_branches_say_where_they_come_from():
    assert branch_thread_id(child_thread_id("s:0", 3, 1), 4, "ab") == "s:0.3.1~4-ab"
