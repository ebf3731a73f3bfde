"""`greenroom run --local`: the whole command without Ray and without a store."""

from __future__ import annotations

import io
import json
import re
import sys

import pytest

from runtime.cli import main

GRAPHS = """
from typing import Annotated
from pydantic import BaseModel
from runtime import END, START, Graph, append


class State(BaseModel):
    text: str = ""
    number: int = 0
    notes: Annotated[list[str], append] = []


g = Graph("shouting", state=State)

@g.node
def shout(state: State) -> dict:
    return {"notes": [state.text.upper()]}

g.edge(START, "shout")
g.edge("shout", END)

talk = Graph("talking", state=State)
talk.llm("answer", prompt="{text}", into="notes", model="scripted")
talk.edge(START, "answer")
talk.edge("answer", END)

broken = Graph("breaking", state=State)

@broken.node
def breaks(state: State) -> dict:
    raise ValueError("no\\nway")

broken.edge(START, "breaks")
broken.edge("breaks", END)

slow = Graph("waiting", state=State)

@slow.node
async def waits(state: State) -> dict:
    import asyncio
    await asyncio.Event().wait()

slow.edge(START, "waits")
slow.edge("waits", END)

lost = Graph("lost", state=State)
lost.llm("one", prompt="{txt}", into="notes", model="nope")
lost.tool("two", tool="calculater", into="text")
lost.edge(START, "one")
lost.edge("one", "two")
lost.edge("two", END)
number = 5

asking = Graph("asking", state=State)
asking.wait("nap", seconds=0.01)
asking.human("ask", question="Send {text}?", into="number")
asking.edge(START, "nap")
asking.edge("nap", "ask")
asking.edge("ask", END)
"""

SPEC = """
id: sums
state:
  text: string
  answer: string
nodes:
  - {id: compute, type: tool, tool: calculator, arguments: {expression: "{text}"}, into: answer}
edges:
  - {from: START, to: compute}
  - {from: compute, to: END}
"""


@pytest.fixture
def greenroom(clean_environment, monkeypatch, tmp_path, capsys):
    """Runs a command where `graphs_here.py` and `sums.yaml` are; (exit code, standard output, standard error)."""
    monkeypatch.setenv("GREENROOM_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "graphs_here.py").write_text(GRAPHS)
    (tmp_path / "sums.yaml").write_text(SPEC)

    def run(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        sys.modules.pop("graphs_here", None)
        return ended.value.code, *capsys.readouterr()

    return run


@pytest.fixture
def slow_model(monkeypatch):
    """Tokens are told a few times a second; those of a quicker answer are recorded before anybody hears of them."""
    model = {"provider": "scripted", "latency": {"mean_s": 0.3}}
    monkeypatch.setenv("GREENROOM_MODELS__SCRIPTED", json.dumps(model))


def test_a_graph_in_a_script_runs_and_its_state_is_printed(greenroom):
    code, printed, errors = greenroom("run", "graphs_here.py:g", "--local", "--input", '{"text": "hi"}')
    head, *state = printed.splitlines()

    assert (code, errors) == (0, "")
    assert re.fullmatch(r"thread \w+:0 completed in \d+\.\d\d s at seq 3", head)
    assert state == ["text: hi", "number: 0", "notes:", "- HI"]


@pytest.mark.parametrize("workflow", ["graphs_here.py:g", "graphs_here:g"])
def test_the_result_as_json(greenroom, workflow):
    code, printed, errors = greenroom("run", workflow, "--local", "--json", "--input", '{"text": "hi"}')
    result = json.loads(printed)
    thread_id, seconds = result.pop("thread_id"), result.pop("seconds")

    assert (code, errors) == (0, "")
    assert thread_id.endswith(":0")
    assert seconds >= 0
    assert result == {
        "turn": 1,
        "status": "completed",
        "seq": 3,
        "usage": {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0, "calls": 0},
        "state": {"text": "hi", "number": 0, "notes": ["HI"]},
        "error": None,
    }


def test_a_file_runs_with_input_from_a_file_or_from_standard_input(greenroom, tmp_path, monkeypatch):
    (tmp_path / "input.json").write_text('{"text": "6 * 7"}')
    from_file = greenroom("run", "sums.yaml", "--local", "--json", "--input-file", "input.json")
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b'{"text": "2 ** 5"}')))
    from_stdin = greenroom("run", "sums.yaml", "--local", "--json", "--input-file", "-")

    assert [json.loads(printed)["state"]["answer"] for _, printed, _ in (from_file, from_stdin)] == ["42", "32"]


