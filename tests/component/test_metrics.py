"""Metrics over HTTP, as Prometheus reads them."""

from __future__ import annotations

import logging
import socket
import threading

import httpx
from prometheus_client.parser import text_string_to_metric_families
from pydantic import BaseModel

from runtime import END, START, Graph
from runtime.testing import AsyncLocalRuntime
from tests.conftest import free_port


class State(BaseModel):
    text: str = "a b"
    answer: str = ""


def graph() -> Graph:
    g = Graph("measured", state=State)
    g.llm("ask", prompt="{text}", into="answer", model="scripted")
    g.edge(START, "ask")
    g.edge("ask", END)
    return g


async def scrape(port: int) -> dict[tuple[str, str], float]:
    """(name, kind and what else is told apart) -> sum over the processes."""
    async with httpx.AsyncClient() as client:
        response = await client.get(f"http://127.0.0.1:{port}/metrics")
    response.raise_for_status()
    found: dict[tuple[str, str], float] = {}
    for family in text_string_to_metric_families(response.text):
        for sample in family.samples:
            labels = [value for name, value in sample.labels.items() if name != "process"]
            key = (sample.name, " ".join(labels))
            found[key] = found.get(key, 0.0) + sample.value
    return found


async def test_what_was_done_is_told() -> None:
    port = free_port()
    async with AsyncLocalRuntime(metrics={"port": port}) as rt:
        before = await scrape(port)
        await rt.deploy(graph())
        for _ in range(3):
            await (await rt.session("measured")).run({})
        found = await scrape(port)

    assert ("greenroom_steps_total", "llm completed") not in before
    assert found["greenroom_steps_total", "llm completed"] == 3
    assert found["greenroom_steps_total", "llm failed"] == 0
    assert found["greenroom_model_tokens_total", "llm"] == 15
    assert found["greenroom_step_seconds_count", "llm"] == found["greenroom_step_seconds_bucket", "llm +Inf"] == 3
    assert found["greenroom_step_seconds_bucket", "llm 300.0"] == 3
    assert 0 < found["greenroom_step_seconds_sum", "llm"] < 60
    assert found["greenroom_threads_started_total", "host"] == 3
    assert found["greenroom_threads_running", "host"] == found["greenroom_turns_waiting", "host"] == 0
    assert found["greenroom_process_memory_bytes", "supervisor"] > 1_000_000
    assert found["greenroom_process_memory_bytes", "host"] > 1_000_000


async def test_it_ends_with_the_supervisor() -> None:
    port = free_port()
    threads = set(threading.enumerate())
    async with AsyncLocalRuntime(metrics={"port": port}):
        await scrape(port)

    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", port)) != 0
    left = [thread.name for thread in threading.enumerate() if thread not in threads]
    assert [name for name in left if not name.startswith("asyncio_")] == []  # those are the event loop's own


async def test_a_port_that_is_taken_is_told_and_harms_nobody(caplog) -> None:
    with socket.socket() as taken, caplog.at_level(logging.WARNING):
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        async with AsyncLocalRuntime(metrics={"port": port}) as rt:
            await rt.deploy(graph())
            result = await (await rt.session("measured")).run({})

    assert result.status == "completed"
    assert f"metrics are not served on port {port}" in caplog.text


async def test_nothing_listens_by_default() -> None:
    async with AsyncLocalRuntime() as rt:
        assert rt.config.metrics.port is None
