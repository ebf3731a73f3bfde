"""Processes count what they do, and say so when the supervisor asks."""

from __future__ import annotations

import pytest
from pydantic import BaseModel

from graphs.threads import ThreadState
from runtime import END, START, Graph
from runtime.cli import main
from runtime.testing import AsyncLocalRuntime


class State(BaseModel):
    text: str = "a b"
    answer: str = ""
    number: int = 0


def graph() -> Graph:
    g = Graph("counted", state=State)
    g.llm("ask", prompt="{text}", into="answer", model="scripted")

    @g.node
    def check(state: State) -> dict:
        if state.number:
            raise ValueError("no")
        return {}

    g.edge(START, "ask")
    g.edge("ask", "check")
    g.edge("check", END)
    return g


async def test_steps_tokens_and_failures_are_counted_where_they_are_run() -> None:
    async with AsyncLocalRuntime() as rt:
        await rt.deploy(graph())
        results = [await (await rt.session("counted")).run({"number": number}) for number in (0, 0, 1)]
        processes = (await rt.cluster()).processes
        steps = {
            kind: [sum(getattr(each.facts.steps, name) for each in processes if each.kind == kind) for name in NAMES]
            for kind in ("llm", "function", "host")
        }
        threads = sum(process.facts.threads_total for process in processes)

    assert [result.status for result in results] == [ThreadState.COMPLETED, ThreadState.COMPLETED, ThreadState.FAILED]
    # Each call reads "a b" and answers "scripted: a b".
    assert steps == {"llm": [3, 0, 15], "function": [3, 1, 0], "host": [0, 0, 0]}
    assert threads == 3
    assert all(process.facts.rss_bytes > 1_000_000 for process in processes)


NAMES = ("count", "failed", "tokens")


@pytest.mark.usefixtures("clean_environment")
def test_top_starts_nothing(monkeypatch, tmp_path, capsys) -> None:
    monkeypatch.setenv("GREENROOM_HOME", str(tmp_path / "home"))
    with pytest.raises(SystemExit) as ended:
        main(["top"])

    assert ended.value.code == 1
    assert capsys.readouterr() == ("", "error: no local Greenroom runs; `greenroom up` starts one\n")
