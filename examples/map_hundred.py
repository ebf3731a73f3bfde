"""Maps a node over a hundred items: a hundred parallel threads, at most twenty at a time, results in item order.

Run it with `python examples/map_hundred.py`.
"""

from pydantic import BaseModel

from runtime import END, START, Graph, Runtime


class Numbers(BaseModel):
    numbers: list[int] = []
    lengths: list[int] = []
    longest: int = 0


g = Graph("collatz", state=Numbers)


@g.node
def steps_to_one(number: int) -> int:  # run by a map, a function gets the item and returns its result
    steps = 0
    while number != 1:
        number = number // 2 if number % 2 == 0 else 3 * number + 1
        steps += 1
    return steps


@g.node
def longest(state: Numbers) -> dict:
    return {"longest": max(zip(state.lengths, state.numbers, strict=True))[1]}


g.map("measure", over="numbers", node="steps_to_one", into="lengths", max_concurrency=20)
g.edge(START, "measure")
g.edge("measure", "longest")
g.edge("longest", END)


def main(rt: Runtime) -> None:
    rt.deploy(g)
    session = rt.session("collatz")
    state = session.run({"numbers": range(1, 101)}).state
    print("first ten:", state.lengths[:10])
    print("longest:", state.longest, "with", max(state.lengths), "steps")
    print("threads:", len(session.threads()))


if __name__ == "__main__":
    with Runtime() as runtime:
        main(runtime)
