"""Graphs as Mermaid flowcharts."""

from graphs.workflow.registry import template
from graphs.workflow.render import mermaid
from graphs.workflow.spec import load

ALL_KINDS = """
id: g
state: {text: string}
nodes:
  - {id: classify, type: function, function: "m:classify"}
  - {id: answer, type: llm, prompt: "{text}", into: text}
  - {id: compute, type: tool, tool: calculator}
  - {id: split, type: fork}
  - {id: each, type: map, over: text, node: one, into: text}
  - {id: one, type: function, function: "m:one"}
edges:
  - {from: START, to: classify}
  - {from: classify, to: split, when: 'state.text < "b" && state.text != "#`x`"'}
  - {from: classify, to: answer, when: {function: "m:is_hard"}}
  - {from: classify, to: compute, default: true}
  - {from: split, to: answer}
  - {from: split, to: each}
  - {from: answer, route: budget, paths: {within: compute, exceeded: END}}
  - {from: compute, to: END}
  - {from: each, to: END}
"""


def test_every_kind_of_node_and_edge():
    assert (
        mermaid(load(ALL_KINDS))
        == """\
flowchart TD
    start(("START"))
    n0["classify"]
    n1(["answer"])
    n2[["compute"]]
    n3{{"split"}}
    n4[/"each"/]
    n5["one"]
    end_((("END")))
    start --> n0
    n0 -->|"state.text #lt; #quot;b#quot; #amp;#amp; state.text != #quot;#35;#96;x#96;#quot;"| n3
    n0 -->|"m:is_hard"| n1
    n0 -->|"default"| n2
    n3 --> n1
    n3 --> n4
    n1 -->|"budget: within"| n2
    n1 -->|"budget: exceeded"| end_
    n2 --> end_
    n4 --> end_
    n4 -.->|"each of text"| n5
"""
    )


def test_workflows_that_come_along_are_boxes():
    assert (
        mermaid(template("digest"))
        == """\
flowchart TD
    start(("START"))
    n0[/"each"/]
    n1["collect"]
    n2(["digest"])
    end_((("END")))
    start --> n0
    n0 --> n1
    n1 --> n2
    n2 --> end_
    n0 -.->|"each of files"| w0
    subgraph w0["digest-file@1.0.0"]
        w0_start(("START"))
        w0_n0["prepare"]
        w0_n1(["summarise"])
        w0_n2["measure"]
        w0_n3(["shorten"])
        w0_n4[["count"]]
        w0_n5["pack"]
        w0_end_((("END")))
        w0_start --> w0_n0
        w0_n0 --> w0_n1
        w0_n1 --> w0_n2
        w0_n2 -->|"state.too_long"| w0_n3
        w0_n2 -->|"default"| w0_n4
        w0_n3 --> w0_n2
        w0_n4 --> w0_n5
        w0_n5 --> w0_end_
    end
"""
    )


def test_a_name_cannot_break_out_of_its_label():
    graph = load("""id: g
nodes:
  - {id: "a\\"]\\n  evil --> <b>", type: function, function: "m:f"}
edges:
  - {from: "a\\"]\\n  evil --> <b>", to: nowhere}
""")

    assert (
        mermaid(graph)
        == """\
flowchart TD
    start(("START"))
    n0["a#quot;] evil --#gt; #lt;b#gt;"]
    end_((("END")))
"""
    )
