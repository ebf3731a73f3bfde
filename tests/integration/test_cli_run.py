"""`greenroom run` on Ray, and what other commands read of it afterwards, each in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.integration

GRAPH = """
from typing import Annotated
from pydantic import BaseModel
from runtime import END, START, Graph, append


class State(BaseModel):
    items: list[int] = []
    squares: list[int] = []
    notes: Annotated[list[str], append] = []


g = Graph("squaring", state=State)

@g.node
def square(item: int) -> int:
    if item < 0:
        raise ValueError(f"{item} is below zero")
    return item * item

@g.node
def note(state: State) -> dict:
    return {"notes": [f"{len(state.squares)} squares"]}

g.map("each", over="items", node="square", into="squares", max_concurrency=2)
g.edge(START, "each")
g.edge("each", "note")
g.edge("note", END)
"""

PROMPT = """
id: asking
state:
  text: string
  answer: {type: string, default: ""}
nodes:
  - {id: ask, type: llm, prompt: "{text}", into: answer}
edges:
  - {from: START, to: ask}
  - {from: ask, to: END}
"""


ASKS = """
from pydantic import BaseModel
from runtime import END, START, Graph


class State(BaseModel):
    number: int = 0


g = Graph("asks", state=State)
g.human("ask", question="How many?", into="number")
g.edge(START, "ask")
g.edge("ask", END)
"""


class Commands:
    """Runs `greenroom` in a directory that has two workflows."""

    def __init__(self, cwd: Path, environment: dict[str, str]) -> None:
        self._cwd = cwd
        self._environment = environment

    def __call__(self, *arguments: str, **environment: str) -> tuple[int, str, str]:
        """(exit code, standard output, standard error)."""
        done = subprocess.run(
            [sys.executable, "-m", "runtime.cli", *arguments],
            cwd=self._cwd,
            env={**self._environment, **environment},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )
        return done.returncode, done.stdout, done.stderr

    def json(self, *arguments: str) -> object:
        """What a command that must succeed prints with `--json`."""
        code, printed, errors = self(*arguments, "--json")
        assert (code, errors) == (0, "")
        return json.loads(printed)


@pytest.fixture
def greenroom(drivers, tmp_path):
    (tmp_path / "squares.py").write_text(GRAPH)
    (tmp_path / "asking.yaml").write_text(PROMPT)
    return Commands(tmp_path, dict(drivers.environment))


def test_a_script_runs_and_everything_about_it_can_be_read_afterwards(greenroom):
    result = greenroom.json("run", "squares.py:g", "--input", '{"items": [1, 2, 3]}')
    main = result["thread_id"]
    session = main.removesuffix(":0")
    shown = greenroom.json("threads", "show", main)
    (tree,) = greenroom.json("threads", "tree", session)
    text_tree = greenroom("threads", "tree", main)
    events = greenroom("threads", "events", main, "--json", "--after", "1")
    followed = greenroom("threads", "events", main, "--follow")
    children = [child["thread_id"] for child in tree["children"]]

    assert result["status"] == "completed"
    assert result["state"] == {"items": [1, 2, 3], "squares": [1, 4, 9], "notes": ["3 squares"]}
    assert shown["state"] == result["state"]
    assert (shown["status"], shown["seq"], shown["error"]) == ("completed", result["seq"], None)
    assert shown["workflow"].startswith("squaring@1.0.0+")
    assert children == [f"{main}.1.{index}" for index in range(3)]
    assert {child["status"] for child in tree["children"]} == {"completed"}
    assert {child["parent_thread_id"] for child in tree["children"]} == {main}
    assert [line.strip(" └├─").split()[0] for line in text_tree[1].splitlines()] == [
        main,
        "0",
        "0.1.0",
        "0.1.1",
        "0.1.2",
    ]
    assert [json.loads(line)["event"] for line in events[1].splitlines()] == [
        "BranchesJoined",
        "NodeFinished",
        "ThreadFinished",
    ]
    assert followed[0] == 0
    assert followed[1].splitlines()[-1].endswith("turn 1 completed")
    assert {row["thread_id"] for row in greenroom.json("threads", "ls", "--session", session)} == {main, *children}
    assert main in {row["thread_id"] for row in greenroom.json("threads", "ls", "--limit", "1000")}
    assert session in {row["session_id"] for row in greenroom.json("sessions", "ls")}
    assert greenroom.json("sessions", "ls", "--user", "nobody") == []
    assert len(greenroom.json("sessions", "show", session)["threads"]) == 4
    assert "squaring" in {row["workflow"] for row in greenroom.json("workflows", "ls")}


def test_a_deployed_workflow_runs_by_its_id_in_another_process(greenroom):
    deployed = greenroom.json("run", "asking.yaml", "--input", '{"text": "one"}')
    by_id = greenroom.json("run", "asking", "--input", '{"text": "two"}')
    by_version = greenroom.json("run", "asking@1.0.0", "--input", '{"text": "three"}')
    answers = [result["state"]["answer"] for result in (deployed, by_id, by_version)]

    assert answers == ["scripted: one", "scripted: two", "scripted: three"]
    assert greenroom.json("graph", "show", "asking")["id"] == "asking"


def test_local_and_ray_give_the_same_answer(greenroom):
    arguments = ("run", "squares.py:g", "--input", '{"items": [4, 5]}')
    here, on_ray = greenroom.json(*arguments, "--local"), greenroom.json(*arguments)
    for result in (here, on_ray):
        del result["thread_id"], result["seconds"]

    assert here == on_ray


def test_events_are_streamed_while_it_runs(greenroom):
    code, printed, _ = greenroom("run", "squares.py:g", "--stream", "--json", "--input", '{"items": [2]}')
    events = [json.loads(line) for line in printed.splitlines()]

    assert code == 0
    assert events[0]["event"] == "TurnStarted"
    assert [event["node"] for event in events if event["event"] == "NodeFinished"] == ["square", "note"]
    assert events[-1]["event"] == "Result"
    assert events[-1]["state"]["squares"] == [4]


def test_a_failure_in_a_branch_is_told_by_its_place_and_cause(greenroom):
    code, printed, errors = greenroom("run", "squares.py:g", "--input", '{"items": [1, -2]}')

    assert code == 1
    assert " failed in " in printed.splitlines()[0]
    assert errors.startswith("error: thread ")
    assert errors.endswith("-2 is below zero\n")
    assert errors.count("\n") == 1


def test_a_model_server_that_is_down_fails_the_thread(greenroom):
    model = '{"provider": "openai", "base_url": "http://127.0.0.1:9/v1", "model": "m", "max_retries": 1}'
    code, _, errors = greenroom(
        "run",
        "asking.yaml",
        "--input",
        '{"text": "a"}',
        GREENROOM_MODELS__DEFAULT=model,
        GREENROOM_MODELS__DEFAULT__PROVIDER="openai",
    )

    assert code == 1
    assert "http://127.0.0.1:9/v1" in errors
    assert errors.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["run", "askng"], 'no workflow "askng": no template, file or graph has this name, and none is deployed'),
        (["graph", "show", "askng"], 'no workflow "askng": no template, file or graph has this name'),
        (["threads", "show", "nope:0"], "no thread 'nope:0'; `greenroom threads ls` lists them"),
        (["threads", "events", "nope:0"], "no thread 'nope:0'; `greenroom threads ls` lists them"),
        (["threads", "tree", "nope"], "no session 'nope'; `greenroom sessions ls` lists them"),
        (["threads", "tree", "nope:0"], "no thread 'nope:0'; `greenroom threads ls` lists them"),
        (["threads", "ls", "--session", "nope"], "no session 'nope'; `greenroom sessions ls` lists them"),
        (["sessions", "show", "nope"], "no session 'nope'; `greenroom sessions ls` lists them"),
    ],
)
def test_what_is_not_there_is_told_in_one_line(greenroom, arguments, error):
    outcome = greenroom(*arguments)

    assert outcome[:2] == (1, "")
    assert outcome[2].startswith(f"error: {error}")
    assert outcome[2].count("\n") == 1


@pytest.mark.parametrize("arguments", [["run", "asking.yaml", "--input", '{"text": "a"}'], ["threads", "ls"]])
def test_a_store_that_cannot_be_reached_is_told_in_one_line(greenroom, arguments):
    outcome = greenroom(*arguments, GREENROOM_REDIS__URL="redis://:hush@127.0.0.1:1/0")

    assert outcome[:2] == (1, "")
    assert outcome[2].startswith("error: the store at redis://127.0.0.1:1/0 cannot be reached")
    assert outcome[2].count("\n") == 1
    assert "hush" not in outcome[2]


def test_another_way_is_tried_compared_and_taken(greenroom):
    main = greenroom.json("run", "squares.py:g", "--input", '{"items": [1, 2]}')["thread_id"]
    session = main.removesuffix(":0")
    made = greenroom.json("snapshots", "create", session, "--name", "first", "--tag", "keep")
    branched = greenroom.json("threads", "branch", main, "--at", "1", "--set", "items=[3, 4]", "--name", "others")
    alt = branched["thread_id"]
    compared = greenroom.json("threads", "diff", main, "4", "--other", alt)
    (tree,) = greenroom.json("threads", "tree", main)
    greenroom.json("threads", "promote", alt)
    promoted = greenroom.json("threads", "show", main)
    greenroom.json("snapshots", "restore", session, made["id"])
    restored = greenroom.json("threads", "show", main)
    history = greenroom.json("threads", "history", main)

    assert branched["state"] == {"items": [3, 4], "squares": [9, 16], "notes": ["2 squares"]}
    assert [(each["field_path"], each["old_value"], each["new_value"]) for each in compared] == [
        ("items[0]", 1, 3),
        ("items[1]", 2, 4),
        ("squares[0]", 1, 9),
        ("squares[1]", 4, 16),
    ]
    assert [child["thread_id"] for child in tree["children"]] == [f"{main}.1.0", f"{main}.1.1", alt]
    assert promoted["state"] == branched["state"]
    assert restored["state"]["squares"] == [1, 4]
    assert [(each["seq"], each["operation"]) for each in history] == [
        (1, "create"),
        (2, "update"),
        (3, "update"),
        (5, "restore"),
        (6, "restore"),
    ]
    assert [each["type"] for each in greenroom.json("snapshots", "ls", main)] == ["automatic", "named"]
    assert [each["name"] for each in greenroom.json("snapshots", "ls", session)] == ["first"]
    assert "squares[0]" in greenroom("threads", "history", main)[1]
    for arguments, message in (
        (("threads", "promote", main), "is no what-if branch"),
        (("threads", "branch", "nobody:0"), "no thread 'nobody:0'"),
        (("snapshots", "restore", session, "nothing"), "snapshot 'nothing'"),
        (("threads", "diff", main, "99"), "has no seq 99"),
    ):
        code, printed, errors = greenroom(*arguments)
        assert (code, printed) == (1, "")
        assert errors.startswith("error: ")
        assert message in errors
    assert greenroom("threads", "branch", main, "--set", "items")[0] == 2


def test_a_question_is_answered_and_turns_are_paused_and_cancelled(greenroom, tmp_path):
    (tmp_path / "asks.py").write_text(ASKS)
    asked = greenroom.json("run", "asks.py:g", "--input", "{}")
    main = asked["thread_id"]
    wrong = greenroom("threads", "answer", main, "seven")
    paused = greenroom("threads", "pause", main)
    answered = greenroom.json("threads", "answer", main, "7")
    events = greenroom("threads", "events", main, "--follow")[1]
    other = greenroom.json("run", "asks.py:g", "--input", "{}")["thread_id"]
    cancelled = greenroom("threads", "cancel", other, "--reason", "no more")

    assert (asked["status"], asked["pause"]["question"]) == ("paused", "How many?")
    assert (wrong[0], wrong[1]) == (1, "")
    assert "valid integer" in wrong[2]
    assert paused[0] == 1
    assert answered["thread_id"] == main
    assert "ask paused: How many?" in events
    assert 'ask resumed: {"number":7}' in events
    assert greenroom.json("threads", "show", main)["state"] == {"number": 7}
    assert cancelled[:2] == (0, f"cancelled {other}, which is cancelled\n")
    assert greenroom.json("threads", "show", other)["error"]["fields"] == {"reason": "no more"}
    assert greenroom("threads", "resume", main)[0] == 1


def test_sessions_are_paused_resumed_and_aborted(greenroom, tmp_path):
    (tmp_path / "asks.py").write_text(ASKS)
    main = greenroom.json("run", "asks.py:g", "--input", "{}")["thread_id"]
    session = main.partition(":")[0]
    paused = greenroom.json("sessions", "pause", session, "--reason", "lunch")
    greenroom("threads", "answer", main, "7")
    between = greenroom.json("threads", "show", main)
    resumed = greenroom("sessions", "resume", session)
    events = greenroom("threads", "events", main, "--follow")[1]
    aborted = greenroom("sessions", "abort", session)
    wrong = greenroom("sessions", "resume", session)

    assert paused == {"session_id": session, "state": "paused"}
    assert (between["status"], between["state"]) == ("paused", {"number": 7})
    assert resumed[:2] == (0, f"{session} is active\n")
    assert "paused: with its session: lunch" in events
    assert "turn 1 completed" in events
    assert aborted[:2] == (0, f"{session} is aborted\n")
    assert (wrong[0], wrong[1]) == (1, "")
    assert "an aborted session cannot become active" in wrong[2]
    assert greenroom("sessions", "pause", "nobody")[0] == 1
