"""Ids of threads, and what can be read from them."""

import pytest

from graphs.threads import (
    Thread,
    ThreadFactory,
    ThreadMetadata,
    ThreadPriority,
    ThreadType,
    branch_thread_id,
    child_thread_id,
    is_root,
    root_of,
)


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


def test_what_each_type_of_thread_has():
    factory = ThreadFactory(now=7.0)
    times = {"created_at": 7.0, "updated_at": 7.0}

    main = factory.main("s", "w@1", ThreadPriority.HIGH)
    branch = factory.branch(main, 3, "ab", "what if")
    item = factory.child(branch, "s:0~3-ab.1.0", ThreadType.PARALLEL, workflow="w@1#map", base=None, name="map[0]")

    high = ThreadMetadata(priority=ThreadPriority.HIGH)
    assert main == Thread(id="s:0", session_id="s", thread_type=ThreadType.MAIN, workflow="w@1", metadata=high, **times)
    assert branch == Thread(
        id="s:0~3-ab",
        session_id="s",
        thread_type=ThreadType.BRANCH,
        workflow="w@1",
        base=("s:0", 3),
        metadata=ThreadMetadata(name="what if", parent_thread_id="s:0", priority=ThreadPriority.HIGH),
        **times,
    )
    assert item == Thread(
        id="s:0~3-ab.1.0",
        session_id="s",
        thread_type=ThreadType.PARALLEL,
        workflow="w@1#map",
        metadata=ThreadMetadata(name="map[0]", parent_thread_id="s:0~3-ab", priority=ThreadPriority.HIGH),
        **times,
    )
