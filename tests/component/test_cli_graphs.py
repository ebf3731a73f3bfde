"""`greenroom graph` and `greenroom tools`, which need no store for files, templates and Python."""

from __future__ import annotations

import json
import sys

import pytest

from graphs.workflow.registry import template
from graphs.workflow.render import mermaid
from graphs.workflow.spec import dump, load, to_document
from runtime.cli import main

BAD = """
id: bad
state:
  text: string
nodes:
  - {id: a, type: llm, prompt: "{txt}", into: text, model: nope}
  - {id: b, type: tool, tool: calculater, into: text}
  - {id: c, type: function, function: "no.such:thing"}
edges:
  - {from: START, to: a}
  - {from: a, to: anwser}
"""
PROBLEMS = [
    'nodes[0].config.prompt: no channel "txt"; did you mean "text"?',
    'nodes[0].config.model: no model "nope"; choose one of "default", "local", "scripted"',
    'nodes[1].config.tool: no tool "calculater"; did you mean "calculator"?',
    "nodes[2].config.function: cannot import \"no.such:thing\": No module named 'no'; install its module or correct "
    "the name",
    'edges[0].target: no node "anwser"',
]

GRAPH = """
from pydantic import BaseModel
from runtime import END, START, Graph

class State(BaseModel):
    text: str = ""

g = Graph("shouting", state=State)

@g.node
def shout(state): ...

g.edge(START, "shout")
g.edge("shout", {target})
"""


