"""Workflows that are run with a crash at every point, and what a driver does with each."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import aclosing, suppress
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any

from pydantic import BaseModel

from actors.remembered import LARGE_STATE_BYTES
from graphs.errors import BusinessRuleViolation
from graphs.messages import Message
from runtime import END, START, Graph, add, add_messages, append, tool
from runtime.client import AsyncClient
from runtime.results import ThreadResult


class Board(BaseModel):
    text: str = ""
    n: int = 0
    items: list[int] = []
    squares: list[int] = []
    notes: Annotated[list[str], append] = []
    points: Annotated[int, add] = 0


class Talk(BaseModel):
    messages: Annotated[list[Message], add_messages] = []


SESSION = "companion"
LARGE = "large" * 60_000
"""A text that is kept outside of states."""

Drive = Callable[[AsyncClient], Awaitable[list[ThreadResult]]]


@dataclass(frozen=True)
class Scenario:
    """A workflow, and what is done with it."""

    build: Callable[[], list[Graph]]
    drive: Drive
    is_exact: bool = True
    """Whether every thread must have the same entries whatever is killed; not so where a race decides."""
    may: Callable[[dict[str, Any]], bool] | None = None
    """Whether a state may be what a race has left; None: it must be that of the run without a crash."""

    def allows(self, expected: tuple[Any, ...], result: tuple[Any, ...]) -> bool:
        """Whether a turn may end so: (turn, status, state, error)."""
        if self.may is None:
            return result == expected
        return result[:2] + result[3:] == expected[:2] + expected[3:] and self.may(result[2])


async def one_turn(client: AsyncClient, durability: str = "sync", **content: Any) -> list[ThreadResult]:
    session = await client.session("w", id=SESSION)
    return [await session.run(content, durability=durability)]


def note(name: str, takes_s: float = 0.0) -> Callable[[Any], Awaitable[dict[str, Any]]]:
    """A node that leaves its name in `notes`."""

    async def node(state: Any) -> dict[str, Any]:
        await asyncio.sleep(takes_s)
        return {"notes": name, "points": 1}

    node.__qualname__ = f"note_{name}"  # workflows that are deployed together tell their functions apart by it
    return node


def line(graph: Graph, *names: str, at: str = START, to: str = END, takes_s: float = 0.0) -> Graph:
    """Nodes in a row."""
    for name in names:
        graph.node(note(name, takes_s), name=name)
        graph.edge(at, name)
        at = name
    graph.edge(at, to)
    return graph


def chain() -> list[Graph]:
    g = Graph("w", state=Board)
    g.tool("sum", tool="calculator", arguments={"expression": "6 * 7"}, into="n")
    for name, takes_s in (("a", 0.0), ("b", 0.05), ("c", 0.0)):
        g.node(note(name, takes_s), name=name)
    g.edge(START, "a")
    g.edge("a", "b")
    g.edge("b", "sum")
    g.edge("sum", "c")
    g.edge("c", END)
    return [g]


def calling() -> list[Graph]:
    """Models asked by nodes, by a function and in branches, and a tool."""
    g = Graph("w", state=Board)
    g.llm("ask", prompt="{text}", into="text", model="plain")
    g.tool("sum", tool="calculator", arguments={"expression": "6 * 7"}, into="n")

    @g.node
    async def own(state: Board, ctx: Any) -> dict[str, Any]:
        ctx.record_llm("m", prompt="a", text="b", prompt_tokens=3, completion_tokens=4)
        return {"notes": ["own"]}

    for branch in ("left", "right"):
        g.llm(branch, prompt=branch, into="notes", model="plain")
        g.edge("own", branch)
        g.edge(branch, "end")
    g.node(note("end"), name="end")
    g.edge(START, "ask")
    g.edge("ask", "sum")
    g.edge("sum", "own")
    g.edge("end", END)
    return [g]


def budgeted() -> list[Graph]:
    """The second question is one too many, and an edge for errors goes on without it."""
    g = Graph("w", state=Board, budget={"tokens": 1})
    for name in ("ask", "again"):
        g.llm(name, prompt=name, into="notes", model="plain")
    g.node(note("end"), name="end")
    g.edge(START, "ask")
    g.edge("ask", "again")
    g.edge("again", "end", on_error=True)
    g.edge("end", END)
    g.edge("again", END)
    return [g]


def two_turns(durability: str = "sync") -> Drive:
    async def drive(client: AsyncClient) -> list[ThreadResult]:
        session = await client.session("w", id=SESSION)
        return [await session.run({"text": text}, durability=durability) for text in "12"]

    return drive


async def submitted_turns(client: AsyncClient) -> list[ThreadResult]:
    session = await client.session("w", id=SESSION)
    threads = [await session.submit({"text": str(number)}) for number in range(3)]
    return [await thread.result() for thread in threads]


def conversation() -> list[Graph]:
    """A state so long that who has had it is sent only what is new, and goes from executor to executor."""
    g = Graph("w", state=Board)

    async def reply(state: Board) -> dict[str, Any]:
        return {"notes": f"{len(state.notes)}{state.text}", "points": 1}

    async def close(state: Board) -> dict[str, Any]:
        return {"notes": f"closed with {len(state.notes)}"}

    g.node(reply)
    g.tool("count", tool="calculator", arguments={"expression": "{points} * 2"}, into="n")
    g.node(close)
    g.edge(START, "reply")
    g.edge("reply", "count")
    g.edge("count", "close")
    g.edge("close", END)
    return [g]


def long_turns(durability: str) -> Drive:
    async def drive(client: AsyncClient) -> list[ThreadResult]:
        session = await client.session("w", id=SESSION)
        return [await session.run({"text": text * LARGE_STATE_BYTES}, durability=durability) for text in "123"]

    return drive


def loop() -> list[Graph]:
    g = Graph("w", state=Board)

    @g.node
    async def count(state: Board) -> dict[str, Any]:
        await asyncio.sleep(0.01)
        return {"n": state.n + 1, "points": 1}

    g.edge(START, "count")
    g.edge("count", "count", when="state.n < 4")
    g.edge("count", END, default=True)
    return [g]


def retried() -> list[Graph]:
    g = Graph("w", state=Board)

    @g.node(retry=5)
    async def flaky(state: Board, ctx: Any) -> dict[str, Any]:
        if ctx.attempt < 3:
            raise RuntimeError("not yet")
        return {"notes": "flaky"}

    g.edge(START, "flaky")
    g.edge("flaky", END)
    return [g]


def failing() -> list[Graph]:
    g = line(Graph("w", state=Board), "a", to="bad")

    @g.node
    async def bad(state: Board) -> dict[str, Any]:
        raise ValueError("broken")

    g.edge("bad", END)
    return [g]


def forked(*, slowest_s: float = 0.3, **policy: Any) -> Callable[[], list[Graph]]:
    def build() -> list[Graph]:
        g = Graph("w", state=Board)
        g.fork("split", **policy)
        g.edge(START, "split")
        g.node(note("join"), name="join")
        for name, takes_s in (("a", 0.01), ("b", 0.05), ("c", slowest_s)):
            line(g, name, f"{name}2", at="split", to="join", takes_s=takes_s)
        g.edge("join", END)
        return [g]

    return build


def nested(right_s: float = 0.05, inner_s: float = 0.02) -> list[Graph]:
    g = Graph("w", state=Board)
    g.node(note("inner"), name="inner")
    line(g, "left", to="inner")
    g.edge("inner", "x")
    g.edge("inner", "y")
    for name in ("x", "y"):
        g.node(note(name, inner_s), name=name)
        g.edge(name, "inner_join")
    g.node(note("inner_join"), name="inner_join")
    g.edge("inner_join", "join")
    line(g, "right", to="join", takes_s=right_s)
    g.node(note("join"), name="join")
    g.edge("join", END)
    return [g]


def mapped(max_concurrency: int) -> Callable[[], list[Graph]]:
    def build() -> list[Graph]:
        g = Graph("w", state=Board)

        @g.node
        async def square(item: int) -> int:
            await asyncio.sleep(0.01 * item)
            return item * item

        g.map("each", over="items", node="square", into="squares", max_concurrency=max_concurrency)
        g.edge(START, "each")
        g.edge("each", END)
        return [g]

    return build


def mapped_workflow() -> list[Graph]:
    child = line(Graph("child", state=Board), "p", "q", takes_s=0.02)
    g = Graph("w", state=Board)
    g.map("each", over="items", workflow="child", item="n", result="points", into="squares", max_concurrency=2)
    g.edge(START, "each")
    g.edge("each", END)
    return [child, g]


def large_values() -> list[Graph]:
    """A large text is written, read and not read, forked with and mapped over."""
    g = Graph("w", state=Board)

    @g.node(reads=["n"], writes=["text", "notes"])
    async def write(state: Board) -> dict[str, Any]:
        return {"text": LARGE, "notes": ["small", LARGE]}

    @g.node(reads=["text"], writes=["n"])
    async def measure(state: Board) -> dict[str, Any]:
        return {"n": len(state.text)}

    @g.node
    async def shorten(item: str) -> str:
        return item[:10]

    g.node(note("other"), name="other", reads=["n"])
    g.map("each", over="notes", node="shorten", into="notes")
    g.edge(START, "write")
    g.edge("write", "measure", when="size(state.text) > 5")
    g.edge("write", "other")
    for name in ("measure", "other"):
        g.edge(name, "each")
    g.edge("each", END)
    return [g]


def broken_branch(on_branch_error: str) -> Callable[[], list[Graph]]:
    def build() -> list[Graph]:
        g = Graph("w", state=Board)
        g.fork("split", on_branch_error=on_branch_error)
        g.edge(START, "split")
        g.node(note("join"), name="join")

        @g.node
        async def bad(state: Board) -> dict[str, Any]:
            await asyncio.sleep(0.02)
            raise ValueError("broken")

        g.edge("split", "bad")
        g.edge("bad", "join")
        line(g, "good", "good2", at="split", to="join", takes_s=0.05)
        g.edge("join", END)
        return [g]

    return build


def rescued() -> list[Graph]:
    """A node and a branch fail, and the turn goes on behind them."""
    g = failing_node(Graph("w", state=Board), "bad")
    g.node(rescue, name="rescue")
    g.fork("split")
    g.edge(START, "bad")
    g.edge("bad", END)
    g.edge("bad", "rescue", on_error=True)
    g.edge("rescue", "split")
    line(g, "good", at="split", to="join", takes_s=0.02)
    g.edge("split", "worse")
    failing_node(g, "worse")
    g.edge("worse", "join")
    g.node(note("join"), name="join")
    g.edge("join", END)
    g.node(rescue, name="last")
    g.edge("split", "last", on_error=True)
    g.edge("last", END)
    return [g]


def failing_node(graph: Graph, name: str) -> Graph:
    async def node(state: Board) -> dict[str, Any]:
        raise ValueError(f"{name} is broken")

    graph.node(node, name=name)
    return graph


async def rescue(state: Board, ctx: Any) -> dict[str, Any]:
    return {"notes": ctx.error.message}


calls: Counter[str] = Counter()
"""Runs of the nodes that may run once at most, by idempotency key."""


def once() -> list[Graph]:
    calls.clear()
    g = Graph("w", state=Board)

    @g.node(at_most_once=True)
    async def pay(state: Board, ctx: Any) -> dict[str, Any]:
        calls[ctx.idempotency_key] += 1
        await asyncio.sleep(0.05)
        return {"notes": "paid"}

    line(g, "a", to="pay")
    line(g, "thanks", at="pay", to=END)
    g.node(note("unknown"), name="unknown")
    g.edge("pay", "unknown", on_error=True)
    g.edge("unknown", END)
    return [g]


def called_once(state: dict[str, Any]) -> bool:
    known = state["notes"] in (["a", "paid", "thanks"], ["a", "unknown"])
    return known and set(calls.values()) <= {1}


ANSWER = "yes"


def asking() -> list[Graph]:
    g = line(Graph("w", state=Board), "a", to="ask")
    g.human("ask", question="Go on after {notes}?", into="text")
    line(g, "b", at="ask")
    return [g]


async def answered(client: AsyncClient) -> list[ThreadResult]:
    session = await client.session("w", id=SESSION)
    paused = await session.run({})
    return [paused, await answer_all(client)]


async def answer_all(client: AsyncClient) -> ThreadResult:
    """Answer what is asked anywhere in the session, until its turn is over."""
    session = await client.session(id=SESSION)
    thread = await client.thread(session.thread)
    while (result := await thread.result()).pause is not None:
        for head in await session.threads():
            pause = head.cursor.pause
            if pause is not None and pause.asks:
                answer = ANSWER if pause.kind == "human" else "100" not in pause.question
                await (await client.thread(head.thread.id)).answer(answer)
        await asyncio.sleep(0.1)
    return result


def approving(*, at_most_once: bool) -> Callable[[], list[Graph]]:
    """Calls of tools that a person has to allow: one that is allowed, and one that is refused."""

    def build() -> list[Graph]:
        calls.clear()
        g = Graph("w", state=Board)
        options: dict[str, Any] = {"tool": pay, "into": "notes"}
        g.tool("pay", arguments={"amount": "{n}"}, at_most_once=at_most_once, **options)
        g.tool("overpay", arguments={"amount": 100}, **options)
        line(g, "a", to="pay")
        line(g, "b", at="pay", to="overpay")
        g.edge("overpay", END)
        g.node(rescue, name="rescue")
        g.edge("pay", "rescue", on_error=True)
        g.edge("overpay", "rescue", on_error=True)
        g.edge("rescue", END)
        return [g]

    return build


@tool(requires_approval=True)
async def pay(amount: int, idempotency_key: str | None) -> str:
    """Pay."""
    calls[f"{amount} {idempotency_key}"] += 1
    await asyncio.sleep(0.02)
    return f"paid {amount}"


async def approved(client: AsyncClient) -> list[ThreadResult]:
    session = await client.session("w", id=SESSION)
    paused = await session.run({"n": 7})
    return [paused, await answer_all(client)]


def paid_once(state: dict[str, Any]) -> bool:
    """What was allowed was called once at most, and what was refused not at all."""
    allowed = {call.partition(" ")[0] for call in calls} <= {"7"} and set(calls.values()) <= {1}
    whole = ["a", "paid 7", "b", "the call of tool pay was refused"]
    notes = state["notes"]
    return allowed and (notes in (["a"], whole) or (len(notes) == 2 and "runs at most once" in notes[1]))


def approving_agent() -> list[Graph]:
    """An agent that asks for three calls: one that is allowed, one that is refused, and one that needs nobody."""
    g = Graph("w", state=Talk)
    g.agent("helper", messages="messages", tools=["calculator", pay])
    g.edge(START, "helper")
    g.edge("helper", END)
    return [g]


async def approved_agent(client: AsyncClient) -> list[ThreadResult]:
    session = await client.session("w", id=SESSION)
    await session.run({"messages": [Message(role="user", content="go")]})
    return [await answer_all(client)]


def answered_right(state: dict[str, Any]) -> bool:
    """The seqs in the ids of messages hang on how often the thread above has paused."""
    told = [message.content for message in state["messages"]]
    return told == ["go", "", "paid 7", "42", "Error: the call of tool pay was refused", "Done."]


def asking_below() -> list[Graph]:
    """A branch that runs a workflow that forks into a question and a note, beside a branch that asks itself."""
    inner = Graph("inner", state=Board)
    inner.human("ask", question="inside?", into="text")
    for name in ("ask", "quick"):
        if name != "ask":
            inner.node(note(name, 0.05), name=name)
        inner.edge(START, name)
        inner.edge(name, END)
    g = Graph("w", state=Board)
    g.subworkflow("sub", workflow=inner, output={"notes": "notes"})
    g.human("ask", question="beside?", into="text")
    g.edge(START, "sub")
    g.edge(START, "ask")
    line(g, "end", at="sub")
    g.edge("ask", "end")
    return [g]


async def answered_below(client: AsyncClient) -> list[ThreadResult]:
    session = await client.session("w", id=SESSION)
    await session.run({})
    return [await answer_all(client)]


async def paused_and_resumed(client: AsyncClient) -> list[ThreadResult]:
    session = await client.session("w", id=SESSION)
    thread = await session.submit({})
    await asyncio.sleep(0.12)
    with suppress(BusinessRuleViolation):  # over already, because a death has cost time
        await thread.pause("for a while")
        await thread.resume()
    return [await thread.result()]


def asking_branches() -> list[Graph]:
    g = Graph("w", state=Board)
    g.fork("split")
    g.edge(START, "split")
    g.node(note("join"), name="join")
    line(g, "a", at="split", to="ask")
    g.human("ask", question="Go on?", into="text")
    line(g, "b", at="ask", to="join")
    line(g, "c", at="split", to="wait", takes_s=0.05)
    g.wait("wait", seconds=60)
    g.edge("wait", "join")
    g.edge("join", END)
    return [g]


def subworkflow() -> list[Graph]:
    child = line(Graph("child", state=Board), "p", to="ask")
    child.human("ask", question="Go on?", into="text")
    line(child, "q", at="ask", takes_s=0.02)
    g = line(Graph("w", state=Board), "a", to="sub")
    g.subworkflow("sub", workflow="child", output={"text": "text", "notes": "notes"})
    line(g, "b", at="sub")
    return [child, g]


def waiting() -> list[Graph]:
    g = line(Graph("w", state=Board), "a", to="wait")
    g.wait("wait", seconds=60)
    line(g, "b", at="wait")
    return [g]


async def branched(client: AsyncClient) -> list[ThreadResult]:
    """What if there had been another text: a branch that becomes what counts, and a turn after it."""
    session = await client.session("w", id=SESSION)
    first = await session.run({"text": "1"})
    thread = await client.thread(session.thread)
    branch = await thread.branch(at=2, update={"text": "2"})
    other = await branch.result()
    await branch.promote()
    return [first, other, await session.run({"n": 3})]


def some_branches(count: int) -> Callable[[dict[str, Any]], bool]:
    """So many of the branches of `forked`, whole and in order."""

    def may(state: dict[str, Any]) -> bool:
        notes = state["notes"]
        branches = [name for name in "abc" if name in notes]
        return len(branches) == count and notes == [*(f"{name}{x}" for name in branches for x in ("", "2")), "join"]

    return may


def in_time(state: dict[str, Any]) -> bool:
    """The branches that were whole at the deadline, in order."""
    return any(some_branches(count)(state) for count in range(1, 4))


async def cancelled_turn(client: AsyncClient, after_s: float) -> list[ThreadResult]:
    session = await client.session("w", id=SESSION)
    thread = await session.submit({})
    await asyncio.sleep(after_s)
    await thread.cancel("enough")
    return [await thread.result()]


async def session_paused_and_resumed(client: AsyncClient) -> list[ThreadResult]:
    """Two turns and a what-if branch of the first, paused with their session and resumed with it."""
    session = await client.session("w", id=SESSION)
    threads = [await session.submit({"text": text}) for text in "12"]
    async with aclosing(threads[0].events()) as events:
        await anext(events)
    await asyncio.sleep(0.12)
    branch = await threads[0].branch(at=1, update={"text": "3"})
    await session.pause("for a while")
    threads.append(await session.submit({"text": "4"}))
    await session.resume()
    return [await thread.result() for thread in (*threads, branch)]


async def session_paused_at_a_question(client: AsyncClient) -> list[ThreadResult]:
    """What is answered in a paused session goes on with it, and so do times."""
    session = await client.session("w", id=SESSION)
    await session.run({})
    await session.pause("for a while")
    for head in await session.threads():
        if head.cursor.pause is not None and head.cursor.pause.kind == "human":
            await (await client.thread(head.thread.id)).answer(ANSWER)
    await session.resume()
    return [await answer_all(client)]


async def session_aborted(client: AsyncClient) -> list[ThreadResult]:
    session = await client.session("w", id=SESSION)
    threads = [await session.submit({"text": text}) for text in "123"]
    await asyncio.sleep(0.12)
    await session.abort("enough")
    return [await thread.result() for thread in threads]


def queued() -> list[Graph]:
    """Two workflows, of which the second fails when it is told to."""
    other = Graph("other", state=Board)

    @other.node
    async def work(state: Board) -> dict[str, Any]:
        await asyncio.sleep(0.02)
        if state.text == "bad":
            raise ValueError("broken")
        return {"notes": f"other {state.text}"}

    other.edge(START, "work")
    other.edge("work", END)
    return [line(Graph("w", state=Board), "a", "b", takes_s=0.02), other]


async def queue_of_threads(client: AsyncClient, on_failure: str) -> list[ThreadResult]:
    session = await client.session("w", id=SESSION)
    items = [("w", {"text": "1"}), ("other", {"text": "bad"}), ("w", {"text": "3"})]
    queue = await session.queue(items, on_failure=on_failure)
    return await queue.results()


SCENARIOS: dict[str, Scenario] = {
    "chain": Scenario(chain, two_turns()),
    "async chain": Scenario(chain, two_turns("async")),
    "chain on exit": Scenario(chain, two_turns("exit")),
    "long conversation": Scenario(conversation, long_turns("sync")),
    "long conversation on exit": Scenario(conversation, long_turns("exit")),
    "calls": Scenario(calling, two_turns()),
    "async calls": Scenario(calling, two_turns("async")),
    "calls on exit": Scenario(calling, two_turns("exit")),
    "budget": Scenario(budgeted, one_turn),
    "queued turns": Scenario(lambda: [line(Graph("w", state=Board), "a", "b", takes_s=0.02)], submitted_turns),
    "loop": Scenario(loop, one_turn),
    "retry": Scenario(retried, one_turn),
    "failure": Scenario(failing, one_turn),
    "error edges": Scenario(rescued, one_turn, is_exact=False),
    "at most once": Scenario(once, one_turn, is_exact=False, may=called_once),
    "at most once, async": Scenario(once, partial(one_turn, durability="async"), is_exact=False, may=called_once),
    "at most once on exit": Scenario(once, partial(one_turn, durability="exit"), is_exact=False, may=called_once),
    "question": Scenario(asking, answered),
    "approval": Scenario(approving(at_most_once=False), approved),
    "approval, at most once": Scenario(approving(at_most_once=True), approved, is_exact=False, may=paid_once),
    "approval of an agent's calls": Scenario(approving_agent, approved_agent, is_exact=False, may=answered_right),
    "questions below": Scenario(asking_below, answered_below, is_exact=False),
    "questions and times in branches": Scenario(asking_branches, answered, is_exact=False),
    "subworkflow": Scenario(subworkflow, answered),
    "what if": Scenario(waiting, branched, is_exact=False),
    "timer": Scenario(waiting, one_turn),
    "pause and resume": Scenario(
        lambda: [line(Graph("w", state=Board), "a", "b", "c", takes_s=0.1)], paused_and_resumed, is_exact=False
    ),
    "pause and resume of a fork": Scenario(forked(), paused_and_resumed, is_exact=False),
    "session paused and resumed": Scenario(
        lambda: [line(Graph("w", state=Board), "a", "b", "c", takes_s=0.1)], session_paused_and_resumed, is_exact=False
    ),
    "session paused with a fork": Scenario(forked(), session_paused_and_resumed, is_exact=False),
    "session paused at questions": Scenario(asking_branches, session_paused_at_a_question, is_exact=False),
    "session aborted": Scenario(
        lambda: [line(Graph("w", state=Board), "a", "b", "c", takes_s=0.1)],
        session_aborted,
        is_exact=False,
        may=lambda state: state["notes"] == list("abc")[: state["points"]],
    ),
    "session aborted in a fork": Scenario(
        forked(slowest_s=5.0), session_aborted, is_exact=False, may=lambda state: state["notes"] == []
    ),
    "queue": Scenario(queued, partial(queue_of_threads, on_failure="continue"), is_exact=False),
    "queue that stops": Scenario(queued, partial(queue_of_threads, on_failure="stop"), is_exact=False),
    "fork all": Scenario(forked(), one_turn),
    "fork any": Scenario(forked(join="any"), one_turn, is_exact=False, may=some_branches(1)),
    "fork two": Scenario(forked(join=2), one_turn, is_exact=False, may=some_branches(2)),
    "fork deadline": Scenario(forked(deadline_s=0.2), one_turn, is_exact=False, may=in_time),
    "nested forks": Scenario(nested, one_turn),
    "async nested forks": Scenario(nested, partial(one_turn, durability="async")),
    "nested forks on exit": Scenario(nested, partial(one_turn, durability="exit")),
    "map": Scenario(mapped(2), partial(one_turn, items=[3, 1, 2])),
    "map of workflows": Scenario(mapped_workflow, partial(one_turn, items=[3, 1, 2])),
    "large values": Scenario(large_values, one_turn),
    "failing branch": Scenario(broken_branch("fail"), one_turn, is_exact=False),
    "skipped branch": Scenario(broken_branch("skip"), one_turn),
    "cancelled chain": Scenario(
        lambda: [line(Graph("w", state=Board), "a", "b", "c", "d", takes_s=1.0)],
        partial(cancelled_turn, after_s=1.5),
        is_exact=False,
        may=lambda state: state["notes"] == list("abcd")[: state["points"]],
    ),
    "cancelled fork": Scenario(
        forked(slowest_s=5.0),
        partial(cancelled_turn, after_s=0.07),
        is_exact=False,
    ),
    "cancelled nested forks": Scenario(partial(nested, 5.0, 5.0), partial(cancelled_turn, after_s=0.1), is_exact=False),
}