def test_events_and_tokens_are_shown_as_they_come(greenroom, slow_model):
    code, printed, _ = greenroom("run", "graphs_here.py:talk", "--local", "--stream", "--input", '{"text": "a b"}')
    said = [line for line in printed.splitlines() if "answer says" in line]

    assert code == 0
    assert [re.sub(r" +", " ", line).strip() for line in said] == ["0 2 answer says: scripted: a b"]
    assert "turn 1 started" in printed
    assert "turn 1 completed" in printed


def test_events_as_json_end_with_the_result(greenroom, slow_model):
    _, printed, _ = greenroom("run", "graphs_here.py:talk", "--local", "--stream", "--json", "--input", '{"text": "a"}')
    events = [json.loads(line) for line in printed.splitlines()]
    kinds = [event["event"] for event in events if event["event"] != "Token"]

    assert kinds == ["TurnStarted", "NodeStarted", "NodeFinished", "ThreadFinished", "Result"]
    assert "".join(event["text"] for event in events if event["event"] == "Token") == "scripted: a"
    assert events[-1]["state"]["notes"] == ["scripted: a"]


def test_a_turn_that_asks_a_person_is_shown_with_its_question(greenroom):
    """Also with `--stream`; a timer before the question is waited for."""
    arguments = ("run", "graphs_here.py:asking", "--local", "--input", '{"text": "it"}')
    plain, streamed, as_json = greenroom(*arguments), greenroom(*arguments, "--stream"), greenroom(*arguments, "--json")
    head, *rest = plain[1].splitlines()

    assert (plain[0], streamed[0], as_json[0]) == (0, 0, 0)
    assert re.fullmatch(r"thread \w+:0 paused in \d+\.\d\d s at seq 4", head)
    assert rest == ["asks: Send it?", "text: it", "number: 0", "notes: []"]
    assert "asks: Send it?" in streamed[1].splitlines()
    assert json.loads(as_json[1])["pause"] == {"kind": "human", "node": "ask", "question": "Send it?"}


def test_a_thread_that_fails_says_why_in_one_line(greenroom):
    code, printed, errors = greenroom("run", "graphs_here.py:broken", "--local")
    as_json = greenroom("run", "graphs_here.py:broken", "--local", "--json")

    assert code == as_json[0] == 1
    assert re.fullmatch(r"thread \w+:0 failed in \d+\.\d\d s at seq 3", printed.splitlines()[0])
    assert re.fullmatch(r"error: thread \w+:0 failed: .*no way.*\n", errors)
    assert json.loads(as_json[1])["error"]["code"] == json.loads(as_json[2])["error"]["code"] == "NodeError"


def test_a_thread_that_takes_too_long_is_cancelled(greenroom):
    code, printed, errors = greenroom("run", "graphs_here.py:slow", "--local", "--timeout-s", "0.2")

    assert (code, printed) == (1, "")
    assert re.fullmatch(
        r"error: thread \w+:0 was not over after 0\.2 s and was cancelled; give it more --timeout-s\n", errors
    )


