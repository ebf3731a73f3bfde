"""An executor that dies in the middle of a call leaves one request, one answer and one usage of the completed step."""

from __future__ import annotations

from collections import Counter

from graphs.history import HistoryRecord
from tests.faults.crashes import Crash, Point, crashing, run
from tests.faults.recorded import EVERYTHING
from tests.faults.scenarios import SCENARIOS
from tests.faults.test_companion import at_rest, crashes

CALLS = SCENARIOS["calls"]


async def recorded(crash: Crash | None) -> tuple[list[HistoryRecord], list[Point]]:
    """The history of two turns, in which an executor may die, and all points at which one could have."""
    async with crashing(crash) as (driver, world):
        for graph in CALLS.build():
            await driver.deploy(graph)
        world.start_counting()
        await driver.life.run(CALLS.drive(driver))
        await at_rest(driver, world)
        world.stop_counting()
        found = [record async for page in world.store.history.pages(EVERYTHING, size=100) for record in page]
        return found, world.points


def test_once_whichever_executor_dies_and_when() -> None:
    calm, points = run(recorded(None))
    expected = Counter((record.record_type, record.node, record.thread_id) for record in calm)
    attempts: Counter[tuple[str, int]] = Counter()
    for crash in crashes(points, "executor"):
        records, _ = run(recorded(crash))
        assert Counter((record.record_type, record.node, record.thread_id) for record in records) == expected, crash
        attempts.update((record.record_type.value, record.attempt) for record in records)

    assert {record.record_type.value for record in calm} == {
        "llm_request",
        "llm_response",
        "token_usage",
        "cost_record",
        "tool_execution",
        "workflow_execution",
    }
    # The run of a step that has died leaves nothing but the number of the one that did the work.
    assert attempts["llm_response", 2] > 0
    assert attempts["tool_execution", 2] > 0
    assert max(attempt for _, attempt in attempts) == 2
