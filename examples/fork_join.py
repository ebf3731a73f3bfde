"""Two branches and a join: the quick one does three nodes while the slow one does one.

A node with several edges forks. Each branch is a thread of its own, perhaps on another host, and nobody waits for a
slow sibling before the join: the nearest node that all branches lead to.

Run it with `python examples/fork_join.py`.
"""

import asyncio
from typing import Annotated

from pydantic import BaseModel

from runtime import END, START, Graph, NodeFinished, Runtime, append


class Report(BaseModel):
    city: str = ""
    findings: Annotated[list[str], append] = []
    summary: str = ""


g = Graph("report", state=Report)


@g.node
async def archive(state: Report) -> dict:
    await asyncio.sleep(1)  # a slow service
    return {"findings": [f"archive: 3 pages on {state.city}"]}


@g.node
def forecast(state: Report) -> dict:
    return {"findings": [f"forecast: sun in {state.city}"]}


@g.node
def traffic(state: Report) -> dict:
    return {"findings": [f"traffic: quiet in {state.city}"]}


@g.node
def prices(state: Report) -> dict:
    return {"findings": [f"prices: high in {state.city}"]}


@g.node
def summarise(state: Report) -> dict:
    return {"summary": "; ".join(state.findings)}


g.fork("gather", join="all")
g.edge(START, "gather")
g.edge("gather", "archive")
g.edge("gather", "forecast")
g.edge("forecast", "traffic")
g.edge("traffic", "prices")
g.edge("archive", "summarise")
g.edge("prices", "summarise")
g.edge("summarise", END)


def main(rt: Runtime) -> None:
    rt.deploy(g)
    thread = rt.session("report").submit({"city": "Oslo"})
    finished = [event for event in thread.events(children=True) if isinstance(event, NodeFinished)]
    finished.sort(key=lambda event: event.at)
    print("finished:", ", ".join(event.node for event in finished))
    print("summary:", thread.result().state.summary)  # merged in the order of the edges


if __name__ == "__main__":
    with Runtime() as runtime:
        main(runtime)
