"""What a demonstration knows of itself: events in, threads, nodes, tokens and participants out."""

from __future__ import annotations

from rich.console import Console

from graphs.errors import NodeError
from graphs.journal import Usage
from graphs.threads import ThreadState
from runtime.demo.progress import TAIL_CHARS, Progress, took_part
from runtime.demo.view import LiveView, report
from runtime.events import (
    BranchesJoined,
    BranchesStarted,
    NodeFailed,
    NodeFinished,
    NodeStarted,
    ThreadFinished,
    Token,
    TurnStarted,
)

MAIN, FIRST, SECOND = "s:0", "s:0.1.0", "s:0.1.1"
NONE = Usage()
ASKED = Usage(prompt_tokens=10, completion_tokens=4, calls=1)


def step(thread: str, seq: int, node: str, at: float, took_s: float, by: str, usage: Usage = NONE, attempt: int = 1):
    return NodeFinished(
        thread_id=thread,
        seq=seq,
        at=at,
        node=node,
        delta={},
        attempt=attempt,
        started_at=at - took_s,
        by=by,
        usage=usage,
    )


def finished(thread: str, seq: int, at: float, status: ThreadState = ThreadState.COMPLETED, error=None):
    return ThreadFinished(thread_id=thread, seq=seq, at=at, turn=1, status=status, usage=Usage(), error=error)


def seen(*events) -> Progress:
    progress = Progress("digest", ["a.txt", "b.txt"])
    for event in events:
        progress.see(event)
    return progress


STARTED = (
    TurnStarted(thread_id=MAIN, seq=1, at=100.0, turn=1),
    BranchesStarted(thread_id=MAIN, seq=1, at=100.0, node="each", threads=(FIRST, SECOND)),
    TurnStarted(thread_id=SECOND, seq=1, at=100.5, turn=1),
)
WHOLE = (
    *STARTED,
    TurnStarted(thread_id=FIRST, seq=1, at=100.25, turn=1),
    step(FIRST, 2, "say", 101.25, 1.0, "llm-5", ASKED),
    step(SECOND, 2, "say", 103.5, 3.0, "llm-5", ASKED, attempt=2),
    finished(FIRST, 3, 101.25),
    finished(SECOND, 3, 103.5),
    BranchesJoined(thread_id=MAIN, seq=2, at=104.0, node="each", delta={}, usage=ASKED + ASKED),
    step(MAIN, 3, "collect", 104.5, 0.25, "function-3"),
    finished(MAIN, 4, 104.5),
)


def test_threads_are_known_as_soon_as_they_are_announced():
    progress = seen(*STARTED)

    assert [(thread.thread_id, thread.title, str(thread.status)) for thread in progress.threads.values()] == [
        (MAIN, "digest", "running"),
        (FIRST, "a.txt", "pending"),
        (SECOND, "b.txt", "running"),
    ]
    assert progress.unplaced() == [MAIN, SECOND]


def test_a_running_node_shows_where_it_runs_and_the_end_of_what_its_model_says():
    progress = seen(
        *STARTED,
        NodeStarted(thread_id=SECOND, seq=2, at=100.6, node="say", attempt=1, by="llm-5"),
        *(
            Token(thread_id=SECOND, seq=2, at=100.7, node="say", text=text)
            for text in ("x" * TAIL_CHARS, " the", " end")
        ),
    )
    thread = progress.threads[SECOND]

    assert (thread.node, thread.by, thread.seq, len(thread.tail)) == ("say", "llm-5", 1, TAIL_CHARS)
    assert thread.tail.endswith("x the end")


def test_the_document_has_each_thread_and_node_once_with_its_time_and_tokens():
    progress = seen(*WHOLE)
    for thread_id, host in ((MAIN, "host-1"), (FIRST, "host-2"), (SECOND, "host-1")):
        progress.place(thread_id, host)
    tokens = {"prompt_tokens": 10, "completion_tokens": 4, "total_tokens": 14, "calls": 1}
    twice = {name: 2 * count for name, count in tokens.items()}
    none = dict.fromkeys(tokens, 0)

    assert progress.document() == {
        "threads": [
            {
                "thread_id": thread_id,
                "title": title,
                "status": "completed",
                "node": node,
                "seq": seq,
                "seconds": seconds,
                "host": host,
                "usage": usage,
            }
            for thread_id, title, node, seq, seconds, host, usage in (
                (MAIN, "digest", "collect", 4, 4.5, "host-1", none),
                (FIRST, "a.txt", "say", 3, 1.0, "host-2", tokens),
                (SECOND, "b.txt", "say", 3, 3.0, "host-1", tokens),
            )
        ],
        "nodes": [
            {
                "node": node,
                "runs": runs,
                "failures": 0,
                "attempts": attempts,
                "seconds": seconds,
                "mean_s": mean_s,
                "longest_s": longest_s,
                "usage": usage,
            }
            for node, runs, attempts, seconds, mean_s, longest_s, usage in (
                ("say", 2, 3, 4.0, 2.0, 3.0, twice),
                ("each", 1, 1, 4.0, 4.0, 4.0, none),
                ("collect", 1, 1, 0.25, 0.25, 0.25, none),
            )
        ],
        "usage": twice,
    }
    assert (progress.hosts, progress.executors) == ({"host-1", "host-2"}, {"llm-5", "function-3"})
    assert (progress.steps, progress.unplaced()) == (4, [])


