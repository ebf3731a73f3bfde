"""The supervisor's policies: spreading, hosts wanted, admission, the directory."""

from __future__ import annotations

import pytest

from actors.supervisor.adoption import orphans
from actors.supervisor.directory import Directory
from actors.supervisor.placement import spread, wanted_hosts
from actors.supervisor.queue import AdmissionQueue, Ticket
from graphs.threads import ThreadPriority


def test_threads_go_to_the_least_loaded_host():
    assert spread(["a", "b", "c", "d"], {"h1": 2, "h2": 0, "h3": 1}) == {"a": "h2", "b": "h2", "c": "h3", "d": "h1"}


@pytest.mark.parametrize(("threads", "hosts"), [(0, 2), (1, 2), (3, 3), (9, 5)])
def test_one_host_for_each_thread_between_the_bounds(threads: int, hosts: int):
    assert wanted_hosts(threads, 2, 5) == hosts


def order(queue: AdmissionQueue) -> list[str]:
    return [queue.pop().thread for _ in range(len(queue))]


def test_higher_priority_is_admitted_first():
    queue = AdmissionQueue()
    for number, priority in enumerate(ThreadPriority):
        queue.push(Ticket(priority, priority, f"user {number}", since=0))

    assert order(queue) == ["critical", "high", "normal", "low"]


def test_waiting_makes_up_for_priority():
    queue = AdmissionQueue(ageing_s=10)
    queue.push(Ticket("old and low", ThreadPriority.LOW, "ada", since=0))
    queue.push(Ticket("new and critical", ThreadPriority.CRITICAL, "bob", since=29))
    queue.push(Ticket("later and critical", ThreadPriority.CRITICAL, "cy", since=31))

    assert order(queue) == ["new and critical", "old and low", "later and critical"]


def test_a_user_with_many_tickets_does_not_hold_up_the_first_of_another():
    queue = AdmissionQueue(fairness_s=1)
    for number in range(3):
        queue.push(Ticket(f"ada {number}", ThreadPriority.NORMAL, "ada", since=0))
    queue.push(Ticket("bob", ThreadPriority.NORMAL, "bob", since=0.5))

    assert order(queue) == ["ada 0", "bob", "ada 1", "ada 2"]


def test_a_user_starts_anew_when_nothing_of_theirs_waits():
    queue = AdmissionQueue(fairness_s=1)
    queue.push(Ticket("first", ThreadPriority.NORMAL, "ada", since=0))
    queue.pop()
    queue.push(Ticket("second", ThreadPriority.NORMAL, "ada", since=5))
    queue.push(Ticket("bob", ThreadPriority.NORMAL, "bob", since=5.5))

    assert order(queue) == ["second", "bob"]


def test_popping_from_an_empty_queue_is_an_error():
    with pytest.raises(IndexError):
        AdmissionQueue().pop()


@pytest.fixture
def directory():
    directory = Directory()
    directory.add_host("h1")
    directory.add_host("h2")
    yield directory
    directory.validate()


def test_a_thread_lives_on_one_host(directory: Directory):
    directory.assign("t", "h1")
    directory.assign("t", "h2")

    assert directory.host_of("t") == "h2"
    assert (directory.load("h1"), directory.load("h2")) == (0, 1)
    assert (directory.placed_total("h1"), directory.placed_total("h2")) == (1, 1)


def test_a_dead_host_leaves_its_threads_nowhere(directory: Directory):
    directory.assign("a", "h1")
    directory.assign("b", "h1")
    directory.assign("c", "h2")

    assert directory.remove_host("h1") == {"a", "b"}
    assert directory.hosts == ("h2",)
    assert [directory.host_of(thread) for thread in "abc"] == [None, None, "h2"]


def test_a_dead_host_gives_back_the_places_it_had_asked_for(directory: Directory):
    for thread in "abc":
        directory.assign(thread, "h2")
    directory.note_parent("abd", "h1")
    directory.note_parent("b", "h2")

    assert directory.remove_host("h1") == set()
    assert [directory.host_of(thread) for thread in "abcd"] == [None, "h2", "h2", None]


def test_releasing_frees_the_place(directory: Directory):
    directory.assign("a", "h1")
    directory.release(("a", "unknown"))

    assert directory.host_of("a") is None
    assert (directory.load("h1"), directory.size) == (0, 0)


def test_threads_of_hosts_that_do_not_live_are_orphans():
    assert orphans({"a": "h1", "b": "h2", "c": ""}, ["h2"], {}) == {"a", "c"}


def test_what_was_given_away_is_no_orphan_until_its_new_host_dies():
    """The host it was given to has not begun with it: the index still names the dead one."""
    open_threads, adopted = {"a": "h1"}, {"a": ("h1", "h2")}

    assert orphans(open_threads, ["h2", "h3"], adopted) == set()
    assert orphans(open_threads, ["h3"], adopted) == {"a"}


def test_what_moved_on_and_lost_its_host_again_is_an_orphan():
    assert orphans({"a": "h3"}, ["h2"], {"a": ("h1", "h2")}) == {"a"}
