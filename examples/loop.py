"""Shortens a text until it fits: a loop with a conditional edge, and what happens when a loop does not end.

Run it with `python examples/loop.py`.
"""

from pydantic import BaseModel

from runtime import END, START, Graph, Runtime

TEXT = "Rain is coming. Take a coat. Take an umbrella. Or stay at home. It will be warm there."


class Draft(BaseModel):
    text: str = ""
    words: int = 0
    limit: int = 10
    rounds: int = 0


g = Graph("shorten", state=Draft, max_steps=20)


@g.node
def measure(state: Draft) -> dict:
    return {"words": len(state.text.split())}


@g.node
def cut(state: Draft) -> dict:
    sentences = state.text.split(". ")
    return {"text": ". ".join(sentences[:-1]) + "." if len(sentences) > 1 else state.text, "rounds": state.rounds + 1}


g.edge(START, "measure")
g.edge("measure", "cut", when="state.words > state.limit")
g.edge("measure", END, default=True)
g.edge("cut", "measure")


def main(rt: Runtime) -> None:
    rt.deploy(g)
    state = rt.session("shorten").run({"text": TEXT}).state
    print(f"{state.words} words after {state.rounds} rounds: {state.text}")

    endless = rt.session("shorten").run({"text": TEXT, "limit": 0})  # a sentence cannot be cut to nothing
    print(f"{endless.status}: {endless.error}")


if __name__ == "__main__":
    with Runtime() as runtime:
        main(runtime)
