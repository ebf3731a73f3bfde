"""The program of the README's tour leaves the same journal in one event loop and on Ray."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import pytest

from graphs.journal import EntryKind
from runtime import AsyncLocalRuntime, AsyncRuntime, Graph

PROGRAM = Path(__file__).parents[2] / "examples" / "triage.py"


@pytest.mark.integration
@pytest.mark.usefixtures("clean_environment")
async def test_same_result_and_journal(drivers) -> None:
    """Statuses, states, writes, usage and cursors are equal; only times and addresses differ."""
    graph = runpy.run_path(str(PROGRAM))["g"]
    scripted = {"default": {"provider": "scripted"}}

    async with AsyncLocalRuntime(models=scripted) as local:
        expected = [await _record(local, graph, text) for text in ("6 * 7", "hi", "urgent: hi")]
    async with AsyncRuntime(home=drivers.home, models=scripted) as ray:
        actual = [await _record(ray, graph, text) for text in ("6 * 7", "hi", "urgent: hi")]

    assert actual == expected
    assert [kind for kind, *_ in expected[2][1]] == [
        EntryKind.TURN_STARTED,
        EntryKind.STEP_FINISHED,
        EntryKind.STEP_FINISHED,
        EntryKind.STEP_FINISHED,
        EntryKind.TURN_FINISHED,
    ]


async def _record(rt: AsyncLocalRuntime | AsyncRuntime, graph: Graph, text: str) -> tuple[Any, list[Any]]:
    """Result and journal of a turn, without what differs from run to run."""
    await rt.deploy(graph)
    session = await rt.session("triage")
    result = await session.run({"text": text})
    entries = await rt.records.store.journal.read(session.thread)
    journal = [
        (entry.kind, entry.seq, entry.node, entry.cursor, entry.attempt, entry.deltas, entry.usage, entry.error)
        for entry in entries
    ]
    return (result.status, dict(result.state), result.usage, result.seq, result.error), journal