@pytest.fixture
def greenroom(clean_environment, monkeypatch, tmp_path, capsys):
    """Runs a command in a directory of its own; (exit code, standard output, standard error)."""
    monkeypatch.setenv("GREENROOM_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(sys, "path", list(sys.path))

    def run(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        sys.modules.pop("shouting", None)
        return ended.value.code, *capsys.readouterr()

    yield run
    assert not (tmp_path / "home").exists(), "no store is needed"


def test_a_template_is_shown_as_a_flowchart_or_whole(greenroom):
    graph = template("digest")

    assert greenroom("graph", "show", "digest") == (0, mermaid(graph), "")
    assert json.loads(greenroom("graph", "show", "digest", "--json")[1]) == to_document(graph)


@pytest.mark.parametrize("form", ["yaml", "json"])
def test_what_is_exported_reads_back_as_the_same_graph(greenroom, tmp_path, form):
    printed = greenroom("graph", "export", "digest", "--to", form)
    written = greenroom("graph", "export", "digest", "--to", form, "-o", "digest.out")

    assert printed == (0, dump(template("digest"), form), "")
    assert written == (0, "", "")
    assert load((tmp_path / "digest.out").read_text(), form) == template("digest")


def test_a_graph_in_python_is_exported_and_checked(greenroom, tmp_path):
    (tmp_path / "shouting.py").write_text(GRAPH.format(target="END"))
    code, printed, _ = greenroom("graph", "export", "shouting.py:g")

    assert code == 0
    assert load(printed, "yaml").id == "shouting"
    assert greenroom("graph", "validate", "shouting.py:g") == (0, "shouting is valid\n", "")


def test_a_graph_in_python_that_is_wrong_is_shown_but_not_exported(greenroom, tmp_path):
    (tmp_path / "shouting.py").write_text(GRAPH.format(target="'shoot'"))
    shown = greenroom("graph", "show", "shouting.py:g")
    checked = greenroom("graph", "validate", "shouting.py:g", "--json")
    exported = greenroom("graph", "export", "shouting.py:g")

    assert (shown[0], shown[1].splitlines()[0]) == (0, "flowchart TD")
    assert checked[0] == 1
    assert json.loads(checked[1]) == {
        "workflow": "shouting",
        "valid": False,
        "problems": ['edges[1].target: no node "shoot"; did you mean "shout"?'],
    }
    assert exported[:2] == (1, "")
    assert exported[2].startswith('error: workflow "shouting": edges[1].target: no node "shoot"')


def test_all_problems_of_a_file_are_listed_one_on_each_line(greenroom, tmp_path):
    (tmp_path / "bad.yaml").write_text(BAD)
    code, printed, errors = greenroom("graph", "validate", "bad.yaml")
    lines = printed.splitlines()

    assert (code, errors) == (1, "")
    assert lines[:4] == PROBLEMS[:4]
    assert len(lines) == len(set(lines)) >= len(PROBLEMS)
    assert json.loads(greenroom("graph", "validate", "bad.yaml", "--json")[1]) == {
        "workflow": "bad",
        "valid": False,
        "problems": lines,
    }


def test_a_file_that_is_no_graph_is_told(greenroom, tmp_path):
    (tmp_path / "bad.yaml").write_text("id: x\nnodes: [{id: a, type: lm}]\nedges: 3\n")
    (tmp_path / "broken.yaml").write_text("id: [x\n")

    assert greenroom("graph", "validate", "bad.yaml") == (
        1,
        'nodes[0].type: no node type "lm"; did you mean "llm"?\n'
        "edges: must be a list, such as `edges:` with a line `- ...` for each\n",
        "",
    )
    assert greenroom("graph", "validate", "broken.yaml")[0] == 1
    assert greenroom("graph", "validate", "absent.yaml") == (
        1,
        "",
        "error: cannot read absent.yaml: No such file or directory\n",
    )
    assert greenroom("graph", "export", "digest", "-o", "no/where") == (
        1,
        "",
        "error: cannot write no/where: No such file or directory\n",
    )


def test_tools_are_listed_and_run(greenroom):
    listed = greenroom("tools", "ls")
    as_json = greenroom("tools", "ls", "--json")

    assert [line.split()[0] for line in listed[1].splitlines()[:2]] == ["name", "calculator"]
    assert [tool["name"] for tool in json.loads(as_json[1])] == [
        "calculator",
        "datetime",
        "file_read",
        "file_search",
        "http_get",
        "json_path",
        "read_result",
        "sql",
        "text_search",
        "text_slice",
        "text_stats",
    ]
    assert greenroom("tools", "run", "calculator", "--arguments", '{"expression": "2 ** 10"}') == (0, "1024\n", "")
    assert greenroom("tools", "run", "text_stats", "--arguments", '{"text": "a b"}') == (
        0,
        "chars: 3\nwords: 2\nlines: 1\nsentences: 1\n",
        "",
    )
    result = json.loads(greenroom("tools", "run", "calculator", "--arguments", '{"expression": "1"}', "--json")[1])
    assert result.pop("execution_time_s") >= 0
    assert result == {"success": True, "output": 1}


@pytest.mark.parametrize(
    ("arguments", "code", "error"),
    [
        (["calculater"], 1, 'no tool "calculater"; did you mean "calculator"?'),
        (["calculator"], 1, "calculator: expression: is required"),
        (["calculator", "--arguments", '{"expression": "2 +"}'], 1, "calculator: this is no arithmetic expression; "),
        (["calculator", "--arguments", "2"], 2, "Invalid value for --arguments: must be a JSON object"),
        (["calculator", "--arguments", "{"], 2, "Invalid value for --arguments: not valid JSON"),
    ],
)
def test_a_tool_that_cannot_run_says_why(greenroom, arguments, code, error):
    outcome = greenroom("tools", "run", *arguments)

    assert outcome[:2] == (code, "")
    assert outcome[2].startswith(f"error: {error}")
    assert outcome[2].count("\n") == 1


def test_a_demonstration_refuses_what_it_cannot_use_before_anything_starts(greenroom, tmp_path):
    (tmp_path / "binary").write_bytes(b"\xff")
    inputs = greenroom("demo", "--input", "absent", "--input", "binary")
    model = greenroom("demo", "--model", "nope")

    assert inputs == (
        1,
        "",
        "error: the input cannot be used: absent: cannot be read (No such file or directory); "
        "binary: is not UTF-8 text\n",
    )
    assert model == (1, "", 'error: no model "nope"; choose one of "default", "local", "scripted"\n')
    assert greenroom("demo", "--files", "0")[0] == 2
