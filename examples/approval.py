"""Asks a person before it pays, and goes on when the payment fails: a human node, an answer, an edge for errors.

While the question is open, nothing is held in memory: the driver may end, and another one may answer tomorrow.

Run it with `python examples/approval.py`, or without Ray and Valkey with `python examples/approval.py --local`.
"""

import sys
from typing import Annotated, Any

from pydantic import BaseModel, Field

from runtime import END, START, Graph, LocalRuntime, Runtime, StateInvalid, append


class Refund(BaseModel):
    customer: str = ""
    amount: int = 0
    approved: bool = False
    comment: str = ""
    letters: Annotated[list[str], append] = []


class Approval(BaseModel):
    approved: bool
    comment: str = Field(default="", max_length=80)


g = Graph("refund", state=Refund)

# The fields of the answer are written to the channels of the same names.
g.human("approve", question="Refund {amount} EUR to {customer}?", answer=Approval)


@g.node(at_most_once=True)  # money is never sent twice, even if this process dies while it is sent
def pay(state: Refund) -> dict:
    if state.amount > 100:
        raise ValueError("the account holds 100 EUR only")
    return {"letters": f"Dear {state.customer}, we have sent {state.amount} EUR."}


@g.node
def apologise(state: Refund, ctx: Any) -> dict:
    return {"letters": f"Dear {state.customer}, please wait: {ctx.error.message}."}


@g.node
def decline(state: Refund) -> dict:
    return {"letters": f"Dear {state.customer}, no: {state.comment}."}


g.edge(START, "approve")
g.edge("approve", "pay", when="state.approved")
g.edge("approve", "decline", default=True)
g.edge("pay", END)
g.edge("pay", "apologise", on_error=True)
g.edge("apologise", END)
g.edge("decline", END)


def main(rt: Runtime | LocalRuntime) -> None:
    rt.deploy(g)
    ask(rt, "Ada", 20, {"approved": True})
    ask(rt, "Bob", 30, {"approved": False, "comment": "you had one yesterday"})
    ask(rt, "Cy", 500, {"approved": True})


def ask(rt: Runtime | LocalRuntime, customer: str, amount: int, answer: dict) -> None:
    """Run a turn up to its question, answer it, and print the letter."""
    result = rt.session("refund").run({"customer": customer, "amount": amount})
    print(f"{result.status}: {result.pause.question}")
    thread = rt.thread(result.thread_id)  # any driver finds it by its id
    try:
        thread.answer({"approved": "perhaps"})
    except StateInvalid as error:
        print("  refused:", error.problems[0])
    thread.answer(answer)
    print(" ", *thread.result().state.letters)


if __name__ == "__main__":
    with LocalRuntime() if "--local" in sys.argv else Runtime() as runtime:
        main(runtime)
