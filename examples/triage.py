"""Sorts tickets: a condition, a tool, a language model, a route function, and the two ways to run a turn.

Without configuration the model is the small local one.

Run it with `python examples/triage.py`.
"""

from typing import Annotated

from pydantic import BaseModel

from runtime import END, START, Graph, NodeFinished, Runtime, append


class Ticket(BaseModel):
    text: str = ""
    kind: str = ""
    notes: Annotated[list[str], append] = []


g = Graph("triage", state=Ticket, version="1.0.0")


@g.node  # the name is the function's; sync or async; it returns the channels it writes
def classify(state: Ticket) -> dict:
    return {"kind": "math" if any(c.isdigit() for c in state.text) else "chat"}


@g.node(reads=["text"], writes=["notes"], retry=3, timeout_s=10)
def shout(state: Ticket) -> dict:
    return {"notes": [state.text.upper()]}


g.tool("compute", tool="calculator", arguments={"expression": "{text}"}, into="notes")
g.llm("answer", prompt="Answer briefly: {text}", into="notes", max_tokens=40)
g.edge(START, "classify")
g.edge("classify", "compute", when="state.kind == 'math'")
g.edge("classify", "answer", default=True)
g.route("answer", "message_contains", {"matched": "shout", "not_matched": END}, keywords=["urgent"])
g.edge("compute", END)
g.edge("shout", END)


def main(rt: Runtime) -> None:
    rt.deploy(g)
    session = rt.session("triage", user_id="ada")
    result = session.run({"text": "6 * 7"})  # waits for the result
    print(result.status, result.state.kind, result.state.notes)

    thread = rt.session("triage", user_id="ada").submit({"text": "urgent: hi there"}, priority="high")  # does not
    for event in thread.events():  # as they come: also NodeStarted, Token, ThreadFinished, ...
        if isinstance(event, NodeFinished):
            print(event.seq, event.node, event.delta)
    found = rt.thread(thread.id)  # as any other driver finds it
    print(found.result().status, found.state().notes[-1])


if __name__ == "__main__":
    with Runtime() as runtime:
        main(runtime)