def test_failures_are_counted_at_their_node_and_end_their_thread():
    error = NodeError("no answer", node="say")
    progress = seen(
        *STARTED,
        NodeFailed(thread_id=SECOND, seq=2, at=101.0, node="say", error=error, attempt=4, by="llm-5"),
        finished(SECOND, 3, 101.0, ThreadState.FAILED, error),
    )

    assert progress.threads[SECOND].status is ThreadState.FAILED
    assert (progress.nodes["say"].failures, progress.nodes["say"].runs) == (1, 0)
    assert progress.document()["nodes"][0]["mean_s"] == 0.0


def test_threads_of_threads_are_called_by_their_path():
    progress = seen(TurnStarted(thread_id="s:0.1.7", seq=1, at=1.0, turn=1))

    assert progress.threads["s:0.1.7"].title == "0.1.7"


def test_who_took_part_is_told_from_who_was_only_there():
    progress = seen(*WHOLE)
    progress.place(MAIN, "host-1")
    processes = [
        {"address": address, "kind": address[:-2], "pid": pid, "node_id": node_id, "threads": 0}
        for address, pid, node_id in (("host-1", 11, "n1"), ("host-2", 12, "n2"), ("llm-5", 13, "n1"))
    ]

    assert took_part(processes, progress) == {
        "ray_actors": 4,
        "machines": 2,
        "hosts": ["host-1"],
        "executors": ["function-3", "llm-5"],
        "processes": [
            {"address": "host-1", "kind": "host", "pid": 11, "node_id": "n1", "took_part": True},
            {"address": "host-2", "kind": "host", "pid": 12, "node_id": "n2", "took_part": False},
            {"address": "llm-5", "kind": "llm", "pid": 13, "node_id": "n1", "took_part": True},
        ],
    }


def drawn(*renderables) -> str:
    console = Console(width=120, file=None, record=True, markup=False, color_system=None)
    with console.capture() as capture:
        for renderable in renderables:
            console.print(renderable)
    return "\n".join(line.rstrip() for line in capture.get().splitlines())


def test_the_live_view_has_a_row_for_each_thread_and_a_sum():
    progress = seen(
        *STARTED,
        NodeStarted(thread_id=SECOND, seq=2, at=100.6, node="say", attempt=1, by="llm-5"),
        Token(thread_id=SECOND, seq=2, at=100.7, node="say", text="[red]one\ntwo"),
    )
    progress.place(SECOND, "host-1")
    lines = drawn(LiveView(progress).draw()).splitlines()

    assert [line.split() for line in lines[:-1]] == [
        ["thread", "text", "state", "node", "executor", "host", "says"],
        ["0", "digest", "running", "each"],
        ["0.1.0", "a.txt", "pending"],
        ["0.1.1", "b.txt", "running", "say", "llm-5", "host-1", "[red]one", "two"],
    ]
    assert lines[-1].endswith("0 of 3 threads done, 0 steps, 0 tokens")


def test_the_report_says_what_came_of_it():
    progress = seen(*WHOLE)
    for thread_id in (MAIN, FIRST, SECOND):
        progress.place(thread_id, "host-1")
    document = {
        "digest": "All of it.",
        "files": [{}, {}],
        **progress.document(),
        "ray": {**took_part([], progress), "machines": 1},
        "seconds": {"start": 3.0, "deploy": 2.0, "run": 4.5, "total": 9.5},
    }

    assert drawn(*report(document)) == "\n".join(
        (
            "Digest of 2 texts",
            "  All of it.",
            "",
            "Threads",
            "  0  completed  digest: seq 4 in 4.50 s on host-1",
            "  ├── 0.1.0  completed  a.txt: seq 3 in 1.00 s on host-1, 14 tokens",
            "  └── 0.1.1  completed  b.txt: seq 3 in 3.00 s on host-1, 14 tokens",
            "",
            "Time",
            "  node     runs  mean s  longest s  all s  tokens",
            "  say         2   2.000      3.000  4.000      28",
            "  each        1   4.000      4.000  4.000       -",
            "  collect     1   0.250      0.250  0.250       -",
            "",
            "28 tokens in 2 calls of the model (20 read, 8 written)",
            "3 threads on 1 host and 2 executors; there are 1 Ray actor, each a process, on 1 machine",
            "9.5 s: 3.0 s to start, 2.0 s for the model server, 4.5 s to run",
        )
    )


def test_a_report_of_a_failure_has_no_digest():
    progress = seen(STARTED[0], finished(MAIN, 2, 101.0, ThreadState.FAILED, NodeError("no", node="x")))
    document = {"digest": "", "files": [], **progress.document()}
    document |= {"ray": took_part([], progress), "seconds": dict.fromkeys(("start", "deploy", "run", "total"), 0.0)}

    assert drawn(*report(document)).splitlines()[:2] == ["Threads", "  0  failed  digest: seq 2 in 1.00 s on"]
