"""Pauses on Ray and Valkey: answers and times reach threads whose hosts are gone."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Annotated

import pytest
from pydantic import BaseModel

from graphs.journal import EntryKind
from runtime import END, START, Graph, ThreadState, append
from tests.faults.cluster import Cluster
from tests.faults.conftest import SCRIPTED

pytestmark = pytest.mark.integration


class Case(BaseModel):
    answer: str = ""
    notes: Annotated[list[str], append] = []


def pausing(name: str) -> Graph:
    """START -> before -> pause -> after -> END, without the pause."""
    g = Graph(name, state=Case)
    g.node(lambda state: {"notes": "before"}, name="before")
    g.node(lambda state: {"notes": "after"}, name="after")
    g.edge(START, "before")
    g.edge("before", "pause")
    g.edge("pause", "after")
    g.edge("after", END)
    return g


def answered_by_another_driver(home: Path, thread_id: str, value: str) -> None:
    script = f"""
        from runtime import Runtime

        with Runtime(home={str(home)!r}, models={SCRIPTED!r}) as rt:
            rt.thread({thread_id!r}).answer({value!r})
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(script)], check=True, timeout=120)


def test_a_question_outlives_its_host_and_another_driver_answers_it(cluster: Cluster) -> None:
    g = pausing("asking")
    g.human("pause", question="Go on?", into="answer")
    cluster.rt.deploy(g)
    thread = cluster.rt.session("asking").submit({})
    waiting = thread.result(timeout_s=60)
    cluster.kill(cluster.head(thread.id).host)

    answered_by_another_driver(cluster.home, thread.id, "yes")
    result = thread.result(timeout_s=60)

    assert (waiting.status, waiting.pause.question) == (ThreadState.PAUSED, "Go on?")
    assert (result.status, result.state) == (ThreadState.COMPLETED, {"answer": "yes", "notes": ["before", "after"]})
    assert [entry.kind for entry in cluster.entries(thread.id)] == [
        EntryKind.TURN_STARTED,
        EntryKind.STEP_FINISHED,
        EntryKind.PAUSED,
        EntryKind.RESUMED,
        EntryKind.STEP_FINISHED,
        EntryKind.TURN_FINISHED,
    ]


def test_a_time_comes_though_the_host_is_gone(cluster: Cluster) -> None:
    g = pausing("sleeping")
    g.wait("pause", seconds=4.0)
    cluster.rt.deploy(g)
    thread = cluster.rt.session("sleeping").submit({})
    head = cluster.reached(thread.id, 3)
    assert head.cursor.status is ThreadState.PAUSED
    cluster.kill(head.host)

    result = thread.result(timeout_s=60)

    paused, resumed = (
        entry for entry in cluster.entries(thread.id) if entry.kind in (EntryKind.PAUSED, EntryKind.RESUMED)
    )
    assert result.state.notes == ["before", "after"]
    assert resumed.at >= paused.cursor.pause.until