def test_a_model_server_that_is_down_fails_the_thread_after_its_retries(greenroom, monkeypatch):
    model = {"provider": "openai", "base_url": "http://127.0.0.1:9/v1", "model": "m", "max_retries": 1}
    monkeypatch.setenv("GREENROOM_MODELS__SCRIPTED", json.dumps(model))
    code, _, errors = greenroom("run", "graphs_here.py:talk", "--local", "--input", '{"text": "a"}')

    assert code == 1
    assert re.fullmatch(
        r'error: thread \w+:0 failed: model "scripted" at http://127\.0\.0\.1:9/v1: .*\(2 attempts\).*\n', errors
    )


@pytest.mark.parametrize(
    ("arguments", "code", "error"),
    [
        (
            ["graphs_here.py:g", "--input", '{"text": 5, "numbr": 1}'],
            1,
            'input: text: Input should be a valid string; numbr: no such channel; did you mean "number"?',
        ),
        (["graphs_here.py:g", "--input", "[1]"], 2, "Invalid value for --input: must be a JSON object, such as "),
        (["graphs_here.py:g", "--input", "{"], 2, "Invalid value for --input: not valid JSON (Expecting property name"),
        (["graphs_here.py:g", "--input", "[" * 99_999], 2, "Invalid value for --input: nested too deeply."),
        (
            ["graphs_here.py:g", "--input-file", "nope.json"],
            2,
            "Invalid value for --input-file: cannot read nope.json: ",
        ),
        (["graphs_here.py:g", "--input-file", "home.bin"], 2, "Invalid value for --input-file: home.bin is not UTF-8"),
        (
            ["graphs_here.py:g", "--input", "{}", "--input-file", "x"],
            2,
            "Invalid value for --input-file: cannot go with",
        ),
        (["graphs_here.py:g", "--inptu", "{}"], 2, "No such option: --inptu"),
        (["graphs_here.py:g", "--timeout-s", "-1"], 2, "Invalid value for '--timeout-s'"),
        ([], 2, "Missing argument 'WORKFLOW'. See greenroom --help"),
        (["graphs_here.py:h"], 1, 'graphs_here.py has no "h"; there is graphs_here.py:g, graphs_here.py:talk, '),
        (["graphs_here.py:number"], 1, 'graphs_here.py has no graph called "number"; there is graphs_here.py:g, '),
        (["graphs_here.py"], 1, "say which graph of graphs_here.py: there is graphs_here.py:g, "),
        (["absent.py:g"], 1, "cannot read absent.py: there is no such file"),
        (["absent:g"], 1, "cannot import absent: ModuleNotFoundError: No module named 'absent'"),
        (["raises.py:g"], 1, "cannot import raises.py: ZeroDivisionError: division by zero"),
        (["empty.py:g"], 1, 'empty.py has no "g"; it defines no graph at top level'),
        (["absent.yaml"], 1, "cannot read absent.yaml: No such file or directory"),
        (["digst"], 1, 'no workflow "digst": no template, file or graph has this name, and none is deployed; did you'),
        (["bad.yaml"], 1, "workflow cannot be read: line 2, column 1: "),
        (["bad.json"], 1, "workflow cannot be read: line 1, column 2: "),
    ],
)
def test_wrong_input_is_told_in_one_line(greenroom, tmp_path, arguments, code, error):
    (tmp_path / "raises.py").write_text("1 / 0")
    (tmp_path / "empty.py").write_text("")
    (tmp_path / "home.bin").write_bytes(b"\xff")
    (tmp_path / "bad.yaml").write_text("id: [x\n")
    (tmp_path / "bad.json").write_text("{,}")
    outcome = greenroom("run", *arguments, "--local")

    assert outcome[:2] == (code, "")
    assert outcome[2].startswith(f"error: {error}")
    assert outcome[2].count("\n") == 1


def test_a_graph_with_problems_is_told_with_all_of_them(greenroom):
    code, printed, errors = greenroom("run", "graphs_here.py:lost", "--local")

    assert (code, printed) == (1, "")
    assert 'error: workflow "lost": ' in errors
    for problem in ('no channel "txt"', 'no model "nope"', 'no tool "calculater"; did you mean "calculator"?'):
        assert errors.count(problem) == 1
