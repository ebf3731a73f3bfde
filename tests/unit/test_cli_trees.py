"""Threads as trees, and events as lines."""

from __future__ import annotations

import io
import json

import pytest
from rich.console import Console

from actors.ports import Head
from graphs.errors import ErrorInfo, NodeError
from graphs.journal import Cursor, Fork, Usage
from graphs.threads import Thread, ThreadMetadata, ThreadState, ThreadType
from runtime.cli.facts import DELTA_CHARS, EventPrinter, describe
from runtime.cli.trees import drawn, head_document, nested, parent_of, thread_label
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


def document(thread_id: str, **fields) -> dict:
    return {"thread_id": thread_id, **fields}


@pytest.mark.parametrize(
    ("thread_id", "parent"),
    [
        ("s:0", ""),
        ("s:0.1.0", "s:0"),
        ("s:0.1.12.3.4", "s:0.1.12"),
        ("a.b:c:0", ""),
        ("a.b.c:0.1.0", "a.b.c:0"),
        ("s:0~3-ab", "s:0"),
        ("s:0~3-ab.1.0", "s:0~3-ab"),
        ("s:0.1.0~2-1f", "s:0.1.0"),
        ("s~t:0", ""),
    ],
)
def test_the_parent_of_a_thread_is_in_its_id(thread_id, parent):
    assert parent_of(thread_id) == parent


def test_threads_are_nested_in_the_order_in_which_they_were_forked():
    ids = ["s:0.10.0", "s:0.2.10", "s:0.2.2.3.0", "s:0", "s:0.2.2"]

    assert nested(map(document, ids)) == [
        document(
            "s:0",
            children=[
                document("s:0.2.2", children=[document("s:0.2.2.3.0", children=[])]),
                document("s:0.2.10", children=[]),
                document("s:0.10.0", children=[]),
            ],
        )
    ]


def test_what_if_branches_are_nested_too():
    ids = ["s:0~2-ff.1.0", "s:0", "s:0~2-ff", "s:0.1.0", "s:0~10-1", "s:0.1.0~1-e"]

    assert nested(map(document, ids)) == [
        document(
            "s:0",
            children=[
                document("s:0.1.0", children=[document("s:0.1.0~1-e", children=[])]),
                document("s:0~2-ff", children=[document("s:0~2-ff.1.0", children=[])]),
                document("s:0~10-1", children=[]),
            ],
        )
    ]


def test_a_thread_without_its_parent_is_a_root():
    assert nested([document("s:0.1.0.2.0"), document("s:0.1.0")]) == [
        document("s:0.1.0", children=[document("s:0.1.0.2.0", children=[])])
    ]


def head(thread_id: str, **cursor) -> Head:
    cursor = Cursor(turn=1, status=ThreadState.RUNNING, **cursor)
    thread = Thread(
        id=thread_id,
        session_id="s",
        thread_type=ThreadType.MAIN,
        workflow="w@1+b",
        state=cursor.status,
        metadata=ThreadMetadata(name="each[0]"),
        created_at=100.0,
        updated_at=101.5,
    )
    return Head(thread=thread, seq=4, epoch=1, cursor=cursor, host="host-1")


def test_the_document_of_a_thread_has_its_place():
    assert head_document(head("s:0", fork=Fork(node="each", seq=2, join="x", items=3))) == {
        "thread_id": "s:0",
        "session_id": "s",
        "parent_thread_id": None,
        "type": "main",
        "name": "each[0]",
        "workflow": "w@1+b",
        "status": "running",
        "node": "each",
        "turn": 1,
        "seq": 4,
        "host": "host-1",
        "created_at": 100.0,
        "updated_at": 101.5,
        "seconds": 1.5,
        "error": None,
    }


def test_a_tree_is_drawn_with_what_failed_and_why():
    documents = [
        head_document(head("s:0", node="a")),
        head_document(head("s:0.1.0", error=ErrorInfo(code="NodeError", message="[no]\nway"))),
    ]
    console = Console(width=120, markup=False, color_system=None)
    with console.capture() as capture:
        console.print(drawn(nested(documents), "s", thread_label))

    assert [line.rstrip() for line in capture.get().splitlines()] == [
        "s",
        "└── 0  running at a  each[0]  w@1+b  seq 4  1.50 s  host-1",
        "    └── 0.1.0  running  each[0]  w@1+b  seq 4  1.50 s  host-1  [no] way",
    ]


BASE = {"thread_id": "s:0", "seq": 3, "at": 100.0}
FINISHED = NodeFinished(
    **BASE, node="n", delta={"a": [1]}, attempt=1, started_at=99.5, by="llm-5", usage=Usage(prompt_tokens=7, calls=1)
)


@pytest.mark.parametrize(
    ("event", "line"),
    [
        (TurnStarted(**BASE, turn=2), "turn 2 started"),
        (NodeStarted(**BASE, node="n", attempt=1, by="llm-5"), "n runs on llm-5"),
        (NodeStarted(**BASE, node="n", attempt=2, by="llm-5"), "n runs on llm-5, attempt 2"),
        (FINISHED, 'n done on llm-5 in 0.500 s, 7 tokens: {"a":[1]}'),
        (
            NodeFailed(**BASE, node="n", error=NodeError("no", node="n"), attempt=1, by="llm-5"),
            "n failed on llm-5: no",
        ),
        (BranchesStarted(**BASE, node="n", threads=("a", "b")), "n starts 2 threads"),
        (BranchesJoined(**BASE, node="n", delta={}), "n joined: {}"),
        (ThreadFinished(**BASE, turn=2, status=ThreadState.COMPLETED, usage=Usage()), "turn 2 completed"),
        (
            ThreadFinished(**BASE, turn=2, status=ThreadState.FAILED, usage=Usage(), error=NodeError("no", node="n")),
            "turn 2 failed: no",
        ),
    ],
)
def test_events_are_a_line_each(event, line):
    assert describe(event) == line


def test_long_writes_are_cut():
    joined = BranchesJoined(**BASE, node="n", delta={"text": "x" * 1_000})

    assert len(describe(joined)) == len("n joined: ") + DELTA_CHARS


def printed(*events, as_json: bool = False) -> list[str]:
    file = io.StringIO()
    printer = EventPrinter(as_json=as_json, file=file)
    for event in events:
        printer.show(event)
    printer.end_line()
    return file.getvalue().splitlines()


def test_tokens_of_one_node_stand_on_one_line():
    def token(thread_id: str, text: str) -> Token:
        return Token(thread_id=thread_id, seq=3, at=100.0, node="n", text=text)

    lines = printed(
        token("s:0", "Hello"), token("s:0", ",\nworld\x1b[31m"), token("s:0.1.0", "Hi"), FINISHED, token("s:0", "!")
    )

    assert [line.strip() for line in lines[:2]] == [
        "0           3  n says: Hello, world [31m",
        "0.1.0       3  n says: Hi",
    ]
    assert lines[2].endswith('0           3  n done on llm-5 in 0.500 s, 7 tokens: {"a":[1]}')
    assert lines[3].endswith("n says: !")


def test_events_are_a_document_each():
    assert [json.loads(line) for line in printed(FINISHED, as_json=True)] == [
        {
            "event": "NodeFinished",
            "thread_id": "s:0",
            "seq": 3,
            "at": 100.0,
            "node": "n",
            "delta": {"a": [1]},
            "attempt": 1,
            "started_at": 99.5,
            "by": "llm-5",
            "usage": {"prompt_tokens": 7, "completion_tokens": 0, "total_tokens": 7, "calls": 1},
        }
    ]
